//! Every header and body of the reference is declared, or stands below with the reason.
//!
//! A family of requests that no server here serves has no types yet. It leaves the list when one of
//! its codes is served: COMPATIBILITY.md says which are, and a test of the binary holds it to that.
#![allow(clippy::unwrap_used)] // Helpers of tests, too.

use std::collections::BTreeSet;
use std::path::Path;

const HEADERS: &str = include_str!("reference-5.5.0/headers.tsv");
const BODIES: &str = include_str!("reference-5.5.0/bodies.tsv");
const COMPATIBILITY: &str = include_str!("../../COMPATIBILITY.md");

/// Fields that every request can carry; a header with no other has nothing to declare.
const OF_EVERY_REQUEST: &[&str] = &["ns", "nsd", "bname", "oway", "lo", "-"];

/// Classes that are not declared.
struct Family {
    reason: &'static str,
    /// Requests that would need the classes; none of them is served.
    codes: &'static [i32],
    classes: &'static [&'static str],
}

const ANOTHER_NAME: &str =
    "declared under another name, since another class or file has the same fields";

const NOT_DECLARED: &[Family] = &[
    Family {
        reason: ANOTHER_NAME,
        codes: &[],
        classes: &[
            "ConsumerOffsetSerializeWrapper",
            "MessageRequestModeSerializeWrapper",
            "GetMaxOffsetResponseHeader",
            "GetMinOffsetResponseHeader",
            "SearchOffsetResponseHeader",
            "SendMessageRequestHeader",
            "UnlockBatchRequestBody",
        ],
    },
    Family {
        reason: "goes between a tool and a consumer; the bytes are handed on as they are",
        codes: &[],
        classes: &["ConsumeMessageDirectlyResult", "ConsumerRunningInfo"],
    },
    Family {
        reason: "no request carries it; tools and files have it, or nothing",
        codes: &[],
        classes: &[
            "CheckTransactionStateResponseHeader",
            "ConsumeByWho",
            "InitConsumerOffsetRequestHeader",
            "OffsetMovedEvent",
            "RegisterOrderTopicRequestHeader",
            "StatisticsMessagesRequestHeader",
            "TopicQueueMappingOne",
            "TopicRemappingDetailWrapper",
        ],
    },
    Family {
        reason: "there is no controller",
        codes: &[1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1011, 1012, 1013],
        classes: &[
            "AlterSyncStateSetRequestHeader",
            "AlterSyncStateSetResponseHeader",
            "ApplyBrokerIdRequestHeader",
            "ApplyBrokerIdResponseHeader",
            "BrokerCloseChannelRequest",
            "BrokerReplicasInfo",
            "CheckNotActiveBrokerRequest",
            "CleanControllerBrokerDataRequestHeader",
            "ElectMasterRequestHeader",
            "ElectMasterResponseBody",
            "ElectMasterResponseHeader",
            "EpochEntry",
            "EpochEntryCache",
            "GetBrokerLiveInfoRequest",
            "GetMetaDataResponseHeader",
            "GetNextBrokerIdRequestHeader",
            "GetNextBrokerIdResponseHeader",
            "GetReplicaInfoRequestHeader",
            "GetReplicaInfoResponseHeader",
            "GetSyncStateDataRequest",
            "NotifyBrokerRoleChangedRequestHeader",
            "RaftBrokerHeartBeatEventRequest",
            "RegisterBrokerToControllerRequestHeader",
            "RegisterBrokerToControllerResponseHeader",
            "ReplicaIdentity",
            "ReplicasInfo",
            "SyncStateSet",
        ],
    },
    Family {
        reason: "there is no broker container",
        codes: &[902, 903],
        classes: &["AddBrokerRequestHeader", "RemoveBrokerRequestHeader"],
    },
    Family {
        reason: "replication has no requests yet",
        codes: &[906, 907, 908],
        classes: &[
            "BrokerSyncInfo",
            "ExchangeHAInfoRequestHeader",
            "ExchangeHAInfoResponseHeader",
            "HAClientRuntimeInfo",
            "HAConnectionRuntimeInfo",
            "HARuntimeInfo",
            "ResetMasterFlushOffsetHeader",
        ],
    },
    Family {
        reason: "access control is not served yet",
        codes: &[3001, 3002, 3003, 3004, 3005, 3006, 3007, 3008, 3009, 3010],
        classes: &[
            "CreateAclRequestHeader",
            "CreateUserRequestHeader",
            "DeleteAclRequestHeader",
            "DeleteUserRequestHeader",
            "GetAclRequestHeader",
            "GetUserRequestHeader",
            "ListAclsRequestHeader",
            "ListUsersRequestHeader",
            "UpdateAclRequestHeader",
            "UpdateUserRequestHeader",
        ],
    },
    Family {
        reason: "nothing is kept in RocksDB",
        codes: &[354, 355],
        classes: &[
            "CheckRocksdbCqWriteProgressRequestHeader",
            "ExportRocksDBConfigToJsonRequestHeader",
        ],
    },
];

/// Names of the structs in one folder of the sources.
fn declared(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines() {
            let name = line.trim_start().strip_prefix("pub struct ");
            names
                .extend(name.and_then(|rest| rest.split([' ', '<', ';']).next()).map(String::from));
        }
    }
    assert!(names.len() > 10, "{names:?}");
    names
}

/// Classes of a table that have a field to declare.
fn classes(table: &'static str) -> BTreeSet<&'static str> {
    let rows = table.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    rows.filter(|row| !OF_EVERY_REQUEST.contains(&row[1]))
        .map(|row| row[0].trim_end_matches('*'))
        .collect()
}

#[test]
fn every_class_is_declared_or_left_out_for_a_reason_that_still_holds() {
    let mut declared_names = declared("header");
    declared_names.extend(declared("body"));
    let classes: BTreeSet<_> = classes(HEADERS).union(&classes(BODIES)).copied().collect();
    let mut wrong = Vec::new();
    for class in &classes {
        let families = NOT_DECLARED.iter().filter(|family| family.classes.contains(class));
        let reasons: Vec<_> = families.map(|family| family.reason).collect();
        match (declared_names.contains(*class), &reasons[..]) {
            (false, [_]) | (true, []) => {}
            (false, []) => wrong.push(format!("{class} is not declared")),
            (true, reasons) => {
                wrong.push(format!("{class} is declared, not left out: {reasons:?}"))
            }
            (false, reasons) => wrong.push(format!("{class} is listed twice: {reasons:?}")),
        }
    }
    for class in NOT_DECLARED.iter().flat_map(|family| family.classes) {
        if !classes.contains(class) {
            wrong.push(format!("the reference has no {class} with fields"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn class_that_no_code_accounts_for_stands_in_the_table_of_differences() {
    let left_out = |family: &&Family| family.codes.is_empty() && family.reason != ANOTHER_NAME;
    for family in NOT_DECLARED.iter().filter(left_out) {
        for class in family.classes {
            let row = format!("| `{class}` | {} |", family.reason);
            assert!(COMPATIBILITY.contains(&row), "COMPATIBILITY.md lacks\n{row}");
        }
    }
}

#[test]
fn family_without_types_has_no_code_that_is_served() {
    let mut wrong = Vec::new();
    for family in NOT_DECLARED {
        for code in family.codes {
            let start = format!("| {code} | ");
            let row = COMPATIBILITY.lines().find(|line| line.starts_with(&start)).unwrap();
            if row.split('|').nth(4).unwrap().trim() != "absent" {
                wrong.push(format!("{row}: not so, that {}", family.reason));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
