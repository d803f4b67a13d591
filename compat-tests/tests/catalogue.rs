//! The scenario catalogue: what ordinary applications do, with each official client, all in
//! parallel on topics of their own, on one server.
//!
//! The scenarios are in `compat-tests/java/src/Catalogue.java`, `compat-tests/go/catalogue.go` and
//! `pull.go` beside it, `compat-tests/python/catalogue.py` (the C++ client) and
//! `compat-tests/node/catalogue.js`. Each run prints how many of each client passed.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Instant;

use oxmq_compat_tests::{ServerUnderTest, artifacts, ops};

/// What a client's scenarios came to, by name: `ok`, `absent` or what went wrong.
type Outcomes = BTreeMap<String, String>;

/// Scenarios that each client has at least; fewer means that its list was not run to its end.
const LEAST_JAVA: usize = 70;
const LEAST_GO: usize = 26;
const LEAST_CPP: usize = 14;
const LEAST_NODE: usize = 9;

#[test]
fn every_scenario_has_the_same_outcome_on_both_servers() {
    let server = ServerUnderTest::setup()
        .broker_conf("enablePropertyFilter", "true")
        .broker_conf("traceTopicEnable", "true")
        // A busy machine is no reason to refuse a message.
        .broker_conf("waitTimeMillsInSendQueue", "30000")
        // So that nobody waits half a minute to be asked.
        .broker_conf("transactionTimeOut", "1000")
        .broker_conf("transactionCheckInterval", "2000")
        .start();
    let java = |jars, classes, tag| java(jars, classes, &server.namesrv_addr(), tag);
    let begin = Instant::now();
    let newer = java(artifacts::REFERENCE_JARS, "catalogue-5.5.0", "550");
    let older = java(artifacts::OLD_CLIENT_JARS, "catalogue-4.9.8", "498");
    let go = go(&server);
    let mut clients = vec![
        ("Java 5.5.0", newer.join().unwrap(), LEAST_JAVA),
        ("Java 4.9.8", older.join().unwrap(), LEAST_JAVA - 1),
        ("Go", go.join().unwrap(), LEAST_GO),
    ];
    // After the others: the more is under way at once, the likelier the reference keeps a member
    // that has left, and its queues, for more than a minute.
    let cpp = scenarios(artifacts::cpp_catalogue, &server);
    let node = scenarios(artifacts::node_catalogue, &server);
    clients.push(("C++", cpp.join().unwrap(), LEAST_CPP));
    clients.push(("Node", node.join().unwrap(), LEAST_NODE));
    let mut failed = Vec::new();
    for (client, outcomes, least) in clients {
        let passed = outcomes.values().filter(|outcome| *outcome == "ok").count();
        eprintln!("{client}: {passed} of {} scenarios passed", outcomes.len());
        if passed < least {
            failed.push(format!("{client}: only {passed} passed, at least {least} should"));
        }
        let troubles = outcomes.iter().filter(|(_, how)| !["ok", "absent"].contains(&how.as_str()));
        failed.extend(troubles.map(|(name, how)| format!("{client}: {name}: {how}")));
    }
    eprintln!("the catalogue took {:?}", begin.elapsed());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

type Running = std::thread::JoinHandle<Outcomes>;

fn java(jars: &str, classes: &str, namesrv: &str, tag: &str) -> Running {
    let home = tempfile::Builder::new().prefix("oxmq-compat-catalogue-").tempdir().unwrap();
    let mut command = artifacts::java(home.path(), "384m");
    for key in ["NAMESRV_ADDR", "ROCKETMQ_SERIALIZE_TYPE", "JAVA_TOOL_OPTIONS"] {
        command.env_remove(key);
    }
    command.arg("-cp").arg(artifacts::class_path(jars, Some(classes)));
    command.arg("Catalogue").arg(namesrv).arg(tag);
    command.env("HOME", home.path()).current_dir(home.path());
    std::thread::spawn(move || {
        let outcomes = run(command);
        drop(home);
        outcomes
    })
}

fn go(server: &ServerUnderTest) -> Running {
    let mut command = Command::new(artifacts::go_client());
    command.arg("catalogue").arg(server.namesrv_addr()).arg(server.broker_addr());
    in_a_home(command)
}

/// Makes the topics that the program names when it is run alone, and runs it.
fn scenarios(program: impl Fn() -> Command, server: &ServerUnderTest) -> Running {
    let topics = program().output().unwrap();
    for topic in String::from_utf8(topics.stdout).unwrap().lines() {
        ops::create_topic(server, topic, 4);
    }
    let mut command = program();
    command.arg(server.namesrv_addr());
    in_a_home(command)
}

/// Runs it with a home of its own: offsets of broadcasts are kept there.
fn in_a_home(mut command: Command) -> Running {
    let home = tempfile::Builder::new().prefix("oxmq-compat-catalogue-").tempdir().unwrap();
    command.env("HOME", home.path()).current_dir(home.path());
    std::thread::spawn(move || {
        let outcomes = run(command);
        drop(home);
        outcomes
    })
}

/// Runs a program that prints `@name outcome` for each of its scenarios.
fn run(mut command: Command) -> Outcomes {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| line.strip_prefix('@')?.split_once(' '));
    lines.map(|(name, outcome)| (name.to_owned(), outcome.to_owned())).collect()
}
