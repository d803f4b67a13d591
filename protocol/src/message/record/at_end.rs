//! Properties of a record that is like another one.

use byteorder::{BigEndian, ByteOrder};

/// How many bytes longer or shorter than those of the record before it properties are looked for.
const LENGTH_SLACK: usize = 8;

/// As [`super::properties_of_record`] where the record has this `topic`, of less than 256 bytes, and about
/// `properties_bytes` bytes of properties, as the one before it in its queue: its end tells as much, and its
/// head, which lies apart, is not read. Nothing where the end does not tell.
#[inline]
pub fn properties_at_end<'a>(
    bytes: &'a [u8],
    topic: &[u8],
    properties_bytes: usize,
) -> Option<&'a [u8]> {
    let is_it = |length: &usize| {
        let before = bytes.len().checked_sub(length + 2).filter(|at| *at > topic.len())?;
        let (before, length_text) = bytes[..before + 2].split_at(before);
        let topic_at = before.len() - topic.len();
        let fits = usize::from(BigEndian::read_u16(length_text)) == *length
            && usize::from(before[topic_at - 1]) == topic.len()
            && &before[topic_at..] == topic;
        fits.then_some(())
    };
    let near = (1..=LENGTH_SLACK)
        .flat_map(|by| [properties_bytes + by, properties_bytes.saturating_sub(by)]);
    let length =
        std::iter::once(properties_bytes).chain(near).find(|length| is_it(length).is_some())?;
    Some(&bytes[bytes.len() - length..])
}
