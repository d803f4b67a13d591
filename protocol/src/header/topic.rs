//! Topics of a broker.

header! {
    /// `UPDATE_AND_CREATE_TOPIC` (17).
    ///
    /// Reference: `CreateTopicRequestHeader` (remoting), 5.5.0.
    pub struct CreateTopicRequestHeader {
        topic: String = "topic",
        default_topic: String = "defaultTopic",
        read_queue_nums: i32 = "readQueueNums",
        write_queue_nums: i32 = "writeQueueNums",
        perm: i32 = "perm",
        topic_filter_type: String = "topicFilterType",
        topic_sys_flag: Option<i32> = "topicSysFlag",
        order: bool = "order" | false,
        /// `+key=value,-key`.
        attributes: Option<String> = "attributes",
        force: bool = "force" | false,
    }

    /// `DELETE_TOPIC_IN_BROKER` (215).
    ///
    /// Reference: `DeleteTopicRequestHeader` (remoting), 5.5.0.
    pub struct DeleteTopicRequestHeader {
        /// Without it the broker answers as to a blank one.
        topic: Option<String> = "topic",
    }

    /// `GET_ALL_TOPIC_CONFIG` (21): every topic, or a page of them.
    ///
    /// Reference: `GetAllTopicConfigRequestHeader` (remoting), 5.5.0. The whole table is asked for by
    /// leaving all fields out.
    pub struct GetAllTopicConfigRequestHeader {
        topic_seq: Option<i32> = "topicSeq",
        data_version: Option<String> = "dataVersion",
        max_topic_num: Option<i32> = "maxTopicNum",
    }

    /// Answer to `GET_ALL_TOPIC_CONFIG`.
    ///
    /// Reference: `GetAllTopicConfigResponseHeader` (remoting), 5.5.0.
    pub struct GetAllTopicConfigResponseHeader {
        total_topic_num: i32 = "totalTopicNum",
    }

    /// `GET_TOPIC_CONFIG` (351).
    ///
    /// Reference: `GetTopicConfigRequestHeader` (remoting), 5.5.0.
    pub struct GetTopicConfigRequestHeader {
        topic: String = "topic",
    }

    /// `GET_TOPIC_STATS_INFO` (202).
    ///
    /// Reference: `GetTopicStatsInfoRequestHeader` (remoting), 5.5.0.
    pub struct GetTopicStatsInfoRequestHeader {
        topic: String = "topic",
    }
}
