//! Brokers making themselves known to the name server.

header! {
    /// `REGISTER_BROKER` (103): a broker's address and topics. The body is a
    /// [`RegisterBrokerBody`](crate::body::RegisterBrokerBody).
    ///
    /// Reference: `RegisterBrokerRequestHeader` (remoting), 5.5.0.
    pub struct RegisterBrokerRequestHeader {
        broker_name: String = "brokerName",
        broker_addr: String = "brokerAddr",
        cluster_name: String = "clusterName",
        ha_server_addr: String = "haServerAddr",
        broker_id: i64 = "brokerId",
        /// Silence after which the broker counts as gone, ms.
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis",
        /// Absent from brokers before 5.0, of which a slave never stands in for its master.
        enable_acting_master: Option<bool> = "enableActingMaster",
        compressed: bool = "compressed" | false,
        /// 0 is not checked.
        body_crc32: i32 = "bodyCrc32" | 0,
    }

    /// Answer to `REGISTER_BROKER`: a slave learns its master.
    ///
    /// Reference: `RegisterBrokerResponseHeader` (remoting), 5.5.0.
    pub struct RegisterBrokerResponseHeader {
        ha_server_addr: Option<String> = "haServerAddr",
        master_addr: Option<String> = "masterAddr",
    }

    /// `UNREGISTER_BROKER` (104).
    ///
    /// Reference: `UnRegisterBrokerRequestHeader` (remoting), 5.5.0.
    pub struct UnRegisterBrokerRequestHeader {
        broker_name: String = "brokerName",
        broker_addr: String = "brokerAddr",
        cluster_name: String = "clusterName",
        broker_id: i64 = "brokerId",
    }

    /// `QUERY_DATA_VERSION` (322): has the broker to register again? The body is its
    /// [`DataVersion`](crate::body::DataVersion).
    ///
    /// Reference: `QueryDataVersionRequestHeader` (remoting), 5.5.0.
    pub struct QueryDataVersionRequestHeader {
        broker_name: String = "brokerName",
        broker_addr: String = "brokerAddr",
        cluster_name: String = "clusterName",
        broker_id: i64 = "brokerId",
    }

    /// Answer to `QUERY_DATA_VERSION`; the body is the version known, if any.
    ///
    /// Reference: `QueryDataVersionResponseHeader` (remoting), 5.5.0.
    pub struct QueryDataVersionResponseHeader {
        changed: bool = "changed",
    }

    /// `BROKER_HEARTBEAT` (904). The name server reads the address only; the rest is for a controller.
    ///
    /// Reference: `BrokerHeartbeatRequestHeader` (remoting), 5.5.0.
    pub struct BrokerHeartbeatRequestHeader {
        cluster_name: String = "clusterName",
        broker_addr: String = "brokerAddr",
        broker_name: String = "brokerName",
        broker_id: Option<i64> = "brokerId",
        epoch: Option<i32> = "epoch",
        max_offset: Option<i64> = "maxOffset",
        confirm_offset: Option<i64> = "confirmOffset",
        heartbeat_timeout_mills: Option<i64> = "heartbeatTimeoutMills",
        election_priority: Option<i32> = "electionPriority",
    }

    /// `GET_BROKER_MEMBER_GROUP` (901).
    ///
    /// Reference: `GetBrokerMemberGroupRequestHeader` (remoting), 5.5.0.
    pub struct GetBrokerMemberGroupRequestHeader {
        cluster_name: String = "clusterName",
        broker_name: String = "brokerName",
    }

    /// `NOTIFY_MIN_BROKER_ID_CHANGE` (905): another broker now acts for the group.
    ///
    /// Reference: `NotifyMinBrokerIdChangeRequestHeader` (remoting), 5.5.0.
    pub struct NotifyMinBrokerIdChangeRequestHeader {
        min_broker_id: Option<i64> = "minBrokerId",
        broker_name: Option<String> = "brokerName",
        min_broker_addr: Option<String> = "minBrokerAddr",
        offline_broker_addr: Option<String> = "offlineBrokerAddr",
        ha_broker_addr: Option<String> = "haBrokerAddr",
    }
}
