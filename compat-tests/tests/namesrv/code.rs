//! Codes of requests to a name server, and of its answers.

pub(crate) use oxmq_compat_tests::ops::response::{
    NO_PERMISSION, QUERY_NOT_FOUND, REQUEST_CODE_NOT_SUPPORTED, SUCCESS, SYSTEM_ERROR,
    TOPIC_NOT_EXIST,
};

pub(crate) const PUT_KV_CONFIG: i32 = 100;
pub(crate) const GET_KV_CONFIG: i32 = 101;
pub(crate) const DELETE_KV_CONFIG: i32 = 102;
pub(crate) const REGISTER_BROKER: i32 = 103;
pub(crate) const UNREGISTER_BROKER: i32 = 104;
pub(crate) const ROUTE: i32 = 105;
pub(crate) const CLUSTER_INFO: i32 = 106;
pub(crate) const WIPE_WRITE_PERM: i32 = 205;
pub(crate) const ALL_TOPICS: i32 = 206;
pub(crate) const DELETE_TOPIC: i32 = 216;
pub(crate) const REGISTER_TOPIC: i32 = 217;
pub(crate) const KV_LIST: i32 = 219;
pub(crate) const TOPICS_BY_CLUSTER: i32 = 224;
pub(crate) const SYSTEM_TOPICS: i32 = 304;
pub(crate) const UNIT_TOPICS: i32 = 311;
pub(crate) const UNIT_SUB_TOPICS: i32 = 312;
pub(crate) const UNIT_SUB_ONLY_TOPICS: i32 = 313;
pub(crate) const UPDATE_CONFIG: i32 = 318;
pub(crate) const GET_CONFIG: i32 = 319;
pub(crate) const DATA_VERSION: i32 = 322;
pub(crate) const ADD_WRITE_PERM: i32 = 327;
pub(crate) const MEMBER_GROUP: i32 = 901;
pub(crate) const BROKER_HEARTBEAT: i32 = 904;
pub(crate) const NOTIFY_MIN_BROKER_ID_CHANGE: i32 = 905;
