//! COMPATIBILITY.md tells the truth about every request code.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use oxmq_broker::{Broker, BrokerSettings, StoreConfig};
use oxmq_namesrv::{Namesrv, NamesrvConfig};
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_remoting::{RemotingClient, RemotingClientConfig};

const DOCUMENT: &str = include_str!("../../COMPATIBILITY.md");

struct Row {
    name: String,
    served_by: String,
    status: String,
}

fn rows() -> BTreeMap<i32, Row> {
    let table = DOCUMENT.split("## Request codes").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut rows = BTreeMap::new();
    for line in table.lines().filter(|line| line.starts_with('|')).skip(2) {
        let cells = cells(line);
        let code = cells[0].parse().unwrap();
        let row =
            Row { name: cells[1].clone(), served_by: cells[2].clone(), status: cells[3].clone() };
        assert!(rows.insert(code, row).is_none(), "{code} has two rows");
    }
    rows
}

#[test]
fn every_request_code_has_one_row_with_its_name() {
    let rows = rows();
    let named: Vec<_> = rows.iter().map(|(code, row)| (*code, row.name.as_str())).collect();
    assert_eq!(named, RequestCode::ALL);
    for row in rows.values() {
        assert!(["works", "differs", "absent"].contains(&row.status.as_str()), "{}", row.name);
    }
}

/// A code that a server has is answered with anything but "not supported", even without a field.
#[tokio::test(flavor = "multi_thread")]
async fn rows_say_what_the_servers_answer() {
    let dir = tempfile::tempdir().unwrap();
    let namesrv = Namesrv::start(NamesrvConfig {
        bind_address: "127.0.0.1".to_owned(),
        listen_port: 0,
        kv_config_path: dir.path().join("kvConfig.json").display().to_string(),
        ..NamesrvConfig::default()
    })
    .await
    .unwrap();
    let config = BrokerSettings {
        bind_address: "127.0.0.1".to_owned(),
        broker_ip1: "127.0.0.1".to_owned(),
        listen_port: 0,
        namesrv_addr: Some(namesrv.local_addr().to_string()),
        ..BrokerSettings::default()
    };
    let store = StoreConfig {
        store_path_root_dir: dir.path().join("store").display().to_string(),
        ..StoreConfig::default()
    };
    let broker = Broker::start(config, store).await.unwrap();

    let client = RemotingClient::new(RemotingClientConfig::default());
    let servers = [("name server", namesrv.local_addr()), ("broker", broker.local_addr())];
    let mut wrong = Vec::new();
    for (code, row) in rows() {
        for (server, address) in servers {
            let request = RemotingCommand::request(RequestCode(code));
            let answer = client
                .invoke(&address.to_string(), request, Duration::from_secs(10))
                .await
                .unwrap();
            let supported = answer.response_code() != ResponseCode::REQUEST_CODE_NOT_SUPPORTED;
            let claimed = row.status != "absent" && row.served_by.contains(server);
            if supported != claimed {
                wrong.push(format!("{server} {code} {}: answers {answer:?}", row.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    broker.shutdown().await;
    namesrv.shutdown().await;
}
