//! The timer as a whole, on a store and a clock of its own.

use oxmq_protocol::message::{Message, MessageExt};
use oxmq_store::{Clock, Environment, Fs, StoreConfig};

use super::*;
use crate::again::Aside;

/// Start of a slot, and now when a test begins.
const START_MS: i64 = 1_700_000_000_000;

struct Setup {
    timers: TimerService,
    store: Arc<MessageStore>,
    clock: Clock,
    now_ms: i64,
}

fn setup(dir: &Path, now_ms: i64) -> Setup {
    setup_with(dir, now_ms, |_| ())
}

fn setup_with(dir: &Path, now_ms: i64, change: impl FnOnce(&mut StoreConfig)) -> Setup {
    let clock = Clock::manual(now_ms);
    let mut config = StoreConfig {
        mapped_file_size_commit_log: 1 << 20,
        mapped_file_size_timer_log: 1 << 20,
        ..StoreConfig::in_dir(dir)
    };
    change(&mut config);
    let environment = Environment { clock: clock.clone(), fs: Fs::default() };
    let store = MessageStore::open_with(config, environment).unwrap();
    let metrics = Arc::new(TimerMetrics::load(dir));
    let work = Work::load(Arc::clone(&store), Arc::clone(&metrics), now_ms).unwrap();
    let timers = TimerService {
        store: Arc::clone(&store),
        work: Mutex::new(work),
        metrics,
        woken: Mutex::new(false),
        wake: Condvar::new(),
        stopped: AtomicBool::new(false),
        threads: Mutex::default(),
    };
    Setup { timers, store, clock, now_ms }
}

impl Setup {
    /// Sends a message as a producer does; `None` when it is refused.
    fn send(&self, body: &str, text: &str) -> Option<&'static str> {
        let text = text.replace('=', "\u{1}").replace(';', "\u{2}");
        let mut text = format!("UNIQ_KEY\u{1}{body}\u{2}{text}").into_bytes();
        let aside = self.timers.divert("t", 3, &mut text, self.now_ms).ok()?;
        let (topic, queue_id) = aside.unwrap_or(("t", 3));
        let result = self.store.put_message(&Message {
            flag: 7,
            born_timestamp_ms: 5,
            properties: &text,
            ..Message::new(topic, queue_id, body.as_bytes())
        });
        assert!(result.status.is_stored());
        Some(topic)
    }

    /// Lets the timer work as if it were `ms` after the start.
    fn at(&mut self, ms: i64) {
        self.now_ms = START_MS + ms;
        self.clock.set(self.now_ms);
        while lock(&self.timers.work).step(self.now_ms).is_zero() {
            if self.is_done() {
                break;
            }
        }
    }

    /// The pause is taken by the real clock, so what is left tells whether there is more to do.
    fn is_done(&self) -> bool {
        lock(&self.timers.work).checkpoint().queue_offset == self.store.max_offset(TIMER_TOPIC, 0)
    }

    fn messages(&self) -> Vec<MessageExt> {
        let mut messages = Vec::new();
        Aside { store: &self.store, topic: "t", queue_id: 3 }.walk(0, |record| {
            messages.push(MessageExt::decode(record.bytes()).unwrap());
            true
        });
        messages
    }

    fn bodies(&self) -> Vec<String> {
        let messages = self.messages().into_iter();
        messages.map(|message| String::from_utf8(message.body).unwrap()).collect()
    }

    /// Saves the progress as the thread does now and then.
    fn save(&self) {
        lock(&self.timers.work).save_last();
    }
}

#[test]
fn message_is_delivered_at_its_very_time_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = setup(dir.path(), START_MS);
    for (body, text) in [
        ("deliver", format!("TIMER_DELIVER_MS={};", START_MS + 2_500)),
        ("seconds", "TIMER_DELAY_SEC=3;".to_owned()),
        ("ms", "TIMER_DELAY_MS=1250;".to_owned()),
    ] {
        assert_eq!(setup.send(body, &text), Some(TIMER_TOPIC));
    }
    for (ms, delivered) in
        [(0, 0), (1_249, 0), (1_250, 1), (2_499, 1), (2_500, 2), (2_999, 2), (3_000, 3)]
    {
        setup.at(ms);
        assert_eq!(setup.bodies().len(), delivered, "after {ms} ms");
    }
    assert_eq!(setup.bodies(), ["ms", "deliver", "seconds"]);
    let message = &setup.messages()[1];
    assert_eq!((message.flag, message.born_timestamp_ms, message.queue_id), (7, 5, 3));
    let of = |name| std::str::from_utf8(message.property(name).unwrap()).unwrap().to_owned();
    assert_eq!(of("TIMER_OUT_MS"), (START_MS + 2_000).to_string());
    assert_eq!(of("TIMER_ENQUEUE_MS"), START_MS.to_string());
    assert_eq!(of("TIMER_DEQUEUE_MS"), (START_MS + 2_500).to_string());
    assert_eq!((of("REAL_TOPIC"), of("REAL_QID")), ("t".to_owned(), "3".to_owned()));
    let counts = setup.timers.metrics().snapshot().timing_count;
    assert_eq!(counts["t"].count, 0);
    assert_eq!(setup.timers.metrics().flow(), TimerFlow { taken: 3, delivered: 3 });
}

#[test]
fn time_that_is_over_or_too_far_or_no_number() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), START_MS);
    let past = format!("TIMER_DELIVER_MS={};", START_MS - 1);
    assert_eq!(setup.send("past", &past), Some("t"));
    assert_eq!(setup.send("now", "TIMER_DELAY_MS=0;"), Some("t"));
    assert_eq!(setup.send("far", "TIMER_DELAY_SEC=259201;"), None);
    assert_eq!(setup.send("just", "TIMER_DELAY_SEC=259200;"), Some(TIMER_TOPIC));
    assert_eq!(setup.send("words", "TIMER_DELAY_SEC=soon;"), None);
    assert_eq!(setup.send("recall", &format!("TIMER_DEL_UNIQKEY=k;{past}")), None);
}

#[test]
fn message_for_the_moment_that_is_being_delivered_comes_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = setup(dir.path(), START_MS);
    setup.at(100);
    setup.send("soon", "TIMER_DELAY_MS=200;");
    setup.send("sooner", "TIMER_DELAY_MS=50;");
    setup.at(149);
    assert!(setup.bodies().is_empty());
    setup.at(150);
    setup.at(299);
    assert_eq!(setup.bodies(), ["sooner"]);
    setup.at(300);
    assert_eq!(setup.bodies(), ["sooner", "soon"]);
    // Taken from the queue after its moment.
    setup.send("late", "TIMER_DELAY_MS=100;");
    setup.now_ms += 5_000;
    setup.at(5_000);
    assert_eq!(setup.bodies().len(), 3);
}

#[test]
fn message_that_was_taken_back_is_not_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = setup(dir.path(), START_MS);
    for body in ["kept", "early", "topic", "late"] {
        setup.send(body, &format!("TIMER_DELIVER_MS={};", START_MS + 2_900));
    }
    let within = START_MS + 2_001;
    setup.send("r1", &format!("TIMER_DELIVER_MS={within};TIMER_DEL_UNIQKEY=early;"));
    setup.send("r2", &format!("TIMER_DELIVER_MS={within};TIMER_DEL_UNIQKEY=t+topic;"));
    setup.at(2_000);
    setup.send("r3", &format!("TIMER_DELIVER_MS={within};TIMER_DEL_UNIQKEY=late;"));
    setup.at(3_000);
    assert_eq!(setup.bodies(), ["kept"]);
}

#[test]
fn message_for_a_time_farther_than_the_window_is_put_back_on_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = setup_with(dir.path(), START_MS, |config| config.timer_roll_window_slot = 6);
    let deliver_ms = START_MS + 20_500;
    setup.send("far", &format!("TIMER_DELIVER_MS={deliver_ms};"));
    for second in 0..20 {
        setup.at(second * 1_000);
    }
    assert!(setup.store.max_offset(TIMER_TOPIC, 0) > 3);
    setup.at(20_499);
    assert!(setup.bodies().is_empty());
    setup.at(20_500);
    assert_eq!(setup.bodies(), ["far"]);
    let message = &setup.messages()[0];
    assert_eq!(message.property("TIMER_OUT_MS"), Some((START_MS + 20_000).to_string().as_bytes()));
    assert!(message.property("TIMER_ROLL_TIMES").is_some());
    assert_eq!(setup.timers.metrics().snapshot().timing_count["t"].count, 0);
}

#[test]
fn second_crash_before_the_first_is_made_up_for_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = setup(dir.path(), START_MS);
    first.save();
    for (body, ms) in [("a", 2_100), ("b", 2_200), ("c", 3_100), ("d", 3_900)] {
        first.send(body, &format!("TIMER_DELAY_MS={ms};"));
    }
    first.at(3_300);
    assert_eq!(first.bodies(), ["a", "b", "c"]);
    drop(first);
    // Saved in the midst of what had been delivered before: in a slot, and between two of them.
    for ms in [2_150, 2_999, 3_200] {
        let mut again = setup(dir.path(), START_MS + 3_300);
        again.at(ms);
        again.save();
        assert_eq!(again.bodies(), ["a", "b", "c"], "{ms}");
    }
    let mut last = setup(dir.path(), START_MS + 3_300);
    last.at(9_000);
    assert_eq!(last.bodies(), ["a", "b", "c", "d"]);
}

#[test]
fn stop_soon_after_a_crash_leaves_the_next_start_little_of_the_log_to_look_through() {
    for due in [vec![], vec![2_100], vec![2_100, 3_100]] {
        let dir = tempfile::tempdir().unwrap();
        let mut first = setup(dir.path(), START_MS);
        first.save();
        for ms in &due {
            first.send(&ms.to_string(), &format!("TIMER_DELAY_MS={ms};"));
        }
        let plain = "plain ".repeat(1_000);
        for step in 0..12 {
            first.at(step * 250);
            first.send(&plain, "");
        }
        let of_slot = first.store.max_phy_offset();
        first.at(3_200);
        let count = first.bodies().len();
        drop(first);
        let mut again = setup(dir.path(), START_MS + 3_300);
        again.at(3_300);
        again.save();
        // All but what may have been delivered in the moment that is not over.
        let from = again.timers.progress().0.delivered_from.unwrap();
        assert!(from >= of_slot, "{from} of {of_slot}, {due:?}");
        drop(again);
        let mut last = setup(dir.path(), START_MS + 3_300);
        last.at(9_000);
        assert_eq!(last.bodies().len(), count, "{due:?}");
    }
}

#[test]
fn crash_loses_and_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = setup(dir.path(), START_MS);
    for at in 0..10 {
        let deliver_ms = START_MS + 1_000 + at * 300;
        before.send(&at.to_string(), &format!("TIMER_DELIVER_MS={deliver_ms};"));
    }
    before.at(1_400);
    before.send("unseen", "TIMER_DELAY_MS=700;");
    assert_eq!(before.bodies(), ["0", "1"]);
    drop(before);

    // While it is down, more has become due.
    let mut after = setup(dir.path(), START_MS + 2_300);
    after.at(2_300);
    let mut bodies = after.bodies();
    bodies.sort();
    assert_eq!(bodies, ["0", "1", "2", "3", "4", "unseen"]);
    drop(after);
    let mut again = setup(dir.path(), START_MS + 2_300);
    again.at(6_000);
    assert_eq!(again.bodies().len(), 11);
}

#[test]
fn stop_in_the_middle_of_a_moment_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = setup(dir.path(), START_MS);
    before.send("first", &format!("TIMER_DELIVER_MS={};", START_MS + 1_100));
    before.send("second", &format!("TIMER_DELIVER_MS={};", START_MS + 3_100));
    before.at(1_200);
    before.save();
    before.store.close().unwrap();
    drop(before);
    let mut after = setup(dir.path(), START_MS + 1_300);
    assert_eq!(after.timers.progress().0.read_time_ms, START_MS + 1_000);
    after.send("third", "TIMER_DELAY_MS=200;");
    after.at(1_499);
    assert_eq!(after.bodies(), ["first"]);
    after.at(4_000);
    assert_eq!(after.bodies(), ["first", "third", "second"]);
}

#[test]
fn stop_brings_a_moment_to_its_end_and_begins_no_other_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = setup(dir.path(), START_MS);
    for (body, ms) in [("a", 1_100), ("b", 1_900), ("c", 2_001), ("d", 2_500)] {
        setup.send(body, &format!("TIMER_DELAY_MS={ms};"));
    }
    setup.at(1_200);
    let finish = |ms| lock(&setup.timers.work).finish_slot(START_MS + ms).is_none();
    assert!(!finish(1_300), "a slot is left in the middle");
    assert!(!finish(2_100));
    assert!(finish(2_100));
    assert_eq!(setup.bodies(), ["a", "b"]);
    assert_eq!(setup.timers.progress().0.read_time_ms, START_MS + 2_000);
}

#[test]
fn full_moment_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup =
        setup_with(dir.path(), START_MS, |config| config.timer_congest_num_each_slot = 2);
    let send = |setup: &Setup| setup.send("m", &format!("TIMER_DELIVER_MS={};", START_MS + 5_500));
    for _ in 0..2 {
        assert_eq!(send(&setup), Some(TIMER_TOPIC));
    }
    // More are taken until the timer has seen them.
    for _ in 0..2 {
        assert_eq!(send(&setup), Some(TIMER_TOPIC));
    }
    setup.at(1);
    assert_eq!(send(&setup), None);
    assert_eq!(setup.send("other", "TIMER_DELAY_MS=7000;"), Some(TIMER_TOPIC));
}

#[test]
fn slot_that_cannot_be_read_does_not_hold_up_the_others_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = setup(dir.path(), START_MS);
    for (body, delay_ms) in [("later", 3_500), ("read", 1_500), ("unread", 1_500)] {
        setup.send(body, &format!("TIMER_DELAY_MS={delay_ms};")).unwrap();
    }
    setup.at(0);
    let log = dir.path().join("timerlog/00000000000000000000");
    // The third unit cannot be read.
    std::fs::OpenOptions::new().write(true).open(log).unwrap().set_len(2 * 52).unwrap();
    setup.at(2_000);
    assert!(setup.bodies().is_empty(), "it may be readable again soon");
    for _ in 0..100 {
        setup.at(4_000);
    }
    assert_eq!(setup.bodies(), ["read", "later"]);
}

#[test]
fn messages_are_delivered_while_none_can_be_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = setup_with(dir.path(), START_MS, |config| {
        // Two units and the blank end.
        config.mapped_file_size_timer_log = 2 * 52 + 16;
    });
    for body in ["a", "b"] {
        setup.send(body, "TIMER_DELAY_MS=1500;").unwrap();
    }
    setup.at(0);
    // A file of the timer log that cannot be begun.
    let next = dir.path().join("timerlog/00000000000000000120");
    std::fs::create_dir(&next).unwrap();
    setup.send("c", "TIMER_DELAY_MS=500;").unwrap();
    setup.at(1_600);
    assert_eq!(setup.bodies(), ["a", "b"]);
    std::fs::remove_dir(&next).unwrap();
    setup.at(1_700);
    assert_eq!(setup.bodies(), ["a", "b", "c"]);
}

#[test]
fn message_whose_moment_is_over_is_delivered_once_however_often_that_cannot_be_noted() {
    let small = |config: &mut StoreConfig| config.mapped_file_size_timer_log = 52 + 16;
    let dir = tempfile::tempdir().unwrap();
    let mut before = setup_with(dir.path(), START_MS, small);
    before.send("a", "TIMER_DELAY_MS=500;").unwrap();
    before.at(0);
    // A file of the timer log that cannot be begun.
    let next = dir.path().join("timerlog/00000000000000000068");
    std::fs::create_dir(&next).unwrap();
    before.send("b", "TIMER_DELAY_MS=500;").unwrap();
    before.at(1_000);
    for ms in [2_000, 3_000] {
        before.at(ms);
        assert_eq!(before.bodies(), ["a", "b"], "after {ms} ms");
    }
    // It is not noted when the broker stops, either.
    before.save();
    before.store.close().unwrap();
    drop(before);
    std::fs::remove_dir(&next).unwrap();
    let mut after = setup_with(dir.path(), START_MS + 4_000, small);
    after.send("c", "TIMER_DELAY_MS=500;").unwrap();
    after.at(5_000);
    assert_eq!(after.bodies(), ["a", "b", "c"]);
}

#[test]
fn timer_goes_on_as_it_was_when_any_of_its_files_is_out_of_the_store() {
    let window = |config: &mut StoreConfig| config.timer_roll_window_slot = 10;
    let (timers, checkpoint) = (&["timerlog", "timerwheel"][..], &["config/timercheck"][..]);
    let all = ["timerlog", "timerwheel", "config/timercheck"];
    for (lost, is_stopped) in [
        (timers, true),
        (timers, false),
        (&["timerwheel"], true),
        (checkpoint, true),
        (checkpoint, false),
        (&all, true),
        (&all, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut before = setup_with(dir.path(), START_MS, window);
        for (body, ms) in [("past", 1_500), ("back", 2_500), ("now", 4_100), ("not yet", 4_900)] {
            before.send(body, &format!("TIMER_DELAY_MS={ms};")).unwrap();
        }
        for (body, ms) in [("next", 6_500), ("never", 7_500), ("far", 15_500)] {
            before.send(body, &format!("TIMER_DELAY_MS={ms};")).unwrap();
        }
        for (body, ms) in [("back", 2_500), ("never", 7_500)] {
            let text = format!("TIMER_DEL_UNIQKEY={body};TIMER_DELAY_MS={ms};");
            before.send(&format!("recall of {body}"), &text).unwrap();
        }
        (0..=12).for_each(|step| before.at(step * 350));
        assert_eq!(before.bodies(), ["past", "now"]);
        if is_stopped {
            before.save();
        }
        before.store.close().unwrap();
        drop(before);
        for name in lost {
            let path = dir.path().join(name);
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }

        let mut after = setup_with(dir.path(), START_MS + 4_300, window);
        after.send("new", "TIMER_DELAY_MS=500;").unwrap();
        (44..=200).for_each(|step| after.at(step * 100));
        let expected = ["past", "now", "new", "not yet", "next", "far"];
        assert_eq!(after.bodies(), expected, "{lost:?} {is_stopped}");
        // Another start finds nothing to make anew.
        after.save();
        after.store.close().unwrap();
        drop(after);
        let mut last = setup_with(dir.path(), START_MS + 20_000, window);
        (200..=300).for_each(|step| last.at(step * 100));
        assert_eq!(last.bodies(), expected, "{lost:?} {is_stopped}");
    }
}
