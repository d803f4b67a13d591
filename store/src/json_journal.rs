//! Changes of a metadata file that are not in it yet.
//!
//! A file of many thousand topics takes long to write, too long for each new one to wait for. So a change
//! is added to `X.journal`, which is made durable before the change is acknowledged, and `X` itself is
//! written a little later. Then the changes that it has leave the journal, and the last ones take the file
//! along: a broker that knows nothing of journals finds `X` as it should be, and nothing else.
//!
//! ```text
//! a line      CRC-32 of the JSON in 8 hexadecimal digits | space | a change as JSON | \n
//! ```

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use oxmq_protocol::fastjson::FastjsonError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use tracing::{error, warn};

use crate::fs::Fs;
use crate::json_file::{IoContext, JsonFileError, directory_of, read, with_suffix};
use crate::limits::MAX_JOURNAL_BYTES;
use crate::sync::lock;

/// What the journal's name has behind that of its metadata file.
pub(crate) const JOURNAL: &str = ".journal";

/// Hexadecimal digits of a CRC and the space behind them.
const PREFIX_BYTES: usize = 9;

/// The journal of one metadata file.
///
/// Each change has a number, higher than those of the changes before.
#[derive(Debug)]
pub struct JsonJournal<C> {
    fs: Fs,
    path: PathBuf,
    noted: Mutex<Noted>,
    /// Held while the file is written; taken before `noted`.
    file: Mutex<Option<Open>>,
    change: PhantomData<fn() -> C>,
}

/// The changes that the metadata file lacks.
#[derive(Debug, Default)]
struct Noted {
    /// Each with its number.
    lines: VecDeque<(i64, Vec<u8>)>,
    bytes: usize,
    /// How many of the last ones are not in the journal either.
    unwritten: usize,
    /// The journal lacks changes, the last of which has this number: until the metadata file has it,
    /// nothing is added.
    missing: Option<i64>,
}

/// What a journal holds.
struct Found<C> {
    text: Vec<u8>,
    /// Where the first part is that the disk does not give back, and why.
    unreadable: Option<(u64, io::Error)>,
    changes: Vec<C>,
    /// Their lines.
    sound: Vec<u8>,
    /// How many lines are no changes.
    damaged: usize,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
}

impl<C: Serialize + DeserializeOwned> JsonJournal<C> {
    /// The journal of the metadata file at `path`.
    pub fn of(path: &Path) -> Self {
        Self::with_fs(Fs::default(), path)
    }

    /// [`Self::of`] on a file system of the caller's.
    pub fn with_fs(fs: Fs, path: &Path) -> Self {
        Self {
            fs,
            path: with_suffix(path, JOURNAL),
            noted: Mutex::default(),
            file: Mutex::default(),
            change: PhantomData,
        }
    }

    /// Where the journal is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the changes that a crash has left, in their order.
    ///
    /// Those that cannot be read are passed over and reported, and the journal is kept as `X.journal.damaged`.
    /// An incomplete last one was not acknowledged.
    ///
    /// # Errors
    /// When the file cannot be opened, or those that can be read cannot be kept apart.
    pub fn load(&self) -> Result<Vec<C>, JsonFileError> {
        let Some(Found { text, unreadable, sound, damaged, changes }) = self.find()? else {
            return Ok(Vec::new());
        };
        let path = self.path.display();
        let aside = with_suffix(&self.path, ".damaged");
        if let Some((position, error)) = unreadable {
            error!(%path, position, %error, damaged, kept = %aside.display(), "the disk does not give back part of a journal");
            // Nothing may follow on such sectors.
            let temporary = with_suffix(&self.path, ".tmp");
            let new = self.write_new(&temporary, &sound)?;
            self.fs.rename(&self.path, &aside).doing("set aside", &self.path)?;
            self.fs.rename(&temporary, &self.path).doing("rename", &temporary)?;
            *lock(&self.file) = Some(new);
            return Ok(changes);
        }
        let whole = end_of_lines(&text);
        if whole < text.len() {
            warn!(%path, bytes = text.len() - whole, "the last change of a journal is incomplete");
        }
        if damaged > 0 {
            warn!(%path, damaged, kept = %aside.display(), "changes of a journal are damaged");
            if let Err(error) = self.write_new(&aside, &text) {
                warn!(%error, "damaged journal not kept");
            }
        }
        let file = self.fs.open(&self.path).doing("open", &self.path)?;
        *lock(&self.file) = Some(Open { file, bytes: whole as u64 });
        Ok(changes)
    }

    /// [`Self::load`] for who adds nothing: the journal stays as it is.
    pub(crate) fn look(&self) -> Result<Vec<C>, JsonFileError> {
        Ok(self.find()?.map_or_else(Vec::new, |found| found.changes))
    }

    fn find(&self) -> Result<Option<Found<C>>, JsonFileError> {
        let Some((text, unreadable)) = read(&self.path)?.filter(|(text, _)| !text.is_empty())
        else {
            return Ok(None);
        };
        let (mut sound, mut damaged, mut changes) = (Vec::new(), 0, Vec::new());
        for line in text[..end_of_lines(&text)].split_inclusive(|byte| *byte == b'\n') {
            match decode(line.strip_suffix(b"\n").unwrap_or(line)) {
                Some(change) => {
                    changes.push(change);
                    sound.extend_from_slice(line);
                }
                None if line == b"\n" => {}
                None => damaged += 1,
            }
        }
        Ok(Some(Found { text, unreadable, sound, damaged, changes }))
    }

    /// Renames a journal that does not belong to the metadata file to `X.journal.foreign`.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn set_aside(&self) -> Result<PathBuf, JsonFileError> {
        let mut file = lock(&self.file);
        let aside = with_suffix(&self.path, ".foreign");
        self.fs.rename(&self.path, &aside).doing("set aside", &self.path)?;
        *file = None;
        Ok(aside)
    }

    /// Notes a change; [`Self::keep`] makes it durable.
    ///
    /// # Errors
    /// When the change has no JSON, which is a bug.
    pub fn note(&self, number: i64, change: &C) -> Result<(), JsonFileError> {
        let json = serde_json::to_vec(change).map_err(|error| JsonFileError::Encode {
            path: self.path.clone(),
            source: FastjsonError::custom(error),
        });
        let mut noted = lock(&self.noted);
        match &json {
            Ok(json) => noted.add(number, encode(json)),
            Err(_) => noted.give_up(number),
        }
        json.map(drop)
    }

    /// Makes all changes durable that were noted before the call. Those who call this at the same time
    /// share the work.
    ///
    /// # Errors
    /// When a file operation fails, now or since the metadata file was written last. The changes are
    /// durable once that is written again.
    pub fn keep(&self) -> Result<(), JsonFileError> {
        let mut file = lock(&self.file);
        let (text, count) = {
            let noted = lock(&self.noted);
            if noted.missing.is_some() {
                let gap = io::Error::other("an earlier change could not be added");
                return Err(gap).doing("add to", &self.path);
            }
            let written = noted.lines.len() - noted.unwritten;
            (noted.text_from(written), noted.unwritten)
        };
        if count == 0 {
            return Ok(());
        }
        let added = self.add(&mut file, &text);
        let mut noted = lock(&self.noted);
        match added {
            Ok(()) => noted.unwritten -= count,
            Err(_) => noted.give_up(i64::MIN),
        }
        added
    }

    /// Forgets the changes with numbers up to `last`: the metadata file has them now, durably.
    ///
    /// # Errors
    /// When a file operation fails. Then the next changes wait for the metadata file.
    pub fn forget(&self, last: i64) -> Result<(), JsonFileError> {
        let mut file = lock(&self.file);
        let (text, count) = {
            let mut noted = lock(&self.noted);
            noted.forget(last);
            if noted.missing.is_some() {
                // What was kept before the gap is in the journal alone. All else there does no harm.
                return Ok(());
            }
            (noted.text_from(0), noted.lines.len())
        };
        let outcome = self.replace(&mut file, &text);
        let mut noted = lock(&self.noted);
        match outcome {
            Ok(()) => noted.unwritten = noted.lines.len() - count,
            Err(_) => noted.give_up(last),
        }
        outcome
    }

    fn add(&self, file: &mut Option<Open>, text: &[u8]) -> Result<(), JsonFileError> {
        if let Some(open) = file {
            self.fs
                .write_at(&open.file, &self.path, text, open.bytes)
                .doing("write", &self.path)?;
            self.fs.sync(&open.file, &self.path).doing("sync", &self.path)?;
            open.bytes += text.len() as u64;
            return Ok(());
        }
        let directory = directory_of(&self.path);
        self.fs.create_dir_all(directory).doing("create", directory)?;
        *file = Some(self.write_new(&self.path, text)?);
        self.fs.sync_dir(directory).doing("sync", directory)
    }

    /// Has the file hold `text`, or not be there when that is empty.
    fn replace(&self, file: &mut Option<Open>, text: &[u8]) -> Result<(), JsonFileError> {
        if text.is_empty() {
            *file = None;
            // A name that a power failure brings back does no harm: what is in there is known.
            return self.fs.remove_file(&self.path).doing("remove", &self.path);
        }
        let temporary = with_suffix(&self.path, ".tmp");
        let new = self.write_new(&temporary, text)?;
        self.fs.rename(&temporary, &self.path).doing("rename", &temporary)?;
        *file = Some(new);
        let directory = directory_of(&self.path);
        self.fs.sync_dir(directory).doing("sync", directory)
    }

    fn write_new(&self, path: &Path, text: &[u8]) -> Result<Open, JsonFileError> {
        let file = self.fs.create(path).doing("create", path)?;
        self.fs.write_at(&file, path, text, 0).doing("write", path)?;
        self.fs.sync(&file, path).doing("sync", path)?;
        Ok(Open { file, bytes: text.len() as u64 })
    }
}

impl Noted {
    fn add(&mut self, number: i64, line: Vec<u8>) {
        if self.missing.is_some() || self.bytes + line.len() > MAX_JOURNAL_BYTES {
            return self.give_up(number);
        }
        self.bytes += line.len();
        self.lines.push_back((number, line));
        self.unwritten += 1;
    }

    /// Nothing that was noted is in the journal for sure, nor is the change with this number.
    fn give_up(&mut self, number: i64) {
        let last = self.lines.back().map(|(last, _)| *last);
        *self = Self { missing: self.missing.max(last).max(Some(number)), ..Self::default() };
    }

    fn forget(&mut self, last: i64) {
        self.missing.take_if(|missing| *missing <= last);
        while let Some((_, line)) = self.lines.pop_front_if(|(number, _)| *number <= last) {
            self.bytes -= line.len();
        }
        self.unwritten = self.unwritten.min(self.lines.len());
    }

    fn text_from(&self, first: usize) -> Vec<u8> {
        self.lines.range(first..).flat_map(|(_, line)| line).copied().collect()
    }
}

/// Where the last whole line ends.
fn end_of_lines(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

fn encode(json: &[u8]) -> Vec<u8> {
    let mut line = format!("{:08x} ", crc32fast::hash(json)).into_bytes();
    line.extend_from_slice(json);
    line.push(b'\n');
    line
}

fn decode<C: DeserializeOwned>(line: &[u8]) -> Option<C> {
    let (prefix, json) = line.split_at_checked(PREFIX_BYTES)?;
    let crc = std::str::from_utf8(prefix.strip_suffix(b" ")?).ok()?;
    let is_whole = u32::from_str_radix(crc, 16).ok()? == crc32fast::hash(json);
    is_whole.then(|| serde_json::from_slice(json).ok()).flatten()
}

#[cfg(test)]
mod tests;
