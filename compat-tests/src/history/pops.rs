//! Pop: everything is done in the end, what is done does not come again, and nobody is given what another
//! one has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::run::{Member, Stop, connect};
use crate::offsets_file::persisted_offsets;
use crate::ops::{self, now_ms, response};
use crate::popper::{Popped, Popper};
use crate::{ServerUnderTest, wait};

const TOPIC: &str = "history_pop";
const GROUP: &str = "history_pop_group";
const QUEUES: i32 = 2;
const CONSUMERS: usize = 2;
/// Between two messages.
const PACE: Duration = Duration::from_millis(25);
/// Between two pops.
const POP_PACE: Duration = Duration::from_millis(20);
const MESSAGES: &str = "8";
const INVISIBLE_MS: i64 = 4_000;
/// An acknowledgement counts that was answered so long before the message was due again.
const MARGIN_MS: i64 = 500;
const LIMIT: Duration = Duration::from_secs(120);

/// Where a message was given out: topic, queue and offset.
type Place = (String, i32, i64);

/// What is known of one message.
#[derive(Debug, Default)]
struct Known {
    /// The broker has said that it has it.
    stored: bool,
    /// When it was popped that it was acknowledged in time, ms since 1970.
    done_of_ms: Option<i64>,
    /// It was acknowledged since it was last given out, and that may count though nobody knows: the answer was
    /// lost, or late.
    may_be_done: bool,
    /// A kill may have taken back what happened to it.
    taken_back: bool,
    places: BTreeSet<Place>,
    /// Until when it is somebody's, ms since 1970.
    held_until_ms: i64,
}

#[derive(Debug, Default)]
struct State {
    messages: BTreeMap<u32, Known>,
    problems: Vec<String>,
}

type Shared = Arc<Mutex<State>>;

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

pub(super) struct Pops {
    state: Shared,
    producer: Option<Member>,
    consumers: Vec<Member>,
}

impl Pops {
    pub(super) fn start(server: &ServerUnderTest) -> Self {
        ops::create_topic(server, TOPIC, QUEUES as u32);
        let state = Shared::default();
        let broker = server.broker_addr();
        let noted = Arc::clone(&state);
        let produce = move |addr: String, stop: &Stop| produce(&addr, &noted, stop);
        let producer = Some(Member::start("", &broker, produce));
        let consumer = |_| {
            let noted = Arc::clone(&state);
            let work = move |addr: String, stop: &Stop| consume(&addr, &noted, stop);
            Member::start("", &broker, work)
        };
        Self { producer, consumers: (0..CONSUMERS).map(consumer).collect(), state }
    }

    pub(super) fn cut(&self, which: u32) {
        match which as usize % (CONSUMERS + 1) {
            0 => self.producer.as_ref().expect("it runs").cut(),
            index => self.consumers[index - 1].cut(),
        }
    }

    /// The broker was killed; it has not been started again.
    ///
    /// The group goes on where its offset was saved, and so does what gives messages out again that
    /// nobody has acknowledged.
    pub(super) fn killed(&self, server: &ServerUnderTest) {
        let mut state = lock(&self.state);
        let retry_topic = format!("%RETRY%{GROUP}_{TOPIC}");
        let saved: BTreeMap<&str, BTreeMap<i32, i64>> = [TOPIC, &retry_topic]
            .map(|topic| (topic, persisted_offsets(server.store_dir(), topic, GROUP)))
            .into();
        for known in state.messages.values_mut() {
            let is_behind = |(topic, queue, offset): &Place| {
                let saved = saved.get(topic.as_str()).and_then(|queues| queues.get(queue));
                saved.is_none_or(|saved| offset >= saved)
            };
            let was_done_at_once = known.done_of_ms.is_some() && known.places.len() == 1;
            known.taken_back |= !was_done_at_once || known.places.iter().any(is_behind);
        }
    }

    /// What is wrong, and how many there were.
    pub(super) fn finish(mut self, repeats: bool) -> (Vec<String>, usize) {
        self.producer.take().expect("it runs").leave();
        let left = |state: &State| -> Vec<u32> {
            let is_left =
                |known: &Known| known.stored && known.done_of_ms.is_none() && !known.may_be_done;
            let messages = state.messages.iter();
            messages.filter(|(_, known)| is_left(known)).map(|(index, _)| *index).collect()
        };
        wait::try_until(LIMIT, || left(&lock(&self.state)).is_empty().then_some(()));
        self.consumers.drain(..).for_each(Member::leave);
        let state = lock(&self.state);
        let mut problems = match repeats {
            true => Vec::new(),
            false => state.problems.clone(),
        };
        let left = left(&state).into_iter();
        problems.extend(left.map(|index| format!("popped message {index} was never done")));
        (problems, state.messages.len())
    }
}

impl State {
    /// A message has come out of a pop.
    fn given(&mut self, index: u32, message: &Popped, due_ms: i64) {
        let known = self.messages.entry(index).or_default();
        let record = &message.record;
        let place = (message.topic.clone(), record.queue_id, record.queue_offset);
        let popped_ms = due_ms - INVISIBLE_MS;
        // Consumers say what they were given in any order.
        let apart_ms = (due_ms - known.held_until_ms).abs();
        if !known.taken_back {
            if known.done_of_ms.is_some_and(|done_of_ms| popped_ms > done_of_ms) {
                self.problems.push(format!("popped message {index} was done and came: {place:?}"));
            } else if apart_ms < INVISIBLE_MS {
                let problem = format!("popped message {index} came twice within {apart_ms} ms");
                self.problems.push(problem);
            }
        }
        known.places.insert(place);
        if due_ms >= known.held_until_ms {
            known.held_until_ms = due_ms;
            known.may_be_done = false;
        }
    }

    /// A message is about to be acknowledged that was given out until `due_ms`.
    fn acknowledging(&mut self, index: u32, due_ms: i64) {
        let known = self.messages.entry(index).or_default();
        known.may_be_done |= due_ms >= known.held_until_ms;
    }
}

fn produce(addr: &str, noted: &Shared, stop: &Stop) {
    let mut conn = None;
    for index in 0_u32.. {
        std::thread::sleep(PACE);
        if stop.is_set() {
            return;
        }
        conn = conn.or_else(|| connect(addr));
        let Some(connected) = conn.as_mut() else { continue };
        lock(noted).messages.entry(index).or_default();
        let queue = (index % QUEUES as u32) as i32;
        let request = ops::send_request(TOPIC, queue, "", index.to_string().as_bytes());
        match connected.try_call(request) {
            Ok(answer) if answer.code == response::SUCCESS => {
                lock(noted).messages.entry(index).or_default().stored = true;
            }
            Ok(_) => {}
            Err(_) => conn = None,
        }
    }
}

fn consume(addr: &str, noted: &Shared, stop: &Stop) {
    while !stop.is_set() {
        std::thread::sleep(POP_PACE);
        let Some(conn) = connect(addr) else { continue };
        let mut popper = Popper {
            conn,
            topic: TOPIC.to_owned(),
            group: GROUP.to_owned(),
            fields: vec![("maxMsgNums", MESSAGES.to_owned()), ("pollTime", "500".to_owned())],
        };
        // Whatever ends it, the next connection goes on.
        while !stop.is_set() && pop(&mut popper, noted).is_ok() {
            std::thread::sleep(POP_PACE);
        }
    }
}

/// Pops once, and acknowledges most of it.
fn pop(popper: &mut Popper, noted: &Shared) -> std::io::Result<()> {
    let request = popper.request(INVISIBLE_MS);
    let command = popper.conn.try_call(request)?;
    let answer = popper.read(command);
    for message in answer.messages {
        let index: u32 = message.record.text().parse().expect("a message of ours");
        let mut receipt = message.receipt.split(' ').skip(1).map(|field| field.parse::<i64>());
        let popped_ms = receipt.next().expect("a time").expect("a number");
        let due_ms = popped_ms + INVISIBLE_MS;
        lock(noted).given(index, &message, due_ms);
        // One in four is left the first time.
        if message.record.reconsume_times == 0 && index.is_multiple_of(4) {
            continue;
        }
        lock(noted).acknowledging(index, due_ms);
        let request = popper.ack_request(&message);
        let answer = popper.conn.try_call(request)?;
        if answer.code == response::SUCCESS && now_ms() < due_ms - MARGIN_MS {
            lock(noted).messages.entry(index).or_default().done_of_ms = Some(popped_ms);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;

    fn message() -> Popped {
        let record = Record {
            topic: TOPIC.to_owned(),
            queue_id: 0,
            queue_offset: 5,
            phy_offset: 0,
            flag: 0,
            sys_flag: 0,
            body_crc: 0,
            born_timestamp_ms: 0,
            born_host: Vec::new(),
            store_timestamp_ms: 0,
            store_host: Vec::new(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: Vec::new(),
            properties: BTreeMap::new(),
        };
        Popped { record, receipt: String::new(), topic: TOPIC.to_owned() }
    }

    #[test]
    fn acknowledgement_without_an_answer_may_count_until_the_message_comes_again() {
        let mut state = State::default();
        state.given(1, &message(), 10_000);
        state.acknowledging(1, 10_000);
        assert!(state.messages[&1].may_be_done);
        state.given(1, &message(), 20_000);
        assert!(!state.messages[&1].may_be_done, "it did not");
        state.acknowledging(1, 10_000);
        assert!(!state.messages[&1].may_be_done, "of the time before");
    }

    #[test]
    fn what_is_done_or_held_may_not_come_unless_a_kill_took_it_back() {
        let mut state = State::default();
        state.given(1, &message(), 14_000);
        state.given(1, &message(), 10_000);
        assert_eq!(state.problems, [""; 0], "it was due again");
        state.given(1, &message(), 17_999);
        assert_eq!(state.problems.len(), 1, "it was held");
        state.messages.get_mut(&1).unwrap().done_of_ms = Some(14_000);
        state.given(1, &message(), 30_000);
        assert_eq!(state.problems.len(), 2, "it was done");
        state.messages.get_mut(&1).unwrap().taken_back = true;
        state.given(1, &message(), 40_000);
        assert_eq!(state.problems.len(), 2);
    }
}
