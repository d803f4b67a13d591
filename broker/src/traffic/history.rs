//! Samples of counts, and the windows made of them.

use std::collections::VecDeque;
use std::sync::Mutex;

use hashbrown::HashMap;
use oxmq_protocol::body::{BrokerStatsData, BrokerStatsItem};

use super::Flow;
use crate::sync::lock;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Messages put into a topic.
    TopicPut,
    /// Messages of a topic given to a group.
    GroupGet,
    /// Messages of a topic that a group sent back.
    SendBack,
    /// Messages put into the broker.
    BrokerPut,
    /// Messages given to consumers.
    BrokerGet,
}

/// Which number of a flow the tools ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Messages,
    Bytes,
}

/// Rounds of sampling between two samples of a window, and how many samples it has: one more than
/// the spans between them.
const WINDOWS: [(u64, usize); 3] = [(1, 7), (60, 7), (360, 25)];
/// One round is ten seconds.
const ROUND_MS: i64 = 10_000;

type Samples = VecDeque<(i64, Flow)>;

#[derive(Debug, Default)]
struct Item {
    windows: [Samples; WINDOWS.len()],
    /// Round of the last sample: what is no longer counted is dropped.
    round: u64,
}

/// Samples of everything that has been counted since the start.
#[derive(Debug, Default)]
pub(crate) struct TrafficHistory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    round: u64,
    items: HashMap<(Kind, Box<str>), Item>,
}

impl TrafficHistory {
    /// Takes the samples that are due every ten seconds. What has no traffic yet has no samples.
    pub(crate) fn sample(
        &self,
        now_ms: i64,
        flows: impl IntoIterator<Item = (Kind, Box<str>, Flow)>,
    ) {
        let mut state = lock(&self.state);
        state.round += 1;
        let round = state.round;
        for (kind, key, flow) in flows {
            if flow.times == 0 {
                continue;
            }
            let item = state.items.entry((kind, key)).or_default();
            item.round = round;
            for (samples, (every, most)) in item.windows.iter_mut().zip(WINDOWS) {
                // Until its first sample a window is empty, by which tools know that they have to
                // look at a shorter one.
                if !round.is_multiple_of(every) {
                    continue;
                }
                if samples.is_empty() {
                    // Nothing had been counted one span ago.
                    let before = now_ms - ROUND_MS * i64::try_from(every).unwrap_or(1);
                    samples.push_back((before, Flow::default()));
                }
                samples.push_back((now_ms, flow));
                if samples.len() > most {
                    samples.pop_front();
                }
            }
        }
        state.items.retain(|_, item| item.round == round);
    }

    /// Messages per second over the last minute.
    pub(crate) fn tps(&self, kind: Kind, key: &str) -> f64 {
        let state = lock(&self.state);
        let item = state.items.get(&(kind, Box::from(key)));
        item.map_or(0.0, |item| window(&item.windows[0], Number::Messages).tps)
    }

    /// What the tools ask for by `name`, such as `TOPIC_PUT_NUMS`, and a key.
    pub(crate) fn view(&self, name: &str, key: &str) -> Option<BrokerStatsData> {
        let (kind, number) = match name {
            "TOPIC_PUT_NUMS" => (Kind::TopicPut, Number::Messages),
            "TOPIC_PUT_SIZE" => (Kind::TopicPut, Number::Bytes),
            "GROUP_GET_NUMS" => (Kind::GroupGet, Number::Messages),
            "GROUP_GET_SIZE" => (Kind::GroupGet, Number::Bytes),
            "SNDBCK_PUT_NUMS" => (Kind::SendBack, Number::Messages),
            "BROKER_PUT_NUMS" => (Kind::BrokerPut, Number::Messages),
            "BROKER_GET_NUMS" => (Kind::BrokerGet, Number::Messages),
            _ => return None,
        };
        let state = lock(&self.state);
        let item = state.items.get(&(kind, Box::from(key)))?;
        let [minute, hour, day] = &item.windows;
        Some(BrokerStatsData {
            stats_minute: window(minute, number),
            stats_hour: window(hour, number),
            stats_day: window(day, number),
        })
    }
}

fn window(samples: &Samples, number: Number) -> BrokerStatsItem {
    let (Some((begin, first)), Some((end, last))) = (samples.front(), samples.back()) else {
        return BrokerStatsItem::default();
    };
    let count = |flow: &Flow| match number {
        Number::Messages => flow.messages,
        Number::Bytes => flow.bytes,
    };
    let sum = count(last).saturating_sub(count(first));
    let times = last.times.saturating_sub(first.times);
    let ms = end - begin;
    BrokerStatsItem {
        sum: i64::try_from(sum).unwrap_or(i64::MAX),
        tps: if ms > 0 { sum as f64 * 1000.0 / ms as f64 } else { 0.0 },
        avgpt: if times > 0 { sum as f64 / times as f64 } else { 0.0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(history: &TrafficHistory, round: i64, flow: Flow) {
        history.sample(round * ROUND_MS, [(Kind::TopicPut, "t".into(), flow)]);
    }

    #[test]
    fn a_minute_is_six_spans_of_ten_seconds() {
        let history = TrafficHistory::default();
        assert_eq!(history.view("TOPIC_PUT_NUMS", "t"), None);
        let mut flow = Flow::default();
        for round in 1..=20 {
            flow.add(30, 600);
            sample(&history, round, flow);
        }
        assert_eq!(history.tps(Kind::TopicPut, "t"), 3.0);
        let minute = history.view("TOPIC_PUT_NUMS", "t").unwrap().stats_minute;
        assert_eq!((minute.sum, minute.tps, minute.avgpt), (180, 3.0, 30.0));
        let minute = history.view("TOPIC_PUT_SIZE", "t").unwrap().stats_minute;
        assert_eq!((minute.sum, minute.tps, minute.avgpt), (3600, 60.0, 600.0));
        for name in ["TOPIC_PUT_LATENCY", "GROUP_GET_NUMS"] {
            assert_eq!(history.view(name, "t"), None);
        }
    }

    #[test]
    fn hours_and_days_are_made_of_their_own_samples() {
        let history = TrafficHistory::default();
        let mut flow = Flow::default();
        for round in 1..=3_600 {
            flow.add(1, 1);
            sample(&history, round, flow);
        }
        let data = history.view("TOPIC_PUT_NUMS", "t").unwrap();
        assert_eq!((data.stats_hour.sum, data.stats_hour.tps), (360, 0.1));
        assert_eq!(data.stats_day.sum, 3_600, "ten hours so far");
    }

    #[test]
    fn a_window_is_empty_until_its_samples_are_due() {
        let history = TrafficHistory::default();
        let mut flow = Flow::default();
        let mut sums = Vec::new();
        for round in 1..=360 {
            flow.add(1, 1);
            sample(&history, round, flow);
            if [1, 59, 60, 359, 360].contains(&round) {
                let data = history.view("TOPIC_PUT_NUMS", "t").unwrap();
                sums.push([data.stats_minute, data.stats_hour, data.stats_day].map(|of| of.sum));
            }
        }
        assert_eq!(sums, [[1, 0, 0], [6, 0, 0], [6, 60, 0], [6, 300, 0], [6, 360, 360]]);
    }

    #[test]
    fn what_is_no_longer_counted_is_forgotten() {
        let history = TrafficHistory::default();
        let mut flow = Flow::default();
        sample(&history, 1, flow);
        assert_eq!(history.view("TOPIC_PUT_NUMS", "t"), None, "nothing came yet");
        flow.add(1, 1);
        sample(&history, 2, flow);
        assert!(history.view("TOPIC_PUT_NUMS", "t").is_some());
        history.sample(30_000, []);
        assert_eq!(history.view("TOPIC_PUT_NUMS", "t"), None);
    }
}
