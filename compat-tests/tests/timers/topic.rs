//! A topic whose messages are for later.

use oxmq_compat_tests::ops::{self, code};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Record, ServerUnderTest, wait};

use crate::{GROUP, LIMIT};

/// A topic of one queue and a connection that uses it.
pub(crate) struct Topic {
    pub(crate) conn: Conn,
    pub(crate) name: String,
    sent: usize,
}

impl Topic {
    pub(crate) fn create(server: &ServerUnderTest, name: &str) -> Self {
        let name = format!("timers_{name}");
        ops::create_topic(server, &name, 1);
        Self { conn: Conn::connect(&server.broker_addr()), name, sent: 0 }
    }

    pub(crate) fn send(&mut self, body: &str, form: &str) -> Command {
        self.send_to(0, body, form)
    }

    pub(crate) fn send_to(&mut self, queue_id: i32, body: &str, form: &str) -> Command {
        self.sent += 1;
        let properties = format!("UNIQ_KEY\u{1}{}-{}\u{2}{form}", self.name, self.sent);
        self.conn.call(ops::send_request(&self.name, queue_id, &properties, body.as_bytes()))
    }

    pub(crate) fn recall(&mut self, handle: &str) -> Command {
        let fields = [
            ("producerGroup", "compat_producer"),
            ("topic", self.name.as_str()),
            ("recallHandle", handle),
        ];
        self.conn.call(Command::request(code::RECALL_MESSAGE, &fields))
    }

    pub(crate) fn delivered(&mut self) -> Vec<Record> {
        ops::walk_queue(&mut self.conn, GROUP, &self.name, 0, 0)
    }

    pub(crate) fn await_delivered_at_least(&mut self, count: usize) -> Vec<Record> {
        let (conn, name) = (&mut self.conn, &self.name);
        wait::until(&format!("{count} messages in {name}"), LIMIT, || {
            (ops::max_offset(conn, name, 0) >= count as i64).then_some(())
        });
        self.delivered()
    }

    pub(crate) fn await_delivered(&mut self, count: usize) -> Vec<Record> {
        let delivered = self.await_delivered_at_least(count);
        assert_eq!(delivered.len(), count, "{delivered:?}");
        delivered
    }
}
