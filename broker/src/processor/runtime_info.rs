//! `GET_BROKER_RUNTIME_INFO` (28).
//!
//! Reference: `AdminBrokerProcessor.prepareRuntimeInfo` (broker), `StoreStatsService` (store), 5.5.0.

use std::collections::BTreeMap;
use std::sync::Arc;

use oxmq_protocol::body::KVTable;
use oxmq_protocol::version;
use oxmq_remoting::{RequestCount, RequestCounters};
use oxmq_store::{DiskSpace, MessageStore};

use super::{Answer, success_with};
use crate::broker_stats::{BrokerStats, Totals};
use crate::clock::now_ms;
use crate::config::BrokerConfig;
use crate::delays::Delays;
use crate::in_memory::InMemory;
use crate::transaction::TransactionService;
use crate::watch::Figures;

/// Pools of the reference that tools ask about. Requests wait in no queue here.
const POOLS: [&str; 5] = ["send", "pull", "litePull", "query", "ack"];

/// Span of the timer's rates.
const TIMER_RATE_SECONDS: usize = 10;

/// Tells tools how the broker is doing.
///
/// Every key that an exporter parses without looking whether it is there is there.
#[derive(Debug)]
pub(crate) struct RuntimeInfo {
    config: Arc<BrokerConfig>,
    stats: Arc<BrokerStats>,
    delays: Delays,
    transactions: Arc<TransactionService>,
    watch: Arc<Figures>,
    store: Arc<MessageStore>,
    requests: Arc<RequestCounters>,
}

impl RuntimeInfo {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        known: &InMemory,
        delays: Delays,
        transactions: Arc<TransactionService>,
        store: Arc<MessageStore>,
    ) -> Self {
        let (stats, requests) = (Arc::clone(&known.stats), Arc::clone(&known.requests));
        Self { config, stats, delays, transactions, watch: known.watch.figures(), store, requests }
    }

    /// `GET_ALL_DELAY_OFFSET` (45): how far each delay level has got.
    pub(crate) fn delay_offsets(&self) -> Answer {
        success_with(&self.delays.schedule.table())
    }

    /// Answers with every figure by name.
    pub(crate) fn get(&self) -> Answer {
        let mut table = BTreeMap::new();
        self.traffic(&mut table);
        self.store(&mut table);
        self.broker(&mut table);
        self.requests(&mut table);
        success_with(&KVTable { table })
    }

    fn traffic(&self, table: &mut BTreeMap<String, String>) {
        let (stats, totals) = (&self.stats, self.stats.totals());
        let (yesterday, today) = stats.mornings();
        let (longest_put, longest_get) = stats.longest_ms();
        let latency = stats.put_percentiles();
        // Of the log; those of today do without what the broker stores for itself. The reference says
        // 1 before the first message, lest somebody divides by it.
        let appended = self.store.appended();
        let put = appended.messages.max(1);
        let average = appended.bytes as f64 / put as f64;
        let numbers = [
            ("putMessageTimesTotal", put),
            ("putMessageFailedTimes", totals.put_failures),
            ("putMessageSizeTotal", appended.bytes),
            ("putMessageEntireTimeMax", longest_put),
            ("getMessageEntireTimeMax", longest_get),
            ("msgPutTotalYesterdayMorning", yesterday.put_messages),
            ("msgPutTotalTodayMorning", today.put_messages),
            ("msgPutTotalTodayNow", totals.put_messages),
            ("msgGetTotalYesterdayMorning", yesterday.got_messages),
            ("msgGetTotalTodayMorning", today.got_messages),
            ("msgGetTotalTodayNow", totals.got_messages),
        ];
        table.extend(numbers.map(|(key, number)| (key.to_owned(), number.to_string())));
        let texts = [
            ("putMessageAverageSize", format!("{average:?}")),
            ("putMessageDistributeTime", stats.put_times()),
            ("putLatency99", format!("{:.2}", latency.p99_ms)),
            ("putLatency999", format!("{:.2}", latency.p999_ms)),
            ("putTps", stats.rates(|totals| totals.appended.messages)),
            ("getFoundTps", stats.rates(|totals| totals.found_pulls)),
            ("getMissTps", stats.rates(|totals| totals.missed_pulls)),
            ("getTotalTps", stats.rates_or_0(|totals| totals.found_pulls + totals.missed_pulls)),
            ("getTransferredTps", stats.rates(|totals| totals.got_messages)),
            // As brokers of 4.x spelled it: their mqadmin fails in clusterList without it.
            ("getTransferedTps", stats.rates(|totals| totals.got_messages)),
        ];
        table.extend(texts.map(|(key, text)| (key.to_owned(), text)));
    }

    fn store(&self, table: &mut BTreeMap<String, String>) {
        let store = &self.store;
        let numbers = [
            ("commitLogMinOffset", store.min_phy_offset()),
            ("commitLogMaxOffset", store.max_phy_offset()),
            ("pageCacheLockTimeMills", store.append_locked_ms()),
            ("dispatchBehindBytes", store.dispatch_behind_bytes()),
            ("earliestMessageTimeStamp", store.earliest_store_time().unwrap_or(-1)),
        ];
        table.extend(numbers.map(|(key, number)| (key.to_owned(), number.to_string())));
        for (level, offset, max) in self.delays.schedule.progress() {
            table.insert(format!("scheduleMessageOffset_{level}"), format!("{offset},{max}"));
        }
        let facts = self.transactions.metrics().facts();
        table.extend(facts.map(|(key, number)| (key.to_owned(), number.to_string())));
        self.timer(table);
        let unflushed = store.max_phy_offset() - store.flushed_phy_offset();
        table.insert("remainHowManyDataToFlush".to_owned(), readable(unflushed.max(0) as u64));
        let dirs = store.config().commit_log_dirs();
        let spaces = dirs.iter().filter_map(|dir| Some((dir, DiskSpace::of(dir)?)));
        let spaces: Vec<_> = spaces.collect();
        for (dir, space) in &spaces {
            let key = format!("commitLogDiskRatio_{}", dir.display());
            table.insert(key, used_ratio(space));
        }
        // As long as one has room, messages are taken.
        if let Some((_, space)) = spaces.iter().min_by_key(|(_, space)| space.used_percent()) {
            table.insert("commitLogDiskRatio".to_owned(), used_ratio(space));
            let (total, free) = (readable(space.total_bytes), readable(space.free_bytes()));
            let capacity = format!("Total : {total}, Free : {free}.");
            table.insert("commitLogDirCapacity".to_owned(), capacity);
        }
        let queue_dir = store.config().root_dir().join("consumequeue");
        if let Some(space) = DiskSpace::of(&queue_dir) {
            table.insert("consumeQueueDiskRatio".to_owned(), used_ratio(&space));
        }
    }

    fn timer(&self, table: &mut BTreeMap<String, String>) {
        let Some(timers) = &self.delays.timers else { return };
        let (checkpoint, behind) = timers.progress();
        let read_behind_s = ((now_ms() - checkpoint.read_time_ms).max(0)) / 1_000;
        let waiting: i64 =
            timers.metrics().snapshot().timing_count.values().map(|metric| metric.count).sum();
        let rate = |count: fn(&Totals) -> u64| {
            format!("{:?}", self.stats.rate(TIMER_RATE_SECONDS, count).unwrap_or_default())
        };
        let figures = [
            ("timerReadBehind", read_behind_s.to_string()),
            ("timerOffsetBehind", behind.to_string()),
            ("timerCongestNum", waiting.to_string()),
            ("timerEnqueueTps", rate(|totals| totals.timers.taken)),
            ("timerDequeueTps", rate(|totals| totals.timers.delivered)),
        ];
        table.extend(figures.map(|(key, text)| (key.to_owned(), text)));
    }

    fn broker(&self, table: &mut BTreeMap<String, String>) {
        let boot = self.stats.boot_timestamp_ms;
        let accept = self.config.start_accept_send_request_timestamp;
        let texts = [
            ("bootTimestamp", boot.to_string()),
            ("runtime", runtime((now_ms() - boot).max(0) / 1000)),
            ("brokerActive", self.store.is_writable().to_string()),
            ("brokerVersionDesc", version::CURRENT_NAME.to_owned()),
            // Gone from the reference, but an exporter reads it without looking whether it is there.
            ("brokerVersion", version::CURRENT.to_string()),
            ("startAcceptSendRequestTimeStamp", accept.to_string()),
            // Messages are dispatched as they are appended, and there is no pool of buffers, for
            // which the reference says this.
            ("dispatchMaxBuffer", "0".to_owned()),
            ("remainTransientStoreBufferNumbs", i32::MAX.to_string()),
            // Not of the reference.
            ("groupsWithDifferentSubscriptions", self.watch.different_groups().to_string()),
            ("queuesNotPulledFrom", self.watch.unpulled_queues().to_string()),
            ("clientsThatDoNotConnect", self.watch.absent_clients().to_string()),
        ];
        table.extend(texts.map(|(key, text)| (key.to_owned(), text)));
        for pool in POOLS {
            for figure in ["Size", "Capacity", "HeadWaitTimeMills"] {
                table.insert(format!("{pool}ThreadPoolQueue{figure}"), "0".to_owned());
            }
        }
        table.insert("EndTransactionQueueSize".to_owned(), "0".to_owned());
        table.insert("EndTransactionThreadPoolQueueCapacity".to_owned(), "0".to_owned());
    }
}

impl RuntimeInfo {
    /// What the reference has no key for: requests of each code, and the bytes of them and their answers.
    fn requests(&self, table: &mut BTreeMap<String, String>) {
        for (code, count) in self.requests.totals() {
            let name = code.map_or_else(|| "unknown".to_owned(), |code| code.to_string());
            let RequestCount { requests, bytes_in, bytes_out } = count;
            let (bytes_in, bytes_out) = (readable(bytes_in), readable(bytes_out));
            let text = format!("{requests} requests, {bytes_in} in, {bytes_out} out");
            table.insert(format!("requests_{name}"), text);
        }
    }
}

fn runtime(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    format!(
        "[ {days} days, {} hours, {} minutes, {} seconds ]",
        hours % 24,
        minutes % 60,
        seconds % 60
    )
}

/// A number of bytes as the reference writes it.
///
/// Reference: `MixAll.humanReadableByteCount` (common), 5.5.0.
fn readable(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = bytes.ilog2() / 10;
    let unit = UNITS[(power as usize - 1).min(UNITS.len() - 1)];
    format!("{:.1} {unit}", bytes as f64 / 1024_f64.powi(power as i32))
}

/// The share of a disk that is used, in whole percent: the one by which files are deleted and senders
/// refused.
fn used_ratio(space: &DiskSpace) -> String {
    format!("{:?}", f64::from(space.used_percent()) / 100.0)
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::fastjson;
    use oxmq_store::StoreConfig;

    use super::super::testing::managers;
    use super::*;
    use crate::schedule::ScheduleMessageService;
    use crate::transaction::AskProducer;

    #[test]
    fn figures_have_the_names_and_forms_that_tools_read() {
        let m = managers(|_| ());
        m.clock.set(7_000);
        m.put("t", 0, "body");
        let stats = Arc::new(BrokerStats::new(1_000));
        stats.put(crate::traffic::Flow::once(2, 300), std::time::Duration::ZERO);
        let schedule = ScheduleMessageService::load(Arc::clone(&m.store), m.store_root()).unwrap();
        let delays = Delays { schedule: Arc::new(schedule), timers: None };
        let transactions = TransactionService::load(
            Arc::clone(&m.config),
            Arc::clone(&m.store),
            &m.tables,
            delays.clone(),
            Arc::clone(&m.producers) as Arc<dyn AskProducer>,
            ([192, 0, 2, 2], 10911).into(),
        );
        let known = InMemory { stats, ..InMemory::new(&m.config, &m.tables, &m.store) };
        let (config, store) = (Arc::clone(&m.config), Arc::clone(&m.store));
        let info = RuntimeInfo::new(config, &known, delays, Arc::new(transactions), store);
        let KVTable { table } = fastjson::from_slice(&info.get().unwrap().body).unwrap();
        let end = m.store.max_phy_offset().to_string();
        for (key, value) in [
            ("bootTimestamp", "1000"),
            ("brokerActive", "true"),
            ("brokerVersionDesc", "V5_5_0"),
            ("earliestMessageTimeStamp", "7000"),
            ("putMessageTimesTotal", "1"),
            ("putMessageSizeTotal", end.as_str()),
            ("putMessageAverageSize", &format!("{end}.0")),
            ("msgPutTotalTodayNow", "2"),
            ("putLatency99", "0.00"),
            ("putLatency999", "0.00"),
            ("putTps", "  "),
            ("getTransferredTps", "  "),
            ("getTransferedTps", "  "),
            ("getTotalTps", "0.0 0.0 0.0"),
            ("sendThreadPoolQueueSize", "0"),
            ("litePullThreadPoolQueueHeadWaitTimeMills", "0"),
        ] {
            assert_eq!(table.get(key).map(String::as_str), Some(value), "{key}");
        }
        let ratio: f64 = table["commitLogDiskRatio"].parse().unwrap();
        assert!((0.0..=1.0).contains(&ratio), "{ratio}");
        assert_eq!(table["commitLogMaxOffset"], end);

        let config = StoreConfig::clone(m.store.config());
        let store_path_commit_log = "/proc/b,/proc/a,/proc/old".to_owned();
        let read_only_commit_log_store_paths = "/proc/old".to_owned();
        let several =
            StoreConfig { store_path_commit_log, read_only_commit_log_store_paths, ..config };
        m.store.change_config(several).unwrap();
        let KVTable { table } = fastjson::from_slice(&info.get().unwrap().body).unwrap();
        let of_dirs = table.keys().filter_map(|key| key.strip_prefix("commitLogDiskRatio_"));
        assert_eq!(of_dirs.collect::<Vec<_>>(), ["/proc/a", "/proc/b"]);
    }

    #[test]
    fn what_only_root_may_use_is_free_and_does_not_make_a_disk_fuller() {
        let space = DiskSpace { total_bytes: 100, used_bytes: 31, available_bytes: 59 };
        assert_eq!((used_ratio(&space).as_str(), space.free_bytes()), ("0.35", 69));
    }

    #[test]
    fn times_and_sizes_are_written_like_the_reference_writes_them() {
        assert_eq!(runtime(90_061), "[ 1 days, 1 hours, 1 minutes, 1 seconds ]");
        assert_eq!(readable(1023), "1023 B");
        assert_eq!(readable(1024), "1.0 KiB");
        assert_eq!(readable(5 * 1024 * 1024 * 1024 / 2), "2.5 GiB");
        assert_eq!(readable(u64::MAX), "16.0 EiB");
    }
}
