//! Where replaced files and bytes are kept.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::super::dir::entries;
use super::Action;
use crate::error::{IoContext, StoreError};
use crate::fs::Fs;
use crate::index::name::next_name;

/// Does what a repair decides, keeps what is replaced, and lists it; in a dry run only lists it.
pub(super) struct Aside<'a> {
    fs: Fs,
    root: PathBuf,
    dir: PathBuf,
    dry_run: bool,
    used: bool,
    actions: Vec<Action>,
    tell: &'a mut dyn FnMut(&Action),
}

impl<'a> Aside<'a> {
    pub(super) fn new(
        fs: Fs,
        root: PathBuf,
        dry_run: bool,
        tell: &'a mut dyn FnMut(&Action),
    ) -> Self {
        // What an earlier repair kept is not written over.
        let mut name = next_name(None);
        let dir = loop {
            let dir = root.join(format!("damaged-{name}"));
            if !dir.exists() {
                break dir;
            }
            name = next_name(Some(Path::new(&name)));
        };
        Self { fs, root, dir, dry_run, used: false, actions: Vec::new(), tell }
    }

    /// Everything that was done, and the directory if anything is in it.
    pub(super) fn into_parts(self) -> (Vec<Action>, Option<PathBuf>) {
        (self.actions, self.used.then_some(self.dir))
    }

    /// Tells and does something.
    pub(super) fn act(
        &mut self,
        path: &Path,
        what: String,
        act: impl FnOnce(&Fs) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let action = Action { path: path.to_owned(), what };
        (self.tell)(&action);
        self.actions.push(action);
        if self.dry_run { Ok(()) } else { act(&self.fs) }
    }

    /// Moves a file or directory of the store away, and returns where it is then.
    pub(super) fn take(&mut self, path: &Path, why: &str) -> Result<PathBuf, StoreError> {
        let target = self.target(path, "");
        let what = format!("set aside as {}: {why}", target.display());
        self.used = true;
        self.act(path, what, |fs| {
            make_parent(fs, &target)?;
            match fs.rename(path, &target) {
                // It may be on another disk than the rest, or where one is mounted.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::CrossesDevices | ErrorKind::ResourceBusy
                    ) =>
                {
                    copy_all(fs, path, &target)?;
                    sync_parent(fs, &target)?;
                    remove(fs, path)?;
                }
                renamed => renamed.doing("set aside", path)?,
            }
            sync_parent(fs, path)?;
            sync_parent(fs, &target)
        })?;
        Ok(target)
    }

    /// Keeps a copy of `bytes`, which stand at `at` in the file at `path`, without zeros at their end.
    pub(super) fn keep(&mut self, path: &Path, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else {
            return Ok(());
        };
        let bytes = &bytes[..=last];
        let target = self.target(path, &format!(".bytes-{at}"));
        let what = format!("{} bytes at {at} copied to {}", bytes.len(), target.display());
        self.used = true;
        self.act(path, what, |fs| {
            make_parent(fs, &target)?;
            let file = fs.create(&target).doing("create", &target)?;
            fs.write_at(&file, &target, bytes, 0).doing("write", &target)?;
            fs.sync(&file, &target).doing("flush", &target)?;
            sync_parent(fs, &target)
        })
    }

    /// Keeps a copy of the whole file at `path`.
    pub(super) fn keep_file(&mut self, path: &Path) -> Result<(), StoreError> {
        let target = self.target(path, "");
        self.used = true;
        self.act(path, format!("copied to {}", target.display()), |fs| {
            make_parent(fs, &target)?;
            fs.copy(path, &target).doing("copy", path)?;
            sync_parent(fs, &target)
        })
    }

    /// The same name below the directory; files from elsewhere keep their directory's name.
    fn target(&self, path: &Path, suffix: &str) -> PathBuf {
        let below = path.strip_prefix(&self.root).map(Path::to_owned).unwrap_or_else(|_| {
            let names = path.components().rev().take(2).collect::<Vec<_>>();
            names.into_iter().rev().collect()
        });
        let mut target = self.dir.join(below).into_os_string();
        target.push(suffix);
        // Another file may have had the name.
        while Path::new(&target).exists() {
            target.push("+");
        }
        target.into()
    }
}

/// Makes `to` a copy of the file or directory at `from`.
fn copy_all(fs: &Fs, from: &Path, to: &Path) -> Result<(), StoreError> {
    if !from.is_dir() {
        return fs.copy(from, to).doing("set aside", from);
    }
    fs.create_dir_all(to).doing("create", to)?;
    for path in entries(from)? {
        copy_all(fs, &path, &to.join(path.file_name().unwrap_or_default()))?;
    }
    fs.sync_dir(to).doing("flush", to)
}

/// Removes a file or directory; of one where a disk is mounted all that is in it.
fn remove(fs: &Fs, path: &Path) -> Result<(), StoreError> {
    if !path.is_dir() {
        return fs.remove_file(path).doing("set aside", path);
    }
    for below in entries(path)? {
        remove(fs, &below)?;
    }
    match fs.remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(()),
        removed => removed.doing("set aside", path),
    }
}

fn make_parent(fs: &Fs, path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().unwrap_or(path);
    fs.create_dir_all(parent).doing("create", parent)
}

fn sync_parent(fs: &Fs, path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().unwrap_or(path);
    fs.sync_dir(parent).doing("flush", parent)
}
