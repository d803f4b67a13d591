//! `QUERY_CONSUME_QUEUE` (321): the units of a queue.
//!
//! Reference: `AdminBrokerProcessor.queryConsumeQueue` (broker), 5.5.0.

use std::sync::Arc;

use oxmq_protocol::body::{ConsumeQueueData, QueryConsumeQueueResponseBody, is_tag_type};
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::fastjson::{self, Dialect};
use oxmq_protocol::header::{Header as _, QueryConsumeQueueRequestHeader};
use oxmq_remoting::Connection;
use oxmq_store::MessageStore;

use super::{success, success_with};
use crate::channel::Channel;
use crate::consumer::ConsumerManager;
use crate::error::RequestError;
use crate::filter::ConsumerFilters;
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
    pub(crate) fn query(&self, request: &CommandView<'_>) -> Result<RemotingCommand, RequestError> {
        let QueryConsumeQueueRequestHeader { topic, queue_id, index, count, consumer_group } =
            QueryConsumeQueueRequestHeader::decode(request)?;
        let topic = topic.unwrap_or_default();
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
        if let Some(group) = consumer_group {
            body.subscription_data = self.consumers.subscription(&group, &topic);
            body.filter_data = match &body.subscription_data {
                None => Some(format!("{group}@{topic} is not online!")),
                Some(data) if is_tag_type(&data.expression_type) => None,
                Some(_) => match self.filters.data(&group, &topic) {
                    Some(data) => {
                        let text = fastjson::to_vec(&data, Dialect::Raw)?;
                        Some(String::from_utf8_lossy(&text).into_owned())
                    }
                    None => None,
                },
            };
        }
        let units = units.into_iter().map(|(physic_offset, physic_size, tags_code)| {
            ConsumeQueueData { eval: false, physic_offset, physic_size, tags_code }
        });
        body.queue_data = Some(units.collect());
        success_with(&body)
    }
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
