//! What the fuzz targets of `store/fuzz` do with an input: take it for a part of a store, use what
//! is read of it, and hold on to what must be so.
//!
//! Tests of this module run each of them on mutated inputs, on the stable compiler.

#![allow(missing_docs, clippy::expect_used)]

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use oxmq_protocol::message::properties;

use crate::checkpoint::CheckpointValues;
use crate::commit_log::{Damage, RecordCheck, record_at, scan};
use crate::consume_queue::{BatchUnit, ExtendedUnit, QueueKind, UNIT_BYTES, Unit, position_of};
use crate::delay_level::DelayLevels;
use crate::fs::Fs;
use crate::index::IndexGeometry;
use crate::index::feed::Entry;
use crate::index::file::{IndexFile, Lookup};
use crate::index::{for_each_hash, for_each_key_hash};
use crate::mapped_file::MappedFile;
use crate::message_store::{batch_unit, fuzz_names, light_places, tags_code_of_record};

/// A geometry with which an input of some hundred bytes is a whole index file.
const GEOMETRY: IndexGeometry = IndexGeometry { slots: 5, entries: 12 };

/// Most names of light queues in a kilobyte.
const MAX_NAMES: usize = 1024 / 6;

/// A log file, which a recovery scans.
pub fn record(input: &[u8], dir: &Path) {
    if input.is_empty() {
        return;
    }
    let path = dir.join("00000000000000000000");
    std::fs::write(&path, input).expect("a temporary file can be written");
    let file = MappedFile::open_read_only(&path, 0, u64::MAX).expect("it can be mapped");
    let files = [Arc::new(file)];
    let delay_levels = DelayLevels::parse("1s 5s").expect("two levels");
    for check in [RecordCheck::Lengths, RecordCheck::BodyCrc, RecordCheck::PropertyCrc] {
        let mut end = 0;
        let stop = scan(&files, 0, check, |record, at| {
            assert!(at >= end, "records overlap: {at} < {end}");
            end = at + record.total_bytes() as i64;
            assert!(end <= input.len() as i64);
            assert!(record_at(&files, at).is_some_and(|again| again.bytes() == record.bytes()));
            let size = record.total_bytes() as i32;
            let tags_code = tags_code_of_record(record, &delay_levels);
            let unit = Unit { phy_offset: at, size, tags_code };
            let unit = batch_unit(record, unit);
            assert!(unit.count > 0);
            assert!(light_places(record).iter().all(|(_, offset)| *offset >= 0));
            for_each_key_hash(record, |_| ());
            Ok::<_, Infallible>(())
        });
        let Ok(stop) = stop;
        assert!((0..=input.len() as i64).contains(&stop.end));
        let is_sound = |damage: &Damage| damage.from < damage.to && damage.to <= stop.end;
        assert!(stop.damaged.iter().all(is_sound), "{stop:?}");
    }
}

/// Units of queues of all kinds, and extended ones.
pub fn queue_unit(input: &[u8]) {
    for kind in QueueKind::ALL {
        let units = kind.decode_all(input).count();
        assert_eq!(units, input.len() / kind.unit_bytes());
    }
    for bytes in input.as_chunks::<UNIT_BYTES>().0 {
        let unit = Unit::decode(bytes);
        assert_eq!(unit.encode(), *bytes);
        assert!(!unit.is_valid() || unit.end() >= unit.phy_offset);
        assert_eq!(position_of(unit.tags_code).is_some(), unit.has_extended_address());
    }
    if let Some(unit) = BatchUnit::decode(input) {
        assert_eq!(BatchUnit::decode(&unit.encode()), Some(unit));
        assert!(unit.end_offset() > unit.base_offset);
    }
    if let Some(unit) = ExtendedUnit::decode(input) {
        assert!(unit.encoded_bytes() <= input.len());
        assert_eq!(ExtendedUnit::decode(&input[..unit.encoded_bytes()]), Some(unit));
    }
}

/// An index file: it is searched, and added to.
pub fn index_head(input: &[u8], dir: &Path) {
    let path = dir.join("20260101000000000");
    let mut bytes = vec![0; GEOMETRY.file_bytes() as usize];
    let count = input.len().min(bytes.len());
    bytes[..count].copy_from_slice(&input[..count]);
    std::fs::write(&path, bytes).expect("a temporary file can be written");
    let fs = Fs::default();
    let mut file = IndexFile::open(&fs, &path, GEOMETRY).expect("it has the right length");
    let _ = file.is_sound(i64::MAX);
    let mut found = Vec::new();
    for hash in [0, 1, 2, 3, 4, i32::MIN, i32::MAX] {
        let lookup = Lookup { hash, begin_ms: i64::MIN, end_ms: i64::MAX, at_most: 64 };
        file.find(&lookup, &mut found).expect("it can be read");
        assert!(found.len() <= 7 * GEOMETRY.entries as usize, "a chain has no end");
    }
    let entries: Vec<_> = (0..20)
        .map(|at| Entry { hash: at, phy_offset: i64::MAX - 20 + i64::from(at), timestamp_ms: 9 })
        .collect();
    let left = file.put_all(&fs, &entries).expect("it is mapped");
    assert!(left.len() <= entries.len());
    // Entries of records before the newest are in the file already, so that it may be full without any left.
    assert!(file.is_full() || left.is_empty());
}

/// A checkpoint.
pub fn checkpoint(input: &[u8]) {
    let Some(values) = CheckpointValues::read(input) else {
        assert!(input.len() < 40);
        return;
    };
    assert_eq!(values.encode(), input[..40]);
    assert!(values.min_timestamp() >= 0);
}

/// The properties of a message, as the store reads them.
pub fn properties(input: &[u8]) {
    for_each_hash("topic", input, 0, |_| ());
    let Some(names) = fuzz_names(input) else {
        return;
    };
    let (names, with_room, without) = names;
    assert!(names <= MAX_NAMES.max(input.len()));
    let offsets = properties::property_str(&with_room, properties::INNER_MULTI_QUEUE_OFFSET);
    assert_eq!(offsets.map(|offsets| offsets.split(',').count()), Some(names));
    assert_eq!(properties::property(&without, properties::INNER_MULTI_QUEUE_OFFSET), None);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use oxmq_protocol::message::{EncodeOptions, Message, encode_record, record};

    use super::*;

    /// Inputs of each target; more with `STORE_FUZZ_INPUTS`.
    const INPUTS: u64 = 3_000;
    const MAX_INPUT_BYTES: usize = 4096;
    /// Bytes that mean something somewhere.
    const TELLING: [&[u8]; 12] = [
        &[0; 8],
        &[0xff; 8],
        &[0x7f, 0xff, 0xff, 0xff],
        &[0x80, 0, 0, 0],
        &[0xda, 0xa3, 0x20, 0xa7],
        &[0xcb, 0xd4, 0x31, 0x94],
        b"\x01",
        b"\x02",
        b",",
        b"%LMQ%",
        b"INNER_MULTI_DISPATCH\x01%LMQ%a,%LMQ%b\x02",
        b"INNER_MULTI_QUEUE_OFFSET\x011,2\x02",
    ];

    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 16) as usize % limit
        }
    }

    fn run(corpus: &[Vec<u8>], target: impl Fn(&[u8])) {
        let inputs = std::env::var("STORE_FUZZ_INPUTS").map_or(INPUTS, |n| n.parse().unwrap());
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        corpus.iter().for_each(|input| target(input));
        for _ in 0..inputs {
            let mut input = corpus[random.below(corpus.len())].clone();
            for _ in 0..=random.below(4) {
                let at = random.below(input.len() + 1);
                match random.below(6) {
                    0 if at < input.len() => input[at] ^= 1 << random.below(8),
                    1 if at < input.len() => input[at] = random.below(256) as u8,
                    2 => input.truncate(at),
                    3 => drop(input.drain(at..(at + random.below(8)).min(input.len()))),
                    _ => {
                        let telling = TELLING[random.below(TELLING.len())];
                        let end = (at + random.below(2) * telling.len()).min(input.len());
                        input.splice(at..end, telling.iter().copied());
                    }
                }
            }
            input.truncate(MAX_INPUT_BYTES);
            target(&input);
        }
    }

    fn records() -> Vec<u8> {
        let mut bytes = Vec::new();
        for append_property_crc in [false, true, false] {
            let message = Message {
                properties: b"KEYS\x01a b\x02INNER_MULTI_DISPATCH\x01%LMQ%a\x02",
                ..Message::new("t", 1, b"body")
            };
            let options = EncodeOptions { append_property_crc, ..EncodeOptions::default() };
            let at = bytes.len();
            encode_record(&message, &options, &mut bytes).unwrap();
            record::patch(&mut bytes[at..], 0, at as i64, 5);
            if append_property_crc {
                record::seal_property_crc(&mut bytes[at..]);
            }
        }
        bytes.extend(record::blank_head(64));
        bytes.resize(bytes.len() + 56, 0);
        bytes
    }

    #[test]
    fn no_log_file_makes_a_scan_panic() {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        run(&[records(), vec![0; 200]], |input| super::record(input, dir.path()));
    }

    #[test]
    fn no_unit_makes_a_reader_panic() {
        let unit = Unit { phy_offset: 5, size: 100, tags_code: i64::MIN + 40 };
        let batch = BatchUnit { unit, store_timestamp_ms: 5, base_offset: 7, count: 3 };
        let corpus = [unit.encode().repeat(3), batch.encode().to_vec(), vec![0, 22, 9, 0, 2, 1]];
        run(&corpus, queue_unit);
    }

    #[test]
    fn no_index_file_makes_a_lookup_panic_or_run_on() {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let path = dir.path().join("20251231000000000");
        let fs = Fs::default();
        let mut file = IndexFile::create(&fs, &path, GEOMETRY).unwrap();
        for hash in 0..8 {
            file.put(&fs, hash % 3, i64::from(hash) * 100, 1_000).unwrap();
        }
        drop(file);
        let whole = std::fs::read(path).unwrap();
        run(&[whole, vec![0; 40]], |input| index_head(input, dir.path()));
    }

    #[test]
    fn no_checkpoint_and_no_properties_make_a_reader_panic() {
        run(&[vec![0; 40], vec![0x7f; 48]], checkpoint);
        let text = [TELLING[10], TELLING[11], b"KEYS\x01a b\x02TAGS\x01t\x02"].concat();
        run(&[text, b"DELAY\x013\x02".to_vec()], properties);
    }
}
