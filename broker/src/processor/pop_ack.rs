//! `ACK_MESSAGE` (200051), `BATCH_ACK_MESSAGE` (200151) and `CHANGE_MESSAGE_INVISIBLETIME` (200053).
//!
//! Reference: `AckMessageProcessor`, `ChangeInvisibleTimeProcessor` (broker), 5.5.0.

use std::net::SocketAddr;
use std::sync::Arc;

use oxmq_protocol::body::{BatchAck, BatchAckMessageRequestBody};
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::fastjson;
use oxmq_protocol::header::{
    AckMessageRequestHeader, ChangeInvisibleTimeRequestHeader, ChangeInvisibleTimeResponseHeader,
    Header as _,
};
use oxmq_protocol::message::{ReceiptHandle, TopicKind};
use oxmq_remoting::Reply;
use oxmq_store::{MessageStore, PutMessageStatus};

use super::{refuse, success};
use crate::disk_readers;
use crate::error::RequestError;
use crate::limits::{MAX_ACKS_PER_REQUEST, MAX_MESSAGES_PER_CHECK_POINT};
use crate::pop::lite::{GivenBack, LiteService};
use crate::pop::{Changed, Given, PopService};
use crate::topic::TopicConfigManager;
use crate::topic_validator::is_blank;

/// Takes popped messages back, done or not.
#[derive(Debug)]
pub(crate) struct PopAck {
    store: Arc<MessageStore>,
    topics: Arc<TopicConfigManager>,
    pop: Arc<PopService>,
    lite: Arc<LiteService>,
}

/// What is answered once the log is durable up to a position.
type Outcome = Result<(RemotingCommand, i64), RequestError>;

impl PopAck {
    pub(crate) fn new(
        store: Arc<MessageStore>,
        topics: Arc<TopicConfigManager>,
        pop: Arc<PopService>,
        lite: Arc<LiteService>,
    ) -> Self {
        Self { store, topics, pop, lite }
    }

    /// A message is done.
    pub(crate) fn ack(&self, request: &CommandView<'_>, reply: Reply) {
        let client = reply.connection().peer();
        let header = match self.decode_ack(request, client) {
            Ok(header) => header,
            Err(error) => return refuse(&error, reply),
        };
        if lite_topic(header.lite_topic.as_deref()).is_none() {
            return self.answer(self.take_ack(&header, client), reply);
        }
        give_back(&self.lite, reply, false, move |lite, may_wait| {
            let AckMessageRequestHeader { consumer_group: group, topic, extra_info, .. } = &header;
            let given = GivenBack {
                group,
                topic,
                lite_topic: header.lite_topic.as_deref().unwrap_or_default(),
                queue_id: header.queue_id,
                offset: header.offset,
                receipt: extra_info,
            };
            Ok(lite.acknowledge(given, may_wait)?.map(|()| success()))
        });
    }

    /// Many messages are done.
    pub(crate) fn batch_ack(&self, request: &CommandView<'_>, reply: Reply) {
        let client = reply.connection().peer();
        self.answer(self.take_batch(request, client), reply);
    }

    /// A message is to be given out again at another time.
    pub(crate) fn change_invisible_time(&self, request: &CommandView<'_>, reply: Reply) {
        let client = reply.connection().peer();
        let header = match self.decode_change(request, client) {
            Ok(header) => header,
            Err(error) => return refuse(&error, reply),
        };
        if lite_topic(header.lite_topic.as_deref()).is_none() {
            return self.answer(self.take_change(&header), reply);
        }
        give_back(&self.lite, reply, false, move |lite, may_wait| {
            let ChangeInvisibleTimeRequestHeader { consumer_group: group, topic, .. } = &header;
            let given = GivenBack {
                group,
                topic,
                lite_topic: header.lite_topic.as_deref().unwrap_or_default(),
                queue_id: header.queue_id,
                offset: header.offset,
                receipt: &header.extra_info,
            };
            let (invisible_ms, suspend) = (header.invisible_time, header.suspend);
            let changed = lite.change_invisible_time(given, invisible_ms, suspend, may_wait)?;
            Ok(changed.map(|changed| changed_time(&changed)))
        });
    }

    fn answer(&self, outcome: Outcome, reply: Reply) {
        match outcome {
            Ok((answer, durable_at)) if durable_at > 0 && self.store.flushes_synchronously() => {
                let answer = move |status: PutMessageStatus| match status.is_stored() {
                    true => reply.send(answer),
                    false => refuse(&RequestError::PopNotNoted, reply),
                };
                self.store.when_durable(durable_at, Box::new(answer));
            }
            Ok((answer, _)) => reply.send(answer),
            Err(error) => refuse(&error, reply),
        }
    }

    fn decode_ack(
        &self,
        request: &CommandView<'_>,
        client: SocketAddr,
    ) -> Result<AckMessageRequestHeader, RequestError> {
        let header = AckMessageRequestHeader::decode(request)?;
        self.check_queue(&header.topic, header.queue_id, client)?;
        Ok(header)
    }

    fn take_ack(&self, header: &AckMessageRequestHeader, client: SocketAddr) -> Outcome {
        let AckMessageRequestHeader { consumer_group: group, topic, queue_id, offset, .. } = header;
        let (min, max) = self.store.bounds(topic, *queue_id);
        if *offset < min || *offset > max {
            let (topic, queue_id, offset) = (topic.clone(), *queue_id, *offset);
            return Err(RequestError::AckOffsetIllegal { topic, queue_id, offset, min, max });
        }
        let receipt = ReceiptHandle::parse(&header.extra_info)?;
        let given = Given::by(&receipt, topic, group, *queue_id);
        let durable_at = self.pop.acknowledge(&given, &[*offset], false, client)?;
        Ok((success(), durable_at))
    }

    fn take_batch(&self, request: &CommandView<'_>, client: SocketAddr) -> Outcome {
        if request.body.is_empty() {
            return Err(RequestError::NothingToAck);
        }
        let body: BatchAckMessageRequestBody = fastjson::from_slice(request.body)?;
        let (count, limit) = (body.acks.len(), MAX_ACKS_PER_REQUEST);
        if count == 0 {
            return Err(RequestError::NothingToAck);
        }
        if count > limit {
            return Err(RequestError::TooMany { what: "acknowledgements", count, limit });
        }
        let mut durable_at = 0;
        for ack in &body.acks {
            let broker_name = body.broker_name.as_deref();
            durable_at = durable_at.max(self.take_entry(ack, broker_name, client)?);
        }
        Ok((success(), durable_at))
    }

    fn take_entry(
        &self,
        ack: &BatchAck,
        broker_name: Option<&str>,
        client: SocketAddr,
    ) -> Result<i64, RequestError> {
        let kind = TopicKind::from_digit(&ack.retry).ok_or(RequestError::AckKindIllegal)?;
        if broker_name.is_some_and(|name| name.contains(char::is_control)) {
            return Err(RequestError::AckKindIllegal);
        }
        let topic = kind.topic(&ack.topic, &ack.consumer_group);
        let is_there = self
            .topics
            .get(&topic)
            .is_some_and(|topic| (0..topic.read_queue_nums).contains(&ack.queue_id));
        if !is_there {
            return Ok(0);
        }
        let (min, max) = self.store.bounds(&topic, ack.queue_id);
        let offsets = ack.distances().map(|distance| ack.start_offset.saturating_add(distance));
        let offsets: Vec<i64> = offsets
            .filter(|offset| (min..=max).contains(offset))
            .take(MAX_MESSAGES_PER_CHECK_POINT + 1)
            .collect();
        let (count, limit) = (offsets.len(), MAX_MESSAGES_PER_CHECK_POINT);
        if count > limit {
            return Err(RequestError::TooMany { what: "messages of one pop", count, limit });
        }
        let given = Given {
            topic: &topic,
            group: &ack.consumer_group,
            queue_id: ack.queue_id,
            start_offset: ack.start_offset,
            pop_time_ms: ack.pop_time,
            invisible_ms: ack.invisible_time,
            revive_queue_id: ack.revive_queue_id,
            broker_name,
        };
        self.pop.acknowledge(&given, &offsets, true, client)
    }

    fn decode_change(
        &self,
        request: &CommandView<'_>,
        client: SocketAddr,
    ) -> Result<ChangeInvisibleTimeRequestHeader, RequestError> {
        let header = ChangeInvisibleTimeRequestHeader::decode(request)?;
        self.check_queue(&header.topic, header.queue_id, client)?;
        Ok(header)
    }

    fn take_change(&self, header: &ChangeInvisibleTimeRequestHeader) -> Outcome {
        let ChangeInvisibleTimeRequestHeader { consumer_group: group, topic, .. } = header;
        let (queue_id, offset) = (header.queue_id, header.offset);
        let (min, max) = self.store.bounds(topic, queue_id);
        if !(min..max).contains(&offset) {
            return Err(RequestError::ChangeOffsetIllegal);
        }
        let receipt = ReceiptHandle::parse(&header.extra_info)?;
        let given = Given::by(&receipt, topic, group, queue_id);
        let (invisible_ms, suspend) = (header.invisible_time, header.suspend);
        let changed = self.pop.change_invisible_time(&given, offset, invisible_ms, suspend)?;
        Ok((changed_time(&changed), changed.durable_at))
    }

    fn check_queue(
        &self,
        topic: &str,
        queue_id: i32,
        client: SocketAddr,
    ) -> Result<(), RequestError> {
        let found = self
            .topics
            .get(topic)
            .ok_or_else(|| RequestError::PullTopicNotExist(topic.to_owned()))?;
        if (0..found.read_queue_nums).contains(&queue_id) {
            return Ok(());
        }
        Err(RequestError::AckQueueIdIllegal {
            queue_id,
            topic: topic.to_owned(),
            read_queue_nums: found.read_queue_nums,
            consumer: client,
        })
    }
}

/// Has a message of a lite topic taken back; where its queue is in use, by a thread that may wait, as whoever has
/// it may be waiting for the disk.
fn give_back(
    lite: &Arc<LiteService>,
    reply: Reply,
    may_wait: bool,
    take: impl Fn(&Arc<LiteService>, bool) -> Result<Option<RemotingCommand>, RequestError>
    + Send
    + 'static,
) {
    match take(lite, may_wait) {
        Ok(Some(answer)) => reply.send(answer),
        Ok(None) => match disk_readers::enter() {
            Ok(place) => {
                let lite = Arc::clone(lite);
                disk_readers::spawn(place, move || give_back(&lite, reply, true, take));
            }
            Err(error) => refuse(&error, reply),
        },
        Err(error) => refuse(&error, reply),
    }
}

fn changed_time(changed: &Changed) -> RemotingCommand {
    success().with_header(&ChangeInvisibleTimeResponseHeader {
        pop_time: changed.pop_time_ms,
        invisible_time: changed.invisible_ms,
        revive_qid: changed.revive_queue_id,
    })
}

/// The lite topic that a message is of, if any.
fn lite_topic(name: Option<&str>) -> Option<&str> {
    name.filter(|name| !is_blank(name))
}
