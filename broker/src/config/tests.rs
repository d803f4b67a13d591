//! Settings of the broker: defaults, files, notices.

use super::*;

fn load(text: &str) -> Result<(BrokerSettings, Vec<String>), ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broker.conf");
    std::fs::write(&file, text).unwrap();
    let mut config = BrokerSettings::default();
    let notices = config.load(&file, &mut [])?;
    let place = format!("{}/", dir.path().display());
    Ok((config, notices.iter().map(|notice| notice.to_string().replace(&place, "")).collect()))
}

#[test]
fn defaults_are_those_of_the_reference() {
    let config = BrokerSettings::default();
    let machine = ["brokerName", "brokerIP1", "brokerIP2"];
    // The reference sets 10911 when it starts, behind its own default.
    let compared: Vec<_> = known::reference_settings()
        .filter(|setting| !machine.contains(&setting.key) && setting.key != "listenPort")
        .filter(|setting| BrokerSettings::KEYS.contains(&setting.key))
        .collect();
    let own = [
        "tls.server.mode",
        "tls.config.file",
        "rmqAddressServerDomain",
        "rmqAddressServerSubGroup",
        "advertisedListeners",
    ];
    assert_eq!(compared.len(), BrokerSettings::KEYS.len() - machine.len() - 1 - own.len());
    for setting in compared {
        let default = if setting.default == "null" { "" } else { setting.default };
        assert_eq!(config.get(setting.key).as_deref(), Some(default), "{}", setting.key);
    }
    assert_eq!(config.listen_port, 10911);
}

#[test]
fn replication_has_the_port_above_unless_the_file_names_one() {
    let port = |text| load(text).unwrap().0.ha_listen_port;
    assert_eq!(port(""), 10912);
    assert_eq!(port("listenPort=25200"), 25201);
    assert_eq!(port("listenPort=25200\nhaListenPort=0"), 25201);
    assert_eq!(port("haListenPort=10920\nlistenPort=25200"), 10920);
    assert_eq!(port("listenPort=0"), 0, "the port is not known yet");
}

#[test]
fn keys_without_effect_are_named_once_with_the_reason() {
    let (config, notices) = load(
        "listenPort=0\nsendMessageThreadPoolNums=8\nrocksdbCompressionType=lz4\n\
         enableMixedMessageTyp=true\naclEnable=true\nsendMessageThreadPoolNums=9",
    )
    .unwrap();
    assert_eq!(config.listen_port, 0);
    assert_eq!(
        notices,
        [
            "broker.conf:2: sendMessageThreadPoolNums has no effect here, because requests are \
             handled on the thread that reads them, not in pools",
            "broker.conf:3: rocksdbCompressionType has no effect here, because nothing is \
             stored in RocksDB",
            "broker.conf:4: there is no key enableMixedMessageTyp; did you mean \
             enableMixedMessageType?",
            "broker.conf:5: aclEnable has no effect here, because access control is not built \
             yet",
        ]
    );
}

#[test]
fn another_kind_of_store_is_refused_rather_than_ignored() {
    let error = load("\nenableDLegerCommitLog = true").unwrap_err().to_string();
    assert!(error.ends_with(
        "broker.conf:2: enableDLegerCommitLog=true is not supported: \
         it keeps messages in a format of its own"
    ));
    assert!(load("enableDLegerCommitLog=false\nstoreType=default").is_ok());
    assert!(load("storeType=defaultRocksDB").is_err());
}

#[test]
fn replication_is_refused_rather_than_ignored() {
    let error = load("brokerRole=SLAVE\nbrokerId=1").unwrap_err().to_string();
    assert!(error.ends_with("brokerRole=SLAVE is not supported: replication is not built yet"));
    assert!(load("brokerRole=SYNC_MASTER\ninSyncReplicas=2").is_err());
    assert!(load("brokerRole=SYNC_MASTER\ninSyncReplicas=1").is_ok());
}

#[test]
fn master_has_id_0() {
    assert_eq!(load("brokerId=3\nbrokerRole=SYNC_MASTER").unwrap().0.broker_id, 0);
    let error = load("brokerRole=MASTER").unwrap_err().to_string();
    assert!(
        error.ends_with("brokerRole must be ASYNC_MASTER, SYNC_MASTER or SLAVE, not \"MASTER\"")
    );
}

#[test]
fn command_line_wins_over_file_over_environment() {
    let mut config = BrokerSettings::default();
    config.settle_namesrv_addr(None, Some(" "));
    assert_eq!(config.namesrv_addr, None);
    config.settle_namesrv_addr(None, Some("e:1"));
    assert_eq!(config.namesrv_addr.as_deref(), Some("e:1"));
    config.namesrv_addr = Some("f:1".to_owned());
    config.settle_namesrv_addr(None, Some("e:1"));
    assert_eq!(config.namesrv_addr.as_deref(), Some("f:1"));
    config.settle_namesrv_addr(Some("n:1"), Some("e:1"));
    assert_eq!(config.namesrv_addr.as_deref(), Some("n:1"));
}
