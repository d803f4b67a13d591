//! Where a group stands in the bits that are kept of the filters a message matches.
//!
//! Such bits are written into extended units of queues, for the reference; here filters are
//! evaluated when messages are read. The positions stand in `consumerFilter.json`, which the
//! reference drops as a whole when one is missing.
//!
//! Reference: `BloomFilter`, `BitsArray` (filter), 5.5.0.

use oxmq_protocol::body::BloomFilterData;

/// Size of a Bloom filter and number of its hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bloom {
    bits: i32,
    hashes: i32,
}

impl Bloom {
    /// A filter for `groups` entries that errs in `error_percent` of all cases, both held in the
    /// range that makes sense.
    pub(super) fn new(error_percent: i32, groups: i32) -> Self {
        let error_rate = f64::from(error_percent.clamp(1, 99)) / 100.0;
        // As the reference computes it, since its rounding shows in the file.
        let log = |base: f64, value: f64| value.ln() / base.ln();
        let hashes = log(0.5, error_rate).ceil() as i32;
        let groups = f64::from(groups.clamp(1, 1 << 20));
        let bits = (groups * log(2.0, 1.0 / error_rate) * log(2.0, std::f64::consts::E)).ceil();
        Self { bits: (8.0 * (bits / 8.0).ceil()) as i32, hashes: hashes.max(1) }
    }

    /// The bits of a group on a topic.
    pub(super) fn data(&self, group: &str, topic: &str) -> BloomFilterData {
        let hash = murmur3_low(format!("{group}#{topic}").as_bytes());
        let (first, second) = (hash as i32, (hash >> 32) as i32);
        let position = |index: i32| {
            let combined = first.wrapping_add(index.wrapping_mul(second));
            (if combined < 0 { !combined } else { combined }) % self.bits
        };
        BloomFilterData { bit_num: self.bits, bit_pos: (1..=self.hashes).map(position).collect() }
    }

    /// Bits of no group.
    pub(super) fn no_bits(&self) -> Vec<u8> {
        vec![0; self.bits as usize / 8]
    }

    /// Whether `data` was made by a filter like this.
    pub(super) fn made(&self, data: Option<&BloomFilterData>) -> bool {
        data.is_some_and(|data| {
            data.bit_num == self.bits && data.bit_pos.len() == self.hashes as usize
        })
    }
}

/// Sets the bits of a group; what is not in `bits` is left out.
pub(super) fn set(bits: &mut [u8], data: &BloomFilterData) {
    for &position in &data.bit_pos {
        if let Some(byte) = usize::try_from(position).ok().and_then(|at| bits.get_mut(at / 8)) {
            *byte |= 1 << (position % 8);
        }
    }
}

/// Whether all bits of a group are set.
pub(super) fn has(bits: &[u8], data: &BloomFilterData) -> bool {
    data.bit_pos.iter().all(|&position| {
        let byte = usize::try_from(position).ok().and_then(|at| bits.get(at / 8));
        byte.is_some_and(|byte| byte & 1 << (position % 8) != 0)
    })
}

/// The bits as tools show them: the last one first, in lines.
pub(crate) fn text(bits: &[u8]) -> String {
    let mut text = String::new();
    for (index, byte) in bits.iter().enumerate().rev() {
        text.push_str(&format!("{byte:08b}"));
        if index % 8 == 0 {
            text.push('\n');
        }
    }
    text
}

/// The lower half of Murmur3 with 128 bits and no seed.
fn murmur3_low(data: &[u8]) -> u64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    // The one place where bytes are least significant first: the algorithm says so.
    let word =
        |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |word, &byte| word << 8 | u64::from(byte));
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let mut blocks = data.chunks_exact(16);
    for block in &mut blocks {
        h1 ^= mix1(word(&block[..8]));
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix2(word(&block[8..]));
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let tail = blocks.remainder();
    let (low, high) = tail.split_at(tail.len().min(8));
    h2 ^= mix2(word(high));
    h1 ^= mix1(word(low));
    h1 ^= data.len() as u64;
    h2 ^= data.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2))
}

fn finish(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ h >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_murmur3() {
        // Published values of the algorithm.
        assert_eq!(murmur3_low(b""), 0);
        assert_eq!(murmur3_low(b"hello"), 0xcbd8_a7b3_41bd_9b02);
        assert_eq!(
            murmur3_low(b"The quick brown fox jumps over the lazy dog"),
            0xe34b_bc7b_bc07_1b6c
        );
    }

    #[test]
    fn bits_of_a_group_are_set_and_found() {
        let data = BloomFilterData { bit_num: 16, bit_pos: vec![1, 8, 15] };
        let mut bits = vec![0; 2];
        assert!(!has(&bits, &data));
        set(&mut bits, &data);
        assert_eq!(bits, [0b10, 0b1000_0001]);
        assert!(has(&bits, &data));
        assert!(!has(&[0b10, 1], &data));
        assert_eq!(text(&bits), "1000000100000010\n");
        let beyond = BloomFilterData { bit_num: 16, bit_pos: vec![16, -1] };
        set(&mut bits, &beyond);
        assert!(!has(&bits, &beyond), "a damaged file may have any number");
    }

    #[test]
    fn default_filter_has_the_size_of_the_reference() {
        let data = Bloom::new(20, 32).data("group", "topic");
        assert_eq!((data.bit_num, data.bit_pos.len()), (112, 3));
        assert!(data.bit_pos.iter().all(|bit| (0..112).contains(bit)));
    }
}
