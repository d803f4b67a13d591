//! What a stop leaves of half messages to the broker that comes next.
#![allow(clippy::unwrap_used)] // Helpers of tests, too.

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::*;
use oxmq_broker::{Broker, BrokerSettings, StoreConfig};
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::header::GetMaxOffsetRequestHeader;

const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
const PREPARED: &str = "4";
/// Waits for a round that asks about messages.
const PAUSE: Duration = Duration::from_millis(20);

fn half() -> RemotingCommand {
    let properties = "UNIQ_KEY\u{1}k\u{2}PGROUP\u{1}producers\u{2}TRAN_MSG\u{1}true\u{2}";
    let mut request = send_with(Some(properties));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    request.ext_fields.insert("f", PREPARED);
    request.ext_fields.insert("g", now.as_millis().to_string());
    request
}

/// Waits until there is a copy of the message, which stands for it from then on.
fn wait_until_put_back(peer: &mut Peer) {
    loop {
        let header =
            GetMaxOffsetRequestHeader { topic: HALF_TOPIC.into(), queue_id: 0, committed: true };
        peer.write(&[RemotingCommand::request(RequestCode::GET_MAX_OFFSET).with_header(&header)]);
        let answer = peer.answer();
        if answer.ext_fields.iter().any(|(name, value)| name == "offset" && value != "1") {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn message_that_was_put_back_is_passed_though_the_log_was_not_flushed_since() {
    let root = tempfile::tempdir().unwrap();
    let settings =
        BrokerSettings { transaction_time_out: 0, transaction_check_interval: 300, ..settings() };
    let broker = Broker::start(settings, StoreConfig::in_dir(root.path())).await.unwrap();
    let address = broker.local_addr();
    let done = tokio::task::spawn_blocking(move || {
        let mut peer = Peer::connect(address);
        peer.write(&[create_topic("")]);
        assert_eq!(peer.answer().response_code(), ResponseCode::SUCCESS);
        peer.write(&[half()]);
        assert_eq!(peer.answer().response_code(), ResponseCode::SUCCESS);
        wait_until_put_back(&mut peer);
    });
    done.await.unwrap();
    broker.shutdown().await;
    let mut offsets =
        std::fs::read_to_string(root.path().join("config/consumerOffset.json")).unwrap();
    offsets.retain(|c| c != '"' && !c.is_whitespace());
    let (_, progress) =
        offsets.split_once(&format!("{HALF_TOPIC}@CID_RMQ_SYS_TRANS:{{0:")).unwrap();
    assert!(!progress.starts_with('0'), "{offsets}");
}
