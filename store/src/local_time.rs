//! The hour on the machine's clock on the wall, which `deleteWhen` and the names of index files mean.
//!
//! Reads the zone's transitions from its TZif file (RFC 8536). Times behind the last transition have its
//! offset: files that leave later transitions to a rule may be an hour off for part of the year.

use std::path::{Path, PathBuf};

use byteorder::{BigEndian, ByteOrder};

const HEADER_BYTES: usize = 44;
const MAGIC: &[u8] = b"TZif";
/// Bytes of a transition time and of a type in the 64-bit part of the file.
const TIME_BYTES: usize = 8;
const TYPE_BYTES: usize = 6;

/// A time zone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TimeZone {
    /// Seconds since 1970 from which an offset holds, and that offset in seconds; in order.
    transitions: Vec<(i64, i32)>,
    /// The offset before the first transition.
    first: i32,
}

impl TimeZone {
    /// The zone that the environment or the system says; UTC when it cannot be found.
    pub(crate) fn local() -> Self {
        let path = match std::env::var("TZ") {
            Ok(name) if !name.is_empty() => {
                Path::new("/usr/share/zoneinfo").join(name.trim_start_matches(':'))
            }
            _ => PathBuf::from("/etc/localtime"),
        };
        std::fs::read(path).ok().and_then(|bytes| Self::parse(&bytes)).unwrap_or_default()
    }

    /// What a clock on the wall shows at `ms` since 1970, as milliseconds since 1970 in UTC.
    pub(crate) fn wall_ms(&self, ms: i64) -> i64 {
        let behind = self.transitions.partition_point(|(from, _)| *from * 1_000 <= ms);
        let offset = behind.checked_sub(1).map_or(self.first, |last| self.transitions[last].1);
        ms.saturating_add(i64::from(offset) * 1_000)
    }

    /// The hour of the day, 0 to 23, at `ms` since 1970.
    pub(crate) fn hour(&self, ms: i64) -> u32 {
        (self.wall_ms(ms).div_euclid(3_600_000)).rem_euclid(24) as u32
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        // The part with 32-bit times comes first, and is skipped.
        let first = Counts::parse(bytes)?;
        let bytes = bytes.get(HEADER_BYTES + first.data_bytes(4)..)?;
        let counts = Counts::parse(bytes)?;
        let data = bytes.get(HEADER_BYTES..)?;
        let (times, rest) = data.split_at_checked(counts.times * TIME_BYTES)?;
        let (indexes, rest) = rest.split_at_checked(counts.times)?;
        let types = rest.get(..counts.types * TYPE_BYTES)?;
        let offset_of = |index: usize| types.get(index * TYPE_BYTES..).map(BigEndian::read_i32);
        let transitions = times
            .chunks_exact(TIME_BYTES)
            .map(BigEndian::read_i64)
            .zip(indexes)
            .map(|(time, index)| Some((time, offset_of(usize::from(*index))?)))
            .collect::<Option<Vec<_>>>()?;
        // Far times would overflow as milliseconds; none of them can be now.
        let transitions =
            transitions.into_iter().filter(|(time, _)| time.checked_mul(1_000).is_some()).collect();
        Some(Self { transitions, first: offset_of(0)? })
    }
}

/// What a header says about the data behind it.
struct Counts {
    is_ut: usize,
    is_std: usize,
    leaps: usize,
    times: usize,
    types: usize,
    chars: usize,
}

impl Counts {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..HEADER_BYTES)?;
        let count = |index: usize| BigEndian::read_u32(&header[20 + 4 * index..]) as usize;
        header.starts_with(MAGIC).then(|| Self {
            is_ut: count(0),
            is_std: count(1),
            leaps: count(2),
            times: count(3),
            types: count(4),
            chars: count(5),
        })
    }

    fn data_bytes(&self, time_bytes: usize) -> usize {
        self.times * (time_bytes + 1)
            + self.types * TYPE_BYTES
            + self.chars
            + self.leaps * (time_bytes + 4)
            + self.is_std
            + self.is_ut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with an empty 32-bit part and the given transitions.
    fn file(first: i32, transitions: &[(i64, i32)]) -> Vec<u8> {
        let header = |times: u32, types: u32| {
            let mut bytes = b"TZif2".to_vec();
            bytes.resize(20, 0);
            for count in [0, 0, 0, times, types, 0] {
                bytes.extend_from_slice(&count.to_be_bytes());
            }
            bytes
        };
        let mut bytes = header(0, 0);
        bytes.extend(header(transitions.len() as u32, transitions.len() as u32 + 1));
        for (time, _) in transitions {
            bytes.extend_from_slice(&time.to_be_bytes());
        }
        bytes.extend((1..=transitions.len()).map(|index| index as u8));
        for offset in std::iter::once(first).chain(transitions.iter().map(|(_, offset)| *offset)) {
            bytes.extend_from_slice(&offset.to_be_bytes());
            bytes.extend_from_slice(&[0, 0]);
        }
        bytes
    }

    #[test]
    fn hour_follows_the_transitions() {
        let zone = TimeZone::parse(&file(0, &[(100_000, 3_600), (200_000, -7_200)])).unwrap();
        assert_eq!(zone.hour(0), 0);
        assert_eq!(zone.hour(99_999_999), 3);
        assert_eq!(zone.hour(100_000_000), 4);
        assert_eq!(zone.hour(200_000_000), 5);
    }

    #[test]
    fn file_cut_anywhere_is_no_zone_and_no_panic() {
        let bytes = file(0, &[(100_000, 3_600)]);
        for cut in 0..bytes.len() {
            assert_eq!(TimeZone::parse(&bytes[..cut]), None, "cut at {cut}");
        }
    }
}
