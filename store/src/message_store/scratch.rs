//! Where records are encoded.

use std::cell::RefCell;

use oxmq_protocol::message::Message;

use crate::commit_log::{RecordKey, RecordSpan};
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

    /// Hashes `keys` of `message`, whose record begins at `at`.
    pub(super) fn note_keys(&mut self, message: &Message<'_>, keys: &Keys<'_>, at: usize) {
        keys.for_each_hash(message.topic, message.sys_flag, |hash| {
            self.keys.push(RecordKey { at, hash });
        });
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

/// Lends `work` the thread's scratch. Whoever hears of an arrival may put messages in turn: those
/// get one of their own.
pub(super) fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => work(&mut scratch),
        Err(_) => work(&mut Scratch::default()),
    })
}
