//! `SEARCH_OFFSET_BY_TIMESTAMP` (29), `GET_MAX_OFFSET` (30), `GET_MIN_OFFSET` (31) and
//! `GET_EARLIEST_MSG_STORETIME` (32).
//!
//! Reference: `AdminBrokerProcessor` (broker), 5.5.0. Neither topic nor queue is checked: one that does
//! not exist is empty.

use std::sync::Arc;

use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::header::{
    GetEarliestMsgStoretimeRequestHeader, GetEarliestMsgStoretimeResponseHeader,
    GetMaxOffsetRequestHeader, GetMinOffsetRequestHeader, Header as _, OffsetResponseHeader,
    SearchOffsetRequestHeader,
};
use oxmq_store::{Boundary, MessageStore};

use super::success;
use crate::error::RequestError;
use crate::pop::lite::queue_name;
use crate::topic_validator::is_blank;

/// Tells what a queue holds.
#[derive(Debug)]
pub(crate) struct QueueOffset {
    store: Arc<MessageStore>,
}

impl QueueOffset {
    pub(crate) fn new(store: Arc<MessageStore>) -> Self {
        Self { store }
    }

    /// Answers with the offset that the next message gets.
    pub(crate) fn max(&self, request: &CommandView<'_>) -> Result<RemotingCommand, RequestError> {
        let header = GetMaxOffsetRequestHeader::decode(request)?;
        Ok(offset(self.store.max_offset(&header.topic, header.queue_id)))
    }

    /// Answers with the oldest offset.
    pub(crate) fn min(&self, request: &CommandView<'_>) -> Result<RemotingCommand, RequestError> {
        let header = GetMinOffsetRequestHeader::decode(request)?;
        Ok(offset(self.store.min_offset(&header.topic, header.queue_id)))
    }

    /// Answers with the offset of the first or last message of a time.
    pub(crate) fn search(
        &self,
        request: &CommandView<'_>,
    ) -> Result<RemotingCommand, RequestError> {
        let mut header = SearchOffsetRequestHeader::decode(request)?;
        if let Some(lite_topic) = header.lite_topic.as_deref().filter(|name| !is_blank(name)) {
            header.topic = queue_name(&header.topic, lite_topic).unwrap_or_default();
            if self.store.max_offset(&header.topic, header.queue_id) <= 0 {
                return Ok(offset(0));
            }
        }
        let upper =
            header.boundary_type.is_some_and(|boundary| boundary.eq_ignore_ascii_case("upper"));
        let boundary = if upper { Boundary::Upper } else { Boundary::Lower };
        Ok(offset(self.store.offset_by_time(
            &header.topic,
            header.queue_id,
            header.timestamp,
            boundary,
        )))
    }

    /// Answers with the store time of the oldest message; -1 when there is none.
    pub(crate) fn earliest_store_time(
        &self,
        request: &CommandView<'_>,
    ) -> Result<RemotingCommand, RequestError> {
        let header = GetEarliestMsgStoretimeRequestHeader::decode(request)?;
        let timestamp =
            self.store.earliest_message_time(&header.topic, header.queue_id).unwrap_or(-1);
        Ok(success().with_header(&GetEarliestMsgStoretimeResponseHeader { timestamp }))
    }
}

fn offset(offset: i64) -> RemotingCommand {
    success().with_header(&OffsetResponseHeader { offset })
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::ext_fields::Fields;

    use super::super::testing::{managers, request, with_view};
    use super::*;

    #[test]
    fn queue_that_does_not_exist_is_empty() {
        let m = managers(|_| ());
        let processor = QueueOffset::new(Arc::clone(&m.store));
        let request = request(&[("topic", "t"), ("queueId", "9"), ("timestamp", "5")]);
        let field = |answer: Result<RemotingCommand, RequestError>, name: &str| {
            answer.unwrap().ext_fields.get(name).unwrap().into_owned()
        };
        with_view(&request, |view| {
            assert_eq!(field(processor.max(view), "offset"), "0");
            assert_eq!(field(processor.min(view), "offset"), "0");
            assert_eq!(field(processor.search(view), "offset"), "0");
            assert_eq!(field(processor.earliest_store_time(view), "timestamp"), "-1");
        });
    }

    #[test]
    fn stored_messages_are_found_by_offset_and_time() {
        let m = managers(|_| ());
        m.clock.set(1_000);
        m.put("t", 1, "a");
        m.clock.set(2_000);
        m.put("t", 1, "b");
        m.put("t", 1, "c");
        let processor = QueueOffset::new(Arc::clone(&m.store));
        let ask = |timestamp: &str, boundary: &str| {
            let request = request(&[
                ("topic", "t"),
                ("queueId", "1"),
                ("timestamp", timestamp),
                ("boundaryType", boundary),
            ]);
            with_view(&request, |view| {
                let answers = [
                    processor.max(view).unwrap(),
                    processor.min(view).unwrap(),
                    processor.search(view).unwrap(),
                ];
                answers.map(|answer| answer.ext_fields.get("offset").unwrap().into_owned())
            })
        };
        assert_eq!(ask("2000", "LOWER"), ["3", "0", "1"]);
        assert_eq!(ask("2000", "upper"), ["3", "0", "2"]);
    }

    #[test]
    fn number_that_is_none_is_refused() {
        let m = managers(|_| ());
        let processor = QueueOffset::new(Arc::clone(&m.store));
        let request = request(&[("topic", "t"), ("queueId", "one")]);
        let refused = with_view(&request, |view| processor.max(view)).unwrap_err();
        assert_eq!(refused.response_code().0, 1);
    }
}
