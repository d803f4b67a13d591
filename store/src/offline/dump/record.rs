//! A record with its fields in words.

use std::net::SocketAddr;

use oxmq_protocol::base64;
use oxmq_protocol::message::{RecordError, RecordView, properties};
use serde::Serialize;

/// A record, as in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordDump {
    /// Position that the record says it has.
    pub phy_offset: i64,
    /// Bytes of the whole record.
    pub size: usize,
    /// Topic under which it is stored.
    pub topic: String,
    /// Queue of the topic.
    pub queue_id: i32,
    /// Index in the queue.
    pub queue_offset: i64,
    /// The user's flag.
    pub flag: i32,
    /// System flag.
    pub sys_flag: i32,
    /// When the client made the message, in milliseconds since 1970.
    pub born_timestamp_ms: i64,
    /// Client that sent it.
    pub born_host: String,
    /// When the store took it, in milliseconds since 1970.
    pub store_timestamp_ms: i64,
    /// Broker that stored it.
    pub store_host: String,
    /// How often it was given back.
    pub reconsume_times: i32,
    /// Position of the half message that it commits, else zero.
    pub prepared_transaction_offset: i64,
    /// Checksum of the body as the record says.
    pub body_crc: i32,
    /// Whether the body has that checksum.
    pub body_crc_fits: bool,
    /// Names and values, in the order in which they are stored.
    pub properties: Vec<(String, String)>,
    /// Bytes of the body.
    pub body_bytes: usize,
    /// The body, possibly compressed.
    pub body: Text,
}

/// Bytes that may be text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Text {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Base64(String),
}

impl RecordDump {
    pub(super) fn of(record: &RecordView<'_>) -> Self {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            phy_offset: record.phy_offset(),
            size: record.total_bytes(),
            topic: record.topic().to_owned(),
            queue_id: record.queue_id(),
            queue_offset: record.queue_offset(),
            flag: record.flag(),
            sys_flag: record.sys_flag(),
            born_timestamp_ms: record.born_timestamp_ms(),
            born_host: host(record.born_host()),
            store_timestamp_ms: record.store_timestamp_ms(),
            store_host: host(record.store_host()),
            reconsume_times: record.reconsume_times(),
            prepared_transaction_offset: record.prepared_transaction_offset(),
            body_crc: record.body_crc(),
            body_crc_fits: record.verify_body_crc().is_ok(),
            properties: properties::pairs(record.properties())
                .map(|(name, value)| (lossy(name), lossy(value)))
                .collect(),
            body_bytes: record.body().len(),
            body: Text::of(record.body()),
        }
    }
}

impl Text {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(base64::encode(bytes)),
        }
    }
}

fn host(host: Result<SocketAddr, RecordError>) -> String {
    host.map_or_else(|error| error.to_string(), |host| host.to_string())
}
