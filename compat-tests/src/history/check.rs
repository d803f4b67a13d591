//! Whether a history is right.
//!
//! Rules, for the messages of one topic and the groups that read it:
//!
//! 1. **Nothing acknowledged is lost.** The place that a producer was told holds the message at the end,
//!    no place was given away twice, and every group was given the message.
//! 2. **Order.** What one producer had acknowledged in one queue lies there in the order it was sent. A
//!    consumer that took a queue over where the broker said is given the very next message each time.
//! 3. **Committed offsets.** An answer is an offset that was committed and not replaced by one that was
//!    sent after that one was acknowledged, and acknowledged before the question. A commit without an
//!    answer may count from when it was sent, or never. After `kill -9` the answer may be any that was
//!    sent before, but none behind what was in the broker's file: what it had not saved yet is lost, as on
//!    the reference. A clean stop loses nothing.
//! 4. **Duplicates are what was in flight.** A consumer that takes a queue over is given again at most what
//!    others had been given and had not committed: `in_flight` messages for each of them whose
//!    end was not in peace, and after `kill -9` what came after the saved offset.
//! 5. **One owner.** Two consumers of a group have a queue at once for no longer than
//!    `overlap_ms`. With locks, one that lost its queue is given at most what was in flight.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::log::{Event, History, Message, Queue, What};

/// Numbers that depend on how the clients work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Messages that a consumer is given before they are committed.
    pub(super) in_flight: i64,
    /// How long two consumers may have a queue at once.
    pub(super) overlap_ms: u64,
    /// The group whose queues are locked.
    pub(super) locking_group: &'static str,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    Lost { message: Message, queue: Queue, offset: i64, found: Option<Message> },
    GivenAwayTwice { queue: Queue, offset: i64, messages: (Message, Message) },
    NotDelivered { group: &'static str, queue: Queue, offset: i64, message: Message },
    NeverSent { message: Message },
    StoredOutOfOrder { queue: Queue, earlier: Message, later: Message },
    DeliveredOutOfOrder { session: u32, expected: i64, got: i64 },
    DeliveredAnother { session: u32, offset: i64, got: Message, stored: Option<Message> },
    OffsetWentBack { group: &'static str, queue: Queue, answer: Option<i64>, why: String },
    TooManyDuplicates { group: &'static str, queue: Queue, again: i64, allowed: i64 },
    TwoOwners { group: &'static str, queue: Queue, sessions: (u32, u32), for_ms: u64 },
    GivenWithoutLock { queue: Queue, session: u32, messages: i64 },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Everything that is wrong with a history; empty when nothing is.
#[must_use]
pub(super) fn check(history: &History, limits: &Limits) -> Vec<Violation> {
    let mut found = Vec::new();
    let stored: HashMap<(Queue, i64), Message> =
        history.stored.iter().map(|at| ((at.queue, at.offset), at.message)).collect();
    let groups = Groups::read(&history.events);
    acknowledged(history, &stored, &groups, &mut found);
    delivered(&groups, &stored, &mut found);
    for (at, registers) in &groups.registers {
        registers.check(*at, &mut found);
    }
    groups.duplicates(limits, &mut found);
    groups.owners(limits, &mut found);
    found
}

/// Rule 1, and of rule 2 what concerns producers.
fn acknowledged(
    history: &History,
    stored: &HashMap<(Queue, i64), Message>,
    groups: &Groups,
    found: &mut Vec<Violation>,
) {
    let mut sent = BTreeSet::new();
    let mut places: BTreeMap<(Queue, i64), Message> = BTreeMap::new();
    let mut last: HashMap<(u32, Queue), (i64, Message)> = HashMap::new();
    for event in &history.events {
        match event.what {
            What::Sent { message } => {
                sent.insert(message);
            }
            What::Acked { message, queue, offset } => {
                if let Some(other) = places.insert((queue, offset), message) {
                    let messages = (other, message);
                    found.push(Violation::GivenAwayTwice { queue, offset, messages });
                }
                let place = last.entry((message.producer, queue)).or_insert((-1, message));
                if offset <= place.0 {
                    let (earlier, later) = (place.1, message);
                    found.push(Violation::StoredOutOfOrder { queue, earlier, later });
                }
                *place = (offset, message);
            }
            _ => {}
        }
    }
    let unsent = stored.values().filter(|message| !sent.contains(message));
    found.extend(unsent.map(|message| Violation::NeverSent { message: *message }));
    for (&(queue, offset), &message) in &places {
        let there = stored.get(&(queue, offset)).copied();
        if there != Some(message) {
            found.push(Violation::Lost { message, queue, offset, found: there });
        }
        for (&(group, of), given) in &groups.delivered {
            if of == queue && !given.contains(&offset) {
                found.push(Violation::NotDelivered { group, queue, offset, message });
            }
        }
    }
}

/// Of rule 2 what concerns consumers.
fn delivered(groups: &Groups, stored: &HashMap<(Queue, i64), Message>, found: &mut Vec<Violation>) {
    for (&number, session) in &groups.sessions {
        let mut expected = session.offset;
        for &(_, offset, message) in &session.given {
            if offset != expected {
                let got = offset;
                found.push(Violation::DeliveredOutOfOrder { session: number, expected, got });
            }
            expected = offset + 1;
            let there = stored.get(&(session.queue, offset)).copied();
            if there != Some(message) {
                let got = message;
                let stored = there;
                found.push(Violation::DeliveredAnother { session: number, offset, got, stored });
            }
        }
    }
}

/// A place in the list of events.
type At = usize;

/// A consumer's time with a queue.
struct Session {
    group: &'static str,
    queue: Queue,
    offset: i64,
    began: (At, u64),
    ended: Option<(At, u64)>,
    given: Vec<(At, i64, Message)>,
}

struct Commit {
    offset: i64,
    sent: At,
    acked: Option<At>,
}

struct Query {
    sent: At,
    answered: At,
    answer: Option<i64>,
}

struct Kill {
    at: At,
    persisted: Option<i64>,
}

/// Where a group is on a queue, as a register that clients write and read.
#[derive(Default)]
struct Register {
    commits: Vec<Commit>,
    queries: Vec<Query>,
    kills: Vec<Kill>,
}

type Key = (&'static str, Queue);

#[derive(Default)]
struct Groups {
    sessions: BTreeMap<u32, Session>,
    delivered: BTreeMap<Key, BTreeSet<i64>>,
    registers: BTreeMap<Key, Register>,
}

impl Groups {
    fn read(events: &[Event]) -> Self {
        let mut groups = Self::default();
        let mut commits: HashMap<u32, (Key, usize)> = HashMap::new();
        let mut queries = HashMap::new();
        let mut kills = Vec::new();
        for (at, event) in events.iter().enumerate() {
            match &event.what {
                What::Began { session, group, queue, offset } => {
                    let (group, queue, offset, began) =
                        (*group, *queue, *offset, (at, event.at_ms));
                    groups.delivered.entry((group, queue)).or_default();
                    let (ended, given) = (None, Vec::new());
                    let taken = Session { group, queue, offset, began, ended, given };
                    groups.sessions.insert(*session, taken);
                }
                What::Delivered { session, offset, message } => {
                    let Some(session) = groups.sessions.get_mut(session) else { continue };
                    session.given.push((at, *offset, *message));
                    let key = (session.group, session.queue);
                    groups.delivered.entry(key).or_default().insert(*offset);
                }
                What::Ended { session } => {
                    if let Some(session) = groups.sessions.get_mut(session) {
                        session.ended = Some((at, event.at_ms));
                    }
                }
                What::CommitSent { commit, group, queue, offset } => {
                    let register = groups.registers.entry((*group, *queue)).or_default();
                    commits.insert(*commit, ((*group, *queue), register.commits.len()));
                    register.commits.push(Commit { offset: *offset, sent: at, acked: None });
                }
                What::CommitAcked { commit } => {
                    if let Some((key, index)) = commits.get(commit)
                        && let Some(register) = groups.registers.get_mut(key)
                    {
                        register.commits[*index].acked = Some(at);
                    }
                }
                What::QuerySent { query } => {
                    queries.insert(*query, at);
                }
                What::QueryAnswered { query, group, queue, offset } => {
                    let Some(&sent) = queries.get(query) else { continue };
                    let register = groups.registers.entry((*group, *queue)).or_default();
                    register.queries.push(Query { sent, answered: at, answer: *offset });
                }
                What::Killed { persisted } => kills.push((at, persisted)),
                What::Sent { .. } | What::Acked { .. } | What::Stopped | What::Started => {}
            }
        }
        for (key, register) in &mut groups.registers {
            register.kills = kills
                .iter()
                .map(|(at, persisted)| Kill { at: *at, persisted: persisted.get(key).copied() })
                .collect();
        }
        groups
    }

    /// Rule 4.
    fn duplicates(&self, limits: &Limits, found: &mut Vec<Violation>) {
        for (&(group, queue), register) in &self.registers {
            let mut of_queue: Vec<&Session> = self
                .sessions
                .values()
                .filter(|session| session.group == group && session.queue == queue)
                .collect();
            of_queue.sort_by_key(|session| session.began.0);
            for (index, session) in of_queue.iter().enumerate() {
                let began = session.began.0;
                let before = &of_queue[..index];
                // Who had been given something since the last one took over, and may not have committed.
                let since = before.last().map_or(0, |last| last.began.0);
                let holders =
                    before.iter().filter(|other| other.ended.is_none_or(|(at, _)| at >= since));
                let holders: Vec<&Session> = holders.copied().collect();
                // What the others were given is the last one's to repeat, however far it came with that.
                let given = holders.iter().flat_map(|other| &other.given);
                let high = given.filter(|(at, _, _)| *at < began).map(|(_, offset, _)| offset + 1);
                let Some(high) = high.max() else { continue };
                let again = high - session.offset;
                let mut allowed = limits.in_flight * holders.len() as i64 + at_once(&holders);
                let kills = register.kills.iter().filter(|kill| (since..began).contains(&kill.at));
                for kill in kills {
                    allowed = allowed.max(high - kill.persisted.unwrap_or(0));
                }
                if again > allowed {
                    found.push(Violation::TooManyDuplicates { group, queue, again, allowed });
                }
            }
        }
    }

    /// Rule 5.
    fn owners(&self, limits: &Limits, found: &mut Vec<Violation>) {
        let sessions: Vec<(&u32, &Session)> = self.sessions.iter().collect();
        for &(&first, owner) in &sessions {
            for &(&second, next) in &sessions {
                let same = owner.group == next.group && owner.queue == next.queue;
                if !same || owner.began.0 >= next.began.0 {
                    continue;
                }
                let Some((ended, ended_ms)) = owner.ended else { continue };
                if ended < next.began.0 {
                    continue;
                }
                let (group, queue) = (owner.group, owner.queue);
                let until_ms = next.ended.map_or(ended_ms, |(_, at_ms)| at_ms.min(ended_ms));
                let for_ms = until_ms.saturating_sub(next.began.1);
                if for_ms > limits.overlap_ms {
                    let sessions = (first, second);
                    found.push(Violation::TwoOwners { group, queue, sessions, for_ms });
                }
                let late =
                    owner.given.iter().filter(|(at, _, _)| *at > next.began.0).count() as i64;
                if group == limits.locking_group && late > limits.in_flight {
                    let (session, messages) = (first, late);
                    found.push(Violation::GivenWithoutLock { queue, session, messages });
                }
            }
        }
    }
}

/// Messages that were given to one of these while another had the queue, too: the last commit may
/// be that of the one that is behind.
fn at_once(sessions: &[&Session]) -> i64 {
    let mut count = 0;
    for (index, first) in sessions.iter().enumerate() {
        for second in &sessions[index + 1..] {
            let begin = second.began.0;
            let end = first.ended.map_or(At::MAX, |(at, _)| at);
            let given = first.given.iter().chain(&second.given);
            count += given.filter(|(at, _, _)| (begin..end).contains(at)).count() as i64;
        }
    }
    count
}

impl Register {
    /// Rule 3.
    fn check(&self, (group, queue): Key, found: &mut Vec<Violation>) {
        for query in &self.queries {
            if let Err(why) = self.explain(query) {
                let answer = query.answer;
                found.push(Violation::OffsetWentBack { group, queue, answer, why });
            }
        }
    }

    fn explain(&self, query: &Query) -> Result<(), String> {
        let kill = self.kills.iter().rfind(|kill| kill.at < query.answered);
        let since = kill.map_or(0, |kill| kill.at);
        // The newest commit that surely counts, of those after the last kill.
        let floor = self
            .commits
            .iter()
            .filter(|commit| commit.sent >= since)
            .filter(|commit| commit.acked.is_some_and(|acked| acked < query.sent))
            .max_by_key(|commit| commit.sent);
        let Some(answer) = query.answer else {
            let saved = kill.and_then(|kill| kill.persisted);
            return match (floor, saved) {
                (None, None) if kill.is_some() => Ok(()),
                (None, None)
                    if self.commits.iter().all(|c| c.acked.is_none_or(|at| at > query.sent)) =>
                {
                    Ok(())
                }
                _ => Err("there was a commit".to_owned()),
            };
        };
        let may_be = self.commits.iter().any(|commit| {
            commit.offset == answer
                && commit.sent < query.answered
                && (commit.sent < since && floor.is_none() || !self.is_replaced(commit, query))
        });
        if !may_be {
            return Err(format!("the newest commit is {:?}", floor.map(|commit| commit.offset)));
        }
        match kill.and_then(|kill| kill.persisted) {
            Some(saved) if floor.is_none() && answer < saved => {
                Err(format!("{saved} was saved before the kill"))
            }
            _ => Ok(()),
        }
    }

    /// Whether another commit came for sure after this one and before the question.
    fn is_replaced(&self, commit: &Commit, query: &Query) -> bool {
        let Some(acked) = commit.acked else { return false };
        self.commits
            .iter()
            .any(|other| other.sent > acked && other.acked.is_some_and(|acked| acked < query.sent))
    }
}

#[cfg(test)]
mod tests;
