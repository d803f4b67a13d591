//! Makes the log sound in place.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use oxmq_protocol::message::record::{BLANK_HEAD_BYTES, blank_head, patch, seal_property_crc};
use oxmq_protocol::message::{
    EncodeOptions, Message, RecordView, encode_record, encoded_len, properties, sys_flag,
};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::super::StoreDir;
use super::super::dir::foreign_files;
use super::super::log_sequence::{LogSequence, Misplaced};
use super::aside::Aside;
use crate::commit_log::{Damage, LogFiles, RecordCheck, ScanStop, find_file, record_at, scan};
use crate::consume_queue::Unit;
use crate::error::{IoContext, StoreError};
use crate::fs::Fs;
use crate::message_store::{LIGHT_QUEUE_ID, batch_unit, light_places};

/// Topic of the records that fill damaged parts. They are rolled back, so that nobody dispatches them.
const FILLER_TOPIC: &str = "RMQ_SYS_DAMAGED";

/// Missing files that are replaced at most; more are a wrong file size.
const MAX_MISSING_FILES: u64 = 1024;

/// Bytes that are read at a time while the end of a file's data is looked for.
const SEARCH_BYTES: usize = 64 << 10;

/// A queue: topic and id.
pub(super) type QueueKey = (String, i32);

/// Mends the log; returns the queues that have records in it.
pub(super) fn mend(
    dir: &StoreDir,
    aside: &mut Aside<'_>,
) -> Result<BTreeSet<QueueKey>, StoreError> {
    for log_dir in dir.log_dirs().all() {
        for path in foreign_files(log_dir)? {
            aside.take(&path, "it is no file of the log")?;
        }
    }
    put_in_place(dir, aside)?;
    let files = dir.log_files()?;
    let mut queues = BTreeSet::new();
    let mut wrong = BTreeMap::new();
    let mut offsets: HashMap<QueueKey, Offsets> = HashMap::new();
    let mut batch_ends: HashMap<QueueKey, i64> = HashMap::new();
    let Some(begin) = files.first().map(|file| file.start()) else {
        return Ok(queues);
    };
    let stop = scan(&files, begin, RecordCheck::BodyCrc, |record, at| {
        if record.phy_offset() != at {
            wrong.insert(at, record.queue_offset());
        }
        if sys_flag::has_queue_offset(record.sys_flag()) {
            let key = (record.topic().to_owned(), record.queue_id());
            // The next offset behind a batch is not the one after its own, which it also has as a property.
            if record.sys_flag() & sys_flag::INNER_BATCH != 0 {
                let unit = batch_unit(record, Unit::PRE_BLANK);
                let end = batch_ends.insert(key.clone(), unit.end_offset());
                if unit.base_offset != record.queue_offset() && end == Some(unit.base_offset) {
                    wrong.insert(at, unit.base_offset);
                }
            } else {
                let offsets = offsets.entry(key.clone()).or_default();
                wrong.extend(offsets.follow(at, record.queue_offset()));
            }
            queues.insert(key);
            let light = light_places(record).into_iter();
            queues.extend(light.map(|(name, _)| (name.to_owned(), LIGHT_QUEUE_ID)));
        }
        Ok::<(), StoreError>(())
    })?;
    let short = shorten(dir, aside)?;
    for (at, queue_offset) in wrong {
        set_place(&files, at, queue_offset, aside)?;
    }
    let filler = Filler { dir, files: &files, stop: &stop };
    for Damage { from, to, .. } in &stop.damaged {
        filler.fill(*from, *to, aside)?;
    }
    cut_tail(&files, &stop, aside)?;
    // Last of all, as a repair may end before and be repeated: zeros behind a short file would hide
    // where its bytes ended, and make half a record look whole.
    let bytes = dir.config().mapped_file_size_commit_log;
    for (path, length) in short {
        set_length(&path, (length, bytes), aside)?;
    }
    Ok(queues)
}

/// Gives files their own names back, and sets those aside that have none, or nothing before all others.
fn put_in_place(dir: &StoreDir, aside: &mut Aside<'_>) -> Result<(), StoreError> {
    let LogSequence { files, misplaced } = dir.log_sequence()?;
    let mut kept = Vec::new();
    for Misplaced { path, .. } in &misplaced {
        kept.push(aside.take(path, "it has the name of another file of the log, or of none")?);
    }
    for (Misplaced { home, is_used, .. }, kept) in misplaced.iter().zip(kept) {
        let Some(home) = home.filter(|_| *is_used) else { continue };
        let path = dir.log_dirs().new_path(&Fs::default(), home);
        aside.act(&path, format!("made from {}", kept.display()), |fs| {
            fs.copy(&kept, &path).doing("copy", &kept)
        })?;
    }
    for (_, path) in files.iter().filter(|(_, path)| path.is_dir()) {
        aside.take(path, "it is no file")?;
    }
    // With the right length an empty file would be a damaged part in which nothing ever was.
    for (_, path) in files.into_iter().filter(|(_, path)| path.exists()) {
        let is_moved = misplaced.iter().any(|file| file.path == path);
        if is_moved || path.metadata().doing("look at", &path)?.len() > 0 {
            break;
        }
        aside.take(&path, "it is empty")?;
    }
    Ok(())
}

/// Gives the files of the log that are too long the length of all, and returns those that are too
/// short, with their lengths.
fn shorten(dir: &StoreDir, aside: &mut Aside<'_>) -> Result<Vec<(PathBuf, u64)>, StoreError> {
    let bytes = dir.config().mapped_file_size_commit_log;
    let files = dir.log_sequence()?.files;
    let count = files.len();
    let mut wrong = Vec::new();
    for (_, path) in files {
        let length = path.metadata().doing("look at", &path)?.len();
        if length != bytes {
            wrong.push((path, length));
        }
    }
    if wrong.len() > 1 && wrong.len() * 2 > count {
        let what =
            format!("mappedFileSizeCommitLog {bytes} fits less than half of the log's files");
        return Err(StoreError::BadConfig(what));
    }
    let (long, short): (Vec<_>, Vec<_>) =
        wrong.into_iter().partition(|(_, length)| *length > bytes);
    for (path, length) in long {
        aside.keep_file(&path)?;
        set_length(&path, (length, bytes), aside)?;
    }
    Ok(short)
}

fn set_length(
    path: &Path,
    (old, new): (u64, u64),
    aside: &mut Aside<'_>,
) -> Result<(), StoreError> {
    aside.act(path, format!("length changed from {old} to {new}"), |fs| {
        let file = fs.create_sized(path, new).doing("change the length of", path)?;
        fs.sync(&file, path).doing("flush", path)
    })
}

/// Where a queue is, while its records are read.
#[derive(Default)]
struct Offsets {
    /// Offset that the next record should have.
    next: i64,
    /// Where the last record is, if it had another offset than it should.
    odd: Option<i64>,
}

impl Offsets {
    /// Goes on to the record at `at`. Returns where the record before it is, and its offset, if that is
    /// not what it says, as the records on both sides of it tell.
    fn follow(&mut self, at: i64, offset: i64) -> Option<(i64, i64)> {
        let odd = self.odd.take();
        let was_odd = odd.is_some();
        if let Some(wrong) = odd.filter(|_| offset.checked_sub(1) == Some(self.next)) {
            let is = self.next;
            self.next = offset.saturating_add(1);
            return Some((wrong, is));
        }
        if offset == self.next {
            self.next += 1;
            return None;
        }
        // Only one may be wrong: after two, the topic was made anew, or records are lost.
        if was_odd || self.next == 0 {
            self.next = offset.saturating_add(1);
        } else {
            self.odd = Some(at);
        }
        None
    }
}

/// Makes the record at `at` say that it is there, and which offset it has in its queue.
fn set_place(
    files: &LogFiles,
    at: i64,
    queue_offset: i64,
    aside: &mut Aside<'_>,
) -> Result<(), StoreError> {
    let (Some(record), Some((path, in_file))) = (record_at(files, at), place(files, at)) else {
        return Ok(());
    };
    aside.keep(&path, in_file, record.bytes())?;
    let mut bytes = record.bytes().to_vec();
    patch(&mut bytes, queue_offset, at, record.store_timestamp_ms());
    if record.property(properties::CRC32).is_some() {
        seal_property_crc(&mut bytes);
    }
    let what = format!(
        "the record at {at} says where it is, not {}, and that it has queue offset {queue_offset}",
        record.phy_offset()
    );
    aside.act(&path, what, |fs| write(fs, &path, &bytes, in_file))
}

/// Replaces parts of the log by something that every reader steps over.
struct Filler<'a> {
    dir: &'a StoreDir,
    files: &'a LogFiles,
    stop: &'a ScanStop,
}

impl Filler<'_> {
    /// Fills the log between two positions.
    fn fill(&self, from: i64, to: i64, aside: &mut Aside<'_>) -> Result<(), StoreError> {
        let file_bytes = self.dir.config().mapped_file_size_commit_log as i64;
        if (to - from) / file_bytes > MAX_MISSING_FILES as i64 {
            let what = format!("mappedFileSizeCommitLog {file_bytes} cannot be right");
            return Err(StoreError::BadConfig(what));
        }
        let mut at = from;
        while at < to {
            let start = at - at.rem_euclid(file_bytes);
            let end = to.min(start + file_bytes);
            let path = self.dir.log_dirs().path_of(start as u64)?;
            self.fill_in_file(&path, start, (at, end), end == start + file_bytes, aside)?;
            at = end;
        }
        Ok(())
    }

    fn fill_in_file(
        &self,
        path: &Path,
        start: i64,
        (from, to): (i64, i64),
        to_end: bool,
        aside: &mut Aside<'_>,
    ) -> Result<(), StoreError> {
        let (in_file, count) = ((from - start) as u64, (to - from) as usize);
        if path.exists() {
            let mut bytes = vec![0; count];
            let read = File::open(path).doing("open", path)?;
            let there = read.metadata().doing("look at", path)?.len().saturating_sub(in_file);
            bytes.truncate(there.min(count as u64) as usize);
            read.read_exact_at(&mut bytes, in_file).doing("read", path)?;
            aside.keep(path, in_file, &bytes)?;
        }
        if to_end && count >= BLANK_HEAD_BYTES {
            let blank = blank_head(count as u32);
            let file_bytes = self.dir.config().mapped_file_size_commit_log;
            return aside.act(path, format!("{count} bytes at {in_file} become a blank"), |fs| {
                let file =
                    if path.exists() { fs.open(path) } else { fs.create_sized(path, file_bytes) };
                let file = file.doing("open", path)?;
                clear(fs, &file, path, in_file)?;
                fs.write_at(&file, path, &blank, in_file).doing("write", path)?;
                fs.sync(&file, path).doing("flush", path)
            });
        }
        let Some(filler) = self.record(from, to, count) else {
            let what = format!("{count} bytes at {in_file} are too few for a filler");
            return Err(StoreError::BadFile { path: path.to_owned(), what });
        };
        let what = format!("{count} bytes at {in_file} become a filler without a message");
        aside.act(path, what, |fs| write(fs, path, &filler, in_file))
    }

    /// A rolled-back record of `count` bytes for position `at`.
    fn record(&self, at: i64, to: i64, count: usize) -> Option<Vec<u8>> {
        let options = EncodeOptions {
            max_message_bytes: count,
            version_by_topic_length: false,
            append_property_crc: self.dir.config().enabled_append_prop_crc,
        };
        let host = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let mut message = Message {
            sys_flag: sys_flag::TRANSACTION_ROLLBACK,
            born_host: host,
            store_host: host,
            ..Message::new(FILLER_TOPIC, 0, b"")
        };
        // The smallest records have a topic of one letter.
        let over = encoded_len(&message, &options).ok()?.saturating_sub(count);
        message.topic = &FILLER_TOPIC[..FILLER_TOPIC.len().saturating_sub(over).max(1)];
        let body = vec![0; count.checked_sub(encoded_len(&message, &options).ok()?)?];
        message.body = &body;
        let mut record = Vec::with_capacity(count);
        encode_record(&message, &options, &mut record).ok()?;
        // Store times must not go back.
        let behind = record_at(self.files, to).map(|record| record.store_timestamp_ms());
        patch(&mut record, 0, at, behind.unwrap_or(self.stop.last_timestamp_ms));
        if options.append_property_crc {
            seal_property_crc(&mut record);
        }
        (record.len() == count && RecordView::parse(&record).is_ok()).then_some(record)
    }
}

/// Removes what follows the last sound record.
fn cut_tail(files: &LogFiles, stop: &ScanStop, aside: &mut Aside<'_>) -> Result<(), StoreError> {
    for file in files.iter().filter(|file| file.end() > stop.end) {
        let at = (stop.end - file.start()).max(0) as u64;
        let rest = rest_of(file.path(), at)?;
        if rest.is_empty() {
            continue;
        }
        if at == 0 {
            aside.take(file.path(), "it is behind the last sound record")?;
            continue;
        }
        aside.keep(file.path(), at, &rest)?;
        aside.act(file.path(), format!("cut behind byte {at}"), |fs| {
            let handle = fs.open(file.path()).doing("open", file.path())?;
            clear(fs, &handle, file.path(), at)?;
            fs.sync(&handle, file.path()).doing("flush", file.path())
        })?;
    }
    Ok(())
}

/// The bytes of a file from `at` to the last one that is not zero. Holes, which may be most of the
/// file, are not read.
fn rest_of(path: &Path, at: u64) -> Result<Vec<u8>, StoreError> {
    let file = File::open(path).doing("open", path)?;
    let length = file.metadata().doing("look at", path)?.len();
    let mut rest = Vec::new();
    let mut chunk = vec![0; SEARCH_BYTES];
    let mut from = at;
    while from < length {
        match seek(&file, SeekFrom::Data(from)) {
            Ok(data) => from = data.max(from),
            Err(Errno::NXIO) => break,
            // Where holes cannot be told, all of it is read.
            Err(_) => {}
        }
        let count = (length - from).min(SEARCH_BYTES as u64) as usize;
        let bytes = &mut chunk[..count];
        file.read_exact_at(bytes, from).doing("read", path)?;
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            rest.resize((from - at) as usize, 0);
            rest.extend_from_slice(&bytes[..=last]);
        }
        from += count as u64;
    }
    Ok(rest)
}

fn place(files: &LogFiles, at: i64) -> Option<(PathBuf, u64)> {
    let file = find_file(files, at)?;
    Some((file.path().to_owned(), (at - file.start()) as u64))
}

/// Makes what `file` has behind `at` zeros. Its length stays.
fn clear(fs: &Fs, file: &File, path: &Path, at: u64) -> Result<(), StoreError> {
    let length = file.metadata().doing("look at", path)?.len();
    fs.clear(file, path, at, length).doing("clear", path)
}

/// Writes `bytes` at position `at` of a log file.
fn write(fs: &Fs, path: &Path, bytes: &[u8], at: u64) -> Result<(), StoreError> {
    let file = fs.open(path).doing("open", path)?;
    fs.write_at(&file, path, bytes, at).doing("write", path)?;
    fs.sync(&file, path).doing("flush", path)
}
