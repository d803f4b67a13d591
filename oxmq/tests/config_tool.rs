//! `oxmq config`, and what COMPATIBILITY.md says about settings.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use oxmq_broker::BrokerSettings;
use oxmq_namesrv::NamesrvConfig;
use oxmq_protocol::config::Explanation;

/// Class, key, type and default of every setting of the reference.
const REFERENCE_SETTINGS: &str = include_str!("reference-settings-5.5.0.tsv");

/// Set to write the tables anew instead of comparing them.
const UPDATE_VARIABLE: &str = "UPDATE_COMPATIBILITY";

fn run(args: &[&str]) -> (String, Option<i32>) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_oxmq")).arg("config").args(args).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

fn check(text: &str, more: &[&str]) -> (String, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.conf");
    std::fs::write(&file, text).unwrap();
    let mut args = vec!["check", file.to_str().unwrap()];
    args.extend(more);
    let (text, code) = run(&args);
    (text.replace(&format!("{}/", folder.path().display()), ""), code)
}

fn table(explanations: &[Explanation]) -> String {
    let mut rows: Vec<_> = explanations
        .iter()
        .map(|explanation| {
            let (status, notes) = explanation.standing.cells();
            let Explanation { key, class, .. } = explanation;
            format!("| {key} | {class} | {status} | {notes} |\n")
        })
        .collect();
    rows.sort_by_key(|row| row.to_lowercase());
    format!("| key | class | status | notes |\n| --- | --- | --- | --- |\n{}", rows.concat())
}

#[test]
fn compatibility_document_tells_the_truth_about_every_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../COMPATIBILITY.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let sections = [
        ("## Settings of the name server\n", table(&NamesrvConfig::explanations())),
        ("## Settings of the broker\n", table(&BrokerSettings::explanations())),
    ];
    let mut updated = document.clone();
    for (heading, expected) in sections {
        let start = updated.find(heading).unwrap_or_else(|| panic!("no {heading}"));
        let start = start + updated[start..].find("\n| ").unwrap() + 1;
        let end = updated[start..].find("\n\n").map_or(updated.len(), |end| start + end + 1);
        updated.replace_range(start..end, &expected);
    }
    if std::env::var_os(UPDATE_VARIABLE).is_some() {
        std::fs::write(path, updated).unwrap();
        return;
    }
    let wrong = updated.lines().filter(|line| !document.lines().any(|row| row == *line));
    let wrong: Vec<_> = wrong.collect();
    assert!(updated == document, "wrong rows; run with {UPDATE_VARIABLE}=1: {wrong:#?}");
}

#[test]
fn every_setting_of_the_reference_is_explained_with_its_default() {
    let (broker, namesrv) = (BrokerSettings::explanations(), NamesrvConfig::explanations());
    let mut compared = 0;
    for line in REFERENCE_SETTINGS.lines().skip(1) {
        let columns: Vec<_> = line.split('\t').collect();
        let [class, key, type_name, _setter, default] = columns[..] else { panic!("{line}") };
        let servers: &[_] = match class {
            "BrokerConfig" | "MessageStoreConfig" | "NettyClientConfig" | "AuthConfig" => {
                &[&broker]
            }
            "NettyServerConfig" => &[&broker, &namesrv],
            "NamesrvConfig" => &[&namesrv],
            _ => continue,
        };
        for explanations in servers {
            let found = explanations.iter().find(|one| one.class == class && one.key == key);
            let found = found.unwrap_or_else(|| panic!("{class} {key}"));
            assert_eq!(found.type_name, type_name, "{key}");
            // Each server sets its own when it starts.
            if key != "listenPort" {
                assert_eq!(found.default, default, "{key}");
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 243 + 219 + 22 + 2 * 18 + 20 + 26);
}

#[test]
fn check_names_all_problems_with_line_key_and_what_was_expected() {
    let (text, code) = check(
        "listenPort=x\nautoCreateTopicEnable=yes\nmapedFileSizeCommitLog=1\nbrokerNam=b\n\
         sendMessageThreadPoolNums=4\nstoreType=defaultRocksDB\nbindAddress=a host\n",
        &[],
    );
    assert_eq!(code, Some(1));
    assert_eq!(
        text,
        "error: server.conf:1: listenPort must be a whole number from 0 to 65535, not \"x\"\n\
         error: server.conf:2: autoCreateTopicEnable must be true or false, not \"yes\"\n\
         error: server.conf:6: storeType=defaultRocksDB is not supported: queues in RocksDB cannot \
         be read\n\
         error: server.conf: bindAddress=a host: not the name of a host\n\
         warning: server.conf:3: there is no key mapedFileSizeCommitLog; did you mean \
         mappedFileSizeCommitLog?\n\
         warning: server.conf:4: there is no key brokerNam; did you mean brokerName?\n\
         warning: server.conf:5: sendMessageThreadPoolNums has no effect here, because requests are \
         handled on the thread that reads them, not in pools\n\
         server.conf: errors 4, warnings 3\n"
    );
}

#[test]
fn warnings_alone_are_no_failure_and_a_missing_file_is_one() {
    let (text, code) = check("brokerNam=b\n", &[]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(check("listenPort=10911\n", &[]).0, "server.conf: errors 0, warnings 0\n");
    let (text, code) = run(&["check", "/nowhere/broker.conf"]);
    assert_eq!(code, Some(1));
    assert!(text.starts_with("error: /nowhere/broker.conf: No such file"), "{text}");
    let (text, code) = check("tls.config.file=/nowhere/tls.properties\n", &[]);
    assert_eq!(code, Some(1));
    assert!(text.contains("/nowhere/tls.properties: No such file"), "{text}");
}

#[test]
fn file_of_a_name_server_is_checked_by_its_own_keys() {
    let (text, code) =
        check("listenPort=9876\nclusterTest=true\nbrokerName=b\nuseTLS=true\n", &["--namesrv"]);
    assert_eq!(code, Some(1));
    assert_eq!(
        text,
        "error: server.conf:2: clusterTest=true is not supported: there is no cluster-test mode\n\
         warning: server.conf:3: there is no key brokerName\n\
         warning: server.conf:4: useTLS has no effect here, because brokers are told without \
         settings\n\
         server.conf: errors 1, warnings 2\n"
    );
}

#[test]
fn key_is_explained_for_each_server_that_has_it() {
    let (text, code) = run(&["explain", "listenPort"]);
    assert_eq!(code, Some(0));
    assert_eq!(
        text,
        "listenPort of the broker\n  reference class  BrokerConfig\n  \
         type             int: a whole number from 0 to 65535\n  default          10911\n  \
         here             works as in the reference\n\
         listenPort of the broker\n  reference class  NettyServerConfig\n  \
         type             int: a whole number from 0 to 65535\n  default          10911\n  \
         here             works as in the reference\n\
         listenPort of the name server\n  reference class  NettyServerConfig\n  \
         type             int: a whole number from 0 to 65535\n  default          9876\n  \
         here             works as in the reference\n"
    );
    let (text, _) = run(&["explain", "enableDLegerCommitLog"]);
    assert!(text.ends_with(
        "anything but `false` stops the start: it keeps messages in a format of its own\n"
    ));
    let (text, code) = run(&["explain", "flushDiskTyp"]);
    assert_eq!(text, "there is no key flushDiskTyp; did you mean flushDiskType?\n");
    assert_eq!(code, Some(1));
}
