//! The one mechanism behind every `config/*.json`.
//!
//! A save writes `X.tmp`, makes it durable, keeps the old text as `X.bak` and renames `X.tmp` to `X`, so
//! that at every moment one whole text has one of the two names. The reference does without the
//! temporary file, and reads the same two names in the same order.

use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use oxmq_protocol::fastjson::{self, FastjsonError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::error::StoreError;
use crate::fs::{Fs, ThereIs, read_all_there_is};
use crate::sync::lock;

/// Trouble with a metadata file.
#[derive(Debug, thiserror::Error)]
pub enum JsonFileError {
    /// A file operation failed. The operator has to look at the path and the cause.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk gives back neither the file nor its backup. Put a copy in their place or move both away.
    #[error("read {} at {position}: {source}", path.display())]
    Unreadable {
        /// The file, or its backup.
        path: PathBuf,
        /// The first byte in it that is not given back.
        position: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Neither the file nor its backup can be read. Mend one of them or move both away.
    #[error("{} is damaged: {source}", path.display())]
    Damaged {
        /// The file, or its backup.
        path: PathBuf,
        /// What is wrong with it.
        source: FastjsonError,
    },
    /// The value has no JSON, which is a bug.
    #[error("{} cannot be written: {source}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FastjsonError,
    },
}

impl From<JsonFileError> for StoreError {
    fn from(error: JsonFileError) -> Self {
        match error {
            JsonFileError::Io { doing, path, source } => Self::Io { doing, path, source },
            JsonFileError::Unreadable { path, position, source } => {
                Self::Unreadable { path, position, source }
            }
            JsonFileError::Damaged { path, source } | JsonFileError::Encode { path, source } => {
                Self::BadFile { path, what: source.to_string() }
            }
        }
    }
}

/// One file that holds one value, pretty-printed as the reference does.
#[derive(Debug)]
pub struct JsonFile<T> {
    fs: Fs,
    path: PathBuf,
    /// Two saves at a time would write one temporary file.
    saving: Mutex<()>,
    value: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> JsonFile<T> {
    /// A file at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::with_fs(Fs::default(), path)
    }

    /// [`Self::new`] on a file system of the caller's.
    pub fn with_fs(fs: Fs, path: impl Into<PathBuf>) -> Self {
        Self { fs, path: path.into(), saving: Mutex::new(()), value: PhantomData }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file, or its backup when the file is missing, empty or damaged, or the disk does not give it back.
    ///
    /// Returns `None` when there is neither. A file that is no use is set aside as `X.damaged`.
    ///
    /// # Errors
    /// When the file cannot be opened, or it is no use, nor is the backup.
    pub fn load(&self) -> Result<Option<T>, JsonFileError> {
        self.load_if_no_use(|error| {
            let aside = with_suffix(&self.path, ".damaged");
            warn!(%error, kept = %aside.display(), "metadata file is set aside");
            self.fs.rename(&self.path, &aside).doing("set aside", &self.path)
        })
    }

    /// [`Self::load`], which leaves a file that is no use where it is.
    pub(crate) fn look(&self) -> Result<Option<T>, JsonFileError> {
        self.load_if_no_use(|_| Ok(()))
    }

    fn load_if_no_use(
        &self,
        no_use: impl FnOnce(&JsonFileError) -> Result<(), JsonFileError>,
    ) -> Result<Option<T>, JsonFileError> {
        match value_of(&self.path) {
            Ok(None) => {}
            Ok(value) => return Ok(value),
            Err(error @ JsonFileError::Io { .. }) => return Err(error),
            Err(error) => no_use(&error)?,
        }
        let backup = with_suffix(&self.path, ".bak");
        let value = value_of(&backup)?;
        if value.is_some() {
            warn!(path = %backup.display(), "metadata is read from the backup");
        }
        Ok(value)
    }

    /// Writes `value`; what was there before is the backup then.
    ///
    /// # Errors
    /// When a file operation fails; the old text is still there then.
    pub fn save(&self, value: &T) -> Result<(), JsonFileError> {
        let text = fastjson::to_pretty(value)
            .map_err(|source| JsonFileError::Encode { path: self.path.clone(), source })?;
        let _saving = lock(&self.saving);
        replace(&self.fs, &self.path, &text)
    }
}

/// Replaces the text of the file at `path`; what was there before is `X.bak` then.
///
/// # Errors
/// When a file operation fails; the old text is still there then.
pub fn replace_file(path: &Path, text: &[u8]) -> Result<(), JsonFileError> {
    replace(&Fs::default(), path, text)
}

fn replace(fs: &Fs, path: &Path, text: &[u8]) -> Result<(), JsonFileError> {
    let directory = directory_of(path);
    fs.create_dir_all(directory).doing("create", directory)?;

    let temporary = with_suffix(path, ".tmp");
    let file = fs.create(&temporary).doing("create", &temporary)?;
    fs.write_at(&file, &temporary, text, 0).doing("write", &temporary)?;
    fs.sync(&file, &temporary).doing("sync", &temporary)?;

    keep_backup(fs, path, &with_suffix(path, ".bak"))?;
    fs.rename(&temporary, path).doing("rename", &temporary)?;
    fs.sync_dir(directory).doing("sync", directory)
}

pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// What the file at `path` holds; nothing when it is missing or empty.
fn value_of<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, JsonFileError> {
    let path = path.to_owned();
    let Some((text, unreadable)) = read(&path)? else { return Ok(None) };
    match unreadable {
        Some((position, source)) => Err(JsonFileError::Unreadable { path, position, source }),
        None if text.is_empty() => Ok(None),
        None => fastjson::from_slice(&text)
            .map(Some)
            .map_err(|source| JsonFileError::Damaged { path, source }),
    }
}

/// As [`read_all_there_is`]; nothing when the file is missing.
pub(crate) fn read(path: &Path) -> Result<Option<ThereIs>, JsonFileError> {
    match read_all_there_is(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).doing("read", path),
    }
}

/// Gives the file a second name, so that it never is without its own.
fn keep_backup(fs: &Fs, path: &Path, backup: &Path) -> Result<(), JsonFileError> {
    if !path.exists() {
        return Ok(());
    }
    fs.remove_file(backup).doing("remove", backup)?;
    // Not every file system has hard links.
    fs.link(path, backup).or_else(|_| fs.rename(path, backup)).doing("back up", path)
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(crate) trait IoContext<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, JsonFileError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, JsonFileError> {
        self.map_err(|source| JsonFileError::Io { doing, path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::mapped_file::bad::{break_pages, mend_pages};

    type Offsets = BTreeMap<String, BTreeMap<i32, i64>>;

    fn offsets(offset: i64) -> Offsets {
        BTreeMap::from([("t@g".to_owned(), BTreeMap::from([(0, offset), (1, 6)]))])
    }

    fn file(directory: &Path) -> JsonFile<Offsets> {
        JsonFile::new(directory.join("config/consumerOffset.json"))
    }

    #[test]
    fn saved_value_is_loaded_and_the_one_before_is_the_backup() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path());
        assert_eq!(file.load().unwrap(), None);
        file.save(&offsets(5)).unwrap();
        file.save(&offsets(7)).unwrap();
        assert_eq!(file.load().unwrap(), Some(offsets(7)));
        fs::remove_file(file.path()).unwrap();
        assert_eq!(file.load().unwrap(), Some(offsets(5)));
    }

    #[test]
    fn empty_or_damaged_file_gives_way_to_the_backup_and_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path());
        file.save(&offsets(5)).unwrap();
        file.save(&offsets(7)).unwrap();
        fs::write(file.path(), "").unwrap();
        assert_eq!(file.load().unwrap(), Some(offsets(5)));
        fs::write(file.path(), "{\"t@g\":{0:").unwrap();
        assert_eq!(file.load().unwrap(), Some(offsets(5)));
        assert!(with_suffix(file.path(), ".damaged").exists());
        assert!(!file.path().exists());
    }

    #[test]
    fn file_that_the_disk_does_not_give_back_gives_way_to_the_backup_and_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path());
        file.save(&offsets(5)).unwrap();
        file.save(&offsets(7)).unwrap();
        let text = fs::read(file.path()).unwrap();
        break_pages(file.path(), 0..1);
        assert_eq!(file.look().unwrap(), Some(offsets(5)));
        assert!(file.path().exists());
        assert_eq!(file.load().unwrap(), Some(offsets(5)));
        let aside = with_suffix(file.path(), ".damaged");
        assert_eq!(fs::read(aside).unwrap(), text);
        mend_pages(file.path());
        file.save(&offsets(8)).unwrap();
        assert_eq!(file.load().unwrap(), Some(offsets(8)));

        let backup = with_suffix(file.path(), ".bak");
        fs::copy(file.path(), &backup).unwrap();
        [file.path(), &backup].into_iter().for_each(|path| break_pages(path, 0..1));
        let error = file.load().unwrap_err().to_string();
        let expected = format!("read {} at 0: Input/output error (os error 5)", backup.display());
        assert_eq!(error, expected);
    }

    #[test]
    fn damaged_backup_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path());
        file.save(&offsets(5)).unwrap();
        file.save(&offsets(7)).unwrap();
        fs::write(with_suffix(file.path(), ".bak"), "{").unwrap();
        fs::remove_file(file.path()).unwrap();
        let error = file.load().unwrap_err().to_string();
        assert!(error.contains("consumerOffset.json.bak is damaged"), "{error}");
    }

    #[test]
    fn backup_of_the_reference_alone_is_enough() {
        // What a crash between its two steps leaves.
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path());
        fs::create_dir_all(file.path().parent().unwrap()).unwrap();
        fs::write(with_suffix(file.path(), ".bak"), "{\n\t\"t@g\":{0:5,1:6\n\t}\n}").unwrap();
        assert_eq!(file.load().unwrap(), Some(offsets(5)));
    }

    #[test]
    fn failed_save_leaves_the_old_text() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path());
        file.save(&offsets(5)).unwrap();
        fs::create_dir(with_suffix(file.path(), ".tmp")).unwrap();
        assert!(file.save(&offsets(7)).is_err());
        assert_eq!(file.load().unwrap(), Some(offsets(5)));
    }

    #[test]
    fn operation_that_fails_leaves_what_was_saved_before_or_the_new_value() {
        let mut fail_at = 0;
        loop {
            let directory = tempfile::tempdir().unwrap();
            let calls = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&calls);
            let faulty = Fs::with_fault(move |_, _| {
                match counter.fetch_add(1, Ordering::Relaxed) == fail_at {
                    true => Err(io::Error::other("injected")),
                    false => Ok(()),
                }
            });
            let path = directory.path().join("config/consumerOffset.json");
            let file = JsonFile::<Offsets>::with_fs(faulty, &path);
            let mut saved = None;
            let mut failures = 0;
            for value in 0..4 {
                let before = saved.clone();
                let outcome = file.save(&offsets(value));
                let loaded = JsonFile::<Offsets>::new(&path).load().unwrap();
                if outcome.is_ok() {
                    assert_eq!(loaded, Some(offsets(value)), "operation {fail_at}");
                } else {
                    failures += 1;
                    let new = Some(offsets(value));
                    assert!(loaded == before || loaded == new, "operation {fail_at}: {loaded:?}");
                    file.save(&offsets(value)).unwrap();
                }
                saved = Some(offsets(value));
            }
            assert_eq!(JsonFile::new(&path).load().unwrap(), saved, "operation {fail_at}");
            if calls.load(Ordering::Relaxed) <= fail_at {
                assert!(failures == 0 && fail_at > 20, "{fail_at} operations");
                return;
            }
            fail_at += 1;
        }
    }
}
