//! Resetting without `useServerSideResetOffset`: the members of the group are told where to go on.
//!
//! Reference: `Broker2Client.resetOffset` (broker), 5.5.0.

use std::collections::BTreeMap;

use oxmq_protocol::body::{MessageQueue, MessageQueueForC, ResetOffsetBody, ResetOffsetBodyForC};
use oxmq_protocol::code::{LanguageCode, RequestCode};
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::fastjson::{self, Dialect};
use oxmq_protocol::header::ResetOffsetRequestHeader;
use oxmq_protocol::version;
use oxmq_store::Boundary;

use super::ResetOffset;
use crate::channel::Channel;
use crate::error::RequestError;
use crate::processor::{Answer, success_with};

impl<C: Channel> ResetOffset<C> {
    /// Tells every member, and answers what they were told.
    pub(super) fn tell_members(
        &self,
        request: &CommandView<'_>,
        header: ResetOffsetRequestHeader,
    ) -> Answer {
        let ResetOffsetRequestHeader { group, topic, timestamp, is_force, .. } = header;
        let Some(config) = self.topics.get(&topic) else {
            return Err(RequestError::ToldTopicNotExist(topic));
        };
        let mut offset_table = BTreeMap::new();
        for queue_id in 0..config.write_queue_nums {
            let Some(committed) = self.offsets.query(&group, &topic, queue_id) else {
                return Err(RequestError::ToldGroupNotExist(group));
            };
            let target = match timestamp {
                -1 => self.store.max_offset(&topic, queue_id),
                _ => self.store.offset_by_time(&topic, queue_id, timestamp, Boundary::Lower),
            };
            let target = target.max(0);
            let offset = if is_force || target < committed { target } else { committed };
            let broker_name = self.config.broker_name.clone();
            offset_table
                .insert(MessageQueue { topic: topic.clone(), broker_name, queue_id }, offset);
        }
        let members = self.consumers.members(&group);
        if members.is_empty() {
            return Err(RequestError::ToldGroupNotOnline { group, topic, timestamp });
        }
        if let Some(old) = members.iter().find(|m| m.version < version::V3_0_7_SNAPSHOT) {
            return Err(RequestError::ClientLacksFeature { version: old.version });
        }
        let told = ResetOffsetRequestHeader {
            group,
            topic,
            queue_id: -1,
            offset: None,
            timestamp,
            is_force: false,
        };
        let body = ResetOffsetBody { offset_table };
        // The C++ client cannot read a map whose keys are objects.
        let bytes = if request.language == Some(LanguageCode::CPP) {
            fastjson::to_vec(&for_c(&body), Dialect::Raw)?
        } else {
            fastjson::to_vec(&body, Dialect::Raw)?
        };
        let tell = RemotingCommand::request(RequestCode::RESET_CONSUMER_CLIENT_OFFSET)
            .with_header(&told)
            .with_body(bytes);
        for member in members {
            member.channel.invoke_oneway(tell.clone());
        }
        success_with(&body)
    }
}

fn for_c(body: &ResetOffsetBody) -> ResetOffsetBodyForC {
    let queue = |(queue, &offset): (&MessageQueue, &i64)| MessageQueueForC {
        broker_name: queue.broker_name.clone(),
        offset,
        queue_id: queue.queue_id,
        topic: queue.topic.clone(),
    };
    ResetOffsetBodyForC { offset_table: body.offset_table.iter().map(queue).collect() }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use oxmq_protocol::body::ConsumerData;

    use super::super::tests::reset;
    use super::*;
    use crate::channel::testing::TestChannel;
    use crate::processor::testing::managers;

    #[test]
    fn members_are_told_and_only_force_moves_forward() {
        let m = managers(|config| config.use_server_side_reset_offset = false);
        assert_eq!(
            reset(&m, &[("topic", "none"), ("timestamp", "0")]).unwrap_err(),
            (
                17,
                "[reset-offset] reset offset failed, no topic in this broker. topic=none"
                    .to_owned()
            )
        );
        m.create_topic("t", 1);
        for ms in [1_000, 2_000, 3_000] {
            m.clock.set(ms);
            m.put("t", 0, "x");
        }
        let refused = reset(&m, &[("topic", "t"), ("timestamp", "0")]).unwrap_err();
        assert_eq!(refused, (1, "THe consumer group <g> not exist".to_owned()));
        m.offsets.commit("g", "t", 0, 2);
        let refused = reset(&m, &[("topic", "t"), ("timestamp", "5")]).unwrap_err();
        assert_eq!(
            refused,
            (
                206,
                "Consumer not online, so can not reset offset, Group: g Topic: t Timestamp: 5"
                    .to_owned()
            )
        );
        let channel = TestChannel::new(1);
        let data = ConsumerData { group_name: "g".to_owned(), ..ConsumerData::default() };
        m.consumers.register(&channel.client("c", Instant::now()), &data, true, true);
        channel.take_sent();
        let table = |offset: i64| {
            format!(
                r#"{{"offsetTable":{{{{"brokerName":"b","queueId":0,"topic":"t"}}:{offset}}}}}"#
            )
        };
        for (timestamp, force, offset) in
            [("1500", "false", 1), ("-1", "false", 2), ("-1", "true", 3)]
        {
            let fields = [("topic", "t"), ("timestamp", timestamp), ("isForce", force)];
            assert_eq!(reset(&m, &fields).unwrap(), table(offset));
            let told = channel.take_sent();
            assert_eq!(told.len(), 1);
            assert_eq!(told[0].request_code(), RequestCode::RESET_CONSUMER_CLIENT_OFFSET);
            assert_eq!(told[0].body, table(offset).into_bytes());
        }
        assert_eq!(m.offsets.query("g", "t", 0), Some(2), "the members move, not the broker");
    }

    #[test]
    fn a_c_client_asks_for_a_list() {
        let queue = MessageQueue { topic: "t".into(), broker_name: "b".into(), queue_id: 1 };
        let body = ResetOffsetBody { offset_table: BTreeMap::from([(queue, 7)]) };
        let text = fastjson::to_vec(&for_c(&body), Dialect::Raw).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            r#"{"offsetTable":[{"brokerName":"b","offset":7,"queueId":1,"topic":"t"}]}"#
        );
    }
}
