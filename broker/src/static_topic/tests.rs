use oxmq_protocol::body::LogicQueueMappingItem;
use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::ext_fields::ExtFields;

use super::*;

const SUCCESS: ResponseCode = ResponseCode::SUCCESS;
const NOT_FOUND: ResponseCode = ResponseCode::PULL_NOT_FOUND;
const RETRY: ResponseCode = ResponseCode::PULL_RETRY_IMMEDIATELY;
const MOVED: ResponseCode = ResponseCode::PULL_OFFSET_MOVED;

/// A part of generation `generation` on `broker`, from `logic_offset` to `end_offset`.
pub(super) fn item(
    generation: i32,
    broker: &str,
    logic_offset: i64,
    end_offset: i64,
) -> LogicQueueMappingItem {
    LogicQueueMappingItem {
        bname: Some(broker.to_owned()),
        generation,
        queue_id: generation + 4,
        logic_offset,
        end_offset,
        ..Default::default()
    }
}

pub(super) fn mapping(
    epoch: i64,
    queues: &[(i32, &[LogicQueueMappingItem])],
) -> TopicQueueMappingDetail {
    TopicQueueMappingDetail {
        bname: Some("a".to_owned()),
        epoch,
        hosted_queues: queues.iter().map(|(id, items)| (*id, items.to_vec())).collect(),
        topic: Some("t".to_owned()),
        total_queues: queues.len() as i32,
        ..Default::default()
    }
}

fn load(dir: &Path) -> StaticTopics {
    StaticTopics::load(dir, SaveSignal::default()).unwrap()
}

/// Topic `t` with queue 0 on broker `a` as `items` say.
fn with_queue(items: &[LogicQueueMappingItem]) -> (tempfile::TempDir, StaticTopics) {
    let dir = tempfile::tempdir().unwrap();
    let topics = load(dir.path());
    topics.update("t", mapping(1, &[(0, items)]), false).unwrap();
    (dir, topics)
}

fn no_fields() -> ExtFields {
    ExtFields::default()
}

#[test]
fn mapping_outlives_a_restart_in_the_form_of_the_reference() {
    let dir = tempfile::tempdir().unwrap();
    assert!(load(dir.path()).is_empty());
    let topics = load(dir.path());
    topics.update("t", mapping(7, &[(0, &[item(0, "a", 0, -1)])]), false).unwrap();
    // It is there at once: what is acknowledged outlives a crash.
    let path = dir.path().join("config/topicQueueMapping.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let text: String = text.split_whitespace().collect();
    let expected = "\"topicQueueMappingInfoMap\":{\"t\":{\"bname\":\"a\",\"currIdMap\":{},\
        \"dirty\":false,\"epoch\":7,\"hostedQueues\":{0:[{\"bname\":\"a\",\"endOffset\":-1,\
        \"gen\":0,\"logicOffset\":0,\"queueId\":4,\"startOffset\":0,\"timeOfEnd\":-1,\
        \"timeOfStart\":-1}]},\"scope\":\"__global__\",\"topic\":\"t\",\"totalQueues\":1}}}";
    assert!(
        text.starts_with("{\"dataVersion\":{\"counter\":1,") && text.ends_with(expected),
        "{text}"
    );

    let again = load(dir.path());
    assert_eq!(again.snapshot(), topics.snapshot());
    again.delete("t");
    assert!(again.is_empty() && again.get("t").is_none());
    assert!(load(dir.path()).is_empty());
}

#[test]
fn request_is_about_a_logical_queue_unless_it_says_otherwise() {
    let (_dir, topics) = with_queue(&[item(0, "a", 0, -1)]);
    assert_eq!(topics.led(&no_fields(), "t", 0).unwrap().unwrap().id(), 0);
    assert!(topics.led(&no_fields(), "other", 0).unwrap().is_none());
    let mut fields = no_fields();
    fields.insert("lo", "false");
    assert!(topics.led(&fields, "t", 0).unwrap().is_none());
    fields.insert("lo", "TRUE");
    assert!(topics.led(&fields, "t", 0).unwrap().is_some());
    let refused = topics.led(&no_fields(), "t", 1).unwrap_err();
    assert_eq!(
        (refused.response_code().0, refused.to_string()),
        (501, "t-1 does not exit in request process of current broker a".to_owned())
    );
}

#[test]
fn queue_is_led_by_the_broker_of_its_last_part() {
    let (_dir, topics) = with_queue(&[item(0, "b", 0, 4), item(1, "a", 100, -1)]);
    let mut fields = no_fields();
    for (name, value) in [("topic", "t"), ("queueId", "0")] {
        fields.insert(name, value);
    }
    assert!(topics.may_ask_others(&fields));
    topics.update("t", mapping(2, &[(0, &[item(1, "a", 100, -1)])]), false).unwrap();
    assert!(!topics.may_ask_others(&fields));
    let (_dir, topics) = with_queue(&[item(0, "a", 0, 4), item(1, "b", 100, -1)]);
    assert_eq!(topics.led(&no_fields(), "t", 0).unwrap_err().response_code().0, 501);
    assert!(!topics.may_ask_others(&fields), "it is refused at once");
}

#[test]
fn sender_without_a_queue_gets_one_that_is_led_here() {
    let dir = tempfile::tempdir().unwrap();
    let topics = load(dir.path());
    let there: &[_] = &[item(0, "a", 0, 4), item(1, "b", 100, -1)];
    topics.update("t", mapping(1, &[(0, there), (3, &[item(0, "a", 0, -1)])]), false).unwrap();
    assert_eq!(topics.sent_to(&no_fields(), "t", -1).unwrap().unwrap().id(), 3);
    assert_eq!(topics.sent_to(&no_fields(), "t", 0).unwrap_err().response_code().0, 501);
    topics.update("t", mapping(2, &[(0, there), (3, there)]), true).unwrap();
    assert_eq!(topics.sent_to(&no_fields(), "t", -1).unwrap_err().response_code().0, 501);
}

#[test]
fn offset_lies_in_the_last_part_that_begins_before_it() {
    let items = [item(0, "b", 10, 4), item(1, "a", 100, 8), item(2, "a", -1, -1)];
    let (_dir, topics) = with_queue(&items);
    let queue = topics.led(&no_fields(), "t", 0).unwrap().unwrap();
    let generation = |offset| queue.part(offset).unwrap().generation;
    assert_eq!([0, 10, 99, 100, i64::MAX].map(generation), [0, 0, 0, 1, 1]);
    assert_eq!(queue.next(&items[0]), Some(&items[1]));
    assert_eq!(queue.next(&items[1]), None, "its place is not known yet");
    assert_eq!(queue.next(&items[2]), None);
    let (_dir, topics) = with_queue(&[item(0, "a", -1, -1)]);
    let queue = topics.led(&no_fields(), "t", 0).unwrap().unwrap();
    assert_eq!(queue.part(0).unwrap_err().response_code().0, 501);
}

#[test]
fn mapping_that_makes_no_sense_is_refused() {
    let refused = |items: &[LogicQueueMappingItem]| {
        let dir = tempfile::tempdir().unwrap();
        let topics = load(dir.path());
        let refused = topics.update("t", mapping(1, &[(0, items)]), true).unwrap_err();
        assert!(topics.is_empty());
        refused
    };
    let (a, b) = (item(0, "a", 0, 4), item(1, "b", 100, -1));
    let with = |change: &dyn Fn(&mut LogicQueueMappingItem)| {
        let mut changed = a.clone();
        change(&mut changed);
        refused(&[changed, b.clone()])
    };
    assert_eq!(with(&|item| item.start_offset = -1), MappingError::Negative);
    assert_eq!(with(&|item| item.queue_id = -1), MappingError::Negative);
    assert_eq!(with(&|item| item.logic_offset = -1), MappingError::NoPlace);
    assert_eq!(with(&|item| item.generation = 1), MappingError::Order);
    assert_eq!(with(&|item| item.start_offset = 5), MappingError::EndBeforeStart);
    assert_eq!(with(&|item| item.logic_offset = 100), MappingError::Begin);
    assert_eq!(with(&|item| item.end_offset = 100), MappingError::Overlap);
}

#[test]
fn mapping_follows_on_what_is_known_unless_it_is_forced() {
    let known = [item(0, "a", 0, -1)];
    let (_dir, topics) = with_queue(&known);
    let update = |new: TopicQueueMappingDetail| topics.update("t", new, false);
    assert_eq!(update(mapping(0, &[])), Err(MappingError::Epoch { new: 0, known: 1 }));
    assert_eq!(update(mapping(1, &[])), Err(MappingError::QueueMissing));
    assert_eq!(update(mapping(2, &[(0, &[])])), Err(MappingError::NoItems));
    let elsewhere = TopicQueueMappingDetail { scope: "s".to_owned(), ..mapping(2, &[]) };
    assert!(matches!(update(elsewhere), Err(MappingError::Scope { .. })));
    let moved = [item(0, "a", 0, 4), item(1, "b", -1, -1)];
    assert_eq!(update(mapping(1, &[(0, &moved)])), Err(MappingError::Leader));
    let other = [item(0, "c", 0, -1)];
    assert_eq!(update(mapping(2, &[(0, &other)])), Err(MappingError::Rewritten(0)));
    assert_eq!(topics.get("t").unwrap().hosted_queues[&0], known);

    update(mapping(2, &[(0, &moved)])).unwrap();
    // Where the new part begins is decided once; parts at the beginning may go.
    let placed = [item(1, "b", 100, -1)];
    update(mapping(2, &[(0, &placed)])).unwrap();
    let again = [item(1, "b", 200, -1)];
    assert_eq!(update(mapping(3, &[(0, &again)])), Err(MappingError::Rewritten(1)));
    // A queue that a newer mapping does not name stays.
    update(mapping(3, &[(1, &known)])).unwrap();
    assert_eq!(topics.get("t").unwrap().hosted_queues.len(), 2);
    topics.update("t", mapping(0, &[(0, &known)]), true).unwrap();
    let forced = topics.get("t").unwrap();
    assert_eq!((forced.epoch, &*forced.hosted_queues[&0]), (0, &known[..]));
    assert_eq!(forced.hosted_queues.len(), 2);
}

/// What a pull of `offset` from the part `at` of a queue of `items` comes to that found `code`, the next offset,
/// and that the physical queue has messages from `bounds.0` to `bounds.1`.
fn pulled(
    items: &[LogicQueueMappingItem],
    at: usize,
    offset: i64,
    (code, next_begin_offset): (ResponseCode, i64),
    (min_offset, max_offset): (i64, i64),
) -> (ResponseCode, i64, i64, i64, Option<i64>) {
    let (_dir, topics) = with_queue(items);
    let queue = topics.named(&no_fields(), "t", 0).unwrap();
    let seen = Seen { code, next_begin_offset, min_offset, max_offset, is_reset: false };
    let it = queue.pulled(&items[at], offset, seen);
    (it.code, it.next_begin_offset, it.min_offset, it.max_offset, it.offset_delta)
}

#[test]
fn pull_from_the_only_part_is_as_from_any_queue() {
    let only = [item(0, "a", 0, -1)];
    let pulled = |offset, found, bounds| pulled(&only, 0, offset, found, bounds);
    assert_eq!(pulled(2, (SUCCESS, 5), (0, 9)), (SUCCESS, 5, 0, 9, Some(0)));
    assert_eq!(pulled(9, (NOT_FOUND, 9), (0, 9)), (NOT_FOUND, 9, 0, 9, Some(0)));
    assert_eq!(pulled(2, (RETRY, 5), (0, 9)), (RETRY, 5, 0, 9, Some(0)), "nothing matched");
    assert_eq!(pulled(1, (MOVED, 3), (3, 9)), (MOVED, 3, 3, 9, Some(0)));
    assert_eq!(pulled(20, (MOVED, 0), (0, 9)), (NOT_FOUND, 9, 0, 9, Some(0)));
}

#[test]
fn pull_at_the_end_of_a_part_goes_on_with_the_next_one() {
    let items = [item(0, "b", 0, 4), item(1, "b", 100, 3), item(2, "a", 200, -1)];
    let pulled = |at, offset, found, bounds| pulled(&items, at, offset, found, bounds);
    assert_eq!(pulled(0, 2, (SUCCESS, 4), (0, 4)), (SUCCESS, 4, 0, 200, Some(0)));
    assert_eq!(pulled(0, 4, (NOT_FOUND, 4), (0, 4)), (RETRY, 100, 100, 200, Some(100)));
    assert_eq!(pulled(1, 1, (SUCCESS, 9), (0, 9)), (SUCCESS, 103, 100, 200, Some(100)));
    assert_eq!(pulled(1, 3, (NOT_FOUND, 3), (0, 3)), (RETRY, 200, 200, 200, Some(200)));
    assert_eq!(pulled(1, 0, (MOVED, 2), (2, 3)), (RETRY, 102, 102, 200, Some(100)));
    assert_eq!(pulled(0, 0, (MOVED, 2), (2, 4)), (MOVED, 2, 2, 200, Some(0)));
    assert_eq!(pulled(2, 5, (NOT_FOUND, 5), (0, 5)), (NOT_FOUND, 205, 200, 205, Some(200)));
    assert_eq!(pulled(2, 9, (MOVED, 0), (0, 5)), (MOVED, 205, 200, 205, Some(200)));
    // Nothing is known of what follows yet.
    let new = [item(0, "b", 0, 4), item(1, "a", -1, -1)];
    let end = super::tests::pulled(&new, 0, 4, (NOT_FOUND, 4), (0, 4));
    assert_eq!(end, (NOT_FOUND, 4, 0, 4, Some(0)));
}

#[test]
fn group_that_is_sent_elsewhere_goes_there_from_the_end_of_the_queue_too() {
    let only = [item(0, "a", 100, -1)];
    let (_dir, topics) = with_queue(&only);
    let queue = topics.named(&no_fields(), "t", 0).unwrap();
    let seen =
        Seen { code: MOVED, next_begin_offset: 2, min_offset: 0, max_offset: 9, is_reset: true };
    let it = queue.pulled(&only[0], 9, seen);
    assert_eq!((it.code, it.next_begin_offset), (MOVED, 102));
}
