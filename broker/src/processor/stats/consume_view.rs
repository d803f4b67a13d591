//! `QUERY_CONSUME_TIME_SPAN` (303), `QUERY_CORRECTION_OFFSET` (308), `VIEW_BROKER_STATS_DATA` (315)
//! and `GET_BROKER_CONSUME_STATS` (317).
//!
//! Reference: `AdminBrokerProcessor` (broker), 5.5.0.

use std::collections::BTreeMap;

use oxmq_protocol::body::{
    ConsumeStats, ConsumeStatsList, QueryConsumeTimeSpanBody, QueryCorrectionOffsetBody,
    QueueTimeSpan,
};
use oxmq_protocol::command::CommandView;
use oxmq_protocol::header::{
    GetConsumeStatsInBrokerHeader, Header as _, QueryConsumeTimeSpanRequestHeader,
    QueryCorrectionOffsetHeader, ViewBrokerStatsDataRequestHeader,
};

use super::Stats;
use crate::channel::Channel;
use crate::clock::now_ms;
use crate::error::RequestError;
use crate::processor::{Answer, success_with};
use crate::traffic::Kind;

impl<C: Channel> Stats<C> {
    /// Answers with what was counted under a name and a key.
    pub(crate) fn broker_stats_data(&self, request: &CommandView<'_>) -> Answer {
        let header = ViewBrokerStatsDataRequestHeader::decode(request)?;
        let (name, key) = (header.stats_name, header.stats_key);
        match self.traffic.view(&name, &key) {
            Some(data) => success_with(&data),
            None => Err(RequestError::NoStats { name, key }),
        }
    }

    /// Answers with the progress of every group.
    pub(crate) fn broker_consume_stats(&self, request: &CommandView<'_>) -> Answer {
        let is_order = GetConsumeStatsInBrokerHeader::decode(request)?.is_order;
        let mut list = ConsumeStatsList {
            broker_addr: self.config.broker_address(),
            ..ConsumeStatsList::default()
        };
        for group in self.groups.snapshot().subscription_group_table.into_keys() {
            let topics = self.offsets.topics_of(&group).into_iter();
            let stats: Vec<_> =
                topics.filter_map(|topic| self.group_stats(&group, &topic, is_order)).collect();
            for queue in stats.iter().flat_map(|stats| stats.offset_table.values()) {
                list.total_diff += queue.broker_offset - queue.consumer_offset;
                list.total_inflight_diff += queue.pull_offset - queue.consumer_offset;
            }
            list.consume_stats_list.push(BTreeMap::from([(group, stats)]));
        }
        success_with(&list)
    }

    fn group_stats(&self, group: &str, topic: &str, is_order: bool) -> Option<ConsumeStats> {
        let config = self.topics.get(topic).filter(|topic| !is_order || topic.order)?;
        let has_left =
            self.consumers.has_subscriptions(group) && !self.consumers.is_subscribed(group, topic);
        if has_left {
            return None;
        }
        let mut stats = ConsumeStats {
            consume_tps: self.traffic.tps(Kind::GroupGet, &self.offsets.traffic_key(group, topic)),
            ..ConsumeStats::default()
        };
        for queue_id in 0..config.write_queue_nums {
            let progress = self.progress(group, topic, queue_id);
            stats.offset_table.insert(self.queue(topic, queue_id), progress);
        }
        Some(stats)
    }

    /// Answers how old the messages are that a group has consumed, and those that it has not.
    pub(crate) fn consume_time_span(&self, request: &CommandView<'_>) -> Answer {
        let QueryConsumeTimeSpanRequestHeader { topic, group } =
            QueryConsumeTimeSpanRequestHeader::decode(request)?;
        let Some(config) = self.topics.get(&topic) else {
            return Err(RequestError::StatsTopicNotExist(topic));
        };
        let now_ms = now_ms();
        let span = |queue_id| {
            let max_offset = self.store.max_offset(&topic, queue_id);
            let min_time_stamp = self.store.earliest_message_time(&topic, queue_id).unwrap_or(-1);
            let committed = self.offsets.query(&group, &topic, queue_id).unwrap_or(-1);
            let waits_since = (committed < max_offset)
                .then(|| self.store.message_store_timestamp(&topic, queue_id, committed.max(0)))
                .flatten();
            QueueTimeSpan {
                consume_time_stamp: if committed > 0 {
                    self.timestamp(&topic, queue_id, committed - 1)
                } else {
                    min_time_stamp
                },
                delay_time: waits_since.map_or(0, |since| (now_ms - since).max(0)),
                max_time_stamp: self
                    .store
                    .message_store_timestamp(&topic, queue_id, max_offset - 1)
                    .unwrap_or(-1),
                message_queue: self.queue(&topic, queue_id),
                min_time_stamp,
            }
        };
        let consume_time_span_set = (0..config.write_queue_nums).map(span).collect();
        success_with(&QueryConsumeTimeSpanBody { consume_time_span_set })
    }

    /// Answers with the lowest offset that any group has in each queue, or the highest number there
    /// is where the group to compare with is behind all.
    ///
    /// The reference deletes the offsets of the groups that are to be left out; here they stay.
    pub(crate) fn correction_offset(&self, request: &CommandView<'_>) -> Answer {
        let header = QueryCorrectionOffsetHeader::decode(request)?;
        let left_out: Vec<_> =
            header.filter_groups.iter().flat_map(|list| list.split(',')).collect();
        let mut lowest: BTreeMap<i32, i64> = BTreeMap::new();
        for group in self.offsets.groups_of(&header.topic) {
            if left_out.contains(&group.as_str()) {
                continue;
            }
            for (queue_id, offset) in self.offsets.committed(&group, &header.topic) {
                if offset >= self.store.min_offset(&header.topic, queue_id) {
                    let known = lowest.entry(queue_id).or_insert(offset);
                    *known = offset.min(*known);
                }
            }
        }
        for (queue_id, offset) in self.offsets.committed(&header.compare_group, &header.topic) {
            if lowest.get(&queue_id).is_some_and(|&lowest| lowest > offset) {
                lowest.insert(queue_id, i64::MAX);
            }
        }
        success_with(&QueryCorrectionOffsetBody { correction_offsets: lowest })
    }
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::fastjson;

    use super::super::tests::processor;
    use super::*;
    use crate::processor::testing::{body, managers, request, with_view};
    use crate::traffic::Flow;

    #[test]
    fn counts_are_found_by_name_and_key() {
        let m = managers(|_| ());
        let processor = processor(&m);
        let view = |name, key| {
            let request = request(&[("statsName", name), ("statsKey", key)]);
            with_view(&request, |view| processor.broker_stats_data(view))
        };
        let refused = view("TOPIC_PUT_NUMS", "t").unwrap_err();
        assert_eq!(refused.response_code().0, 1);
        assert_eq!(refused.to_string(), "The stats <TOPIC_PUT_NUMS> <t> not exist");
        let flow = Flow { messages: 20, bytes: 400, times: 10 };
        processor.traffic.sample(10_000, [(Kind::TopicPut, "t".into(), flow)]);
        assert_eq!(
            body(&view("TOPIC_PUT_NUMS", "t").unwrap()),
            r#"{"statsDay":{"avgpt":0.0,"sum":0,"tps":0.0},"statsHour":{"avgpt":0.0,"sum":0,"tps":0.0},"statsMinute":{"avgpt":2.0,"sum":20,"tps":2.0}}"#
        );
    }

    #[test]
    fn every_group_is_listed_with_what_it_has_not_consumed() {
        let m = managers(|_| ());
        m.create_topic("t", 1);
        for text in ["a", "b", "c"] {
            m.put("t", 0, text);
        }
        m.groups.find_or_create("g");
        m.offsets.commit("g", "t", 0, 1);
        m.offsets.commit_pull("g", "t", 0, 2, 0);
        let list = |is_order| -> ConsumeStatsList {
            let request = request(&[("isOrder", is_order)]);
            let answer = with_view(&request, |view| processor(&m).broker_consume_stats(view));
            fastjson::from_slice(&answer.unwrap().body).unwrap()
        };
        let all = list("false");
        assert_eq!((all.total_diff, all.total_inflight_diff), (2, 1));
        let of_group = all.consume_stats_list.iter().find_map(|map| map.get("g")).unwrap();
        assert_eq!(of_group.len(), 1);
        assert_eq!(list("true").total_diff, 0, "the topic is not ordered");
    }

    #[test]
    fn spans_tell_what_was_consumed_last_and_what_waits() {
        let m = managers(|_| ());
        m.create_topic("t", 1);
        for ms in [1_000, 2_000, 3_000] {
            m.clock.set(ms);
            m.put("t", 0, "x");
        }
        m.offsets.commit("g", "t", 0, 2);
        let request = request(&[("topic", "t"), ("group", "g")]);
        let answer = with_view(&request, |view| processor(&m).consume_time_span(view)).unwrap();
        let spans: QueryConsumeTimeSpanBody = fastjson::from_slice(&answer.body).unwrap();
        let span = &spans.consume_time_span_set[0];
        assert_eq!(
            (span.min_time_stamp, span.max_time_stamp, span.consume_time_stamp),
            (1_000, 3_000, 2_000)
        );
        assert!(span.delay_time > 0);
    }

    #[test]
    fn correction_is_the_lowest_offset_of_the_other_groups() {
        let m = managers(|_| ());
        m.create_topic("t", 1);
        for (group, offset) in [("a", 5), ("b", 3), ("c", 1)] {
            m.offsets.commit(group, "t", 0, offset);
        }
        let correct = |left_out, compare| {
            let fields = [("filterGroups", left_out), ("compareGroup", compare), ("topic", "t")];
            let answer = with_view(&request(&fields), |view| processor(&m).correction_offset(view));
            body(&answer.unwrap()).to_owned()
        };
        assert_eq!(correct("", "none"), r#"{"correctionOffsets":{0:1}}"#);
        assert_eq!(correct("c", "a"), r#"{"correctionOffsets":{0:3}}"#);
        assert_eq!(correct("b,c", "c"), r#"{"correctionOffsets":{0:9223372036854775807}}"#);
        assert_eq!(m.offsets.groups_of("t").len(), 3, "nothing is deleted");
    }
}
