//! Messages for a time of their own: each comes once, and not before its time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::run::{Member, Stop, connect};
use super::schedule::Random;
use crate::ops::{self, now_ms, response};
use crate::wire::Conn;
use crate::{Kind, ServerUnderTest, wait};

const TOPIC: &str = "history_timers";
/// Between two messages.
const PACE: Duration = Duration::from_millis(25);
const LEAST_DELAY_MS: u32 = 1_000;
const MORE_DELAY_MS: u32 = 3_000;
/// The reference delivers at whole seconds, the one before the time included.
const REFERENCE_EARLY_MS: i64 = 1_000;
const LIMIT: Duration = Duration::from_secs(90);

#[derive(Clone, Copy)]
struct Sent {
    due_ms: i64,
    acked: bool,
}

type All = Arc<Mutex<BTreeMap<u32, Sent>>>;

pub(super) struct Timers {
    sent: All,
    member: Option<Member>,
}

impl Timers {
    pub(super) fn start(server: &ServerUnderTest) -> Self {
        ops::create_topic(server, TOPIC, 1);
        let sent = All::default();
        let noted = Arc::clone(&sent);
        let work = move |addr: String, stop: &Stop| produce(&addr, &noted, stop);
        Self { sent, member: Some(Member::start("", &server.broker_addr(), work)) }
    }

    pub(super) fn cut(&self) {
        self.member.as_ref().expect("it runs").cut();
    }

    /// What is wrong, and how many there were.
    pub(super) fn finish(
        mut self,
        server: &ServerUnderTest,
        repeats: bool,
    ) -> (Vec<String>, usize) {
        self.member.take().expect("it runs").leave();
        let sent = self.sent.lock().unwrap();
        let mut conn = Conn::connect(&server.broker_addr());
        let early_ms = if server.kind() == Kind::Ours { 0 } else { REFERENCE_EARLY_MS };
        let mut given: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
        let read = wait::try_until(LIMIT, || {
            given.clear();
            for record in ops::walk_queue(&mut conn, "history_reader", TOPIC, 0, 0) {
                let index = record.text().parse().expect("a message of ours");
                given.entry(index).or_default().push(record.store_timestamp_ms);
            }
            sent.iter().all(|(index, sent)| !sent.acked || given.contains_key(index)).then_some(())
        });
        let mut problems = Vec::new();
        if read.is_none() {
            let missing =
                sent.iter().filter(|(index, sent)| sent.acked && !given.contains_key(index));
            problems.extend(missing.map(|(index, _)| format!("timer message {index} never came")));
        }
        for (index, times) in &given {
            let due_ms = sent[index].due_ms;
            if times.len() > 1 && !repeats {
                problems.push(format!("timer message {index} came {} times", times.len()));
            }
            if let Some(at) = times.iter().find(|at| **at < due_ms - early_ms) {
                problems.push(format!("timer message {index} came {} ms early", due_ms - at));
            }
        }
        (problems, sent.len())
    }
}

fn produce(addr: &str, noted: &All, stop: &Stop) {
    let mut random = Random::new(1);
    let mut conn = None;
    for index in 0.. {
        std::thread::sleep(PACE);
        if stop.is_set() {
            return;
        }
        conn = conn.or_else(|| connect(addr));
        let Some(connected) = conn.as_mut() else { continue };
        let delay_ms = i64::from(LEAST_DELAY_MS + random.below(MORE_DELAY_MS));
        let due_ms = now_ms() + delay_ms;
        noted.lock().unwrap().insert(index, Sent { due_ms, acked: false });
        let properties = format!("TIMER_DELAY_MS\u{1}{delay_ms}\u{2}");
        let request = ops::send_request(TOPIC, 0, &properties, index.to_string().as_bytes());
        match connected.try_call(request) {
            Ok(answer) => {
                let acked = answer.code == response::SUCCESS;
                noted.lock().unwrap().insert(index, Sent { due_ms, acked });
            }
            Err(_) => conn = None,
        }
    }
}
