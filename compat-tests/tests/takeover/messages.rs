//! What is written into a store before it changes hands: messages of every kind, offsets, groups.

use oxmq_compat_tests::wire::Conn;
use oxmq_compat_tests::{Kind, message_ops as more, ops};

pub(crate) const GROUP: &str = "takeover_group";
const OTHER_GROUP: &str = "takeover_other";
/// Topics and their queues.
pub(crate) const PLAIN: (&str, u32) = ("takeover_plain", 4);
pub(crate) const WIDE: (&str, u32) = ("takeover-WIDE_topic%1", 16);
const BATCH: (&str, u32) = ("takeover_batch", 2);
const LARGE: (&str, u32) = ("takeover_large", 1);
const DELAYED: (&str, u32) = ("takeover_delayed", 1);
const DUE: (&str, u32) = ("takeover_due", 1);
/// A topic whose batches are one record each.
pub(crate) const INNER: &str = "takeover_inner";
const HALF: (&str, u32) = ("takeover_half", 1);
/// Where messages wait for their time, and the queue of the level that all pending ones have.
const PENDING: (&str, i32) = ("SCHEDULE_TOPIC_XXXX", 15);
/// Half an hour: longer than the test.
const PENDING_LEVEL: i32 = 16;
/// Five seconds: over while the server changes.
const DUE_LEVEL: i32 = 2;
const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Messages in each queue of `PLAIN`; `WIDE` gets one in each.
const PER_QUEUE: usize = 120;
const PER_BATCH: usize = 10;
/// Nearly the 4 MiB that a whole record may have in old releases.
const LARGE_BODY: usize = (4 << 20) - 2_000;
/// Nearly the 32 KiB that all properties may have.
const LONG_PROPERTY: usize = 32_000;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Round {
    First,
    Second,
}

impl Round {
    fn mark(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }
}

/// The topics that are made. The last name has the most characters that a topic may have.
pub(crate) fn topics() -> Vec<(String, u32)> {
    let mut topics: Vec<_> = [PLAIN, WIDE, BATCH, LARGE, DELAYED, DUE, HALF]
        .iter()
        .map(|(topic, queues)| ((*topic).to_owned(), *queues))
        .collect();
    // Made by hand, as old releases let nobody read what they make themselves.
    topics.push((format!("%DLQ%{GROUP}"), 1));
    topics.push(("L".repeat(127), 1));
    topics
}

/// The queues that messages are in.
pub(crate) fn queues(first: Kind) -> Vec<(String, i32)> {
    let mut queues = Vec::new();
    if has_batch_queues(first) {
        queues.push((INNER.to_owned(), 0));
    }
    for (topic, count) in topics() {
        if ![DELAYED.0, DUE.0, HALF.0].contains(&&*topic) {
            queues.extend((0..count as i32).map(|queue| (topic.clone(), queue)));
        }
    }
    queues.push((PENDING.0.to_owned(), PENDING.1));
    queues
}

/// Whether topics can have `queue.type=BatchCQ`: not before 5.0.
pub(crate) fn has_batch_queues(kind: Kind) -> bool {
    !matches!(kind, Kind::Older(version) if version.starts_with('4'))
}

/// Sends messages of all kinds; returns when all of them can be read. Adds the positions of half
/// messages to `halves`.
pub(crate) fn write(conn: &mut Conn, inner: bool, round: Round, halves: &mut Vec<i64>) {
    let mark = round.mark();
    write_plain(conn, mark);
    write_batches(conn, mark, inner);
    let large = vec![0x5a; LARGE_BODY];
    let last = ops::send(conn, LARGE.0, 0, "KEYS\u{1}large\u{2}", &large);
    ops::wait_for_max_offset(conn, LARGE.0, 0, last + 1);
    let long = "p".repeat(LONG_PROPERTY);
    let longest = &topics().last().unwrap().0.clone();
    let last = ops::send(conn, longest, 0, &format!("note\u{1}{long}\u{2}"), b"long names");
    ops::wait_for_max_offset(conn, longest, 0, last + 1);

    // What waits for its time: sent with a delay, and given back by a consumer.
    let pending = ops::max_offset(conn, PENDING.0, PENDING.1);
    let delay = format!("KEYS\u{1}later\u{2}DELAY\u{1}{PENDING_LEVEL}\u{2}");
    ops::send(conn, DELAYED.0, 0, &delay, format!("{mark} delayed").as_bytes());
    let bad = &ops::walk_queue(conn, GROUP, PLAIN.0, 0, 0)[0];
    more::send_back(conn, GROUP, bad, PENDING_LEVEL);
    ops::wait_for_max_offset(conn, PENDING.0, PENDING.1, pending + 2);
    // And what will not be tried again.
    let dead = format!("%DLQ%{GROUP}");
    let before = ops::max_offset(conn, &dead, 0);
    more::send_back(conn, GROUP, bad, -1);
    ops::wait_for_max_offset(conn, &dead, 0, before + 1);

    let before = ops::max_offset(conn, HALF_TOPIC, 0);
    halves.push(more::send_half(conn, HALF.0, 0, format!("{mark} half").as_bytes()));
    ops::wait_for_max_offset(conn, HALF_TOPIC, 0, before + 1);
}

/// Bodies of all sizes and all bytes, with and without properties.
fn write_plain(conn: &mut Conn, mark: &str) {
    for queue in 0..PLAIN.1 as i32 {
        let mut last = 0;
        for index in 0..PER_QUEUE {
            let mut body = format!("{mark}-{queue}-{index}-").into_bytes();
            body.extend((0..index * 17 % 2_000).map(|at| (at * 7 + index) as u8));
            let properties = match index % 3 {
                0 => String::new(),
                1 => format!("KEYS\u{1}{mark}-{queue}-{index}\u{2}TAGS\u{1}TagA\u{2}"),
                _ => format!("TAGS\u{1}标签\u{2}note\u{1}a b=c, \"d\" {index}"),
            };
            last = ops::send(conn, PLAIN.0, queue, &properties, &body);
        }
        ops::wait_for_max_offset(conn, PLAIN.0, queue, last + 1);
    }
    for queue in 0..WIDE.1 as i32 {
        let last = ops::send(conn, WIDE.0, queue, "KEYS\u{1}same same\u{2}", &[queue as u8]);
        ops::wait_for_max_offset(conn, WIDE.0, queue, last + 1);
    }
}

fn write_batches(conn: &mut Conn, mark: &str, inner: bool) {
    for queue in 0..BATCH.1 as i32 {
        let messages: Vec<(String, Vec<u8>)> = (0..PER_BATCH)
            .map(|index| {
                let properties =
                    format!("KEYS\u{1}{mark}-b{queue}-{index}\u{2}TAGS\u{1}Tag{index}\u{2}");
                (properties, format!("{mark} batch {index}").into_bytes())
            })
            .collect();
        let first = more::send_batch(conn, BATCH.0, queue, "", &messages);
        ops::wait_for_max_offset(conn, BATCH.0, queue, first + PER_BATCH as i64);
        if inner {
            let envelope = format!("UNIQ_KEY\u{1}{mark}-inner-{queue}\u{2}TAGS\u{1}TagI\u{2}");
            let first = more::send_batch(conn, INNER, 0, &envelope, &messages);
            // And one without a key of its own: single records.
            let single = more::send_batch(conn, INNER, 0, "", &messages);
            assert_eq!(single, first + PER_BATCH as i64);
            ops::wait_for_max_offset(conn, INNER, 0, single + PER_BATCH as i64);
        }
    }
}

/// Keys that are looked up, each with its topic.
pub(crate) fn keys() -> Vec<(&'static str, String)> {
    let mut keys = vec![
        (WIDE.0, "same".to_owned()),
        (LARGE.0, "large".to_owned()),
        (PENDING.0, "later".to_owned()),
        (PLAIN.0, "none".to_owned()),
    ];
    for mark in [Round::First.mark(), Round::Second.mark()] {
        keys.push((PLAIN.0, format!("{mark}-0-1")));
        keys.push((PLAIN.0, format!("{mark}-3-118")));
        keys.push((BATCH.0, format!("{mark}-b1-9")));
    }
    keys
}

/// Groups with settings of their own, and one that only said hello.
pub(crate) fn make_groups(conn: &mut Conn) {
    more::create_group(conn, OTHER_GROUP, 5);
    ops::heartbeat(conn, "takeover-consumer", GROUP, PLAIN.0);
}

pub(crate) fn commit_offsets(conn: &mut Conn, round: Round) {
    for (queue, offset) in offsets(round) {
        ops::commit_offset(conn, GROUP, PLAIN.0, queue, offset);
    }
    ops::commit_offset(conn, OTHER_GROUP, WIDE.0, 3, 1);
}

fn offsets(round: Round) -> impl Iterator<Item = (i32, i64)> {
    let more = if round == Round::First { 0 } else { 7 };
    (0..PLAIN.1 as i32).map(move |queue| (queue, i64::from(queue) * 10 + 5 + more))
}

/// What the file of offsets holds after [`commit_offsets`], quotes and blanks left out.
pub(crate) fn offsets_in_file(round: Round) -> [String; 2] {
    let offsets: Vec<_> =
        offsets(round).map(|(queue, offset)| format!("{queue}:{offset}")).collect();
    let (plain, wide) = (PLAIN.0, WIDE.0);
    let offsets = offsets.join(",");
    [format!("{plain}@{GROUP}:{{{offsets}"), format!("{wide}@{OTHER_GROUP}:{{3:1")]
}

/// The groups that [`commit_offsets`] gives an offset in a queue.
pub(crate) fn groups_with_offset(topic: &str, queue_id: i32) -> impl Iterator<Item = &'static str> {
    let plain = (topic == PLAIN.0).then_some(GROUP);
    let other = (topic == WIDE.0 && queue_id == 3).then_some(OTHER_GROUP);
    plain.into_iter().chain(other)
}

/// Sends a message whose time comes while the server changes.
pub(crate) fn send_due(conn: &mut Conn) {
    ops::send(conn, DUE.0, 0, &format!("DELAY\u{1}{DUE_LEVEL}\u{2}"), b"due");
}

/// Waits until the message of [`send_due`] is there; after a clean stop once, after a crash perhaps
/// again.
pub(crate) fn wait_for_due(conn: &mut Conn, once: bool) {
    ops::wait_for_max_offset(conn, DUE.0, 0, 1);
    let records = ops::walk_queue(conn, "takeover_reader", DUE.0, 0, 0);
    assert!(records.iter().all(|record| record.body == b"due"), "{records:?}");
    assert!(!once || records.len() == 1, "{records:?}");
}
