//! `SEARCH_OFFSET_BY_TIMESTAMP` (29), `GET_MAX_OFFSET` (30), `GET_MIN_OFFSET` (31) and
//! `GET_EARLIEST_MSG_STORETIME` (32).
//!
//! Reference: `AdminBrokerProcessor` (broker), 5.5.0. Neither topic nor queue is checked: one that does
//! not exist is empty.

use std::sync::Arc;

use oxmq_protocol::body::LogicQueueMappingItem;
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::header::{
    GetEarliestMsgStoretimeRequestHeader, GetEarliestMsgStoretimeResponseHeader,
    GetMaxOffsetRequestHeader, GetMinOffsetRequestHeader, Header as _, OffsetResponseHeader,
    SearchOffsetRequestHeader,
};
use oxmq_store::{Boundary, MessageStore};

use super::{Answer, success};
use crate::error::RequestError;
use crate::pop::lite::queue_name;
use crate::static_topic::{LogicQueue, StaticTopics, passed_on};
use crate::topic_validator::is_blank;

/// Tells what a queue holds.
#[derive(Debug)]
pub(crate) struct QueueOffset {
    store: Arc<MessageStore>,
    static_topics: Arc<StaticTopics>,
}

impl QueueOffset {
    pub(crate) fn new(store: Arc<MessageStore>, static_topics: Arc<StaticTopics>) -> Self {
        Self { store, static_topics }
    }

    /// Answers with the offset that the next message gets.
    pub(crate) fn max(&self, request: &CommandView<'_>) -> Answer {
        let header = GetMaxOffsetRequestHeader::decode(request)?;
        if let Some(queue) = self.static_topics.led(request, &header.topic, header.queue_id)? {
            // The last part that has begun: a new one has no place yet, and nothing in it.
            let item = queue.part(i64::MAX)?;
            let max =
                self.ask(&queue, item, request, RequestCode::GET_MAX_OFFSET, |topic, queue_id| {
                    self.store.max_offset(topic, queue_id)
                })?;
            return Ok(offset(item.logic_offset_of(max)));
        }
        Ok(offset(self.store.max_offset(&header.topic, header.queue_id)))
    }

    /// Answers with the oldest offset.
    pub(crate) fn min(&self, request: &CommandView<'_>) -> Answer {
        let header = GetMinOffsetRequestHeader::decode(request)?;
        let led = self.static_topics.led(request, &header.topic, header.queue_id);
        if let Some(queue) = led.map_err(RequestError::told_of_min)? {
            let item = queue.part(0)?;
            let min =
                self.ask(&queue, item, request, RequestCode::GET_MIN_OFFSET, |topic, queue_id| {
                    self.store.min_offset(topic, queue_id)
                })?;
            return Ok(offset(item.logic_offset_within(min)));
        }
        Ok(offset(self.store.min_offset(&header.topic, header.queue_id)))
    }

    /// Answers with the offset of the first or last message of a time.
    pub(crate) fn search(&self, request: &CommandView<'_>) -> Answer {
        let mut header = SearchOffsetRequestHeader::decode(request)?;
        let upper =
            header.boundary_type.as_ref().is_some_and(|kind| kind.eq_ignore_ascii_case("upper"));
        let boundary = if upper { Boundary::Upper } else { Boundary::Lower };
        if let Some(queue) = self.static_topics.led(request, &header.topic, header.queue_id)? {
            return self.search_parts(&queue, request, header.timestamp, boundary);
        }
        if let Some(lite_topic) = header.lite_topic.as_deref().filter(|name| !is_blank(name)) {
            header.topic = queue_name(&header.topic, lite_topic).unwrap_or_default();
            if self.store.max_offset(&header.topic, header.queue_id) <= 0 {
                return Ok(offset(0));
            }
        }
        Ok(offset(self.store.offset_by_time(
            &header.topic,
            header.queue_id,
            header.timestamp,
            boundary,
        )))
    }

    /// Answers with the store time of the oldest message; -1 when there is none.
    pub(crate) fn earliest_store_time(&self, request: &CommandView<'_>) -> Answer {
        let header = GetEarliestMsgStoretimeRequestHeader::decode(request)?;
        let queue = self.static_topics.led(request, &header.topic, header.queue_id)?;
        let timestamp = match queue {
            Some(queue) => self.earliest_of_parts(&queue, request)?,
            None => self.earliest(&header.topic, header.queue_id),
        };
        Ok(success().with_header(&GetEarliestMsgStoretimeResponseHeader { timestamp }))
    }

    fn earliest(&self, topic: &str, queue_id: i32) -> i64 {
        self.store.earliest_message_time(topic, queue_id).unwrap_or(-1)
    }
}

/// Logical queues, whose parts may be on other brokers.
impl QueueOffset {
    /// What a part's broker says of its physical queue.
    fn ask(
        &self,
        queue: &LogicQueue,
        item: &LogicQueueMappingItem,
        request: &CommandView<'_>,
        code: RequestCode,
        here: impl FnOnce(&str, i32) -> i64,
    ) -> Result<i64, RequestError> {
        if queue.is_here(item) {
            return Ok(here(queue.topic(), item.queue_id));
        }
        let answer = self.ask_elsewhere(item, request, code)?;
        Ok(OffsetResponseHeader::decode(&answer.ext_fields)?.offset)
    }

    fn ask_elsewhere(
        &self,
        item: &LogicQueueMappingItem,
        request: &CommandView<'_>,
        code: RequestCode,
    ) -> Answer {
        let name = item.bname.as_deref().unwrap_or_default();
        let question = passed_on(code, request, name, item.queue_id);
        let answer = self.static_topics.others.ask_and_wait(name, question)?;
        match answer.response_code() {
            ResponseCode::SUCCESS => Ok(answer),
            code => Err(RequestError::UnknownAnswer(code.0)),
        }
    }

    /// The first part with a message of that time or a later one has the offset, or the last one with a message
    /// before; if there is none, it is the end or the beginning.
    ///
    /// In the reference the last part with an answer has it, and the first message of the part on the broker
    /// that is asked counts as none.
    fn search_parts(
        &self,
        queue: &LogicQueue,
        request: &CommandView<'_>,
        timestamp: i64,
        boundary: Boundary,
    ) -> Answer {
        let mut found = -1;
        let mut items: Vec<_> = queue.begun_items().collect();
        if boundary == Boundary::Upper {
            items.reverse();
        }
        for item in items {
            let code = RequestCode::SEARCH_OFFSET_BY_TIMESTAMP;
            let at = self.ask(queue, item, request, code, |topic, queue_id| {
                self.store.offset_by_time(topic, queue_id, timestamp, boundary)
            })?;
            if at < 0 {
                continue;
            }
            found = item.logic_offset_within(at);
            let is_found = match boundary {
                Boundary::Lower => at < self.end(queue, item, request)?,
                Boundary::Upper => at > item.start_offset,
            };
            if is_found {
                break;
            }
        }
        Ok(offset(found))
    }

    /// Where a part ends that another one follows; the tools leave that to its queue.
    fn end(
        &self,
        queue: &LogicQueue,
        item: &LogicQueueMappingItem,
        request: &CommandView<'_>,
    ) -> Result<i64, RequestError> {
        if queue.next(item).is_none() {
            return Ok(i64::MAX);
        }
        if item.has_ended() {
            return Ok(item.end_offset);
        }
        self.ask(queue, item, request, RequestCode::GET_MAX_OFFSET, |topic, queue_id| {
            self.store.max_offset(topic, queue_id)
        })
    }

    fn earliest_of_parts(
        &self,
        queue: &LogicQueue,
        request: &CommandView<'_>,
    ) -> Result<i64, RequestError> {
        let item = queue.part(0)?;
        if queue.is_here(item) {
            return Ok(self.earliest(queue.topic(), item.queue_id));
        }
        let answer = self.ask_elsewhere(item, request, RequestCode::GET_EARLIEST_MSG_STORETIME)?;
        Ok(GetEarliestMsgStoretimeResponseHeader::decode(&answer.ext_fields)?.timestamp)
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
        let processor = QueueOffset::new(Arc::clone(&m.store), Arc::clone(&m.static_topics));
        let request = request(&[("topic", "t"), ("queueId", "9"), ("timestamp", "5")]);
        let field =
            |answer: Answer, name: &str| answer.unwrap().ext_fields.get(name).unwrap().into_owned();
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
        let processor = QueueOffset::new(Arc::clone(&m.store), Arc::clone(&m.static_topics));
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
    fn logical_queue_is_answered_in_its_own_offsets() {
        let m = managers(|_| ());
        for time in [1_000, 2_000] {
            m.clock.set(time);
            m.put("t", 4, "a");
        }
        m.map_queue("t", &[(4, 100)]);
        let processor = QueueOffset::new(Arc::clone(&m.store), Arc::clone(&m.static_topics));
        let ask = |queue: &str, timestamp: &str, boundary: &str| {
            let fields = [
                ("topic", "t"),
                ("queueId", queue),
                ("timestamp", timestamp),
                ("boundaryType", boundary),
            ];
            with_view(&request(&fields), |view| {
                Ok::<_, RequestError>([
                    processor.max(view)?.ext_fields.get("offset").unwrap().into_owned(),
                    processor.min(view)?.ext_fields.get("offset").unwrap().into_owned(),
                    processor.search(view)?.ext_fields.get("offset").unwrap().into_owned(),
                    processor
                        .earliest_store_time(view)?
                        .ext_fields
                        .get("timestamp")
                        .unwrap()
                        .into_owned(),
                ])
            })
        };
        assert_eq!(ask("0", "1", "LOWER").unwrap(), ["102", "100", "100", "1000"]);
        assert_eq!(ask("0", "1500", "LOWER").unwrap()[2], "101");
        assert_eq!(ask("0", "1500", "UPPER").unwrap()[2], "100");
        assert_eq!(ask("0", "9000", "UPPER").unwrap()[2], "101");
        assert_eq!(ask("4", "1", "LOWER").unwrap_err().response_code().0, 501);
    }

    #[test]
    fn time_is_looked_for_in_the_part_that_has_it() {
        let m = managers(|_| ());
        for (time, queue_id) in [(1_000, 4), (2_000, 4), (3_000, 5), (4_000, 5)] {
            m.clock.set(time);
            m.put("t", queue_id, "a");
        }
        m.map_queue("t", &[(4, 0), (5, 100)]);
        let processor = QueueOffset::new(Arc::clone(&m.store), Arc::clone(&m.static_topics));
        let search = |timestamp: &str, boundary: &str| {
            let fields = [
                ("topic", "t"),
                ("queueId", "0"),
                ("timestamp", timestamp),
                ("boundaryType", boundary),
            ];
            let answer = with_view(&request(&fields), |view| processor.search(view)).unwrap();
            answer.ext_fields.get("offset").unwrap().into_owned()
        };
        let lower = ["1", "1500", "2500", "3500", "9000"].map(|time| search(time, "LOWER"));
        assert_eq!(lower, ["0", "1", "100", "101", "102"]);
        let upper = ["1500", "2500", "4000"].map(|time| search(time, "UPPER"));
        assert_eq!(upper, ["0", "1", "101"]);
    }

    #[test]
    fn number_that_is_none_is_refused() {
        let m = managers(|_| ());
        let processor = QueueOffset::new(Arc::clone(&m.store), Arc::clone(&m.static_topics));
        let request = request(&[("topic", "t"), ("queueId", "one")]);
        let refused = with_view(&request, |view| processor.max(view)).unwrap_err();
        assert_eq!(refused.response_code().0, 1);
    }
}
