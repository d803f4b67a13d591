//! Metadata files: whether they can be read, and which topics there are.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use oxmq_protocol::fastjson;
use serde_json::Value;

use super::super::StoreDir;
use super::super::report::{Kind, Report, Severity};
use super::{REPAIR, unless_unreadable};
use crate::error::{IoContext, StoreError};
use crate::fs::{entries, read_all};
use crate::json_journal::JOURNAL;
use crate::limits::MAX_JSON_FILE_BYTES;

/// Metadata files without an ending.
///
/// Reference: `BrokerPathConfigHelper` (broker), 5.5.0.
const OTHER_NAMES: &[&str] = &["timermetrics", "transactionMetrics"];
pub(in super::super) const BACKUP: &str = ".bak";

/// What use a metadata file is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum State {
    /// There is none, or nothing in it.
    Absent,
    Good,
    Bad,
}

/// What one file holds.
enum Text {
    Missing,
    Empty,
    Good(Value),
    Bad(String),
}

/// Checks every metadata file; returns the names of all topics when they can be read.
pub(super) fn check(
    dir: &StoreDir,
    report: &mut Report,
) -> Result<Option<BTreeSet<String>>, StoreError> {
    let config_dir = dir.root().join("config");
    let mut topics = None;
    for name in names(&config_dir)? {
        let path = config_dir.join(&name);
        let backup = config_dir.join(format!("{name}{BACKUP}"));
        let mut text_of = |path| unless_unreadable(read(path), report);
        let (text, kept) = (text_of(&path)?, text_of(&backup)?.unwrap_or(Text::Missing));
        let is_readable = text.is_some();
        let text = text.unwrap_or(Text::Missing);
        report.counts.config_files +=
            [&text, &kept].iter().filter(|text| matches!(text, Text::Good(_))).count() as u64;
        if is_readable {
            judge(&path, &text, &kept, report);
        }
        if let Text::Bad(why) = &kept {
            let what = format!("the backup is damaged: {why}");
            let advice =
                "the next save of the broker replaces it; `oxmq store repair` sets it aside";
            report.add(Severity::Warning, Kind::Config, (&backup, None), what, advice);
        }
        let journal = config_dir.join(format!("{name}{JOURNAL}"));
        let is_behind = journal.exists();
        if is_behind {
            let what = "changes are here that a crash has kept from the file".to_owned();
            let advice = "the next start of this broker takes them over; others do not know them";
            report.add(Severity::Info, Kind::Journal, (&journal, None), what, advice);
        }
        if name == "topics.json"
            && !is_behind
            && let Text::Good(value) = if matches!(text, Text::Good(_)) { text } else { kept }
            && let Some(table) = value.get("topicConfigTable").and_then(Value::as_object)
        {
            topics = Some(table.keys().cloned().collect());
        }
    }
    Ok(topics)
}

fn judge(path: &Path, text: &Text, kept: &Text, report: &mut Report) {
    let has_backup = matches!(kept, Text::Good(_));
    let (severity, what) = match text {
        Text::Good(_) => return,
        Text::Missing | Text::Empty if has_backup => {
            (Severity::Warning, "is missing or empty, and its backup will be read".to_owned())
        }
        Text::Missing | Text::Empty => return,
        Text::Bad(why) => (Severity::Error, format!("is damaged: {why}")),
    };
    let advice =
        if has_backup { REPAIR } else { "there is no backup: restore it from another copy" };
    report.add(severity, Kind::Config, (path, None), what, advice);
}

/// Names of the metadata files in `dir`, including those of which only a backup or a journal is there.
pub(in super::super) fn names(dir: &Path) -> Result<BTreeSet<String>, StoreError> {
    let mut names = BTreeSet::new();
    for entry in entries(dir)? {
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            continue;
        };
        let name = [BACKUP, JOURNAL].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        if (name.ends_with(".json") || OTHER_NAMES.contains(&name)) && entry.path().is_file() {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

/// Whether the metadata file at `path` is there, and whether it can be read.
pub(in super::super) fn state(path: &Path) -> Result<State, StoreError> {
    Ok(match read(path)? {
        Text::Missing | Text::Empty => State::Absent,
        Text::Good(_) => State::Good,
        Text::Bad(_) => State::Bad,
    })
}

fn read(path: &Path) -> Result<Text, StoreError> {
    let bytes = match path.metadata() {
        Ok(metadata) if metadata.len() > MAX_JSON_FILE_BYTES => {
            return Ok(Text::Bad(format!("it has {} bytes", metadata.len())));
        }
        Ok(_) => read_all(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Text::Missing),
        Err(error) => return Err(error).doing("look at", path),
    };
    if bytes.is_empty() {
        return Ok(Text::Empty);
    }
    Ok(match fastjson::from_slice(&bytes) {
        Ok(value @ Value::Object(_)) => Text::Good(value),
        Ok(_) => Text::Bad("it is no JSON object".to_owned()),
        Err(error) => Text::Bad(error.to_string()),
    })
}
