//! A producer that sends one message after the other and tries again until it knows.

use std::sync::Arc;
use std::time::Duration;

use super::log::{Log, Message, What};
use super::run::{Stop, connect};
use super::schedule::Random;
use crate::ops::{self, response};

/// Between two messages.
const PACE: Duration = Duration::from_millis(4);
/// Before a message that failed is sent again.
const AGAIN: Duration = Duration::from_millis(50);
/// The longest body, beyond its name.
const MOST_FILLER: u32 = 1_200;

pub(super) struct Producer {
    pub(super) log: Arc<Log>,
    pub(super) addr: String,
    pub(super) number: u32,
    pub(super) topic: &'static str,
    pub(super) queues: i32,
}

impl Producer {
    /// Sends until it is told to stop. One that crashes leaves its last message as it is.
    pub(super) fn run(self, stop: &Stop) {
        let mut random = Random::new(u64::from(self.number));
        let mut conn = None;
        for index in 0.. {
            let message = Message { producer: self.number, index };
            let queue = random.below(self.queues as u32) as i32;
            let filler = "x".repeat(random.below(MOST_FILLER) as usize);
            let body = format!("{message} {filler}");
            loop {
                if stop.is_set() {
                    return;
                }
                if conn.is_none() {
                    conn = connect(&self.addr);
                }
                let Some(connected) = conn.as_mut() else {
                    std::thread::sleep(AGAIN);
                    continue;
                };
                self.log.note(What::Sent { message });
                match connected.try_call(ops::send_request(self.topic, queue, "", body.as_bytes()))
                {
                    Ok(answer) if answer.code == response::SUCCESS => {
                        let offset = answer.number("queueOffset");
                        self.log.note(What::Acked { message, queue, offset });
                        break;
                    }
                    // Busy, or on its way down: the answer does not tell whether it was stored.
                    Ok(_) => std::thread::sleep(AGAIN),
                    Err(_) => conn = None,
                }
            }
            std::thread::sleep(PACE);
        }
    }
}
