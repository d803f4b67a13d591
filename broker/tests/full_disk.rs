//! With SYNC_FLUSH, what nobody waits for the disk for while the disk takes nothing.
#![allow(clippy::unwrap_used)] // Helpers of tests, too.

mod common;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use oxmq_broker::{Broker, StoreConfig};
use oxmq_protocol::body::{HeartbeatData, ProducerData};
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::fastjson::{Dialect, to_vec};
use oxmq_protocol::header::{
    AckMessageRequestHeader, ConsumerSendMsgBackRequestHeader, Header as _,
    PopMessageResponseHeader, SendMessageResponseHeader,
};
use oxmq_protocol::message::{MessageExt, ReceiptHandle, TopicKind, message_id};
use oxmq_store::{Environment, FlushDiskType, Fs, FsOp};

const REQUESTER: &str = "127.0.0.1@requester";

/// Writes of log files fail while the flag is set.
fn fails_while(is_full: &Arc<AtomicBool>) -> Environment {
    let is_full = Arc::clone(is_full);
    let fs = Fs::with_fault(move |op, path| {
        let is_log = path.parent().is_some_and(|dir| dir.ends_with("commitlog"));
        if is_full.load(Ordering::Relaxed) && op == FsOp::Write && is_log {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    });
    Environment { fs, ..Environment::default() }
}

fn send_back(offset: i64) -> RemotingCommand {
    let header = ConsumerSendMsgBackRequestHeader {
        offset,
        group: "consumers".into(),
        delay_level: 0,
        origin_msg_id: None,
        origin_topic: None,
        unit_mode: false,
        max_reconsume_times: None,
    };
    RemotingCommand::request(RequestCode::CONSUMER_SEND_MSG_BACK).with_header(&header)
}

/// The answer to a request that [`REQUESTER`] has made.
fn reply() -> RemotingCommand {
    let code = RequestCode::SEND_REPLY_MESSAGE_V2.0;
    RemotingCommand { code, ..send_with(Some(&format!("REPLY_TO_CLIENT\x01{REQUESTER}\x02"))) }
}

fn heartbeat() -> RemotingCommand {
    let heartbeat = HeartbeatData {
        client_id: REQUESTER.into(),
        producer_data_set: vec![ProducerData { group_name: "requesters".into() }],
        ..HeartbeatData::default()
    };
    RemotingCommand::request(RequestCode::HEART_BEAT)
        .with_body(to_vec(&heartbeat, Dialect::Raw).unwrap())
}

/// Acknowledges what a pop has given.
fn done_with(popped: &RemotingCommand) -> RemotingCommand {
    let MessageExt { queue_id, queue_offset, .. } = MessageExt::decode(&popped.body).unwrap();
    let header = PopMessageResponseHeader::decode(&popped.ext_fields).unwrap();
    let receipt = ReceiptHandle {
        start_offset: queue_offset,
        pop_time_ms: header.pop_time,
        invisible_ms: header.invisible_time,
        revive_queue_id: header.revive_qid,
        kind: TopicKind::Normal,
        broker_name: "broker",
        queue_id,
        queue_offset,
    };
    let header = AckMessageRequestHeader {
        consumer_group: "poppers".into(),
        topic: TOPIC.into(),
        queue_id,
        extra_info: receipt.to_string(),
        offset: queue_offset,
        lite_topic: None,
    };
    RemotingCommand::request(RequestCode::ACK_MESSAGE).with_header(&header)
}

fn send_response(answer: &RemotingCommand) -> SendMessageResponseHeader {
    assert_eq!(answer.response_code(), ResponseCode::SUCCESS, "{answer:?}");
    SendMessageResponseHeader::decode(&answer.ext_fields).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_not_acknowledged_though_nobody_waits_for_the_disk() {
    let root = tempfile::tempdir().unwrap();
    let store = StoreConfig {
        flush_disk_type: FlushDiskType::SyncFlush,
        // The flusher does nothing that it is not asked to.
        flush_interval_commit_log: 3_600_000,
        mapped_file_size_commit_log: 1 << 20,
        ..StoreConfig::in_dir(root.path())
    };
    let is_full = Arc::new(AtomicBool::new(false));
    let broker = Broker::start_with(settings(), store, fails_while(&is_full)).await.unwrap();
    let address = broker.local_addr();
    let done = tokio::task::spawn_blocking(move || {
        let (mut peer, mut requester) = (Peer::connect(address), Peer::connect(address));
        requester.write(&[heartbeat()]);
        assert_eq!(requester.answer().response_code(), ResponseCode::SUCCESS);
        // The pushes of two answers.
        let taking = std::thread::spawn(move || {
            for _ in 0..2 {
                let opaque = requester.answer().opaque;
                let taken = RemotingCommand::response(ResponseCode::SUCCESS);
                requester.write(&[RemotingCommand { opaque, ..taken }]);
            }
        });
        let mut ask = |request: RemotingCommand, when_full: bool| {
            let mut answer_to = |request| {
                peer.write(&[request]);
                peer.answer()
            };
            // Whoever waits has what could not be written before brought to disk, too.
            while answer_to(send()).response_code() != ResponseCode::SUCCESS {}
            is_full.store(when_full, Ordering::Relaxed);
            let answer = answer_to(request);
            is_full.store(false, Ordering::Relaxed);
            answer
        };
        let first = send_response(&ask(send(), false));
        let (_, first) = message_id::decode(&first.msg_id).unwrap();

        let hurried = || send_with(Some("WAIT\x01false\x02"));
        send_response(&ask(hurried(), false));
        let refused = ask(hurried(), true);
        assert_eq!(refused.response_code(), ResponseCode::SERVICE_NOT_AVAILABLE);

        assert_eq!(ask(send_back(first), false).response_code(), ResponseCode::SUCCESS);
        let refused = ask(send_back(first), true);
        assert_eq!(refused.response_code(), ResponseCode::SYSTEM_ERROR);
        assert!(refused.remark.unwrap().contains("SERVICE_NOT_AVAILABLE"));

        let popped = ask(pop_with("poppers", 60_000, 0), false);
        let refused = ask(done_with(&popped), true);
        assert_eq!(refused.response_code(), ResponseCode::SYSTEM_ERROR, "{refused:?}");
        assert_eq!(ask(done_with(&popped), false).response_code(), ResponseCode::SUCCESS);

        // The requester has it all the same.
        assert_ne!(send_response(&ask(reply(), false)).msg_id, "0");
        assert_eq!(send_response(&ask(reply(), true)).msg_id, "0");
        taking.join().unwrap();
    });
    done.await.unwrap();
    broker.shutdown().await;
}
