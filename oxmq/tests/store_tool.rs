//! `oxmq store` from outside: its exit codes and its two forms of output.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};

use oxmq_protocol::message::Message;
use oxmq_store::{MessageStore, StoreConfig};
use serde_json::Value;

fn config(root: &Path) -> StoreConfig {
    StoreConfig {
        mapped_file_size_commit_log: 16 << 10,
        mapped_file_size_consume_queue: 400,
        max_hash_slot_num: 100,
        max_index_num: 1_000,
        ..StoreConfig::in_dir(root)
    }
}

/// A closed store with ten messages.
fn store() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = MessageStore::open(config(dir.path())).unwrap();
    for number in 0..10 {
        let body = format!("order {number}");
        store.put_message(&Message {
            properties: b"KEYS\x01k1\x02",
            ..Message::new("Orders", 0, body.as_bytes())
        });
    }
    store.close().unwrap();
    dir
}

fn run(args: &[&str], dir: &Path) -> (i32, String, String) {
    let mut args = args.to_vec();
    args.insert(1, dir.to_str().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxmq"));
    let Output { status, stdout, stderr } = command.arg("store").args(&args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn damage(root: &Path) {
    let path = root.join("consumequeue/Orders/0/00000000000000000000");
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&(1_i64 << 40).to_be_bytes(), 40).unwrap();
}

#[test]
fn check_and_repair_say_by_their_exit_code_how_the_store_is() {
    let dir = store();
    let (code, out, _) = run(&["check"], dir.path());
    assert_eq!(code, 0, "{out}");
    assert!(out.ends_with("the store is sound\n"), "{out}");

    damage(dir.path());
    let (code, out, _) = run(&["check"], dir.path());
    assert_eq!(code, 2);
    assert!(out.contains("ERROR unit-wrong") && out.contains("at byte 40"), "{out}");
    let (code, out, _) = run(&["check", "--json"], dir.path());
    assert_eq!(code, 2);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["findings"][0]["kind"], "unit-wrong");
    assert_eq!(report["findings"][0]["position"], 40);

    let (code, out, _) = run(&["repair", "--dry-run"], dir.path());
    assert_eq!(code, 2);
    assert!(out.ends_with("nothing was done\n"), "{out}");
    let (code, out, _) = run(&["repair"], dir.path());
    assert_eq!(code, 0, "{out}");
    let (code, out, _) = run(&["check"], dir.path());
    assert_eq!(code, 0, "{out}");
}

#[test]
fn repair_goes_on_when_nobody_reads_what_it_does() {
    let dir = store();
    damage(dir.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxmq"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.args(["store", "repair"]).arg(dir.path()).stdout(writer);
    let error = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(!error.contains("panicked"), "{error}");
    let (code, out, _) = run(&["check"], dir.path());
    assert_eq!(code, 0, "{out}");
}

#[test]
fn store_in_use_is_refused_and_so_is_what_is_no_store() {
    let dir = store();
    let running = MessageStore::open(config(dir.path())).unwrap();
    for command in ["check", "repair", "plan"] {
        let (code, _, error) = run(&[command], dir.path());
        assert_eq!(code, 3, "{command}");
        assert!(error.contains("in use by another process"), "{error}");
    }
    running.close().unwrap();
    let (code, _, error) = run(&["check"], &dir.path().join("none"));
    assert_eq!(code, 3);
    assert!(error.contains("is no directory"), "{error}");
}

#[test]
fn records_queues_and_keys_are_shown_as_tables_and_as_json() {
    let dir = store();
    let (code, out, _) =
        run(&["dump", "queue", "Orders", "0", "--from", "2", "--count", "2"], dir.path());
    assert_eq!(code, 0);
    assert!(
        out.contains("order 2") && out.contains("order 3") && !out.contains("order 4"),
        "{out}"
    );
    let (code, out, _) = run(
        &["dump", "queue", "Orders", "0", "--from", "-5", "--count", "2", "--json"],
        dir.path(),
    );
    assert_eq!(code, 0);
    let rows: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(rows[1]["record"]["body"]["text"], "order 1");
    let (_, out, _) = run(&["dump", "index", "Orders", "k1", "--json"], dir.path());
    let rows: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(rows[0]["record"]["body"]["text"], "order 9");
    let (code, out, _) = run(&["dump", "record", "0"], dir.path());
    assert_eq!(code, 0);
    assert!(out.contains("KEYS = k1"), "{out}");
    let (code, _, error) = run(&["dump", "record", "1"], dir.path());
    assert_eq!(code, 3);
    assert!(error.contains("no record begins at 1"), "{error}");
}

#[test]
fn plan_takes_the_settings_of_the_broker_into_account() {
    let dir = store();
    let (code, out, _) = run(&["plan"], dir.path());
    assert_eq!(code, 0, "{out}");
    let settings = dir.path().join("broker.conf");
    fs::write(&settings, "enableDLegerCommitLog=true\n").unwrap();
    let (code, out, _) = run(&["plan", "-c", settings.to_str().unwrap()], dir.path());
    assert_eq!(code, 2, "{out}");
    assert!(out.contains("enableDLegerCommitLog"), "{out}");
}

#[test]
fn output_that_nobody_reads_is_no_panic() {
    let dir = store();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxmq"));
    command.args(["store", "check"]).arg(dir.path());
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    assert_eq!(command.status().unwrap().code(), Some(3));
}
