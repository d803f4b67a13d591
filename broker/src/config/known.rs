//! The reference's keys that nothing here depends on, and why.

use std::collections::HashSet;

use oxmq_protocol::config::{self, Cause, ConfigError, Notice, UnknownKey};
use oxmq_protocol::properties_file;

use super::BrokerConfigError;

/// Class, key, type and default of each setting that the reference's broker reads.
const REFERENCE_SETTINGS: &str = include_str!("reference-5.5.0.tsv");

/// One setting of the reference.
pub(super) struct Setting {
    pub(super) key: &'static str,
    #[cfg_attr(not(test), allow(dead_code))] // Only the tests compare defaults.
    pub(super) default: &'static str,
}

pub(super) fn reference_settings() -> impl Iterator<Item = Setting> {
    REFERENCE_SETTINGS.lines().filter_map(|line| {
        let mut columns = line.split('\t');
        let (_class, key, _type) = (columns.next()?, columns.next()?, columns.next()?);
        Some(Setting { key, default: columns.next().unwrap_or_default() })
    })
}

/// One notice for each key that no group of settings took.
pub(super) fn notices(file: &str, unknown: Vec<UnknownKey>) -> Vec<Notice> {
    let mut seen = HashSet::new();
    unknown
        .into_iter()
        .filter(|unknown| seen.insert(unknown.key.clone()))
        .map(|UnknownKey { line, key, nearest }| {
            let known = reference_settings().any(|setting| setting.key == key);
            let cause = if known {
                Cause::NoEffect(why_no_effect(&key))
            } else {
                let keys = reference_settings().map(|setting| setting.key);
                Cause::Unknown(nearest.or_else(|| config::nearest(&key, keys)))
            };
            Notice { file: file.to_owned(), line, key, cause }
        })
        .collect()
}

fn why_no_effect(key: &str) -> &'static str {
    let has = |parts: &[&str]| parts.iter().any(|part| key.contains(part));
    if has(&[
        "ThreadPool",
        "PoolQueue",
        "ThreadNum",
        "ThreadsNum",
        "WorkerThreads",
        "SelectorThreads",
    ]) || has(&[
        "CoreThreads",
        "MaxThreads",
        "ExecutorThreads",
        "WorkerGroup",
        "CorePool",
        "MaxPool",
    ]) {
        "requests are handled on the thread that reads them, not in pools"
    } else if has(&["ocksdb", "ocksDB", "RocksDb", "memTable", "combineCQ"]) {
        "nothing is stored in RocksDB"
    } else if has(&["PooledByteBuf", "EpollNative", "transferMsgByHeap", "SemaphoreValue"]) {
        "it tunes a part of the reference that has no counterpart"
    } else {
        "what it sets is not built yet"
    }
}

/// Keys that change where or how messages are kept: ignoring one could lose messages.
const UNSUPPORTED: &[(&str, &str, &str)] = &[
    ("storeType", "default", "queues in RocksDB cannot be read"),
    ("rocksdbCQDoubleWriteEnable", "false", "queues in RocksDB cannot be read"),
    ("configManagerVersion", "v1", "topics, groups and offsets in RocksDB cannot be read"),
    ("enableDLegerCommitLog", "false", "it keeps messages in a format of its own"),
    ("messageStorePlugIn", "", "plug-ins are Java classes"),
    ("popConsumerKVServiceInit", "false", "pops kept in RocksDB would be lost"),
    ("popConsumerKVServiceEnable", "false", "pops kept in RocksDB would be lost"),
    ("duplicationEnable", "false", "another process would write the same log"),
    ("enableAcceleratedRecovery", "false", "recovery would trust queues in RocksDB"),
    ("readOnlyCommitLogStorePaths", "", "the log is kept in one directory"),
    ("enableControllerMode", "false", "roles given by a controller are not built yet"),
    ("timerRocksDBEnable", "false", "delayed messages in RocksDB would be lost"),
    ("transRocksDBEnable", "false", "half messages in RocksDB would be lost"),
];

pub(super) fn refuse_unsupported(file: &str, text: &[u8]) -> Result<(), BrokerConfigError> {
    let entries = properties_file::parse(text)
        .map_err(|source| ConfigError::File { file: file.to_owned(), source })?;
    for entry in entries {
        let refused = UNSUPPORTED
            .iter()
            .find(|(key, default, _)| *key == entry.key && *default != entry.value);
        if let Some((_, _, reason)) = refused {
            return Err(BrokerConfigError::Unsupported {
                file: file.to_owned(),
                line: entry.line,
                key: entry.key,
                value: entry.value,
                reason,
            });
        }
    }
    Ok(())
}
