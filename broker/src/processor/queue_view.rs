//! `QUERY_CONSUME_QUEUE` (321): the units of a queue.
//!
//! Reference: `AdminBrokerProcessor.queryConsumeQueue` (broker), 5.5.0.

use std::sync::Arc;

use oxmq_protocol::body::{ConsumeQueueData, QueryConsumeQueueResponseBody, is_tag_type};
use oxmq_protocol::command::CommandView;
use oxmq_protocol::fastjson;
use oxmq_protocol::header::{Header as _, HeaderError, QueryConsumeQueueRequestHeader};
use oxmq_remoting::Connection;
use oxmq_store::{ExtendedUnit, MessageStore, QueueUnit};

use super::{Answer, success, success_with};
use crate::channel::Channel;
use crate::consumer::ConsumerManager;
use crate::error::RequestError;
use crate::filter::{ConsumerFilters, bits_text};
use crate::limits::MAX_VIEWED_UNITS;

/// Shows queues to tools.
#[derive(Debug)]
pub(crate) struct QueueView<C = Connection> {
    consumers: Arc<ConsumerManager<C>>,
    filters: Arc<ConsumerFilters>,
    store: Arc<MessageStore>,
}

impl<C: Channel> QueueView<C> {
    pub(crate) fn new(
        consumers: Arc<ConsumerManager<C>>,
        filters: Arc<ConsumerFilters>,
        store: Arc<MessageStore>,
    ) -> Self {
        Self { consumers, filters, store }
    }

    /// Answers with some units of a queue, and with how a group filters it.
    pub(crate) fn query(&self, request: &CommandView<'_>) -> Answer {
        let QueryConsumeQueueRequestHeader { topic, queue_id, index, count, consumer_group } =
            QueryConsumeQueueRequestHeader::decode(request)?;
        let topic = topic.ok_or(HeaderError::Missing("topic"))?;
        let count = count.clamp(0, MAX_VIEWED_UNITS);
        let Some(units) = self.store.queue_units(&topic, queue_id, index, count.unsigned_abs())
        else {
            return Err(RequestError::NoQueue { topic, queue_id });
        };
        if units.is_empty() && count > 0 {
            let remark = format!("Index {index} of {queue_id}@{topic} is not exist!");
            return Ok(success().with_remark(remark));
        }
        let (min_queue_index, max_queue_index) = self.store.bounds(&topic, queue_id);
        let mut body = QueryConsumeQueueResponseBody {
            max_queue_index,
            min_queue_index,
            ..QueryConsumeQueueResponseBody::default()
        };
        if let Some(group) = &consumer_group {
            body.subscription_data = self.consumers.subscription(group, &topic);
            body.filter_data = Some(match &body.subscription_data {
                None => format!("{group}@{topic} is not online!"),
                // Of tags there is nothing but them: `null`.
                Some(_) => {
                    let text = fastjson::to_pretty(&self.filters.data(group, &topic))?;
                    String::from_utf8_lossy(&text).into_owned()
                }
            });
        }
        let eval = |unit: &ExtendedUnit| match (&consumer_group, &body.subscription_data) {
            (Some(_), Some(data)) if is_tag_type(&data.expression_type) => {
                data.sub_string == "*" || data.code_set.contains(&(unit.tags_code as i32))
            }
            (Some(group), Some(_)) => self.filters.may_match(group, &topic, unit),
            _ => false,
        };
        body.queue_data = Some(units.iter().map(|unit| unit_data(unit, eval)).collect());
        success_with(&body)
    }
}

/// A unit, and the extended one that it leads to.
fn unit_data(unit: &QueueUnit, eval: impl Fn(&ExtendedUnit) -> bool) -> ConsumeQueueData {
    let mut data = ConsumeQueueData {
        physic_offset: unit.phy_offset,
        physic_size: unit.size,
        tags_code: unit.tags_code,
        ..ConsumeQueueData::default()
    };
    if let Some(extended) = &unit.extended {
        data.tags_code = extended.tags_code;
        data.extend_data_json = Some(extended_json(extended));
        data.bit_map = (!extended.filter_bits.is_empty()).then(|| bits_text(&extended.filter_bits));
        data.eval = eval(extended);
    } else if unit.leads_to_extended() {
        data.msg = Some(format!("Cq extend not exist!addr: {}", unit.tags_code));
    }
    data
}

/// Reference: `ConsumeQueueExt.CqExtUnit` (store), 5.5.0, as its JSON library shows it.
fn extended_json(unit: &ExtendedUnit) -> String {
    let ExtendedUnit { tags_code, store_timestamp_ms, filter_bits } = unit;
    let size = unit.encoded_bytes();
    let mut bits = String::new();
    if !filter_bits.is_empty() {
        // Its bytes have a sign.
        let bytes: Vec<_> = filter_bits.iter().map(|byte| (*byte as i8).to_string()).collect();
        bits = format!("\"filterBitMap\":[{}],", bytes.join(","));
    }
    format!(
        "{{{bits}\"msgStoreTime\":{store_timestamp_ms},\"size\":{size},\"tagsCode\":{tags_code}}}"
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{body, managers, request, with_view};
    use super::*;

    #[test]
    fn units_are_shown_from_an_index_on() {
        let m = managers(|_| ());
        m.create_topic("t", 1);
        let first = m.put_with("t", 0, "a", b"TAGS\x01A\x02");
        let second = m.put("t", 0, "b");
        let filters = Arc::new(ConsumerFilters::load(&m.config, m.store_root()).unwrap());
        let view = QueueView::new(Arc::clone(&m.consumers), filters, Arc::clone(&m.store));
        let query = |fields: &[(&str, &str)]| with_view(&request(fields), |ask| view.query(ask));

        let all =
            query(&[("topic", "t"), ("queueId", "0"), ("index", "0"), ("count", "9")]).unwrap();
        let body_of = |unit: &str| {
            format!("{{\"maxQueueIndex\":2,\"minQueueIndex\":0,\"queueData\":[{unit}]}}")
        };
        let size = second - first;
        let units = format!(
            "{{\"eval\":false,\"physicOffset\":{first},\"physicSize\":{size},\"tagsCode\":65}},\
             {{\"eval\":false,\"physicOffset\":{second},\"physicSize\":"
        );
        assert!(body(&all).starts_with(body_of(&units).trim_end_matches("]}")), "{}", body(&all));
        let with_group = [("topic", "t"), ("index", "1"), ("count", "1"), ("consumerGroup", "g")];
        let one = query(&with_group).unwrap();
        assert!(body(&one).starts_with(r#"{"filterData":"g@t is not online!","maxQueueIndex":2"#));

        let behind = query(&[("topic", "t"), ("index", "2"), ("count", "1")]).unwrap();
        assert_eq!(behind.remark.as_deref(), Some("Index 2 of 0@t is not exist!"));
        let refused = query(&[("topic", "none"), ("queueId", "3")]).unwrap_err();
        assert_eq!(
            (refused.response_code().0, refused.to_string()),
            (1, "3@none is not exist!".to_owned())
        );
    }
}
