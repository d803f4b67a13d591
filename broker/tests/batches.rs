//! Batches of messages that few producers send.
#![allow(clippy::unwrap_used)] // Helpers of tests, too.

mod common;

use common::*;
use oxmq_broker::{Broker, StoreConfig};
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::header::{Header as _, SendMessageResponseHeader, ViewMessageRequestHeader};
use oxmq_protocol::message::{InnerMessage, MessageExt, message_id};

fn send_batch(properties: Option<&str>, messages: &[(&[u8], &[u8])]) -> RemotingCommand {
    let mut body = Vec::new();
    for (text, properties) in messages {
        InnerMessage { flag: 0, body: text, properties }.encode(&mut body).unwrap();
    }
    let mut request = send_with(properties);
    request.code = RequestCode::SEND_BATCH_MESSAGE.0;
    request.ext_fields.insert("m", "true");
    request.with_body(body)
}

/// Runs `talk` with a connection to a broker.
async fn with_broker(
    change: impl FnOnce(&mut StoreConfig),
    talk: impl FnOnce(&mut Ask) + Send + 'static,
) {
    let root = tempfile::tempdir().unwrap();
    let mut store = StoreConfig::in_dir(root.path());
    change(&mut store);
    let broker = Broker::start(settings(), store).await.unwrap();
    let address = broker.local_addr();
    let done = tokio::task::spawn_blocking(move || talk(&mut Ask(Peer::connect(address))));
    done.await.unwrap();
    broker.shutdown().await;
}

struct Ask(Peer);

impl Ask {
    fn ask(&mut self, request: RemotingCommand) -> RemotingCommand {
        self.0.write(&[request]);
        self.0.answer()
    }

    fn succeed(&mut self, request: RemotingCommand) -> RemotingCommand {
        let answer = self.ask(request);
        assert_eq!(answer.response_code(), ResponseCode::SUCCESS, "{answer:?}");
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_of_a_batch_is_found_by_its_id() {
    const LARGE: usize = 5 << 20;
    let larger = |store: &mut StoreConfig| store.max_message_size = 2 * LARGE;
    with_broker(larger, |broker| {
        let large = vec![b'x'; LARGE];
        // A text that ends with a zero is stored with a separator behind it.
        let messages: [(&[u8], &[u8]); 3] = [(b"a", b"k\x01\0"), (&large, b""), (b"last", b"")];
        let answer = broker.succeed(send_batch(None, &messages));
        let ids = SendMessageResponseHeader::decode(&answer.ext_fields).unwrap().msg_id;
        let ids: Vec<&str> = ids.split(',').collect();
        assert_eq!(ids.len(), messages.len(), "{ids:?}");
        for (id, (body, _)) in ids.into_iter().zip(messages) {
            let (_, offset) = message_id::decode(id).unwrap();
            let header = ViewMessageRequestHeader { topic: None, offset };
            let view = RemotingCommand::request(RequestCode::VIEW_MESSAGE_BY_ID);
            let found = broker.succeed(view.with_header(&header));
            let found = MessageExt::decode_all(&found.body).unwrap();
            assert!(found[0].body == body, "{id}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_limit_counts_for_batches_that_are_one_record() {
    with_broker(
        |_| {},
        |broker| {
            broker.succeed(create_topic("+queue.type=BatchCQ"));
            let send = |broker: &mut Ask| {
                let body = vec![b'x'; 10_000];
                let batch =
                    send_batch(Some("UNIQ_KEY\u{1}key\u{2}"), &[(&body, b""), (&body, b"")]);
                broker.ask(batch).response_code()
            };
            assert_eq!(send(broker), ResponseCode::SUCCESS);
            for (limit, expected) in
                [("9999", ResponseCode::MESSAGE_ILLEGAL), ("99999", ResponseCode::SUCCESS)]
            {
                let change = format!("maxMessageSize={limit}");
                let request = RemotingCommand::request(RequestCode::UPDATE_BROKER_CONFIG);
                broker.succeed(request.with_body(change.into_bytes()));
                assert_eq!(send(broker), expected, "maxMessageSize={limit}");
            }
        },
    )
    .await;
}
