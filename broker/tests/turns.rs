//! Requests of one turn: sends are stored together, and nobody can tell but by the clock.
#![allow(clippy::unwrap_used)] // Helpers of tests, too.

mod common;

use std::collections::BTreeMap;

use common::*;
use oxmq_broker::{Broker, StoreConfig};
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::ext_fields::Fields as _;
use oxmq_protocol::header::{GetMaxOffsetRequestHeader, pull_sys_flag};
use oxmq_protocol::message::MessageExt;
use oxmq_store::FlushDiskType;

const DELAYED: &str = "DELAY\u{1}18\u{2}";

fn send_as(opaque: i32, properties: &str) -> RemotingCommand {
    RemotingCommand { opaque, ..send_with(Some(properties)) }
}

fn max_offset(opaque: i32) -> RemotingCommand {
    let header = GetMaxOffsetRequestHeader { topic: TOPIC.into(), queue_id: 0, committed: true };
    let request = RemotingCommand::request(RequestCode::GET_MAX_OFFSET).with_header(&header);
    RemotingCommand { opaque, ..request }
}

fn pull(opaque: i32) -> RemotingCommand {
    RemotingCommand { opaque, ..pull_with(pull_sys_flag::SUBSCRIPTION, TOPIC, 0, 0) }
}

fn answers(peer: &mut Peer, count: usize) -> BTreeMap<i32, RemotingCommand> {
    (0..count).map(|_| peer.answer()).map(|answer| (answer.opaque, answer)).collect()
}

fn number(answer: &RemotingCommand, field: &str) -> i64 {
    assert_eq!(answer.response_code(), ResponseCode::SUCCESS, "{answer:?}");
    answer.ext_fields.get(field).unwrap().parse().unwrap()
}

fn log_position(answer: &RemotingCommand) -> i64 {
    let id = answer.ext_fields.get("msgId").unwrap();
    i64::from_str_radix(&id[id.len() - 16..], 16).unwrap()
}

/// Runs `test` with a connection to a broker that is there for it alone.
async fn with_broker(flush: FlushDiskType, test: fn(Peer)) {
    let root = tempfile::tempdir().unwrap();
    let store = StoreConfig {
        flush_disk_type: flush,
        mapped_file_size_commit_log: 64 << 20,
        ..StoreConfig::in_dir(root.path())
    };
    let broker = Broker::start(settings(), store).await.unwrap();
    let address = broker.local_addr();
    let run = move || {
        let mut peer = Peer::connect(address);
        peer.write(&[create_topic("+message.type=NORMAL")]);
        assert_eq!(peer.answer().response_code(), ResponseCode::SUCCESS);
        // One on which no other thread answers.
        test(Peer::connect(address));
    };
    tokio::task::spawn_blocking(run).await.unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_send_comes_after_it() {
    with_broker(FlushDiskType::AsyncFlush, |mut peer| {
        for round in 0..50 {
            peer.write(&[
                send_as(1, "KEYS\u{1}a\u{2}"),
                send_as(2, DELAYED),
                send_as(3, "KEYS\u{1}b\u{2}"),
                max_offset(4),
                send_as(5, "KEYS\u{1}c\u{2}"),
                pull(6),
                send_as(7, "KEYS\u{1}d\u{2}"),
                RemotingCommand { opaque: 8, code: 99_999, ..max_offset(8) },
            ]);
            let got = answers(&mut peer, 8);
            let first = 4 * round;
            for (opaque, offset) in [(1, first), (3, first + 1), (5, first + 2), (7, first + 3)] {
                assert_eq!(number(&got[&opaque], "queueOffset"), offset, "{opaque}");
            }
            assert_eq!(number(&got[&4], "offset"), first + 2);
            let places: Vec<_> = [1, 2, 3, 5, 7].map(|it| log_position(&got[&it])).into();
            assert!(places.is_sorted(), "{places:?}");
            assert_eq!(got[&8].response_code(), ResponseCode::REQUEST_CODE_NOT_SUPPORTED);
            if round < 8 {
                let pulled = MessageExt::decode_all(&got[&6].body).unwrap();
                assert_eq!(pulled.len() as i64, first + 3);
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_send_of_a_turn_is_answered_as_if_it_were_alone() {
    for flush in [FlushDiskType::AsyncFlush, FlushDiskType::SyncFlush] {
        with_broker(flush, |mut peer| {
            let mut next = 0;
            for round in 0..20 {
                let requests: Vec<_> = (0..40)
                    .map(|opaque| match opaque % 10 {
                        3 => RemotingCommand { body: Vec::new().into(), ..send_as(opaque, "") },
                        5 => send_as(opaque, "INNER_NUM\u{1}2\u{2}"),
                        7 => send_as(opaque, "WAIT\u{1}false\u{2}"),
                        _ => send_as(opaque, &format!("UNIQ_KEY\u{1}{round}-{opaque}\u{2}")),
                    })
                    .collect();
                peer.write(&requests);
                for (opaque, answer) in answers(&mut peer, requests.len()) {
                    let refused = match opaque % 10 {
                        3 => Some(ResponseCode::SYSTEM_ERROR),
                        5 => Some(ResponseCode::MESSAGE_ILLEGAL),
                        _ => None,
                    };
                    if let Some(code) = refused {
                        assert_eq!(answer.response_code(), code);
                        continue;
                    }
                    assert_eq!(number(&answer, "queueOffset"), next, "{opaque}");
                    next += 1;
                    if opaque % 10 != 7 {
                        let key = answer.ext_fields.get("transactionId").unwrap();
                        assert_eq!(key, format!("{round}-{opaque}"));
                    }
                }
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_before_a_frame_that_cannot_be_read_are_stored_and_answered() {
    with_broker(FlushDiskType::AsyncFlush, |mut peer| {
        let mut bytes = Vec::new();
        (1..=3).for_each(|opaque| send_as(opaque, "").encode(&mut bytes));
        bytes.extend([0xFF; 8]);
        peer.write_bytes(&bytes);
        let got = answers(&mut peer, 3);
        assert_eq!([1, 2, 3].map(|it| number(&got[&it], "queueOffset")), [0, 1, 2]);
        assert!(peer.is_closed());
    })
    .await;
}
