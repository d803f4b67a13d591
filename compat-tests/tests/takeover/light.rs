//! Light queues: a message is in further queues that it names, on either server and after either one's.

use std::path::Path;

use oxmq_compat_tests::ops::{self, response};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Kind, Record, ServerUnderTest};

use crate::{Ending, assert_sound, end};

const TOPIC: &str = "light_topic";
const GROUP: &str = "light_group";
/// A group that exists without being made.
const LIGHT_GROUP: &str = "%LMQ%light_group";
const QUEUES: usize = 4;
/// Messages in a round.
const ROUND: usize = 60;
const LMQ_QUOTA_EXCEEDED: i32 = 2017;
/// A pull that may wait, with its subscription.
const SUSPEND: &str = "6";

#[test]
fn ours_goes_on_with_light_queues_of_the_reference() {
    hand_over(Kind::Reference, Kind::under_test());
}

#[test]
fn the_reference_goes_on_with_light_queues_of_ours() {
    hand_over(Kind::under_test(), Kind::Reference);
}

#[test]
fn a_pull_of_a_light_queue_waits_for_messages_and_new_queues_have_a_limit() {
    let store = tempfile::tempdir().unwrap();
    let quota = [("enableLmqQuota", "true"), ("maxLmqConsumeQueueNum", "2")];
    let server = start(Kind::under_test(), store.path(), &quota);
    ops::create_topic(&server, TOPIC, 1);
    let mut conn = Conn::connect(&server.broker_addr());
    send(&mut conn, "%LMQ%a", "first");
    ops::wait_for_max_offset(&mut conn, "%LMQ%a", 0, 1);
    let mut waiting = Conn::connect(&server.broker_addr());
    let mut request = ops::pull_request(GROUP, "%LMQ%a", 0, 1);
    let fields = [("sysFlag", SUSPEND), ("suspendTimeoutMillis", "20000")];
    request.ext.extend(fields.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let waiter = std::thread::spawn(move || waiting.call(request));
    let before = ops::max_offset(&mut conn, TOPIC, 0);
    send(&mut conn, "%LMQ%a,%LMQ%b", "second");
    let answer = waiter.join().unwrap();
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    assert_eq!(Record::decode_all(&answer.body)[0].body, b"second");
    ops::wait_for_max_offset(&mut conn, TOPIC, 0, before + 1);

    ops::wait_for_max_offset(&mut conn, "%LMQ%b", 0, 1);
    let refused = conn.call(request_for("%LMQ%c", "third"));
    assert_eq!(refused.code, LMQ_QUOTA_EXCEEDED, "{refused:?}");
    let remark = "[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]lmq consume queue num exceeded.";
    assert_eq!(refused.remark.as_deref(), Some(remark));
    assert_eq!(send(&mut conn, "%LMQ%b", "fourth"), before + 1);
    // They are nobody's route.
    let route = Command::request(ops::code::GET_ROUTEINFO_BY_TOPIC, &[("topic", "%LMQ%a")]);
    let answer = Conn::connect(&server.namesrv_addr()).call(route);
    assert_eq!(answer.code, response::TOPIC_NOT_EXIST);
}

fn hand_over(first: Kind, second: Kind) {
    let store = tempfile::tempdir().unwrap();
    let mut server = start(first, store.path(), &[]);
    ops::create_topic(&server, TOPIC, 1);
    let mut conn = Conn::connect(&server.broker_addr());
    send_round(&mut conn, 0);
    assert_served(&mut conn, ROUND);
    commit(&mut conn, 3);
    end(&mut server, Ending::Stop);
    drop(server);
    assert_sound(store.path(), Ending::Stop);
    assert!(store.path().join("config/lmqConsumerOffset.json").exists());

    let mut server = start(second, store.path(), &[]);
    let mut conn = Conn::connect(&server.broker_addr());
    assert_served(&mut conn, ROUND);
    assert_committed(&mut conn, 3);
    send_round(&mut conn, ROUND);
    assert_served(&mut conn, 2 * ROUND);
    commit(&mut conn, 5);
    // What both keep of the last offsets is in the file after a while only.
    end(&mut server, Ending::Stop);
    drop(server);
    assert_sound(store.path(), Ending::Stop);

    let mut server = start(first, store.path(), &[]);
    let mut conn = Conn::connect(&server.broker_addr());
    assert_committed(&mut conn, 5);
    send_round(&mut conn, 2 * ROUND);
    assert_served(&mut conn, 3 * ROUND);
    end(&mut server, Ending::Kill);
    drop(server);
    assert_sound(store.path(), Ending::Kill);

    let server = start(second, store.path(), &[]);
    let mut conn = Conn::connect(&server.broker_addr());
    assert_served(&mut conn, 3 * ROUND);
    send_round(&mut conn, 3 * ROUND);
    assert_served(&mut conn, 4 * ROUND);
}

fn start(kind: Kind, store: &Path, more: &[(&str, &str)]) -> ServerUnderTest {
    let mut setup = ServerUnderTest::setup()
        .kind(kind)
        .namesrv_kind(Kind::under_test())
        .store(store)
        .broker_conf("enableLmq", "true")
        .broker_conf("enableMultiDispatch", "true")
        .broker_conf("mappedFileSizeConsumeQueue", "1000");
    for (key, value) in more {
        setup = setup.broker_conf(key, value);
    }
    setup.start()
}

fn request_for(names: &str, body: &str) -> Command {
    let properties = format!("INNER_MULTI_DISPATCH\u{1}{names}\u{2}TAGS\u{1}T\u{2}");
    ops::send_request(TOPIC, 0, &properties, body.as_bytes())
}

fn send(conn: &mut Conn, names: &str, body: &str) -> i64 {
    let properties = format!("INNER_MULTI_DISPATCH\u{1}{names}\u{2}TAGS\u{1}T\u{2}");
    ops::send(conn, TOPIC, 0, &properties, body.as_bytes())
}

/// The light queues of message `number`: one, two or three of them.
fn names_of(number: usize) -> Vec<String> {
    (0..=number % 3).map(|at| format!("%LMQ%light_{}", (number + at) % QUEUES)).collect()
}

fn messages_of(name: &str, count: usize) -> Vec<usize> {
    (0..count).filter(|number| names_of(*number).iter().any(|other| other == name)).collect()
}

fn send_round(conn: &mut Conn, from: usize) {
    for number in from..from + ROUND {
        let offset = send(conn, &names_of(number).join(","), &number.to_string());
        assert_eq!(offset, number as i64);
    }
}

fn light_queues() -> impl Iterator<Item = String> {
    (0..QUEUES).map(|queue| format!("%LMQ%light_{queue}"))
}

/// Each light queue has its messages of the first `count`, and so has the topic.
fn assert_served(conn: &mut Conn, count: usize) {
    ops::wait_for_max_offset(conn, TOPIC, 0, count as i64);
    for name in light_queues() {
        let wanted = messages_of(&name, count);
        ops::wait_for_max_offset(conn, &name, 0, wanted.len() as i64);
        assert_eq!(ops::min_offset(conn, &name, 0), 0);
        let mut got: Vec<usize> = Vec::new();
        let mut next = 0;
        while next < wanted.len() as i64 {
            let answer = conn.call(ops::pull_request(GROUP, &name, 0, next));
            match answer.code {
                response::SUCCESS => {
                    for record in Record::decode_all(&answer.body) {
                        assert_eq!((&*record.topic, record.queue_id), (TOPIC, 0));
                        assert_eq!(offset_in(&record, &name), got.len() as i64, "{name}");
                        got.push(String::from_utf8(record.body).unwrap().parse().unwrap());
                    }
                }
                // The reference answers so once in a while when it rolls to the next file.
                response::PULL_RETRY_IMMEDIATELY => {}
                _ => panic!("{name} at {next}: {answer:?}"),
            }
            next = answer.number("nextBeginOffset");
        }
        assert_eq!(got, wanted, "{name}");
    }
}

/// What a client takes for the offset of a message.
fn offset_in(record: &Record, name: &str) -> i64 {
    let names = &record.properties["INNER_MULTI_DISPATCH"];
    let at = names.split(',').position(|other| other == name).unwrap();
    let offsets = &record.properties["INNER_MULTI_QUEUE_OFFSET"];
    assert_eq!(offsets.split(',').count(), names.split(',').count());
    offsets.split(',').nth(at).unwrap().parse().unwrap()
}

fn commit(conn: &mut Conn, offset: i64) {
    for (index, name) in (0..).zip(light_queues()) {
        ops::commit_offset(conn, LIGHT_GROUP, &name, 0, offset + index);
        ops::commit_offset(conn, GROUP, &name, 0, offset + index + 1);
    }
}

fn assert_committed(conn: &mut Conn, offset: i64) {
    for (index, name) in (0..).zip(light_queues()) {
        let committed = ops::committed_offset(conn, LIGHT_GROUP, &name, 0);
        assert_eq!(committed, Some(offset + index), "{name}");
        assert_eq!(ops::committed_offset(conn, GROUP, &name, 0), Some(offset + index + 1));
    }
}
