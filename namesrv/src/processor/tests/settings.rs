//! Key values and settings.

use super::*;

#[test]
fn key_values_answer_as_the_reference_does() {
    let fixture = fixture(|_| ());
    let key = [("namespace", "n"), ("key", "k")];
    let put = [("namespace", "n"), ("key", "k"), ("value", "v")];
    let missing = fixture.ask_for(RequestCode::GET_KV_CONFIG, &key);
    assert_eq!(
        failed(&missing, ResponseCode::QUERY_NOT_FOUND),
        "No config item, Namespace: n Key: k"
    );
    let missing = fixture.ask_for(RequestCode::GET_KVLIST_BY_NAMESPACE, &[("namespace", "n")]);
    assert_eq!(failed(&missing, ResponseCode::QUERY_NOT_FOUND), "No config item, Namespace: n");
    let nameless = fixture.ask_for(RequestCode::PUT_KV_CONFIG, &[("value", "v")]);
    assert_eq!(failed(&nameless, ResponseCode::SYSTEM_ERROR), "namespace or key is null");
    text(&fixture.ask_for(RequestCode::DELETE_KV_CONFIG, &key));
    text(&fixture.ask_for(RequestCode::PUT_KV_CONFIG, &put));
    let found = fixture.ask_for(RequestCode::GET_KV_CONFIG, &key);
    assert_eq!(found.ext_fields.get("value").as_deref(), Some("v"));
    let list = fixture.ask_for(RequestCode::GET_KVLIST_BY_NAMESPACE, &[("namespace", "n")]);
    assert_eq!(text(&list), r#"{"table":{"k":"v"}}"#);
    assert!(fixture.folder.path().join("kvConfig.json").exists());
}

#[test]
fn settings_change_together_and_are_kept() {
    let fixture = fixture(|_| ());
    let update = |text: &str| {
        fixture.ask(
            &request(RequestCode::UPDATE_NAMESRV_CONFIG, &[]).with_body(text.as_bytes().to_vec()),
        )
    };
    text(&update("enableTopicList=false\nscanNotActiveBrokerInterval = 1000\n"));
    assert!(!fixture.server.settings().enable_topic_list);
    let kept = fixture.folder.path().join("namesrv.properties");
    let (kept, _) = NamesrvConfig::load(&kept).unwrap();
    assert_eq!(kept, *fixture.server.settings());
    let shown = fixture.ask_for(RequestCode::GET_NAMESRV_CONFIG, &[]);
    assert!(text(&shown).lines().any(|line| line == "scanNotActiveBrokerInterval=1000"));

    let response = update("enableTopicList=true\nscanNotActiveBrokerInterval=soon");
    assert_eq!(
        failed(&response, ResponseCode::SYSTEM_ERROR),
        "scanNotActiveBrokerInterval must be a whole number, not negative"
    );
    let response = update("enableTopicLst=true");
    assert_eq!(
        failed(&response, ResponseCode::SYSTEM_ERROR),
        "there is no key enableTopicLst; did you mean enableTopicList?"
    );
    let response = update("enableTopicList=\\u12");
    assert_eq!(failed(&response, ResponseCode::SYSTEM_ERROR), "string2Properties error");
    assert_eq!(*fixture.server.settings(), kept);
}

#[test] // CVE-2023-37582: a path in a setting let anyone write files.
fn closed_settings_cannot_be_changed_over_the_wire() {
    let fixture = fixture(|settings| settings.config_black_list = "supportActingMaster".into());
    let before = fixture.server.settings();
    for key in [
        "configStorePath",
        "kvConfigPath",
        "rocketmqHome",
        "configBlackList",
        "bindAddress",
        "listenPort",
        "supportActingMaster",
    ] {
        let body = format!("enableTopicList=false\n{key}=/tmp/x\nproductEnvName=test");
        let response =
            fixture.ask(&request(RequestCode::UPDATE_NAMESRV_CONFIG, &[]).with_body(body));
        assert_eq!(
            failed(&response, ResponseCode::NO_PERMISSION),
            "Can not update config in black list.",
            "{key}"
        );
    }
    assert_eq!(fixture.server.settings(), before);
    assert_eq!(std::fs::read_dir(fixture.folder.path()).unwrap().count(), 0);
}
