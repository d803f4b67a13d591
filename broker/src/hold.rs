//! Requests that wait for a message.
//!
//! A request that finds nothing is registered here and then looks once more, so a message that came
//! in between is not missed. The thread that appends a message takes the requests that it satisfies
//! and answers them itself, straight into the consumers' sockets. Pulls, pops and notifications
//! wait alike and differ in whom a message wakes.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hashbrown::{DefaultHashBuilder, HashMap};
use oxmq_remoting::Reply;

use crate::queue_key::{QueueKey, QueueRef};
use crate::sync::lock;

/// A request that can wait.
pub(crate) trait Waiting {
    /// The queue that it waits for; queue -1 is any.
    fn queue(&self) -> QueueRef<'_>;
    /// The group that it is from.
    fn group(&self) -> &str;
    /// When it is answered at the latest.
    fn deadline(&self) -> Instant;
    /// Whether nobody is there any more to be answered.
    fn is_gone(&self) -> bool;
}

/// What a request that can wait asks for.
pub(crate) trait Asks {
    /// The queue that it is about; queue -1 is any.
    fn queue(&self) -> QueueRef<'_>;
    /// The group that it is from.
    fn group(&self) -> &str;
}

impl<A: Asks> Asks for Arc<A> {
    fn queue(&self) -> QueueRef<'_> {
        (**self).queue()
    }

    fn group(&self) -> &str {
        (**self).group()
    }
}

/// A request and where its answer goes.
#[derive(Debug)]
pub(crate) struct Held<A> {
    pub(crate) reply: Reply,
    pub(crate) request: A,
    /// When it is answered at the latest.
    pub(crate) deadline: Instant,
}

impl<A: Asks> Waiting for Held<A> {
    fn queue(&self) -> QueueRef<'_> {
        self.request.queue()
    }

    fn group(&self) -> &str {
        self.request.group()
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn is_gone(&self) -> bool {
        self.reply.connection().is_closed()
    }
}

/// Which of the requests that a message satisfies are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// All: each gets the message.
    Every,
    /// Of each group the one that has waited longest: one of it gets the message.
    Oldest,
    /// Of each group the one that came last.
    Newest,
}

/// How many may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) in_all: usize,
    /// Of one group for one queue.
    pub(crate) of_one_group: usize,
}

/// Requests of one group for one queue, in the order in which they came. Never empty.
type Line<T> = VecDeque<T>;

const SHARDS: usize = 16;

/// All waiting requests of a kind, by queue.
#[derive(Debug)]
pub(crate) struct Hold<T> {
    shards: [Mutex<HashMap<QueueKey, Vec<Line<T>>>>; SHARDS],
    hasher: DefaultHashBuilder,
    held: AtomicUsize,
}

impl<T> Default for Hold<T> {
    fn default() -> Self {
        Self {
            shards: Default::default(),
            hasher: DefaultHashBuilder::default(),
            held: AtomicUsize::new(0),
        }
    }
}

impl<T: Waiting> Hold<T> {
    /// Registers a request; the caller has to look at the queue once more after this. Gives the
    /// request back when too many wait already.
    pub(crate) fn register(&self, request: T, room: Room) -> Result<(), Box<T>> {
        if self.held.fetch_add(1, Ordering::SeqCst) >= room.in_all {
            self.held.fetch_sub(1, Ordering::SeqCst);
            return Err(Box::new(request));
        }
        let queue = request.queue();
        let mut shard = lock(self.shard(queue));
        if !shard.contains_key(&queue) {
            shard.insert(queue.to_key(), Vec::new());
        }
        // It has just been made sure of.
        let Some(lines) = shard.get_mut(&queue) else { return Err(Box::new(request)) };
        match lines.iter_mut().find(|line| group_of(line) == Some(request.group())) {
            Some(line) if line.len() >= room.of_one_group => {
                self.held.fetch_sub(1, Ordering::SeqCst);
                Err(Box::new(request))
            }
            Some(line) => {
                line.push_back(request);
                Ok(())
            }
            None => {
                lines.push(VecDeque::from([request]));
                Ok(())
            }
        }
    }

    /// Whether any request waits. Appending without a single consumer waiting costs one load.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.load(Ordering::SeqCst) == 0
    }

    /// Takes those of `satisfied` requests for a queue that `take` says, of one group or of all.
    pub(crate) fn take(
        &self,
        queue: QueueRef<'_>,
        group: Option<&str>,
        take: Take,
        mut satisfied: impl FnMut(&T) -> bool,
    ) -> Vec<T> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut shard = lock(self.shard(queue));
        let Some(lines) = shard.get_mut(&queue) else { return Vec::new() };
        let mut taken = Vec::new();
        let mut removed = 0;
        for line in lines.iter_mut() {
            if group.is_some_and(|group| group_of(line) != Some(group)) {
                continue;
            }
            let before = line.len();
            match take {
                Take::Every => take_every(line, &mut satisfied, &mut taken),
                Take::Oldest | Take::Newest => {
                    // Who is gone would take the message along.
                    line.retain(|request| !request.is_gone());
                    let at = match take {
                        Take::Newest => line.iter().rposition(&mut satisfied),
                        _ => line.iter().position(&mut satisfied),
                    };
                    taken.extend(at.and_then(|at| line.remove(at)));
                }
            }
            removed += before - line.len();
        }
        lines.retain(|line| !line.is_empty());
        if lines.is_empty() {
            shard.remove(&queue);
        }
        self.held.fetch_sub(removed, Ordering::SeqCst);
        taken
    }

    /// The queues for which a request waits that `is_one` says.
    pub(crate) fn queues(&self, is_one: impl Fn(&T) -> bool) -> Vec<QueueKey> {
        let mut queues = Vec::new();
        if self.is_empty() {
            return queues;
        }
        for shard in &self.shards {
            for (queue, lines) in lock(shard).iter() {
                if lines.iter().flatten().any(&is_one) {
                    queues.push(queue.clone());
                }
            }
        }
        queues
    }

    /// How many requests of a group wait for a queue.
    pub(crate) fn count(&self, queue: QueueRef<'_>, group: &str) -> usize {
        let shard = lock(self.shard(queue));
        let mut lines = shard.get(&queue).into_iter().flatten();
        lines.find(|line| group_of(line) == Some(group)).map_or(0, VecDeque::len)
    }

    /// Takes the requests whose time is up at `now`, and drops those that nobody waits for.
    pub(crate) fn take_expired(&self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        if self.is_empty() {
            return expired;
        }
        for shard in &self.shards {
            lock(shard).retain(|_, lines| {
                for line in lines.iter_mut() {
                    let before = line.len();
                    line.retain(|request| !request.is_gone());
                    take_every(line, &mut |request: &T| request.deadline() <= now, &mut expired);
                    self.held.fetch_sub(before - line.len(), Ordering::SeqCst);
                }
                lines.retain(|line| !line.is_empty());
                !lines.is_empty()
            });
        }
        expired
    }

    /// Takes everything, at shutdown.
    pub(crate) fn take_all(&self) -> Vec<T> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(lock(shard).drain().flat_map(|(_, lines)| lines.into_iter().flatten()));
        }
        self.held.fetch_sub(all.len(), Ordering::SeqCst);
        all
    }

    fn shard(&self, queue: QueueRef<'_>) -> &Mutex<HashMap<QueueKey, Vec<Line<T>>>> {
        &self.shards[self.hasher.hash_one(queue) as usize % SHARDS]
    }
}

fn group_of<T: Waiting>(line: &Line<T>) -> Option<&str> {
    line.front().map(Waiting::group)
}

fn take_every<T>(line: &mut Line<T>, satisfied: &mut impl FnMut(&T) -> bool, taken: &mut Vec<T>) {
    if !line.iter().any(&mut *satisfied) {
        return;
    }
    for request in std::mem::take(line) {
        if satisfied(&request) {
            taken.push(request);
        } else {
            line.push_back(request);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Request {
        group: &'static str,
        queue_id: i32,
        number: i32,
        deadline: Instant,
        gone: bool,
    }

    impl Waiting for Request {
        fn queue(&self) -> QueueRef<'_> {
            QueueRef { topic: "t", queue_id: self.queue_id }
        }

        fn group(&self) -> &str {
            self.group
        }

        fn deadline(&self) -> Instant {
            self.deadline
        }

        fn is_gone(&self) -> bool {
            self.gone
        }
    }

    const ROOM: Room = Room { in_all: 100, of_one_group: 100 };

    fn queue(queue_id: i32) -> QueueRef<'static> {
        QueueRef { topic: "t", queue_id }
    }

    fn request(group: &'static str, number: i32) -> Request {
        Request { group, queue_id: 0, number, deadline: Instant::now(), gone: false }
    }

    fn held(requests: &[Request]) -> Hold<Request> {
        let hold = Hold::default();
        requests.iter().for_each(|request| hold.register(request.clone(), ROOM).unwrap());
        hold
    }

    fn numbers(taken: &[Request]) -> Vec<i32> {
        taken.iter().map(|request| request.number).collect()
    }

    #[test]
    fn message_wakes_every_pull_but_one_pop_of_each_group() {
        let requests = [request("g", 1), request("g", 2), request("h", 3), request("h", 4)];
        for (take, taken) in [
            (Take::Every, vec![1, 2, 3, 4]),
            (Take::Oldest, vec![1, 3]),
            (Take::Newest, vec![2, 4]),
        ] {
            let hold = held(&requests);
            assert_eq!(numbers(&hold.take(queue(0), None, take, |_| true)), taken);
            let left = hold.take_all().len();
            assert_eq!(left, 4 - taken.len());
            assert!(hold.is_empty());
        }
    }

    #[test]
    fn only_requests_of_the_queue_and_group_that_are_satisfied_are_taken() {
        let other = Request { queue_id: 1, ..request("g", 5) };
        let hold = held(&[request("g", 1), request("g", 2), request("h", 3), other]);
        let taken = hold.take(queue(0), Some("g"), Take::Oldest, |request| request.number != 1);
        assert_eq!(numbers(&taken), [2]);
        assert_eq!(numbers(&hold.take(queue(0), None, Take::Every, |_| false)), [0; 0]);
        assert_eq!((hold.count(queue(0), "g"), hold.count(queue(1), "g")), (1, 1));
        assert_eq!((hold.count(queue(0), "h"), hold.count(queue(-1), "g")), (1, 0));
    }

    #[test]
    fn queues_are_those_for_which_such_a_request_waits() {
        let other = |queue_id, number| Request { queue_id, ..request("g", number) };
        let hold = held(&[request("g", 1), request("h", 2), request("g", 2), other(1, 1)]);
        let queues = |number: i32| {
            let found = hold.queues(|request| request.number == number);
            found.iter().map(|queue| queue.queue_id).collect::<Vec<_>>()
        };
        assert_eq!((queues(2), queues(3)), (vec![0], vec![]));
    }

    #[test]
    fn who_is_gone_takes_no_message_along() {
        let gone = Request { gone: true, ..request("g", 1) };
        let hold = held(&[gone.clone(), request("g", 2)]);
        assert_eq!(numbers(&hold.take(queue(0), None, Take::Oldest, |_| true)), [2]);
        assert!(hold.is_empty());
        let hold = held(&[gone]);
        assert!(hold.take_expired(Instant::now()).is_empty() && hold.is_empty());
    }

    #[test]
    fn requests_expire_at_their_deadline() {
        let now = Instant::now();
        let late = Request { deadline: now + Duration::from_secs(1), ..request("g", 2) };
        let hold = held(&[request("g", 1), late]);
        assert_eq!(numbers(&hold.take_expired(now + Duration::from_millis(500))), [1]);
        assert_eq!(numbers(&hold.take_expired(now + Duration::from_secs(1))), [2]);
        assert!(hold.is_empty());
    }

    #[test]
    fn request_without_room_is_given_back() {
        let hold = held(&[request("g", 1), request("g", 2)]);
        let room = |in_all, of_one_group| Room { in_all, of_one_group };
        assert_eq!(hold.register(request("g", 3), room(9, 2)).unwrap_err().number, 3);
        hold.register(request("h", 4), room(9, 2)).unwrap();
        assert_eq!(hold.register(request("i", 5), room(3, 9)).unwrap_err().number, 5);
        assert_eq!(hold.take_all().len(), 3);
        assert!(hold.is_empty());
    }
}
