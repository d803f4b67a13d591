//! The one thread that changes the route table.
//!
//! Registrations are long, changes write files, and both have to happen in the order they came: so they
//! queue here, away from the tasks that answer route queries. The thread also looks for silent brokers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::RemotingCommand;
use oxmq_remoting::{Connection, Reply};

use crate::core::NameServer;
use crate::dispatch::{Place, place};
use crate::limits::{MAX_WAITING_BYTES, MAX_WAITING_REQUESTS, MAX_WAITING_SLOW_REQUESTS};
use crate::route_info::Departure;
use crate::service::origin;

enum Job {
    Request(Box<RemotingCommand>, Reply),
    Departure(Departure),
    /// A connection ended, on which brokers may have registered.
    Closed(u64),
    Stop,
}

/// What waits for the thread.
#[derive(Debug, Default)]
struct Waiting {
    requests: AtomicUsize,
    /// Those of [`Place::Slow`].
    slow: AtomicUsize,
    bytes: AtomicUsize,
    departures: AtomicUsize,
}

impl Waiting {
    /// Counts a request unless too many wait.
    fn enter(&self, request: &RemotingCommand) -> bool {
        let is_slow = usize::from(is_slow(request));
        let is_full = self.requests.load(Ordering::Relaxed) >= MAX_WAITING_REQUESTS
            || self.bytes.load(Ordering::Relaxed) >= MAX_WAITING_BYTES
            || is_slow * self.slow.load(Ordering::Relaxed) >= MAX_WAITING_SLOW_REQUESTS;
        if !is_full {
            self.requests.fetch_add(1, Ordering::Relaxed);
            self.slow.fetch_add(is_slow, Ordering::Relaxed);
            self.bytes.fetch_add(bytes_of(request), Ordering::Relaxed);
        }
        !is_full
    }

    fn leave(&self, request: &RemotingCommand) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.slow.fetch_sub(usize::from(is_slow(request)), Ordering::Relaxed);
        self.bytes.fetch_sub(bytes_of(request), Ordering::Relaxed);
    }
}

fn is_slow(request: &RemotingCommand) -> bool {
    place(request.request_code()) == Place::Slow
}

/// The way to the thread.
#[derive(Clone)]
pub(crate) struct Worker {
    jobs: Sender<Job>,
    waiting: Arc<Waiting>,
}

impl Worker {
    /// Starts the thread; it ends with [`Worker::stop`] or with the last clone.
    pub(crate) fn start(server: Arc<NameServer>) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, queue) = mpsc::channel();
        let waiting = Arc::new(Waiting::default());
        let mut work =
            Work { server, queue, waiting: Arc::clone(&waiting), connections: HashMap::new() };
        let thread =
            thread::Builder::new().name("namesrv-worker".to_owned()).spawn(move || work.run())?;
        Ok((Self { jobs, waiting }, thread))
    }

    /// Queues a request, or gives it back when too many wait.
    pub(crate) fn submit(&self, request: RemotingCommand, reply: Reply) -> Result<(), Reply> {
        if !self.waiting.enter(&request) {
            return Err(reply);
        }
        match self.jobs.send(Job::Request(Box::new(request), reply)) {
            Ok(()) => Ok(()),
            Err(mpsc::SendError(Job::Request(_, reply))) => Err(reply),
            Err(_) => Ok(()),
        }
    }

    /// Queues a departure unless `capacity` of them wait.
    pub(crate) fn depart(&self, departure: Departure, capacity: usize) -> bool {
        if self.waiting.departures.load(Ordering::Relaxed) >= capacity {
            return false;
        }
        self.waiting.departures.fetch_add(1, Ordering::Relaxed);
        self.jobs.send(Job::Departure(departure)).is_ok()
    }

    /// Has the brokers of a connection removed, behind what the connection still asked for.
    pub(crate) fn closed(&self, connection: u64) {
        // Without a thread there is nothing left to remove.
        let _ = self.jobs.send(Job::Closed(connection));
    }

    /// Ends the thread behind what waits already.
    pub(crate) fn stop(&self) {
        let _ = self.jobs.send(Job::Stop);
    }
}

/// What the thread owns.
struct Work {
    server: Arc<NameServer>,
    queue: Receiver<Job>,
    waiting: Arc<Waiting>,
    /// Connections that brokers registered on, to close those of silent ones.
    connections: HashMap<u64, Weak<Connection>>,
}

impl Work {
    fn run(&mut self) {
        let mut last_scan = Instant::now();
        let mut next = None;
        loop {
            let due = last_scan + self.scan_interval();
            let job = match next.take() {
                Some(job) => Ok(job),
                None => self.queue.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match job {
                Ok(Job::Request(request, reply)) => self.answer(&request, reply),
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(first) => next = self.remove(first),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= due {
                self.scan();
                last_scan = Instant::now();
            }
        }
    }

    fn scan_interval(&self) -> Duration {
        // 0 would leave no time for anything else.
        Duration::from_millis(self.server.settings().scan_not_active_broker_interval.max(100))
    }

    fn answer(&mut self, request: &RemotingCommand, reply: Reply) {
        self.waiting.leave(request);
        let connection = reply.connection();
        if request.request_code() == RequestCode::REGISTER_BROKER {
            self.connections.insert(connection.id(), Arc::downgrade(connection));
        }
        let response = self.server.handle(request, origin(connection), Instant::now());
        reply.send(response);
    }

    /// Removes brokers in one go, as many as wait; returns the job behind them.
    fn remove(&mut self, first: Job) -> Option<Job> {
        let mut departures = Vec::new();
        let mut job = Some(first);
        loop {
            match job {
                Some(Job::Departure(departure)) => {
                    self.waiting.departures.fetch_sub(1, Ordering::Relaxed);
                    departures.push(departure);
                }
                Some(Job::Closed(connection)) => {
                    if self.connections.remove(&connection).is_some() {
                        departures.extend(self.server.route_info.departures_of(connection));
                    }
                }
                other => {
                    if !departures.is_empty() {
                        self.server.unregister_brokers(&departures);
                    }
                    return other;
                }
            }
            job = self.queue.try_recv().ok();
        }
    }

    fn scan(&mut self) {
        let silent = self.server.route_info.silent(Instant::now());
        for (departure, connection) in &silent {
            tracing::warn!(
                cluster_name = departure.address.cluster_name,
                broker_name = departure.broker_name,
                broker_addr = departure.address.broker_addr,
                "broker silent for too long"
            );
            if let Some(connection) = self.connections.get(connection).and_then(Weak::upgrade) {
                connection.close();
            }
        }
        let departures: Vec<_> = silent.into_iter().map(|(departure, _)| departure).collect();
        if !departures.is_empty() {
            self.server.unregister_brokers(&departures);
        }
    }
}

/// What a request that waits holds; its fields may be as long as a body.
fn bytes_of(request: &RemotingCommand) -> usize {
    let fields = request.ext_fields.iter().map(|(name, value)| name.len() + value.len());
    let remark = request.remark.as_ref().map_or(0, String::len);
    request.body.len() + remark + fields.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_requests_that_take_long_wait_and_brokers_still_register() {
        let waiting = Waiting::default();
        let list = RemotingCommand::request(RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
        let registration = RemotingCommand::request(RequestCode::REGISTER_BROKER);
        let entered = (0..1_000).filter(|_| waiting.enter(&list)).count();
        assert_eq!(entered, MAX_WAITING_SLOW_REQUESTS);
        assert!(waiting.enter(&registration));
        waiting.leave(&registration);
        assert!(!waiting.enter(&list));
        waiting.leave(&list);
        assert!(waiting.enter(&list));
    }

    #[test]
    fn fields_and_remark_count_among_the_bytes_that_wait() {
        let mut request = RemotingCommand::request(RequestCode::PUT_KV_CONFIG)
            .with_body("body")
            .with_remark("remark");
        request.ext_fields.insert("value", "x".repeat(1_000));
        assert_eq!(bytes_of(&request), 4 + 6 + 5 + 1_000);
    }
}
