//! Routes: where a topic is.

header! {
    /// `GET_ROUTEINFO_BY_TOPIC` (105).
    ///
    /// Reference: `GetRouteInfoRequestHeader` (remoting), 5.5.0.
    pub struct GetRouteInfoRequestHeader {
        topic: String = "topic",
        /// Asks for the strict dialect whatever the client's version.
        accept_standard_json_only: Option<bool> = "acceptStandardJsonOnly",
    }

    /// `REGISTER_TOPIC_IN_NAMESRV` (217). The body is a
    /// [`TopicRouteData`](crate::body::TopicRouteData) of which the queues count.
    ///
    /// Reference: `RegisterTopicRequestHeader` (remoting), 5.5.0.
    pub struct RegisterTopicRequestHeader {
        topic: String = "topic",
    }

    /// `DELETE_TOPIC_IN_NAMESRV` (216).
    ///
    /// Reference: `DeleteTopicFromNamesrvRequestHeader` (remoting), 5.5.0.
    pub struct DeleteTopicFromNamesrvRequestHeader {
        topic: String = "topic",
        /// Only the brokers of this cluster lose the topic.
        cluster_name: Option<String> = "clusterName",
    }
}
