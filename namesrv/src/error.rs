//! Requests that are refused.

use std::net::SocketAddr;

use oxmq_protocol::advertised_listeners::{ADVERTISED_LISTENERS, AdvertisedListeners};
use oxmq_protocol::body::CompressedBodyError;
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::config::ConfigValue as _;
use oxmq_protocol::fastjson::FastjsonError;
use oxmq_protocol::header::HeaderError;

use crate::config::ChangeError;
use crate::kv_config::KvConfigError;
use crate::limits::MAX_NAME_BYTES;
use crate::route_info::RegisterError;

/// Behind every remark that names it.
///
/// Reference: `FAQUrl` (client, common), 5.5.0.
const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// A request that the name server refuses. Every variant has one response code and one remark.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The sender's bug, or a truncated send.
    #[error("body is not a {what}: {source}")]
    Body { what: &'static str, source: FastjsonError },
    #[error(" request type {} not supported", .0.0)]
    Unsupported(RequestCode),
    /// A bug of the broker: it has read the same text.
    #[error("{ADVERTISED_LISTENERS} must be {}", AdvertisedListeners::EXPECTED)]
    Advertised,
    /// The broker waits for its next round.
    #[error("crc32 not match")]
    Checksum,
    #[error("body is not a compressed RegisterBrokerBody: {0}")]
    Compressed(#[from] CompressedBodyError),
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// No broker can have such a name.
    #[error("unregister broker failed: a name has more than {MAX_NAME_BYTES} bytes")]
    LongName,
    /// The topic has to be created, or a broker to register; clients ask again.
    #[error("No topic route info in name server for the topic: {topic}{FAQ}\nCause: {cause}.")]
    NoRoute { topic: String, cause: String },
    /// As the reference answers, which looks for a topic without a name.
    #[error("No topic route info in name server for the topic: null{FAQ}\nCause: {0}.")]
    NoTopic(#[source] HeaderError),
    /// Brokers get time to register after a start.
    #[error("name server not ready")]
    NotReady,
    /// The list is switched off.
    #[error("disable")]
    Disabled,
    #[error("No config item, Namespace: {namespace} Key: {key}")]
    NoKey { namespace: String, key: String },
    #[error("No config item, Namespace: {0}")]
    NoNamespace(String),
    /// As the reference answers, which looks for a key without a name.
    #[error("No config item: {0}")]
    NoName(#[source] HeaderError),
    #[error("namespace or key is null")]
    NoNamespaceOrKey,
    #[error(transparent)]
    KvConfig(#[from] KvConfigError),
    #[error("Can not update config in black list.")]
    ClosedKey,
    #[error("string2Properties error")]
    NotProperties,
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error("settings cannot be kept: {0}")]
    KeepConfig(#[source] std::io::Error),
    /// The sender backs off.
    #[error("[OVERLOAD]system busy, start flow control for a while")]
    Busy,
    #[error("answer has no form: {0}")]
    Answer(#[source] FastjsonError),
}

impl RequestError {
    /// The code that the peer sees.
    pub(crate) fn response_code(&self) -> ResponseCode {
        match self {
            Self::Unsupported(_) => ResponseCode::REQUEST_CODE_NOT_SUPPORTED,
            Self::NoRoute { .. } | Self::NoTopic(_) => ResponseCode::TOPIC_NOT_EXIST,
            Self::NoKey { .. } | Self::NoNamespace(_) | Self::NoName(_) => {
                ResponseCode::QUERY_NOT_FOUND
            }
            Self::ClosedKey => ResponseCode::NO_PERMISSION,
            Self::Busy => ResponseCode::SYSTEM_BUSY,
            Self::Header(_)
            | Self::Body { .. }
            | Self::Checksum
            | Self::Advertised
            | Self::Compressed(_)
            | Self::Register(_)
            | Self::LongName
            | Self::NotReady
            | Self::Disabled
            | Self::NoNamespaceOrKey
            | Self::KvConfig(_)
            | Self::NotProperties
            | Self::Change(_)
            | Self::KeepConfig(_)
            | Self::Answer(_) => ResponseCode::SYSTEM_ERROR,
        }
    }

    /// Notes a refusal: loudly when the sender is at fault, as no sender means to be.
    pub(crate) fn log(&self, code: RequestCode, peer: SocketAddr) {
        match self {
            Self::Header(_)
            | Self::Body { .. }
            | Self::Checksum
            | Self::Advertised
            | Self::Compressed(_)
            | Self::NoTopic(_)
            | Self::NoName(_)
            | Self::NoNamespaceOrKey
            | Self::NotProperties
            | Self::ClosedKey
            | Self::LongName
            | Self::Register(_) => {
                tracing::warn!(%code, %peer, error = %self, "request refused");
            }
            _ => tracing::debug!(%code, %peer, error = %self, "request refused"),
        }
    }
}
