//! Messages to one queue, one by one or in batches, found by offset and by key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use oxmq_compat_tests::wire::Conn;
use oxmq_compat_tests::{Kind, Record, ServerUnderTest, message_ops as more, ops, wait};

use crate::TOPIC;
use crate::load::{Load, Round, Work};
use crate::random::Random;

/// The group that reads for the checks.
const PROBE: &str = "crash_probe";
const MOST_OF_A_BATCH: u64 = 16;
const FILLER_BYTES: usize = 1_500;
/// What was checked in an earlier round and is read once more.
const OVERLAP: i64 = 50;
/// Messages looked up by key: of the round, and of all.
const KEYS_OF_ROUND: usize = 6;
const KEYS_OF_ALL: usize = 2;

/// What tells a message from all others of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    round: usize,
    index: usize,
}

#[derive(Default)]
struct State {
    /// What was acknowledged, by queue offset.
    acked: BTreeMap<i64, Id>,
    /// All before this offset was checked in an earlier round.
    checked_to: i64,
}

/// The one producer of a queue.
pub(crate) struct Sends {
    queue: i32,
    in_batches: bool,
    state: Mutex<State>,
}

impl Sends {
    pub(crate) fn new(queue: i32, in_batches: bool) -> Self {
        Self { queue, in_batches, state: Mutex::default() }
    }

    fn key(&self, id: Id) -> String {
        format!("crash-{}-{}-{}", self.queue, id.round, id.index)
    }

    fn body(&self, id: Id) -> String {
        format!("{} {}", self.key(id), "x".repeat((id.index * 31 + id.round * 7) % FILLER_BYTES))
    }

    fn properties(&self, id: Id) -> String {
        let key = self.key(id);
        format!("UNIQ_KEY\u{1}{key}\u{2}KEYS\u{1}order-{key}\u{2}")
    }

    /// The message that a record is, which has to be whole.
    fn id_of(&self, record: &Record) -> Id {
        let key = &record.properties["UNIQ_KEY"];
        let mut parts = key.rsplit('-').map(|part| part.parse().unwrap());
        let [index, round] = [parts.next().unwrap(), parts.next().unwrap()];
        let id = Id { round, index };
        assert_eq!(*key, self.key(id));
        assert_eq!(record.text(), self.body(id), "queue {} {id:?}", self.queue);
        id
    }

    /// Looks up some of the messages, the newest among them.
    fn check_keys(&self, conn: &mut Conn, acked: &BTreeMap<i64, Id>, round: &Round) {
        let mut random = Random::new(round.seed ^ u64::from(self.queue.unsigned_abs()));
        let all: Vec<(i64, Id)> = acked.iter().map(|(offset, id)| (*offset, *id)).collect();
        let first = all.partition_point(|(_, id)| id.round < round.number);
        let mut chosen: Vec<(i64, Id)> = all.last().copied().into_iter().collect();
        for (among, count) in [(&all[first..], KEYS_OF_ROUND), (&all[..], KEYS_OF_ALL)] {
            for _ in 0..count.min(among.len()) {
                chosen.push(among[random.below(among.len() as u64) as usize]);
            }
        }
        for (offset, id) in chosen {
            let key = self.key(id);
            for (key, unique) in [(key.clone(), true), (format!("order-{key}"), false)] {
                // The index is built from the log, and may not have come to its end yet. It knows
                // hashes only: clients pass over what has another key.
                let found = wait::until(&format!("{key} in the index"), ops::ROUTE_LIMIT, || {
                    let mut found = more::query_by_key(conn, TOPIC, &key, unique);
                    let name = if unique { "UNIQ_KEY" } else { "KEYS" };
                    found.retain(|record| record.properties.get(name) == Some(&key));
                    (!found.is_empty()).then_some(found)
                });
                let places: Vec<_> = found.iter().map(|r| (r.queue_id, r.queue_offset)).collect();
                assert_eq!(places, [(self.queue, offset)], "{key}");
            }
        }
    }
}

impl Work for Sends {
    fn run(&self, load: &Load, mut random: Random) {
        let mut conn = Conn::connect(&load.broker);
        let mut index = 0;
        while load.goes_on() {
            let count =
                if self.in_batches { 1 + random.below(MOST_OF_A_BATCH) as usize } else { 1 };
            let ids: Vec<Id> =
                (index..index + count).map(|index| Id { round: load.round, index }).collect();
            index += count;
            let request = if self.in_batches {
                let messages = ids.iter().map(|id| (self.properties(*id), self.body(*id).into()));
                more::batch_request(TOPIC, self.queue, "", &messages.collect::<Vec<_>>())
            } else {
                let (properties, body) = (self.properties(ids[0]), self.body(ids[0]));
                ops::send_request(TOPIC, self.queue, &properties, body.as_bytes())
            };
            let Some(answer) = load.acked(&mut conn, &request) else { break };
            let first = answer.number("queueOffset");
            let mut state = self.state.lock().unwrap();
            for (offset, id) in (first..).zip(ids) {
                let twice = state.acked.insert(offset, id);
                assert!(twice.is_none(), "{offset} was acknowledged for {twice:?} already");
            }
        }
    }

    fn check(&self, server: &ServerUnderTest, conn: &mut Conn, round: &Round) {
        let mut state = self.state.lock().unwrap();
        let from = if round.is_last { 0 } else { (state.checked_to - OVERLAP).max(0) };
        if let Some((last, _)) = state.acked.last_key_value() {
            ops::wait_for_max_offset(conn, TOPIC, self.queue, last + 1);
        }
        let records = ops::walk_queue(conn, PROBE, TOPIC, self.queue, from);
        let ids: Vec<Id> = records.iter().map(|record| self.id_of(record)).collect();
        let unique: BTreeSet<&Id> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len(), "queue {} has messages twice", self.queue);
        for (offset, id) in state.acked.range(from..) {
            let stored = ids.get((offset - from) as usize);
            assert_eq!(stored, Some(id), "queue {} offset {offset}", self.queue);
        }
        state.checked_to = from + records.len() as i64;
        // The reference drops index files after a crash, and builds them again only in part.
        if server.kind() == Kind::Ours {
            self.check_keys(conn, &state.acked, round);
        }
    }
}
