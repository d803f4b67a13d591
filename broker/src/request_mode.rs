//! How each group gets each topic's messages; kept in `config/messageRequestMode.json`.
//!
//! Reference: `MessageRequestModeManager` (broker), 5.5.0.

use std::path::Path;
use std::sync::RwLock;

use oxmq_protocol::body::{MessageRequestModeTable, SetMessageRequestModeRequestBody};
use oxmq_store::JsonFileError;

use crate::saved_table::{SaveSignal, SavedTable};
use crate::sync::{read, write};

/// What tools have set, by topic and group.
#[derive(Debug)]
pub(crate) struct RequestModes {
    table: RwLock<MessageRequestModeTable>,
    file: SavedTable<MessageRequestModeTable>,
    save: SaveSignal,
}

impl RequestModes {
    /// Loads the settings.
    ///
    /// # Errors
    /// When neither `messageRequestMode.json` nor its backup can be read.
    pub(crate) fn load(store_root: &Path, save: SaveSignal) -> Result<Self, JsonFileError> {
        let file =
            SavedTable::<MessageRequestModeTable>::new(store_root, "messageRequestMode.json");
        let table = RwLock::new(file.load()?.unwrap_or_default());
        Ok(Self { table, file, save })
    }

    /// What has been set for a group on a topic.
    pub(crate) fn get(&self, topic: &str, group: &str) -> Option<SetMessageRequestModeRequestBody> {
        read(&self.table).message_request_mode_map.get(topic)?.get(group).cloned()
    }

    /// Takes over what a tool sets for a topic and group that exist.
    pub(crate) fn set(&self, mode: SetMessageRequestModeRequestBody) {
        let mut table = write(&self.table);
        let groups = table.message_request_mode_map.entry(mode.topic.clone()).or_default();
        groups.insert(mode.consumer_group.clone(), mode);
        drop(table);
        self.file.changed();
        self.save.notify();
    }

    /// Everything that has been set.
    pub(crate) fn table(&self) -> MessageRequestModeTable {
        read(&self.table).clone()
    }

    /// Saves the settings if they have changed.
    pub(crate) fn save_if_changed(&self) -> Result<(), JsonFileError> {
        self.file.save_if_changed(|| self.table())
    }
}
