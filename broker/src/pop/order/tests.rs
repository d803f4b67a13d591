//! What is given out in order.

use super::*;

const QUEUE: GroupQueueRef<'static> = GroupQueueRef { topic: "t", group: "g", queue_id: 2 };

struct Setup {
    order: ConsumerOrder,
    dir: tempfile::TempDir,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    Setup { order: ConsumerOrder::load(dir.path()).unwrap(), dir }
}

impl Setup {
    /// Gives offsets out at `now_ms` for 100 ms, and returns the counts.
    fn give(&self, attempt: Option<&str>, now_ms: i64, offsets: &[i64]) -> String {
        let mut counts = OffsetInfo::default();
        self.order.give(QUEUE, attempt, (now_ms, 100), offsets, &mut counts, || ());
        counts.as_str().to_owned()
    }

    fn ack(&self, offset: i64, pop_time_ms: i64) -> Acknowledged {
        self.order.acknowledge(QUEUE, offset, pop_time_ms, pop_time_ms + 1, |_| ())
    }

    fn is_blocked(&self, attempt: Option<&str>, now_ms: i64) -> bool {
        self.order.is_blocked(QUEUE, attempt, 100, now_ms)
    }
}

#[test]
fn queue_is_blocked_until_all_is_done_or_due_again() {
    let setup = setup();
    assert!(!setup.is_blocked(None, 0));
    setup.give(None, 1_000, &[5, 6, 8]);
    assert!(setup.is_blocked(None, 1_099) && !setup.is_blocked(None, 1_100));
    assert_eq!(setup.ack(6, 1_000), Acknowledged::Next { offset: 5, blocked: true });
    assert_eq!(setup.ack(5, 1_000), Acknowledged::Next { offset: 8, blocked: true });
    assert_eq!(setup.ack(8, 1_000), Acknowledged::Next { offset: 9, blocked: false });
    assert!(!setup.is_blocked(None, 1_050));
}

#[test]
fn repetition_of_an_attempt_is_not_blocked_and_does_not_count() {
    let setup = setup();
    assert_eq!(setup.give(Some("a"), 1_000, &[5]), "0 2 0");
    assert!(!setup.is_blocked(Some("a"), 1_001) && setup.is_blocked(Some("b"), 1_001));
    assert_eq!(setup.give(Some("a"), 1_010, &[5]), "0 2 0");
    assert_eq!(setup.give(Some("b"), 1_200, &[5, 6]), "0 qo2%5 1;0 2 0");
    assert_eq!(setup.give(Some("c"), 1_400, &[5, 6]), "0 qo2%5 2;0 qo2%6 1;0 2 1");
}

#[test]
fn acknowledgements_of_an_earlier_pop_or_of_other_messages_mean_nothing() {
    let setup = setup();
    assert_eq!(setup.ack(4, 1), Acknowledged::Next { offset: 5, blocked: false });
    setup.give(None, 1_000, &[5, 6]);
    setup.give(None, 1_200, &[5, 6]);
    assert_eq!(setup.ack(5, 1_000), Acknowledged::Stale);
    assert_eq!(setup.ack(9, 1_200), Acknowledged::Unknown);
    assert!(setup.is_blocked(None, 1_299));
}

#[test]
fn what_is_suspended_is_due_at_another_time_and_was_not_consumed() {
    let setup = setup();
    setup.give(None, 1_000, &[5, 6]);
    setup.give(None, 1_200, &[5, 6]);
    setup.order.set_next_visible(QUEUE, 5, 1_200, 9_000);
    setup.order.suspend(QUEUE, 1_000, 9_000);
    setup.order.suspend(QUEUE, 1_200, 1_500);
    assert!(setup.is_blocked(None, 1_499) && !setup.is_blocked(None, 1_500));
    assert_eq!(setup.order.take_freed(1_500).len(), 1);
    assert_eq!(setup.give(None, 1_600, &[5, 6]), "0 qo2%5 1;0 qo2%6 1;0 2 1");
}

#[test]
fn changed_time_of_one_message_decides_when_the_queue_is_free() {
    let setup = setup();
    setup.give(None, 1_000, &[5, 6]);
    setup.order.set_next_visible(QUEUE, 5, 1_000, 1_500);
    setup.order.set_next_visible(QUEUE, 6, 999, 9_999);
    assert!(setup.is_blocked(None, 1_499) && !setup.is_blocked(None, 1_500));
    assert!(setup.order.take_freed(1_099).is_empty());
    assert!(setup.order.take_freed(1_499).is_empty());
    let freed: Vec<_> =
        setup.order.take_freed(1_500).iter().map(|f| (f.at_ms, f.queue_id)).collect();
    assert_eq!(freed, [(1_500, 2)]);
}

#[test]
fn table_outlives_the_broker_and_is_cleaned() {
    let setup = setup();
    setup.give(None, 1_000, &[5, 7]);
    setup.ack(5, 1_000);
    setup.order.save_if_changed().unwrap();
    let again = ConsumerOrder::load(setup.dir.path()).unwrap();
    assert!(again.is_blocked(QUEUE, None, 100, 1_099));
    assert_eq!(again.take_freed(1_100).len(), 1);
    again.clean(2_000, |topic, group, queue_id| (topic, group, queue_id) == ("t", "g", 2));
    assert!(again.is_blocked(QUEUE, None, 100, 1_099));
    again.clean(2_000, |_, _, _| false);
    assert!(!again.is_blocked(QUEUE, None, 100, 1_099));
    setup.order.clean(KEEP_MS + 1_001, |_, _, _| true);
    assert!(!setup.is_blocked(None, 1_099));
    setup.give(None, 1_000, &[5]);
    setup.order.forget(QUEUE);
    assert!(!setup.is_blocked(None, 1_001));
}

#[test]
fn queue_that_is_consumed_fast_is_noted_to_be_free_once() {
    let setup = setup();
    for offset in 0..100 {
        setup.give(None, 1_000 + offset, &[offset, offset + 1]);
        setup.ack(offset, 1_000 + offset);
    }
    assert_eq!(lock(&setup.order.state).freed.len(), 1);
    // It is looked at when the first would have been due, and then when the last one is.
    assert_eq!(setup.order.take_freed(1_100).len(), 0);
    assert_eq!(setup.order.take_freed(1_198).len(), 0);
    assert_eq!(setup.order.take_freed(1_199).len(), 1);
    assert_eq!(setup.order.take_freed(9_999).len(), 0);
}

#[test]
fn queue_is_free_when_its_messages_are_given_an_earlier_time() {
    let setup = setup();
    setup.give(None, 1_000, &[0]);
    setup.order.set_next_visible(QUEUE, 0, 1_000, 1_010);
    assert_eq!(setup.order.take_freed(1_009).len(), 0);
    assert_eq!(setup.order.take_freed(1_010).len(), 1);
    setup.give(None, 1_010, &[0]);
    assert_eq!(setup.order.take_freed(1_109).len(), 0);
    assert_eq!(setup.order.take_freed(1_110).len(), 1);
}

#[test]
fn time_that_is_changed_again_and_again_is_remembered_once() {
    let order = ConsumerOrder::in_memory();
    let mut counts = OffsetInfo::default();
    order.give(QUEUE, None, (1_000, 9_000), &[5], &mut counts, || ());
    for visible_ms in (2_000..4_000).rev() {
        order.set_next_visible(QUEUE, 5, 1_000, visible_ms);
        assert_eq!(lock(&order.state).freed.len(), 1);
    }
    assert!(order.take_freed(1_999).is_empty());
    assert_eq!(order.take_freed(2_000).len(), 1);
    assert!(lock(&order.state).free_at.is_empty());
}
