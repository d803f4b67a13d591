//! Topics that are made and changed.

use std::collections::BTreeMap;
use std::sync::Mutex;

use oxmq_compat_tests::wire::Conn;
use oxmq_compat_tests::{ServerUnderTest, message_ops as more, ops};

use crate::load::{Load, Round, Work};
use crate::random::Random;

const TOPICS: u64 = 40;
const MOST_QUEUES: u64 = 16;

/// The number of queues that a topic was given last.
#[derive(Clone, Copy, Debug, Default)]
struct Queues {
    acked: Option<i64>,
    /// Sent, and maybe done.
    sent: Option<i64>,
}

/// Whoever makes topics.
#[derive(Default)]
pub(crate) struct Topics {
    topics: Mutex<BTreeMap<String, Queues>>,
}

impl Work for Topics {
    fn run(&self, load: &Load, mut random: Random) {
        let mut conn = Conn::connect(&load.broker);
        while load.goes_on() {
            let topic = format!("crash_topic_{}", random.below(TOPICS));
            let queues = 1 + random.below(MOST_QUEUES).cast_signed();
            let mut topics = self.topics.lock().unwrap();
            let known = topics.entry(topic.clone()).or_default();
            known.sent = Some(queues);
            let request = ops::topic_request(&topic, queues.unsigned_abs() as u32, "");
            if load.acked(&mut conn, &request).is_none() {
                break;
            }
            *known = Queues { acked: Some(queues), sent: None };
        }
    }

    fn check(&self, _server: &ServerUnderTest, conn: &mut Conn, round: &Round) {
        let configs = more::topic_configs(conn);
        for (topic, known) in &mut *self.topics.lock().unwrap() {
            let found = configs[topic]["writeQueueNums"].as_i64();
            let is_known = found == known.acked || (known.sent.is_some() && found == known.sent);
            assert!(is_known, "round {}: {topic} has {found:?} queues, {known:?}", round.number);
            *known = Queues { acked: found, sent: None };
        }
    }
}
