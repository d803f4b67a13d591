//! Key-value settings by namespace, kept in a file.
//!
//! Reference: `KVConfigManager` (namesrv), 5.5.0.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use oxmq_protocol::body::KVTable;
use oxmq_protocol::fastjson::{self, Dialect, FastjsonError};
use serde::{Deserialize, Serialize};

use crate::durable_file;
use crate::limits::{MAX_KV_BYTES, MAX_NAME_BYTES};
use crate::sync::lock;

/// Namespace of the order settings: topic to `broker:queues;broker:queues`.
///
/// Reference: `NamesrvUtil.NAMESPACE_ORDER_TOPIC_CONFIG` (common), 5.5.0.
pub(crate) const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// The file's content.
///
/// Reference: `KVConfigSerializeWrapper` (namesrv), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Content {
    config_table: BTreeMap<String, BTreeMap<String, String>>,
}

/// The settings and where they are kept.
#[derive(Debug)]
pub(crate) struct KvConfigManager {
    path: PathBuf,
    content: Mutex<Content>,
}

/// A file that cannot be read or written, or a setting that does not fit.
#[derive(Debug, thiserror::Error)]
pub enum KvConfigError {
    /// Neither the file nor the one before it can be read.
    #[error("key-value settings in {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written; the change is not made.
    #[error("key-value settings cannot be kept: {0}")]
    Write(#[source] io::Error),
    /// Names or the whole are over a limit.
    #[error("key-value settings over the limit of {0} bytes")]
    TooLarge(usize),
}

impl From<FastjsonError> for KvConfigError {
    fn from(error: FastjsonError) -> Self {
        Self::Write(io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl KvConfigManager {
    /// Opens the settings at `path`; a missing file is an empty one. A damaged file stays where it
    /// is until the next change, and its predecessor counts.
    pub(crate) fn open(path: PathBuf) -> Result<Self, KvConfigError> {
        let content = match read(&path) {
            Ok(content) => content,
            Err(error) => {
                let backup = durable_file::backup_of(&path);
                tracing::warn!(path = %path.display(), %error, "key-value settings damaged");
                match read(&backup) {
                    Ok(Some(content)) => Some(content),
                    _ => return Err(KvConfigError::Read { path, source: error }),
                }
            }
        };
        Ok(Self { path, content: Mutex::new(content.unwrap_or_default()) })
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        lock(&self.content)
    }

    /// Sets a key and keeps it.
    pub(crate) fn put(&self, namespace: &str, key: &str, value: &str) -> Result<(), KvConfigError> {
        if namespace.len().max(key.len()) > MAX_NAME_BYTES {
            return Err(KvConfigError::TooLarge(MAX_NAME_BYTES));
        }
        self.change(|table| {
            let namespace = table.entry(namespace.to_owned()).or_default();
            namespace.insert(key.to_owned(), value.to_owned());
        })
    }

    /// Removes a key, if it is there.
    pub(crate) fn delete(&self, namespace: &str, key: &str) -> Result<(), KvConfigError> {
        if self.get(namespace, key).is_none() {
            return Ok(());
        }
        self.change(|table| {
            if let Some(namespace) = table.get_mut(namespace) {
                namespace.remove(key);
            }
        })
    }

    fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, BTreeMap<String, String>>),
    ) -> Result<(), KvConfigError> {
        let mut content = self.content();
        let mut changed = content.clone();
        change(&mut changed.config_table);
        let text = fastjson::to_vec(&changed, Dialect::Raw)?;
        if text.len() > MAX_KV_BYTES {
            return Err(KvConfigError::TooLarge(MAX_KV_BYTES));
        }
        durable_file::replace(&self.path, &text).map_err(KvConfigError::Write)?;
        *content = changed;
        Ok(())
    }

    /// The value of a key.
    pub(crate) fn get(&self, namespace: &str, key: &str) -> Option<String> {
        self.content().config_table.get(namespace)?.get(key).cloned()
    }

    /// All keys of a namespace; `None` when it never had one.
    pub(crate) fn list(&self, namespace: &str) -> Option<KVTable> {
        Some(KVTable { table: self.content().config_table.get(namespace)?.clone() })
    }
}

fn read(path: &Path) -> io::Result<Option<Content>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if text.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty"));
    }
    fastjson::from_slice(&text)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_a_restart_in_the_file_of_the_reference() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kvConfig.json");
        let settings = KvConfigManager::open(path.clone()).unwrap();
        settings.put(ORDER_TOPIC_CONFIG, "t", "b:4").unwrap();
        settings.put("n", "k", "v").unwrap();
        settings.delete("n", "k").unwrap();
        settings.delete("n", "missing").unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"t":"b:4"},"n":{}}}"#
        );
        let settings = KvConfigManager::open(path).unwrap();
        assert_eq!(settings.get(ORDER_TOPIC_CONFIG, "t").as_deref(), Some("b:4"));
        assert_eq!(settings.list("n"), Some(KVTable::default()));
        assert_eq!(settings.list("m"), None);
    }

    #[test]
    fn damaged_file_gives_way_to_its_predecessor_and_without_one_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kvConfig.json");
        let settings = KvConfigManager::open(path.clone()).unwrap();
        settings.put("n", "k", "1").unwrap();
        settings.put("n", "k", "2").unwrap();
        std::fs::write(&path, "{\"configTable").unwrap();
        assert_eq!(KvConfigManager::open(path.clone()).unwrap().get("n", "k").unwrap(), "1");
        std::fs::write(durable_file::backup_of(&path), "").unwrap();
        let error = KvConfigManager::open(path).unwrap_err().to_string();
        assert!(error.contains("kvConfig.json"), "{error}");
    }

    #[test]
    fn change_that_cannot_be_kept_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let settings = KvConfigManager::open(folder.path().join("kv/kvConfig.json")).unwrap();
        std::fs::write(folder.path().join("kv"), "a file where the folder should be").unwrap();
        assert!(settings.put("n", "k", "v").is_err());
        assert_eq!(settings.get("n", "k"), None);
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        assert!(matches!(settings.put(&long, "k", "v"), Err(KvConfigError::TooLarge(_))));
    }
}
