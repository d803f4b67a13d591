//! Where messages wait for their time: a log of units and a wheel whose slots chain them.
//!
//! Of each message that waits there are a unit and a record in the commit log; nothing is in memory.
//!
//! Reference: `TimerMessageStore` (store), 5.5.0.

mod checkpoint;
mod log;
mod unit;
mod wheel;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use tracing::{error, warn};

use self::checkpoint::CheckpointFile;
pub use self::checkpoint::TimerCheckpoint;
use self::log::TimerLog;
pub use self::unit::TimerUnit;
pub(crate) use self::unit::UNIT_BYTES;
use self::unit::{NONE, Slot};
use self::wheel::{Slots, Wheel};
use crate::config::StoreConfig;
use crate::error::{IoContext, StoreError};
use crate::fs::Fs;

/// Slots that may be ahead of the one that is read: a week at the default precision.
pub const TIMER_SLOTS: i64 = 604_800;

/// The timer's files.
#[derive(Debug)]
pub struct TimerStore {
    precision_ms: i64,
    log: TimerLog,
    wheel: Wheel,
    checkpoint: CheckpointFile,
    saved: TimerCheckpoint,
    /// Why what was written may not be on disk, however often it is flushed again.
    failure: Arc<OnceLock<String>>,
}

impl TimerStore {
    /// Opens the files, making them if need be, and makes the wheel say what the log says.
    ///
    /// Files that the disk does not give back are moved out of the store. What the wheel says is made anew from the
    /// log; what the log and [`Self::saved`] say then, from the queue of the messages that wait.
    ///
    /// # Errors
    ///
    /// When a file operation fails, or a file has another size than configured.
    pub fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let root = config.root_dir();
        let checkpoint = root.join("config").join("timercheck");
        let (wheel, log) = (root.join("timerwheel"), root.join("timerlog"));
        // Each of the three can be new once.
        for _ in 0..3 {
            match Self::open_as_they_are(config, &checkpoint, &wheel, &log) {
                Err(error @ StoreError::Unreadable { .. }) => {
                    set_aside(&root, &wheel, &log, error)?
                }
                other => return other,
            }
        }
        Self::open_as_they_are(config, &checkpoint, &wheel, &log)
    }

    fn open_as_they_are(
        config: &StoreConfig,
        checkpoint: &Path,
        wheel: &Path,
        log: &Path,
    ) -> Result<Self, StoreError> {
        let (checkpoint, saved) = CheckpointFile::open(checkpoint)?;
        let saved = saved.unwrap_or_default();
        let wheel = Wheel::open(wheel).doing("open", wheel)?;
        let log = TimerLog::open(log, config.mapped_file_size_timer_log).doing("open", log)?;
        let precision_ms = config.timer_precision_ms.ms();
        let failure = Arc::default();
        let mut store = Self { precision_ms, log, wheel, checkpoint, saved, failure };
        store.recover()?;
        Ok(store)
    }

    /// What was saved last.
    pub fn saved(&self) -> &TimerCheckpoint {
        &self.saved
    }

    /// Whether no message has ever waited.
    pub fn is_new(&self) -> bool {
        self.log.end() == 0
    }

    /// Milliseconds that one slot stands for.
    pub fn precision_ms(&self) -> i64 {
        self.precision_ms
    }

    /// The unit that came last.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn last_unit(&mut self) -> io::Result<Option<TimerUnit>> {
        match self.log.last() {
            Some(at) => Ok(self.log.read(at)?.map(|(unit, _)| unit)),
            None => Ok(None),
        }
    }

    /// Lets a message wait in its slot.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn put(&mut self, unit: &TimerUnit) -> io::Result<()> {
        let time = unit.slot_time_ms / self.precision_ms;
        let slot = self.wheel.get(time)?;
        let at = self.log.append(&unit.encode(slot.last))?.cast_signed();
        self.wheel.put(&Slot {
            time,
            first: if slot.first == NONE { at } else { slot.first },
            last: at,
            count: unit.count_in(&slot),
        })
    }

    /// Notes a message that did not have to wait, so that its place in the queue is known as passed.
    ///
    /// # Errors
    ///
    /// When the log cannot be written.
    pub fn note(&mut self, unit: &TimerUnit) -> io::Result<()> {
        self.log.append(&unit.encode(NONE)).map(drop)
    }

    /// Messages that wait in the slot of a time, about.
    ///
    /// # Errors
    ///
    /// When the wheel cannot be read.
    pub fn count(&self, slot_time_ms: i64) -> io::Result<i32> {
        Ok(self.wheel.get(slot_time_ms / self.precision_ms)?.count)
    }

    /// The units of a slot, in the order in which they came.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn slot(&mut self, slot_time_ms: i64) -> io::Result<Vec<TimerUnit>> {
        let time = slot_time_ms / self.precision_ms;
        let mut units = Vec::new();
        let mut at = self.wheel.get(time)?.last;
        // Units before the log are not needed any more, nor are their messages there.
        while at != NONE && !(0..self.log.begin().cast_signed()).contains(&at) {
            let found = match u64::try_from(at) {
                Ok(place) => self.log.read(place)?,
                Err(_) => None,
            };
            // Damaged chains could go round, or into another one.
            let link = found.filter(|(unit, previous)| {
                *previous < at && unit.slot_time_ms / self.precision_ms == time
            });
            let Some((unit, previous)) = link else {
                warn!(slot_time_ms, at, "link of the timer log is damaged: all of it is read");
                return Ok(self.search(slot_time_ms));
            };
            units.push(unit);
            at = previous;
        }
        units.reverse();
        Ok(units)
    }

    /// The units of a slot, looked for in all of the log, in the order in which they came. What cannot be read is
    /// passed by.
    pub fn search(&self, slot_time_ms: i64) -> Vec<TimerUnit> {
        let time = slot_time_ms / self.precision_ms;
        let mut units = self.log.search(|unit| unit.slot_time_ms / self.precision_ms == time);
        // One that was appended and could not be linked was appended again.
        units.dedup_by_key(|unit| unit.phy_offset);
        units
    }

    /// Collects what it takes to save how far the timer has got; `None` when that is saved.
    ///
    /// # Errors
    ///
    /// When there can be no more open files, the disk is full, or a flush has failed: the system tells of an error
    /// once, and what was to be written then may be gone. The next open reads what there is from the last save on.
    pub fn prepare_save(&mut self, checkpoint: TimerCheckpoint) -> io::Result<Option<TimerSave>> {
        let log_flushed = self.log.end().cast_signed();
        let key = |it: &TimerCheckpoint| (it.read_time_ms, it.queue_offset, it.log_flushed);
        let counter = self.saved.counter + 1;
        let checkpoint = TimerCheckpoint { log_flushed, counter, ..checkpoint };
        if key(&self.saved) == key(&checkpoint) {
            return Ok(None);
        }
        if let Some(failure) = self.failure.get() {
            return Err(io::Error::other(format!("failed before: {failure}")));
        }
        self.wheel.write()?;
        let mut files = self.log.take_unsynced()?;
        files.extend(self.wheel.take_unsynced()?);
        let (file, failure) = (self.checkpoint.try_clone()?, Arc::clone(&self.failure));
        Ok(Some(TimerSave { files, file, checkpoint, failure }))
    }

    /// Notes how a save ended; after a failure the next one does all of it again.
    pub fn finish_save(&mut self, saved: Option<TimerCheckpoint>) {
        match saved {
            Some(saved) => self.saved = saved,
            None => {
                self.log.set_unsynced();
                self.wheel.set_unsynced();
            }
        }
    }

    /// Removes files of the log whose messages are not in the commit log any more.
    ///
    /// # Errors
    ///
    /// When a file cannot be removed.
    pub fn clean(&mut self, min_phy_offset: i64) -> io::Result<()> {
        self.log.remove_first(|unit| unit.phy_offset < min_phy_offset)
    }

    /// Reads the log from a file before where it was on disk, and lets every slot end with its last
    /// unit there: the wheel may be older or newer. A new one is made from all of the log.
    fn recover(&mut self) -> Result<(), StoreError> {
        let is_new = self.wheel.is_new();
        let from = if is_new { 0 } else { u64::try_from(self.saved.log_flushed).unwrap_or(0) };
        let from = from.saturating_sub(self.log.file_bytes());
        let (log, precision_ms) = (&mut self.log, self.precision_ms);
        self.wheel.rewrite(|slots| {
            log.recover(from, |unit, at| {
                link(slots, &unit, precision_ms, at.cast_signed(), is_new)
            })?;
            // After a loss of power the wheel may have been ahead of the log.
            let broken: HashSet<_> =
                slots.empty_beyond(log.end().cast_signed())?.into_iter().collect();
            if broken.is_empty() {
                return Ok(());
            }
            log.recover(0, |unit, at| {
                if !broken.contains(&(unit.slot_time_ms / precision_ms)) {
                    return Ok(());
                }
                link(slots, &unit, precision_ms, at.cast_signed(), true)
            })
        })
    }
}

/// A save of how far the timer has got. It waits for the disk, while the timer may go on.
#[derive(Debug)]
pub struct TimerSave {
    files: Vec<File>,
    file: CheckpointFile,
    checkpoint: TimerCheckpoint,
    failure: Arc<OnceLock<String>>,
}

impl TimerSave {
    /// Makes everything durable that the progress stands on, and then writes it.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn run(self) -> io::Result<TimerCheckpoint> {
        for file in &self.files {
            file.sync_data().inspect_err(|error| drop(self.failure.set(error.to_string())))?;
        }
        // Trying again writes all of it again, so that may be trusted.
        self.file.write(&self.checkpoint)?;
        Ok(self.checkpoint)
    }
}

/// Moves the file that cannot be read out of the store, for which there is `error`, and what it takes along.
fn set_aside(root: &Path, wheel: &Path, log: &Path, error: StoreError) -> Result<(), StoreError> {
    let StoreError::Unreadable { path, .. } = &error else { return Err(error) };
    let is_log = path.starts_with(log);
    // Slots chain units of all files, and the new ones are elsewhere.
    let moved: &[&Path] = if is_log { &[log, wheel] } else { &[path] };
    for path in moved {
        let kept = Fs::default().set_aside(root, path)?;
        error!(%error, kept = %kept.display(), "file of the timer set aside, to be made anew");
    }
    Ok(())
}

/// Makes the unit at a position the last of its slot, if it is. Units of a slot of the past are notes. It is counted
/// where it cannot have been before.
fn link(
    slots: &mut Slots<'_>,
    unit: &TimerUnit,
    precision_ms: i64,
    at: i64,
    counts: bool,
) -> Result<(), StoreError> {
    let time = unit.slot_time_ms / precision_ms;
    let slot = slots.get(time)?;
    if slot.last < at {
        let first = if slot.first == NONE { at } else { slot.first };
        let count = if counts { unit.count_in(&slot) } else { slot.count.max(1) };
        slots.put(&Slot { time, first, last: at, count })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
