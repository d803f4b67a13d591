//! Where replaced files and bytes are kept.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::Action;
use crate::error::{IoContext, StoreError};
use crate::index::name::next_name;

/// Does what a repair decides, keeps what is replaced, and lists it; in a dry run only lists it.
pub(super) struct Aside<'a> {
    root: PathBuf,
    dir: PathBuf,
    dry_run: bool,
    used: bool,
    actions: Vec<Action>,
    tell: &'a mut dyn FnMut(&Action),
}

impl<'a> Aside<'a> {
    pub(super) fn new(root: PathBuf, dry_run: bool, tell: &'a mut dyn FnMut(&Action)) -> Self {
        let dir = root.join(format!("damaged-{}", next_name(None)));
        Self { root, dir, dry_run, used: false, actions: Vec::new(), tell }
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
        act: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let action = Action { path: path.to_owned(), what };
        (self.tell)(&action);
        self.actions.push(action);
        if self.dry_run { Ok(()) } else { act() }
    }

    /// Moves a file or directory of the store away.
    pub(super) fn take(&mut self, path: &Path, why: &str) -> Result<(), StoreError> {
        let target = self.target(path, "");
        let what = format!("set aside as {}: {why}", target.display());
        self.used = true;
        self.act(path, what, || {
            make_parent(&target)?;
            fs::rename(path, &target).doing("set aside", path)?;
            sync_parent(path)?;
            sync_parent(&target)
        })
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
        self.act(path, what, || {
            make_parent(&target)?;
            let mut file = File::create(&target).doing("create", &target)?;
            file.write_all(bytes).doing("write", &target)?;
            file.sync_all().doing("flush", &target)?;
            sync_parent(&target)
        })
    }

    /// Keeps a copy of the whole file at `path`.
    pub(super) fn keep_file(&mut self, path: &Path) -> Result<(), StoreError> {
        let target = self.target(path, "");
        self.used = true;
        self.act(path, format!("copied to {}", target.display()), || {
            make_parent(&target)?;
            fs::copy(path, &target).doing("copy", path)?;
            File::open(&target).and_then(|file| file.sync_all()).doing("flush", &target)
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
        target.into()
    }
}

fn make_parent(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).doing("create", parent)
}

fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().unwrap_or(path);
    File::open(parent).and_then(|dir| dir.sync_all()).doing("flush", parent)
}
