//! Taking back what waits for its time.

header! {
    /// `RECALL_MESSAGE` (370): a message that waits is not to be delivered.
    ///
    /// Reference: `RecallMessageRequestHeader` (remoting), 5.5.0.
    pub struct RecallMessageRequestHeader {
        producer_group: Option<String> = "producerGroup",
        topic: String = "topic",
        /// What the answer to the send has named it, see
        /// [`RecallHandle`](crate::message::RecallHandle).
        recall_handle: String = "recallHandle",
    }

    /// Answer to `RECALL_MESSAGE` (370).
    ///
    /// Reference: `RecallMessageResponseHeader` (remoting), 5.5.0.
    pub struct RecallMessageResponseHeader {
        /// Unique key of the message.
        msg_id: String = "msgId",
    }
}
