//! Settings of a running server: what changes over the wire, and what nobody may change there.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use oxmq_compat_tests::admin::{Output, mqadmin};
use oxmq_compat_tests::ops::{self, response};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Kind, ServerUnderTest, wait};

const UPDATE_BROKER_CONFIG: i32 = 25;
const GET_BROKER_CONFIG: i32 = 26;
const UPDATE_NAMESRV_CONFIG: i32 = 318;
const GET_NAMESRV_CONFIG: i32 = 319;
const REFUSED: &str = "Can not update config in black list.";

#[test]
fn mqadmin_changes_a_setting_and_the_broker_keeps_it() {
    let mut server = ServerUnderTest::start();
    let broker = server.broker_addr();
    assert_eq!(setting(&server, "fileReservedTime").as_deref(), Some("72"));
    let before = version(&server);
    let said = "update broker config success";
    assert!(update(&server, "fileReservedTime", "48").out.contains(said));
    assert_eq!(setting(&server, "fileReservedTime").as_deref(), Some("48"));
    assert_eq!(version(&server), before + 1);

    // The name server hears of a permission at once, not with the next round.
    ops::create_topic(&server, "settings_permission", 1);
    let perm = |server: &ServerUnderTest| {
        let route = ops::route(&server.namesrv_addr(), "settings_permission")?;
        route["queueDatas"][0]["perm"].as_i64()
    };
    let mut conn = Conn::connect(&broker);
    let mut change = |body: &str| {
        let request = Command::request(UPDATE_BROKER_CONFIG, &[]).with_body(body);
        assert_eq!(conn.call(request).code, response::SUCCESS, "{body}");
    };
    change("brokerPermission=4");
    wait::until("read-only route", Duration::from_secs(20), || {
        (perm(&server) == Some(4)).then_some(())
    });
    change("brokerPermission=6\nmaxMessageSize=100\n");
    wait::until("route to write to", Duration::from_secs(20), || {
        (perm(&server) == Some(6)).then_some(())
    });

    // The size counts for the next message.
    let long = conn.call(ops::send_request("settings_permission", 0, "", &[b'x'; 200]));
    assert_eq!(long.code, response::MESSAGE_ILLEGAL);
    drop(conn);

    server.stop();
    let kept = std::fs::read_to_string(broker_conf(&server)).unwrap();
    for line in ["fileReservedTime=48", "brokerPermission=6", "maxMessageSize=100"] {
        assert!(kept.lines().any(|kept| kept == line), "{line} is not in {kept}");
    }
    server.restart();
    assert_eq!(setting(&server, "fileReservedTime").as_deref(), Some("48"));
    assert_eq!(setting(&server, "maxMessageSize").as_deref(), Some("100"));
}

#[test]
fn published_exploits_change_nothing_and_leave_no_file() {
    let server = ServerUnderTest::start();
    let root = server.store_dir().parent().unwrap();
    let mark = root.join("exploited");
    let command = format!("-c $@|sh . echo touch {};", mark.display());
    let broker_before = settings(&server.broker_addr(), GET_BROKER_CONFIG);
    let namesrv_before = settings(&server.namesrv_addr(), GET_NAMESRV_CONFIG);
    let mut broker = Conn::connect(&server.broker_addr());
    let mut namesrv = Conn::connect(&server.namesrv_addr());
    // CVE-2023-33246: the home folder became a part of a command line that started filter servers.
    for body in [
        format!("filterServerNums=1\nrocketmqHome={command}\n"),
        format!("rocketmqHome={command}\nfileReservedTime=1\n"),
        format!("rocketmqHome\t:{command}\n"),
        format!("rocketmq\\u0048ome={command}\n"),
        // And how its mend was passed by: the file that the settings are written to.
        format!("brokerConfigPath={}\nbrokerName=x\n", mark.display()),
        "configBlackList=none\nfileReservedTime=1\n".to_owned(),
    ] {
        let request = Command::request(UPDATE_BROKER_CONFIG, &[]).with_body(body.clone());
        assert_refused(&broker.call(request), &body);
    }
    // CVE-2023-37582: the name server wrote what it was told to where it was told to.
    for body in [
        format!("configStorePath={}\nproductEnvName=x\\n* * * * * id\n", mark.display()),
        format!("kvConfigPath={}\n", mark.display()),
        format!("rocketmqHome={command}\n"),
        format!("configBlackList=\nconfigStorePath={}\n", mark.display()),
    ] {
        let request = Command::request(UPDATE_NAMESRV_CONFIG, &[]).with_body(body.clone());
        assert_refused(&namesrv.call(request), &body);
    }
    assert_eq!(settings(&server.broker_addr(), GET_BROKER_CONFIG), broker_before);
    assert_eq!(settings(&server.namesrv_addr(), GET_NAMESRV_CONFIG), namesrv_before);
    assert!(!mark.exists());
    let said = update(&server, "rocketmqHome", "/tmp");
    assert!(said.err.contains(REFUSED) || said.out.contains(REFUSED), "{}{}", said.out, said.err);
}

#[test]
fn what_is_no_property_file_is_refused() {
    let server = ServerUnderTest::shared();
    for (addr, code) in [
        (server.broker_addr(), UPDATE_BROKER_CONFIG),
        (server.namesrv_addr(), UPDATE_NAMESRV_CONFIG),
    ] {
        let mut conn = Conn::connect(&addr);
        let answer = conn.call(Command::request(code, &[]).with_body("a=\\u12"));
        assert_eq!(answer.code, response::SYSTEM_ERROR);
        assert_eq!(conn.call(Command::request(code, &[])).code, response::SUCCESS);
    }
}

/// The reference changes some of these: an address that it takes over the wire is where it sends
/// its topics from then on.
#[test]
fn ours_closes_every_path_and_address_and_names_what_it_does_not_know() {
    if Kind::under_test() != Kind::Ours {
        return;
    }
    let server = ServerUnderTest::shared();
    let mut conn = Conn::connect(&server.broker_addr());
    let mut update = |body: &str| {
        conn.call(Command::request(UPDATE_BROKER_CONFIG, &[]).with_body(body.as_bytes()))
    };
    for key in [
        "namesrvAddr",
        "storePathRootDir",
        "storePathCommitLog",
        "brokerIP1",
        "haMasterAddress",
        "listenPort",
        "messageStorePlugIn",
        "socksProxyConfig",
        "metricsPromExporterHost",
    ] {
        assert_refused(&update(&format!("{key}=192.0.2.1:1\n")), key);
    }
    for (body, remark) in [
        ("brokerPermision=4", "there is no key brokerPermision; did you mean brokerPermission?"),
        ("brokerPermission=rw", "brokerPermission must be a 32-bit integer"),
        (
            "storeType=defaultRocksDB",
            "storeType=defaultRocksDB is not supported: queues in RocksDB cannot be read",
        ),
    ] {
        let answer = update(body);
        let got = (answer.code, answer.remark.as_deref());
        assert_eq!(got, (response::SYSTEM_ERROR, Some(remark)), "{body}");
    }
}

fn update(server: &ServerUnderTest, key: &str, value: &str) -> Output {
    let broker = server.broker_addr();
    mqadmin(server, "updateBrokerConfig", &["-b", &broker, "-k", key, "-v", value])
}

fn assert_refused(answer: &Command, what: &str) {
    let got = (answer.code, answer.remark.as_deref());
    assert_eq!(got, (response::NO_PERMISSION, Some(REFUSED)), "{what}");
}

fn settings(addr: &str, code: i32) -> String {
    let answer = Conn::connect(addr).call(Command::request(code, &[]));
    assert_eq!(answer.code, response::SUCCESS);
    String::from_utf8(answer.body).unwrap()
}

fn setting(server: &ServerUnderTest, key: &str) -> Option<String> {
    let settings = settings(&server.broker_addr(), GET_BROKER_CONFIG);
    let line = settings.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.map(str::to_owned)
}

fn version(server: &ServerUnderTest) -> u64 {
    let answer =
        Conn::connect(&server.broker_addr()).call(Command::request(GET_BROKER_CONFIG, &[]));
    let version: serde_json::Value = serde_json::from_str(&answer.ext["version"]).unwrap();
    version["counter"].as_u64().unwrap()
}

fn broker_conf(server: &ServerUnderTest) -> PathBuf {
    let root: &Path = server.store_dir().parent().unwrap();
    root.join("broker.conf")
}
