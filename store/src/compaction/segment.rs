//! One log file and its queue file.

use std::io;
use std::sync::Arc;

use byteorder::{BigEndian, ByteOrder};
use oxmq_protocol::message::RecordView;

use crate::consume_queue::{BatchUnit, QueueKind};
use crate::mapped_file::MappedFile;

/// Bytes of a unit.
pub(super) const UNIT_BYTES: usize = QueueKind::Batch.unit_bytes();

/// The unit that ends a queue file whose log file is full.
///
/// Reference: `SparseConsumeQueue.putEndPositionInfo` (store), 5.5.0.
pub(super) fn end_unit() -> [u8; UNIT_BYTES] {
    let mut bytes = [0; UNIT_BYTES];
    BigEndian::write_i64(&mut bytes, -1);
    BigEndian::write_i32(&mut bytes[38..], -1);
    bytes
}

/// The records of one log file, in the order of their offsets.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(super) log: Arc<MappedFile>,
    pub(super) queue: Arc<MappedFile>,
}

impl Segment {
    pub(crate) fn new(log: MappedFile, queue: MappedFile) -> Self {
        Self { log: Arc::new(log), queue: Arc::new(queue) }
    }

    /// Position of the first byte of the log file.
    pub(crate) fn start(&self) -> i64 {
        self.log.start()
    }

    /// How many records there are: the end and what was never written are no units.
    pub(crate) fn count(&self) -> usize {
        unit_count(&self.queue)
    }

    pub(crate) fn unit(&self, index: usize) -> Option<BatchUnit> {
        unit_at(&self.queue, index)
    }

    /// What of the queue is not as the records say: the number of the first such unit.
    pub(crate) fn first_wrong_unit(&self) -> Option<usize> {
        let key = |unit: &BatchUnit| (unit.unit.phy_offset, unit.unit.size, unit.base_offset);
        let mut expected = super::load::units_of(&self.log).enumerate();
        expected
            .find(|(index, unit)| self.unit(*index).as_ref().map(key) != Some(key(unit)))
            .map(|(index, _)| index)
    }

    pub(super) fn units(&self) -> impl Iterator<Item = BatchUnit> {
        (0..self.count()).map_while(|index| self.unit(index))
    }

    pub(super) fn first_offset(&self) -> Option<i64> {
        self.unit(0).map(|unit| unit.base_offset)
    }

    pub(super) fn last_unit(&self) -> Option<BatchUnit> {
        self.unit(self.count().checked_sub(1)?)
    }

    /// Offset behind the last record.
    pub(super) fn end_offset(&self) -> Option<i64> {
        self.last_unit().map(|unit| unit.end_offset())
    }

    /// Index of the first unit that has the message at `offset`, or is behind that.
    pub(super) fn index_of(&self, offset: i64) -> usize {
        self.partition(|unit| unit.end_offset() <= offset)
    }

    /// Index of the first unit of a record that begins behind `offset`.
    pub(super) fn index_behind(&self, offset: i64) -> usize {
        self.partition(|unit| unit.base_offset <= offset)
    }

    /// How many units, from the first on, are `before`.
    fn partition(&self, before: impl Fn(BatchUnit) -> bool) -> usize {
        partition(self.count(), |index| self.unit(index).is_some_and(&before))
    }

    /// Sees to it that the record that `unit` leads to can be read.
    pub(super) fn look_at(&self, unit: &BatchUnit) -> io::Result<()> {
        look_at(&self.log, unit)
    }

    /// The record that `unit` leads to, if it is there and the right one.
    pub(crate) fn record(&self, unit: &BatchUnit) -> Option<RecordView<'_>> {
        record_of(&self.log, unit)
    }
}

/// Units in a queue file from its start on.
pub(super) fn unit_count(queue: &MappedFile) -> usize {
    partition(queue.wrote_position() / UNIT_BYTES, |index| unit_at(queue, index).is_some())
}

pub(super) fn unit_at(queue: &MappedFile, index: usize) -> Option<BatchUnit> {
    let at = index.checked_mul(UNIT_BYTES)?;
    queue.read_in(at, UNIT_BYTES).ok()?;
    BatchUnit::decode(queue.read(at, UNIT_BYTES)?)
}

fn look_at(log: &MappedFile, unit: &BatchUnit) -> io::Result<()> {
    let at = usize::try_from(unit.unit.phy_offset.saturating_sub(log.start()));
    log.read_in(at.unwrap_or(usize::MAX), usize::try_from(unit.unit.size).unwrap_or(0))
}

/// The record in `log` that `unit` leads to, if it is sound and says of itself what the unit says.
pub(super) fn record_of<'a>(log: &'a MappedFile, unit: &BatchUnit) -> Option<RecordView<'a>> {
    let at = usize::try_from(unit.unit.phy_offset.checked_sub(log.start())?).ok()?;
    look_at(log, unit).ok()?;
    let bytes = log.read(at, usize::try_from(unit.unit.size).ok()?)?;
    let record = RecordView::parse(bytes).ok()?;
    let is_right = record.total_bytes() == bytes.len()
        && record.phy_offset() == unit.unit.phy_offset
        && record.queue_offset() == unit.base_offset;
    is_right.then_some(record)
}

/// How many of `0..count`, from the first on, are `before`.
fn partition(count: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
