//! Lists of topics, brokers and clusters.

use super::*;

#[test]
fn lists_say_disable_when_they_are_switched_off() {
    let fixture = fixture(|settings| {
        settings.enable_all_topic_list = false;
        settings.enable_topic_list = false;
    });
    for code in [
        RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
        RequestCode::GET_TOPICS_BY_CLUSTER,
        RequestCode::GET_UNIT_TOPIC_LIST,
        RequestCode::GET_HAS_UNIT_SUB_TOPIC_LIST,
        RequestCode::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST,
    ] {
        let response = fixture.ask_for(code, &[("cluster", "C")]);
        assert_eq!(failed(&response, ResponseCode::SYSTEM_ERROR), "disable", "{code}");
    }
}

#[test]
fn lists_and_groups_are_in_the_raw_dialect() {
    let fixture = fixture(|_| ());
    fixture.register(0, "m:1");
    let answer = |code, fields: &[_]| text(&fixture.ask_for(code, fields)).to_owned();
    insta::assert_snapshot!(
        answer(RequestCode::GET_BROKER_CLUSTER_INFO, &[]),
        @r#"{"brokerAddrTable":{"b":{"brokerAddrs":{0:"m:1"},"brokerName":"b","cluster":"C","enableActingMaster":true}},"clusterAddrTable":{"C":["b"]}}"#
    );
    insta::assert_snapshot!(
        answer(RequestCode::GET_BROKER_MEMBER_GROUP, &[("clusterName", "C"), ("brokerName", "b")]),
        @r#"{"brokerMemberGroup":{"brokerAddrs":{0:"m:1"},"brokerName":"b","cluster":"C"}}"#
    );
    insta::assert_snapshot!(
        answer(RequestCode::GET_BROKER_MEMBER_GROUP, &[("clusterName", "C"), ("brokerName", "x")]),
        @r#"{"brokerMemberGroup":{"brokerAddrs":{},"brokerName":"x","cluster":"C"}}"#
    );
    insta::assert_snapshot!(
        answer(RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS, &[]),
        @r#"{"brokerAddr":"m:1","topicList":["C","b"]}"#
    );
    insta::assert_snapshot!(
        answer(RequestCode::GET_TOPICS_BY_CLUSTER, &[("cluster", "nowhere")]),
        @r#"{"topicList":[]}"#
    );
}
