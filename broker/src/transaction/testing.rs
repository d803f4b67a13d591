//! What tests of this room share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use oxmq_protocol::command::RemotingCommand;
use oxmq_store::{MessageStore, StoreConfig};

use super::AskProducer;
use crate::sync::lock;

/// A store in a directory of its own.
pub(super) fn store() -> (Arc<MessageStore>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (open(dir.path()), dir)
}

/// Opens the store in a directory.
pub(super) fn open(dir: &std::path::Path) -> Arc<MessageStore> {
    let config = StoreConfig { mapped_file_size_commit_log: 1 << 20, ..StoreConfig::in_dir(dir) };
    MessageStore::open(config).unwrap()
}

/// Producers that remember what they were asked.
#[derive(Debug, Default)]
pub(super) struct Asked {
    questions: Mutex<Vec<(String, RemotingCommand)>>,
    are_gone: AtomicBool,
}

impl Asked {
    /// The questions since the last call, with the groups they were for.
    pub(super) fn take(&self) -> Vec<(String, RemotingCommand)> {
        std::mem::take(&mut *lock(&self.questions))
    }

    /// Nobody can be asked from now on.
    pub(super) fn leave(&self) {
        self.are_gone.store(true, Ordering::Relaxed);
    }
}

impl AskProducer for Asked {
    fn ask(&self, group: &str, question: RemotingCommand) -> bool {
        lock(&self.questions).push((group.to_owned(), question));
        !self.are_gone.load(Ordering::Relaxed)
    }
}
