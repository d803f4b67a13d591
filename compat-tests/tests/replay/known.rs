//! Where answers differ, and why.

use std::collections::BTreeSet;

const COMPATIBILITY: &str = include_str!("../../../COMPATIBILITY.md");

/// Code of the request, beginning of the field's name, and the reason. Each stands in COMPATIBILITY.md, too.
const DIFFERENCES: &[(i64, &str, &str)] = &[
    (17, "remark", LEFTOVER),
    (21, "body.topicConfigTable.RMQ_SYS_ROCKSDB_", ROCKSDB),
    (21, "ext.totalTopicNum", ROCKSDB),
    (31, "remark", LEFTOVER),
    (206, "body.topicList", ROCKSDB),
    (305, "body.topicList", ROCKSDB),
    (
        317,
        "body",
        "the pull offset of a group is known, and the offsets of system groups are listed",
    ),
    (321, "remark", LEFTOVER),
    (513, "remark", LEFTOVER),
    (200_050, "ext.", "an answer without messages has none of the fields about them"),
    (200_053, "remark", LEFTOVER),
    (200_056, "remark", LEFTOVER),
];

const LEFTOVER: &str =
    "successes of the reference have an empty remark, or one about a missing code";
const ROCKSDB: &str = "nothing is stored in RocksDB, so it has no topics";

/// Fields that are of the moment or of the place, on both servers.
const OF_THE_MOMENT: &[(i64, &str)] = &[
    (25, "ext.version"),
    (26, "ext.version"),
    // Settings, with the paths and ports of each server, and figures about its machine.
    (26, "body"),
    (28, "body"),
    (319, "body"),
];

/// Whether a field is not compared at all.
pub(crate) fn is_of_the_moment(code: i64, field: &str) -> bool {
    OF_THE_MOMENT.iter().any(|(of, name)| *of == code && field.starts_with(name)) || is_absent(code)
}

/// The place in the list of a difference.
pub(crate) fn find(code: i64, field: &str) -> Option<usize> {
    DIFFERENCES.iter().position(|(of, name, _)| *of == code && field.starts_with(name))
}

/// Whether a difference is in the list.
pub(crate) fn is_known(code: i64, field: &str) -> bool {
    find(code, field).is_some()
}

/// Entries of the list that are none any more.
pub(crate) fn unused(used: &BTreeSet<usize>) -> Vec<(i64, &'static str)> {
    let unused = DIFFERENCES.iter().enumerate().filter(|(index, _)| !used.contains(index));
    unused.map(|(_, (code, field, _))| (*code, *field)).collect()
}

/// Whether the request is not served, which another test holds.
fn is_absent(code: i64) -> bool {
    let row = format!("| {code} | ");
    COMPATIBILITY.lines().any(|line| line.starts_with(&row) && line.contains(" | absent |"))
}
