//! What a send is answered with.

use std::net::SocketAddr;
use std::sync::Arc;

use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::header::write_send_response;
use oxmq_protocol::message::message_id;
use oxmq_remoting::Reply;
use oxmq_store::{MessageStore, PutMessageResult};

use crate::put_status;
use crate::stamps::Stamps;

/// What a send is answered with, also when it waited for the disk.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) stamps: Arc<Stamps>,
    pub(super) store_host: SocketAddr,
    pub(super) store: Arc<MessageStore>,
}

impl Answers {
    pub(super) fn respond(
        &self,
        stored: &Stored,
        unique_key: Option<&str>,
        message_id: &mut String,
        reply: Reply,
    ) {
        if !stored.result.status.is_stored() {
            let refusal = self.store.refusal().map(|refusal| refusal.to_string());
            let not_written = |error| format!("messages cannot be written: {error}");
            let refusal = refusal.or_else(|| self.store.write_failure().map(not_written));
            let config = self.store.config();
            let remark = put_status::remark(stored.result.status, config, refusal.as_deref());
            return self.refuse(put_status::response_code(stored.result.status), &remark, reply);
        }
        message_id.clear();
        for phy_offset in stored.phy_offsets() {
            if !message_id.is_empty() {
                message_id.push(',');
            }
            message_id::push_offset_id(message_id, self.store_host, phy_offset);
        }
        reply.write(put_status::response_code(stored.result.status), None, |mut writer| {
            if let Some(key) = unique_key.filter(|_| stored.is_inner_batch) {
                writer.text("batchUniqId", key);
            }
            writer.prepared(self.stamps.of_answers());
            let offset = stored.result.queue_offset;
            write_send_response(&mut writer, message_id, stored.queue_id, offset, unique_key);
            if let Some(handle) = &stored.recall_handle {
                writer.text("recallHandle", handle);
            }
            writer.finish(&[]);
        });
    }

    /// Producers read the two stamps from a refusal as well.
    pub(super) fn refuse(&self, code: ResponseCode, remark: &str, reply: Reply) {
        reply.write(code, Some(remark), |mut writer| {
            writer.prepared(self.stamps.of_answers());
            writer.finish(&[]);
        });
    }
}

/// A message, or a batch, that the store was given.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) result: PutMessageResult,
    pub(super) queue_id: i32,
    /// The sender wants to hear of it when the disk has it.
    pub(super) waits_for_disk: bool,
    /// Log positions of a batch's messages.
    pub(super) batch: Option<Vec<i64>>,
    /// What the producer can take the message back by.
    pub(super) recall_handle: Option<String>,
    /// A batch is one record.
    pub(super) is_inner_batch: bool,
}

impl Stored {
    pub(super) fn single(result: PutMessageResult, queue_id: i32, waits_for_disk: bool) -> Self {
        Self {
            result,
            queue_id,
            waits_for_disk,
            batch: None,
            recall_handle: None,
            is_inner_batch: false,
        }
    }

    fn phy_offsets(&self) -> impl Iterator<Item = i64> + '_ {
        let single = self.batch.is_none().then_some(self.result.phy_offset);
        single.into_iter().chain(self.batch.iter().flatten().copied())
    }
}
