//! `QUERY_MESSAGE` (12) and `VIEW_MESSAGE_BY_ID` (33).
//!
//! Reference: `QueryMessageProcessor` (broker), 5.5.0.

use std::sync::Arc;

use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::header::{
    Header as _, QueryMessageRequestHeader, QueryMessageResponseHeader, ViewMessageRequestHeader,
};
use oxmq_store::MessageStore;

use super::{Answer, success};
use crate::error::RequestError;

/// Gives messages by key or by their place in the log.
#[derive(Debug)]
pub(crate) struct ViewMessage {
    store: Arc<MessageStore>,
}

impl ViewMessage {
    pub(crate) fn new(store: Arc<MessageStore>) -> Self {
        Self { store }
    }

    /// Answers with the records that have a key. May read files: not for a task that serves others.
    ///
    /// The hash of the key decides; the client compares the key itself.
    pub(crate) fn by_key(&self, request: &CommandView<'_>) -> Answer {
        let header = QueryMessageRequestHeader::decode(request)?;
        let by_unique_key = header.unique_key_query.as_deref() == Some("true");
        let most = match by_unique_key {
            true => self.store.config().default_query_max_num,
            false => u32::try_from(header.max_num).unwrap_or(0),
        };
        let found = self
            .store
            .query_message(
                &header.topic,
                &header.key,
                most,
                header.begin_timestamp,
                header.end_timestamp,
            )
            .map_err(|error| RequestError::Unchangeable(error.to_string()))?;
        let header = QueryMessageResponseHeader {
            index_last_update_timestamp: found.index_last_update_timestamp_ms,
            index_last_update_phyoffset: found.index_last_update_phy_offset,
        };
        let answer = if found.records.is_empty() {
            RemotingCommand::response(ResponseCode::QUERY_NOT_FOUND)
                .with_remark("can not find message, maybe time range not correct")
        } else {
            success().with_body(found.records)
        };
        Ok(answer.with_header(&header))
    }

    /// Answers with the record as it is stored.
    pub(crate) fn by_id(&self, request: &CommandView<'_>) -> Answer {
        let offset = ViewMessageRequestHeader::decode(request)?.offset;
        match self.store.look_message_by_offset(offset) {
            Some(record) => Ok(success().with_body(record)),
            None => Err(RequestError::MessageNotFound(offset)),
        }
    }
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::message::MessageExt;

    use super::super::testing::{managers, request, with_view};
    use super::*;

    #[test]
    fn messages_are_found_by_key_within_their_time() {
        let m = managers(|_| ());
        m.clock.set(5_000);
        m.put_with("t", 0, "first", b"KEYS\x01a b\x02UNIQ_KEY\x01u\x02");
        m.put_with("t", 1, "second", b"KEYS\x01b\x02");
        let processor = ViewMessage::new(Arc::clone(&m.store));
        let find = |key: &str, more: &[(&str, &str)]| {
            let mut fields = vec![
                ("topic", "t"),
                ("key", key),
                ("maxNum", "1"),
                ("beginTimestamp", "0"),
                ("endTimestamp", "9000"),
            ];
            fields.extend(more);
            let answer = with_view(&request(&fields), |view| processor.by_key(view)).unwrap();
            let bodies: Vec<_> = MessageExt::decode_all(&answer.body)
                .unwrap()
                .into_iter()
                .map(|message| String::from_utf8(message.body).unwrap())
                .collect();
            (answer.code, bodies)
        };
        assert_eq!(find("a", &[]), (0, vec!["first".to_owned()]));
        assert_eq!(find("b", &[]).1.len(), 1, "no more than asked for");
        assert_eq!(find("b", &[("maxNum", "9")]).1.len(), 2);
        assert_eq!(find("u", &[("maxNum", "-1"), ("_UNIQUE_KEY_QUERY", "true")]).1, ["first"]);
        assert_eq!(find("c", &[]), (22, vec![]));
        assert_eq!(find("a", &[("endTimestamp", "4000")]).0, 22);
    }

    #[test]
    fn message_is_found_at_its_place_and_nowhere_else() {
        let m = managers(|_| ());
        let first = m.put("t", 0, "first");
        let second = m.put("t", 0, "second");
        let processor = ViewMessage::new(Arc::clone(&m.store));
        let view = |offset: i64| {
            let request = request(&[("offset", &offset.to_string())]);
            with_view(&request, |view| processor.by_id(view))
        };
        for (offset, body) in [(first, "first"), (second, "second")] {
            let message = MessageExt::decode(&view(offset).unwrap().body).unwrap();
            assert_eq!((message.body.as_slice(), message.queue_id), (body.as_bytes(), 0));
        }
        for offset in [-1, first + 1, second + 1_000_000, i64::MAX] {
            let refused = view(offset).unwrap_err();
            assert_eq!(refused.response_code().0, 1);
            assert_eq!(
                refused.to_string(),
                format!("can not find message by the offset, {offset}")
            );
        }
    }
}
