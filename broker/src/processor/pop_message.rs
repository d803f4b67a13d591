//! `POP_MESSAGE` (200050), `PEEK_MESSAGE` (200052), `NOTIFICATION` (200054) and `POLLING_INFO` (200055).
//!
//! Reference: `PopMessageProcessor`, `PeekMessageProcessor`, `NotificationProcessor`,
//! `PollingInfoProcessor` (broker), 5.5.0.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use oxmq_protocol::body::is_tag_type;
use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::header::{
    Header as _, NotificationRequestHeader, PeekMessageRequestHeader, PollingInfoRequestHeader,
    PollingInfoResponseHeader, PopMessageRequestHeader, PopMessageResponseHeader,
};
use oxmq_remoting::{Connection, Reply};
use oxmq_store::{GetMessageStatus, MessageStore};

use super::{Answer, refuse, success};
use crate::clock::now_ms;
use crate::config::BrokerConfig;
use crate::error::RequestError;
use crate::filter::{MessageFilter, SqlFilter};
use crate::limits::MAX_POP_MESSAGES;
use crate::perm;
use crate::pop::{self, HeldNotice, HeldPop, NoticeRequest, PopRequest, PopService};
use crate::queue_key::{GroupQueueRef, QueueRef};
use crate::subscription_group::SubscriptionGroupManager;
use crate::topic::TopicConfigManager;

/// A request is refused that comes so much later than the end of its own time, ms.
const TOO_LATE_MS: i64 = 500;

/// Gives consumers single messages, at once or when they come.
#[derive(Debug)]
pub(crate) struct PopMessage {
    config: Arc<BrokerConfig>,
    store: Arc<MessageStore>,
    topics: Arc<TopicConfigManager>,
    groups: Arc<SubscriptionGroupManager>,
    pop: Arc<PopService>,
}

impl PopMessage {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        store: Arc<MessageStore>,
        topics: Arc<TopicConfigManager>,
        groups: Arc<SubscriptionGroupManager>,
        pop: Arc<PopService>,
    ) -> Self {
        Self { config, store, topics, groups, pop }
    }

    /// Gives messages for a while.
    pub(crate) fn pop(&self, request: &CommandView<'_>, reply: Reply) {
        match self.check_pop(request, reply.connection()) {
            Ok((request, deadline)) => {
                self.pop.serve(HeldPop { reply, request: Arc::new(request), deadline });
            }
            Err(error) => refuse(&error, reply),
        }
    }

    /// Says whether there are messages, at once or when one comes.
    pub(crate) fn notify(&self, request: &CommandView<'_>, reply: Reply) {
        match self.check_notification(request, reply.connection()) {
            Ok((request, deadline)) => {
                self.pop.notify(HeldNotice { reply, request, deadline });
            }
            Err(error) => refuse(&error, reply),
        }
    }

    /// Tells how many pops wait.
    pub(crate) fn polling_info(
        &self,
        request: &CommandView<'_>,
        connection: &Connection,
    ) -> Answer {
        let header = PollingInfoRequestHeader::decode(request)?;
        let PollingInfoRequestHeader { consumer_group, topic, queue_id } = &header;
        let asked = GroupQueueRef { group: consumer_group, topic, queue_id: *queue_id };
        self.check_broker_peek()?;
        self.check(asked, connection)?;
        let waiting = self.pop.waiting(QueueRef { topic, queue_id: *queue_id }, consumer_group);
        let polling_num = i32::try_from(waiting).unwrap_or(i32::MAX);
        Ok(success().with_header(&PollingInfoResponseHeader { polling_num }))
    }

    /// Reads what a pop would give; may wait for the disk.
    pub(crate) fn peek(&self, request: &CommandView<'_>, connection: &Connection) -> Answer {
        let header = PeekMessageRequestHeader::decode(request)?;
        let PeekMessageRequestHeader { consumer_group, topic, queue_id, max_msg_nums } = &header;
        self.check_broker_peek()?;
        let asked = GroupQueueRef { group: consumer_group, topic, queue_id: *queue_id };
        self.check(asked, connection)?;
        let request = PopRequest {
            group: consumer_group.as_str().into(),
            topic: topic.as_str().into(),
            queue_id: *queue_id,
            max_messages: max_msg_nums.clamp(&0, &MAX_POP_MESSAGES).unsigned_abs(),
            invisible_ms: 0,
            poll_ms: 0,
            from_last: false,
            filter: MessageFilter::All,
            order: false,
            attempt: None,
            looks: AtomicU32::new(0),
        };
        let (records, rest_num) = self.pop.peek(&request);
        let (code, status) = match records.is_empty() {
            false => (ResponseCode::SUCCESS, GetMessageStatus::Found),
            true => (ResponseCode::PULL_NOT_FOUND, GetMessageStatus::NoMessageInQueue),
        };
        let header = PopMessageResponseHeader {
            pop_time: 0,
            invisible_time: 0,
            revive_qid: 0,
            rest_num,
            start_offset_info: None,
            msg_offset_info: None,
            order_count_info: None,
        };
        let mut answer = RemotingCommand::response(code).with_header(&header).with_body(records);
        answer.remark = Some(status.name().to_owned());
        Ok(answer)
    }

    /// Checks in the reference's order.
    fn check_pop(
        &self,
        request: &CommandView<'_>,
        connection: &Connection,
    ) -> Result<(PopRequest, Instant), RequestError> {
        let header = PopMessageRequestHeader::decode(request)?;
        let (born_ms, poll_ms) = (header.born_time, header.poll_time);
        let deadline = check_opening(&self.config, born_ms, poll_ms, header.max_msg_nums)?;
        if !self.config.timer_wheel_enable {
            return Err(RequestError::PopWithoutTimer(self.config.broker_ip1.clone()));
        }
        let PopMessageRequestHeader { consumer_group, topic, queue_id, .. } = &header;
        self.check(
            GroupQueueRef { group: consumer_group, topic, queue_id: *queue_id },
            connection,
        )?;
        let longest_ms = i64::from(self.store.config().timer_max_delay_sec) * 1_000;
        if header.invisible_time > longest_ms {
            return Err(RequestError::InvisibleTooLong { longest_ms });
        }
        let filter = filter(header.exp_type.as_deref(), header.exp.as_deref())?;
        let request = PopRequest {
            group: header.consumer_group.into(),
            topic: header.topic.into(),
            queue_id: header.queue_id.max(pop::ANY_QUEUE),
            max_messages: header.max_msg_nums.clamp(0, MAX_POP_MESSAGES).unsigned_abs(),
            invisible_ms: header.invisible_time,
            poll_ms: header.poll_time,
            from_last: header.init_mode != 0,
            filter,
            order: header.order == Some(true),
            attempt: header.attempt_id.map(String::into_boxed_str),
            looks: AtomicU32::new(0),
        };
        Ok((request, deadline))
    }

    fn check_notification(
        &self,
        request: &CommandView<'_>,
        connection: &Connection,
    ) -> Result<(NoticeRequest, Instant), RequestError> {
        let header = NotificationRequestHeader::decode(request)?;
        self.check_broker_peek()?;
        let NotificationRequestHeader { consumer_group, topic, queue_id, .. } = &header;
        self.check(
            GroupQueueRef { group: consumer_group, topic, queue_id: *queue_id },
            connection,
        )?;
        let (deadline, _) = time_left(header.born_time, header.poll_time);
        let filter = match self.config.use_message_filter_for_notification {
            true => filter(header.exp_type.as_deref(), header.exp.as_deref())?,
            false => MessageFilter::All,
        };
        let request = NoticeRequest {
            filter,
            group: header.consumer_group.into(),
            topic: header.topic.into(),
            queue_id: header.queue_id.max(pop::ANY_QUEUE),
            order: header.order == Some(true),
            attempt: header.attempt_id.map(String::into_boxed_str),
        };
        Ok((request, deadline))
    }

    fn check_broker_peek(&self) -> Result<(), RequestError> {
        if perm::is_readable(self.config.broker_permission) {
            Ok(())
        } else {
            Err(RequestError::BrokerPeekForbidden(self.config.broker_ip1.clone()))
        }
    }

    fn check(
        &self,
        GroupQueueRef { group, topic, queue_id }: GroupQueueRef<'_>,
        connection: &Connection,
    ) -> Result<(), RequestError> {
        let found = self
            .topics
            .get(topic)
            .ok_or_else(|| RequestError::PullTopicNotExist(topic.to_owned()))?;
        if !perm::is_readable(found.perm) {
            return Err(RequestError::TopicPeekForbidden(topic.to_owned()));
        }
        if queue_id >= found.read_queue_nums {
            return Err(RequestError::PullQueueIdIllegal {
                queue_id,
                topic: topic.to_owned(),
                read_queue_nums: found.read_queue_nums,
                consumer: connection.peer(),
            });
        }
        self.check_group(group)
    }

    fn check_group(&self, group: &str) -> Result<(), RequestError> {
        let found = self
            .groups
            .find_or_create(group)
            .ok_or_else(|| RequestError::PullGroupNotExist(group.to_owned()))?;
        if found.consume_enable {
            Ok(())
        } else {
            Err(RequestError::GroupNotPermitted(group.to_owned()))
        }
    }
}

/// What is checked first of every pop. Returns until when it may wait.
pub(super) fn check_opening(
    config: &BrokerConfig,
    born_ms: i64,
    poll_ms: i64,
    max_messages: i32,
) -> Result<Instant, RequestError> {
    let broker = || config.broker_ip1.clone();
    let (deadline, late_ms) = time_left(born_ms, poll_ms);
    if late_ms > TOO_LATE_MS {
        return Err(RequestError::PopTooLate(broker()));
    }
    if !perm::is_readable(config.broker_permission) {
        return Err(RequestError::BrokerPopForbidden(broker()));
    }
    if max_messages > MAX_POP_MESSAGES {
        return Err(RequestError::PopTooMany(broker()));
    }
    Ok(deadline)
}

/// Until when a request may wait that was made at `born_ms`, 0 is now, and how many milliseconds after
/// the end of its time it comes.
fn time_left(born_ms: i64, poll_ms: i64) -> (Instant, i64) {
    let now_ms = now_ms();
    let born_ms = if born_ms == 0 { now_ms } else { born_ms };
    let late_ms = now_ms.saturating_sub(born_ms).saturating_sub(poll_ms);
    (pop::deadline(Instant::now(), now_ms, born_ms, poll_ms), late_ms)
}

/// What the request says about the messages that are wanted; nothing is everything.
fn filter(kind: Option<&str>, expression: Option<&str>) -> Result<MessageFilter, RequestError> {
    let Some(expression) = expression.filter(|expression| !expression.is_empty()) else {
        return Ok(MessageFilter::All);
    };
    match kind.filter(|kind| !is_tag_type(kind)) {
        None => MessageFilter::from_tags(expression).ok_or(RequestError::SubscriptionParse),
        Some(kind) => SqlFilter::compile_as(kind, expression)
            .map(|filter| MessageFilter::Sql(Arc::new(filter)))
            .map_err(|_| RequestError::SubscriptionParse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expression_is_tags_unless_its_kind_says_otherwise() {
        assert!(matches!(filter(None, None), Ok(MessageFilter::All)));
        assert!(matches!(filter(Some("SQL92"), Some("")), Ok(MessageFilter::All)));
        assert!(matches!(filter(None, Some("*")), Ok(MessageFilter::All)));
        assert!(matches!(filter(Some("TAG"), Some("a||b")), Ok(MessageFilter::Tags(_))));
        assert!(matches!(filter(Some("SQL92"), Some("a > 1")), Ok(MessageFilter::Sql(_))));
        for (kind, expression) in [("SQL92", "a >"), ("CLASS", "Filter")] {
            let refused = filter(Some(kind), Some(expression)).unwrap_err();
            assert_eq!(refused.response_code(), ResponseCode::SUBSCRIPTION_PARSE_FAILED);
        }
    }
}
