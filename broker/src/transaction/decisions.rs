//! Which half messages are decided: what is known of the half queue from its first undecided message on.

use std::collections::VecDeque;

use hashbrown::{HashMap, HashSet};

/// Decisions by offset in the half queue: one bit for each, and what is under way.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    /// Everything before it is over.
    low: i64,
    /// Offset of the first bit; a multiple of 64, not after `low`.
    base: i64,
    /// One bit for each offset from `base` on: whether it is over.
    words: VecDeque<u64>,
    /// Offsets that a producer's decision is being carried out on.
    deciding: HashSet<i64>,
    /// Newest copy of a half message that was put back, by unique key.
    copies: HashMap<Box<str>, i64>,
}

/// Who may carry out a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The caller, on the message at this offset.
    Won(i64),
    /// Nobody: there was a decision before.
    Lost,
}

impl Decisions {
    /// Knows of no decision on `low` and what follows.
    pub(super) fn from(low: i64) -> Self {
        Self { low, base: low & !63, ..Self::default() }
    }

    /// Everything before this offset is over.
    pub(super) fn low(&self) -> i64 {
        self.low
    }

    /// Whether nothing more is to be done about the message.
    pub(super) fn is_over(&self, offset: i64) -> bool {
        if offset < self.low {
            return true;
        }
        let (word, bit) = self.place(offset);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Whether a decision on the message is being carried out.
    pub(super) fn is_deciding(&self, offset: i64) -> bool {
        self.deciding.contains(&offset)
    }

    /// Lets the first decision through. It may name a copy of the message that was put back since.
    pub(super) fn claim(&mut self, offset: i64, unique_key: Option<&str>) -> Claim {
        let newest = match unique_key {
            Some(key) if !self.copies.is_empty() => self.copies.get(key).copied(),
            _ => None,
        };
        let offset = newest.unwrap_or(offset);
        if self.is_over(offset) || !self.deciding.insert(offset) {
            return Claim::Lost;
        }
        Claim::Won(offset)
    }

    /// Gives a claim back: it could not be carried out.
    pub(super) fn release(&mut self, offset: i64) {
        self.deciding.remove(&offset);
    }

    /// Notes that the message is decided.
    pub(super) fn finish(&mut self, offset: i64, unique_key: Option<&str>) {
        self.deciding.remove(&offset);
        self.set_over(offset);
        if let Some(key) = unique_key
            && self.copies.get(key).is_some_and(|newest| *newest <= offset)
        {
            self.copies.remove(key);
        }
    }

    /// Notes that a copy of the message at `from` stands for it from now on.
    pub(super) fn moved(&mut self, unique_key: Option<&str>, from: i64, to: i64) {
        self.set_over(from);
        if let Some(key) = unique_key {
            self.copies.insert(key.into(), to);
        }
    }

    /// Notes that a message is a copy, and that nothing is known about its original.
    pub(super) fn found_copy(&mut self, unique_key: &str, offset: i64) {
        if let Some(older) = self.copies.insert(unique_key.into(), offset) {
            self.set_over(older);
        }
    }

    /// Notes that nothing more is to be done about the message.
    pub(super) fn set_over(&mut self, offset: i64) {
        if offset < self.low {
            return;
        }
        let (word, bit) = self.place(offset);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    /// Forgets what is before `low`, which is over.
    pub(super) fn advance(&mut self, low: i64) {
        self.low = self.low.max(low);
        while self.base + 64 <= self.low {
            self.words.pop_front();
            self.base += 64;
            if self.words.is_empty() {
                self.base = self.low & !63;
            }
        }
    }

    /// Passes over what is over, up to the first message that is not.
    pub(super) fn skip_over(&mut self) {
        let mut low = self.low;
        while self.is_over(low) {
            low += 1;
        }
        self.advance(low);
    }

    /// Everything from `low` on that is over.
    pub(super) fn over_from_low(&self) -> impl Iterator<Item = i64> {
        let end = self.base + 64 * self.words.len() as i64;
        (self.low..end).filter(|offset| self.is_over(*offset))
    }

    fn place(&self, offset: i64) -> (usize, u64) {
        let at = (offset - self.base).unsigned_abs();
        ((at / 64) as usize, 1 << (at % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_decision_is_let_through() {
        let mut decisions = Decisions::from(100);
        assert_eq!(decisions.claim(99, None), Claim::Lost);
        assert_eq!(decisions.claim(100, None), Claim::Won(100));
        assert_eq!(decisions.claim(100, None), Claim::Lost);
        assert!(decisions.is_deciding(100) && !decisions.is_over(100));
        decisions.release(100);
        assert_eq!(decisions.claim(100, None), Claim::Won(100));
        decisions.finish(100, None);
        assert!(decisions.is_over(100) && !decisions.is_over(101));
        assert_eq!(decisions.claim(100, None), Claim::Lost);
    }

    #[test]
    fn decision_on_a_message_that_was_put_back_counts_for_its_copy() {
        let mut decisions = Decisions::from(0);
        decisions.moved(Some("key"), 0, 7);
        decisions.moved(Some("key"), 7, 9);
        decisions.advance(8);
        assert_eq!(decisions.claim(0, Some("key")), Claim::Won(9));
        assert_eq!(decisions.claim(9, Some("key")), Claim::Lost);
        decisions.finish(9, Some("key"));
        assert!(decisions.copies.is_empty());
        for offset in [0, 7, 9] {
            assert_eq!(decisions.claim(offset, Some("key")), Claim::Lost, "{offset}");
        }
        assert_eq!(decisions.claim(8, Some("other")), Claim::Won(8));
    }

    #[test]
    fn knowledge_is_kept_while_the_beginning_moves_on() {
        let mut decisions = Decisions::from(5);
        for offset in [5, 63, 64, 300, 1000] {
            decisions.set_over(offset);
        }
        for low in [6, 64, 65, 299, 300, 301, 999] {
            decisions.advance(low);
            assert_eq!(decisions.low(), low);
            assert!(decisions.is_over(low - 1) && decisions.is_over(1000));
            assert!(!decisions.is_over(1001) && !decisions.is_over(1 << 40));
        }
        decisions.set_over(1_001);
        decisions.set_over(1_003);
        decisions.advance(1_000);
        assert!(decisions.over_from_low().eq([1_000, 1_001, 1_003]));
        decisions.skip_over();
        assert_eq!(decisions.low(), 1_002);
        assert!(decisions.over_from_low().eq([1_003]));
        decisions.advance(100_000);
        decisions.skip_over();
        assert_eq!((decisions.low(), decisions.over_from_low().count()), (100_000, 0));
        assert!(!decisions.is_over(100_000) && decisions.words.is_empty());
        decisions.set_over(100_001);
        assert!(decisions.is_over(100_001) && !decisions.is_over(100_002));
    }
}
