//! What a check found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Findings of one kind that are kept one by one; more are counted.
const MAX_FINDINGS_PER_KIND: usize = 100;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Nothing is lost, or the next start mends it.
    Warning,
    /// Messages are lost or cannot be found, or the store would not open.
    Error,
}

/// What a finding is about. The names are stable, for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The store was not stopped cleanly.
    Abort,
    /// The store has no lock file to keep others off with.
    NoLock,
    /// A file is not as long as it has to be.
    FileLength,
    /// A file among those of a sequence is none of them.
    FileForeign,
    /// A file of a sequence is missing.
    FileMissing,
    /// The disk does not give back part of a file.
    Unreadable,
    /// Part of the log holds no sound record.
    LogDamaged,
    /// The log ends in bytes that are no record.
    LogTail,
    /// A record says that it is elsewhere in the log.
    RecordPosition,
    /// A field of a record that has no checksum is impossible.
    RecordField,
    /// A record's queue offset does not follow that of the record before it.
    RecordQueueOffset,
    /// Messages whose records are lost.
    MessagesLost,
    /// Records that their queue has no unit for.
    UnitMissing,
    /// A unit is not that of the record at its offset.
    UnitWrong,
    /// A unit has another tags code than its record.
    UnitTags,
    /// A unit's extended unit is missing, or not that of its record.
    ExtendedUnit,
    /// A unit leads to no record.
    UnitAstray,
    /// A unit leads behind the end of the log.
    QueueAhead,
    /// Part of a queue is not looked at.
    QueueSkipped,
    /// An index file's head, slots or links are wrong.
    IndexBroken,
    /// An index entry leads to no record, or to one without its key.
    IndexAstray,
    /// Records with keys that the index does not have.
    IndexMissing,
    /// The index is not looked at.
    IndexSkipped,
    /// The checkpoint cannot be right.
    Checkpoint,
    /// A metadata file cannot be read.
    Config,
    /// A crash has left changes of a metadata file that are not in it.
    Journal,
}

impl Kind {
    /// Its stable name.
    pub fn name(self) -> String {
        let text = serde_json::to_string(&self).unwrap_or_default();
        text.trim_matches('"').to_owned()
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub kind: Kind,
    /// The file or directory.
    pub path: PathBuf,
    /// The byte in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What can be done.
    pub advice: &'static str,
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Files of the log.
    pub log_files: u64,
    /// Bytes of the log from its first to its last record.
    pub log_bytes: u64,
    /// Sound records.
    pub records: u64,
    /// Queues with files.
    pub queues: u64,
    /// Units of queues that were compared with records.
    pub units: u64,
    /// Index files.
    pub index_files: u64,
    /// Index entries that were compared with records.
    pub index_entries: u64,
    /// Metadata files that can be read.
    pub config_files: u64,
}

/// The outcome of a check.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What was found, in the order in which it was looked at.
    pub findings: Vec<Finding>,
    /// Findings beyond those kept, by kind.
    pub more: BTreeMap<Kind, u64>,
    /// How much was looked at.
    pub counts: Counts,
    /// First position of the log.
    pub min_phy_offset: i64,
    /// Position behind the last sound record.
    pub max_phy_offset: i64,
    #[serde(skip)]
    kept: BTreeMap<Kind, usize>,
    /// Where anything has to be mended.
    #[serde(skip)]
    bad: BTreeSet<PathBuf>,
    /// Whether a repair would do anything.
    #[serde(skip)]
    to_mend: bool,
    worst: Option<Severity>,
}

impl Finding {
    /// Whether a repair does something about it, which the advice says then.
    fn is_mended(&self) -> bool {
        self.severity >= Severity::Warning && self.advice.contains("`oxmq store repair`")
    }
}

impl Report {
    /// Whether a repair would do anything.
    pub(super) fn is_to_mend(&self) -> bool {
        self.to_mend && self.is_readable()
    }

    /// Whether the disk gives back all that was looked at. Otherwise a repair changes nothing.
    pub fn is_readable(&self) -> bool {
        !self.kept.contains_key(&Kind::Unreadable)
    }

    /// The worst severity; nothing when nothing was found.
    pub fn worst(&self) -> Option<Severity> {
        self.worst
    }

    /// Findings of one severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.severity == severity)
    }

    /// Every file or directory with a warning or an error.
    pub(super) fn bad(&self) -> &BTreeSet<PathBuf> {
        &self.bad
    }

    pub(super) fn add(
        &mut self,
        severity: Severity,
        kind: Kind,
        (path, position): (&Path, Option<u64>),
        what: impl Into<String>,
        advice: &'static str,
    ) {
        let path = path.to_owned();
        self.push(Finding { severity, kind, path, position, what: what.into(), advice });
    }

    pub(super) fn push(&mut self, finding: Finding) {
        self.worst = self.worst.max(Some(finding.severity));
        self.to_mend |= finding.is_mended();
        if finding.severity >= Severity::Warning && !self.bad.contains(&finding.path) {
            self.bad.insert(finding.path.clone());
        }
        let kept = self.kept.entry(finding.kind).or_default();
        if *kept < MAX_FINDINGS_PER_KIND {
            *kept += 1;
            self.findings.push(finding);
        } else {
            *self.more.entry(finding.kind).or_default() += 1;
        }
    }
}
