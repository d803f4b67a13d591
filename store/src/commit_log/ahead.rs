//! Keeps the log ready ahead of its writer, so that appending never waits for the system.
//!
//! One thread reserves disk blocks, makes pages by writing zeros, and maps them; behind the writer it lets go
//! of pages, so that the log's share of memory stays the page cache's. How far ahead depends on how fast the
//! writer comes: a quiet store keeps a megabyte ready, a busy one 16. The next file comes from [`super::next`].
//!
//! Where senders wait for flushes of little, the zeros are synced: the first write to a reserved block
//! changes the file's metadata, too, which a flush would have to wait for.
//!
//! ```text
//! ... records | mapped | ready: zeros, blocks reserved | blocks reserved | nothing yet
//!             end                                   ready_to
//! ```
//!
//! Zeros are written behind `ready_to` only, and records are appended before it only. Whoever moves
//! it holds `making`: the helper, or a writer that has overtaken it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::CommitLog;
use super::next::Next;
use crate::disk::DiskSpace;
use crate::limits::{
    BUSY_FROM_BYTES, BUSY_STEP_BYTES, KEEP_MAPPED_BYTES, MAX_POPULATE_BYTES, MIN_POPULATE_BYTES,
    QUIET_STEP_BYTES, RESERVED_DISK_BYTES, SMALL_FLUSH_BYTES,
};
use crate::mapped_file::MappedFile;
use crate::sync::lock;
use crate::worker::Signal;

/// How often a quiet helper looks around by itself.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// A writer that needs the helper again within this time gets twice the distance.
const FAST: Duration = Duration::from_millis(100);
/// A writer that has not needed the helper for this time gets half the distance.
const SLOW: Duration = Duration::from_secs(5);
/// Pages are let go in pieces of this size.
const RELEASE_STEP_BYTES: u64 = 4 << 20;
/// Zeros are synced in pieces of this size: half of what a quiet store keeps ready.
const SYNC_STEP_BYTES: u64 = 512 << 10;

/// What the writer and its helper tell each other. Positions are log positions.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    signal: Arc<Signal>,
    /// Records may be appended up to here.
    ready_to: AtomicI64,
    making: Mutex<()>,
    /// The writer wakes the helper when it gets here.
    wake_at: AtomicI64,
    pub(super) next: Next,
    /// Cleared where the kernel cannot populate.
    cannot_populate: AtomicBool,
}

impl Ahead {
    pub(super) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    pub(super) fn ready_to(&self) -> i64 {
        self.ready_to.load(Ordering::Acquire)
    }

    /// Whether the helper has to be woken, which the caller then does; true once for each time.
    pub(super) fn is_due(&self, position: i64) -> bool {
        position >= self.wake_at.load(Ordering::Relaxed)
            && self.wake_at.swap(i64::MAX, Ordering::Relaxed) != i64::MAX
    }

    fn lock_making(&self) -> MutexGuard<'_, ()> {
        lock(&self.making)
    }

    pub(super) fn wake(&self) {
        self.signal.wake();
    }
}

/// What the helper remembers between its rounds.
#[derive(Debug)]
struct Helper {
    distance: u64,
    populated_to: i64,
    released_to: i64,
    last_due: Instant,
    flushes: Flushes,
    largest_step: u64,
}

impl CommitLog {
    /// Runs the helper until `signal` says stop.
    pub(crate) fn run_ahead(&self, signal: &Signal) {
        // A flush that somebody waits for has to write little more than it must.
        let largest_step = if self.flushed_often { QUIET_STEP_BYTES } else { BUSY_STEP_BYTES };
        let position = self.max_offset();
        let mut helper = Helper {
            distance: MIN_POPULATE_BYTES,
            populated_to: position,
            released_to: position,
            last_due: Instant::now(),
            flushes: Flushes { position, count: self.flush_count(), are_small: true },
            largest_step,
        };
        loop {
            if let Err(error) = self.prepare(&mut helper, signal) {
                // The writer meets the same trouble and refuses; here it is only told.
                warn!(%error, "commit log not prepared ahead");
            }
            if !signal.wait(IDLE_INTERVAL) {
                return;
            }
            let was_due = self.ahead.wake_at.load(Ordering::Relaxed) == i64::MAX;
            helper.adapt(was_due);
        }
    }

    /// The signal of the helper's thread.
    pub(crate) fn ahead_signal(&self) -> &Arc<Signal> {
        self.ahead.signal()
    }

    fn prepare(&self, helper: &mut Helper, signal: &Signal) -> io::Result<()> {
        let position = self.max_offset();
        helper.populated_to = helper.populated_to.max(position);
        helper.flushes.note(position, self.flush_count());
        let target = position + helper.distance as i64;
        while helper.populated_to < target && !signal.is_stopped() {
            let at = helper.populated_to;
            // The writer has gone on meanwhile: the next round sees its file.
            let Some(file) = self.file_at(at)? else { break };
            helper.populated_to = self.prepare_step(&file, at, helper)?;
        }
        // A flush that somebody waits for would have to wait for the blocks' metadata, too.
        self.ahead.next.wake(helper.is_busy() && !self.flushed_often);
        let half = helper.distance as i64 / 2;
        self.ahead.wake_at.store(helper.populated_to - half, Ordering::Relaxed);

        let files = self.files();
        let keep_from = position - KEEP_MAPPED_BYTES as i64;
        while helper.released_to + (RELEASE_STEP_BYTES as i64) < keep_from {
            let until = helper.released_to + RELEASE_STEP_BYTES as i64;
            for file in files.iter().filter(|file| file.end() > helper.released_to) {
                if file.start() < until {
                    let from = (helper.released_to.max(file.start()) - file.start()) as usize;
                    let to = (until.min(file.end()) - file.start()) as usize;
                    file.release(from, to - from);
                }
            }
            helper.released_to = until;
        }
        Ok(())
    }

    /// Makes one step of `file` from `from` on ready; returns how far it got.
    fn prepare_step(&self, file: &MappedFile, from: i64, helper: &Helper) -> io::Result<i64> {
        let step = helper.step_bytes();
        let at = (from - file.start()) as u64;
        let count = (step - at % step).min(file.len() as u64 - at);
        let until = from + count as i64;
        self.make_step_ready(file, until)?;
        if self.flushed_often && helper.is_sync_due(file, at, count) {
            self.sync_zeros(file);
        }
        // Pages that are written by calls need not be mapped.
        if !self.flushed_often
            && !self.ahead.cannot_populate.load(Ordering::Relaxed)
            && let Err(error) = file.populate(at as usize, count as usize)
        {
            info!(%error, "pages of the log cannot be mapped ahead: appends will fault them in");
            self.ahead.cannot_populate.store(true, Ordering::Relaxed);
        }
        Ok(until)
    }

    /// Makes the log ready up to `until`.
    fn make_step_ready(&self, file: &MappedFile, until: i64) -> io::Result<()> {
        let _making = self.ahead.lock_making();
        // Nobody appends behind this while it cannot move. What is not allocated is not written: in
        // another file, and after a start, it is behind the end of the log.
        let from = self.ahead.ready_to().max(self.max_offset()).max(file.start());
        if from >= until {
            return Ok(());
        }
        let (at, end) = ((from - file.start()) as u64, (until - file.start()) as u64);
        self.leave_reserve(file, end)?;
        file.reserve(&self.fs, at, end)?;
        file.write_zeros(&self.fs, at, end - at)?;
        self.ahead.ready_to.store(until, Ordering::Release);
        Ok(())
    }

    /// Leaves others what is left of the disk, when more of it would have to be reserved up to `end` of `file`: a
    /// log that grows quickly takes much between two looks of [`crate::clean`].
    pub(super) fn leave_reserve(&self, file: &MappedFile, end: u64) -> io::Result<()> {
        let dir = file.path().parent().unwrap_or(file.path());
        let has_room = |space: DiskSpace| space.available_bytes >= RESERVED_DISK_BYTES;
        match file.reserved_to() >= end || self.fs.space(dir).is_none_or(has_room) {
            true => Ok(()),
            false => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    /// Makes the zeros durable that have been written ahead, and whatever else `file` has.
    fn sync_zeros(&self, file: &MappedFile) {
        if let Err(error) = file.sync_apart(&self.fs) {
            // Nobody relies on the zeros. Were there records among what is lost, then the next flush fails, too.
            warn!(%error, path = %file.path().display(), "pages ahead of the log not synced");
        }
    }

    /// Makes the log ready for `needed` bytes from `from` on, for a writer that has overtaken the helper.
    #[cold]
    pub(super) fn make_ready(&self, file: &MappedFile, from: i64, needed: u64) -> io::Result<()> {
        let _making = self.ahead.lock_making();
        if from + needed as i64 > self.ahead.ready_to() {
            // More than is needed, so that the next append has it.
            let count = BUSY_STEP_BYTES.max(needed).min((file.end() - from) as u64);
            let at = (from - file.start()) as u64;
            self.leave_reserve(file, at + count)?;
            file.reserve(&self.fs, at, at + count)?;
            self.ahead.ready_to.store(from + count as i64, Ordering::Release);
        }
        Ok(())
    }

    /// As [`Self::make_ready`] for what ends a file: there is room where none is left for messages.
    #[cold]
    pub(super) fn make_end_ready(
        &self,
        file: &MappedFile,
        from: i64,
        needed: u64,
    ) -> io::Result<()> {
        let _making = self.ahead.lock_making();
        let end = from + needed as i64;
        if end > self.ahead.ready_to() {
            let at = (from - file.start()) as u64;
            file.reserve(&self.fs, at, at + needed)?;
            self.ahead.ready_to.store(end, Ordering::Release);
        }
        Ok(())
    }
}

/// What the helper knows about the flushes that senders wait for.
#[derive(Debug)]
struct Flushes {
    /// The log's end at the last look, and how many flushes there had been.
    position: i64,
    count: u64,
    /// Whether those before that were, as long as nothing else is known.
    are_small: bool,
}

impl Flushes {
    /// Looks at what has been flushed since the last look.
    fn note(&mut self, position: i64, count: u64) {
        let (bytes, flushes) = (position - self.position, count - self.count);
        if flushes > 0 {
            self.are_small = bytes <= (SMALL_FLUSH_BYTES * flushes) as i64;
            (self.position, self.count) = (position, count);
        }
    }
}

impl Helper {
    /// Whether `file` is to be synced after the step of `count` bytes at `at`.
    fn is_sync_due(&self, file: &MappedFile, at: u64, count: u64) -> bool {
        let until = at + count;
        let ends_piece = at / SYNC_STEP_BYTES < until / SYNC_STEP_BYTES;
        self.flushes.are_small && (ends_piece || until == file.len() as u64)
    }

    fn is_busy(&self) -> bool {
        self.distance >= BUSY_FROM_BYTES
    }

    fn step_bytes(&self) -> u64 {
        if self.is_busy() { self.largest_step } else { QUIET_STEP_BYTES }
    }

    fn adapt(&mut self, was_due: bool) {
        let since = self.last_due.elapsed();
        if was_due {
            if since < FAST {
                self.distance = (self.distance * 2).min(MAX_POPULATE_BYTES);
            }
            self.last_due = Instant::now();
        } else if since > SLOW {
            self.distance = (self.distance / 2).max(MIN_POPULATE_BYTES);
            self.last_due = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushes_are_small_by_their_average() {
        let mut flushes = Flushes { position: 0, count: 0, are_small: true };
        let large = 10 * SMALL_FLUSH_BYTES as i64;
        flushes.note(large, 0);
        assert!(flushes.are_small, "nothing has been flushed");
        flushes.note(large, 9);
        assert!(!flushes.are_small);
        flushes.note(2 * large, 19);
        assert!(flushes.are_small);
    }
}
