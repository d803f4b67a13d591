//! How much each group reads from disk, and whether that is too much.
//!
//! With `coldDataFlowControlEnable` a group that has read more than its threshold from disk within five
//! seconds gets no more of it until they are over, so that it does not push what others need out of memory.
//! Thresholds do not adapt by themselves.
//!
//! Reference: `ColdDataCgCtrService` (broker), 5.5.0.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;
use tracing::info;

use crate::clock;
use crate::config::BrokerConfig;
use crate::limits::MAX_COLD_GROUPS;
use crate::sync::lock;
use crate::topic_validator::SYSTEM_GROUP_PREFIX;

/// What is read within this time counts together.
const WINDOW: Duration = Duration::from_secs(5);
/// A group that has read nothing from disk for so long is forgotten.
const KEPT_MS: i64 = 60_000;

/// What a group has read, named as tools show it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    cold_acc: i64,
    create_time_mills: i64,
    last_cold_read_time_mills: i64,
}

#[derive(Debug)]
struct State {
    began: Instant,
    total: i64,
    read: BTreeMap<Box<str>, Read>,
    thresholds: BTreeMap<Box<str>, i64>,
}

/// The figures as tools show them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ColdInfo {
    runtime_table: BTreeMap<Box<str>, Read>,
    config_table: BTreeMap<Box<str>, i64>,
    cg_cold_read_threshold: i64,
    global_cold_read_threshold: i64,
    global_acc: i64,
}

/// Bytes that groups have read from disk.
#[derive(Debug)]
pub(crate) struct ColdReads {
    config: Arc<BrokerConfig>,
    state: Mutex<State>,
}

impl ColdReads {
    pub(crate) fn new(config: Arc<BrokerConfig>) -> Self {
        let state = State {
            began: Instant::now(),
            total: 0,
            read: BTreeMap::new(),
            thresholds: BTreeMap::new(),
        };
        Self { config, state: Mutex::new(state) }
    }

    /// Gives a group a threshold of its own.
    pub(crate) fn set_threshold(&self, group: &str, bytes: i64) {
        let mut state = lock(&self.state);
        if state.thresholds.len() < MAX_COLD_GROUPS || state.thresholds.contains_key(group) {
            info!(group, bytes, "threshold of reads from disk set");
            state.thresholds.insert(group.into(), bytes);
        }
    }

    /// Takes it back.
    pub(crate) fn remove_threshold(&self, group: &str) {
        lock(&self.state).thresholds.remove(group);
    }

    /// Notes what a group was given from disk.
    pub(crate) fn note(&self, group: &str, bytes: usize, now: Instant) {
        if bytes == 0 {
            return;
        }
        let (bytes, now_ms) = (i64::try_from(bytes).unwrap_or(i64::MAX), clock::now_ms());
        let mut state = lock(&self.state);
        state.roll(now, now_ms);
        state.total += bytes;
        if state.read.len() >= MAX_COLD_GROUPS && !state.read.contains_key(group) {
            return;
        }
        let read = state.read.entry(group.into()).or_insert(Read {
            cold_acc: 0,
            create_time_mills: now_ms,
            last_cold_read_time_mills: now_ms,
        });
        read.cold_acc += bytes;
        read.last_cold_read_time_mills = now_ms;
    }

    /// Tells whether a group is to read nothing more from disk for now.
    pub(crate) fn is_too_much(&self, group: &str, now: Instant) -> bool {
        if !self.config.cold_data_flow_control_enable || group.starts_with(SYSTEM_GROUP_PREFIX) {
            return false;
        }
        let mut state = lock(&self.state);
        state.roll(now, clock::now_ms());
        let Some(read) = state.read.get(group) else { return false };
        let threshold = state.thresholds.get(group);
        let threshold = threshold.copied().unwrap_or(self.config.cg_cold_read_threshold);
        read.cold_acc >= threshold || state.total >= self.config.global_cold_read_threshold
    }

    /// What was read, and the thresholds.
    pub(crate) fn info(&self) -> ColdInfo {
        let state = lock(&self.state);
        ColdInfo {
            runtime_table: state.read.clone(),
            config_table: state.thresholds.clone(),
            cg_cold_read_threshold: self.config.cg_cold_read_threshold,
            global_cold_read_threshold: self.config.global_cold_read_threshold,
            global_acc: state.total,
        }
    }
}

impl State {
    fn roll(&mut self, now: Instant, now_ms: i64) {
        if now.saturating_duration_since(self.began) < WINDOW {
            return;
        }
        self.began = now;
        self.total = 0;
        self.read.retain(|_, read| now_ms - read.last_cold_read_time_mills < KEPT_MS);
        self.read.values_mut().for_each(|read| read.cold_acc = 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(enabled: bool) -> ColdReads {
        let mut config = BrokerConfig::default();
        config.cold_data_flow_control_enable = enabled;
        config.cg_cold_read_threshold = 100;
        config.global_cold_read_threshold = 250;
        ColdReads::new(Arc::new(config))
    }

    #[test]
    fn a_group_over_its_threshold_waits_for_the_next_window() {
        let (cold, now) = (reads(true), Instant::now());
        cold.note("g", 99, now);
        assert!(!cold.is_too_much("g", now));
        cold.note("g", 1, now);
        assert!(cold.is_too_much("g", now) && !cold.is_too_much("h", now));
        cold.set_threshold("g", 200);
        assert!(!cold.is_too_much("g", now));
        cold.remove_threshold("g");
        assert!(cold.is_too_much("g", now));
        assert!(!cold.is_too_much("g", now + WINDOW));
    }

    #[test]
    fn all_groups_together_have_a_threshold_too_and_without_the_switch_there_is_none() {
        let now = Instant::now();
        for (enabled, too_much) in [(true, true), (false, false)] {
            let cold = reads(enabled);
            for group in ["a", "b", "c", "CID_RMQ_SYS_x"] {
                cold.note(group, 80, now);
            }
            assert_eq!(cold.is_too_much("a", now), too_much);
            assert!(!cold.is_too_much("CID_RMQ_SYS_x", now));
        }
    }
}
