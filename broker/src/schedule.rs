//! Messages of a delay level: kept aside, and delivered when their time has come.
//!
//! A delayed message is stored in a topic of its own, in the queue of its level, where messages are
//! due in the order in which they came. Each level goes through its queue and stores what is due
//! again, under its own topic.
//!
//! Reference: `ScheduleMessageService`, `HookUtils` (broker), 5.5.0; kept in `config/delayOffset.json`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oxmq_protocol::body::{DataVersion, DelayOffsetTable};
use oxmq_protocol::message::{Message, RecordView, properties};
use oxmq_store::{JsonFileError, MessageStore};
use tracing::{error, warn};

use crate::again::{Again, Aside, Home, split, store_again};
use crate::clock::now_ms;
use crate::saved_table::SavedTable;
use crate::sync::lock;
use crate::timer::TIME_PROPERTIES;
use crate::topic_validator::{SCHEDULE_TOPIC, TRANS_HALF_TOPIC};

/// Messages of one level delivered in a row before the others get their turn.
const MESSAGES_PER_TURN: usize = 1_024;
/// Longest pause between two looks. No level may be shorter, or a message could be late by this much.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Pause after a message could not be delivered, and shortest pause altogether.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// Deliveries between two versions of the offset table.
const UPDATE_VERSION_STEP: u64 = 200;

/// Keeps delayed messages aside and delivers them.
#[derive(Debug)]
pub(crate) struct ScheduleMessageService {
    store: Arc<MessageStore>,
    progress: Mutex<Progress>,
    file: SavedTable<DelayOffsetTable>,
    /// Held while messages are delivered.
    round: Mutex<()>,
    stopped: AtomicBool,
}

#[derive(Debug)]
struct Progress {
    data_version: DataVersion,
    /// Next offset to deliver by level.
    offsets: BTreeMap<i32, i64>,
    deliveries: u64,
}

/// How a turn of one level ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// There is nothing more for now.
    Idle,
    /// The next message is due at this time, ms since 1970.
    DueAt(i64),
    /// More is due, but the others have their turn first.
    More,
    /// A message was not taken.
    Failed,
}

impl ScheduleMessageService {
    /// Loads how far each level has got.
    ///
    /// # Errors
    /// When neither `delayOffset.json` nor its backup can be read.
    pub(crate) fn load(store: Arc<MessageStore>, store_root: &Path) -> Result<Self, JsonFileError> {
        let file = SavedTable::<DelayOffsetTable>::new(store_root, "delayOffset.json");
        let saved = file.load()?.unwrap_or_default();
        let progress = Progress {
            data_version: saved.data_version,
            offsets: saved.offset_table,
            deliveries: 0,
        };
        let (round, stopped) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { store, progress: Mutex::new(progress), file, round, stopped })
    }

    /// Turns a message that has a delay level into one that is kept aside: its properties get a
    /// note of where it belongs, and the topic and queue to store it under are returned.
    ///
    /// `None` when the properties have no level.
    pub(crate) fn divert(
        &self,
        topic: &str,
        queue_id: i32,
        text: &mut Vec<u8>,
    ) -> Option<(&'static str, i32)> {
        let level: i32 =
            properties::property_str(text, properties::DELAY_TIME_LEVEL)?.parse().ok()?;
        if level <= 0 {
            return None;
        }
        let capped = level.min(self.store.delay_levels().max_level());
        properties::retain(text, |name| {
            !TIME_PROPERTIES.iter().any(|time| time.as_bytes() == name)
        });
        if capped != level {
            properties::set(text, properties::DELAY_TIME_LEVEL, capped.to_string().as_bytes());
        }
        Home { topic, queue_id }.note(text);
        Some((SCHEDULE_TOPIC, capped - 1))
    }

    /// Ends deliveries. What is saved after this stays true.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        // The round that is under way ends with its message.
        drop(lock(&self.round));
    }

    /// Delivers what is due, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let service = Arc::clone(&self);
            let turn = tokio::task::spawn_blocking(move || service.deliver_due(now_ms()));
            let pause = match turn.await {
                Ok(pause) => pause,
                Err(panic) => {
                    error!(%panic, "delivery of delayed messages failed");
                    LONGEST_PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Writes `delayOffset.json` if it is behind.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save_if_changed(&self) -> Result<(), JsonFileError> {
        self.file.save_if_changed(|| self.table())
    }

    /// The table as it is saved and sent.
    pub(crate) fn table(&self) -> DelayOffsetTable {
        let data_version = lock(&self.progress).data_version;
        let offsets = self.progress().into_iter().map(|(level, offset, _)| (level, offset));
        DelayOffsetTable { data_version, offset_table: offsets.collect() }
    }

    /// Next offset to deliver and offset behind the last message, by level; of each that has
    /// delivered something or has something to deliver.
    pub(crate) fn progress(&self) -> Vec<(i32, i64, i64)> {
        let mut offsets = lock(&self.progress).offsets.clone();
        for level in 1..=self.store.delay_levels().max_level() {
            let (min, max) = self.store.bounds(SCHEDULE_TOPIC, level - 1);
            if max > min {
                offsets.entry(level).or_insert(min);
            }
        }
        offsets
            .into_iter()
            .map(|(level, offset)| {
                (level, offset, self.store.max_offset(SCHEDULE_TOPIC, level - 1))
            })
            .collect()
    }

    /// Gives every level a turn and returns how long there is nothing to do.
    fn deliver_due(&self, now_ms: i64) -> Duration {
        let _round = lock(&self.round);
        let mut pause = LONGEST_PAUSE;
        for level in 1..=self.store.delay_levels().max_level() {
            let free = match self.deliver_level(level, now_ms) {
                Turn::Idle => LONGEST_PAUSE,
                Turn::DueAt(due_ms) => {
                    Duration::from_millis((due_ms - now_ms).max(1).unsigned_abs())
                }
                Turn::More => Duration::ZERO,
                Turn::Failed => SHORTEST_PAUSE,
            };
            let delay_ms = self.store.delay_levels().delay_ms(level).unsigned_abs();
            let soonest = Duration::from_millis(delay_ms).max(SHORTEST_PAUSE);
            pause = pause.min(free).min(soonest);
        }
        pause
    }

    fn deliver_level(&self, level: i32, now_ms: i64) -> Turn {
        let queue_id = level - 1;
        let (min, max) = self.store.bounds(SCHEDULE_TOPIC, queue_id);
        // What the file says may be older or newer than the queue.
        let known = lock(&self.progress).offsets.get(&level).copied();
        let mut offset = known.unwrap_or(0).clamp(min, max);
        let mut delivered = 0;
        let mut records = Vec::new();
        while offset < max {
            if delivered >= MESSAGES_PER_TURN {
                return Turn::More;
            }
            let waiting = self.read_due(level, offset, now_ms, &mut records);
            for record in split(&records) {
                if self.stopped.load(Ordering::Acquire) {
                    return Turn::Idle;
                }
                if !self.deliver(record) {
                    return Turn::Failed;
                }
                delivered += 1;
                offset = record.queue_offset() + 1;
                self.advance(level, offset);
            }
            match waiting {
                Waiting::Until(due_ms) => return Turn::DueAt(due_ms),
                Waiting::Nothing { .. } if !records.is_empty() => {}
                // Past what cannot be read any more.
                Waiting::Nothing { next } if next > offset => {
                    offset = next;
                    self.advance(level, offset);
                }
                Waiting::Nothing { .. } => return Turn::Idle,
            }
        }
        Turn::Idle
    }

    /// Reads what is due, up to the first message that is not.
    fn read_due(&self, level: i32, offset: i64, now_ms: i64, records: &mut Vec<u8>) -> Waiting {
        // A clock that was set back would hold messages for long: none waits for more than its delay.
        let latest_ms = now_ms + self.store.delay_levels().delay_ms(level);
        let mut due_ms = None;
        let queue = Aside { store: &self.store, topic: SCHEDULE_TOPIC, queue_id: level - 1 };
        let result = queue.read(offset, records, |deliver_ms| {
            let is_due = deliver_ms <= now_ms || deliver_ms > latest_ms;
            if !is_due && due_ms.is_none() {
                due_ms = Some(deliver_ms);
            }
            due_ms.is_none()
        });
        due_ms.map_or(Waiting::Nothing { next: result.next_begin_offset }, Waiting::Until)
    }

    /// Stores a message under its own topic. Returns whether the next one may follow.
    fn deliver(&self, record: RecordView<'_>) -> bool {
        let queue_offset = record.queue_offset();
        let message = match record.verify_body_crc().and_then(|()| record.as_message()) {
            Ok(message) => message,
            Err(error) => {
                warn!(queue_offset, %error, "delayed message is damaged and skipped");
                return true;
            }
        };
        let Some(Home { topic, queue_id }) = Home::of(message.properties) else {
            warn!(queue_offset, "delayed message does not say where it belongs and is skipped");
            return true;
        };
        if topic == TRANS_HALF_TOPIC {
            warn!(queue_offset, "delayed half message is skipped");
            return true;
        }
        let delivered = Message { topic, queue_id, ..message };
        match store_again(&self.store, &delivered) {
            Again::Stored(_) => true,
            Again::NotNow(_) => false,
            // All behind it would wait for ever.
            Again::Never(status) => {
                error!(
                    queue_offset,
                    topic,
                    queue_id,
                    ?status,
                    "delayed message cannot be delivered"
                );
                true
            }
        }
    }

    fn advance(&self, level: i32, offset: i64) {
        let mut progress = lock(&self.progress);
        progress.offsets.insert(level, offset);
        progress.deliveries += 1;
        if progress.deliveries.is_multiple_of(UPDATE_VERSION_STEP) {
            progress.data_version.advance(0, now_ms());
        }
        self.file.changed();
    }
}

/// What there is behind the messages that are due.
enum Waiting {
    /// A message that is due at this time, ms since 1970.
    Until(i64),
    /// None that is known of.
    Nothing {
        /// Where to go on.
        next: i64,
    },
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::message::MessageExt;
    use oxmq_store::{Clock, Environment, Fs, PutMessageStatus, StoreConfig};

    use super::*;
    use crate::delays::Delays;

    struct Setup {
        clock: Clock,
        schedule: ScheduleMessageService,
        dir: tempfile::TempDir,
    }

    fn setup() -> Setup {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(1_000_000);
        let config = StoreConfig {
            mapped_file_size_commit_log: 1 << 20,
            message_delay_level: "1s 5s 1h".to_owned(),
            ..StoreConfig::in_dir(dir.path())
        };
        let environment = Environment { clock: clock.clone(), fs: Fs::default() };
        let store = MessageStore::open_with(config, environment).unwrap();
        let schedule = ScheduleMessageService::load(store, dir.path()).unwrap();
        Setup { clock, schedule, dir }
    }

    impl Setup {
        /// Stores a message with a delay level as a send does.
        fn send(&self, body: &str, level: i32) {
            self.send_to("t", body, level);
        }

        fn send_to(&self, topic: &str, body: &str, level: i32) {
            let mut text = format!("DELAY\u{1}{level}\u{2}TIMER_DELAY_MS\u{1}9\u{2}").into_bytes();
            let (topic, queue_id) = self.schedule.divert(topic, 3, &mut text).unwrap();
            let message = Message {
                flag: 7,
                born_timestamp_ms: 5,
                born_host: ([192, 0, 2, 1], 1).into(),
                store_host: ([192, 0, 2, 2], 10911).into(),
                reconsume_times: 2,
                properties: &text,
                ..Message::new(topic, queue_id, body.as_bytes())
            };
            assert!(self.schedule.store.put_message(&message).status.is_stored());
        }

        /// Delivers as if it were `ms` after the start; returns how long there is nothing to do.
        fn at(&self, ms: i64) -> Duration {
            self.clock.set(1_000_000 + ms);
            self.schedule.deliver_due(1_000_000 + ms)
        }

        fn delivered(&self) -> Vec<MessageExt> {
            let mut records = Vec::new();
            let store = &self.schedule.store;
            store.get_message("t", 3, 0, 32, 1 << 20, |_, _| true, &mut records);
            MessageExt::decode_all(&records).unwrap()
        }

        fn bodies(&self) -> Vec<String> {
            self.delivered()
                .into_iter()
                .map(|message| String::from_utf8(message.body).unwrap())
                .collect()
        }
    }

    #[test]
    fn message_is_delivered_when_its_time_has_come_and_not_before() {
        let setup = setup();
        setup.send("one second", 1);
        setup.send("five seconds", 2);
        assert_eq!(setup.at(0), Duration::from_secs(1));
        assert_eq!(setup.at(999), Duration::from_millis(1));
        assert!(setup.bodies().is_empty());
        setup.at(1_000);
        assert_eq!(setup.bodies(), ["one second"]);
        assert_eq!(setup.at(4_900), Duration::from_millis(100));
        setup.at(5_000);
        setup.at(5_001);
        assert_eq!(setup.bodies(), ["one second", "five seconds"]);
    }

    #[test]
    fn delivered_message_is_the_one_that_was_sent() {
        let setup = setup();
        setup.send("body", 1);
        setup.at(1_000);
        let message = &setup.delivered()[0];
        assert_eq!((message.flag, message.reconsume_times), (7, 2));
        assert_eq!((message.born_timestamp_ms, message.store_timestamp_ms), (5, 1_001_000));
        assert_eq!(message.property("DELAY"), Some(&b"1"[..]));
        assert_eq!(message.property("REAL_TOPIC"), Some(&b"t"[..]));
        assert_eq!(message.property("REAL_QID"), Some(&b"3"[..]));
        assert_eq!(message.property("TIMER_DELAY_MS"), None, "the level wins");
    }

    #[test]
    fn delay_is_as_long_where_the_clock_was_set_back() {
        let setup = setup();
        setup.at(3_600_000);
        setup.send("ahead", 1);
        setup.at(3_601_000);
        setup.at(0);
        setup.send("set back", 1);
        setup.at(999);
        assert_eq!(setup.bodies(), ["ahead"]);
        setup.at(1_000);
        assert_eq!(setup.bodies(), ["ahead", "set back"]);
    }

    #[test]
    fn level_above_the_highest_is_the_highest() {
        let setup = setup();
        setup.send("body", 99);
        assert_eq!(setup.schedule.store.max_offset(SCHEDULE_TOPIC, 2), 1);
        setup.at(3_599_999);
        assert!(setup.bodies().is_empty());
        setup.at(3_600_000);
        assert_eq!(setup.bodies(), ["body"]);
        assert_eq!(setup.schedule.divert("t", 0, &mut b"DELAY\x010\x02".to_vec()), None);
        assert_eq!(setup.schedule.divert("t", 0, &mut b"KEYS\x01k\x02".to_vec()), None);
    }

    #[test]
    fn level_that_is_no_number_is_refused() {
        let setup = setup();
        let delays = Delays { schedule: Arc::new(setup.schedule), timers: None };
        let divert = |level: &str| {
            let mut text = format!("DELAY\u{1}{level}\u{2}").into_bytes();
            delays.divert("t", 0, &mut text, 0)
        };
        for level in ["x", "1.5", " 1", "9999999999"] {
            assert_eq!(divert(level), Err(PutMessageStatus::WheelTimerMsgIllegal), "{level:?}");
        }
        assert_eq!(divert("1"), Ok(Some((SCHEDULE_TOPIC, 0))));
        assert_eq!(divert("-1"), Ok(None));
    }

    #[test]
    fn many_messages_are_delivered_in_order_and_in_turns() {
        let setup = setup();
        for number in 0..MESSAGES_PER_TURN + 1 {
            setup.send(&number.to_string(), 1);
        }
        assert_eq!(setup.at(2_000), Duration::ZERO, "more is due");
        assert_eq!(setup.schedule.store.max_offset("t", 3), MESSAGES_PER_TURN as i64);
        setup.at(2_000);
        assert_eq!(setup.schedule.store.max_offset("t", 3), MESSAGES_PER_TURN as i64 + 1);
        assert_eq!(setup.bodies()[..3], ["0", "1", "2"]);
    }

    #[test]
    fn progress_is_kept_in_the_file_of_the_reference() {
        let setup = setup();
        setup.send("a", 1);
        setup.send("b", 2);
        setup.at(1_000);
        setup.schedule.save_if_changed().unwrap();
        let path = setup.dir.path().join("config/delayOffset.json");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains("\"offsetTable\":{\n\t\t1:1,\n\t\t2:0\n\t}"), "{text}");
        assert_eq!(setup.schedule.progress(), [(1, 1, 1), (2, 0, 1)], "the other one waits");

        let store = Arc::clone(&setup.schedule.store);
        let again = ScheduleMessageService::load(store, setup.dir.path()).unwrap();
        again.deliver_due(1_005_000);
        assert_eq!(setup.bodies(), ["a", "b"], "the first is not delivered twice");
    }

    #[test]
    fn clock_that_was_set_back_does_not_hold_messages() {
        let setup = setup();
        setup.send("body", 1);
        setup.at(-10_000);
        assert_eq!(setup.bodies(), ["body"]);
    }

    #[test]
    fn message_that_cannot_be_stored_holds_nothing_up() {
        let setup = setup();
        setup.send_to(&"t".repeat(256), "no topic is so long", 1);
        setup.send("small", 1);
        setup.at(1_000);
        assert_eq!(setup.bodies(), ["small"]);
    }

    #[test]
    fn nothing_is_delivered_behind_what_is_saved_at_the_end() {
        let setup = setup();
        setup.send("body", 1);
        setup.schedule.stop();
        setup.at(1_000);
        assert!(setup.bodies().is_empty());
    }
}
