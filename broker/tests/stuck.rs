//! A disk that neither takes what is written nor refuses it.
#![allow(clippy::unwrap_used)] // Helpers of tests, too.

mod common;

use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use oxmq_broker::{Broker, StoreConfig};
use oxmq_protocol::body::KVTable;
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::ext_fields::Fields as _;
use oxmq_store::{Environment, Fs, FsOp};

/// More than the log keeps ready, in messages of a quarter of a MiB.
const MANY: i32 = 64;

/// Writes of log files wait while somebody has the lock to himself.
fn waits_for(disk: &Arc<RwLock<()>>) -> Environment {
    let disk = Arc::clone(disk);
    let fs = Fs::with_fault(move |op, path| {
        if op == FsOp::Write && path.parent().is_some_and(|dir| dir.ends_with("commitlog")) {
            drop(disk.read());
        }
        Ok(())
    });
    Environment { fs, ..Environment::default() }
}

/// Milliseconds for which nobody else has been able to append.
fn stuck_ms(peer: &mut Peer) -> u64 {
    peer.write(&[RemotingCommand::request(RequestCode::GET_BROKER_RUNTIME_INFO)]);
    let info: KVTable = serde_json::from_slice(&peer.answer().body).unwrap();
    info.table["pageCacheLockTimeMills"].parse().unwrap()
}

/// Answers to some sends of one turn.
fn send_some(peer: &mut Peer, unique_keys: &str) -> Vec<RemotingCommand> {
    let send = |opaque| {
        let properties = format!("UNIQ_KEY\u{1}{unique_keys}{opaque}\u{2}");
        RemotingCommand { opaque, ..send_with(Some(&properties)) }
    };
    peer.write(&[1, 2, 3, 4, 5].map(send));
    (1..=5).map(|_| peer.answer()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_of_a_turn_are_refused_while_another_thread_is_stuck_and_taken_afterwards() {
    let root = tempfile::tempdir().unwrap();
    let store =
        StoreConfig { mapped_file_size_commit_log: 64 << 20, ..StoreConfig::in_dir(root.path()) };
    let disk = Arc::new(RwLock::new(()));
    let broker = Broker::start_with(settings(), store, waits_for(&disk)).await.unwrap();
    let address = broker.local_addr();
    let done = tokio::task::spawn_blocking(move || {
        // They are served by different threads.
        let (mut first, mut second) = (Peer::connect(address), Peer::connect(address));
        let before = send_some(&mut second, "before");
        assert!(before.iter().all(|it| it.response_code() == ResponseCode::SUCCESS), "{before:?}");

        let stopped = disk.write().unwrap();
        let stuck = thread::spawn(move || {
            let body = vec![7; 256 << 10];
            for opaque in 0..MANY {
                let body = body.clone().into();
                first.write(&[RemotingCommand { opaque, body, ..send() }]);
            }
            (0..MANY).all(|_| first.answer().response_code() == ResponseCode::SUCCESS)
        });
        let begin = Instant::now();
        while stuck_ms(&mut second) < 1_000 {
            assert!(begin.elapsed() < Duration::from_secs(30), "nobody is stuck");
            thread::yield_now();
        }
        for answer in send_some(&mut second, "meanwhile") {
            assert_eq!(answer.response_code(), ResponseCode::SYSTEM_BUSY, "{answer:?}");
            assert!(answer.remark.unwrap().contains("broker busy"));
        }
        drop(stopped);
        assert!(stuck.join().unwrap());
        for answer in send_some(&mut second, "after") {
            assert_eq!(answer.response_code(), ResponseCode::SUCCESS, "{answer:?}");
            let key = answer.ext_fields.get("transactionId").unwrap();
            assert_eq!(key, format!("after{}", answer.opaque));
        }
    });
    done.await.unwrap();
    broker.shutdown().await;
}
