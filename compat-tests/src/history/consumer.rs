//! A consumer: it says hello, shares the queues with the other members of its group, pulls and commits.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::log::{Log, Message, Queue, What};
use super::run::{Stop, connect};
use super::schedule::Random;
use crate::Record;
use crate::ops::{self, code, response};
use crate::server::BROKER_NAME;
use crate::wire::{Command, Conn};

const LOCK_BATCH_MQ: i32 = 41;
const UNLOCK_BATCH_MQ: i32 = 42;
/// Pull flags: an offset to commit is in the request; the answer may wait; so is the subscription.
const COMMIT: i32 = 1;
const SUSPEND: i32 = 2;
const SUBSCRIPTION: i32 = 4;
/// Between two heartbeats.
const BEAT: Duration = Duration::from_millis(1_000);
/// Between two looks at who is there, unless the broker says that it changed.
const SHARE: Duration = Duration::from_millis(500);
/// Before a broker that is gone is tried again, and between two pulls of an idle consumer.
const AGAIN: Duration = Duration::from_millis(20);
/// How long a pull may be held.
const HELD_MS: &str = "60";

pub(super) struct Consumer {
    pub(super) log: Arc<Log>,
    pub(super) addr: String,
    pub(super) client_id: String,
    pub(super) group: &'static str,
    pub(super) topic: &'static str,
    pub(super) queues: Queue,
    /// Whether queues are locked before they are pulled from.
    pub(super) orderly: bool,
    pub(super) random: Random,
}

/// A queue that this consumer works on.
struct Session {
    number: u32,
    next: i64,
    /// Committed with the next pull, if it was not yet.
    uncommitted: Option<i64>,
}

#[derive(Default)]
struct State {
    sessions: BTreeMap<Queue, Session>,
    beat_at: Option<Instant>,
    share_at: Option<Instant>,
}

impl Consumer {
    pub(super) fn run(mut self, stop: &Stop) {
        while !stop.is_set() {
            let Some(mut conn) = connect(&self.addr) else {
                std::thread::sleep(AGAIN);
                continue;
            };
            let mut state = State::default();
            let left = self.work(&mut conn, &mut state, stop);
            if left.is_ok() && !stop.is_crash() {
                // What fails now is the same as a crash.
                self.leave(&mut conn, &mut state).ok();
            }
            for session in state.sessions.into_values() {
                self.log.note(What::Ended { session: session.number });
            }
        }
    }

    /// Works until it is told to stop, or its connection ends.
    fn work(&mut self, conn: &mut Conn, state: &mut State, stop: &Stop) -> io::Result<()> {
        while !stop.is_set() {
            if state.beat_at.is_none_or(|at| at.elapsed() >= BEAT) {
                state.beat_at = Some(Instant::now());
                self.beat(conn, state)?;
            }
            if state.share_at.is_none_or(|at| at.elapsed() >= SHARE) {
                state.share_at = Some(Instant::now());
                self.share(conn, state)?;
            }
            let mut idle = true;
            let mine: Vec<Queue> = state.sessions.keys().copied().collect();
            for queue in mine {
                if stop.is_set() {
                    return Ok(());
                }
                idle &= !self.pull(conn, state, queue, stop)?;
            }
            if idle {
                std::thread::sleep(AGAIN);
            }
        }
        Ok(())
    }

    fn beat(&self, conn: &mut Conn, state: &mut State) -> io::Result<()> {
        let body = json!({
            "clientID": self.client_id,
            "producerDataSet": [],
            "consumerDataSet": [{
                "groupName": self.group,
                "consumeType": "CONSUME_PASSIVELY",
                "messageModel": "CLUSTERING",
                "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET",
                "subscriptionDataSet": [{
                    "topic": self.topic, "subString": "*", "tagsSet": [], "codeSet": [],
                    "subVersion": 1, "expressionType": "TAG", "classFilterMode": false,
                }],
                "unitMode": false,
            }],
        });
        let request = Command::request(code::HEART_BEAT, &[]).with_body(body.to_string());
        self.call(conn, state, request)?;
        Ok(())
    }

    /// Takes and gives up queues so that each member of the group has its share of them.
    fn share(&self, conn: &mut Conn, state: &mut State) -> io::Result<()> {
        let request =
            Command::request(code::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", self.group)]);
        let answer = self.call(conn, state, request)?;
        let members: BTreeSet<String> = if answer.code == response::SUCCESS {
            let body: Value = serde_json::from_slice(&answer.body)?;
            let ids = body["consumerIdList"].as_array().cloned().unwrap_or_default();
            ids.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        } else {
            BTreeSet::new()
        };
        let place = members.iter().position(|id| *id == self.client_id);
        let mine: BTreeSet<Queue> = match place {
            Some(place) => {
                (0..self.queues).filter(|queue| *queue as usize % members.len() == place).collect()
            }
            // The broker has just started and does not know us: nothing is said about the others.
            None => return Ok(()),
        };
        let lost: Vec<Queue> =
            state.sessions.keys().filter(|queue| !mine.contains(queue)).copied().collect();
        for queue in lost {
            self.give_up(conn, state, queue)?;
        }
        let locked = if self.orderly { self.lock(conn, state, &mine)? } else { mine };
        let unlocked: Vec<Queue> =
            state.sessions.keys().filter(|queue| !locked.contains(queue)).copied().collect();
        for queue in unlocked {
            self.end(state, queue);
        }
        for queue in locked {
            if !state.sessions.contains_key(&queue) {
                self.take_over(conn, state, queue)?;
            }
        }
        Ok(())
    }

    fn take_over(&self, conn: &mut Conn, state: &mut State, queue: Queue) -> io::Result<()> {
        let query = self.log.number();
        self.log.note(What::QuerySent { query });
        let request = Command::request(
            code::QUERY_CONSUMER_OFFSET,
            &[
                ("consumerGroup", self.group),
                ("topic", self.topic),
                ("queueId", &queue.to_string()),
                ("setZeroIfNotFound", "false"),
            ],
        );
        let answer = self.call(conn, state, request)?;
        let offset = match answer.code {
            response::SUCCESS => Some(answer.number("offset")),
            response::QUERY_NOT_FOUND => None,
            _ => return Ok(()),
        };
        let group = self.group;
        self.log.note(What::QueryAnswered { query, group, queue, offset });
        let (number, next) = (self.log.number(), offset.unwrap_or(0));
        self.log.note(What::Began { session: number, group, queue, offset: next });
        state.sessions.insert(queue, Session { number, next, uncommitted: None });
        Ok(())
    }

    /// Commits, and lets another member have the queue.
    fn give_up(&self, conn: &mut Conn, state: &mut State, queue: Queue) -> io::Result<()> {
        self.commit(conn, state, queue)?;
        self.end(state, queue);
        if self.orderly {
            self.call(conn, state, self.about_locks(UNLOCK_BATCH_MQ, &[queue].into()))?;
        }
        Ok(())
    }

    fn end(&self, state: &mut State, queue: Queue) {
        if let Some(session) = state.sessions.remove(&queue) {
            self.log.note(What::Ended { session: session.number });
        }
    }

    /// The queues among `mine` whose lock this consumer has now.
    fn lock(
        &self,
        conn: &mut Conn,
        state: &mut State,
        mine: &BTreeSet<Queue>,
    ) -> io::Result<BTreeSet<Queue>> {
        let answer = self.call(conn, state, self.about_locks(LOCK_BATCH_MQ, mine))?;
        if answer.code != response::SUCCESS {
            return Ok(BTreeSet::new());
        }
        let body: Value = serde_json::from_slice(&answer.body)?;
        let locked = body["lockOKMQSet"].as_array().cloned().unwrap_or_default();
        Ok(locked
            .iter()
            .filter_map(|queue| queue["queueId"].as_i64())
            .map(|id| id as i32)
            .collect())
    }

    fn about_locks(&self, code: i32, queues: &BTreeSet<Queue>) -> Command {
        let queues: Vec<Value> = queues
            .iter()
            .map(|id| json!({"topic": self.topic, "brokerName": BROKER_NAME, "queueId": id}))
            .collect();
        let body =
            json!({"consumerGroup": self.group, "clientId": self.client_id, "mqSet": queues});
        Command::request(code, &[]).with_body(body.to_string())
    }

    /// Pulls from a queue once; answers whether there was something.
    fn pull(
        &mut self,
        conn: &mut Conn,
        state: &mut State,
        queue: Queue,
        stop: &Stop,
    ) -> io::Result<bool> {
        let Some(session) = state.sessions.get_mut(&queue) else { return Ok(false) };
        let (number, next) = (session.number, session.next);
        let mut flags = SUBSCRIPTION;
        let mut request = ops::pull_request(self.group, self.topic, queue, next);
        if self.random.below(4) == 0 {
            flags |= SUSPEND;
            request.ext.insert("suspendTimeoutMillis".to_owned(), HELD_MS.to_owned());
        }
        let mut commit = None;
        if let Some(offset) = session.uncommitted.take() {
            flags |= COMMIT;
            request.ext.insert("commitOffset".to_owned(), offset.to_string());
            commit = Some(self.note_commit(queue, offset));
        }
        request.ext.insert("sysFlag".to_owned(), flags.to_string());
        let answer = self.call(conn, state, request)?;
        let committed = [
            response::SUCCESS,
            response::PULL_NOT_FOUND,
            response::PULL_RETRY_IMMEDIATELY,
            response::PULL_OFFSET_MOVED,
        ];
        if let Some(commit) = commit
            && committed.contains(&answer.code)
        {
            self.log.note(What::CommitAcked { commit });
        }
        let next = match answer.code {
            response::SUCCESS => {
                for record in Record::decode_all(&answer.body) {
                    if stop.is_crash() {
                        return Ok(true);
                    }
                    let message = Message::parse(record.text()).expect("a message of ours");
                    let offset = record.queue_offset;
                    self.log.note(What::Delivered { session: number, offset, message });
                }
                answer.number("nextBeginOffset")
            }
            response::PULL_RETRY_IMMEDIATELY => answer.number("nextBeginOffset"),
            // Nothing yet. The reference says "moved" while it has not read its log to the end.
            _ => return Ok(false),
        };
        let Some(session) = state.sessions.get_mut(&queue) else { return Ok(true) };
        session.next = next;
        session.uncommitted = Some(next);
        // Else with the next pull.
        if self.orderly || self.random.below(2) == 0 {
            self.commit(conn, state, queue)?;
        }
        Ok(true)
    }

    fn note_commit(&self, queue: Queue, offset: i64) -> u32 {
        let commit = self.log.number();
        self.log.note(What::CommitSent { commit, group: self.group, queue, offset });
        commit
    }

    fn commit(&self, conn: &mut Conn, state: &mut State, queue: Queue) -> io::Result<()> {
        let session = state.sessions.get_mut(&queue);
        let Some(offset) = session.and_then(|session| session.uncommitted.take()) else {
            return Ok(());
        };
        let commit = self.note_commit(queue, offset);
        let request = ops::commit_request(self.group, self.topic, queue, offset);
        let answer = self.call(conn, state, request)?;
        if answer.code == response::SUCCESS {
            self.log.note(What::CommitAcked { commit });
        }
        Ok(())
    }

    fn leave(&self, conn: &mut Conn, state: &mut State) -> io::Result<()> {
        let mine: Vec<Queue> = state.sessions.keys().copied().collect();
        for queue in mine {
            self.give_up(conn, state, queue)?;
        }
        let fields = [("clientID", self.client_id.as_str()), ("consumerGroup", self.group)];
        self.call(conn, state, Command::request(code::UNREGISTER_CLIENT, &fields))?;
        Ok(())
    }

    /// Asks, and minds what the broker says by itself.
    fn call(&self, conn: &mut Conn, state: &mut State, request: Command) -> io::Result<Command> {
        conn.call_minding(request, |_, asked| {
            if asked.code == code::NOTIFY_CONSUMER_IDS_CHANGED {
                state.share_at = None;
            }
            Ok(())
        })
    }
}
