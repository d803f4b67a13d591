//! Administration of the name server's route table.

header! {
    /// `GET_TOPICS_BY_CLUSTER` (224).
    ///
    /// Reference: `GetTopicsByClusterRequestHeader` (remoting), 5.5.0.
    pub struct GetTopicsByClusterRequestHeader {
        cluster: String = "cluster",
    }

    /// `WIPE_WRITE_PERM_OF_BROKER` (205).
    ///
    /// Reference: `WipeWritePermOfBrokerRequestHeader` (remoting), 5.5.0.
    pub struct WipeWritePermOfBrokerRequestHeader {
        broker_name: String = "brokerName",
    }

    /// Answer to `WIPE_WRITE_PERM_OF_BROKER`.
    ///
    /// Reference: `WipeWritePermOfBrokerResponseHeader` (remoting), 5.5.0.
    pub struct WipeWritePermOfBrokerResponseHeader {
        wipe_topic_count: i32 = "wipeTopicCount",
    }

    /// `ADD_WRITE_PERM_OF_BROKER` (327).
    ///
    /// Reference: `AddWritePermOfBrokerRequestHeader` (remoting), 5.5.0.
    pub struct AddWritePermOfBrokerRequestHeader {
        broker_name: String = "brokerName",
    }

    /// Answer to `ADD_WRITE_PERM_OF_BROKER`.
    ///
    /// Reference: `AddWritePermOfBrokerResponseHeader` (remoting), 5.5.0.
    pub struct AddWritePermOfBrokerResponseHeader {
        add_topic_count: i32 = "addTopicCount",
    }
}
