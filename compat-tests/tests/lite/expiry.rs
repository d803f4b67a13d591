//! Lite topics that nobody uses go.

use std::time::Duration;

use oxmq_compat_tests::lite::LiteClient;
use oxmq_compat_tests::{ops, wait};
use serde_json::Value;

use super::{LONG_MS, PATIENT_MS, setup};

#[test]
fn an_unused_lite_topic_is_deleted_and_can_begin_anew() {
    let server = setup()
        .broker_conf("minLiteTTl", "1000")
        .broker_conf("liteTtlCheckInterval", "1000")
        .start();
    // A minute is the least that a topic can say.
    let mut client = LiteClient::create(&server, "expiry", &[]);
    client.subscribe("COMPLETE_ADD", &["a"], Value::Null);
    client.send("a", &["a0"]);
    let answer = client.pop(LONG_MS, PATIENT_MS);
    assert_eq!(answer.bodies(), ["a0"]);
    client.ack("a", &[0], &answer);
    let queue = client.queue("a");
    wait::until("the end of the lite topic", Duration::from_secs(180), || {
        (ops::max_offset(&mut client.conn, &queue, 0) == 0).then_some(())
    });
    client.subscribe("COMPLETE_ADD", &["a"], Value::Null);
    client.send("a", &["a1"]);
    assert_eq!(client.pop(LONG_MS, PATIENT_MS).bodies(), ["a1"]);
}
