//! The index of what the name server can do.

use std::time::Instant;

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;

use crate::core::{NameServer, Origin};
use crate::error::RequestError;
use crate::processor::Answer;
use crate::route_info::UnitFilter;

/// Where a request is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the task that read it: a look into the tables.
    Task,
    /// On the worker, behind what came before.
    Worker,
    /// There, too, and takes long, as it goes through all topics or writes a file: few may wait, or brokers
    /// would wait behind them.
    Slow,
    /// Answered at once, worked off on the worker.
    Departure,
}

/// Says where a request is handled.
pub(crate) fn place(code: RequestCode) -> Place {
    match code {
        RequestCode::UNREGISTER_BROKER => Place::Departure,
        RequestCode::REGISTER_BROKER
        | RequestCode::DELETE_TOPIC_IN_NAMESRV
        | RequestCode::REGISTER_TOPIC_IN_NAMESRV => Place::Worker,
        RequestCode::PUT_KV_CONFIG
        | RequestCode::DELETE_KV_CONFIG
        | RequestCode::WIPE_WRITE_PERM_OF_BROKER
        | RequestCode::ADD_WRITE_PERM_OF_BROKER
        | RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER
        | RequestCode::GET_TOPICS_BY_CLUSTER
        | RequestCode::GET_UNIT_TOPIC_LIST
        | RequestCode::GET_HAS_UNIT_SUB_TOPIC_LIST
        | RequestCode::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST
        | RequestCode::UPDATE_NAMESRV_CONFIG => Place::Slow,
        _ => Place::Task,
    }
}

impl NameServer {
    /// Answers a request, also one that is refused.
    pub(crate) fn handle(
        &self,
        request: &RemotingCommand,
        origin: Origin,
        now: Instant,
    ) -> RemotingCommand {
        self.answer(request, origin, now).unwrap_or_else(|error| {
            error.log(request.request_code(), origin.peer);
            RemotingCommand::response(error.response_code()).with_remark(error.to_string())
        })
    }

    fn answer(&self, request: &RemotingCommand, origin: Origin, now: Instant) -> Answer {
        match request.request_code() {
            RequestCode::GET_ROUTEINFO_BY_TOPIC => self.get_route_info(request, origin, now),
            RequestCode::REGISTER_BROKER => self.register_broker(request, origin, now),
            RequestCode::UNREGISTER_BROKER => {
                self.unregister_brokers(&[Self::departure(request)?]);
                Ok(RemotingCommand::response(ResponseCode::SUCCESS))
            }
            RequestCode::BROKER_HEARTBEAT => self.broker_heartbeat(request, now),
            RequestCode::QUERY_DATA_VERSION => self.query_data_version(request, now),
            RequestCode::GET_BROKER_MEMBER_GROUP => self.get_broker_member_group(request),
            RequestCode::GET_BROKER_CLUSTER_INFO => self.get_broker_cluster_info(origin),
            RequestCode::WIPE_WRITE_PERM_OF_BROKER => self.wipe_write_perm(request),
            RequestCode::ADD_WRITE_PERM_OF_BROKER => self.add_write_perm(request),
            RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => self.get_all_topics(),
            RequestCode::DELETE_TOPIC_IN_NAMESRV => self.delete_topic(request),
            RequestCode::REGISTER_TOPIC_IN_NAMESRV => self.register_topic(request),
            RequestCode::GET_TOPICS_BY_CLUSTER => self.get_topics_by_cluster(request),
            RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS => self.get_system_topics(origin),
            RequestCode::GET_UNIT_TOPIC_LIST => self.get_unit_topics(UnitFilter::Unit),
            RequestCode::GET_HAS_UNIT_SUB_TOPIC_LIST => self.get_unit_topics(UnitFilter::UnitSub),
            RequestCode::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
                self.get_unit_topics(UnitFilter::UnitSubOnly)
            }
            RequestCode::PUT_KV_CONFIG => self.put_kv_config(request),
            RequestCode::GET_KV_CONFIG => self.get_kv_config(request),
            RequestCode::DELETE_KV_CONFIG => self.delete_kv_config(request),
            RequestCode::GET_KVLIST_BY_NAMESPACE => self.get_kv_list(request),
            RequestCode::UPDATE_NAMESRV_CONFIG => self.update_config(request),
            RequestCode::GET_NAMESRV_CONFIG => self.get_config(),
            code => Err(RequestError::Unsupported(code)),
        }
    }
}
