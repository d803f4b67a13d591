//! Records the golden frames of the protocol tests: official clients against the official servers,
//! through a proxy that keeps what goes by.
//!
//! ```text
//! scripts/compat-setup
//! cargo run -p oxmq-compat-tests --bin capture-golden            every client, three minutes
//! cargo run -p oxmq-compat-tests --bin capture-golden go cpp     only files of these names
//! ```
//!
//! Of frames that differ in nothing but values a few are kept. An address of this machine in a text
//! is written as 127.0.0.1, nothing else is changed.

// A recording is complete or fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "capture-golden/calls.rs"]
mod calls;
#[path = "capture-golden/file.rs"]
mod file;
#[path = "capture-golden/java.rs"]
mod java;

use oxmq_compat_tests::proxy::{Proxy, Recorded, Recording};
use oxmq_compat_tests::server::Kind;
use oxmq_compat_tests::{Client, ClientKind, ServerUnderTest, ops};

use crate::java::JavaCalls;

/// Where the broker says it is. The proxy is there.
const BROKER_IP: &str = "127.0.0.2";
/// Messages of each way of sending.
const COUNT: usize = 8;

/// Name server and broker of the reference, and a proxy before each.
struct Session {
    recording: Recording,
    servers: ServerUnderTest,
    /// Where brokers registers, so that the proxy sees it; routes come from here.
    _registry: ServerUnderTest,
    registry_for_clients: Proxy,
    _proxies: Vec<Proxy>,
}

impl Session {
    fn start(form: &str) -> Self {
        let option = format!("-Drocketmq.serialize.type={form}");
        let recording = Recording::default();
        let setup = || ServerUnderTest::setup().kind(Kind::Reference).java_option(&option);
        let registry = setup().without_broker().start();
        let proxy = |listen: &str, client: &str, server: &str, target: &str| {
            recording.proxy(listen, client, server, target).unwrap()
        };
        let registry_for_broker =
            proxy("127.0.0.1:0", "broker", "namesrv", &registry.namesrv_addr());
        let registry_for_clients =
            proxy("127.0.0.1:0", "client", "namesrv", &registry.namesrv_addr());
        recording.call("start");
        let servers = setup()
            .also_register_at(registry_for_broker.addr())
            .broker_ip(BROKER_IP)
            .broker_conf("enablePropertyFilter", "true")
            .broker_conf("transactionTimeOut", "500")
            .broker_conf("transactionCheckInterval", "500")
            .broker_conf("heartbeatInterval", "1000")
            .broker_conf("enableSlaveActingMaster", "true")
            .broker_conf("recallMessageEnable", "true")
            .broker_conf("enableLmq", "true")
            .broker_conf("enableMultiDispatch", "true")
            .start();
        let broker = proxy(&servers.advertised_addr(), "client", "broker", &servers.broker_addr());
        // Brokers ask each other at the second port.
        let vip_addr = servers.vip_addr().replace("127.0.0.1", BROKER_IP);
        let vip = proxy(&vip_addr, "client", "broker", &servers.vip_addr());
        ops::create_topic(&servers, "GoldenTopic", 2);
        Self {
            recording,
            servers,
            _registry: registry,
            registry_for_clients,
            _proxies: vec![registry_for_broker, broker, vip],
        }
    }

    /// A client with the commands that all of them know.
    fn common(&self, kind: ClientKind, modes: &[&str]) {
        let mut client = Client::start_at(kind, &self.registry_for_clients.addr());
        for mode in modes {
            self.recording.call(&format!("send {mode}"));
            client.send(mode, "GoldenTopic", mode, COUNT);
        }
        self.recording.call("consume");
        client.consume("all", "GoldenTopic", &format!("golden_{kind:?}"));
        client.await_received("all", modes.len() * COUNT);
        self.recording.call("consume and be idle");
        std::thread::sleep(calls::IDLE);
        self.recording.call("stop the consumer");
        client.stop_consumer("all");
        if kind != ClientKind::Node {
            self.recording.call("consume orderly");
            let group = format!("golden_{kind:?}_orderly");
            let args = [("id", "orderly"), ("topic", "GoldenTopic"), ("group", &group)];
            client.run("consume", &[&args[..], &[("orderly", "true")]].concat());
            client.await_received("orderly", modes.len() * COUNT);
            self.recording.call("stop the orderly consumer");
            client.stop_consumer("orderly");
        }
        if matches!(kind, ClientKind::Cpp | ClientKind::Node) {
            self.recording.call("stop the producer");
            client.run("close", &[]);
        }
    }

    /// A second broker that follows the first one.
    fn slave(&self) -> ServerUnderTest {
        self.recording.call("follow a master");
        let mut slave = ServerUnderTest::setup()
            .kind(Kind::Reference)
            .also_register_at(self.registry_for_clients.addr())
            .broker_conf("brokerId", "1")
            .broker_conf("brokerRole", "SLAVE")
            .broker_conf("enableSlaveActingMaster", "true")
            .broker_conf("registerNameServerPeriod", "10000")
            .start();
        // There is no master at its own, and the first to answer is believed.
        slave.kill9_namesrv();
        std::thread::sleep(calls::FOLLOW);
        slave
    }

    fn java(&self, jars: &str, classes: &str, form: &str, calls: &[&str]) {
        let namesrv = self.registry_for_clients.addr();
        let mut java = JavaCalls::start(jars, classes, "GoldenCalls", form, &namesrv);
        for call in calls {
            self.recording.call(call);
            java.call(&call.replace("@broker", &self.servers.advertised_addr()));
        }
    }

    fn api(&self, form: &str, calls: &[&str]) {
        let namesrv = self.registry_for_clients.addr();
        let (jars, classes) = ("reference-5.5.0", "golden-api-5.5.0");
        let mut java = JavaCalls::start(jars, classes, "GoldenApi", form, &namesrv);
        for call in calls {
            self.recording.call(call);
            java.call(&format!("{call} {}", self.servers.advertised_addr()));
        }
    }
}

const SLAVE: &str = "slave-5.5.0-json";
const LITE: &str = "java-lite-5.5.0-json";

type Other = (&'static str, &'static str, &'static str, ClientKind, &'static [&'static str]);

/// File, client, version, and what it can.
const OTHERS: &[Other] = &[
    ("go-2.1.2", "Go client", "2.1.2", ClientKind::Go, &["sync", "async", "oneway", "batch"]),
    (
        "cpp-0.4.4",
        "C++ client in the wheel rocketmq",
        "0.4.4",
        ClientKind::Cpp,
        &["sync", "oneway", "selector", "batch"],
    ),
    ("node-3.12.0", "ali-ons", "3.12.0", ClientKind::Node, &["sync"]),
];

fn main() {
    let only: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part));
    for form in ["JSON", "ROCKETMQ"] {
        let lower = form.to_lowercase();
        let broker = format!("broker-5.5.0-{lower}");
        let api = format!("java-api-5.5.0-{lower}");
        // The binary form has no room for the codes of pop.
        let pop = if form == "JSON" { calls::POP } else { &[] };
        let newest = [calls::COMMON, pop, calls::ADMIN].concat();
        let java = [
            (format!("java-5.5.0-{lower}"), "5.5.0", "reference-5.5.0", newest),
            (format!("java-4.9.8-{lower}"), "4.9.8", "client-4.9.8", calls::COMMON.to_vec()),
        ];
        // The other clients have only the one form.
        let others = if form == "JSON" { OTHERS } else { &[] };
        let names = java.iter().map(|row| &row.0[..]).chain(others.iter().map(|row| row.0));
        if !names.chain([&broker[..], &api, SLAVE, LITE]).any(wanted) {
            continue;
        }
        let mut session = Session::start(form);
        let recording = session.recording.clone();
        let mut by_broker = Vec::new();
        let mut save = |name: &str, client: &str, version: &str| {
            let (of_client, of_broker) = recording
                .take()
                .into_iter()
                .partition(|frame: &Recorded| frame.from == "client" || frame.to == "client");
            by_broker.extend::<Vec<_>>(of_broker);
            file::write(name, client, version, form, &of_client);
        };
        for (name, version, jars, calls) in &java {
            if wanted(name) {
                session.java(jars, &format!("java-{version}"), form, calls);
                save(name, "Java client, and mqadmin", version);
            }
        }
        if wanted(&api) {
            let pop = if form == "JSON" { calls::API_POP } else { &[] };
            session.api(form, &[calls::API, pop, &["end"]].concat());
            save(&api, "Java classes of client and broker", "5.5.0");
        }
        if form == "JSON" && wanted(LITE) {
            session.api(form, calls::API_LITE);
            save(LITE, "Java classes of client and broker", "5.5.0");
        }
        for (name, client, version, kind, modes) in others {
            if wanted(name) {
                session.common(*kind, modes);
                save(name, client, version);
            }
        }
        let slave = (form == "JSON" && wanted(SLAVE)).then(|| session.slave());
        recording.call("stop the master");
        session.servers.stop();
        if slave.is_some() {
            std::thread::sleep(calls::IDLE);
            save(SLAVE, "broker as a slave", "5.5.0");
        }
        if wanted(&broker) {
            by_broker.extend(recording.take());
            file::write(&broker, "broker", "5.5.0", form, &by_broker);
        }
    }
}
