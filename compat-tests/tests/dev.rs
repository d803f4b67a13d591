//! `oxmq dev`, as the README has it. Ours only: the reference has nothing to compare it with.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use oxmq_compat_tests::dev::DevServer;
use oxmq_compat_tests::ops::{self, response};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Client, ClientKind, ports, wait};

const START_LIMIT: Duration = Duration::from_secs(10);
/// From the start of the process to the first accepted send. The goal is 500 ms on an idle machine;
/// tests share theirs.
const FIRST_SEND_LIMIT: Duration = Duration::from_millis(2_000);
/// A minute and two registrations, with room for a busy machine.
const ABSENT_LIMIT: Duration = Duration::from_secs(300);

#[test]
fn dev_serves_a_java_client_and_stops_cleanly() {
    let mut server = DevServer::launch();
    let printed = server.wait_until_booted();
    assert!(printed.contains("The Name Server boot success."), "{printed}");
    assert!(printed.contains(&format!("{}] boot success.", server.broker_addr())), "{printed}");
    let mut client = Client::start_at(ClientKind::Java550, &server.namesrv_addr());
    client.consume("dev", "DevTopic", "dev_group");
    assert_eq!(client.send("sync", "DevTopic", "hello", 10).len(), 10);
    assert_eq!(client.await_received("dev", 10).len(), 10);
    client.stop_consumer("dev");
    let printed = server.stop();
    assert!(!printed.to_lowercase().contains("panicked"), "{printed}");
    assert!(server.data_dir().join("store/commitlog").is_dir());
    assert!(!server.data_dir().join("store/abort").exists(), "not a clean stop");
}

#[test]
fn dev_says_by_http_where_its_name_server_is() {
    let port = ports::free_port();
    let mut server = DevServer::launch_with(&["--http-endpoint-port", &port.to_string()]);
    server.wait_until_booted();
    let mut http = TcpStream::connect(("127.0.0.1", port)).unwrap();
    http.write_all(b"GET /rocketmq/nsaddr HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    http.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(answer.lines().last(), Some(server.namesrv_addr().as_str()), "{answer}");
}

#[test]
fn dev_accepts_the_first_message_soon_after_its_start() {
    let server = DevServer::launch();
    let mut conn = wait::until("a listening broker", START_LIMIT, || {
        Conn::try_connect(&server.broker_addr()).ok()
    });
    let answer = conn.call(ops::send_request("FirstTopic", 0, "", b"first"));
    let took = server.started().elapsed();
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    println!("first send accepted after {took:?}");
    assert!(took < FIRST_SEND_LIMIT, "{took:?}");
}

#[test]
fn dev_names_clients_that_ask_for_routes_and_do_not_connect() {
    let mut server = DevServer::launch();
    server.wait_until_booted();
    let mut namesrv = Conn::connect(&server.namesrv_addr());
    let mut ask = || {
        let fields = [("topic", "TBW102")];
        let answer = namesrv.call(Command::request(ops::code::GET_ROUTEINFO_BY_TOPIC, &fields));
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    };
    // It asks for a minute, and the broker hears of it at its next registration.
    let found = "do not connect";
    let told = wait::until("the log to name the client", ABSENT_LIMIT, || {
        ask();
        server.printed().lines().find(|line| line.contains(found)).map(str::to_owned)
    });
    assert!(told.contains("client=own") && told.contains("setting=\"brokerIP1\""), "{told}");
    assert!(told.contains(&server.broker_addr()), "{told}");
    let _here = Conn::connect(&server.broker_addr());
    wait::until("the log to say that it connects", ABSENT_LIMIT, || {
        ask();
        server.printed().contains("clients connect now").then_some(())
    });
}
