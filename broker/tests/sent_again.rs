//! A topic that stores each message once, with answers that wait for the disk.
#![allow(clippy::unwrap_used)] // Helpers of tests, too.

mod common;

use common::*;
use oxmq_broker::{Broker, StoreConfig};
use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::command::RemotingCommand;
use oxmq_store::FlushDiskType;

fn send_as(opaque: i32, unique_key: &str) -> RemotingCommand {
    let properties = format!("UNIQ_KEY\u{1}{unique_key}\u{2}");
    RemotingCommand { opaque, ..send_with(Some(&properties)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn message_that_is_sent_again_behind_a_new_one_keeps_no_answer_back() {
    let root = tempfile::tempdir().unwrap();
    let store = StoreConfig {
        flush_disk_type: FlushDiskType::SyncFlush,
        ..StoreConfig::in_dir(root.path())
    };
    let broker = Broker::start(settings(), store).await.unwrap();
    let address = broker.local_addr();
    let done = tokio::task::spawn_blocking(move || {
        let mut peer = Peer::connect(address);
        peer.write(&[create_topic("+oxmq.dedup.window.ms=600000")]);
        assert_eq!(peer.answer().response_code(), ResponseCode::SUCCESS);
        peer.write(&[send_as(1, "first")]);
        assert_eq!(peer.answer().response_code(), ResponseCode::SUCCESS);
        // The answer to the second tells of a place in the log before that of the first.
        peer.write(&[send_as(2, "second"), send_as(3, "first")]);
        let mut answered = [peer.answer(), peer.answer()].map(|answer| {
            assert_eq!(answer.response_code(), ResponseCode::SUCCESS);
            answer.opaque
        });
        answered.sort_unstable();
        assert_eq!(answered, [2, 3]);
    });
    done.await.unwrap();
    broker.shutdown().await;
}
