//! Where a topic is.

use std::time::{Duration, Instant};

use oxmq_protocol::body::TopicRouteData;
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::ext_fields::Fields as _;
use oxmq_protocol::fastjson::Dialect;
use oxmq_protocol::header::{
    DeleteTopicFromNamesrvRequestHeader, GetRouteInfoRequestHeader, Header as _,
    RegisterTopicRequestHeader,
};

use super::registration::ZONE_NAME;
use super::{Answer, read_body, success};
use crate::core::{NameServer, Origin};
use crate::error::RequestError;
use crate::kv_config::ORDER_TOPIC_CONFIG;
use crate::limits::MAX_NAME_BYTES;
use crate::route_info::{RouteQuery, Zone};

/// Version from which clients read standard JSON only.
///
/// Reference: `MQVersion.Version.V4_9_4` (common), 5.5.0.
const V4_9_4: i32 = 401;

/// Ext field that asks for the brokers of the client's zone only.
///
/// Reference: `MixAll.ZONE_MODE` (common), 5.5.0.
const ZONE_MODE: &str = "__ZONE_MODE";

impl NameServer {
    pub(crate) fn get_route_info(
        &self,
        request: &RemotingCommand,
        origin: Origin,
        now: Instant,
    ) -> Answer {
        let header = GetRouteInfoRequestHeader::decode(&request.ext_fields)
            .map_err(RequestError::NoTopic)?;
        let settings = self.settings();
        let wait = Duration::from_secs(settings.wait_seconds_for_service);
        if settings.need_wait_for_service && now.saturating_duration_since(self.started) < wait {
            return Err(RequestError::NotReady);
        }
        let is_strict = request.version >= V4_9_4 || header.accept_standard_json_only == Some(true);
        let order_topic_conf = settings
            .order_message_enable
            .then(|| self.kv_config.get(ORDER_TOPIC_CONFIG, &header.topic))
            .flatten();
        let in_zone = request.ext_fields.get(ZONE_MODE);
        let zone = in_zone
            .filter(|mode| mode.eq_ignore_ascii_case("true"))
            .and_then(|_| request.ext_fields.get(ZONE_NAME))
            .filter(|zone| !zone.trim().is_empty());
        let query = RouteQuery {
            topic: &header.topic,
            dialect: if is_strict { Dialect::Strict } else { Dialect::Raw },
            order_topic_conf: order_topic_conf.as_deref(),
            support_acting_master: settings.support_acting_master,
            zone: zone.as_deref().map(Zone),
            listener: settings.listener(origin),
        };
        match self.route_info.route(&query).map_err(RequestError::Answer)? {
            Some(route) => {
                self.route_askers.note(&header.topic, origin, query.listener, now);
                Ok(success().with_body(route))
            }
            None => {
                let cause = self.route_info.why_no_route(&header.topic);
                let mut topic = header.topic;
                topic.truncate(topic.floor_char_boundary(MAX_NAME_BYTES));
                Err(RequestError::NoRoute { topic, cause })
            }
        }
    }

    pub(crate) fn register_topic(&self, request: &RemotingCommand) -> Answer {
        let header = RegisterTopicRequestHeader::decode(&request.ext_fields)?;
        if !request.body.is_empty() {
            let route: TopicRouteData = read_body(request, "TopicRouteData")?;
            if !route.queue_datas.is_empty() {
                self.route_info.register_topic(&header.topic, &route.queue_datas);
            }
        }
        Ok(success())
    }

    pub(crate) fn delete_topic(&self, request: &RemotingCommand) -> Answer {
        let header = DeleteTopicFromNamesrvRequestHeader::decode(&request.ext_fields)?;
        let cluster = header.cluster_name.filter(|cluster| !cluster.is_empty());
        self.route_info.delete_topic(&header.topic, cluster.as_deref());
        Ok(success())
    }
}
