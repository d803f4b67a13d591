//! Brokers that come, stay and go.

use std::time::{Duration, Instant};

use oxmq_protocol::advertised_listeners::{ADVERTISED_LISTENERS, AdvertisedListeners};
use oxmq_protocol::body::{
    DataVersion, GetBrokerMemberGroupResponseBody, MASTER_ID, RegisterBrokerBody,
};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::config::ConfigValue as _;
use oxmq_protocol::ext_fields::Fields as _;
use oxmq_protocol::header::{
    BrokerHeartbeatRequestHeader, GetBrokerMemberGroupRequestHeader, Header as _,
    QueryDataVersionRequestHeader, QueryDataVersionResponseHeader, RegisterBrokerRequestHeader,
    RegisterBrokerResponseHeader, UnRegisterBrokerRequestHeader,
};

use oxmq_protocol::message::record::body_crc;
use oxmq_protocol::route_askers::{self, ROUTE_ASKERS};

use super::{Answer, read_body, success, success_with};
use crate::core::{NameServer, Origin};
use crate::error::RequestError;
use crate::kv_config::ORDER_TOPIC_CONFIG;
use crate::limits::MAX_NAME_BYTES;
use crate::route_info::{BrokerAddress, Departure, Registration};

/// Silence after which a broker that does not say otherwise counts as gone.
///
/// Reference: `RouteInfoManager.DEFAULT_BROKER_CHANNEL_EXPIRED_TIME` (namesrv), 5.5.0.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// Ext field with the zone of the sender.
///
/// Reference: `MixAll.ZONE_NAME` (common), 5.5.0.
pub(super) const ZONE_NAME: &str = "__ZONE_NAME";

/// Version from which brokers send filter servers beside the topics.
///
/// Reference: `MQVersion.Version.V3_0_11` (common), 5.5.0.
const V3_0_11: i32 = 37;

impl NameServer {
    pub(crate) fn register_broker(
        &self,
        request: &RemotingCommand,
        origin: Origin,
        now: Instant,
    ) -> Answer {
        let header = RegisterBrokerRequestHeader::decode(&request.ext_fields)?;
        if header.body_crc32 != 0 && header.body_crc32 != body_crc(&request.body) {
            return Err(RequestError::Checksum);
        }
        let settings = self.settings();
        let registration = Registration {
            address: BrokerAddress {
                cluster_name: header.cluster_name,
                broker_addr: header.broker_addr,
            },
            broker_name: header.broker_name,
            broker_id: header.broker_id,
            ha_server_addr: header.ha_server_addr,
            zone_name: request.ext_fields.get(ZONE_NAME).map(|zone| zone.into_owned()),
            advertised: advertised(request)?,
            timeout: header.heartbeat_timeout_millis.map_or(DEFAULT_TIMEOUT, |millis| {
                Duration::from_millis(u64::try_from(millis).unwrap_or_default())
            }),
            enable_acting_master: header.enable_acting_master,
            body: registered_body(request, header.compressed)?,
            connection: origin.connection,
            delete_missing_topics: settings.delete_topic_with_broker_registration,
        };
        let registered = self.route_info.register_broker(&registration, now)?;
        if let Some(change) = registered.min_id_change
            && settings.notify_min_broker_id_changed
        {
            self.notify(change);
        }
        let mut response = success().with_header(&RegisterBrokerResponseHeader {
            ha_server_addr: registered.ha_server_addr,
            master_addr: registered.master_addr,
        });
        // Clients that only send have no connection to slaves.
        if registration.broker_id == MASTER_ID && request.ext_fields.get(ROUTE_ASKERS).is_some() {
            let has = |topic: &str| self.route_info.has_topic(topic, &registration.broker_name);
            let askers = self.route_askers.of_broker(origin, has, now);
            response.ext_fields.insert(ROUTE_ASKERS, route_askers::print(&askers));
        }
        if !settings.return_order_topic_config_to_broker {
            return Ok(response);
        }
        match self.kv_config.list(ORDER_TOPIC_CONFIG) {
            Some(table) => Ok(response.with_body(success_with(&table)?.body)),
            None => Ok(response),
        }
    }

    /// What to remove for `UNREGISTER_BROKER`, which is answered before it has an effect.
    pub(crate) fn departure(request: &RemotingCommand) -> Result<Departure, RequestError> {
        let header = UnRegisterBrokerRequestHeader::decode(&request.ext_fields)?;
        // It may have to wait, and no broker with such a name is there.
        let names = [&header.cluster_name, &header.broker_addr, &header.broker_name];
        if names.iter().any(|name| name.len() > MAX_NAME_BYTES) {
            return Err(RequestError::LongName);
        }
        Ok(Departure {
            address: BrokerAddress {
                cluster_name: header.cluster_name,
                broker_addr: header.broker_addr,
            },
            broker_name: header.broker_name,
            broker_id: header.broker_id,
        })
    }

    /// Removes brokers and tells those that stay, if they are to be told.
    pub(crate) fn unregister_brokers(&self, departures: &[Departure]) {
        let changes = self.route_info.unregister_brokers(departures);
        if self.settings().notify_min_broker_id_changed {
            for change in changes {
                self.notify(change);
            }
        }
    }

    pub(crate) fn broker_heartbeat(&self, request: &RemotingCommand, now: Instant) -> Answer {
        let header = BrokerHeartbeatRequestHeader::decode(&request.ext_fields)?;
        let address =
            BrokerAddress { cluster_name: header.cluster_name, broker_addr: header.broker_addr };
        self.route_info.refresh(&address, now);
        Ok(success())
    }

    pub(crate) fn query_data_version(&self, request: &RemotingCommand, now: Instant) -> Answer {
        let header = QueryDataVersionRequestHeader::decode(&request.ext_fields)?;
        // A broker that says nothing of its version has to tell all.
        let version: Option<DataVersion> = match request.body.is_empty() {
            true => None,
            false => read_body(request, "DataVersion")?,
        };
        let address =
            BrokerAddress { cluster_name: header.cluster_name, broker_addr: header.broker_addr };
        self.route_info.refresh(&address, now);
        let known = self.route_info.data_version(&address);
        let response = match &known {
            Some(known) => success_with(known)?,
            None => success(),
        };
        let changed = version.is_none() || known != version;
        Ok(response.with_header(&QueryDataVersionResponseHeader { changed }))
    }

    pub(crate) fn get_broker_member_group(&self, request: &RemotingCommand) -> Answer {
        let header = GetBrokerMemberGroupRequestHeader::decode(&request.ext_fields)?;
        let group = self.route_info.broker_member_group(&header.cluster_name, &header.broker_name);
        success_with(&GetBrokerMemberGroupResponseBody { broker_member_group: group })
    }
}

/// The addresses that a broker has for clients of other networks.
fn advertised(request: &RemotingCommand) -> Result<AdvertisedListeners, RequestError> {
    let Some(text) = request.ext_fields.get(ADVERTISED_LISTENERS) else {
        return Ok(AdvertisedListeners::default());
    };
    AdvertisedListeners::parse(&text).ok_or(RequestError::Advertised)
}

fn registered_body(
    request: &RemotingCommand,
    is_compressed: bool,
) -> Result<RegisterBrokerBody, RequestError> {
    if request.body.is_empty() {
        return Ok(RegisterBrokerBody::default());
    }
    if is_compressed {
        return Ok(RegisterBrokerBody::decode_compressed(&request.body, request.version)?);
    }
    if request.version >= V3_0_11 {
        return read_body(request, "RegisterBrokerBody");
    }
    Ok(RegisterBrokerBody {
        topic_config_serialize_wrapper: read_body(request, "TopicConfigSerializeWrapper")?,
        ..RegisterBrokerBody::default()
    })
}
