//! Rounds in which producers are asked about half messages that they have not decided.
//!
//! A message that is asked about is put back behind the others with one more try on its count, so
//! that progress does not wait for it.
//!
//! Reference: `TransactionalMessageServiceImpl.check` (broker), 5.5.0.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::header::{CheckTransactionStateRequestHeader, Header as _};
use oxmq_protocol::message::{
    EncodeOptions, Message, MessageExt, RecordView, message_id, properties,
};
use oxmq_store::PutMessageResult;
use tracing::{info, warn};

use super::end::{age_ms, immunity_ms};
use super::{Progress, TransactionService};
use crate::again::{Again, Home, store_again};
use crate::limits::MAX_UNASKED_GROUPS;
use crate::perm;
use crate::sync::lock;
use crate::topic_validator::{TRANS_CHECK_MAX_TIME_TOPIC, TRANS_HALF_TOPIC};

/// Longest that one round may take, as in the reference.
const LONGEST_ROUND: Duration = Duration::from_secs(60);
const MS_PER_HOUR: i64 = 3_600_000;

/// What a round does after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The message is over or has been put back.
    Over,
    /// It stays where it is, and the round goes on.
    Hold,
    /// It is too early for this one and those behind it.
    Stop,
}

/// What to do with one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Todo {
    Nothing(Next),
    /// Put it back unasked, as it says that it is too early.
    PutBack,
    /// Put it back and ask.
    Ask {
        times: i64,
    },
    Discard,
}

/// Groups without anybody who could be asked in a round, and how many messages that was about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unasked(pub(super) BTreeMap<Box<str>, u64>);

impl Unasked {
    fn note(&mut self, group: &str) {
        if let Some(messages) = self.0.get_mut(group) {
            *messages += 1;
        } else if self.0.len() < MAX_UNASKED_GROUPS {
            self.0.insert(group.into(), 1);
        }
    }
}

impl TransactionService {
    /// Asks about what is undecided for too long.
    pub(crate) fn check(&self, now_ms: i64) {
        for (group, messages) in self.check_round(now_ms).0 {
            warn!(group, messages, "no producer can be asked about its half messages");
        }
    }

    /// The same, and returns whom nobody could ask.
    pub(super) fn check_round(&self, now_ms: i64) -> Unasked {
        let mut unasked = Unasked::default();
        self.op_queue.flush();
        let began = Instant::now();
        let low = lock(&self.decisions).low();
        // Behind it is what this round puts back.
        let newest = self.store.max_offset(TRANS_HALF_TOPIC, 0);
        let mut held = None;
        let mut oldest_born_ms = 0;
        let end = self.half_queue().walk(low, |record| {
            let offset = record.queue_offset();
            if offset >= newest {
                return false;
            }
            let next = {
                let decisions = lock(&self.decisions);
                match (decisions.is_over(offset), decisions.is_deciding(offset)) {
                    (true, _) => Some(Next::Over),
                    (_, true) => Some(Next::Hold),
                    _ => None,
                }
            };
            let next = next.unwrap_or_else(|| {
                if oldest_born_ms == 0 {
                    oldest_born_ms = record.born_timestamp_ms();
                }
                self.check_one(record, now_ms, &mut unasked)
            });
            if next == Next::Hold && held.is_none() {
                held = Some(offset);
            }
            next != Next::Stop && began.elapsed() < LONGEST_ROUND
        });
        self.metrics.oldest_born_ms.store(oldest_born_ms, Ordering::Relaxed);
        self.pass(held.unwrap_or(end).max(low));
        unasked
    }

    /// Notes that everything before `low` is over.
    pub(super) fn pass(&self, low: i64) {
        lock(&self.decisions).advance(low);
        let op_offset = self.op_queue.needed_from(low);
        let log_end = self.store.max_phy_offset();
        *lock(&self.progress) = Some(Progress { half_offset: low, op_offset, log_end });
        self.note_progress();
    }

    fn check_one(&self, half: RecordView<'_>, now_ms: i64, unasked: &mut Unasked) -> Next {
        let message = match MessageExt::decode(half.bytes()) {
            Ok(message) if Home::of(half.properties()).is_some() => message,
            _ => {
                warn!(queue_offset = half.queue_offset(), "half message is damaged and skipped");
                lock(&self.decisions).set_over(half.queue_offset());
                return Next::Over;
            }
        };
        match self.todo(half, now_ms) {
            Todo::Nothing(next) => next,
            Todo::Discard => self.discard(&message),
            Todo::PutBack => match self.put_back(&message, None) {
                Some(Again::Stored(_)) => Next::Over,
                Some(Again::NotNow(_)) => Next::Stop,
                Some(Again::Never(_)) | None => Next::Hold,
            },
            Todo::Ask { times } => self.ask_about(message, times, unasked),
        }
    }

    fn todo(&self, half: RecordView<'_>, now_ms: i64) -> Todo {
        let age_ms = age_ms(half, now_ms);
        let times =
            properties::property_str(half.properties(), properties::TRANSACTION_CHECK_TIMES)
                .map(|times| times.parse::<i64>().unwrap_or(-1));
        let reserved_ms = (self.store.config().file_reserved_time as i64) * MS_PER_HOUR;
        if times.is_some_and(|times| times >= self.config.transaction_check_max.into())
            || age_ms > reserved_ms
        {
            return Todo::Discard;
        }
        if half.store_timestamp_ms() >= now_ms {
            return Todo::Nothing(Next::Stop);
        }
        match immunity_ms(half, &self.config) {
            Some(immunity_ms) if age_ms <= immunity_ms => Todo::PutBack,
            // A clock that is ahead is no reason to wait.
            None if (0..=self.config.transaction_time_out).contains(&age_ms) => {
                Todo::Nothing(Next::Stop)
            }
            _ => Todo::Ask { times: times.map_or(1, |times| times.saturating_add(1)) },
        }
    }

    /// Puts the message back and asks its producer. One that cannot be put back is asked about
    /// where it is.
    fn ask_about(&self, mut message: MessageExt, times: i64, unasked: &mut Unasked) -> Next {
        let next = match self.put_back(&message, Some(times)) {
            Some(Again::Stored(copy)) => {
                message.queue_offset = copy.queue_offset;
                message.commit_log_offset = copy.phy_offset;
                message.store_timestamp_ms = copy.store_timestamp_ms;
                properties::set(
                    &mut message.properties,
                    properties::TRANSACTION_CHECK_TIMES,
                    times.to_string().as_bytes(),
                );
                Next::Over
            }
            Some(Again::Never(_)) => Next::Hold,
            // The store takes nothing: nor would it take the decision.
            Some(Again::NotNow(_)) => return Next::Stop,
            None => return Next::Hold,
        };
        self.ask(message, unasked);
        next
    }

    /// Stores a copy behind the others that stands for the message from now on; `None` when it has
    /// been decided meanwhile.
    fn put_back(&self, message: &MessageExt, times: Option<i64>) -> Option<Again> {
        let mut text = message.properties.clone();
        match times {
            Some(times) => properties::set(
                &mut text,
                properties::TRANSACTION_CHECK_TIMES,
                times.to_string().as_bytes(),
            ),
            None => {
                let name = properties::TRANSACTION_PREPARED_QUEUE_OFFSET;
                if message.property(name).is_none() {
                    properties::set(&mut text, name, message.queue_offset.to_string().as_bytes());
                }
            }
        }
        let copy = Message { properties: &text, ..message.as_message() };
        // No decision may come between the copy and the note of it.
        let mut decisions = lock(&self.decisions);
        let offset = message.queue_offset;
        if decisions.is_over(offset) || decisions.is_deciding(offset) {
            return None;
        }
        let again = store_again(&self.store, &copy);
        if let Again::Stored(PutMessageResult { queue_offset, .. }) = again {
            let key = properties::property_str(&message.properties, properties::UNIQ_KEY);
            decisions.moved(key, offset, queue_offset);
        }
        Some(again)
    }

    fn ask(&self, message: MessageExt, unasked: &mut Unasked) {
        let Some(home) = Home::of(&message.properties) else { return };
        let key =
            properties::property_str(&message.properties, properties::UNIQ_KEY).map(str::to_owned);
        let header = CheckTransactionStateRequestHeader {
            topic: Some(TRANS_HALF_TOPIC.to_owned()),
            tran_state_table_offset: message.queue_offset,
            commit_log_offset: message.commit_log_offset,
            msg_id: key.clone(),
            transaction_id: key,
            offset_msg_id: Some(message_id::encode_offset_id(
                message.store_host,
                message.commit_log_offset,
            )),
            broker_name: Some(self.config.broker_name.clone()),
        };
        let text = &message.properties;
        let group = properties::property_str(text, properties::PRODUCER_GROUP).unwrap_or_default();
        let asked =
            MessageExt { topic: home.topic.to_owned(), queue_id: home.queue_id, ..message.clone() };
        let mut body = Vec::new();
        if let Err(error) = asked.encode(&EncodeOptions::default(), &mut body) {
            warn!(%error, "question about a half message cannot be put");
            return;
        }
        let mut question = RemotingCommand::request(RequestCode::CHECK_TRANSACTION_STATE);
        header.encode(&mut question.ext_fields);
        if self.producers.ask(group, question.with_body(body)) {
            self.metrics.checked.fetch_add(1, Ordering::Relaxed);
        } else {
            unasked.note(group);
        }
    }

    /// Moves a message that nobody decides to a topic where it can be found.
    fn discard(&self, message: &MessageExt) -> Next {
        let read_write = perm::READ | perm::WRITE;
        self.topics.create_in_send_back(TRANS_CHECK_MAX_TIME_TOPIC, 1, read_write, false, 0);
        let given_up =
            Message { topic: TRANS_CHECK_MAX_TIME_TOPIC, queue_id: 0, ..message.as_message() };
        let offset = message.queue_offset;
        let mut decisions = lock(&self.decisions);
        if decisions.is_over(offset) || decisions.is_deciding(offset) {
            return Next::Hold;
        }
        if !store_again(&self.store, &given_up).is_stored() {
            return Next::Hold;
        }
        self.op_queue.add(offset);
        decisions
            .finish(offset, properties::property_str(&message.properties, properties::UNIQ_KEY));
        drop(decisions);
        if let Some(home) = Home::of(&message.properties) {
            info!(topic = home.topic, offset, "half message given up");
            self.metrics.add(home.topic, -1);
        }
        self.metrics.discarded.fetch_add(1, Ordering::Relaxed);
        Next::Over
    }

    /// Starts over with a message that was given up: its producer is asked again. Returns whether
    /// it was stored.
    pub(crate) fn resume(&self, phy_offset: i64) -> Option<bool> {
        let record = self.store.look_message_by_offset(phy_offset)?;
        let message = MessageExt::decode(&record).ok()?;
        let home = Home::of(&message.properties)?;
        let mut text = message.properties.clone();
        properties::set(&mut text, properties::TRANSACTION_CHECK_TIMES, b"0");
        let half = Message {
            topic: TRANS_HALF_TOPIC,
            queue_id: 0,
            properties: &text,
            ..message.as_message()
        };
        let mut decisions = lock(&self.decisions);
        let Again::Stored(stored) = store_again(&self.store, &half) else { return Some(false) };
        if let Some(key) = properties::property_str(&text, properties::UNIQ_KEY) {
            decisions.found_copy(key, stored.queue_offset);
        }
        drop(decisions);
        self.metrics.add(home.topic, 1);
        Some(true)
    }
}
