//! A name server and a broker that listen on all addresses, of both families.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Ipv6Addr, TcpListener};
use std::time::Duration;

use oxmq_broker::{Broker, BrokerSettings, StoreConfig};
use oxmq_namesrv::{Namesrv, NamesrvConfig};
use oxmq_protocol::body::TopicRouteData;
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::fastjson;
use oxmq_protocol::header::{GetMinOffsetRequestHeader, GetRouteInfoRequestHeader, Header};
use oxmq_remoting::RemotingClient;

const DEADLINE: Duration = Duration::from_secs(30);
const TOPIC: &str = "TBW102";

async fn ask(address: &str, code: RequestCode, header: impl Header) -> RemotingCommand {
    let client = RemotingClient::default();
    let request = RemotingCommand::request(code).with_header(&header);
    let answer = client.invoke(address, request, DEADLINE).await.unwrap();
    assert_eq!(answer.response_code(), ResponseCode::SUCCESS, "{address}: {:?}", answer.remark);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn both_servers_are_reached_by_ipv6_and_by_ipv4() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("this machine has no IPv6");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let namesrv = Namesrv::start(NamesrvConfig {
        bind_address: "[::]".to_owned(),
        listen_port: 0,
        kv_config_path: dir.path().join("kvConfig.json").display().to_string(),
        ..NamesrvConfig::default()
    })
    .await
    .unwrap();
    let namesrv_port = namesrv.local_addr().port();
    let config = BrokerSettings {
        bind_address: "::".to_owned(),
        broker_ip1: "::1".to_owned(),
        listen_port: 0,
        namesrv_addr: Some(format!("[::1]:{namesrv_port}")),
        ..BrokerSettings::default()
    };
    let store = StoreConfig {
        store_path_root_dir: dir.path().join("store").display().to_string(),
        ..StoreConfig::default()
    };
    let broker = Broker::start(config, store).await.unwrap();
    let broker_port = broker.local_addr().port();

    for host in ["[::1]", "127.0.0.1"] {
        let header =
            GetRouteInfoRequestHeader { topic: TOPIC.into(), accept_standard_json_only: None };
        let namesrv = format!("{host}:{namesrv_port}");
        let route = ask(&namesrv, RequestCode::GET_ROUTEINFO_BY_TOPIC, header).await;
        let route: TopicRouteData = fastjson::from_slice(&route.body).unwrap();
        let addresses: Vec<_> = route.broker_datas[0].broker_addrs.values().cloned().collect();
        assert_eq!(addresses, [format!("[::1]:{broker_port}")]);

        let header = GetMinOffsetRequestHeader { topic: TOPIC.into(), queue_id: 0 };
        ask(&format!("{host}:{broker_port}"), RequestCode::GET_MIN_OFFSET, header).await;
    }
    broker.shutdown().await;
    namesrv.shutdown().await;
}
