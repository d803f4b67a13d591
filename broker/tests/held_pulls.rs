//! Pulls that wait while messages come as fast as they can.
#![allow(clippy::unwrap_used)] // Helpers of tests, too.

mod common;

use std::net::SocketAddr;

use common::*;
use oxmq_broker::{Broker, StoreConfig};
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::header::{
    Header as _, PullMessageResponseHeader, UnregisterClientRequestHeader, pull_sys_flag,
};
use oxmq_protocol::message::MessageExt;
use oxmq_store::FlushDiskType;

/// Enough for many pulls to be held in the very moment in which a message comes.
const MESSAGES: i64 = 40_000;
/// Sent at once, so that messages come while pulls are looked at.
const WINDOW: usize = 4;
const PULLERS: usize = 4;

fn pull(offset: i64) -> RemotingCommand {
    pull_from(TOPIC, offset, 20_000)
}

fn pull_from(topic: &str, offset: i64, suspend_timeout_millis: i64) -> RemotingCommand {
    let sys_flag = pull_sys_flag::SUSPEND | pull_sys_flag::SUBSCRIPTION;
    pull_with(sys_flag, topic, offset, suspend_timeout_millis)
}

fn pull_all(address: SocketAddr) {
    let mut peer = Peer::connect(address);
    let mut offset = 0;
    while offset < MESSAGES {
        peer.write(&[pull(offset)]);
        let answer = peer.answer();
        if answer.response_code() == ResponseCode::SUCCESS {
            offset =
                PullMessageResponseHeader::decode(&answer.ext_fields).unwrap().next_begin_offset;
        } else {
            assert_eq!(answer.response_code(), ResponseCode::PULL_NOT_FOUND, "{answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_is_answered_when_its_message_comes_while_it_is_being_held() {
    let root = tempfile::tempdir().unwrap();
    let broker = Broker::start(settings(), StoreConfig::in_dir(root.path())).await.unwrap();
    let address = broker.local_addr();
    let done = tokio::task::spawn_blocking(move || {
        let mut sender = Peer::connect(address);
        sender.write(&[send()]);
        assert_eq!(sender.answer().response_code(), ResponseCode::SUCCESS);
        std::thread::scope(|scope| {
            for _ in 0..PULLERS {
                scope.spawn(|| pull_all(address));
            }
            let window = [(); WINDOW].map(|()| send());
            for _ in 0..MESSAGES / WINDOW as i64 {
                sender.write(&window);
                for _ in 0..WINDOW {
                    assert_eq!(sender.answer().response_code(), ResponseCode::SUCCESS);
                }
            }
        });
    });
    done.await.unwrap();
    broker.shutdown().await;
}

/// That it is flushed by then, a test of the store shows.
#[tokio::test(flavor = "multi_thread")]
async fn pull_of_a_light_queue_is_answered_when_a_message_that_names_it_is_flushed() {
    const LIGHT: &str = "%LMQ%held";
    let root = tempfile::tempdir().unwrap();
    let store = StoreConfig {
        enable_lmq: true,
        enable_multi_dispatch: true,
        flush_disk_type: FlushDiskType::SyncFlush,
        ..StoreConfig::in_dir(root.path())
    };
    let broker = Broker::start(settings(), store).await.unwrap();
    let address = broker.local_addr();
    let done = tokio::task::spawn_blocking(move || {
        let (mut sender, mut puller) = (Peer::connect(address), Peer::connect(address));
        let held = RemotingCommand { opaque: 7, ..pull_from(LIGHT, 0, 3_600_000) };
        // Requests of a connection are handled in order: the second answer means that the first waits.
        let probe = |puller: &mut Peer, opaque: i32| {
            let absent = RemotingCommand::request(RequestCode(-1));
            puller.write(&[RemotingCommand { opaque, ..absent }]);
            assert_eq!(puller.answer().opaque, opaque);
        };
        puller.write(&[held]);
        probe(&mut puller, 8);
        sender.write(&[send()]);
        assert_eq!(sender.answer().response_code(), ResponseCode::SUCCESS);
        probe(&mut puller, 9);
        sender.write(&[send_with(Some("INNER_MULTI_DISPATCH\x01%LMQ%held\x02"))]);
        let answer = puller.answer();
        assert_eq!((answer.opaque, answer.response_code()), (7, ResponseCode::SUCCESS));
        let header = PullMessageResponseHeader::decode(&answer.ext_fields).unwrap();
        assert_eq!(header.next_begin_offset, 1);
        let records = MessageExt::decode_all(&answer.body).unwrap();
        assert_eq!((records.len(), records[0].queue_offset), (1, 1), "its offset in its own queue");
        assert_eq!(sender.answer().response_code(), ResponseCode::SUCCESS);
    });
    done.await.unwrap();
    broker.shutdown().await;
}

/// It was one of the group: what is given to it nobody would see, and it would count as pulled.
#[tokio::test(flavor = "multi_thread")]
async fn pull_of_the_last_of_a_group_is_given_nothing_once_that_has_left() {
    const HEARTBEAT: &str = r#"{"clientID":"c","producerDataSet":[],"consumerDataSet":[{
        "consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"consumers",
        "messageModel":"CLUSTERING","unitMode":false,"subscriptionDataSet":[{"classFilterMode":false,"codeSet":[],
        "expressionType":"TAG","subString":"*","subVersion":1,"tagsSet":[],"topic":"t"}]}]}"#;
    let root = tempfile::tempdir().unwrap();
    let broker = Broker::start(settings(), StoreConfig::in_dir(root.path())).await.unwrap();
    let address = broker.local_addr();
    let done = tokio::task::spawn_blocking(move || {
        let (mut sender, mut puller) = (Peer::connect(address), Peer::connect(address));
        // The broker tells members who else is one, too.
        let answer_to = |opaque, peer: &mut Peer| loop {
            let answer = peer.answer();
            if answer.opaque == opaque {
                return answer;
            }
        };
        let succeed = |peer: &mut Peer, request: RemotingCommand| {
            peer.write(&[RemotingCommand { opaque: 8, ..request }]);
            assert_eq!(answer_to(8, peer).response_code(), ResponseCode::SUCCESS);
        };
        succeed(&mut sender, send());
        let heartbeat = RemotingCommand::request(RequestCode::HEART_BEAT);
        succeed(&mut puller, heartbeat.with_body(HEARTBEAT.as_bytes()));
        let held = pull_with(pull_sys_flag::SUSPEND, TOPIC, 1, 3_600_000);
        puller.write(&[RemotingCommand { opaque: 7, ..held }]);
        let leave = UnregisterClientRequestHeader {
            client_id: Some("c".into()),
            producer_group: None,
            consumer_group: Some("consumers".into()),
        };
        let request = RemotingCommand::request(RequestCode::UNREGISTER_CLIENT);
        succeed(&mut puller, request.with_header(&leave));
        succeed(&mut sender, send());
        let answer = answer_to(7, &mut puller);
        assert_eq!(answer.response_code(), ResponseCode::SUBSCRIPTION_NOT_EXIST);
        assert!(answer.body.is_empty());
    });
    done.await.unwrap();
    broker.shutdown().await;
}
