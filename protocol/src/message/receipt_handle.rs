//! What a consumer gives a popped message back by: numbers and names with a blank between them.
//!
//! ```text
//! start offset, pop time, invisible time, revive queue, topic kind, broker, queue [, offset]
//! ```
//!
//! Reference: `ExtraInfoUtil` (remoting), 5.5.0.

use std::fmt;

/// Which of a topic's own and its groups' retry topics a message was popped from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicKind {
    /// The topic itself.
    Normal,
    /// `%RETRY%group_topic`.
    RetryV1,
    /// `%RETRY%group+topic`.
    RetryV2,
}

impl TopicKind {
    const RETRY_PREFIX: &str = "%RETRY%";
    const V1_SEPARATOR: char = '_';
    const V2_SEPARATOR: char = '+';

    /// The kind of `topic`, going by its name.
    pub fn of(topic: &str) -> Self {
        match topic.strip_prefix(Self::RETRY_PREFIX) {
            None => Self::Normal,
            Some(rest) if rest.contains(Self::V2_SEPARATOR) => Self::RetryV2,
            Some(_) => Self::RetryV1,
        }
    }

    /// The kind that a receipt names so.
    pub fn from_digit(digit: &str) -> Option<Self> {
        match digit {
            "0" => Some(Self::Normal),
            "1" => Some(Self::RetryV1),
            "2" => Some(Self::RetryV2),
            _ => None,
        }
    }

    /// How receipts name it.
    pub const fn digit(self) -> char {
        match self {
            Self::Normal => '0',
            Self::RetryV1 => '1',
            Self::RetryV2 => '2',
        }
    }

    /// The topic of this kind that `group` pops when it pops `topic`.
    pub fn topic(self, topic: &str, group: &str) -> String {
        let prefix = Self::RETRY_PREFIX;
        match self {
            Self::Normal => topic.to_owned(),
            Self::RetryV1 => format!("{prefix}{group}{}{topic}", Self::V1_SEPARATOR),
            Self::RetryV2 => format!("{prefix}{group}{}{topic}", Self::V2_SEPARATOR),
        }
    }

    /// The topic that `group` popped when it was given messages of `topic`.
    pub fn normal_topic<'t>(topic: &'t str, group: &str) -> &'t str {
        let separators = [Self::V1_SEPARATOR, Self::V2_SEPARATOR];
        topic
            .strip_prefix(Self::RETRY_PREFIX)
            .and_then(|rest| rest.strip_prefix(group)?.strip_prefix(separators))
            .unwrap_or(topic)
    }
}

/// Text that is no receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("receipt handle: {0}")]
pub struct ReceiptHandleError(&'static str);

/// One popped message, as its consumer names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptHandle<'a> {
    /// Where the pop of the queue began.
    pub start_offset: i64,
    /// When, ms since 1970.
    pub pop_time_ms: i64,
    /// For how long, ms.
    pub invisible_ms: i64,
    /// Queue of the revive topic, or [`Self::ORDERLY`].
    pub revive_queue_id: i32,
    /// Which topic it was.
    pub kind: TopicKind,
    /// Broker that gave it out.
    pub broker_name: &'a str,
    /// Its queue.
    pub queue_id: i32,
    /// Its offset.
    pub queue_offset: i64,
}

impl<'a> ReceiptHandle<'a> {
    /// The revive queue of messages that are consumed in order, which have none.
    pub const ORDERLY: i32 = 999;

    /// Reads a receipt.
    ///
    /// # Errors
    /// When a field is missing or no number.
    pub fn parse(text: &'a str) -> Result<Self, ReceiptHandleError> {
        fn number<'t, T: std::str::FromStr>(
            fields: &mut impl Iterator<Item = &'t str>,
            name: &'static str,
        ) -> Result<T, ReceiptHandleError> {
            fields.next().and_then(|field| field.parse().ok()).ok_or(ReceiptHandleError(name))
        }
        let fields = &mut text.split(' ');
        let start_offset = number(fields, "no start offset")?;
        let pop_time_ms = number(fields, "no pop time")?;
        let invisible_ms = number(fields, "no invisible time")?;
        let revive_queue_id = number(fields, "no revive queue")?;
        let kind = fields.next().and_then(TopicKind::from_digit);
        let kind = kind.ok_or(ReceiptHandleError("no kind of topic"))?;
        // It becomes part of a property, whose separators are control characters.
        let is_name = |name: &&str| !name.is_empty() && !name.contains(char::is_control);
        let broker_name = fields.next().filter(is_name);
        let broker_name = broker_name.ok_or(ReceiptHandleError("no broker"))?;
        let queue_id = number(fields, "no queue")?;
        // Clients that name the message by header fields leave it out.
        let queue_offset = match fields.next() {
            None => -1,
            Some(field) => field.parse().map_err(|_| ReceiptHandleError("no offset"))?,
        };
        Ok(Self {
            start_offset,
            pop_time_ms,
            invisible_ms,
            revive_queue_id,
            kind,
            broker_name,
            queue_id,
            queue_offset,
        })
    }
}

impl fmt::Display for ReceiptHandle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start_offset, pop_time_ms, invisible_ms, revive_queue_id, .. } = self;
        let Self { broker_name, queue_id, queue_offset, .. } = self;
        let kind = self.kind.digit();
        write!(f, "{start_offset} {pop_time_ms} {invisible_ms} {revive_queue_id} {kind} ")?;
        write!(f, "{broker_name} {queue_id} {queue_offset}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "12 1700000000000 60000 3 1 broker-a 5 14";

    #[test]
    fn receipt_is_read_as_it_is_written() {
        let handle = ReceiptHandle::parse(TEXT).unwrap();
        assert_eq!((handle.start_offset, handle.queue_offset), (12, 14));
        assert_eq!((handle.kind, handle.broker_name), (TopicKind::RetryV1, "broker-a"));
        assert_eq!(handle.revive_queue_id, 3);
        assert_eq!(handle.to_string(), TEXT);
        let short = ReceiptHandle::parse("12 1 2 999 0 b 5").unwrap();
        assert_eq!((short.revive_queue_id, short.queue_offset), (ReceiptHandle::ORDERLY, -1));
        // The proxy puts the place in the log behind.
        assert_eq!(ReceiptHandle::parse(&format!("{TEXT} 99")).unwrap(), handle);
    }

    #[test]
    fn text_that_lacks_a_field_is_refused_with_its_name() {
        for (text, missing) in [
            ("", "no start offset"),
            ("1 2 3", "no revive queue"),
            ("1 2 3 4 5", "no kind of topic"),
            ("1 2 3 4 0", "no broker"),
            ("1 2 3 4 0 a\u{1}b 5", "no broker"),
            ("1 2 3 4 0 b", "no queue"),
            ("1 2 3 4 0 b 5 x", "no offset"),
            ("1  3 4 0 b 5", "no pop time"),
        ] {
            assert_eq!(ReceiptHandle::parse(text), Err(ReceiptHandleError(missing)), "{text:?}");
        }
    }

    #[test]
    fn retry_topics_are_named_and_told_apart() {
        for (kind, name) in [
            (TopicKind::Normal, "t_1"),
            (TopicKind::RetryV1, "%RETRY%g_1_t_1"),
            (TopicKind::RetryV2, "%RETRY%g_1+t_1"),
        ] {
            assert_eq!(kind.topic("t_1", "g_1"), name);
            assert_eq!(TopicKind::of(name), kind);
            assert_eq!(TopicKind::normal_topic(name, "g_1"), "t_1");
            assert_eq!(TopicKind::from_digit(&kind.digit().to_string()), Some(kind));
        }
        assert_eq!(TopicKind::normal_topic("%RETRY%h_t", "g"), "%RETRY%h_t");
    }
}
