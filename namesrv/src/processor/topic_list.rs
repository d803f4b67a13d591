//! Lists for tools, and the permission to write.

use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::header::{
    AddWritePermOfBrokerRequestHeader, AddWritePermOfBrokerResponseHeader,
    GetTopicsByClusterRequestHeader, Header as _, WipeWritePermOfBrokerRequestHeader,
    WipeWritePermOfBrokerResponseHeader,
};

use super::{Answer, success, success_with};
use crate::core::{NameServer, Origin};
use crate::error::RequestError;
use crate::route_info::UnitFilter;

impl NameServer {
    pub(crate) fn get_broker_cluster_info(&self, origin: Origin) -> Answer {
        success_with(&self.route_info.cluster_info(self.settings().listener(origin)))
    }

    pub(crate) fn get_all_topics(&self) -> Answer {
        if !self.settings().enable_all_topic_list {
            return Err(RequestError::Disabled);
        }
        success_with(&self.route_info.all_topics())
    }

    pub(crate) fn get_topics_by_cluster(&self, request: &RemotingCommand) -> Answer {
        if !self.settings().enable_topic_list {
            return Err(RequestError::Disabled);
        }
        let header = GetTopicsByClusterRequestHeader::decode(&request.ext_fields)?;
        success_with(&self.route_info.topics_of_cluster(&header.cluster))
    }

    pub(crate) fn get_system_topics(&self, origin: Origin) -> Answer {
        success_with(&self.route_info.system_topics(self.settings().listener(origin)))
    }

    pub(crate) fn get_unit_topics(&self, filter: UnitFilter) -> Answer {
        if !self.settings().enable_topic_list {
            return Err(RequestError::Disabled);
        }
        success_with(&self.route_info.unit_topics(filter))
    }

    pub(crate) fn wipe_write_perm(&self, request: &RemotingCommand) -> Answer {
        let header = WipeWritePermOfBrokerRequestHeader::decode(&request.ext_fields)?;
        let wipe_topic_count = self.route_info.wipe_write_perm(&header.broker_name);
        tracing::info!(
            broker_name = header.broker_name,
            wipe_topic_count,
            "write permission wiped"
        );
        Ok(success().with_header(&WipeWritePermOfBrokerResponseHeader { wipe_topic_count }))
    }

    pub(crate) fn add_write_perm(&self, request: &RemotingCommand) -> Answer {
        let header = AddWritePermOfBrokerRequestHeader::decode(&request.ext_fields)?;
        let add_topic_count = self.route_info.add_write_perm(&header.broker_name);
        tracing::info!(broker_name = header.broker_name, add_topic_count, "write permission added");
        Ok(success().with_header(&AddWritePermOfBrokerResponseHeader { add_topic_count }))
    }
}
