//! What can be shown of a store, and what a plan says about serving it.

use std::fs;
use std::path::Path;

use oxmq_store::offline::{self, Dump, StoreDir, Text, Verdict};

use super::*;

#[test]
fn records_queues_and_lookups_can_be_shown() {
    let dir = sound();
    let opened = StoreDir::open(dir.path(), None).unwrap();
    let dump = Dump::open(&opened).unwrap();
    let record = dump.record(record_at(dir.path(), 4) as i64).unwrap();
    assert_eq!((record.queue_id, record.queue_offset), (0, 2));
    assert_eq!(record.body, Text::Text(String::from_utf8(body(4)).unwrap()));
    assert_eq!(record.properties[1], ("TAGS".to_owned(), "Tag1".to_owned()));
    assert!(record.body_crc_fits);
    assert!(dump.record(3).unwrap_err().contains("magic"));
    assert!(dump.record(1 << 40).unwrap_err().contains("missing"));

    let rows = rows_of(&dump, "TopicA", 0, Some(2), 3);
    let offsets: Vec<_> = rows.iter().map(|row| row.queue_offset).collect();
    assert_eq!(offsets, [2, 3, 4]);
    assert_eq!(rows[0].record.as_ref(), Some(&record));
    assert_eq!(rows_of(&dump, "TopicA", 1, None, 1000).len(), MESSAGES / 2);
    assert_eq!(rows_of(&dump, "TopicA", 7, None, 10), []);
    assert_eq!(rows_of(&dump, "../config", 0, None, 10), []);

    let rows = dump.index("TopicA", "key4", 10).unwrap();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].has_key);
    assert_eq!(rows[0].record.as_ref(), Some(&record));
    let rows = dump.index("TopicA", "all", 10).unwrap();
    let numbers: Vec<_> = rows.iter().map(|row| row.phy_offset).collect();
    assert_eq!(numbers.len(), 10);
    assert!(numbers.is_sorted_by(|a, b| a > b));
    assert_eq!(dump.index("TopicA", "no such key", 10).unwrap(), []);
}

#[test]
fn plan_names_what_works_and_what_must_not_be_served() {
    let dir = sound();
    let plan = |root: &Path| offline::plan(&StoreDir::open(root, None).unwrap()).unwrap();
    let parts = plan(dir.path());
    assert!(parts.iter().all(|part| part.verdict == Verdict::Works), "{parts:#?}");

    type Plant = fn(&Path);
    let foreign: &[(&str, Verdict, Plant)] = &[
        ("consume queues", Verdict::Refused, |root| touch(root, "consumequeue/CURRENT")),
        ("compaction topics", Verdict::Idle, |root| touch(root, "compaction/compactionLog/C/0/0")),
        ("metadata", Verdict::Refused, |root| touch(root, "config/rdb/CURRENT")),
        ("metadata", Verdict::Refused, |root| touch(root, "config/topics/CURRENT")),
        ("metadata", Verdict::Refused, |root| touch(root, "config/metadata/CURRENT")),
        ("consume queues", Verdict::Refused, |root| touch(root, "consumequeue_rocksdb/CURRENT")),
        ("RocksDB records", Verdict::Refused, |root| touch(root, "rocksdbstore/000013.sst")),
        ("pop records", Verdict::Refused, |root| touch(root, "kvStore/000012.sst")),
        ("pop records", Verdict::Refused, |root| touch(root, "kvStore/000004.log")),
        ("DLedger log", Verdict::Refused, |root| touch(root, "dledger-n0/data/0")),
        ("controller mode", Verdict::Refused, |root| touch(root, "epochFileCheckpoint")),
        ("tiered storage", Verdict::Refused, |root| touch(root, "config/tieredStoreMetadata.json")),
    ];
    for (name, verdict, plant) in foreign {
        let copy = temp_dir();
        copy_dir(dir.path(), copy.path());
        plant(copy.path());
        let parts = plan(copy.path());
        let odd: Vec<_> = parts.iter().filter(|part| part.verdict != Verdict::Works).collect();
        assert_eq!(odd.len(), 1, "{name}: {odd:#?}");
        assert_eq!((odd[0].name, odd[0].verdict), (*name, *verdict));
        assert!(!odd[0].advice.is_empty());
    }
}

#[test]
fn plan_counts_what_waits() {
    let dir = sound();
    put_into(dir.path(), "SCHEDULE_TOPIC_XXXX");
    put_into(dir.path(), "SCHEDULE_TOPIC_XXXX");
    put_into(dir.path(), "RMQ_SYS_TRANS_HALF_TOPIC");
    put_into(dir.path(), "rmq_sys_wheel_timer");
    let offsets = "{\"offsetTable\":{1:1}}";
    fs::write(dir.path().join("config/delayOffset.json"), offsets).unwrap();
    let parts = offline::plan(&StoreDir::open(dir.path(), None).unwrap()).unwrap();
    for (name, found) in [
        ("delayed messages", "1 wait"),
        ("half messages", "1 may wait for a decision"),
        ("timer messages", "1 were taken, some may wait for their time"),
    ] {
        let part = parts.iter().find(|part| part.name == name).unwrap();
        assert_eq!((part.verdict, part.found.as_str()), (Verdict::Works, found));
    }
    for name in ["consumerOffset.json", "lmqConsumerOffset.json"] {
        let file = dir.path().join("config").join(name);
        let offsets = r#"{"offsetTable":{"RMQ_SYS_TRANS_HALF_TOPIC@CID_RMQ_SYS_TRANS":{0:1}}}"#;
        fs::write(&file, offsets).unwrap();
        let parts = offline::plan(&StoreDir::open(dir.path(), None).unwrap()).unwrap();
        assert!(parts.iter().all(|part| part.name != "half messages"), "{name}: {parts:#?}");
        fs::remove_file(file).unwrap();
    }
}

fn touch(root: &Path, name: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
}

fn put_into(root: &Path, topic: &str) {
    let store = open(&small(root));
    put(&store, topic, 0, b"waits");
    store.close().unwrap();
}
