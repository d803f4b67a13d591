//! How much each group reads from disk, and whether that is too much.
//!
//! With `coldDataFlowControlEnable` a group that has read more than its threshold from disk within
//! five seconds gets no more of it until they are over, so that it does not push what others need
//! out of memory. With `coldCtrStrategyEnable` thresholds that no tool has set move by themselves.
//!
//! Reference: `ColdDataCgCtrService` (broker), 5.5.0.

mod adaptive;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;
use tracing::info;

use self::adaptive::Adaptive;
use crate::clock;
use crate::config::{BrokerConfig, BrokerSettings};
use crate::limits::MAX_COLD_GROUPS;
use crate::sync::lock;
use crate::topic_validator::is_system_group;

/// What is read within this time counts together.
const WINDOW: Duration = Duration::from_secs(5);
/// A group that has read nothing from disk for so long is forgotten.
const KEPT_MS: i64 = 60_000;
/// Windows without a read after which more of them change nothing: nothing is remembered for longer.
const MOST_QUIET_WINDOWS: u128 = 20;
/// What follows the name of a group in the table that tools show, if nobody has set its threshold.
const ADAPTIVE: &str = "||adaptive";

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
    adaptive: Adaptive,
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
            adaptive: Adaptive::default(),
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
        state.roll(&self.config, now, now_ms);
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
        if !self.config.cold_data_flow_control_enable || is_system_group(group) {
            return false;
        }
        let mut state = lock(&self.state);
        state.roll(&self.config, now, clock::now_ms());
        let Some(read) = state.read.get(group) else { return false };
        let threshold = state.threshold(&self.config, group);
        read.cold_acc >= threshold || state.total >= self.config.global_cold_read_threshold
    }

    /// What was read, and the thresholds.
    pub(crate) fn info(&self, now: Instant) -> ColdInfo {
        let mut state = lock(&self.state);
        state.roll(&self.config, now, clock::now_ms());
        let mut config_table = state.thresholds.clone();
        let adaptive = state.adaptive.thresholds();
        config_table
            .extend(adaptive.map(|(group, bytes)| (format!("{group}{ADAPTIVE}").into(), bytes)));
        ColdInfo {
            runtime_table: state.read.clone(),
            config_table,
            cg_cold_read_threshold: self.config.cg_cold_read_threshold,
            global_cold_read_threshold: self.config.global_cold_read_threshold,
            global_acc: state.total,
        }
    }
}

impl State {
    /// Closes the windows that are over.
    fn roll(&mut self, settings: &BrokerSettings, now: Instant, now_ms: i64) {
        let passed = now.saturating_duration_since(self.began).as_millis() / WINDOW.as_millis();
        for _ in 0..passed.min(MOST_QUIET_WINDOWS) {
            self.began = now;
            self.close_window(settings, now_ms);
        }
    }

    fn close_window(&mut self, settings: &BrokerSettings, now_ms: i64) {
        let adapts = settings.cold_ctr_strategy_enable;
        let total = std::mem::take(&mut self.total);
        if adapts {
            self.adaptive.note_window(settings, total);
        }
        for (group, mut read) in std::mem::take(&mut self.read) {
            if now_ms - read.last_cold_read_time_mills >= KEPT_MS {
                self.adaptive.forget(&group);
                continue;
            }
            let threshold = self.threshold(settings, &group);
            let may_rise = adapts
                && total <= settings.global_cold_read_threshold
                && !self.thresholds.contains_key(&group);
            if may_rise && read.cold_acc >= threshold {
                self.adaptive.raise(settings, &group, threshold);
            }
            read.cold_acc = 0;
            self.read.insert(group, read);
        }
        if adapts {
            self.adaptive.lower(settings, total, |group| self.thresholds.contains_key(group));
        } else {
            self.adaptive.clear();
        }
    }

    /// What a tool has set, else what has become of it, else what every group may.
    fn threshold(&self, settings: &BrokerSettings, group: &str) -> i64 {
        let adaptive =
            || settings.cold_ctr_strategy_enable.then(|| self.adaptive.threshold(group)).flatten();
        let set = self.thresholds.get(group).copied();
        set.or_else(adaptive).unwrap_or(settings.cg_cold_read_threshold)
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
            for group in ["a", "b", "CID_RMQ_SYS_x", "TOOLS_CONSUMER"] {
                cold.note(group, 80, now);
            }
            assert_eq!(cold.is_too_much("a", now), too_much);
            assert!(!cold.is_too_much("CID_RMQ_SYS_x", now));
            assert!(!cold.is_too_much("TOOLS_CONSUMER", now));
        }
    }

    #[test]
    fn a_group_that_wants_more_gets_more_while_there_is_room_unless_a_tool_has_set_how_much() {
        let mut config = BrokerConfig::default();
        config.cold_data_flow_control_enable = true;
        config.cold_ctr_strategy_enable = true;
        config.cg_cold_read_threshold = 100;
        config.global_cold_read_threshold = 10_000;
        let (cold, start) = (ColdReads::new(Arc::new(config)), Instant::now());
        cold.set_threshold("set", 100);
        for window in 0..10 {
            let now = start + WINDOW * window;
            cold.note("g", 120, now);
            cold.note("set", 120, now);
            assert!(cold.is_too_much("g", now), "window {window}");
        }
        let now = start + WINDOW * 10;
        cold.note("g", 120, now);
        cold.note("set", 120, now);
        assert!(!cold.is_too_much("g", now) && cold.is_too_much("set", now));
        let info = serde_json::to_value(cold.info(now)).unwrap();
        assert_eq!(info["configTable"], serde_json::json!({"g||adaptive": 150, "set": 100}));
    }
}
