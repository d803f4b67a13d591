//! An official producer and an official push consumer, behind the proxy at the advertised address.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

use super::run::Stop;
use crate::client::body;
use crate::cut::CutProxy;
use crate::wire::Conn;
use crate::{Client, ClientKind, Received, ServerUnderTest, ops, wait};

const TOPIC: &str = "history_java";
const GROUP: &str = "history_java_group";
const QUEUES: i32 = 4;
/// Messages of one command to the producer.
const BATCH: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// The client notices that it has to take a queue again when it next looks, every 20 s.
const LIMIT: Duration = Duration::from_secs(120);
/// What the push consumer holds of one queue (`pullThresholdForQueue`), given again after a cut.
const HELD: usize = 1_000;

type Acked = Arc<Mutex<BTreeMap<(i64, i64), String>>>;

pub(super) struct JavaPair {
    acked: Acked,
    stop: Arc<Stop>,
    producer: Option<JoinHandle<()>>,
    consumer: Option<Client>,
    journal: PathBuf,
    proxy: CutProxy,
    cuts: std::cell::Cell<usize>,
    _dir: TempDir,
}

impl JavaPair {
    pub(super) fn start(server: &ServerUnderTest) -> Self {
        let proxy = CutProxy::start(&server.advertised_addr(), &server.broker_addr());
        ops::create_topic(server, TOPIC, QUEUES as u32);
        let dir = tempfile::Builder::new().prefix("oxmq-compat-history-").tempdir().unwrap();
        let journal = dir.path().join("journal");
        let mut consumer = Client::start(ClientKind::Java550, server);
        consumer.consume_with_journal("consumer", TOPIC, GROUP, &journal);
        let (acked, stop) = (Acked::default(), Arc::new(Stop::default()));
        let (noted, seen) = (Arc::clone(&acked), Arc::clone(&stop));
        let mut client = Client::start(ClientKind::Java550, server);
        let producer = std::thread::spawn(move || {
            for round in 0.. {
                if seen.is_set() {
                    return;
                }
                send(&mut client, round, &noted);
                std::thread::sleep(PAUSE);
            }
        });
        Self {
            acked,
            stop,
            producer: Some(producer),
            consumer: Some(consumer),
            journal,
            proxy,
            cuts: std::cell::Cell::new(0),
            _dir: dir,
        }
    }

    pub(super) fn cut(&self) {
        self.cuts.set(self.cuts.get() + 1);
        self.proxy.cut();
    }

    /// What is wrong, and how many there were.
    pub(super) fn finish(mut self, server: &ServerUnderTest) -> (Vec<String>, usize) {
        self.stop.set();
        self.producer.take().expect("it runs").join().expect("the producer works");
        let acked = std::mem::take(&mut *self.acked.lock().unwrap());
        let mut given: HashMap<(i64, i64), Vec<String>> = HashMap::new();
        wait::try_until(LIMIT, || {
            given.clear();
            for Received { queue_id, queue_offset, body, .. } in
                Received::read_journal(&self.journal)
            {
                given.entry((queue_id, queue_offset)).or_default().push(body);
            }
            acked.keys().all(|place| given.contains_key(place)).then_some(())
        });
        drop(self.consumer.take());
        let mut conn = Conn::connect(&server.broker_addr());
        let mut problems = Vec::new();
        for queue in 0..QUEUES {
            let stored = ops::walk_queue(&mut conn, "history_reader", TOPIC, queue, 0);
            let of_queue = (i64::from(queue), 0)..(i64::from(queue) + 1, 0);
            for (&(_, offset), body) in acked.range(of_queue) {
                let there = stored.get(offset as usize).map(|record| record.text());
                if there != Some(body.as_str()) {
                    problems
                        .push(format!("{queue}/{offset} was acknowledged for {body}: {there:?}"));
                }
                let place = (i64::from(queue), offset);
                match given.get(&place) {
                    None => {
                        problems.push(format!("{queue}/{offset} never reached the Java client"))
                    }
                    Some(bodies) if bodies.iter().any(|given| given != body) => {
                        problems.push(format!(
                            "{queue}/{offset} reached the Java client as {bodies:?}"
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
        let again: usize = given.values().map(|bodies| bodies.len() - 1).sum();
        // A restart is a cut as well.
        let most = (self.cuts.get() + 1) * HELD * QUEUES as usize;
        if again > most {
            problems.push(format!("{again} messages reached the Java client again, {most} may"));
        }
        (problems, acked.len())
    }
}

fn send(client: &mut Client, round: usize, noted: &Acked) {
    let prefix = format!("h{round}");
    let count = BATCH.to_string();
    let args = [("mode", "sync"), ("topic", TOPIC), ("prefix", &*prefix), ("count", &*count)];
    // While the broker is away some, or all, fail.
    let Ok(result) = client.try_run("send", &args) else { return };
    let sent = result["sent"].as_array().cloned().unwrap_or_default();
    let mut noted = noted.lock().unwrap();
    for sent in sent {
        let number = |key: &str| sent[key].as_i64().unwrap_or_else(|| panic!("{key} in {sent}"));
        let body = body(&prefix, number("i") as usize);
        let place = (number("q"), number("o"));
        let twice = noted.insert(place, body);
        assert_eq!(twice, None, "{place:?} was acknowledged twice");
    }
}
