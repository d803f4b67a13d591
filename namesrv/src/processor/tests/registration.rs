//! What brokers tell of themselves and their topics.

use super::*;

#[test]
fn registration_with_a_wrong_checksum_is_refused() {
    let fixture = fixture(|_| ());
    let mut wrong = register_request(0, "m:1");
    wrong.ext_fields.insert("bodyCrc32", "1");
    assert_eq!(failed(&fixture.ask(&wrong), ResponseCode::SYSTEM_ERROR), "crc32 not match");
    wrong.ext_fields.insert("bodyCrc32", "0");
    assert_eq!(fixture.ask(&wrong).response_code(), ResponseCode::SUCCESS);
}

#[test]
fn registration_that_is_no_json_is_refused_with_the_place() {
    let fixture = fixture(|_| ());
    let mut wrong = register_request(0, "m:1").with_body(&b"{\"filterServerList\":[}"[..]);
    wrong.ext_fields.insert("bodyCrc32", "0");
    let response = fixture.ask(&wrong);
    let remark = failed(&response, ResponseCode::SYSTEM_ERROR);
    assert_eq!(remark, "body is not a RegisterBrokerBody: expected a value at byte 21");
    let cluster: ClusterInfo =
        fastjson::from_slice(&fixture.ask_for(RequestCode::GET_BROKER_CLUSTER_INFO, &[]).body)
            .unwrap();
    assert_eq!(cluster, ClusterInfo::default());
}

#[test]
fn compressed_registration_is_read_or_refused_by_name() {
    const BODY: &[u8] =
        include_bytes!("../../../../protocol/tests/golden/register_broker_compressed_plain.bin");
    let fixture = fixture(|_| ());
    let mut compressed = register_request(0, "m:1").with_body(BODY);
    compressed.ext_fields.insert("bodyCrc32", body_crc(BODY).to_string());
    compressed.ext_fields.insert("compressed", "true");
    text(&fixture.ask(&compressed));
    let all = fixture.ask_for(RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[]);
    assert_eq!(text(&all), r#"{"topicList":["T","U"]}"#);
    let mut plain = register_request(0, "m:1");
    plain.ext_fields.insert("compressed", "true");
    let response = fixture.ask(&plain);
    let remark = failed(&response, ResponseCode::SYSTEM_ERROR);
    assert!(remark.starts_with("body is not a compressed RegisterBrokerBody: "), "{remark}");
}

#[test]
fn broker_before_3_0_11_registers_topics_only() {
    let fixture = fixture(|_| ());
    let mut old = register_request(0, "m:1").with_body(
        &br#"{"dataVersion":{"counter":1,"timestamp":2},"topicConfigTable":{"a":{"topicName":"a"},"b":{"topicName":"b"}}}"#[..],
    );
    old.ext_fields.insert("bodyCrc32", "0");
    old.version = 36;
    assert_eq!(fixture.ask(&old).response_code(), ResponseCode::SUCCESS);
    let all = fixture.ask_for(RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[]);
    assert_eq!(text(&all), r#"{"topicList":["a","b"]}"#);
}

#[test]
fn registering_broker_is_told_the_order_settings_and_a_slave_its_master() {
    let fixture = fixture(|_| ());
    let response = fixture.ask(&register_request(0, "m:1"));
    assert!(text(&response).is_empty() && response.ext_fields.is_empty());
    let order = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "orders"), ("value", "b:4")];
    fixture.ask_for(RequestCode::PUT_KV_CONFIG, &order);
    let response = fixture.ask(&register_request(1, "s:1"));
    assert_eq!(text(&response), r#"{"table":{"orders":"b:4"}}"#);
    assert_eq!(response.ext_fields.get("masterAddr").as_deref(), Some("m:1"));
    assert_eq!(response.ext_fields.get("haServerAddr").as_deref(), Some("h:1"));
}

#[test]
fn data_version_is_compared_and_told() {
    let fixture = fixture(|_| ());
    let fields =
        [("brokerName", "b"), ("brokerAddr", "m:1"), ("clusterName", "C"), ("brokerId", "0")];
    let ask = |counter| {
        let version = DataVersion { counter, ..DataVersion::default() };
        let body = fastjson::to_vec(&version, Dialect::Raw).unwrap();
        let response =
            fixture.ask(&request(RequestCode::QUERY_DATA_VERSION, &fields).with_body(body));
        (response.ext_fields.get("changed").unwrap().into_owned(), text(&response).to_owned())
    };
    assert_eq!(ask(0), ("true".to_owned(), String::new()));
    fixture.register(0, "m:1");
    let known = r#"{"counter":0,"stateVersion":0,"timestamp":0}"#;
    assert_eq!(ask(0), ("false".to_owned(), known.to_owned()));
    assert_eq!(ask(1), ("true".to_owned(), known.to_owned()));
}

#[test]
fn members_hear_of_a_lower_id_only_when_switched_on() {
    for is_on in [false, true] {
        let fixture = fixture(|settings| settings.notify_min_broker_id_changed = is_on);
        fixture.register(1, "s:1");
        fixture.register(0, "m:1");
        let gone =
            [("brokerName", "b"), ("brokerAddr", "m:1"), ("clusterName", "C"), ("brokerId", "0")];
        fixture.ask_for(RequestCode::UNREGISTER_BROKER, &gone);
        let heard: Vec<_> = fixture
            .notified
            .lock()
            .unwrap()
            .iter()
            .map(|change| (change.min_broker_id, change.notify.clone()))
            .collect();
        let expected = [(0, vec!["s:1".to_owned()]), (1, vec!["s:1".to_owned()])];
        assert_eq!(heard, if is_on { expected.to_vec() } else { Vec::new() });
    }
}

#[test]
fn departures_with_names_that_no_broker_can_have_are_refused() {
    let fixture = fixture(|_| ());
    let long = "x".repeat(1_025);
    for name in ["brokerName", "brokerAddr", "clusterName"] {
        let mut fields =
            [("brokerName", "b"), ("brokerAddr", "m:1"), ("clusterName", "C"), ("brokerId", "0")];
        fields.iter_mut().filter(|field| field.0 == name).for_each(|field| field.1 = &long);
        let answer = fixture.ask_for(RequestCode::UNREGISTER_BROKER, &fields);
        let remark = failed(&answer, ResponseCode::SYSTEM_ERROR);
        assert_eq!(remark, "unregister broker failed: a name has more than 1024 bytes", "{name}");
    }
}

#[test]
fn write_permission_answers_count_topics() {
    let fixture = fixture(|_| ());
    fixture.register(0, "m:1");
    let wiped = fixture.ask_for(RequestCode::WIPE_WRITE_PERM_OF_BROKER, &[("brokerName", "b")]);
    assert_eq!(wiped.ext_fields.get("wipeTopicCount").as_deref(), Some("2"));
    let added = fixture.ask_for(RequestCode::ADD_WRITE_PERM_OF_BROKER, &[("brokerName", "x")]);
    assert_eq!(added.ext_fields.get("addTopicCount").as_deref(), Some("0"));
}

#[test]
fn single_topic_is_registered_and_deleted() {
    let fixture = fixture(|_| ());
    fixture.register(0, "m:1");
    let topic = request(RequestCode::REGISTER_TOPIC_IN_NAMESRV, &[("topic", "new")])
        .with_body(&br#"{"queueDatas":[{"brokerName":"b","perm":6}]}"#[..]);
    text(&fixture.ask(&topic));
    let names = || -> Vec<String> {
        let all = fixture.ask_for(RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[]);
        let list: TopicList = fastjson::from_slice(&all.body).unwrap();
        list.topic_list.into_iter().collect()
    };
    assert_eq!(names(), ["new", "orders", "payments"]);
    let delete = |fields: &[_]| {
        text(&fixture.ask_for(RequestCode::DELETE_TOPIC_IN_NAMESRV, fields)).to_owned()
    };
    delete(&[("topic", "new"), ("clusterName", "nowhere")]);
    assert_eq!(names(), ["new", "orders", "payments"]);
    delete(&[("topic", "new"), ("clusterName", "")]);
    delete(&[("topic", "orders"), ("clusterName", "C")]);
    assert_eq!(names(), ["payments"]);
}
