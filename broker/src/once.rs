//! Topics whose messages a producer stores once, however often it sends them.
//!
//! A client that gets no answer sends the message again, and a broker that has stored it before has it
//! twice. A topic with the attribute `oxmq.dedup.window.ms` remembers for so long what was sent to it, by
//! unique key and checksum of the body, and answers what it knows with the first result. It is not a part
//! of the reference.
//!
//! After a start it knows again what lies in the topic's queues. What was kept aside, for a delay or until
//! a producer's decision, is known again once it has come there.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hashbrown::{DefaultHashBuilder, Equivalent, HashMap};
use oxmq_protocol::body::TopicConfig;
use oxmq_protocol::message::{properties, record};
use oxmq_store::{Boundary, MessageStore, PutMessageResult, PutMessageStatus};

use crate::again::Aside;
use crate::attributes::DEDUP_WINDOW_MS;
use crate::limits::{MAX_DEDUP_KEY_BYTES, MAX_DEDUP_MESSAGES};
use crate::sync::lock;
use crate::topic_validator;

const SHARDS: usize = 16;

/// How many more messages may be remembered, in all topics together.
#[derive(Debug)]
pub(crate) struct Room(AtomicUsize);

impl Default for Room {
    fn default() -> Self {
        Self(AtomicUsize::new(MAX_DEDUP_MESSAGES))
    }
}

impl Room {
    fn take(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give_back(&self, count: usize) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}

/// What the first of some equal sends was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) result: PutMessageResult,
    pub(crate) queue_id: i32,
    pub(crate) recall_handle: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    unique_key: Arc<str>,
    body_crc: i32,
}

/// The same, borrowed, with the same fields in the same order for the same hash.
#[derive(Clone, Copy, Debug, Hash)]
struct KeyRef<'a> {
    unique_key: &'a str,
    body_crc: i32,
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.body_crc == key.body_crc && *self.unique_key == *key.unique_key
    }
}

#[derive(Debug, Default)]
struct Shard {
    first: HashMap<Key, First>,
    /// By the time when they were noted, about.
    order: VecDeque<(i64, Key)>,
}

/// What was sent to one topic of late.
#[derive(Debug)]
pub(crate) struct Window {
    length_ms: AtomicI64,
    shards: [Mutex<Shard>; SHARDS],
    hasher: DefaultHashBuilder,
    room: Arc<Room>,
}

impl Window {
    /// The window that a topic asks for, which is the one of `before` when that had one.
    pub(crate) fn of(
        topic: &TopicConfig,
        room: &Arc<Room>,
        before: Option<&Arc<Self>>,
    ) -> Option<Arc<Self>> {
        // What consumers give back is meant to come again.
        if topic_validator::is_retry_topic(&topic.topic_name) {
            return None;
        }
        let length_ms = topic.attributes.get(DEDUP_WINDOW_MS)?.parse().ok().filter(|ms| *ms > 0)?;
        if let Some(before) = before {
            before.length_ms.store(length_ms, Ordering::Relaxed);
            return Some(Arc::clone(before));
        }
        Some(Arc::new(Self {
            length_ms: AtomicI64::new(length_ms),
            shards: Default::default(),
            hasher: DefaultHashBuilder::default(),
            room: Arc::clone(room),
        }))
    }

    /// Has a message stored, unless it was before: then the result of that is returned.
    ///
    /// Others with the same key wait meanwhile.
    ///
    /// # Errors
    /// Those of `put`.
    pub(crate) fn put_once<E>(
        &self,
        unique_key: &str,
        body: &[u8],
        now_ms: i64,
        put: impl FnOnce() -> Result<First, E>,
    ) -> Result<First, E> {
        if unique_key.len() > MAX_DEDUP_KEY_BYTES {
            return put();
        }
        let key = KeyRef { unique_key, body_crc: record::body_crc(body) };
        let mut shard = lock(self.shard(key));
        let after_ms = now_ms - self.length_ms.load(Ordering::Relaxed);
        self.forget_before(&mut shard, after_ms);
        if let Some(first) = shard.first.get(&key)
            && first.result.store_timestamp_ms > after_ms
        {
            return Ok(first.clone());
        }
        let first = put()?;
        if first.result.status.is_stored() {
            self.note(&mut shard, key, first.clone());
        }
        Ok(first)
    }

    /// Finds out what was sent before the broker started.
    pub(crate) fn recover(&self, topic: &TopicConfig, store: &MessageStore, now_ms: i64) {
        let after_ms = now_ms - self.length_ms.load(Ordering::Relaxed);
        let name = topic.topic_name.as_str();
        for queue_id in 0..topic.write_queue_nums.max(topic.read_queue_nums) {
            let from = store.offset_by_time(name, queue_id, after_ms, Boundary::Lower);
            Aside { store, topic: name, queue_id }.walk(from, |record| {
                let unique_key =
                    properties::property_str(record.properties(), properties::UNIQ_KEY);
                if let Some(unique_key) = unique_key.filter(|key| key.len() <= MAX_DEDUP_KEY_BYTES)
                {
                    let key = KeyRef { unique_key, body_crc: record.body_crc() };
                    let result = PutMessageResult {
                        status: PutMessageStatus::PutOk,
                        phy_offset: record.phy_offset(),
                        wrote_bytes: record.total_bytes() as u32,
                        queue_offset: record.queue_offset(),
                        store_timestamp_ms: record.store_timestamp_ms(),
                        message_count: 1,
                    };
                    let mut shard = lock(self.shard(key));
                    if !shard.first.contains_key(&key) {
                        let first = First { result, queue_id, recall_handle: None };
                        self.note(&mut shard, key, first);
                    }
                }
                true
            });
        }
    }

    fn shard(&self, key: KeyRef<'_>) -> &Mutex<Shard> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    fn note(&self, shard: &mut Shard, key: KeyRef<'_>, first: First) {
        // When there is no room, the oldest gives way; when there is none of this topic, the new one.
        let has_room = self.room.take() || self.forget_oldest(shard) && self.room.take();
        if !has_room {
            return;
        }
        let key = Key { unique_key: key.unique_key.into(), body_crc: key.body_crc };
        shard.order.push_back((first.result.store_timestamp_ms, key.clone()));
        shard.first.insert(key, first);
    }

    fn forget_before(&self, shard: &mut Shard, time_ms: i64) {
        while shard.order.front().is_some_and(|(noted_ms, _)| *noted_ms <= time_ms) {
            self.forget_oldest(shard);
        }
    }

    fn forget_oldest(&self, shard: &mut Shard) -> bool {
        let Some((noted_ms, key)) = shard.order.pop_front() else { return false };
        self.room.give_back(1);
        // It may have been noted anew since.
        if shard.first.get(&key).is_some_and(|first| first.result.store_timestamp_ms == noted_ms) {
            shard.first.remove(&key);
        }
        true
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let noted: usize = self.shards.iter().map(|shard| lock(shard).order.len()).sum();
        self.room.give_back(noted);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use oxmq_protocol::message::Message;
    use oxmq_store::StoreConfig;

    use super::*;

    fn topic(window_ms: &str) -> TopicConfig {
        let mut topic = TopicConfig { write_queue_nums: 2, ..TopicConfig::new("t") };
        topic.attributes.insert(DEDUP_WINDOW_MS.to_owned(), window_ms.to_owned());
        topic
    }

    fn window(room: &Arc<Room>) -> Arc<Window> {
        Window::of(&topic("1000"), room, None).unwrap()
    }

    fn first(store_timestamp_ms: i64) -> First {
        let result = PutMessageResult {
            status: PutMessageStatus::PutOk,
            phy_offset: store_timestamp_ms,
            wrote_bytes: 1,
            queue_offset: 0,
            store_timestamp_ms,
            message_count: 1,
        };
        First { result, queue_id: 0, recall_handle: None }
    }

    /// Sends at a time, and returns when the first of its kind was stored.
    fn send(window: &Window, unique_key: &str, body: &str, now_ms: i64) -> i64 {
        let put = || Ok::<_, Infallible>(first(now_ms));
        let Ok(first) = window.put_once(unique_key, body.as_bytes(), now_ms, put);
        first.result.store_timestamp_ms
    }

    #[test]
    fn same_message_is_stored_once_within_the_window() {
        let room = Arc::default();
        let window = window(&room);
        assert_eq!(send(&window, "k", "a", 5_000), 5_000);
        assert_eq!(send(&window, "k", "a", 5_999), 5_000);
        assert_eq!(send(&window, "k", "b", 5_001), 5_001, "another body");
        assert_eq!(send(&window, "l", "a", 5_002), 5_002, "another key");
        assert_eq!(send(&window, "k", "a", 6_000), 6_000, "the window is over");
        assert_eq!(send(&window, "k", "a", 6_500), 6_000);
        let long = "k".repeat(MAX_DEDUP_KEY_BYTES + 1);
        assert_eq!(send(&window, &long, "a", 1), 1);
        assert_eq!(send(&window, &long, "a", 2), 2, "too long to be remembered");
    }

    #[test]
    fn refused_message_is_not_remembered() {
        let room = Arc::default();
        let window = window(&room);
        let refused = PutMessageResult::refused(PutMessageStatus::MessageIllegal);
        let put = || Ok::<_, Infallible>(First { result: refused, ..first(1) });
        let Ok(answer) = window.put_once("k", b"a", 5_000, put);
        assert_eq!(answer.result, refused);
        assert_eq!(window.put_once("k", b"a", 5_000, || Err(7)), Err(7));
        assert_eq!(send(&window, "k", "a", 5_001), 5_001);
    }

    #[test]
    fn room_is_shared_and_given_back_and_the_oldest_gives_way() {
        let room = Arc::new(Room(AtomicUsize::new(1)));
        let (one, other) = (window(&room), window(&room));
        send(&one, "k", "a", 5_000);
        send(&other, "k", "a", 5_001);
        assert_eq!(send(&other, "k", "a", 5_002), 5_002, "there was no room for it");
        assert_eq!(send(&one, "k", "a", 5_003), 5_000);
        // What replaces it is in the same shard when it has the same key.
        assert_eq!(send(&one, "k", "a", 7_000), 7_000);
        assert_eq!(send(&one, "k", "a", 7_001), 7_000);
        drop(one);
        send(&other, "k", "a", 7_002);
        assert_eq!(send(&other, "k", "a", 7_003), 7_002);
    }

    #[test]
    fn topic_has_a_window_when_it_asks_for_one_and_keeps_it() {
        let room = Arc::default();
        let before = window(&room);
        send(&before, "k", "a", 5_000);
        let after = Window::of(&topic("10"), &room, Some(&before)).unwrap();
        assert!(Arc::ptr_eq(&before, &after));
        assert_eq!(send(&after, "k", "a", 5_011), 5_011, "it is shorter now");
        for none in ["0", "-1", "x"] {
            assert!(Window::of(&topic(none), &room, None).is_none(), "{none}");
        }
        assert!(Window::of(&TopicConfig::new("t"), &room, None).is_none());
        let retry = TopicConfig { topic_name: "%RETRY%g".to_owned(), ..topic("1000") };
        assert!(Window::of(&retry, &room, None).is_none());
    }

    #[test]
    fn what_lies_in_the_queues_is_known_after_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let config =
            StoreConfig { mapped_file_size_commit_log: 1 << 20, ..StoreConfig::in_dir(dir.path()) };
        let store = MessageStore::open(config).unwrap();
        let put = |queue_id, body: &'static [u8]| {
            let text = b"UNIQ_KEY\x01k\x02";
            store.put_message(&Message { properties: text, ..Message::new("t", queue_id, body) })
        };
        let stored = [put(0, b"a"), put(1, b"b"), put(1, b"a")];
        let room = Arc::default();
        let window = Window::of(&topic("600000"), &room, None).unwrap();
        let now_ms = crate::clock::now_ms();
        window.recover(&topic("600000"), &store, now_ms);
        for (body, queue_id, expected) in [("a", 0, stored[0]), ("b", 1, stored[1])] {
            let put = || Err("it is stored already");
            let known = window.put_once("k", body.as_bytes(), now_ms, put).unwrap();
            assert_eq!((known.queue_id, known.result), (queue_id, expected));
        }
    }
}
