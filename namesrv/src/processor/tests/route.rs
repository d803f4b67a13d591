//! Routes, and what they say to whom.

use super::*;

#[test]
fn route_is_strict_for_clients_from_4_9_4_or_when_they_say_so() {
    let fixture = fixture(|_| ());
    fixture.register(0, "m:1");
    let mut ask = request(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]);
    for (version, expected) in [(400, "{0:"), (401, "{\"0\":"), (0, "{0:")] {
        ask.version = version;
        let response = fixture.ask(&ask);
        assert!(text(&response).contains(expected), "{version}");
    }
    ask.ext_fields.insert("acceptStandardJsonOnly", "true");
    assert!(text(&fixture.ask(&ask)).contains("{\"0\":"));
    ask.ext_fields.insert("__ZONE_MODE", "true");
    assert!(text(&fixture.ask(&ask)).contains("{\"0\":"), "no zone named, no filter");
    ask.ext_fields.insert("__ZONE_NAME", "east");
    let route: TopicRouteData = fastjson::from_slice(&fixture.ask(&ask).body).unwrap();
    assert!(route.broker_datas.is_empty() && route.queue_datas.is_empty());
}

#[test]
fn topic_without_a_route_gets_code_17_the_text_of_the_reference_and_the_cause() {
    let fixture = fixture(|_| ());
    fixture.register(0, "m:1");
    let response = fixture.ask_for(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", "order")]);
    insta::assert_snapshot!(failed(&response, ResponseCode::TOPIC_NOT_EXIST), @r"
    No topic route info in name server for the topic: order
    See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.
    Cause: none of the registered brokers (b) has it; autoCreateTopicEnable is off on all of them, so the topic has to be created; the nearest topic name is orders.
    ");
    let long = "x".repeat(100_000);
    let response = fixture.ask_for(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", &long)]);
    assert!(failed(&response, ResponseCode::TOPIC_NOT_EXIST).len() < 2_000);
}

#[test]
fn route_has_order_settings_only_when_they_are_switched_on() {
    for is_on in [false, true] {
        let fixture = fixture(|settings| settings.order_message_enable = is_on);
        fixture.register(0, "m:1");
        let order = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "orders"), ("value", "b:4")];
        fixture.ask_for(RequestCode::PUT_KV_CONFIG, &order);
        let response = fixture.ask_for(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]);
        assert_eq!(text(&response).contains(r#""orderTopicConf":"b:4""#), is_on);
    }
}

#[test]
fn routes_wait_for_brokers_after_a_start_when_told_to() {
    let fixture = fixture(|settings| settings.need_wait_for_service = true);
    fixture.register(0, "m:1");
    let ask = request(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]);
    let at = |seconds| {
        let now = fixture.server.started + Duration::from_secs(seconds);
        fixture.server.handle(&ask, ORIGIN, now)
    };
    assert_eq!(failed(&at(44), ResponseCode::SYSTEM_ERROR), "name server not ready");
    assert_eq!(at(45).response_code(), ResponseCode::SUCCESS);
}

#[test]
fn clients_get_the_addresses_of_the_listener_that_they_come_by() {
    let fixture = fixture(|settings| {
        settings.listeners = ListenerPorts::parse("external:9877").unwrap();
        settings.listener_networks = ListenerNetworks::parse("lan:10.0.0.0/8").unwrap();
    });
    let mut registration = register_request(0, "m:1");
    registration
        .ext_fields
        .insert(ADVERTISED_LISTENERS, "external://example.com:20911,lan://10.0.0.1:10911");
    assert_eq!(fixture.ask(&registration).response_code(), ResponseCode::SUCCESS);
    fixture.register(1, "s:1");

    let outside: SocketAddr = "203.0.113.1:5".parse().unwrap();
    let inside: SocketAddr = "10.1.2.3:5".parse().unwrap();
    for (peer, local_port, master) in [
        (outside, 9876, "m:1"),
        (inside, 9876, "10.0.0.1:10911"),
        (outside, 9877, "example.com:20911"),
        (inside, 9877, "example.com:20911"),
    ] {
        let local = SocketAddr::new(ORIGIN.local.ip(), local_port);
        let origin = Origin { peer, local, ..ORIGIN };
        let ask = |code, fields: &[(&str, &str)]| {
            fixture.server.handle(&request(code, fields), origin, Instant::now()).body
        };
        let expected = BTreeMap::from([(0, master.to_owned()), (1, "s:1".to_owned())]);
        let route = ask(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]);
        let route: TopicRouteData = fastjson::from_slice(&route).unwrap();
        assert_eq!(route.broker_datas[0].broker_addrs, expected, "{peer} {local_port}");
        let cluster: ClusterInfo =
            fastjson::from_slice(&ask(RequestCode::GET_BROKER_CLUSTER_INFO, &[])).unwrap();
        assert_eq!(cluster.broker_addr_table["b"].broker_addrs, expected);
        let system: TopicList =
            fastjson::from_slice(&ask(RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS, &[])).unwrap();
        assert_eq!(system.broker_addr.as_deref(), Some(master));
    }

    // What is left out of the next registration is gone.
    fixture.register(0, "m:1");
    let origin = Origin { peer: inside, ..ORIGIN };
    let ask = request(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]);
    let route = fixture.server.handle(&ask, origin, Instant::now()).body;
    let route: TopicRouteData = fastjson::from_slice(&route).unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs[&0], "m:1");

    registration.ext_fields.insert(ADVERTISED_LISTENERS, "external");
    let response = fixture.ask(&registration);
    assert_eq!(
        failed(&response, ResponseCode::SYSTEM_ERROR),
        "oxmqAdvertisedListeners must be NAME://HOST:PORT, at most 16 of them, separated by commas"
    );
}
