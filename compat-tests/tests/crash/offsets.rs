//! A consumer, and how far it says it has come.

use std::collections::BTreeMap;
use std::sync::Mutex;

use oxmq_compat_tests::ops::{self, response};
use oxmq_compat_tests::wire::Conn;
use oxmq_compat_tests::{ServerUnderTest, offsets_file};

use crate::load::{Load, Round, Work};
use crate::random::Random;
use crate::{GROUP, QUEUES, TOPIC};

/// The newest offset of each queue whose commit was answered or at least sent.
#[derive(Default)]
pub(crate) struct Offsets {
    committed: Mutex<BTreeMap<i32, i64>>,
}

impl Work for Offsets {
    fn run(&self, load: &Load, _random: Random) {
        let mut conn = Conn::connect(&load.broker);
        ops::heartbeat(&mut conn, "crash-consumer", GROUP, TOPIC);
        let mut next: BTreeMap<i32, i64> = (0..QUEUES)
            .map(|queue| {
                let offset = ops::committed_offset(&mut conn, GROUP, TOPIC, queue);
                (queue, offset.unwrap_or(0))
            })
            .collect();
        while load.goes_on() {
            for (&queue, next) in &mut next {
                let pull = ops::pull_request(GROUP, TOPIC, queue, *next);
                let Ok(answer) = conn.try_call(pull) else { return };
                if answer.code != response::SUCCESS {
                    continue;
                }
                *next = answer.number("nextBeginOffset");
                self.committed.lock().unwrap().insert(queue, *next);
                let commit = ops::commit_request(GROUP, TOPIC, queue, *next);
                if load.acked(&mut conn, &commit).is_none() {
                    return;
                }
            }
        }
    }

    /// Not before what was on disk when the broker died, and not beyond what was committed.
    fn check(&self, _server: &ServerUnderTest, conn: &mut Conn, round: &Round) {
        let mut committed = self.committed.lock().unwrap();
        for queue in 0..QUEUES {
            let resumed = ops::committed_offset(conn, GROUP, TOPIC, queue);
            let (least, most) = (round.persisted.get(&queue), committed.get(&queue));
            assert!(
                resumed.as_ref() >= least && resumed.as_ref() <= most,
                "queue {queue}: resumes at {resumed:?}, on disk {least:?}, committed {most:?}"
            );
            // It goes on from there.
            committed.extend(resumed.map(|offset| (queue, offset)));
        }
    }
}

/// The group's offsets as the file in the store has them.
pub(crate) fn persisted(server: &ServerUnderTest) -> BTreeMap<i32, i64> {
    offsets_file::persisted_offsets(server.store_dir(), TOPIC, GROUP)
}
