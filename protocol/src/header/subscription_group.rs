//! Settings of consumer groups.

header! {
    /// `GET_ALL_SUBSCRIPTIONGROUP_CONFIG` (201): every group, or a page of them.
    ///
    /// Reference: `GetAllSubscriptionGroupRequestHeader` (remoting), 5.5.0. The whole table is asked
    /// for by leaving all fields out.
    pub struct GetAllSubscriptionGroupRequestHeader {
        group_seq: Option<i32> = "groupSeq",
        data_version: Option<String> = "dataVersion",
        max_group_num: Option<i32> = "maxGroupNum",
    }

    /// Answer to `GET_ALL_SUBSCRIPTIONGROUP_CONFIG`.
    ///
    /// Reference: `GetAllSubscriptionGroupResponseHeader` (remoting), 5.5.0.
    pub struct GetAllSubscriptionGroupResponseHeader {
        total_group_num: i32 = "totalGroupNum",
    }

    /// `DELETE_SUBSCRIPTIONGROUP` (207).
    ///
    /// Reference: `DeleteSubscriptionGroupRequestHeader` (remoting), 5.5.0.
    pub struct DeleteSubscriptionGroupRequestHeader {
        group_name: String = "groupName",
        clean_offset: bool = "cleanOffset" | false,
    }

    /// `UPDATE_AND_GET_GROUP_FORBIDDEN` (353): whether a group may consume a topic.
    ///
    /// Reference: `UpdateGroupForbiddenRequestHeader` (remoting), 5.5.0.
    pub struct UpdateGroupForbiddenRequestHeader {
        group: String = "group",
        topic: String = "topic",
        /// Absent to just ask.
        readable: Option<bool> = "readable",
    }

    /// `CLONE_GROUP_OFFSET` (314): one group goes on where another is.
    ///
    /// Reference: `CloneGroupOffsetRequestHeader` (remoting), 5.5.0.
    pub struct CloneGroupOffsetRequestHeader {
        src_group: String = "srcGroup",
        dest_group: String = "destGroup",
        /// Absent for every topic that the source has offsets of.
        topic: Option<String> = "topic",
        /// Whether the source's subscriptions do not matter.
        offline: bool = "offline" | false,
    }
}
