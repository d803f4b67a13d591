//! A broker that speaks TLS to a name server that takes nothing else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use oxmq_broker::{Broker, BrokerSettings, StoreConfig};
use oxmq_namesrv::{Namesrv, NamesrvConfig};
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_remoting::{
    DEFAULT_TLS_CONFIG_FILE, RemotingClient, RemotingClientConfig, TlsClient, TlsMode,
};

#[tokio::test(flavor = "multi_thread")]
async fn broker_registers_with_an_enforcing_name_server() {
    let dir = tempfile::tempdir().unwrap();
    let namesrv = Namesrv::start(NamesrvConfig {
        bind_address: "127.0.0.1".to_owned(),
        listen_port: 0,
        kv_config_path: dir.path().join("kvConfig.json").display().to_string(),
        tls_server_mode: TlsMode::Enforcing,
        ..NamesrvConfig::default()
    })
    .await
    .unwrap();
    let namesrv_addr = namesrv.local_addr().to_string();
    let broker = async |name: &str, use_tls| {
        let config = BrokerSettings {
            bind_address: "127.0.0.1".to_owned(),
            broker_ip1: "127.0.0.1".to_owned(),
            broker_name: name.to_owned(),
            listen_port: 0,
            namesrv_addr: Some(namesrv_addr.clone()),
            use_tls,
            ..BrokerSettings::default()
        };
        let store = StoreConfig {
            store_path_root_dir: dir.path().join(name).display().to_string(),
            ..StoreConfig::default()
        };
        Broker::start(config, store).await.unwrap()
    };
    let (plain, secure) = (broker("plain", false).await, broker("secure", true).await);

    let tls = Some(Arc::new(TlsClient::load_settings(DEFAULT_TLS_CONFIG_FILE).unwrap()));
    let client =
        RemotingClient::new(RemotingClientConfig { tls, ..RemotingClientConfig::default() });
    let ask = RemotingCommand::request(RequestCode::GET_BROKER_CLUSTER_INFO);
    let answer = client.invoke(&namesrv_addr, ask, Duration::from_secs(10)).await.unwrap();
    assert_eq!(answer.response_code(), ResponseCode::SUCCESS);
    let cluster = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(cluster.contains("\"secure\"") && !cluster.contains("\"plain\""), "{cluster}");

    plain.shutdown().await;
    secure.shutdown().await;
    namesrv.shutdown().await;
}
