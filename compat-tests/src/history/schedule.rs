//! What happens when, from a seed alone.

use std::time::Duration;

/// A trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A client's connections end; the number chooses which client.
    Cut(u32),
    /// The official client's connections end.
    CutJava,
    /// A consumer dies without a goodbye.
    CrashConsumer(u32),
    /// A consumer leaves in peace.
    LeaveConsumer(u32),
    /// A consumer joins the first or the second group.
    Join(u32),
    /// A producer dies and another takes its place.
    CrashProducer(u32),
    /// The broker is stopped and started.
    Restart,
    /// The broker is killed and started.
    Kill,
}

/// Numbers that look random (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u32) -> u32 {
        (self.next() % u64::from(end)) as u32
    }
}

/// An endless list of troubles and the pauses before them.
pub(super) struct Schedule(Random);

impl Schedule {
    pub(super) fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }
}

impl Iterator for Schedule {
    type Item = (Duration, Trouble);

    fn next(&mut self) -> Option<Self::Item> {
        let random = &mut self.0;
        let pause = Duration::from_millis(u64::from(200 + random.below(2_300)));
        let which = random.below(64);
        let trouble = match random.below(100) {
            0..25 => Trouble::Cut(which),
            25..30 => Trouble::CutJava,
            30..43 => Trouble::CrashConsumer(which),
            43..56 => Trouble::LeaveConsumer(which),
            56..80 => Trouble::Join(which),
            80..88 => Trouble::CrashProducer(which),
            88..93 => Trouble::Restart,
            _ => Trouble::Kill,
        };
        Some((pause, trouble))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_schedule_and_every_trouble_is_in_it() {
        let take = |seed| Schedule::new(seed).take(500).collect::<Vec<_>>();
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
        let kinds: std::collections::HashSet<_> =
            take(7).iter().map(|(_, trouble)| std::mem::discriminant(trouble)).collect();
        assert_eq!(kinds.len(), 8);
    }
}
