//! Files of compacted topics.

use oxmq_store::StoreConfig;
use oxmq_store::offline::Verdict;

use super::*;

/// A store with 30 messages of one compacted topic, nine in each file.
fn compacted() -> tempfile::TempDir {
    let dir = temp_dir();
    let config = StoreConfig {
        compaction_cq_mapped_file_size: 460,
        compaction_mapped_file_size: 9_200,
        ..small(dir.path())
    };
    let store = MessageStore::open(config).unwrap();
    store.use_compaction("C").unwrap();
    for number in 0..30 {
        let text = format!("KEYS\u{1}k{number}\u{2}");
        let message = Message { properties: text.as_bytes(), ..Message::new("C", 0, b"body") };
        assert!(store.put_message(&message).status.is_stored());
    }
    store.close().unwrap();
    let config = dir.path().join("config");
    fs::create_dir_all(&config).unwrap();
    let topics =
        "{\"topicConfigTable\":{\"C\":{\"attributes\":{\"cleanup.policy\":\"COMPACTION\"}}}}";
    fs::write(config.join("topics.json"), topics).unwrap();
    dir
}

fn file(root: &Path, kind: &str) -> PathBuf {
    root.join("compaction").join(kind).join("C/0/00000000000000009660")
}

#[test]
fn compacted_files_are_found_sound_or_what_is_wrong_with_them_is_told() {
    /// What is done, what has to be found, and how it is done.
    type Damage = (&'static str, Option<(Severity, Kind)>, fn(&Path));
    let damages: &[Damage] = &[
        ("none", None, |_| ()),
        ("no queue", Some((Severity::Warning, Kind::FileMissing)), |root| {
            fs::remove_file(file(root, "compactionCq")).unwrap();
        }),
        ("no log", Some((Severity::Warning, Kind::FileMissing)), |root| {
            fs::remove_file(file(root, "compactionLog")).unwrap();
        }),
        ("short", Some((Severity::Error, Kind::FileLength)), |root| {
            fs::write(file(root, "compactionLog"), [0; 100]).unwrap();
        }),
        ("flipped", Some((Severity::Error, Kind::UnitAstray)), |root| {
            flip(&file(root, "compactionLog"), 90);
        }),
        ("flipped in a crash", Some((Severity::Warning, Kind::UnitAstray)), |root| {
            flip(&file(root, "compactionLog"), 90);
            fs::write(root.join("abort"), "1").unwrap();
        }),
        ("queue cut", Some((Severity::Error, Kind::UnitWrong)), |root| {
            overwrite(&file(root, "compactionCq"), 46 * 3, &[0; 46]);
        }),
        ("half replaced", Some((Severity::Warning, Kind::FileMissing)), |root| {
            let log = file(root, "compactionLog");
            fs::rename(&log, log.with_extension("delete")).unwrap();
        }),
        ("positions", Some((Severity::Warning, Kind::Config)), |root| {
            fs::write(root.join("compaction/position-checkpoint"), "{").unwrap();
        }),
    ];
    let original = compacted();
    for (name, expected, damage) in damages {
        let expected: Vec<_> = expected.iter().copied().collect();
        let copy = temp_dir();
        copy_dir(original.path(), copy.path());
        damage(copy.path());
        // The sizes are found out from the files.
        let dir = StoreDir::open(copy.path(), None).unwrap();
        let report = offline::check(&dir, &mut |_, _| ()).unwrap();
        let findings = report.findings.iter().filter(|finding| finding.kind != Kind::Abort);
        let found: Vec<_> = findings.map(|finding| (finding.severity, finding.kind)).collect();
        assert_eq!(found, expected, "{name}: {:?}", report.findings);
        let parts = offline::plan(&dir).unwrap();
        assert!(parts.iter().all(|part| part.verdict == Verdict::Works), "{parts:#?}");
        let part = parts.iter().find(|part| part.name == "compaction topics").unwrap();
        assert_eq!(part.found, "C: 1 queues");
    }
}
