//! Messages: the record layout, properties, ids and batches.
//!
//! A message has one form everywhere: the *record* drawn in [`record`]. The commit log stores it, a
//! pull answers with it, a client decodes it. What a producer sends is turned into a record once,
//! by [`encode_record`], and never re-encoded.

mod batch;
mod encode;
mod hash;
pub mod limits;
mod message_ext;
pub mod message_id;
pub mod properties;
mod recall_handle;
mod receipt_handle;
pub mod record;
pub mod sys_flag;

pub use batch::{BatchError, BatchMessages, InnerMessage};
pub use encode::{EncodeError, EncodeOptions, Message, encode_record, encoded_len};
pub use hash::{
    extend_java_hash, java_string_hash, tags_code, tags_code_of_properties, tags_code_of_value,
};
pub use message_ext::MessageExt;
pub use recall_handle::RecallHandle;
pub use receipt_handle::{ReceiptHandle, ReceiptHandleError, TopicKind};
pub use record::{RecordError, RecordView};
