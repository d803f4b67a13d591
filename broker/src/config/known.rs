//! The reference's keys that nothing here depends on, and why.

use oxmq_protocol::config::{self, Cause, Explanation, Rules, Setting, Standing};

use super::no_effect::{NO_REPLICATION, why_no_effect};

/// Class, key, type and default of each setting that the reference's broker reads.
const REFERENCE_SETTINGS: &str = include_str!("reference-5.5.0.tsv");

/// Settings that the reference declares and reads from no file.
///
/// Reference: fields without a setter, 5.5.0.
const WITHOUT_SETTER: &[[&str; 4]] = &[
    ["BrokerConfig", "isBrokerContainer", "boolean", "false"],
    ["BrokerConfig", "isInBrokerContainer", "boolean", "false"],
    ["MessageStoreConfig", "timerCheckMetricsWhen", "String", "05"],
    ["MessageStoreConfig", "timerEnableDisruptor", "boolean", "false"],
    ["MessageStoreConfig", "timerStopDequeue", "boolean", "false"],
    ["MessageStoreConfig", "timerWarmEnable", "boolean", "false"],
    ["NettyClientConfig", "isScanAvailableNameSrv", "boolean", "true"],
];

const READ_FROM_NO_FILE: &str = "the reference reads it from no file either";

/// Settings that the reference does not have, with their types.
const OWN: &[(&str, &str)] = &[("advertisedListeners", "String")];

/// What the broker knows about keys beside their type.
pub(super) const RULES: Rules = Rules { refusal, without_effect: |_| None, unknown };

pub(super) fn reference_settings() -> impl Iterator<Item = Setting> {
    config::settings(REFERENCE_SETTINGS)
}

/// Keys of the client's sockets that something reads.
const CLIENT_KEYS: &[&str] = &[
    "useTLS",
    "connectTimeoutMillis",
    "clientChannelMaxIdleTimeSeconds",
    "clientCloseSocketIfTimeout",
    "enableReconnectForGoAway",
];

/// What every setting of the reference's broker does here, given the keys that something reads.
pub(super) fn explanations(used: &[&str]) -> Vec<Explanation> {
    let standing = |key| match UNSUPPORTED.iter().find(|(refused, _, _)| *refused == key) {
        Some(&(_, accepted, reason)) => Standing::Refused { accepted, reason },
        None if used.contains(&key) => Standing::Works,
        None => Standing::NoEffect(why_no_effect(key)),
    };
    let settable = reference_settings().map(|setting| {
        setting.explained(match (setting.class, setting.key) {
            // The client's sockets; of the keys that it shares with the server, only those count.
            ("NettyClientConfig", key) if !CLIENT_KEYS.contains(&key) => {
                Standing::NoEffect(why_no_effect(key))
            }
            (_, key) => standing(key),
        })
    });
    let fixed = WITHOUT_SETTER.iter().map(|&[class, key, type_name, default]| {
        Setting { class, key, type_name, default }.explained(Standing::NoEffect(READ_FROM_NO_FILE))
    });
    let own = OWN.iter().map(|&(key, type_name)| {
        let class = "none: not a key of the reference";
        Setting { class, key, type_name, default: "" }.explained(Standing::Works)
    });
    settable.chain(fixed).chain(own).collect()
}

/// What there is to say about a key that no group of settings takes.
fn unknown(key: &str, nearest: Option<&'static str>) -> Option<Cause> {
    let is_fixed = || WITHOUT_SETTER.iter().any(|setting| setting[1] == key);
    if UNSUPPORTED.iter().any(|(refused, _, _)| *refused == key) {
        // Either an error says why it is refused, or it has the one value that it may have.
        None
    } else if reference_settings().any(|setting| setting.key == key) {
        Some(Cause::NoEffect(why_no_effect(key)))
    } else if is_fixed() {
        Some(Cause::NoEffect(READ_FROM_NO_FILE))
    } else {
        let keys = reference_settings().map(|setting| setting.key);
        Some(Cause::Unknown(nearest.or_else(|| config::nearest(key, keys))))
    }
}

/// Keys that change where or how messages are kept: ignoring one could lose messages.
const UNSUPPORTED: &[(&str, &str, &str)] = &[
    ("storeType", "default", "queues in RocksDB cannot be read"),
    ("rocksdbCQDoubleWriteEnable", "false", "queues in RocksDB cannot be read"),
    ("configManagerVersion", "v1", "topics, groups and offsets in RocksDB cannot be read"),
    ("enableDLegerCommitLog", "false", "it keeps messages in a format of its own"),
    ("messageStorePlugIn", "", "plug-ins are Java classes"),
    ("duplicationEnable", "false", "another process would write the same log"),
    ("enableAcceleratedRecovery", "false", "recovery would trust queues in RocksDB"),
    ("enableControllerMode", "false", "roles given by a controller are not built yet"),
    ("inSyncReplicas", "1", "messages would be acknowledged without their replicas"),
    ("timerRocksDBEnable", "false", "delayed messages in RocksDB would be lost"),
    ("transRocksDBEnable", "false", "half messages in RocksDB would be lost"),
];

/// Why `key` cannot have `value`, if so.
pub(super) fn refusal(key: &str, value: &str) -> Option<&'static str> {
    if key == "brokerRole" && value.trim() == "SLAVE" {
        // Every other role is served; a slave would take messages of its own.
        return Some(NO_REPLICATION);
    }
    UNSUPPORTED
        .iter()
        .find(|(refused, accepted, _)| *refused == key && *accepted != value)
        .map(|(_, _, reason)| *reason)
}
