//! Has the next file of the log there before anybody needs it.
//!
//! Making a file, and finding disk blocks for it, may wait for the disk behind all that is being written there.
//! So a thread of its own does it, a whole file ahead. Of a busy store it also reserves all blocks of that file:
//! the system lets nobody else write to a file meanwhile, so that in the current file the helper of
//! [`super::ahead`] would have to wait.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tracing::warn;

use super::append::Appender;
use super::{CommitLog, find_file};
use crate::mapped_file::{MappedFile, MappedWriter};
use crate::sync::lock;
use crate::worker::Signal;

/// How often the thread looks by itself.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);

/// The file behind the current one.
#[derive(Debug, Default)]
pub(super) struct Next {
    signal: Arc<Signal>,
    /// Made, but not in use. Every file is either here or in use for whoever holds this.
    file: Mutex<Option<Arc<MappedFile>>>,
    /// Held by whoever makes it.
    making: Mutex<()>,
    /// Whether it will be needed soon.
    is_busy: AtomicBool,
}

impl Next {
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Arc<MappedFile>>> {
        lock(&self.file)
    }

    /// Has the thread look whether there is something to do.
    pub(super) fn wake(&self, is_busy: bool) {
        self.is_busy.store(is_busy, Ordering::Relaxed);
        self.signal.wake();
    }

    fn is_unused(&self, file: &Arc<MappedFile>) -> bool {
        self.lock().as_ref().is_some_and(|next| Arc::ptr_eq(next, file))
    }
}

impl CommitLog {
    /// Keeps the next file ready until `signal` says stop.
    pub(crate) fn run_next(&self, signal: &Signal) {
        loop {
            if let Err(error) = self.prepare_next(signal) {
                warn!(%error, "next file of the commit log not prepared");
            }
            if !signal.wait(IDLE_INTERVAL) {
                return;
            }
        }
    }

    /// The signal of that thread.
    pub(crate) fn next_signal(&self) -> &Arc<Signal> {
        &self.ahead.next.signal
    }

    fn prepare_next(&self, signal: &Signal) -> io::Result<()> {
        let file = self.next_file()?;
        let next = &self.ahead.next;
        let must_go_on = || next.is_busy.load(Ordering::Relaxed) && !signal.is_stopped();
        while file.reserved_to() < file.len() as u64 && must_go_on() && next.is_unused(&file) {
            let at = file.reserved_to();
            self.leave_reserve(&file, at + 1)?;
            // Whoever takes it into use meanwhile must not have zeros written over what is appended.
            if !file.reserve_more(&self.fs, at, at + 1)? {
                break;
            }
        }
        Ok(())
    }

    /// The file behind those in use, made if need be.
    pub(super) fn next_file(&self) -> io::Result<Arc<MappedFile>> {
        let _making = lock(&self.ahead.next.making);
        let start = {
            let next = self.ahead.next.lock();
            let start = self.files().last().map_or_else(|| self.max_offset(), |file| file.end());
            if let Some(file) = next.as_ref().filter(|file| file.start() == start) {
                return Ok(Arc::clone(file));
            }
            start
        };
        let file = Arc::new(self.make_file(start)?);
        // An empty log that does not begin where it was thought to.
        if let Some(useless) = self.ahead.next.lock().replace(Arc::clone(&file)) {
            self.fs.remove_file(useless.path())?;
        }
        Ok(file)
    }

    /// Ends the current file where another directory has room, and its own has none. Returns whether it did.
    #[cold]
    pub(super) fn go_on_elsewhere(&self, appender: &mut Appender) -> io::Result<bool> {
        let is_better = |writer: &MappedWriter| {
            writer.position() > 0 && self.dirs.is_better_elsewhere(&self.fs, writer.file().path())
        };
        let Some(writer) = appender.writer.as_ref().filter(|writer| is_better(writer)) else {
            return Ok(false);
        };
        warn!(path = %writer.file().path().display(), "no room for this log file: the log goes on in another directory");
        self.roll(appender).map(|()| true)
    }

    /// Gives up the next file if its disk has become full since it was made.
    pub(super) fn drop_next_if_better_elsewhere(&self) -> io::Result<()> {
        if self.dirs.writable().len() == 1 {
            return Ok(());
        }
        let _making = lock(&self.ahead.next.making);
        let is_better =
            |file: &mut Arc<MappedFile>| self.dirs.is_better_elsewhere(&self.fs, file.path());
        match self.ahead.next.lock().take_if(is_better) {
            Some(file) => self.fs.remove_file(file.path()),
            None => Ok(()),
        }
    }

    /// The file that `position` is in, if it is in use or the next one, which is made if need be.
    pub(super) fn file_at(&self, position: i64) -> io::Result<Option<Arc<MappedFile>>> {
        let holds = |file: &Arc<MappedFile>| (file.start()..file.end()).contains(&position);
        {
            let next = self.ahead.next.lock();
            if let Some(file) = find_file(&self.files(), position) {
                return Ok(Some(Arc::clone(file)));
            }
            if let Some(file) = next.as_ref().filter(|file| holds(file)) {
                return Ok(Some(Arc::clone(file)));
            }
        }
        Ok(Some(self.next_file()?).filter(holds))
    }

    /// Makes the file that begins at `start`, and its name durable: in the directory whose turn it is, or in
    /// another one if it cannot be made there.
    fn make_file(&self, start: i64) -> io::Result<MappedFile> {
        let paths = self.dirs.new_paths(&self.fs, start as u64);
        let mut failures = Vec::new();
        for path in &paths {
            match self.make_file_at(path, start) {
                Ok(file) => {
                    for (path, error) in &failures {
                        warn!(%path, %error, "log file is made in another directory");
                    }
                    return Ok(file);
                }
                Err(error) => failures.push((path.display(), error)),
            }
            // Two files of one position would stop the next start.
            if path.exists() && self.fs.remove_file(path).is_err() {
                break;
            }
        }
        Err(failures.swap_remove(0).1)
    }

    fn make_file_at(&self, path: &Path, start: i64) -> io::Result<MappedFile> {
        let dir = path.parent().unwrap_or(path);
        self.fs.create_dir_all(dir)?;
        let mut file = MappedFile::open(&self.fs, path, start, self.file_bytes)?;
        file.truncate(0);
        self.fs.sync_dir(dir)?;
        Ok(file)
    }

    /// Removes the prepared file that was never used, as the reference does at a clean stop.
    pub(crate) fn drop_unused_file(&self) -> io::Result<()> {
        match self.ahead.next.lock().take() {
            Some(file) => self.fs.remove_file(file.path()),
            None => Ok(()),
        }
    }
}
