//! `VIEW_MESSAGE_BY_ID` (33).
//!
//! Reference: `QueryMessageProcessor` (broker), 5.5.0.

use std::sync::Arc;

use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::header::{Header as _, ViewMessageRequestHeader};
use oxmq_store::MessageStore;

use super::success;
use crate::error::RequestError;

/// Gives one message by its place in the log.
#[derive(Debug)]
pub(crate) struct ViewMessage {
    store: Arc<MessageStore>,
}

impl ViewMessage {
    pub(crate) fn new(store: Arc<MessageStore>) -> Self {
        Self { store }
    }

    /// Answers with the record as it is stored.
    pub(crate) fn by_id(&self, request: &CommandView<'_>) -> Result<RemotingCommand, RequestError> {
        let offset = ViewMessageRequestHeader::decode(request)?.offset;
        match self.store.look_message_by_offset(offset) {
            Some(record) => Ok(success().with_body(record)),
            None => Err(RequestError::MessageNotFound(offset)),
        }
    }
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::message::MessageExt;

    use super::super::testing::{managers, request, with_view};
    use super::*;

    #[test]
    fn message_is_found_at_its_place_and_nowhere_else() {
        let m = managers(|_| ());
        let first = m.put("t", 0, "first");
        let second = m.put("t", 0, "second");
        let processor = ViewMessage::new(Arc::clone(&m.store));
        let view = |offset: i64| {
            let request = request(&[("offset", &offset.to_string())]);
            with_view(&request, |view| processor.by_id(view))
        };
        for (offset, body) in [(first, "first"), (second, "second")] {
            let message = MessageExt::decode(&view(offset).unwrap().body).unwrap();
            assert_eq!((message.body.as_slice(), message.queue_id), (body.as_bytes(), 0));
        }
        for offset in [-1, first + 1, second + 1_000_000, i64::MAX] {
            let refused = view(offset).unwrap_err();
            assert_eq!(refused.response_code().0, 1);
            assert_eq!(
                refused.to_string(),
                format!("can not find message by the offset, {offset}")
            );
        }
    }
}
