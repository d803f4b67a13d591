//! What is odd and taken all the same.

use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Kind, message_ops};
use serde_json::{Value, json};

use crate::{GROUP, TOPIC, assert_code, server};

const GET_CONSUMER_CONNECTION_LIST: i32 = 203;
const UPDATE_AND_CREATE_TOPIC_LIST: i32 = 18;

#[test]
fn constants_may_be_in_letters_of_any_case() {
    let server = server();
    let mut conn = Conn::connect(&server.broker_addr());
    for model in ["broadcasting", "Broadcasting", "BROADCASTING"] {
        ops::heartbeat_as(&mut conn, "any-case", "any_case", TOPIC, model);
        let ask = Command::request(GET_CONSUMER_CONNECTION_LIST, &[("consumerGroup", "any_case")]);
        assert_eq!(body(&mut conn, ask)["messageModel"], "BROADCASTING", "{model}");
    }
    for filter in [json!("single_tag"), json!("SINGLE_TAG"), json!(0), json!("0")] {
        let topics = json!({"topicConfigList": [{
            "topicName": "any_case", "topicFilterType": filter, "perm": 6,
            "readQueueNums": 1, "writeQueueNums": 1,
        }]});
        let create = Command::request(UPDATE_AND_CREATE_TOPIC_LIST, &[]);
        assert_code(&mut conn, &create.with_body(topics.to_string()), response::SUCCESS);
        assert_eq!(topic(&mut conn, "any_case")["topicFilterType"], "SINGLE_TAG", "{filter}");
    }
}

#[test]
fn how_long_tiers_of_storage_keep_messages_is_kept_and_shown_without_them() {
    let mut conn = Conn::connect(&server().broker_addr());
    let create = ops::topic_request("kept_for", 1, "+reserve.time=72");
    assert_code(&mut conn, &create, response::SUCCESS);
    assert_eq!(topic(&mut conn, "kept_for")["attributes"]["reserve.time"], "72");
    let negative = ops::topic_request("kept_for", 1, "+reserve.time=-2");
    assert_code(&mut conn, &negative, response::SYSTEM_ERROR);
}

#[test]
fn a_batch_may_say_that_it_has_no_delay_but_not_have_one() {
    let mut conn = Conn::connect(&server().broker_addr());
    let messages = ["one", "two"].map(|text| (String::new(), text.as_bytes().to_vec()));
    for (level, expected) in
        [("0", response::SUCCESS), ("-1", response::SUCCESS), ("2", response::MESSAGE_ILLEGAL)]
    {
        let envelope = format!("DELAY\u{1}{level}\u{2}");
        let batch = message_ops::batch_request(TOPIC, 0, &envelope, &messages);
        assert_code(&mut conn, &batch, expected);
    }
}

#[test]
fn a_batch_may_not_say_that_it_is_one_record() {
    let mut conn = Conn::connect(&server().broker_addr());
    let messages = ["one", "two"].map(|text| (String::new(), text.as_bytes().to_vec()));
    let batch = message_ops::batch_request(TOPIC, 0, "INNER_NUM\u{1}2\u{2}", &messages);
    assert_code(&mut conn, &batch, response::MESSAGE_ILLEGAL);
}

#[test]
fn only_a_star_or_nothing_asks_for_messages_with_any_tag() {
    let server = server();
    let mut conn = Conn::connect(&server.broker_addr());
    ops::create_topic(server, "any_tag", 1);
    ops::send(&mut conn, "any_tag", 0, "TAGS\u{1}A\u{2}", b"with a tag");
    ops::wait_for_max_offset(&mut conn, "any_tag", 0, 1);
    for (expression, expected) in [
        ("", response::SUCCESS),
        ("*", response::SUCCESS),
        ("A||", response::SUCCESS),
        (" ", response::PULL_RETRY_IMMEDIATELY),
        ("* ", response::PULL_RETRY_IMMEDIATELY),
        ("||", response::SUBSCRIPTION_PARSE_FAILED),
        // Whatever is not above a blank is cut off, and no other character.
        ("\u{1}A\t", response::SUCCESS),
        ("\u{3000}A", response::PULL_RETRY_IMMEDIATELY),
    ] {
        let mut pull = ops::pull_request(GROUP, "any_tag", 0, 0);
        pull.ext.insert("subscription".to_owned(), expression.to_owned());
        assert_code(&mut conn, &pull, expected);
    }
}

/// As some clients send it, which have an expression in each pull, too.
#[test]
fn a_subscription_without_hashes_of_its_tags_goes_by_its_expression() {
    let server = server();
    let mut conn = Conn::connect(&server.broker_addr());
    ops::create_topic(server, "no_hashes", 1);
    ops::send(&mut conn, "no_hashes", 0, "TAGS\u{1}A\u{2}", b"with a tag");
    ops::wait_for_max_offset(&mut conn, "no_hashes", 0, 1);
    for (group, expression) in [("no_hashes_all", ""), ("no_hashes_tag", "A")] {
        let subscription = json!({"topic": "no_hashes", "subString": expression, "subVersion": 1});
        ops::subscribe(&mut conn, "no-hashes", group, "CLUSTERING", &subscription);
        let mut pull = ops::pull_request(group, "no_hashes", 0, 0);
        pull.ext.extend([("sysFlag", "0"), ("subVersion", "1")].map(|(k, v)| (k.into(), v.into())));
        let expected = match server.kind() {
            Kind::Ours => response::SUCCESS,
            _ => response::PULL_RETRY_IMMEDIATELY,
        };
        assert_code(&mut conn, &pull, expected);
    }
}

fn topic(conn: &mut Conn, name: &str) -> Value {
    body(conn, Command::request(code::GET_TOPIC_CONFIG, &[("topic", name)]))
}

fn body(conn: &mut Conn, request: Command) -> Value {
    serde_json::from_slice(&conn.call(request).body).unwrap()
}
