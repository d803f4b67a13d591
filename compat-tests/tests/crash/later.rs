//! Messages that are to be delivered some time after they were sent.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use oxmq_compat_tests::ops::{self, now_ms};
use oxmq_compat_tests::wire::Conn;
use oxmq_compat_tests::{Kind, ServerUnderTest, wait};

use crate::load::{Load, Round, Work};
use crate::random::Random;

const PROBE: &str = "crash_probe";
const LONGEST_MS: u64 = 2_500;
/// The delay of the first level.
const LEVEL_MS: i64 = 1_000;
/// How late one may come: the reference starts its timer some seconds after itself.
const LIMIT: Duration = Duration::from_secs(60);

/// How a message says when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// At a time of its own.
    Time,
    /// After the delay of a level.
    Level,
}

#[derive(Default)]
struct State {
    /// When each acknowledged message may be delivered at the earliest.
    due: BTreeMap<String, i64>,
    /// How often each was delivered, and up to where that was counted.
    delivered: BTreeMap<String, usize>,
    counted_to: i64,
}

pub(crate) struct Later {
    form: Form,
    topic: String,
    state: Mutex<State>,
}

impl Later {
    pub(crate) fn new(server: &ServerUnderTest, form: Form) -> Self {
        let topic = format!("crash_{form:?}").to_lowercase();
        ops::create_topic(server, &topic, 1);
        Self { form, topic, state: Mutex::default() }
    }
}

impl Work for Later {
    fn run(&self, load: &Load, mut random: Random) {
        let mut conn = Conn::connect(&load.broker);
        for index in 0.. {
            if !load.goes_on() {
                break;
            }
            let key = format!("later-{}-{index}", load.round);
            let (due, how) = match self.form {
                Form::Time => {
                    let due = now_ms() + 1 + random.below(LONGEST_MS).cast_signed();
                    (due, format!("TIMER_DELIVER_MS\u{1}{due}"))
                }
                Form::Level => (now_ms() + LEVEL_MS, "DELAY\u{1}1".to_owned()),
            };
            let properties = format!("UNIQ_KEY\u{1}{key}\u{2}{how}\u{2}");
            let request = ops::send_request(&self.topic, 0, &properties, key.as_bytes());
            if load.acked(&mut conn, &request).is_none() {
                break;
            }
            self.state.lock().unwrap().due.insert(key, due);
        }
    }

    /// All are delivered whose time has come, none before, and none twice.
    fn check(&self, server: &ServerUnderTest, conn: &mut Conn, round: &Round) {
        let state = &mut *self.state.lock().unwrap();
        let until = if round.is_last { i64::MAX } else { now_ms() };
        let State { due, delivered, counted_to } = state;
        wait::until(&format!("the delivery of all of {}", self.topic), LIMIT, || {
            for record in ops::walk_queue(conn, PROBE, &self.topic, 0, *counted_to) {
                *counted_to = record.queue_offset + 1;
                let key = record.text();
                if let Some(due) = due.get(key) {
                    let early = due - record.store_timestamp_ms;
                    assert!(early <= 0, "{key} of {} came {early} ms early", self.topic);
                }
                *delivered.entry(key.to_owned()).or_default() += 1;
            }
            let mut waiting = due.iter().filter(|(_, due)| **due <= until);
            waiting.all(|(key, _)| delivered.contains_key(key)).then_some(())
        });
        // A crash repeats what a level delivered since it saved its progress, and so does the timer
        // of the reference.
        if self.form == Form::Time && server.kind() == Kind::Ours {
            for (key, times) in delivered {
                assert_eq!(*times, 1, "{key} was delivered {times} times");
            }
        }
    }
}
