//! Requests and their answers, without sockets.

mod lists;
mod registration;
mod route;
mod settings;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oxmq_protocol::advertised_listeners::ADVERTISED_LISTENERS;
use oxmq_protocol::body::{
    ClusterInfo, DataVersion, RegisterBrokerBody, TopicConfig, TopicList, TopicRouteData,
};
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::config::ConfigValue as _;
use oxmq_protocol::ext_fields::Fields as _;
use oxmq_protocol::fastjson::{self, Dialect};
use oxmq_protocol::message::record::body_crc;

use crate::config::NamesrvConfig;
use crate::core::{NameServer, Origin};
use crate::kv_config::KvConfigManager;
use crate::listeners::{ListenerNetworks, ListenerPorts};
use crate::route_info::MinBrokerIdChange;

const ORIGIN: Origin = Origin {
    connection: 1,
    peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1),
    local: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9876),
};

struct Fixture {
    server: NameServer,
    notified: Arc<Mutex<Vec<MinBrokerIdChange>>>,
    folder: tempfile::TempDir,
}

fn fixture(change: impl FnOnce(&mut NamesrvConfig)) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| folder.path().join(file).display().to_string();
    let mut settings = NamesrvConfig {
        kv_config_path: at("kvConfig.json"),
        config_store_path: at("namesrv.properties"),
        ..NamesrvConfig::default()
    };
    change(&mut settings);
    let kv_config = KvConfigManager::open(settings.kv_config_path.clone().into()).unwrap();
    let notified = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&notified);
    let notifier = Box::new(move |change| sink.lock().unwrap().push(change));
    let server = NameServer::new(settings, kv_config, notifier, Instant::now());
    Fixture { server, notified, folder }
}

impl Fixture {
    fn ask(&self, request: &RemotingCommand) -> RemotingCommand {
        self.server.handle(request, ORIGIN, Instant::now())
    }

    fn ask_for(&self, code: RequestCode, fields: &[(&str, &str)]) -> RemotingCommand {
        self.ask(&request(code, fields))
    }

    fn register(&self, broker_id: i64, broker_addr: &str) {
        let response = self.ask(&register_request(broker_id, broker_addr));
        assert_eq!(response.response_code(), ResponseCode::SUCCESS, "{:?}", response.remark);
    }
}

fn request(code: RequestCode, fields: &[(&str, &str)]) -> RemotingCommand {
    let mut request = RemotingCommand::request(code);
    for (name, value) in fields {
        request.ext_fields.insert(*name, *value);
    }
    request
}

fn register_request(broker_id: i64, broker_addr: &str) -> RemotingCommand {
    let mut body = RegisterBrokerBody::default();
    for topic in ["orders", "payments"] {
        let topics = &mut body.topic_config_serialize_wrapper.topic_config_table;
        topics.insert(topic.to_owned(), TopicConfig::new(topic));
    }
    let body = fastjson::to_vec(&body, Dialect::Raw).unwrap();
    let mut request = request(
        RequestCode::REGISTER_BROKER,
        &[
            ("brokerName", "b"),
            ("brokerAddr", broker_addr),
            ("clusterName", "C"),
            ("haServerAddr", "h:1"),
            ("brokerId", &broker_id.to_string()),
            ("enableActingMaster", "true"),
        ],
    );
    request.ext_fields.insert("bodyCrc32", body_crc(&body).to_string());
    request.with_body(body)
}

fn failed(response: &RemotingCommand, code: ResponseCode) -> &str {
    assert_eq!(response.response_code(), code, "{:?}", response.remark);
    response.remark.as_deref().unwrap_or_default()
}

fn text(response: &RemotingCommand) -> &str {
    assert_eq!(response.response_code(), ResponseCode::SUCCESS, "{:?}", response.remark);
    std::str::from_utf8(&response.body).unwrap()
}

#[test]
fn unknown_code_is_not_supported() {
    let fixture = fixture(|_| ());
    for code in [RequestCode(31_999), RequestCode(-1), RequestCode::SEND_MESSAGE] {
        let response = fixture.ask_for(code, &[]);
        assert_eq!(
            failed(&response, ResponseCode::REQUEST_CODE_NOT_SUPPORTED),
            format!(" request type {} not supported", code.0)
        );
    }
}

#[test]
fn every_field_that_is_missing_or_of_the_wrong_type_is_named() {
    let broker: &[&str] = &["brokerName", "brokerAddr", "clusterName", "brokerId"];
    let required: BTreeMap<RequestCode, &[&str]> = BTreeMap::from([
        (RequestCode::GET_KV_CONFIG, &["namespace", "key"][..]),
        (RequestCode::DELETE_KV_CONFIG, &["namespace", "key"]),
        (
            RequestCode::REGISTER_BROKER,
            &["brokerName", "brokerAddr", "clusterName", "haServerAddr", "brokerId"],
        ),
        (RequestCode::UNREGISTER_BROKER, broker),
        (RequestCode::QUERY_DATA_VERSION, broker),
        (RequestCode::BROKER_HEARTBEAT, &["brokerName", "brokerAddr", "clusterName"]),
        (RequestCode::GET_BROKER_MEMBER_GROUP, &["clusterName", "brokerName"]),
        (RequestCode::GET_ROUTEINFO_BY_TOPIC, &["topic"]),
        (RequestCode::REGISTER_TOPIC_IN_NAMESRV, &["topic"]),
        (RequestCode::DELETE_TOPIC_IN_NAMESRV, &["topic"]),
        (RequestCode::GET_TOPICS_BY_CLUSTER, &["cluster"]),
        (RequestCode::WIPE_WRITE_PERM_OF_BROKER, &["brokerName"]),
        (RequestCode::ADD_WRITE_PERM_OF_BROKER, &["brokerName"]),
        (RequestCode::GET_KVLIST_BY_NAMESPACE, &["namespace"]),
    ]);
    let fixture = fixture(|_| ());
    for (code, fields) in required {
        for missing in fields {
            let sent: Vec<_> = fields
                .iter()
                .filter(|field| *field != missing)
                .map(|field| (*field, "7"))
                .collect();
            let response = fixture.ask_for(code, &sent);
            let expected = match code {
                RequestCode::GET_ROUTEINFO_BY_TOPIC => ResponseCode::TOPIC_NOT_EXIST,
                RequestCode::GET_KV_CONFIG | RequestCode::GET_KVLIST_BY_NAMESPACE => {
                    ResponseCode::QUERY_NOT_FOUND
                }
                _ => ResponseCode::SYSTEM_ERROR,
            };
            let remark = failed(&response, expected);
            let reason = format!("header field {missing} is missing");
            assert!(remark.contains(&reason), "{code}: {remark}");
        }
        if fields.contains(&"brokerId") {
            let sent: Vec<_> = fields.iter().map(|field| (*field, "seven")).collect();
            let response = fixture.ask_for(code, &sent);
            let remark = failed(&response, ResponseCode::SYSTEM_ERROR);
            assert!(
                remark.starts_with("header field brokerId is not a 64-bit integer"),
                "{remark}"
            );
        }
    }
}
