//! Half messages and what their producer decides about them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Kind, ServerUnderTest, wait};

use crate::load::{Load, Round, Work};
use crate::random::Random;

const TOPIC: &str = "crash_transactions";
const GROUP: &str = "crash_producers";
const PROBE: &str = "crash_probe";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Commit,
    Rollback,
}

impl Decision {
    fn code(self) -> &'static str {
        match self {
            Self::Commit => "8",
            Self::Rollback => "12",
        }
    }
}

/// A half message whose send was acknowledged.
#[derive(Clone, Debug)]
struct Half {
    key: String,
    offset: i64,
    commit_log_offset: i64,
}

#[derive(Default)]
struct State {
    /// Not decided, or nobody knows whether it is: with the decision that was sent.
    open: Vec<(Half, Option<Decision>)>,
    /// Acknowledged decisions by key.
    decided: BTreeMap<String, Decision>,
    /// How often each message was delivered, and up to where that was counted.
    delivered: BTreeMap<String, usize>,
    counted_to: i64,
}

/// A producer that commits, rolls back, or does not get to it.
pub(crate) struct Transactions {
    state: Mutex<State>,
}

impl Transactions {
    pub(crate) fn new(server: &ServerUnderTest) -> Self {
        ops::create_topic(server, TOPIC, 1);
        Self { state: Mutex::default() }
    }
}

fn half_request(key: &str) -> Command {
    let properties =
        format!("UNIQ_KEY\u{1}{key}\u{2}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{GROUP}\u{2}");
    ops::send_request(TOPIC, 0, &properties, key.as_bytes())
}

fn decision_request(half: &Half, decision: Decision) -> Command {
    Command::request(
        code::END_TRANSACTION,
        &[
            ("producerGroup", GROUP),
            ("tranStateTableOffset", &half.offset.to_string()),
            ("commitLogOffset", &half.commit_log_offset.to_string()),
            ("commitOrRollback", decision.code()),
            ("msgId", &half.key),
            ("transactionId", &half.key),
        ],
    )
}

impl Work for Transactions {
    fn run(&self, load: &Load, mut random: Random) {
        let mut conn = Conn::connect(&load.broker);
        for index in 0.. {
            if !load.goes_on() {
                break;
            }
            let key = format!("half-{}-{index}", load.round);
            let Some(answer) = load.acked(&mut conn, &half_request(&key)) else { break };
            let id = &answer.ext["msgId"];
            let half = Half {
                offset: answer.number("queueOffset"),
                commit_log_offset: i64::from_str_radix(&id[id.len() - 16..], 16).unwrap(),
                key,
            };
            let decision = match random.below(4) {
                0 => Decision::Rollback,
                1 => {
                    self.state.lock().unwrap().open.push((half, None));
                    continue;
                }
                _ => Decision::Commit,
            };
            let acked = load.acked(&mut conn, &decision_request(&half, decision)).is_some();
            let mut state = self.state.lock().unwrap();
            if !acked {
                state.open.push((half, Some(decision)));
                break;
            }
            state.decided.insert(half.key, decision);
        }
    }

    /// What was not decided for certain can be decided now; then all that was committed is
    /// delivered, and nothing else.
    fn check(&self, server: &ServerUnderTest, conn: &mut Conn, round: &Round) {
        let state = &mut *self.state.lock().unwrap();
        for (half, sent) in state.open.drain(..) {
            let decision = sent.unwrap_or(Decision::Commit);
            let answer = conn.call(decision_request(&half, decision));
            assert_eq!(
                answer.code,
                response::SUCCESS,
                "round {}: {half:?} {answer:?}",
                round.number
            );
            state.decided.insert(half.key, decision);
        }
        let committed = |decided: &BTreeMap<String, Decision>| -> Vec<String> {
            let all = decided.iter().filter(|(_, decision)| **decision == Decision::Commit);
            all.map(|(key, _)| key.clone()).collect()
        };
        let expected = committed(&state.decided);
        wait::until("the delivery of what was committed", ops::ROUTE_LIMIT, || {
            for record in ops::walk_queue(conn, PROBE, TOPIC, 0, state.counted_to) {
                state.counted_to = record.queue_offset + 1;
                *state.delivered.entry(record.text().to_owned()).or_default() += 1;
            }
            expected.iter().all(|key| state.delivered.contains_key(key)).then_some(())
        });
        for (key, times) in &state.delivered {
            assert_eq!(state.decided.get(key), Some(&Decision::Commit), "{key} was delivered");
            // The reference delivers again when it is told again.
            assert!(
                *times == 1 || server.kind() != Kind::Ours,
                "{key} was delivered {times} times"
            );
        }
    }
}
