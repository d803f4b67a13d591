//! Where records are encoded.

use std::cell::RefCell;

use oxmq_protocol::message::{EncodeError, EncodeOptions, Message, encode_record};

use crate::commit_log::{RecordKey, RecordSpan, Tags};
use crate::index::Keys;
use crate::limits::KEPT_SCRATCH_BYTES;

/// Where a thread encodes messages before it takes the log's lock.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) bytes: Vec<u8>,
    pub(super) spans: Vec<RecordSpan>,
    pub(super) keys: Vec<RecordKey>,
}

impl Scratch {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
        self.keys.clear();
    }

    /// Encodes one more message, and hashes its keys where they are wanted.
    pub(super) fn add(
        &mut self,
        message: &Message<'_>,
        options: &EncodeOptions,
        tags: Tags,
        keys: Option<&Keys<'_>>,
    ) -> Result<(), EncodeError> {
        let at = self.bytes.len();
        encode_record(message, options, &mut self.bytes)?;
        self.spans.push(RecordSpan { end: self.bytes.len(), tags, queue: 0 });
        if let Some(keys) = keys {
            keys.for_each_hash(message.topic, message.sys_flag, |hash| {
                self.keys.push(RecordKey { at, hash });
            });
        }
        Ok(())
    }

    /// Gives back what a rare large message took.
    pub(super) fn trim(&mut self) {
        if self.bytes.capacity() > KEPT_SCRATCH_BYTES {
            *self = Self::default();
        }
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Lends `work` the thread's scratch, empty. Whoever hears of an arrival may put messages in turn: those
/// get one of their own.
pub(super) fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => {
            scratch.clear();
            let result = work(&mut scratch);
            scratch.trim();
            result
        }
        Err(_) => work(&mut Scratch::default()),
    })
}
