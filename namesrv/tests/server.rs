//! A name server on a port, asked through sockets.
#![allow(clippy::unwrap_used)] // Helpers of tests, too.

use std::future::Future;
use std::time::Duration;

use oxmq_namesrv::{Namesrv, NamesrvConfig, NamesrvError, NamesrvHandle};
use oxmq_protocol::body::{RegisterBrokerBody, TopicConfig, TopicList};
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::fastjson::{self, Dialect};
use oxmq_protocol::header::{GetRouteInfoRequestHeader, RegisterBrokerRequestHeader};
use oxmq_remoting::{RemotingClient, RemotingClientConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(10);

struct Running {
    handle: NamesrvHandle,
    address: String,
    folder: tempfile::TempDir, // Removed when the test ends.
}

async fn start(change: impl FnOnce(&mut NamesrvConfig)) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| folder.path().join(file).display().to_string();
    let mut settings = NamesrvConfig {
        kv_config_path: at("kvConfig.json"),
        config_store_path: at("namesrv.properties"),
        bind_address: "127.0.0.1".to_owned(),
        listen_port: 0,
        ..NamesrvConfig::default()
    };
    change(&mut settings);
    let handle = Namesrv::start(settings).await.unwrap();
    let address = handle.local_addr().to_string();
    Running { handle, address, folder }
}

fn client() -> RemotingClient {
    RemotingClient::new(RemotingClientConfig::default())
}

async fn ask(client: &RemotingClient, address: &str, request: RemotingCommand) -> RemotingCommand {
    client.invoke(address, request, PATIENCE).await.unwrap()
}

fn registration(topics: usize, heartbeat_timeout_millis: Option<i64>) -> RemotingCommand {
    let mut body = RegisterBrokerBody::default();
    for name in (0..topics).map(|n| format!("topic-{n}")) {
        let table = &mut body.topic_config_serialize_wrapper.topic_config_table;
        table.insert(name.clone(), TopicConfig::new(name));
    }
    let header = RegisterBrokerRequestHeader {
        broker_name: "b".into(),
        broker_addr: "127.0.0.1:10911".into(),
        cluster_name: "C".into(),
        ha_server_addr: "127.0.0.1:10912".into(),
        broker_id: 0,
        heartbeat_timeout_millis,
        enable_acting_master: Some(false),
        compressed: false,
        body_crc32: 0,
    };
    RemotingCommand::request(RequestCode::REGISTER_BROKER)
        .with_header(&header)
        .with_body(fastjson::to_vec(&body, Dialect::Raw).unwrap())
}

async fn route(client: &RemotingClient, address: &str, topic: &str) -> ResponseCode {
    let header = GetRouteInfoRequestHeader { topic: topic.into(), accept_standard_json_only: None };
    let request =
        RemotingCommand::request(RequestCode::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
    ask(client, address, request).await.response_code()
}

/// Waits until a condition holds.
async fn eventually<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

#[tokio::test]
async fn broker_registers_and_its_topics_have_routes_until_its_connection_ends() {
    let server = start(|_| ()).await;
    let (broker, user) = (client(), client());
    assert_eq!(route(&user, &server.address, "topic-1").await, ResponseCode::TOPIC_NOT_EXIST);
    let registered = ask(&broker, &server.address, registration(3, None)).await;
    assert_eq!(registered.response_code(), ResponseCode::SUCCESS);
    assert_eq!(route(&user, &server.address, "topic-1").await, ResponseCode::SUCCESS);
    broker.close();
    eventually(|| async {
        route(&user, &server.address, "topic-1").await == ResponseCode::TOPIC_NOT_EXIST
    })
    .await;
    server.handle.shutdown().await;
}

#[tokio::test]
async fn silent_broker_is_removed_and_its_connection_closed() {
    let server = start(|settings| settings.scan_not_active_broker_interval = 100).await;
    let (broker, user) = (client(), client());
    ask(&broker, &server.address, registration(3, Some(1))).await;
    eventually(|| async {
        route(&user, &server.address, "topic-1").await == ResponseCode::TOPIC_NOT_EXIST
    })
    .await;
    // What is left is the one that asks for routes.
    eventually(|| async { server.handle.connection_count() == 1 }).await;
    server.handle.shutdown().await;
}

#[tokio::test]
async fn connection_that_may_be_silent_for_no_seconds_is_kept_however_silent_it_is() {
    let server = start(|settings| settings.server_channel_max_idle_time_seconds = 0).await;
    let client = client();
    let registered = ask(&client, &server.address, registration(3, None)).await;
    assert_eq!(registered.response_code(), ResponseCode::SUCCESS);
    // Several times as long as takes a look for silent ones.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(route(&client, &server.address, "topic-1").await, ResponseCode::SUCCESS);
    server.handle.shutdown().await;
}

#[tokio::test]
async fn departure_is_answered_and_takes_effect() {
    let server = start(|_| ()).await;
    let (broker, user) = (client(), client());
    ask(&broker, &server.address, registration(3, None)).await;
    let mut departure = RemotingCommand::request(RequestCode::UNREGISTER_BROKER);
    let fields = [
        ("brokerName", "b"),
        ("brokerAddr", "127.0.0.1:10911"),
        ("clusterName", "C"),
        ("brokerId", "0"),
    ];
    for (name, value) in fields {
        departure.ext_fields.insert(name, value);
    }
    let response = ask(&broker, &server.address, departure).await;
    assert_eq!(response.response_code(), ResponseCode::SUCCESS);
    eventually(|| async {
        route(&user, &server.address, "topic-1").await == ResponseCode::TOPIC_NOT_EXIST
    })
    .await;
    let malformed = RemotingCommand::request(RequestCode::UNREGISTER_BROKER);
    let response = ask(&broker, &server.address, malformed).await;
    assert_eq!(response.response_code(), ResponseCode::SYSTEM_ERROR);
    server.handle.shutdown().await;
}

#[tokio::test]
async fn list_that_follows_a_large_registration_on_its_connection_has_its_topics() {
    let server = start(|_| ()).await;
    let broker = client();
    route(&broker, &server.address, "none").await; // Opens the connection.
    let list = RemotingCommand::request(RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
    let (registered, listed) = tokio::join!(
        ask(&broker, &server.address, registration(20_000, None)),
        ask(&broker, &server.address, list)
    );
    assert_eq!(registered.response_code(), ResponseCode::SUCCESS);
    let list: TopicList = fastjson::from_slice(&listed.body).unwrap();
    assert_eq!(list.topic_list.len(), 20_000);
    server.handle.shutdown().await;
}

/// Sends `request` to the HTTP endpoint and returns all that comes back.
async fn http(server: &Running, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.handle.http_addr().unwrap()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut response = String::new();
    let read = stream.read_to_string(&mut response);
    tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    response
}

#[tokio::test]
async fn http_endpoint_says_where_the_name_servers_are() {
    const GET: &[u8] = b"GET /rocketmq/nsaddr HTTP/1.1\r\nHost: x\r\n\r\n";
    let server = start(|settings| settings.http_endpoint_port = Some(0)).await;
    let response = http(&server, GET).await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    let body = response.split("\r\n\r\n").nth(1).unwrap();
    assert_eq!(body, format!("{}\n", server.address));
    let response = http(&server, b"GET /etc/passwd HTTP/1.1\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 404 Not Found\r\n"), "{response}");
    let response = http(&server, &[b'x'; 8 * 1024]).await;
    assert!(response.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{response}");
    server.handle.shutdown().await;

    let server = start(|settings| {
        settings.http_endpoint_port = Some(0);
        settings.namesrv_addr = Some("a:9876;b:9876".to_owned());
    })
    .await;
    assert!(http(&server, GET).await.ends_with("\r\n\r\na:9876;b:9876\n"));
    server.handle.shutdown().await;
}

#[tokio::test]
async fn start_fails_with_the_reason() {
    let server = start(|_| ()).await;
    let taken = server.handle.local_addr().port();
    let settings = |change: &dyn Fn(&mut NamesrvConfig)| {
        let mut settings = NamesrvConfig {
            kv_config_path: server.folder.path().join("kvConfig.json").display().to_string(),
            bind_address: "127.0.0.1".to_owned(),
            listen_port: 0,
            ..NamesrvConfig::default()
        };
        change(&mut settings);
        settings
    };
    let error = Namesrv::start(settings(&|settings| settings.listen_port = taken)).await;
    assert!(matches!(error, Err(NamesrvError::Listen { .. })));
    let error = Namesrv::start(settings(&|settings| settings.bind_address = "a host".into())).await;
    assert!(matches!(error, Err(NamesrvError::BindAddress { .. })));
    let named = Namesrv::start(settings(&|settings| settings.bind_address = "localhost".into()));
    named.await.unwrap().shutdown().await;
    let error =
        Namesrv::start(settings(&|settings| settings.http_endpoint_port = Some(taken))).await;
    assert!(matches!(error, Err(NamesrvError::Listen { .. })));
    let error = Namesrv::start(settings(&|settings| settings.cluster_test = true)).await;
    assert!(matches!(error, Err(NamesrvError::Unsupported(_))));
    server.handle.shutdown().await;
}
