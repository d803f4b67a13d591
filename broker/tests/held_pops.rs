//! Pops that wait for a message that another one was given and has not acknowledged.
#![allow(clippy::unwrap_used)] // Helpers of tests, too.

mod common;

use std::time::Duration;

use common::*;
use oxmq_broker::{Broker, StoreConfig};
use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::message::MessageExt;
use oxmq_store::{Environment, FlushDiskType, Fs, FsOp};

fn pop(invisible_time: i64, poll_time: i64) -> RemotingCommand {
    pop_with("consumers", invisible_time, poll_time)
}

/// Each flush of the log takes so long that whoever looks at once sees nothing of what was put.
fn slow_disk() -> Environment {
    let fs = Fs::with_fault(|op, path| {
        if op == FsOp::Flush && path.parent().is_some_and(|dir| dir.ends_with("commitlog")) {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    });
    Environment { fs, ..Environment::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn message_to_try_again_wakes_a_pop_once_it_is_on_disk() {
    let root = tempfile::tempdir().unwrap();
    let store = StoreConfig {
        flush_disk_type: FlushDiskType::SyncFlush,
        ..StoreConfig::in_dir(root.path())
    };
    let broker = Broker::start_with(settings(), store, slow_disk()).await.unwrap();
    let address = broker.local_addr();
    let done = tokio::task::spawn_blocking(move || {
        let mut peer = Peer::connect(address);
        let mut ask = |request: RemotingCommand| {
            peer.write(&[request]);
            let answer = peer.answer();
            assert_eq!(answer.response_code(), ResponseCode::SUCCESS, "{answer:?}");
            MessageExt::decode_all(&answer.body).unwrap_or_default()
        };
        ask(send());
        let first = ask(pop(500, 0));
        assert_eq!((first.len(), first[0].reconsume_times), (1, 0));
        // It waits for longer than an answer may take here.
        let again = ask(pop(60_000, 600_000));
        assert_eq!((again.len(), again[0].reconsume_times), (1, 1));
    });
    done.await.unwrap();
    broker.shutdown().await;
}
