//! Metadata that is saved behind the back of whoever changes it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use oxmq_store::{JsonFile, JsonFileError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use crate::sync::lock;

/// Wakes the task that saves: something has changed that should not wait for the next regular save.
#[derive(Clone, Debug, Default)]
pub(crate) struct SaveSignal(Arc<Notify>);

impl SaveSignal {
    /// Wakes the task, now or as soon as it waits.
    pub(crate) fn notify(&self) {
        self.0.notify_one();
    }

    /// Waits for the next change.
    pub(crate) async fn changed(&self) {
        self.0.notified().await;
    }
}

/// A metadata file, and whether it is behind.
#[derive(Debug)]
pub(crate) struct SavedTable<T> {
    file: JsonFile<T>,
    behind: AtomicBool,
    /// Held while the file is written.
    saving: Mutex<()>,
}

impl<T: Serialize + DeserializeOwned> SavedTable<T> {
    /// The file called `name` in the store's configuration directory.
    pub(crate) fn new(store_root: &Path, name: &str) -> Self {
        Self {
            file: JsonFile::new(store_root.join("config").join(name)),
            behind: AtomicBool::new(false),
            saving: Mutex::new(()),
        }
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Reads what was saved last.
    pub(crate) fn load(&self) -> Result<Option<T>, JsonFileError> {
        self.file.load()
    }

    /// Notes that the file is behind.
    pub(crate) fn changed(&self) {
        self.behind.store(true, Ordering::Release);
    }

    /// Saves a snapshot if the file is behind. After a failure it still is.
    ///
    /// A change noted before the call is in the file after it, whichever thread saved it.
    ///
    /// A snapshot and its text may take many megabytes. They are made on a thread that ends with them, as each
    /// of the many threads that may call this would keep that memory for its next time.
    pub(crate) fn save_if_changed(
        &self,
        snapshot: impl FnOnce() -> T + Send,
    ) -> Result<(), JsonFileError> {
        let _saving = lock(&self.saving);
        // Cleared before the snapshot: a change during it is saved again rather than never.
        if !self.behind.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let saved = std::thread::scope(|scope| {
            let saving = scope.spawn(|| self.file.save(&snapshot()));
            saving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        saved.inspect_err(|_| self.changed())
    }
}
