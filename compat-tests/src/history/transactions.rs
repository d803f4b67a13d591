//! Half messages: each ends once, the way its producer decided.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use super::run::{Member, Stop, connect};
use crate::ops::{self, code, response};
use crate::wire::{Command, Conn};
use crate::{Record, ServerUnderTest, wait};

const TOPIC: &str = "history_transactions";
const GROUP: &str = "history_transaction_producers";
const COMMIT: &str = "8";
const ROLLBACK: &str = "12";
const ONEWAY: i32 = 2;
/// Between two messages.
const PACE: Duration = Duration::from_millis(25);
const BEAT: Duration = Duration::from_secs(1);
/// Questions come in rounds of seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// Whether the answer to the half message came.
type All = Arc<Mutex<BTreeMap<u32, bool>>>;

pub(super) struct Transactions {
    sent: All,
    /// Set when no more are to be sent; questions are still answered.
    full: Arc<Stop>,
    member: Option<Member>,
}

impl Transactions {
    pub(super) fn start(server: &ServerUnderTest) -> Self {
        ops::create_topic(server, TOPIC, 1);
        let (sent, full) = (All::default(), Arc::new(Stop::default()));
        let (noted, no_more) = (Arc::clone(&sent), Arc::clone(&full));
        let work = move |addr: String, stop: &Stop| {
            let mut producer = Producer { noted, no_more, next: 0 };
            while !stop.is_set() {
                match connect(&addr) {
                    // Whatever ends it, the next connection goes on.
                    Some(mut conn) => drop(producer.work(&mut conn, stop)),
                    None => std::thread::sleep(PACE),
                }
            }
        };
        Self { sent, full, member: Some(Member::start("", &server.broker_addr(), work)) }
    }

    pub(super) fn cut(&self) {
        self.member.as_ref().expect("it runs").cut();
    }

    /// What is wrong, and how many there were.
    pub(super) fn finish(
        mut self,
        server: &ServerUnderTest,
        repeats: bool,
    ) -> (Vec<String>, usize) {
        self.full.set();
        let mut conn = Conn::connect(&server.broker_addr());
        let mut given: BTreeMap<u32, usize> = BTreeMap::new();
        let sent = self.sent.lock().unwrap().clone();
        let complete = wait::try_until(LIMIT, || {
            given.clear();
            for record in ops::walk_queue(&mut conn, "history_reader", TOPIC, 0, 0) {
                *given.entry(index_of(&record)).or_default() += 1;
            }
            let came = |(index, acked): (&u32, &bool)| {
                !acked || !is_committed(*index) || given.contains_key(index)
            };
            sent.iter().all(came).then_some(())
        });
        self.member.take().expect("it runs").leave();
        let mut problems = Vec::new();
        if complete.is_none() {
            let missing = sent.iter().filter(|(index, acked)| {
                **acked && is_committed(**index) && !given.contains_key(index)
            });
            problems.extend(missing.map(|(index, _)| format!("transaction {index} never ended")));
        }
        for (index, times) in given {
            if !is_committed(index) {
                problems.push(format!("transaction {index} was rolled back and came"));
            } else if times > 1 && !repeats {
                problems.push(format!("transaction {index} came {times} times"));
            }
        }
        (problems, sent.len())
    }
}

/// By index, every third is committed, rolled back, or left until the broker asks.
fn is_committed(index: u32) -> bool {
    match index % 3 {
        0 => true,
        1 => false,
        _ => index.is_multiple_of(2),
    }
}

fn index_of(record: &Record) -> u32 {
    record.text().parse().expect("a message of ours")
}

/// Where a half message is.
struct Place {
    queue_offset: i64,
    phy_offset: i64,
    key: String,
}

struct Producer {
    noted: All,
    no_more: Arc<Stop>,
    next: u32,
}

impl Producer {
    fn work(&mut self, conn: &mut Conn, stop: &Stop) -> io::Result<()> {
        let mut beat_at: Option<Instant> = None;
        while !stop.is_set() {
            if beat_at.is_none_or(|at| at.elapsed() >= BEAT) {
                beat_at = Some(Instant::now());
                let body = json!({
                    "clientID": "history-transactions",
                    "producerDataSet": [{"groupName": GROUP}],
                    "consumerDataSet": [],
                });
                let beat = Command::request(code::HEART_BEAT, &[]).with_body(body.to_string());
                self.call(conn, beat)?;
            }
            std::thread::sleep(PACE);
            if self.no_more.is_set() {
                // An answer to anything shows what was asked before it.
                self.call(
                    conn,
                    Command::request(code::GET_MAX_OFFSET, &[("topic", TOPIC), ("queueId", "0")]),
                )?;
                continue;
            }
            self.send(conn)?;
        }
        Ok(())
    }

    fn send(&mut self, conn: &mut Conn) -> io::Result<()> {
        let index = self.next;
        self.next += 1;
        self.noted.lock().unwrap().insert(index, false);
        let key = format!("history-{index}");
        let properties =
            format!("UNIQ_KEY\u{1}{key}\u{2}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{GROUP}\u{2}");
        let request = ops::send_request(TOPIC, 0, &properties, index.to_string().as_bytes());
        let answer = self.call(conn, request)?;
        if answer.code != response::SUCCESS {
            return Ok(());
        }
        self.noted.lock().unwrap().insert(index, true);
        if index % 3 == 2 {
            return Ok(());
        }
        let id = &answer.ext["msgId"];
        let place = Place {
            queue_offset: answer.number("queueOffset"),
            phy_offset: i64::from_str_radix(&id[id.len() - 16..], 16).unwrap(),
            key,
        };
        self.call(conn, decision(index, &place, false))?;
        Ok(())
    }

    /// Asks, and answers what the broker asks in between.
    fn call(&self, conn: &mut Conn, request: Command) -> io::Result<Command> {
        conn.call_minding(request, |conn, asked| {
            if asked.code == code::CHECK_TRANSACTION_STATE {
                let place = Place {
                    queue_offset: asked.number("tranStateTableOffset"),
                    phy_offset: asked.number("commitLogOffset"),
                    key: asked.ext["msgId"].clone(),
                };
                let index = index_of(&Record::decode_all(&asked.body)[0]);
                conn.send(decision(index, &place, true))?;
            }
            Ok(())
        })
    }
}

fn decision(index: u32, place: &Place, was_asked: bool) -> Command {
    let mut request = Command::request(
        code::END_TRANSACTION,
        &[
            ("producerGroup", GROUP),
            ("tranStateTableOffset", &place.queue_offset.to_string()),
            ("commitLogOffset", &place.phy_offset.to_string()),
            ("commitOrRollback", if is_committed(index) { COMMIT } else { ROLLBACK }),
            ("fromTransactionCheck", if was_asked { "true" } else { "false" }),
            ("msgId", &place.key),
            ("transactionId", &place.key),
        ],
    );
    if was_asked {
        request.flag = ONEWAY;
    }
    request
}
