//! Single records, queues and lookups of a store, to be looked at.

mod record;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use byteorder::{BigEndian, ByteOrder};
use oxmq_protocol::message::{RecordView, sys_flag};
use serde::Serialize;

pub use self::record::{RecordDump, Text};
use super::StoreDir;
use super::check::log::why;
use super::units::QueueReader;
use crate::commit_log::{LogFiles, record_at};
use crate::consume_queue::{QueueDir, QueueKind, Unit, position_of};
use crate::error::{IoContext, StoreError};
use crate::index::file::{
    BEGIN_TIMESTAMP_AT, ENTRY_BYTES, ENTRY_COUNT_AT, ENTRY_OLDER_AT, ENTRY_PHY_AT,
    ENTRY_SECONDS_AT, HEADER_BYTES, SLOT_BYTES,
};
use crate::index::{IndexGeometry, for_each_key_hash, index_paths, key_hash};

/// A store whose parts can be shown.
#[derive(Debug)]
pub struct Dump<'a> {
    dir: &'a StoreDir,
    files: LogFiles,
}

/// One unit of a queue, and what it leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueRow {
    /// Offset in the queue, of the first message where there are many.
    pub queue_offset: i64,
    /// Messages of the record.
    pub messages: i16,
    /// Position of the record in the log; nothing for a unit that leads nowhere.
    pub phy_offset: Option<i64>,
    /// Bytes of the record.
    pub size: i32,
    /// Code of the tags.
    pub tags_code: i64,
    /// Where the extended unit is that has the code, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended_position: Option<u64>,
    /// Bits of the filters that the message matches, from the first byte on in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_bits: Option<String>,
    /// The record, if it is there.
    pub record: Option<RecordDump>,
}

/// One index entry for a key, and what it leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexRow {
    /// Name of the index file.
    pub file: String,
    /// Number of the entry in it.
    pub entry: u32,
    /// Position of the record in the log.
    pub phy_offset: i64,
    /// Store time to the second, in milliseconds since 1970, as the entry says.
    pub store_timestamp_ms: i64,
    /// Whether the record has the key, and not only one with the same hash.
    pub has_key: bool,
    /// The record, if it is there.
    pub record: Option<RecordDump>,
}

impl<'a> Dump<'a> {
    /// Opens the log of `dir` to be read.
    ///
    /// # Errors
    ///
    /// When its files cannot be read.
    pub fn open(dir: &'a StoreDir) -> Result<Self, StoreError> {
        Ok(Self { dir, files: dir.log_files()? })
    }

    /// The record at `phy_offset`.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn record(&self, phy_offset: i64) -> Result<RecordDump, String> {
        match record_at(&self.files, phy_offset) {
            Some(record) => Ok(RecordDump::of(&record)),
            None => Err(why(&self.files, phy_offset)),
        }
    }

    /// Hands up to `count` units of a queue from offset `from` on, or from its first one, to `each`.
    ///
    /// # Errors
    ///
    /// When its files cannot be read, and what `each` fails with.
    pub fn queue<E: From<StoreError>>(
        &self,
        topic: &str,
        queue_id: i32,
        from: Option<i64>,
        count: usize,
        mut each: impl FnMut(QueueRow) -> Result<(), E>,
    ) -> Result<(), E> {
        if !crate::message_store::is_storable_topic(topic) {
            return Ok(());
        }
        let place = |kind| self.dir.queue_root(kind).join(topic).join(queue_id.to_string());
        let batch = place(QueueKind::Batch);
        if batch.is_dir() {
            let reader = self.dir.queue_reader(QueueKind::Batch, batch)?;
            return self.batch_queue(reader, from, count, each);
        }
        let dir = QueueDir { topic: topic.into(), queue_id, path: place(QueueKind::Simple) };
        let mut extended = self.dir.extended_reader(&dir);
        let mut reader = self.dir.queue_reader(QueueKind::Simple, dir.path)?;
        let mut offset = from.unwrap_or(0).max(reader.first());
        let mut left = count;
        while left > 0
            && let Some(unit) = reader.unit(offset)?
        {
            if from.is_some() || !unit.leads_nowhere() {
                let mut row = self.queue_row(offset, 1, &unit);
                if let Some(position) = position_of(unit.tags_code)
                    && let Some(extended) = extended.unit(position)?
                {
                    row.tags_code = extended.tags_code;
                    row.extended_position = Some(position);
                    row.filter_bits = hexadecimal(&extended.filter_bits);
                }
                each(row)?;
                left -= 1;
            }
            offset += 1;
        }
        Ok(())
    }

    /// [`Self::queue`] of a queue whose units may stand for many messages.
    fn batch_queue<E: From<StoreError>>(
        &self,
        mut reader: QueueReader,
        from: Option<i64>,
        count: usize,
        mut each: impl FnMut(QueueRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut index = reader.first();
        let mut left = count;
        while left > 0
            && let Some(unit) = reader.batch_unit(index)?
        {
            if from.is_none_or(|from| unit.end_offset() > from) {
                each(self.queue_row(unit.base_offset, unit.count, &unit.unit))?;
                left -= 1;
            }
            index += 1;
        }
        Ok(())
    }

    /// Up to `count` index entries for `key`, newest first.
    ///
    /// # Errors
    ///
    /// When the index files cannot be read, or their number of slots is not known.
    pub fn index(&self, topic: &str, key: &str, count: usize) -> Result<Vec<IndexRow>, StoreError> {
        let dir = self.dir.index_dir();
        let mut paths = index_paths(&dir)?;
        paths.reverse();
        let Some(geometry) = self.dir.index_geometry() else {
            let what = "has files whose number of slots is not known; give -c".to_owned();
            return Err(StoreError::BadFile { path: dir, what });
        };
        let hash = key_hash(topic, key);
        let mut rows = Vec::new();
        for path in paths {
            self.index_rows(&path, geometry, topic, hash, count, &mut rows).doing("read", &path)?;
        }
        Ok(rows)
    }

    fn queue_row(&self, queue_offset: i64, messages: i16, unit: &Unit) -> QueueRow {
        let leads = !unit.leads_nowhere();
        let record = record_at(&self.files, unit.phy_offset)
            .filter(|record| leads && record.total_bytes() as i64 == i64::from(unit.size));
        QueueRow {
            queue_offset,
            messages,
            phy_offset: leads.then_some(unit.phy_offset),
            size: if leads { unit.size } else { 0 },
            tags_code: unit.tags_code,
            extended_position: None,
            filter_bits: None,
            record: record.as_ref().map(RecordDump::of),
        }
    }

    fn index_rows(
        &self,
        path: &Path,
        geometry: IndexGeometry,
        topic: &str,
        hash: i32,
        count: usize,
        rows: &mut Vec<IndexRow>,
    ) -> std::io::Result<()> {
        let file = File::open(path)?;
        let mut head = [0; HEADER_BYTES];
        file.read_exact_at(&mut head, 0)?;
        let begin_ms = BigEndian::read_i64(&head[BEGIN_TIMESTAMP_AT..]);
        let mut before = BigEndian::read_i32(&head[ENTRY_COUNT_AT..]).max(1);
        let mut link = [0; SLOT_BYTES];
        let slot = HEADER_BYTES + (hash.unsigned_abs() % geometry.slots) as usize * SLOT_BYTES;
        file.read_exact_at(&mut link, slot as u64)?;
        let mut number = BigEndian::read_i32(&link);
        // Links lead to older entries only, so that a damaged chain ends too.
        while number > 0 && number < before && rows.len() < count {
            let mut entry = [0; ENTRY_BYTES];
            let at = geometry.entries_at() + number as usize * ENTRY_BYTES;
            file.read_exact_at(&mut entry, at as u64)?;
            if BigEndian::read_i32(&entry) == hash {
                let phy_offset = BigEndian::read_i64(&entry[ENTRY_PHY_AT..]);
                let seconds = i64::from(BigEndian::read_i32(&entry[ENTRY_SECONDS_AT..]));
                let record = record_at(&self.files, phy_offset);
                rows.push(IndexRow {
                    file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                    entry: number as u32,
                    phy_offset,
                    store_timestamp_ms: begin_ms.saturating_add(seconds * 1000),
                    has_key: record.is_some_and(|record| has_key(&record, topic, hash)),
                    record: record.as_ref().map(RecordDump::of),
                });
            }
            before = number;
            number = BigEndian::read_i32(&entry[ENTRY_OLDER_AT..]);
        }
        Ok(())
    }
}

/// Two digits for each byte; nothing for none.
fn hexadecimal(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn has_key(record: &RecordView<'_>, topic: &str, hash: i32) -> bool {
    let rolled_back =
        sys_flag::transaction_type(record.sys_flag()) == sys_flag::TRANSACTION_ROLLBACK;
    let mut found = false;
    for_each_key_hash(record, |own| found |= own == hash);
    record.topic() == topic && !rolled_back && found
}
