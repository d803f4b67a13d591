//! The texts of an answer that say which queue each message is from.
//!
//! Reference: `ExtraInfoUtil` (remoting), 5.5.0.

use std::fmt::Write as _;

use oxmq_protocol::message::TopicKind;

/// Entries with `;` between them, each a kind of topic and two texts with blanks between.
#[derive(Debug, Default)]
pub(super) struct OffsetInfo(String);

impl OffsetInfo {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the pop of a queue began.
    pub(super) fn start(&mut self, topic: &str, queue_id: i32, offset: i64) {
        self.begin(topic);
        self.write(format_args!("{queue_id} {offset}"));
    }

    /// Which messages of a queue there are.
    pub(super) fn messages(&mut self, topic: &str, queue_id: i32, offsets: &[i64]) {
        self.begin(topic);
        self.write(format_args!("{queue_id} "));
        for (at, offset) in offsets.iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            self.write(format_args!("{separator}{offset}"));
        }
    }

    /// How often the message at `offset` was given out before.
    pub(super) fn count_of_message(&mut self, topic: &str, queue_id: i32, offset: i64, times: i32) {
        self.begin(topic);
        self.write(format_args!("qo{queue_id}%{offset} {times}"));
    }

    /// How often every message of a queue was given out before, at least.
    pub(super) fn count_of_queue(&mut self, topic: &str, queue_id: i32, times: i32) {
        self.begin(topic);
        self.write(format_args!("{queue_id} {times}"));
    }

    fn begin(&mut self, topic: &str) {
        if !self.0.is_empty() {
            self.0.push(';');
        }
        self.0.push(TopicKind::of(topic).digit());
        self.0.push(' ');
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.0.write_fmt(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_the_reference() {
        let mut info = OffsetInfo::default();
        info.start("t", 3, 12);
        info.start("%RETRY%g_t", 0, 5);
        info.start("%RETRY%g+t", 0, 6);
        assert_eq!(info.as_str(), "0 3 12;1 0 5;2 0 6");
        let mut info = OffsetInfo::default();
        info.messages("t", 3, &[12, 14]);
        info.messages("%RETRY%g_t", 0, &[5]);
        assert_eq!(info.as_str(), "0 3 12,14;1 0 5");
        let mut info = OffsetInfo::default();
        info.count_of_message("t", 3, 12, 2);
        info.count_of_queue("t", 3, 0);
        assert_eq!(info.as_str(), "0 qo3%12 2;0 3 0");
    }
}
