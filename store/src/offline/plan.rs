//! Which parts of a store of the reference work here.
//!
//! What is refused would lose messages or progress without a word if it were ignored.

use std::path::{Path, PathBuf};
use std::{fs, io};

use oxmq_protocol::fastjson;
use serde::Serialize;
use serde_json::Value;

use super::StoreDir;
use super::dir::entries;
use super::units::QueueReader;
use crate::compaction::Place;
use crate::consume_queue::{QueueKind, queue_dirs};
use crate::error::{IoContext, StoreError};
use crate::message_store::{LIGHT_PREFIX, is_schedule_topic};

/// Topics of the reference whose messages wait for something.
///
/// Reference: `TopicValidator`, `TransactionalMessageUtil` (common, broker), 5.5.0.
const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Group that has dealt with half messages.
const TRANSACTION_GROUP: &str = "CID_RMQ_SYS_TRANS";

/// How to have what [`pop_records`] finds come back.
pub const POP_RECORDS_ADVICE: &str = "\
    with the reference: set popConsumerKVServiceInit=true and popConsumerKVServiceEnable=false, \
    run its `mqadmin exportPopRecord`, stop it and move the directory away";

// What to do about parts that do not work here.
const COMPACTION_ADVICE: &str = "move them away if their topics are gone";
const METADATA_ADVICE: &str =
    "export it with the reference's exportMetadataInRocksDB and set configManagerVersion=v1";
const OLD_METADATA_ADVICE: &str =
    "export it with the reference's rocksDBConfigToJson and move the directory away";
const RECORDS_ADVICE: &str = "\
    with the reference: move timed messages with its `mqadmin switchTimerEngine`, have all \
    transactions end, stop it and move the directory away; where it only has an index, as with \
    indexRocksDBEnable alone, move it away at once";
const DLEDGER_ADVICE: &str =
    "start a broker without DLedger elsewhere and move the messages by consuming them";
const TIERED_ADVICE: &str = "\
    consume them with the reference first; what is in the log still works without \
    messageStorePlugIn";
const CONTROLLER_ADVICE: &str =
    "stop all replicas, keep the master's store and move this file away";
const SIZE_ADVICE: &str = "set mappedFileSizeCommitLog to what the files have";
const ROCKSDB_QUEUES_ADVICE: &str = "\
    with the reference: set rocksdbCQDoubleWriteEnable, wait until checkRocksdbCqWriteProgress \
    is done, stop it, move the RocksDB files away and remove storeType; or move the whole \
    directory away and let the queues be made anew from the log";

/// What happens to a part of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is read and written as by the reference.
    Works,
    /// It stays as it is and does nothing until the reference runs again.
    Idle,
    /// The store must not be served with it.
    Refused,
}

/// A part of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// What happens to it.
    pub verdict: Verdict,
    /// Where it is.
    pub path: PathBuf,
    /// How much there is.
    pub found: String,
    /// What to do when it does not work.
    pub advice: String,
}

/// Names the parts of the store in `dir`.
///
/// # Errors
///
/// When directories or files cannot be read.
pub fn plan(dir: &StoreDir) -> Result<Vec<Part>, StoreError> {
    let mut plan = Plan { root: dir.root(), parts: Vec::new() };
    plan.log(dir)?;
    plan.queues(dir)?;
    plan.topics()?;
    plan.other_engines()?;
    plan.pending(dir)?;
    Ok(plan.parts)
}

struct Plan {
    root: PathBuf,
    parts: Vec<Part>,
}

impl Plan {
    fn log(&mut self, dir: &StoreDir) -> Result<(), StoreError> {
        let path = dir.config().commit_log_dir();
        let files = dir.log_dirs().files()?;
        let bytes = dir.config().mapped_file_size_commit_log;
        let found = format!("{} files of {bytes} bytes", files.len());
        self.works("commit log", &path, found);
        let odd: Vec<u64> = files
            .iter()
            .map(|file| file.0)
            .filter(|start| !start.is_multiple_of(bytes.max(1)))
            .collect();
        if let Some(first) = odd.first() {
            let what = format!("file {first:020} does not begin at a multiple of {bytes}");
            self.refuse("commit log", &path, &what, SIZE_ADVICE);
        }
        Ok(())
    }

    fn queues(&mut self, dir: &StoreDir) -> Result<(), StoreError> {
        let root = dir.queue_root(QueueKind::Simple);
        // Either directory, by useSeparateStorePathForRocksdbCQ.
        let in_rocksdb: Vec<_> = [root.clone(), self.root.join("consumequeue_rocksdb")]
            .into_iter()
            .filter(|dir| has_rocksdb(dir))
            .collect();
        for dir in &in_rocksdb {
            let what = "in RocksDB; file queues beside it may be old";
            self.refuse("consume queues", dir, what, ROCKSDB_QUEUES_ADVICE);
        }
        if in_rocksdb.is_empty() {
            let queues = dir.queue_dirs(QueueKind::Simple)?;
            let light = queues.iter().filter(|queue| queue.topic.starts_with(LIGHT_PREFIX)).count();
            self.works("consume queues", &root, format!("{} queues", queues.len() - light));
            if light > 0 {
                self.works("light queues", &root, format!("{light} queues"));
            }
        }
        let batch = dir.queue_dirs(QueueKind::Batch)?;
        if !batch.is_empty() {
            let found = format!("{} queues", batch.len());
            self.works("batch queues", &dir.queue_root(QueueKind::Batch), found);
        }
        let extended = queue_dirs(&dir.extended_root())?;
        if !extended.is_empty() {
            let found = format!("{} queues", extended.len());
            self.works("extended queues", &dir.extended_root(), found);
        }
        let index = dir.index_dir();
        let files = crate::index::index_paths(&index)?.len();
        match dir.index_geometry() {
            Some(_) => self.works("index", &index, format!("{files} files")),
            None => self.refuse(
                "index",
                &index,
                "the number of slots is not known",
                "give the broker's settings with -c",
            ),
        }
        Ok(())
    }

    fn topics(&mut self) -> Result<(), StoreError> {
        let path = self.root.join("config/topics.json");
        let topics = read_json(&path)?.unwrap_or_default();
        let table = topics.get("topicConfigTable").and_then(Value::as_object);
        let names_with = |attribute: &str, wanted: &str| -> Vec<&str> {
            let has = |config: &Value| {
                config.get("attributes").and_then(|all| all.get(attribute)).and_then(Value::as_str)
                    == Some(wanted)
            };
            let topics = table.into_iter().flatten();
            topics.filter(|(_, config)| has(config)).map(|(name, _)| name.as_str()).collect()
        };
        let compacted = names_with("cleanup.policy", "COMPACTION");
        self.works("topics", &path, format!("{} topics", table.map_or(0, |table| table.len())));
        let logs = Place::log_root(&self.root);
        let (used, unused): (Vec<_>, Vec<_>) =
            queue_dirs(&logs)?.into_iter().partition(|queue| compacted.contains(&&*queue.topic));
        if !compacted.is_empty() {
            let found = format!("{}: {} queues", compacted.join(", "), used.len());
            self.works("compaction topics", &logs, found);
        }
        if !unused.is_empty() {
            let found = format!("{} queues of topics that are gone", unused.len());
            self.add("compaction topics", Verdict::Idle, &logs, found, COMPACTION_ADVICE);
        }
        Ok(())
    }

    fn other_engines(&mut self) -> Result<(), StoreError> {
        let root = self.root.clone();
        if has_rocksdb(&root.join("config/rdb")) {
            self.refuse(
                "metadata",
                &root.join("config/rdb"),
                "in RocksDB (configManagerVersion=v2)",
                METADATA_ADVICE,
            );
        }
        // All of the three below, with useSingleRocksDBForAllConfigs.
        let all = root.join("config/metadata");
        if has_rocksdb(&all) {
            let what = "in RocksDB (useSingleRocksDBForAllConfigs)";
            self.refuse("metadata", &all, what, OLD_METADATA_ADVICE);
        }
        for (name, json) in [
            ("topics", "topics.json"),
            ("subscriptionGroups", "subscriptionGroup.json"),
            ("consumerOffsets", "consumerOffset.json"),
        ] {
            let path = root.join("config").join(name);
            if !has_rocksdb(&path) {
                continue;
            }
            let what = if root.join("config").join(json).exists() {
                format!("in RocksDB; {json} beside it may be old")
            } else {
                format!("in RocksDB, and there is no {json}")
            };
            self.refuse("metadata", &path, &what, OLD_METADATA_ADVICE);
        }
        if let Some(path) = pop_records(&root)? {
            self.refuse("pop records", &path, "may be in RocksDB", POP_RECORDS_ADVICE);
        }
        let records = root.join("rocksdbstore");
        if has_records(&records)? {
            let what = "timed messages, half messages or index entries may be in RocksDB";
            self.refuse("RocksDB records", &records, what, RECORDS_ADVICE);
        }
        for entry in names(&root)? {
            if entry.starts_with("dledger-") {
                self.refuse(
                    "DLedger log",
                    &root.join(&entry),
                    "records are in DLedger's files",
                    DLEDGER_ADVICE,
                );
            }
        }
        for name in ["brokerIdentity", "epochFileCheckpoint"] {
            if root.join(name).exists() {
                self.refuse(
                    "controller mode",
                    &root.join(name),
                    "the broker was run by a controller",
                    CONTROLLER_ADVICE,
                );
            }
        }
        for name in ["config/tieredStoreMetadata.json", "tiered_index_file"] {
            if root.join(name).exists() {
                self.refuse(
                    "tiered storage",
                    &root.join(name),
                    "older messages were moved elsewhere",
                    TIERED_ADVICE,
                );
            }
        }
        Ok(())
    }

    /// What waits for a time or a decision.
    fn pending(&mut self, dir: &StoreDir) -> Result<(), StoreError> {
        let config = self.root.join("config");
        let done = read_json(&config.join("delayOffset.json"))?.unwrap_or_default();
        let mut delayed = 0;
        let mut half = 0;
        let mut timed = 0;
        // A broker with light queues has another file.
        let mut offsets = Vec::new();
        for name in ["consumerOffset.json", "lmqConsumerOffset.json"] {
            offsets.extend(read_json(&config.join(name))?);
        }
        for queue in dir.queue_dirs(QueueKind::Simple)? {
            let is_delayed = is_schedule_topic(&queue.topic);
            let done = match &*queue.topic {
                _ if is_delayed => {
                    offset_of(&done, &["offsetTable", &(queue.queue_id + 1).to_string()])
                }
                HALF_TOPIC => {
                    let key = format!("{HALF_TOPIC}@{TRANSACTION_GROUP}");
                    let path = ["offsetTable", &key, &queue.queue_id.to_string()];
                    offsets.iter().map(|file| offset_of(file, &path)).max().unwrap_or(0)
                }
                TIMER_TOPIC => 0,
                _ => continue,
            };
            let reader = dir.queue_reader(QueueKind::Simple, queue.path)?;
            let waiting = (end_of(reader)? - done).max(0);
            match &*queue.topic {
                _ if is_delayed => delayed += waiting,
                HALF_TOPIC => half += waiting,
                _ => timed += waiting,
            }
        }
        self.works("delayed messages", &config.join("delayOffset.json"), format!("{delayed} wait"));
        if half > 0 {
            let path = dir.queue_root(QueueKind::Simple).join(HALF_TOPIC);
            self.works("half messages", &path, format!("{half} may wait for a decision"));
        }
        if timed > 0 {
            let path = dir.queue_root(QueueKind::Simple).join(TIMER_TOPIC);
            let found = format!("{timed} were taken, some may wait for their time");
            self.works("timer messages", &path, found);
        }
        Ok(())
    }

    fn works(&mut self, name: &'static str, path: &Path, found: String) {
        self.add(name, Verdict::Works, path, found, "");
    }

    fn refuse(&mut self, name: &'static str, path: &Path, found: &str, advice: &str) {
        self.add(name, Verdict::Refused, path, found.to_owned(), advice);
    }

    fn add(
        &mut self,
        name: &'static str,
        verdict: Verdict,
        path: &Path,
        found: String,
        advice: &str,
    ) {
        let (path, advice) = (path.to_owned(), advice.to_owned());
        self.parts.push(Part { name, verdict, path, found, advice });
    }
}

/// The directory in which a broker of the reference, with `popConsumerKVServiceEnable`, may have left
/// records of what is popped; nothing when there is none, or nothing was ever written to it.
///
/// # Errors
///
/// When the directory cannot be listed.
pub fn pop_records(root: &Path) -> Result<Option<PathBuf>, StoreError> {
    let dir = root.join("kvStore");
    Ok(has_records(&dir)?.then_some(dir))
}

/// Whether anything was ever written to the RocksDB database in `dir`.
fn has_records(dir: &Path) -> Result<bool, StoreError> {
    for name in names(dir)? {
        // Tables, and the log of what is not in a table yet. Which of it was deleted again is not looked at.
        let path = dir.join(&name);
        let is_log = name.ends_with(".log");
        if name.ends_with(".sst")
            || is_log && fs::metadata(&path).doing("look at", &path)?.len() > 0
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether `dir` holds a RocksDB database.
fn has_rocksdb(dir: &Path) -> bool {
    dir.join("CURRENT").is_file()
}

fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let paths = entries(dir)?;
    Ok(paths.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into())).collect())
}

/// The JSON at `path`; nothing when it cannot be read, which a check reports.
fn read_json(path: &Path) -> Result<Option<Value>, StoreError> {
    match fs::read(path) {
        Ok(text) => Ok(fastjson::from_slice(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing("read", path),
    }
}

fn offset_of(value: &Value, path: &[&str]) -> i64 {
    path.iter().try_fold(value, |value, name| value.get(name)).and_then(Value::as_i64).unwrap_or(0)
}

/// Offset behind the last unit.
fn end_of(mut reader: QueueReader) -> Result<i64, StoreError> {
    let mut offset = reader.first();
    while reader.unit(offset)?.is_some() {
        offset += 1;
    }
    Ok(offset)
}
