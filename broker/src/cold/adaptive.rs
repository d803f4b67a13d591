//! Thresholds that move by themselves: raised for groups that want more while the disk is not busy,
//! and lowered again when it is.
//!
//! Reference: `PIDAdaptiveColdCtrStrategy`, `SimpleColdCtrStrategy` and `ColdDataCgCtrService` (broker), 5.5.0.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use crate::config::BrokerSettings;

/// Windows that decide together.
const REMEMBERED: usize = 10;
/// Weights of the last window, of all that are remembered, and of the change between the last two.
const PROPORTIONAL: f64 = 0.5;
const INTEGRAL: f64 = 0.3;
const DIFFERENTIAL: f64 = 0.2;
/// Part of what all groups may read that they are meant to.
const AIMED_AT: f64 = 0.8;
const RAISE: f64 = 1.5;
const LOWER: f64 = 0.8;
/// Groups whose threshold is lowered after one window, those with the highest first.
const LOWERED_AT_ONCE: usize = 3;

/// Thresholds of groups, as they have become.
#[derive(Debug, Default)]
pub(super) struct Adaptive {
    thresholds: BTreeMap<Box<str>, i64>,
    /// Bytes that were left in each of the last windows, the latest last.
    left: VecDeque<i64>,
}

impl Adaptive {
    pub(super) fn threshold(&self, group: &str) -> Option<i64> {
        self.thresholds.get(group).copied()
    }

    pub(super) fn thresholds(&self) -> impl Iterator<Item = (&str, i64)> {
        self.thresholds.iter().map(|(group, bytes)| (&**group, *bytes))
    }

    /// Notes what all groups have read in a window that is over.
    pub(super) fn note_window(&mut self, settings: &BrokerSettings, total: i64) {
        let aim = scaled(settings.global_cold_read_threshold, AIMED_AT);
        self.left.push_back(aim.saturating_sub(total));
        if self.left.len() > REMEMBERED {
            self.left.pop_front();
        }
    }

    /// Gives a group more that has read up to its threshold.
    pub(super) fn raise(&mut self, settings: &BrokerSettings, group: &str, threshold: i64) {
        if !settings.use_pid_cold_ctr_strategy || self.tendency() > 0.0 {
            self.thresholds.insert(group.into(), scaled(threshold, RAISE));
        }
    }

    /// Gives those that have most less, if all together have read too much.
    pub(super) fn lower(
        &mut self,
        settings: &BrokerSettings,
        total: i64,
        is_fixed: impl Fn(&str) -> bool,
    ) {
        let too_much = if settings.use_pid_cold_ctr_strategy {
            self.tendency() < 0.0
        } else {
            total > settings.global_cold_read_threshold
        };
        if !too_much {
            return;
        }
        let mut highest: Vec<_> =
            self.thresholds.iter_mut().filter(|(group, _)| !is_fixed(group)).collect();
        highest.sort_by_key(|(_, bytes)| Reverse(**bytes));
        for (_, bytes) in highest.into_iter().take(LOWERED_AT_ONCE) {
            *bytes = scaled(*bytes, LOWER).max(settings.cg_cold_read_threshold);
        }
    }

    /// Forgets a group that reads nothing from disk any more.
    pub(super) fn forget(&mut self, group: &str) {
        self.thresholds.remove(group);
    }

    /// Forgets all thresholds.
    pub(super) fn clear(&mut self) {
        self.thresholds.clear();
    }

    /// Whether there is more to read (above zero) or less; nothing before enough windows are over.
    fn tendency(&self) -> f64 {
        if self.left.len() < REMEMBERED {
            return 0.0;
        }
        let (last, before) = (self.left[REMEMBERED - 1] as f64, self.left[REMEMBERED - 2] as f64);
        let all: f64 = self.left.iter().map(|left| *left as f64).sum();
        PROPORTIONAL * last + INTEGRAL * all + DIFFERENTIAL * (last - before)
    }
}

fn scaled(bytes: i64, by: f64) -> i64 {
    (bytes as f64 * by) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pid: bool) -> BrokerSettings {
        BrokerSettings {
            use_pid_cold_ctr_strategy: pid,
            cg_cold_read_threshold: 100,
            global_cold_read_threshold: 1_000,
            ..BrokerSettings::default()
        }
    }

    #[test]
    fn the_last_ten_windows_decide_whether_thresholds_rise_or_fall() {
        let (settings, mut adaptive) = (settings(true), Adaptive::default());
        for _ in 0..9 {
            adaptive.note_window(&settings, 300);
        }
        adaptive.raise(&settings, "g", 100);
        assert_eq!(adaptive.threshold("g"), None, "too few windows");
        adaptive.note_window(&settings, 300);
        adaptive.raise(&settings, "g", 100);
        assert_eq!(adaptive.threshold("g"), Some(150));
        // 0.5 * -2 200 + 0.3 * (9 * 500 - 2 200) + 0.2 * -2 700
        adaptive.note_window(&settings, 3_000);
        adaptive.raise(&settings, "g", 150);
        assert_eq!(adaptive.threshold("g"), Some(150), "no rise, although the sum is above zero");
        adaptive.lower(&settings, 0, |_| false);
        assert_eq!(adaptive.threshold("g"), Some(120));
        adaptive.lower(&settings, 0, |_| false);
        assert_eq!(adaptive.threshold("g"), Some(100), "not below what every group may");
    }

    #[test]
    fn without_memory_the_last_window_decides_and_the_highest_are_lowered_first() {
        let (settings, mut adaptive) = (settings(false), Adaptive::default());
        for (group, bytes) in [("a", 1_000), ("b", 400), ("c", 600), ("d", 800), ("fixed", 9_000)] {
            adaptive.raise(&settings, group, bytes);
        }
        let before: Vec<_> = adaptive.thresholds().map(|(_, bytes)| bytes).collect();
        assert_eq!(before, [1_500, 600, 900, 1_200, 13_500]);
        adaptive.lower(&settings, 1_000, |_| false);
        adaptive.lower(&settings, 1_001, |group| group == "fixed");
        let after: Vec<_> = adaptive.thresholds().map(|(_, bytes)| bytes).collect();
        assert_eq!(after, [1_200, 600, 720, 960, 13_500]);
    }
}
