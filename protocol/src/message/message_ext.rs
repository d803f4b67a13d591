//! A decoded record that owns its parts.

use std::net::SocketAddr;

use super::encode::{EncodeError, EncodeOptions, Message, encode_record};
use super::properties::property;
use super::record::{self, RecordError, RecordView};

/// One stored message, decoded.
///
/// Reference: `MessageExt` (common), 5.5.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageExt {
    /// Topic under which the record is stored.
    pub topic: String,
    /// Queue of the topic.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// System flag, see [`super::sys_flag`].
    pub sys_flag: i32,
    /// Index of the message in its queue.
    pub queue_offset: i64,
    /// Position of the record in the commit log.
    pub commit_log_offset: i64,
    /// When the client made the message, in milliseconds since 1970.
    pub born_timestamp_ms: i64,
    /// Address of the client that sent the message.
    pub born_host: SocketAddr,
    /// When the store took the message, in milliseconds since 1970.
    pub store_timestamp_ms: i64,
    /// Address of the broker that stored the message.
    pub store_host: SocketAddr,
    /// How often the message was given back by a consumer.
    pub reconsume_times: i32,
    /// Physical offset of the half message that this record commits, else zero.
    pub prepared_transaction_offset: i64,
    /// The body as stored, possibly compressed.
    pub body: Vec<u8>,
    /// Encoded properties text, see [`super::properties`].
    pub properties: Vec<u8>,
}

impl MessageExt {
    /// Decodes the record at the start of `bytes` and verifies its body CRC.
    ///
    /// # Errors
    ///
    /// When no complete, sound record starts here.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let view = RecordView::parse(bytes)?;
        view.verify_body_crc()?;
        Self::try_from(&view)
    }

    /// Decodes the records that lie back to back in `bytes`, as in the body of a pull.
    ///
    /// # Errors
    ///
    /// At the first record that is not sound.
    pub fn decode_all(mut bytes: &[u8]) -> Result<Vec<Self>, RecordError> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let view = RecordView::parse(bytes)?;
            view.verify_body_crc()?;
            messages.push(Self::try_from(&view)?);
            bytes = &bytes[view.total_bytes()..];
        }
        Ok(messages)
    }

    /// Value of the property `name`, if the message has it.
    pub fn property(&self, name: &str) -> Option<&[u8]> {
        property(&self.properties, name)
    }

    /// Appends the record of this message to `out`, with its offsets and store timestamp.
    ///
    /// # Errors
    ///
    /// When a part of the message is over a limit; `out` is unchanged then.
    pub fn encode(&self, options: &EncodeOptions, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let at = out.len();
        encode_record(&self.as_message(), options, out)?;
        let record = &mut out[at..];
        record::patch(record, self.queue_offset, self.commit_log_offset, self.store_timestamp_ms);
        if options.append_property_crc {
            record::seal_property_crc(record);
        }
        Ok(())
    }

    /// This message as something to be stored again.
    pub fn as_message(&self) -> Message<'_> {
        Message {
            topic: &self.topic,
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_timestamp_ms: self.born_timestamp_ms,
            born_host: self.born_host,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: &self.body,
            properties: &self.properties,
        }
    }
}

impl TryFrom<&RecordView<'_>> for MessageExt {
    type Error = RecordError;

    fn try_from(view: &RecordView<'_>) -> Result<Self, RecordError> {
        let message = view.as_message()?;
        Ok(Self {
            topic: message.topic.to_owned(),
            queue_id: message.queue_id,
            flag: message.flag,
            sys_flag: message.sys_flag,
            queue_offset: view.queue_offset(),
            commit_log_offset: view.phy_offset(),
            born_timestamp_ms: message.born_timestamp_ms,
            born_host: message.born_host,
            store_timestamp_ms: view.store_timestamp_ms(),
            store_host: message.store_host,
            reconsume_times: message.reconsume_times,
            prepared_transaction_offset: message.prepared_transaction_offset,
            body: message.body.to_vec(),
            properties: message.properties.to_vec(),
        })
    }
}
