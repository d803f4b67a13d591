//! Names that no topic can have.

use std::path::Path;

use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::wire::{Command, Conn};

use crate::{GROUP, assert_code, create, server};

#[test]
fn a_topic_that_is_a_path_is_refused_and_leaves_no_file() {
    let server = server();
    let mut conn = Conn::connect(&server.broker_addr());
    for topic in ["../../../oxmq_evil", "..", "oxmq_evil/x", "oxmq_evil\0", "/oxmq_evil", "."] {
        assert_code(&mut conn, &create(topic), response::INVALID_PARAMETER);
        let send = ops::send_request(topic, 0, "", b"x");
        assert_code(&mut conn, &send, response::INVALID_PARAMETER);
        assert_code(&mut conn, &ops::pull_request(GROUP, topic, 0, 0), response::TOPIC_NOT_EXIST);
        let commit = ops::commit_request(GROUP, topic, 0, 1);
        assert_code(&mut conn, &commit, response::TOPIC_NOT_EXIST);
        assert_eq!(ops::max_offset(&mut conn, topic, 0), 0);
        assert_eq!(ops::min_offset(&mut conn, topic, 0), 0);
        assert_eq!(ops::search_offset(&mut conn, topic, 0, 1), 0);
        assert_eq!(ops::committed_offset(&mut conn, GROUP, topic, 0), None);
        // A heartbeat may name any topic and group; it creates nothing named so.
        ops::heartbeat(&mut conn, "bad", "../../oxmq_evil_group", topic);
        let delete = Command::request(code::DELETE_TOPIC_IN_BROKER, &[("topic", topic)]);
        assert_code(&mut conn, &delete, response::SUCCESS);
        assert_eq!(ops::route(&server.namesrv_addr(), topic), None);
    }
    assert!(server.store_dir().join("commitlog").is_dir(), "the store is still there");
    let root = server.store_dir().parent().unwrap();
    assert_eq!(named(root, "oxmq_evil"), Vec::<String>::new());
}

#[test]
fn a_name_of_bad_characters_or_length_is_refused() {
    let server = server();
    let mut conn = Conn::connect(&server.broker_addr());
    let too_long = "x".repeat(128);
    for topic in ["", "a b", "中", "a.b", "a*", too_long.as_str()] {
        assert_code(&mut conn, &create(topic), response::INVALID_PARAMETER);
        let send = ops::send_request(topic, 0, "", b"x");
        assert_code(&mut conn, &send, response::INVALID_PARAMETER);
    }
    // What the broker keeps for itself.
    for topic in ["TBW102", "SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC"] {
        assert_code(&mut conn, &create(topic), response::INVALID_PARAMETER);
        let delete = Command::request(code::DELETE_TOPIC_IN_BROKER, &[("topic", topic)]);
        assert_code(&mut conn, &delete, response::INVALID_PARAMETER);
    }
    for topic in ["SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC"] {
        let send = ops::send_request(topic, 0, "", b"x");
        assert_code(&mut conn, &send, response::NO_PERMISSION);
    }
}

/// Paths below `dir` whose last part contains `needle`.
fn named(dir: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().contains(needle) {
            found.push(path.display().to_string());
        }
        if path.is_dir() {
            found.extend(named(&path, needle));
        }
    }
    found
}
