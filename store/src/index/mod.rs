//! Which records a key has.
//!
//! Index files are filled by one thread, so that a sender never waits for a page of an index: from what
//! senders feed it, or else from the log. A query first makes up what that thread has not done yet.
//!
//! Reference: `IndexService` (store), 5.5.0.

pub(crate) mod feed;
pub(crate) mod file;
mod keys;
pub(crate) mod name;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use tracing::{error, warn};

pub(crate) use file::IndexGeometry;
pub(crate) use keys::{Keys, for_each_hash, for_each_key_hash, key_hash, tags_key_hash};

use self::feed::{Entry, KeyFeed, Part};
use self::file::{IndexFile, Lookup};
use self::name::{is_index_name, next_name};
use crate::checkpoint::Checkpoint;
use crate::commit_log::{CommitLog, RecordCheck, scan};
use crate::error::{IoContext, StoreError};
use crate::fs::{Fs, entries};
use crate::sync::{lock, read, write};
use crate::worker::Signal;

/// Records that are read from the log at a time.
const BATCH_RECORDS: usize = 256;
/// Entries that are put under one lock.
const BATCH_ENTRIES: usize = 512;
/// A thread that has caught up looks again after this time, rather than be woken for each message.
const LINGER: Duration = Duration::from_millis(10);
/// Looks in vain after which the thread waits to be woken.
const LINGER_ROUNDS: u32 = 50;
/// How long it waits at most, which is also how long it waits after trouble.
const PARK: Duration = Duration::from_secs(1);

/// The index of a store.
#[derive(Debug)]
pub(crate) struct Index {
    fs: Fs,
    dir: PathBuf,
    geometry: IndexGeometry,
    files: RwLock<Vec<Arc<RwLock<IndexFile>>>>,
    /// Held by whoever indexes; guards what it works on.
    indexing: Mutex<Part>,
    feed: KeyFeed,
    /// Everything before this log position is indexed.
    position: AtomicI64,
    parked: AtomicBool,
    signal: Arc<Signal>,
    checkpoint: Arc<Checkpoint>,
    /// Why files may not be on disk, however often they are flushed again: the system tells of an error once.
    failure: OnceLock<String>,
}

/// Entries that a query found, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Found {
    pub(crate) phy_offsets: Vec<i64>,
    pub(crate) last_update_timestamp_ms: i64,
    pub(crate) last_update_phy_offset: i64,
}

impl Index {
    /// Opens the index in `dir`. After a clean stop everything before the log's end is indexed, unless files
    /// are missing; otherwise files that were not flushed as a whole are removed and made anew from the log,
    /// as are those of other sizes: nothing in a file says how many slots it has.
    pub(crate) fn open(
        fs: &Fs,
        dir: PathBuf,
        geometry: IndexGeometry,
        checkpoint: Arc<Checkpoint>,
        clean: bool,
        log: &CommitLog,
    ) -> Result<Self, StoreError> {
        let safe_until = if clean { i64::MAX } else { checkpoint.values().index_msg_timestamp };
        let mut files: Vec<IndexFile> = Vec::new();
        let mut whole = clean;
        let mut is_behind = false;
        for path in index_paths(&dir)? {
            // Files are made anew from the first one on that cannot be trusted.
            is_behind |= path.metadata().doing("look at", &path)?.len() != geometry.file_bytes();
            if !is_behind {
                let file = IndexFile::open(fs, &path, geometry)?;
                if can_read(file.look_at_head())
                    && file.is_sound(log.max_offset())
                    && file.end_timestamp_ms() <= safe_until
                {
                    files.push(file);
                    continue;
                }
                is_behind = true;
            }
            whole = false;
            warn!(path = %path.display(), clean, "index file removed, to be made anew");
            fs.remove_file(&path).doing("remove", &path)?;
        }
        while let Some(last) = files.pop_if(|last| !can_read(last.look_at_end())) {
            whole = false;
            warn!(path = %last.path().display(), "index file removed, to be made anew");
            fs.remove_file(last.path()).doing("remove", last.path())?;
        }
        if let Some(last) = files.last_mut() {
            last.unlink_uncounted();
        }
        let indexed = files.last().map_or(0, IndexFile::end_phy_offset);
        // Where there is none, or none behind a full one, somebody may have removed it.
        whole &= files.last().is_some_and(|file| !file.is_full());
        let position = if whole {
            log.max_offset()
        } else {
            indexed.clamp(log.min_offset(), log.max_offset())
        };
        Ok(Self {
            fs: fs.clone(),
            dir,
            geometry,
            files: RwLock::new(files.into_iter().map(|file| Arc::new(RwLock::new(file))).collect()),
            indexing: Mutex::default(),
            feed: KeyFeed::default(),
            position: AtomicI64::new(position),
            parked: AtomicBool::new(false),
            signal: Arc::default(),
            checkpoint,
            failure: OnceLock::new(),
        })
    }

    /// Everything before this log position is indexed.
    pub(crate) fn position(&self) -> i64 {
        self.position.load(Ordering::Acquire)
    }

    pub(crate) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// Where senders leave the keys of what they append.
    pub(crate) fn feed(&self) -> &KeyFeed {
        &self.feed
    }

    /// Tells the thread that there is something to do, if it waits to be told.
    pub(crate) fn poke(&self) {
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::Relaxed) {
            self.signal.wake();
        }
    }

    /// Indexes the log as it grows, up to what `end` says, until `signal` says stop.
    pub(crate) fn run(&self, signal: &Signal, log: &CommitLog, end: impl Fn() -> i64) {
        let mut idle_rounds = 0;
        loop {
            let before = self.position();
            match self.catch_up(log, end(), signal) {
                Ok(()) if self.position() > before => idle_rounds = 0,
                Ok(()) => idle_rounds += 1,
                Err(error) => {
                    warn!(%error, "index not written");
                    // Messages that come meanwhile are no reason to try again.
                    if !signal.pause(PARK) {
                        return;
                    }
                    continue;
                }
            }
            let go_on = if idle_rounds < LINGER_ROUNDS {
                signal.pause(LINGER)
            } else {
                self.parked.store(true, Ordering::Relaxed);
                signal.wait(PARK)
            };
            if !go_on {
                return;
            }
        }
    }

    /// Indexes what lies before log position `end`, the end of a record, unless `signal` says stop
    /// meanwhile. What senders have fed from there on waits.
    pub(crate) fn catch_up(
        &self,
        log: &CommitLog,
        end: i64,
        signal: &Signal,
    ) -> Result<(), StoreError> {
        let mut work = lock(&self.indexing);
        loop {
            if work.is_empty() {
                work.clear();
                self.feed.take(&mut work);
            }
            if work.is_empty() {
                return self.read_log(log, end, &mut work.entries, signal);
            }
            let from = work.from.min(end);
            if self.position() < from {
                self.read_log(log, from, &mut Vec::new(), signal)?;
            }
            let position = self.position();
            if position < work.from {
                // Nothing of it is due, or told to stop, or the log cannot be read up to there.
                return Ok(());
            }
            let index_of = |at| work.entries.partition_point(|entry| entry.phy_offset < at);
            let (known, due) = (index_of(position), index_of(end.max(position)));
            self.put_all(&work.entries[known..due])?;
            let reached = position.max(work.to.min(end));
            self.position.store(reached, Ordering::Release);
            if work.to > reached {
                work.entries.drain(..due);
                work.from = reached;
                return Ok(());
            }
            work.clear();
            if reached >= end {
                return Ok(());
            }
        }
    }

    /// Indexes the log up to `end`, from its records.
    fn read_log(
        &self,
        log: &CommitLog,
        end: i64,
        entries: &mut Vec<Entry>,
        signal: &Signal,
    ) -> Result<(), StoreError> {
        let files = log.files();
        let mut position = self.position().max(log.min_offset());
        while position < end && !signal.is_stopped() {
            entries.clear();
            let mut records = 0;
            let mut reached = position;
            // The visitor ends a batch with an error that carries nothing.
            let stop = scan(&files, position, RecordCheck::Lengths, |record, phy_offset| {
                if phy_offset >= end {
                    // What lies before, such as the blank end of a file, is no record.
                    reached = end;
                    return Err(());
                }
                if records == BATCH_RECORDS {
                    return Err(());
                }
                records += 1;
                reached = phy_offset + record.total_bytes() as i64;
                let timestamp_ms = record.store_timestamp_ms();
                for_each_hash(record.topic(), record.properties(), record.sys_flag(), |hash| {
                    entries.push(Entry { hash, phy_offset, timestamp_ms });
                });
                Ok(())
            });
            self.put_all(entries)?;
            let next = match stop {
                Err(()) => reached.max(position),
                // Nothing of it will come back, and what follows is asked for again.
                Ok(stop) if stop.unreadable.is_some() => end,
                // Before `end` where the last record has not come from the master as a whole.
                Ok(stop) => stop.end,
            };
            self.position.store(next, Ordering::Release);
            if next == position {
                break;
            }
            position = next;
        }
        Ok(())
    }

    /// Offsets of records of `topic` that have `key`, stored in `begin_ms..=end_ms`; newest first.
    pub(crate) fn query(
        &self,
        topic: &str,
        key: &str,
        at_most: usize,
        begin_ms: i64,
        end_ms: i64,
    ) -> Found {
        let lookup = Lookup { hash: key_hash(topic, key), begin_ms, end_ms, at_most };
        let files = read(&self.files).clone();
        let mut found = Found::default();
        for (index, file) in files.iter().rev().enumerate() {
            let file = read(file);
            if !can_read(file.look_at_head()) {
                continue;
            }
            if index == 0 {
                found.last_update_timestamp_ms = file.end_timestamp_ms();
                found.last_update_phy_offset = file.end_phy_offset();
            }
            if file.overlaps(begin_ms, end_ms) {
                can_read(file.find(&lookup, &mut found.phy_offsets));
            }
            if file.begin_timestamp_ms() < begin_ms || found.phy_offsets.len() >= at_most {
                break;
            }
        }
        found
    }

    /// Removes files whose records are all before `min_phy`; never the last one.
    pub(crate) fn delete_expired(&self, min_phy: i64) -> Result<(), StoreError> {
        let mut files = write(&self.files);
        while files.len() > 1 {
            let path = {
                let first = read(&files[0]);
                if !can_read(first.look_at_head()) || first.end_phy_offset() >= min_phy {
                    break;
                }
                first.path().to_owned()
            };
            self.fs.remove_file(&path).doing("remove", &path)?;
            files.remove(0);
        }
        Ok(())
    }

    /// Makes all files durable.
    ///
    /// # Errors
    ///
    /// When that fails, or has failed before. The next open makes what may not be on disk anew then.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        let last = read(&self.files).last().cloned();
        match last {
            Some(file) => self.flush_file(&read(&file)),
            None => Ok(()),
        }
    }

    fn flush_file(&self, file: &IndexFile) -> Result<(), StoreError> {
        if let Some(failure) = self.failure.get() {
            return Err(io::Error::other(failure.clone())).doing("flush", file.path());
        }
        file.flush(&self.fs)
            .inspect_err(|error| drop(self.failure.set(format!("failed before: {error}"))))
    }

    fn put_all(&self, entries: &[Entry]) -> Result<(), StoreError> {
        for batch in entries.chunks(BATCH_ENTRIES) {
            let mut rest = batch;
            while !rest.is_empty() {
                let file = self.last_file()?;
                let mut file = write(&file);
                rest = file.put_all(&self.fs, rest)?;
            }
        }
        Ok(())
    }

    /// The file that takes the next entry; a full one is made durable and gets a successor.
    fn last_file(&self) -> Result<Arc<RwLock<IndexFile>>, StoreError> {
        let last = read(&self.files).last().cloned();
        let mut predecessor = None;
        if let Some(last) = last {
            let file = read(&last);
            if !file.is_full() {
                drop(file);
                return Ok(last);
            }
            let end_ms = file.end_timestamp_ms();
            match self.flush_file(&file) {
                Ok(()) => {
                    self.checkpoint.update(|values| values.index_msg_timestamp = end_ms);
                    self.checkpoint.save()?;
                }
                // It goes on, but no file from this one on counts as flushed.
                Err(error) => warn!(%error, "index file not flushed"),
            }
            predecessor = Some((file.path().to_owned(), end_ms, file.end_phy_offset()));
        }
        self.fs.create_dir_all(&self.dir).doing("create", &self.dir)?;
        let path = self.dir.join(next_name(predecessor.as_ref().map(|(path, ..)| path.as_path())));
        let created = IndexFile::create(&self.fs, &path, self.geometry);
        // The next try makes one of another name, and this one would take disk space for nothing.
        let mut file = created.inspect_err(|_| drop(self.fs.remove_file(&path)))?;
        if let Some((_, end_ms, end_phy)) = predecessor {
            file.follow(end_ms, end_phy);
        }
        let file = Arc::new(RwLock::new(file));
        write(&self.files).push(Arc::clone(&file));
        Ok(file)
    }
}

/// Whether a file could be read; tells the log why not.
fn can_read(read: Result<(), StoreError>) -> bool {
    read.inspect_err(|error| error!(%error, "index not read")).is_ok()
}

/// The index files in `dir`, oldest first.
pub(crate) fn index_paths(dir: &std::path::Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = entries(dir)?.into_iter();
    let mut paths: Vec<_> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_index_name))
        .map(|entry| entry.path())
        .collect();
    paths.sort_unstable();
    Ok(paths)
}
