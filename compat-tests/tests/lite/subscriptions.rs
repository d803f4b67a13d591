//! Who subscribes what.

use oxmq_compat_tests::lite::LiteClient;
use oxmq_compat_tests::ops::{code, response};
use oxmq_compat_tests::wait;
use oxmq_compat_tests::wire::Command;
use serde_json::{Value, json};

use super::{LONG_MS, PATIENT_MS, server, setup};

#[test]
fn a_group_begins_where_the_subscription_says() {
    let mut client = LiteClient::create(server(), "options", &[]);
    for lite_topic in ["min", "max", "offset", "last"] {
        client.send(lite_topic, &["0", "1", "2"]);
    }
    for (lite_topic, kind, value) in
        [("min", "POLICY", 1), ("max", "POLICY", 2), ("offset", "OFFSET", 2)]
    {
        client.subscribe("PARTIAL_ADD", &[lite_topic], json!({ "type": kind, "value": value }));
        let answer = client.pop(LONG_MS, 0);
        let expected: &[&str] = match lite_topic {
            "min" => &["0", "1", "2"],
            "offset" => &["2"],
            _ => &[],
        };
        assert_eq!(answer.bodies(), expected, "{lite_topic}");
    }
    // It goes on where it was, less a few.
    let tail = json!({ "type": "TAIL_N", "value": 1 });
    client.subscribe("PARTIAL_REMOVE", &["offset"], Value::Null);
    client.subscribe("PARTIAL_ADD", &["offset"], tail);
    assert_eq!(client.pop(LONG_MS, 0).bodies(), ["1", "2"]);
}

#[test]
fn only_what_is_subscribed_is_given() {
    let mut client = LiteClient::create(server(), "actions", &[]);
    let mut sender = client.again(server(), "sender");
    client.subscribe_from_first(&["a", "b"]);
    client.subscribe("PARTIAL_REMOVE", &["a"], Value::Null);
    sender.send("a", &["a0"]);
    sender.send("b", &["b0"]);
    assert_eq!(client.pop(LONG_MS, PATIENT_MS).bodies(), ["b0"]);
    client.subscribe("COMPLETE_ADD", &["a", "c"], Value::Null);
    sender.send("b", &["b1"]);
    sender.send("c", &["c0"]);
    assert_eq!(both_messages(&mut client), ["a0", "c0"]);
    client.subscribe("COMPLETE_REMOVE", &[], Value::Null);
    sender.send("c", &["c1"]);
    assert_eq!(client.pop(LONG_MS, 0).command.code, response::POLLING_TIMEOUT);
}

/// The texts of two messages, in whatever order they come.
fn both_messages(client: &mut LiteClient) -> Vec<String> {
    let mut bodies = Vec::new();
    wait::until("both messages", wait_limit(), || {
        let answer = client.pop(LONG_MS, 1_000);
        bodies.extend(answer.records.iter().map(|record| record.text().to_owned()));
        (bodies.len() == 2).then_some(())
    });
    bodies.sort();
    bodies
}

fn wait_limit() -> std::time::Duration {
    std::time::Duration::from_secs(60)
}

#[test]
fn a_message_is_for_one_client_of_each_group() {
    let mut one = LiteClient::create(server(), "groups", &[]);
    let mut two = one.again(server(), "two");
    let mut other = one.again(server(), "other");
    other.group.push_str("_other");
    other.create_group(server(), &[]);
    for client in [&mut one, &mut two, &mut other] {
        client.subscribe("COMPLETE_ADD", &["a"], Value::Null);
    }
    let mut sender = one.again(server(), "sender");
    sender.send("a", &["a0"]);
    assert_eq!(other.pop(LONG_MS, PATIENT_MS).bodies(), ["a0"]);
    let mut bodies = Vec::new();
    wait::until("the message", wait_limit(), || {
        for client in [&mut one, &mut two] {
            let answer = client.pop(LONG_MS, 0);
            bodies.extend(answer.records.iter().map(|record| record.text().to_owned()));
        }
        (!bodies.is_empty()).then_some(())
    });
    assert_eq!(bodies, ["a0"]);
}

#[test]
fn who_leaves_leaves_its_messages_to_others() {
    let mut one = LiteClient::create(server(), "leaves", &[]);
    let mut sender = one.again(server(), "sender");
    one.subscribe("COMPLETE_ADD", &["a"], Value::Null);
    sender.send("a", &["a0"]);
    let mut two = one.again(server(), "two");
    two.subscribe("COMPLETE_ADD", &["a"], Value::Null);
    one.subscribe("COMPLETE_REMOVE", &[], Value::Null);
    assert_eq!(two.pop(LONG_MS, PATIENT_MS).bodies(), ["a0"]);
}

#[test]
fn an_exclusive_lite_topic_goes_to_who_subscribes_it_last() {
    let attributes = [("lite.sub.model", "Exclusive"), ("lite.sub.reset.offset.exclusive", "true")];
    let mut one = LiteClient::create(server(), "exclusive", &attributes);
    one.send("a", &["a0"]);
    one.subscribe_from_first(&["a", "b"]);
    let answer = one.pop(LONG_MS, PATIENT_MS);
    assert_eq!(answer.bodies(), ["a0"]);
    one.ack("a", &[0], &answer);
    let mut two = one.again(server(), "two");
    two.subscribe("PARTIAL_ADD", &["a"], Value::Null);
    let told = one.conn.receive().unwrap();
    assert_eq!((told.code, told.flag), (code::NOTIFY_UNSUBSCRIBE_LITE, 2), "{told:?}");
    assert_eq!(told.ext["liteTopic"], "a");
    assert_eq!(told.ext["consumerGroup"], one.group);
    assert_eq!(told.ext["clientId"], one.client_id);
    // The group begins again.
    assert_eq!(two.pop(LONG_MS, PATIENT_MS).bodies(), ["a0"]);
    one.send("b", &["b0"]);
    assert_eq!(one.pop(LONG_MS, PATIENT_MS).bodies(), ["b0"]);
}

#[test]
fn a_group_may_take_every_lite_topic() {
    let mut client = LiteClient::create(server(), "wildcard", &[("lite.sub.wildcard", "true")]);
    client.send("before", &["before"]);
    let refused = client.conn.call(client.subscription("PARTIAL_ADD", &["a"], Value::Null));
    let remark =
        "java.lang.IllegalStateException: subscribe lite operation is not supported for this group";
    assert_eq!((refused.code, refused.remark.as_deref()), (604, Some(remark)));
    client.subscribe("COMPLETE_ADD", &[], Value::Null);
    client.send("after", &["after"]);
    assert_eq!(both_messages(&mut client), ["after", "before"]);
}

#[test]
fn subscriptions_are_checked_and_have_a_limit() {
    let server = setup().broker_conf("maxLiteSubscriptionCount", "2").start();
    let mut client = LiteClient::create(&server, "limit", &[]);
    let refused = |client: &mut LiteClient, request: Command| {
        let answer = client.conn.call(request);
        (answer.code, answer.remark.unwrap_or_default())
    };
    let empty = Command::request(code::LITE_SUBSCRIPTION_CTL, &[]);
    let remark = "Request body is null.".to_owned();
    assert_eq!(refused(&mut client, empty.clone()), (604, remark));
    let remark = "LiteSubscriptionCtlRequestBody is empty.".to_owned();
    assert_eq!(refused(&mut client, empty.with_body("{}")), (604, remark));
    client.subscribe_from_first(&["a", "b"]);
    let request = client.subscription("PARTIAL_ADD", &["c"], Value::Null);
    let remark = "org.apache.rocketmq.broker.lite.LiteQuotaException: \
                  lite subscription quota exceeded 2";
    assert_eq!(refused(&mut client, request.clone()), (2018, remark.to_owned()));
    client.subscribe("PARTIAL_REMOVE", &["b"], Value::Null);
    assert_eq!(client.conn.call(request).code, response::SUCCESS);
    let mut stopped = client.again(&server, "stopped");
    stopped.group.push_str("_stopped");
    let body = json!({ "groupName": stopped.group, "consumeEnable": false });
    let group = Command::request(code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[]);
    assert_eq!(client.conn.call(group.with_body(body.to_string())).code, response::SUCCESS);
    let request = stopped.subscription("COMPLETE_ADD", &["a"], Value::Null);
    let remark =
        "java.lang.IllegalStateException: Consumer group is not allowed to consume.".to_owned();
    assert_eq!(refused(&mut stopped, request), (604, remark));
}

#[test]
fn who_does_not_come_leaves_its_messages_to_others() {
    let mut one = LiteClient::create(server(), "gone", &[]);
    let mut sender = one.again(server(), "sender");
    one.subscribe("COMPLETE_ADD", &["a"], Value::Null);
    sender.send("a", &["a0"]);
    let mut two = one.again(server(), "two");
    two.subscribe("COMPLETE_ADD", &["b"], Value::Null);
    // The message was there when it came, and waits for the first.
    two.subscribe("PARTIAL_ADD", &["a"], Value::Null);
    let mut found = Vec::new();
    wait::until("the message", wait_limit(), || {
        found = two.pop(LONG_MS, 5_000).records;
        (!found.is_empty()).then_some(())
    });
    assert_eq!(found[0].text(), "a0");
}

#[test]
fn without_events_a_client_looks_at_all_that_it_subscribes() {
    let server = setup().broker_conf("enableLiteEventMode", "false").start();
    let mut client = LiteClient::create(&server, "polled", &[]);
    client.subscribe_from_first(&["a", "b"]);
    client.send("a", &["a0"]);
    let answer = client.pop(LONG_MS, 0);
    assert_eq!(answer.bodies(), ["a0"]);
    client.ack("a", &[0], &answer);
    client.send("a", &["a1"]);
    client.send("b", &["b0"]);
    let answer = client.pop(LONG_MS, 0);
    let mut bodies = answer.bodies();
    bodies.sort_unstable();
    assert_eq!(bodies, ["a1", "b0"]);
}
