//! Appends in process, without sockets: nanoseconds and page faults per record.
//!
//! `cargo bench -p oxmq-store --bench append -- [records] [body bytes] [threads] [directory]`

#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first trouble")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use oxmq_protocol::message::Message;
use oxmq_store::{MessageStore, PutMessageStatus, StoreConfig};

const QUEUES: i32 = 8;
/// Less than the half of what the helper keeps ready for a busy store.
const BURST_BYTES: usize = 6 << 20;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let mut number = |default: usize| args.next().map_or(default, |arg| arg.parse().unwrap());
    let (records, body_bytes, threads) = (number(2_000_000), number(1024), number(1));
    let parent = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(parent).unwrap();

    for index in [false, true] {
        let root = dir.path().join(format!("index-{index}"));
        let config = StoreConfig { message_index_enable: index, ..StoreConfig::in_dir(root) };
        let store = MessageStore::open(config).unwrap();
        // The helper needs a moment to make the first pages.
        append(&store, 100_000, body_bytes, 1);
        std::thread::sleep(Duration::from_millis(200));
        let what = format!("append, {threads} threads, {body_bytes} B, index {index}");
        println!("{what}, flat out: {}", append(&store, records, body_bytes, threads));
        let paced = append_in_bursts(&store, records, body_bytes);
        println!("append, 1 thread, {body_bytes} B, index {index}, pages present: {paced}");
        let begin = Instant::now();
        store.close().unwrap();
        println!("close: {:?}", begin.elapsed());
    }
}

fn append(store: &Arc<MessageStore>, records: usize, body_bytes: usize, threads: usize) -> String {
    let barrier = Barrier::new(threads);
    let per_thread = records / threads;
    let results: Vec<Run> = std::thread::scope(|scope| {
        let run = || {
            barrier.wait();
            append_on_this_thread(store, per_thread, body_bytes)
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    let run = Run {
        elapsed: results.iter().map(|run| run.elapsed).max().unwrap(),
        cpu_ns: results.iter().map(|run| run.cpu_ns).sum(),
        faults: results.iter().map(|run| run.faults).sum(),
    };
    run.describe(per_thread * threads)
}

/// Appends in bursts that fit into what the helper has prepared, and lets it prepare between them.
fn append_in_bursts(store: &MessageStore, records: usize, body_bytes: usize) -> String {
    let burst = BURST_BYTES / body_bytes.max(100);
    let mut total = Run { elapsed: Duration::ZERO, cpu_ns: 0, faults: 0 };
    let mut done = 0;
    while done < records {
        std::thread::sleep(Duration::from_millis(10));
        let run = append_on_this_thread(store, burst, body_bytes);
        total.elapsed += run.elapsed;
        total.cpu_ns += run.cpu_ns;
        total.faults += run.faults;
        done += burst;
    }
    total.describe(done)
}

impl Run {
    fn describe(&self, records: usize) -> String {
        let records = records as f64;
        format!(
            "{:.0} ns/record, {:.2} M records/s; CPU of the senders {:.0} ns, {:.5} faults/record",
            self.elapsed.as_nanos() as f64 / records,
            records / self.elapsed.as_secs_f64() / 1e6,
            self.cpu_ns as f64 / records,
            self.faults as f64 / records,
        )
    }
}

/// What one thread's appends took.
struct Run {
    elapsed: Duration,
    cpu_ns: u64,
    faults: u64,
}

fn append_on_this_thread(store: &MessageStore, records: usize, body_bytes: usize) -> Run {
    let body = vec![b'x'; body_bytes];
    let properties =
        b"UNIQ_KEY\x017F0000010001000000000001\x02TAGS\x01TagA\x02CLUSTER\x01DefaultCluster\x02";
    let (faults, cpu_ns) = (faults_of_this_thread(), cpu_ns_of_this_thread());
    let begin = Instant::now();
    for number in 0..records {
        let result = store.put_message(&Message {
            properties,
            ..Message::new("BenchmarkTest", number as i32 % QUEUES, &body)
        });
        assert_eq!(result.status, PutMessageStatus::PutOk);
    }
    Run {
        elapsed: begin.elapsed(),
        cpu_ns: cpu_ns_of_this_thread() - cpu_ns,
        faults: faults_of_this_thread() - faults,
    }
}

/// Minor page faults, the tenth field of the thread's statistics.
fn faults_of_this_thread() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    after_name.split_whitespace().nth(7).unwrap().parse().unwrap()
}

/// Time on a processor, the first field of the thread's scheduling statistics.
fn cpu_ns_of_this_thread() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}
