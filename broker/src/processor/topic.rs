//! `UPDATE_AND_CREATE_TOPIC` (17), `UPDATE_AND_CREATE_TOPIC_LIST` (18), `GET_ALL_TOPIC_CONFIG`
//! (21), `DELETE_TOPIC_IN_BROKER` (215), `GET_SYSTEM_TOPIC_LIST_FROM_BROKER` (305),
//! `GET_TOPIC_CONFIG` (351) and `UPDATE_AND_CREATE_STATIC_TOPIC` (513).
//!
//! Reference: `AdminBrokerProcessor` (broker), 5.5.0.

mod check;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use oxmq_protocol::body::{
    CreateTopicListRequestBody, TopicConfigAndMappingSerializeWrapper, TopicConfigAndQueueMapping,
    TopicList, TopicQueueMappingDetail,
};
use oxmq_protocol::command::CommandView;
use oxmq_protocol::ext_fields::Fields as _;
use oxmq_protocol::fastjson;
use oxmq_protocol::header::{
    CreateTopicRequestHeader, DeleteTopicRequestHeader, GetAllTopicConfigRequestHeader,
    GetAllTopicConfigResponseHeader, GetTopicConfigRequestHeader, Header as _,
};
use oxmq_protocol::message::TopicKind;
use oxmq_store::MessageStore;
use tracing::warn;

use super::page::Page;
use super::{Answer, success, success_with};
use crate::config::BrokerConfig;
use crate::consumer_offset::ConsumerOffsetManager;
use crate::error::RequestError;
use crate::pop::lite::{LiteService, has_lite_topics};
use crate::registration::TopicChanges;
use crate::static_topic::StaticTopics;
use crate::topic::{TopicConfig, TopicConfigManager};
use crate::topic_validator;

/// How long a tool waits for name servers to hear of a static topic, which it looks for there next.
const TOLD_LIMIT: Duration = Duration::from_secs(3);

/// Lets tools see and change topics.
#[derive(Debug)]
pub(crate) struct Topics {
    config: Arc<BrokerConfig>,
    topics: Arc<TopicConfigManager>,
    offsets: Arc<ConsumerOffsetManager>,
    store: Arc<MessageStore>,
    lite: Arc<LiteService>,
    static_topics: Arc<StaticTopics>,
    changes: OnceLock<Arc<TopicChanges>>,
}

impl Topics {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        topics: Arc<TopicConfigManager>,
        offsets: Arc<ConsumerOffsetManager>,
        store: Arc<MessageStore>,
        lite: Arc<LiteService>,
        static_topics: Arc<StaticTopics>,
    ) -> Self {
        let changes = OnceLock::new();
        Self { config, topics, offsets, store, lite, static_topics, changes }
    }

    /// Sets how name servers hear of changes. Only the first call counts.
    pub(crate) fn tell_by(&self, changes: Arc<TopicChanges>) {
        let _ = self.changes.set(changes);
    }

    /// Creates or changes a topic. One that is just as asked for already is left alone.
    pub(crate) fn update_and_create(&self, request: &CommandView<'_>) -> Answer {
        self.update(self.requested_topic(CreateTopicRequestHeader::decode(request)?)?)?;
        Ok(success())
    }

    /// Creates or changes topics, if all of them may be.
    ///
    /// One that is just as asked for is left alone. For the reference it ends the whole request,
    /// with success and without any effect.
    pub(crate) fn update_and_create_list(&self, request: &CommandView<'_>) -> Answer {
        let CreateTopicListRequestBody { topic_config_list } = fastjson::from_slice(request.body)?;
        for topic in &topic_config_list {
            self.check(topic)?;
        }
        for topic in topic_config_list {
            self.update(topic)?;
        }
        Ok(success())
    }

    fn update(&self, topic: TopicConfig) -> Result<(), RequestError> {
        if self.topics.get(&topic.topic_name).is_some_and(|known| **known == topic) {
            // It may wait for being saved still.
            return self.topics.keep().map_err(RequestError::Unchangeable);
        }
        self.topics.update(topic).map_err(RequestError::Unchangeable)
    }

    /// Creates or changes a topic with logical queues.
    ///
    /// The mapping comes first: name servers hear of both by the version of the topic. A mapping that is
    /// refused leaves the topic alone; in the reference it has changed by then. Without a mapping it is a topic
    /// like any other, as there.
    pub(crate) fn update_and_create_static(&self, request: &CommandView<'_>) -> Answer {
        let header = CreateTopicRequestHeader::decode(request)?;
        let mapping: Option<TopicQueueMappingDetail> = match request.body {
            [] => None,
            body => fastjson::from_slice(body)?,
        };
        let force = header.force;
        // Of a static topic the reference takes over neither.
        let header = CreateTopicRequestHeader { order: false, attributes: None, ..header };
        let topic = self.requested_topic(header)?;
        if let Some(mapping) = mapping {
            self.check_mapping(&topic, &mapping)?;
            self.static_topics.update(&topic.topic_name, mapping, force)?;
        }
        self.topics.update(topic).map_err(RequestError::Unchangeable)?;
        if let Some(changes) = self.changes.get()
            && !changes.await_told(TOLD_LIMIT)
        {
            warn!("name servers have not heard of a static topic yet");
        }
        Ok(success())
    }

    /// Answers with all topics or a page of them.
    pub(crate) fn get_all(&self, request: &CommandView<'_>) -> Answer {
        let header = GetAllTopicConfigRequestHeader::decode(request)?;
        let (topics, data_version) = self.topics.snapshot();
        let total = topics.len();
        let mut table = topics
            .iter()
            .map(|topic| (topic.topic_name.clone(), TopicConfig::clone(topic)))
            .collect();
        let page = Page::asked(
            &self.config,
            (header.topic_seq, header.data_version.as_deref(), header.max_topic_num),
            data_version,
        );
        if let Some(page) = page {
            page.cut(&mut table);
        }
        let mut mappings = self.static_topics.snapshot();
        mappings.topic_queue_mapping_info_map.retain(|topic, _| table.contains_key(topic));
        let body = TopicConfigAndMappingSerializeWrapper {
            data_version,
            mapping_data_version: mappings.data_version,
            topic_config_table: table,
            topic_queue_mapping_detail_map: mappings.topic_queue_mapping_info_map,
            ..TopicConfigAndMappingSerializeWrapper::default()
        };
        let header = GetAllTopicConfigResponseHeader {
            total_topic_num: i32::try_from(total).unwrap_or(i32::MAX),
        };
        Ok(success_with(&body)?.with_header(&header))
    }

    /// Answers with the names of the topics that are the broker's own.
    pub(crate) fn system_topics(&self) -> Answer {
        success_with(&TopicList { topic_list: self.topics.system_topics(), broker_addr: None })
    }

    /// Answers with one topic, and with its mapping if that is asked for.
    pub(crate) fn get(&self, request: &CommandView<'_>) -> Answer {
        let name = GetTopicConfigRequestHeader::decode(request)?.topic;
        let Some(topic) = self.topics.get(&name) else { return Err(RequestError::NoTopic(name)) };
        let is_asked = request.get("lo").is_some_and(|lo| lo.eq_ignore_ascii_case("true"));
        let mapping = is_asked.then(|| self.static_topics.get(&name)).flatten();
        let mapping = mapping.map(|mapping| TopicQueueMappingDetail::clone(&mapping));
        success_with(&TopicConfigAndQueueMapping::new(TopicConfig::clone(&topic), mapping))
    }

    /// Removes a topic with its queues and offsets, and the topics of its failed pops.
    pub(crate) fn delete(&self, request: &CommandView<'_>) -> Answer {
        let topic = DeleteTopicRequestHeader::decode(request)?.topic.unwrap_or_default();
        if topic_validator::is_blank(&topic) {
            return Err(RequestError::BlankTopic);
        }
        self.refuse_system_topic(&topic)?;
        if self.config.clear_retry_topic_when_delete_topic {
            for group in self.offsets.groups_of(&topic) {
                for kind in [TopicKind::RetryV2, TopicKind::RetryV1] {
                    let retry = kind.topic(&topic, &group);
                    if self.topics.get(&retry).is_some() {
                        self.delete_topic(&retry)?;
                    }
                }
            }
        }
        if self.topics.get(&topic).is_some_and(|topic| has_lite_topics(&topic)) {
            self.lite.delete_all_of(&topic);
        }
        self.delete_topic(&topic)?;
        Ok(success())
    }

    fn delete_topic(&self, topic: &str) -> Result<(), RequestError> {
        self.topics.delete(topic);
        self.static_topics.delete(topic);
        self.offsets.remove_topic(topic);
        self.store.delete_topic(topic).map_err(|error| {
            warn!(%topic, %error, "queues of a deleted topic not deleted");
            RequestError::Unchangeable(error.to_string())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use oxmq_protocol::ext_fields::Fields;

    use super::super::testing::{Managers, body, managers, request, with_view};
    use super::*;
    use crate::journaled_table::NOT_SAVED;

    fn processor(m: &Managers) -> Topics {
        Topics::new(
            Arc::clone(&m.config),
            Arc::clone(&m.topics),
            Arc::clone(&m.offsets),
            Arc::clone(&m.store),
            m.lite(),
            Arc::clone(&m.static_topics),
        )
    }

    fn create(m: &Managers, topic: &str, more: &[(&str, &str)]) -> Result<(), (i32, String)> {
        let mut fields = vec![
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "4"),
            ("writeQueueNums", "4"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
        ];
        fields.extend(more);
        with_view(&request(&fields), |view| processor(m).update_and_create(view))
            .map(|_| ())
            .map_err(|error| (error.response_code().0, error.to_string()))
    }

    #[test]
    fn topic_is_created_and_one_that_is_the_same_is_left_alone() {
        let m = managers(|_| ());
        create(&m, "t", &[("order", "true"), ("attributes", "+message.type=FIFO")]).unwrap();
        let topic = m.topics.get("t").unwrap();
        assert_eq!((topic.write_queue_nums, topic.order), (4, true));
        assert_eq!(topic.attributes["message.type"], "FIFO");

        create(&m, "u", &[]).unwrap();
        let version = m.topics.snapshot().1;
        create(&m, "u", &[]).unwrap();
        assert_eq!(m.topics.snapshot().1, version);
        create(&m, "u", &[("perm", "4")]).unwrap();
        assert_eq!(m.topics.get("u").unwrap().perm, 4);
    }

    #[test]
    fn creation_is_refused_with_the_codes_and_words_of_the_reference() {
        let m = managers(|_| ());
        let refused = |topic: &str, more: &[_]| create(&m, topic, more).unwrap_err();
        assert_eq!(refused("../t", &[]).0, 29);
        assert_eq!(
            refused("DefaultCluster", &[]),
            (29, "The topic[DefaultCluster] is conflict with system topic.".to_owned())
        );
        assert_eq!(
            refused("t", &[("attributes", "+message.type=MIXED")]),
            (29, "MIXED message type is not supported.".to_owned())
        );
        assert_eq!(
            refused("t", &[("attributes", "+no.such=1")]),
            (1, "unsupported key: no.such".to_owned())
        );
        assert_eq!(refused("t", &[("topicFilterType", "NONE")]).0, 1);
        assert_eq!(refused("t", &[("readQueueNums", "-1")]).0, 29);
        assert_eq!(refused("t", &[("readQueueNums", "2147483647")]).0, 29);
        assert!(m.topics.get("t").is_none());
    }

    /// Asks for topic `t` with one logical queue.
    fn create_static(m: &Managers, body: &str) -> Result<(), (i32, String)> {
        let fields = [
            ("topic", "t"),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("order", "true"),
            ("attributes", "+message.type=FIFO"),
            ("force", "false"),
        ];
        let request = request(&fields).with_body(body.as_bytes().to_vec());
        with_view(&request, |view| processor(m).update_and_create_static(view))
            .map(|_| ())
            .map_err(|error| (error.response_code().0, error.to_string()))
    }

    const MAPPING: &str = r#"{"bname":"b","currIdMap":{},"dirty":false,"epoch":7,"hostedQueues":{0:[{"bname":"b","endOffset":-1,"gen":0,"logicOffset":0,"queueId":0,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}]},"scope":"__global__","topic":"t","totalQueues":1}"#;

    #[test]
    fn static_topic_is_created_answered_with_its_mapping_and_deleted_with_it() {
        let m = managers(|_| ());
        create_static(&m, MAPPING).unwrap();
        let topic = m.topics.get("t").unwrap();
        assert_eq!((topic.write_queue_nums, topic.order, topic.attributes.len()), (1, false, 0));
        let get = |fields: &[(&str, &str)]| {
            let answer = with_view(&request(fields), |view| processor(&m).get(view)).unwrap();
            body(&answer).to_owned()
        };
        let rest = r#""order":false,"perm":6,"readQueueNums":1,"topicFilterType":"SINGLE_TAG","topicName":"t","topicSysFlag":0,"writeQueueNums":1}"#;
        assert_eq!(get(&[("topic", "t")]), format!(r#"{{"attributes":{{}},{rest}"#));
        assert_eq!(
            get(&[("topic", "t"), ("lo", "true")]),
            format!(r#"{{"attributes":{{}},"mappingDetail":{MAPPING},{rest}"#)
        );
        let all = with_view(&request(&[]), |view| processor(&m).get_all(view)).unwrap();
        let all: TopicConfigAndMappingSerializeWrapper = fastjson::from_slice(&all.body).unwrap();
        assert_eq!(all.mapping_data_version.counter, 1);
        assert_eq!(all.topic_queue_mapping_detail_map["t"].epoch, 7);

        with_view(&request(&[("topic", "t")]), |view| processor(&m).delete(view)).unwrap();
        assert!(m.static_topics.is_empty());
    }

    #[test]
    fn static_topic_is_refused_with_a_mapping_that_is_not_its_own_or_too_old() {
        let m = managers(|_| ());
        let refused = |from: &str, to: &str| {
            let changed = MAPPING.replace(from, to);
            assert_ne!(changed, MAPPING);
            create_static(&m, &changed).unwrap_err()
        };
        assert_eq!(refused(r#""topic":"t""#, r#""topic":"u""#).0, 1);
        assert_eq!(refused(r#"{"bname":"b","currIdMap""#, r#"{"bname":"c","currIdMap""#).0, 1);
        assert_eq!(refused(r#""totalQueues":1"#, r#""totalQueues":65537"#).0, 1);
        assert_eq!(refused("{0:[", "{65537:[").0, 1);
        assert_eq!(refused("{0:[", "{-1:[").0, 1);
        assert_eq!(refused(r#""startOffset":0"#, r#""startOffset":-1"#).0, 1);
        assert_eq!(create_static(&m, "[]").unwrap_err().0, 1);
        assert!(m.topics.get("t").is_none() && m.static_topics.is_empty());
        create_static(&m, MAPPING).unwrap();
        assert_eq!(
            refused(r#""epoch":7"#, r#""epoch":6"#),
            (1, "Can't accept data with small epoch 6 < 7".to_owned())
        );
    }

    #[test]
    fn static_topic_without_a_mapping_is_a_topic_like_any_other() {
        let m = managers(|_| ());
        for body in ["", "null"] {
            create_static(&m, body).unwrap();
            assert!(m.topics.get("t").is_some() && m.static_topics.is_empty());
            m.topics.delete("t");
        }
    }

    #[test]
    fn list_is_taken_as_a_whole_or_not_at_all() {
        let m = managers(|_| ());
        let update = |body: &str| {
            let request = request(&[]).with_body(body.as_bytes().to_vec());
            with_view(&request, |view| processor(&m).update_and_create_list(view))
        };
        let refused = update(r#"{"topicConfigList":[{"topicName":"t"},{"topicName":"TBW102"}]}"#)
            .unwrap_err();
        assert_eq!(refused.response_code().0, 29);
        assert!(m.topics.get("t").is_none());
        m.create_topic("same", 4);
        update(
            r#"{"topicConfigList":[
            {"topicName":"same","readQueueNums":4,"writeQueueNums":4},
            {"topicName":"t","perm":4,"attributes":{"+message.type":"FIFO"}}]}"#,
        )
        .unwrap();
        let topic = m.topics.get("t").unwrap();
        assert_eq!((topic.perm, topic.attributes["message.type"].as_str()), (4, "FIFO"));
    }

    #[test]
    fn topic_that_cannot_be_saved_is_not_acknowledged_until_it_is() {
        let m = managers(|_| ());
        let config = m.store.config().root_dir().join("config");
        let in_the_way = ["topics.json.journal", "topics.json.tmp"].map(|name| config.join(name));
        for path in &in_the_way {
            fs::create_dir_all(path).unwrap();
        }
        for _ in 0..2 {
            assert_eq!(create(&m, "t", &[]), Err((1, NOT_SAVED.to_owned())));
            assert!(m.topics.get("t").is_some(), "it counts");
        }
        for path in &in_the_way {
            fs::remove_dir(path).unwrap();
        }
        create(&m, "t", &[]).unwrap();
        assert!(fs::read_to_string(config.join("topics.json")).unwrap().contains("\"t\""));
    }

    #[test]
    fn system_topics_are_those_of_the_reference_and_of_this_broker() {
        let m = managers(|_| ());
        let answer = processor(&m).system_topics().unwrap();
        let list: TopicList = fastjson::from_slice(&answer.body).unwrap();
        for topic in ["TBW102", "b", "DefaultCluster", "rmq_sys_REVIVE_LOG_DefaultCluster"] {
            assert!(list.topic_list.contains(topic), "{topic}");
        }
    }

    #[test]
    fn deletion_takes_queues_offsets_and_pop_retry_topics_along() {
        let m = managers(|_| ());
        for topic in ["t", "%RETRY%g_t", "%RETRY%other_t"] {
            m.create_topic(topic, 1);
        }
        m.put("t", 0, "a");
        m.offsets.commit("g", "t", 0, 1);
        let delete = |topic: &str| {
            with_view(&request(&[("topic", topic)]), |view| processor(&m).delete(view))
                .map_err(|error| (error.response_code().0, error.to_string()))
        };
        delete("t").unwrap();
        assert!(m.topics.get("t").is_none() && m.topics.get("%RETRY%g_t").is_none());
        assert!(m.topics.get("%RETRY%other_t").is_some());
        assert_eq!(m.offsets.query("g", "t", 0), None);
        assert_eq!(m.store.max_offset("t", 0), 0);
        assert_eq!(delete(" ").unwrap_err(), (29, "The specified topic is blank.".to_owned()));
        assert_eq!(delete("TBW102").unwrap_err().0, 29);
        delete("never existed").unwrap();
    }

    #[test]
    fn topics_are_answered_one_by_one_and_all_at_once() {
        let m = managers(|_| ());
        m.create_topic("t", 1);
        let get =
            |topic: &str| with_view(&request(&[("topic", topic)]), |view| processor(&m).get(view));
        assert_eq!(
            body(&get("t").unwrap()),
            r#"{"attributes":{},"order":false,"perm":6,"readQueueNums":1,"topicFilterType":"SINGLE_TAG","topicName":"t","topicSysFlag":0,"writeQueueNums":1}"#
        );
        let refused = get("u").unwrap_err();
        assert_eq!(
            (refused.response_code().0, refused.to_string()),
            (17, "No topic in this broker. topic: u".to_owned())
        );

        let all = with_view(&request(&[]), |view| processor(&m).get_all(view)).unwrap();
        let count = m.topics.snapshot().0.len();
        assert_eq!(all.ext_fields.get("totalTopicNum").unwrap(), count.to_string());
        let topics: TopicConfigAndMappingSerializeWrapper =
            fastjson::from_slice(&all.body).unwrap();
        assert_eq!(topics.topic_config_table.len(), count);
    }
}
