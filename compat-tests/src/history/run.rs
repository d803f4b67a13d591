//! A server under a schedule of troubles, with clients whose every step is noted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::check::{Limits, check};
use super::consumer::Consumer;
use super::java::JavaPair;
use super::log::{History, Log, Message, Stored, What};
use super::pops::Pops;
use super::producer::Producer;
use super::schedule::{Random, Schedule, Trouble};
use super::timers::Timers;
use super::transactions::Transactions;
use crate::cut::CutProxy;
use crate::offsets_file::persisted_offsets;
use crate::ops;
use crate::wire::Conn;
use crate::{Kind, ServerUnderTest, wait};

const TOPIC: &str = "history";
const QUEUES: i32 = 4;
/// The first shares its queues by list alone, the second locks them.
const GROUPS: [&str; 2] = ["history_shared", "history_locked"];
const PRODUCERS: u32 = 2;
const MOST_CONSUMERS: usize = 5;
/// The address that the broker names, where a proxy that can cut stands before it.
const ADVERTISED_IP: &str = "127.0.0.2";
/// Two pulls: what one brought is committed with the next.
const IN_FLIGHT: i64 = 64;
/// A client looks at its group twice a second; a busy machine may take its time.
const OVERLAP_MS: u64 = 8_000;
/// How often the broker saves offsets: seldom enough that a kill loses some.
const OFFSET_FLUSH_MS: &str = "1000";
/// Locks end with the connection here; in the reference they last a minute unless this is set.
const REFERENCE_LOCK_TIME: &str = "-Drocketmq.broker.rebalance.lockMaxLiveTime=5000";
/// For consumers to read what is left when the troubles are over.
const DRAIN_LIMIT: Duration = Duration::from_secs(120);

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Everything that happens follows from it, but for the timing of threads.
    pub seed: u64,
    /// How long there is trouble.
    pub duration: Duration,
}

/// What came of it.
pub struct Outcome {
    /// What is wrong; empty when nothing is.
    pub problems: Vec<String>,
    /// What happened, in numbers.
    pub summary: String,
}

/// How a client is told to end.
#[derive(Default)]
pub(super) struct Stop(AtomicU8);

impl Stop {
    const LEAVE: u8 = 1;
    const CRASH: u8 = 2;

    /// Ends what waits for it, in peace.
    pub(super) fn set(&self) {
        self.0.store(Self::LEAVE, Ordering::SeqCst);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst) != 0
    }

    pub(super) fn is_crash(&self) -> bool {
        self.0.load(Ordering::SeqCst) == Self::CRASH
    }
}

/// Connects, unless nobody is there.
pub(super) fn connect(addr: &str) -> Option<Conn> {
    Conn::try_connect(addr).ok()
}

/// A client on a thread of its own, behind a proxy of its own.
pub(super) struct Member {
    group: &'static str,
    stop: Arc<Stop>,
    proxy: CutProxy,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    pub(super) fn start(
        group: &'static str,
        broker: &str,
        work: impl FnOnce(String, &Stop) + Send + 'static,
    ) -> Self {
        let proxy = CutProxy::start("127.0.0.1:0", broker);
        let stop = Arc::new(Stop::default());
        let (addr, seen) = (proxy.addr(), Arc::clone(&stop));
        let thread = Some(std::thread::spawn(move || work(addr, &seen)));
        Self { group, stop, proxy, thread }
    }

    pub(super) fn cut(&self) {
        self.proxy.cut();
    }

    /// Ends it in peace.
    pub(super) fn leave(self) {
        self.end(Stop::LEAVE);
    }

    fn crash(self) {
        self.stop.0.store(Stop::CRASH, Ordering::SeqCst);
        self.proxy.cut();
        self.end(Stop::CRASH);
    }

    fn end(mut self, how: u8) {
        self.stop.0.store(how, Ordering::SeqCst);
        let thread = self.thread.take().expect("it was not joined");
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Runs the schedule of the seed and checks what came of it.
///
/// # Panics
/// When the server does not start, or a client gets what it cannot read.
#[must_use]
pub fn run(plan: Plan) -> Outcome {
    let server = ServerUnderTest::setup()
        .broker_ip(ADVERTISED_IP)
        .java_option(REFERENCE_LOCK_TIME)
        .broker_conf("flushConsumerOffsetInterval", OFFSET_FLUSH_MS)
        .broker_conf("transactionTimeOut", "4000")
        .broker_conf("transactionCheckInterval", "2000")
        .broker_conf("transactionCheckMax", "1000")
        .start();
    let mut stage = Stage::new(server, plan.seed);
    let end = Instant::now() + plan.duration;
    let mut troubles: BTreeMap<String, u32> = BTreeMap::new();
    for (pause, trouble) in Schedule::new(plan.seed) {
        if Instant::now() + pause >= end {
            break;
        }
        std::thread::sleep(pause);
        let name = format!("{trouble:?}");
        let name = name.split('(').next().unwrap_or_default().to_owned();
        *troubles.entry(name).or_default() += 1;
        stage.make(trouble);
    }
    stage.finish(&troubles)
}

struct Stage {
    server: ServerUnderTest,
    log: Arc<Log>,
    random: Random,
    consumers: Vec<Member>,
    producers: Vec<Member>,
    next_client: u32,
    java: JavaPair,
    transactions: Transactions,
    timers: Timers,
    pops: Pops,
}

impl Stage {
    fn new(server: ServerUnderTest, seed: u64) -> Self {
        ops::create_topic(&server, TOPIC, QUEUES as u32);
        let java = JavaPair::start(&server);
        let transactions = Transactions::start(&server);
        let timers = Timers::start(&server);
        let pops = Pops::start(&server);
        let mut stage = Self {
            server,
            log: Arc::new(Log::new()),
            random: Random::new(!seed),
            consumers: Vec::new(),
            producers: Vec::new(),
            next_client: 0,
            java,
            transactions,
            timers,
            pops,
        };
        for group in [0, 0, 1, 1] {
            stage.join(GROUPS[group]);
        }
        for _ in 0..PRODUCERS {
            stage.add_producer();
        }
        stage
    }

    fn make(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Cut(which) => {
                let clients: Vec<&Member> = self.consumers.iter().chain(&self.producers).collect();
                match which as usize % (clients.len() + 3) {
                    0 => self.transactions.cut(),
                    1 => self.timers.cut(),
                    2 => self.pops.cut(which),
                    index => clients[index - 3].cut(),
                }
            }
            Trouble::CutJava => self.java.cut(),
            Trouble::CrashConsumer(which) => {
                if let Some(member) = take(&mut self.consumers, which) {
                    member.crash();
                }
            }
            Trouble::LeaveConsumer(which) => {
                if let Some(member) = take(&mut self.consumers, which) {
                    member.leave();
                }
            }
            Trouble::Join(which) => {
                let group = GROUPS[which as usize % GROUPS.len()];
                if self.members(group) < MOST_CONSUMERS {
                    self.join(group);
                }
            }
            Trouble::CrashProducer(which) => {
                if let Some(member) = take(&mut self.producers, which) {
                    member.crash();
                }
                self.add_producer();
            }
            Trouble::Restart => {
                self.server.stop();
                self.log.note(What::Stopped);
                self.server.restart();
                self.log.note(What::Started);
            }
            Trouble::Kill => {
                self.server.kill9();
                self.log.note(What::Killed { persisted: self.persisted() });
                self.pops.killed(&self.server);
                self.server.restart();
                self.log.note(What::Started);
            }
        }
    }

    fn members(&self, group: &str) -> usize {
        self.consumers.iter().filter(|member| member.group == group).count()
    }

    fn join(&mut self, group: &'static str) {
        self.next_client += 1;
        let (log, number, random) =
            (Arc::clone(&self.log), self.next_client, Random::new(self.random.next()));
        let work = move |addr, stop: &Stop| {
            let consumer = Consumer {
                log,
                addr,
                client_id: format!("consumer-{number}"),
                group,
                topic: TOPIC,
                queues: QUEUES,
                orderly: group == GROUPS[1],
                random,
            };
            consumer.run(stop);
        };
        self.consumers.push(Member::start(group, &self.server.broker_addr(), work));
    }

    fn add_producer(&mut self) {
        self.next_client += 1;
        let (log, number) = (Arc::clone(&self.log), self.next_client);
        let work = move |addr, stop: &Stop| {
            Producer { log, addr, number, topic: TOPIC, queues: QUEUES }.run(stop);
        };
        self.producers.push(Member::start("", &self.server.broker_addr(), work));
    }

    fn persisted(&self) -> BTreeMap<(&'static str, i32), i64> {
        let of_group = |group| {
            let offsets = persisted_offsets(self.server.store_dir(), TOPIC, group);
            offsets.into_iter().map(move |(queue, offset)| ((group, queue), offset))
        };
        GROUPS.into_iter().flat_map(of_group).collect()
    }

    fn finish(mut self, troubles: &BTreeMap<String, u32>) -> Outcome {
        self.producers.drain(..).for_each(Member::leave);
        for group in GROUPS {
            if self.members(group) == 0 {
                self.join(group);
            }
        }
        let mut conn = Conn::connect(&self.server.broker_addr());
        // What was not read by then is found by the checker.
        wait::try_until(DRAIN_LIMIT, || {
            let done = GROUPS.iter().all(|group| {
                (0..QUEUES).all(|queue| {
                    let end = ops::max_offset(&mut conn, TOPIC, queue);
                    let committed = ops::committed_offset(&mut conn, group, TOPIC, queue);
                    committed.unwrap_or(0) >= end
                })
            });
            done.then_some(())
        });
        self.consumers.drain(..).for_each(Member::leave);
        let mut stored = Vec::new();
        for queue in 0..QUEUES {
            for record in ops::walk_queue(&mut conn, "history_reader", TOPIC, queue, 0) {
                let message = Message::parse(record.text()).expect("a message of ours");
                stored.push(Stored { queue, offset: record.queue_offset, message });
            }
        }
        let history = History { events: self.log.take(), stored };
        let limits =
            Limits { in_flight: IN_FLIGHT, overlap_ms: OVERLAP_MS, locking_group: GROUPS[1] };
        let violations = check(&history, &limits);
        let mut problems: Vec<String> = violations.iter().map(ToString::to_string).collect();
        // The reference repeats timers, transactions and pops after a crash, and what was committed while
        // it stopped.
        let repeats = self.server.kind() != Kind::Ours;
        let mut counts = counts(&history);
        for (name, (more, count)) in [
            ("with the Java client", self.java.finish(&self.server)),
            ("in transactions", self.transactions.finish(&self.server, repeats)),
            ("for later", self.timers.finish(&self.server, repeats)),
            ("popped", self.pops.finish(repeats)),
        ] {
            problems.extend(more);
            counts.push_str(&format!(", {count} {name}"));
        }
        Outcome { problems, summary: format!("{counts}; {troubles:?}") }
    }
}

fn counts(history: &History) -> String {
    let count =
        |is: fn(&What) -> bool| history.events.iter().filter(|event| is(&event.what)).count();
    format!(
        "{} messages acknowledged, {} delivered to {} groups in {} sessions with {} commits",
        count(|what| matches!(what, What::Acked { .. })),
        count(|what| matches!(what, What::Delivered { .. })),
        GROUPS.len(),
        count(|what| matches!(what, What::Began { .. })),
        count(|what| matches!(what, What::CommitAcked { .. })),
    )
}

fn take(members: &mut Vec<Member>, which: u32) -> Option<Member> {
    let count = members.len();
    (count > 0).then(|| members.swap_remove(which as usize % count))
}
