//! Headers and bodies have the fields of the reference's classes, no more and no fewer.
//!
//! The tables list the fields of the classes of 5.5.0, read by reflection. What is declared here
//! but not listed below is a part of another class, or has no class of its own.
#![allow(clippy::unwrap_used)] // Helpers of tests, too.

use std::collections::BTreeMap;
use std::path::Path;

use oxmq_protocol::body::*;
use oxmq_protocol::header::*;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Visitor, value};
use serde::forward_to_deserialize_any;

/// Class, field, and more that does not matter here.
const HEADERS: &str = include_str!("reference-5.5.0/headers.tsv");
const BODIES: &str = include_str!("reference-5.5.0/bodies.tsv");
const COMPATIBILITY: &str = include_str!("../../COMPATIBILITY.md");

/// Fields that every request can carry: the sender's names and wishes, which no server reads.
const OF_EVERY_REQUEST: &[&str] = &["ns", "nsd", "bname", "oway", "lo"];

/// Fields that are left out on purpose, with the reason.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    ("ConsumeMessageDirectlyResultRequestHeader", "brokerName", RELAYED),
    ("ConsumeMessageDirectlyResultRequestHeader", "topicSysFlag", RELAYED),
    ("ConsumeMessageDirectlyResultRequestHeader", "groupSysFlag", RELAYED),
    ("QueryMessageRequestHeader", "indexType", "there is one kind of index"),
    ("QueryMessageRequestHeader", "lastKey", "there is one kind of index"),
];

const RELAYED: &str = "it goes on to the consumer as it came";

/// Names that are not fields of the class, with the reason.
const ADDED: &[(&str, &str, &str)] = &[
    (
        "ConsumerOffsetSerializeWrapper",
        "groupTopicMap",
        "the file and the answer have it, the class that reads them does not",
    ),
    (
        "ConsumerOffsetSerializeWrapper",
        "lmqOffsetTable",
        "the file of light queues has it, the class that other brokers are answered with does not",
    ),
    ("HeartbeatData", "withoutSub", "how the field isWithoutSub is named in JSON"),
    ("QueryMessageRequestHeader", "_UNIQUE_KEY_QUERY", "an ext field beside the header"),
];

/// Fields by class.
fn fields_by_class(table: &'static str) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut classes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in table.lines().skip(1) {
        let mut columns = line.split('\t');
        // A star marks a class with a decoder of its own, a dash one without fields.
        let class = columns.next().unwrap().trim_end_matches('*');
        let fields = classes.entry(class).or_default();
        fields.extend(columns.next().filter(|field| *field != "-"));
    }
    classes
}

fn check(table: &'static str, declared: &[(&str, &[&str])]) {
    let classes = fields_by_class(table);
    let mut wrong = Vec::new();
    for (class, declared) in declared {
        let Some(fields) = classes.get(class) else {
            wrong.push(format!("there is no class {class}"));
            continue;
        };
        let is_left_out = |field: &str| {
            OF_EVERY_REQUEST.contains(&field)
                || LEFT_OUT.iter().any(|(of, name, _)| of == class && *name == field)
        };
        let is_added =
            |field: &str| ADDED.iter().any(|(of, name, _)| of == class && *name == field);
        for (_, field, _) in LEFT_OUT.iter().filter(|(of, ..)| of == class) {
            if declared.contains(field) {
                wrong.push(format!("{class} has {field}, which is not left out any more"));
            }
        }
        for field in declared.iter().filter(|field| !fields.contains(*field)) {
            if is_added(field) {
                continue;
            }
            wrong.push(format!("{class} has no {field}"));
        }
        for field in fields.iter().filter(|field| !declared.contains(*field)) {
            if !is_left_out(field) {
                wrong.push(format!("{class} lacks {field}"));
            }
        }
    }
    for (class, field, _) in LEFT_OUT {
        let is_field = classes.get(class).is_none_or(|fields| fields.contains(field));
        assert!(is_field, "{class} has no {field} that could be left out");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

macro_rules! headers {
    ($($header:ident $(= $($class:ident)+)?,)+) => {
        [$(headers!(@ $header $(= $($class)+)?)),+].concat()
    };
    (@ $header:ident) => { vec![(stringify!($header), $header::FIELDS)] };
    (@ $header:ident = $($class:ident)+) => { vec![$((stringify!($class), $header::FIELDS)),+] };
}

macro_rules! bodies {
    ($($body:ident $(= $($class:ident)+)?,)+) => {
        [$(bodies!(@ $body $(= $($class)+)?)),+].concat()
    };
    (@ $body:ident) => { vec![(stringify!($body), fields_of::<$body>())] };
    (@ $body:ident = $($class:ident)+) => { vec![$((stringify!($class), fields_of::<$body>())),+] };
}

fn declared_headers() -> Vec<(&'static str, &'static [&'static str])> {
    headers! {
        AckMessageRequestHeader,
        AddWritePermOfBrokerRequestHeader,
        AddWritePermOfBrokerResponseHeader,
        BrokerHeartbeatRequestHeader,
        ChangeInvisibleTimeRequestHeader,
        ChangeInvisibleTimeResponseHeader,
        CheckTransactionStateRequestHeader,
        CloneGroupOffsetRequestHeader,
        ConsumeMessageDirectlyResultRequestHeader,
        ConsumerSendMsgBackRequestHeader,
        CreateTopicRequestHeader,
        DeleteKVConfigRequestHeader,
        DeleteSubscriptionGroupRequestHeader,
        DeleteTopicFromNamesrvRequestHeader,
        DeleteTopicRequestHeader,
        EndTransactionRequestHeader,
        GetAllSubscriptionGroupRequestHeader,
        GetAllSubscriptionGroupResponseHeader,
        GetAllTopicConfigRequestHeader,
        GetAllTopicConfigResponseHeader,
        GetBrokerConfigResponseHeader,
        GetBrokerMemberGroupRequestHeader,
        GetConsumeStatsInBrokerHeader,
        GetConsumeStatsRequestHeader,
        GetConsumerConnectionListRequestHeader,
        GetConsumerListByGroupRequestHeader,
        GetConsumerRunningInfoRequestHeader,
        GetConsumerStatusRequestHeader,
        GetEarliestMsgStoretimeRequestHeader,
        GetEarliestMsgStoretimeResponseHeader,
        GetKVConfigRequestHeader,
        GetKVConfigResponseHeader,
        GetKVListByNamespaceRequestHeader,
        GetLiteClientInfoRequestHeader,
        GetLiteGroupInfoRequestHeader,
        GetLiteTopicInfoRequestHeader,
        GetMaxOffsetRequestHeader,
        GetMinOffsetRequestHeader,
        GetParentTopicInfoRequestHeader,
        GetProducerConnectionListRequestHeader,
        GetRouteInfoRequestHeader,
        GetSubscriptionGroupConfigRequestHeader,
        GetTopicConfigRequestHeader,
        GetTopicStatsInfoRequestHeader,
        GetTopicsByClusterRequestHeader,
        NotificationRequestHeader,
        NotificationResponseHeader,
        NotifyConsumerIdsChangedRequestHeader,
        NotifyMinBrokerIdChangeRequestHeader,
        NotifyUnsubscribeLiteRequestHeader,
        PeekMessageRequestHeader,
        PollingInfoRequestHeader,
        PollingInfoResponseHeader,
        PopLiteMessageRequestHeader,
        PopLiteMessageResponseHeader,
        PopMessageRequestHeader,
        PopMessageResponseHeader,
        PullMessageRequestHeader,
        PullMessageResponseHeader,
        PutKVConfigRequestHeader,
        QueryConsumeQueueRequestHeader,
        QueryConsumeTimeSpanRequestHeader,
        QueryConsumerOffsetRequestHeader,
        QueryConsumerOffsetResponseHeader,
        QueryCorrectionOffsetHeader,
        QueryDataVersionRequestHeader,
        QueryDataVersionResponseHeader,
        QueryMessageRequestHeader,
        QueryMessageResponseHeader,
        QuerySubscriptionByConsumerRequestHeader,
        QueryTopicConsumeByWhoRequestHeader,
        QueryTopicsByConsumerRequestHeader,
        RecallMessageRequestHeader,
        RecallMessageResponseHeader,
        RegisterBrokerRequestHeader,
        RegisterBrokerResponseHeader,
        RegisterTopicRequestHeader,
        ReplyMessageRequestHeader,
        ResetOffsetRequestHeader,
        ResumeCheckHalfMessageRequestHeader,
        SearchOffsetRequestHeader,
        SendMessageRequestHeaderV2,
        SendMessageResponseHeader,
        TriggerLiteDispatchRequestHeader,
        UnRegisterBrokerRequestHeader,
        UnregisterClientRequestHeader,
        UpdateConsumerOffsetRequestHeader,
        UpdateGroupForbiddenRequestHeader,
        ViewBrokerStatsDataRequestHeader,
        ViewMessageRequestHeader,
        WipeWritePermOfBrokerRequestHeader,
        WipeWritePermOfBrokerResponseHeader,
        OffsetResponseHeader = GetMaxOffsetResponseHeader GetMinOffsetResponseHeader SearchOffsetResponseHeader,
    }
}

fn declared_bodies() -> Vec<(&'static str, &'static [&'static str])> {
    bodies! {
        BatchAckMessageRequestBody,
        BrokerMemberGroup,
        BrokerStatsData,
        CheckClientRequestBody,
        ClusterInfo,
        ConsumeStats,
        ConsumeStatsList,
        ConsumerConnection,
        CreateTopicListRequestBody,
        DataVersion,
        GetBrokerLiteInfoResponseBody,
        GetBrokerMemberGroupResponseBody,
        GetConsumerListByGroupResponseBody,
        GetConsumerStatusBody,
        GetLiteClientInfoResponseBody,
        GetLiteGroupInfoResponseBody,
        GetLiteTopicInfoResponseBody,
        GetParentTopicInfoResponseBody,
        GroupForbidden,
        GroupList,
        HeartbeatData,
        KVTable,
        LiteSubscriptionCtlRequestBody,
        LockBatchResponseBody,
        LogicQueueMappingItem,
        ProducerConnection,
        ProducerInfo,
        ProducerTableInfo,
        QueryAssignmentRequestBody,
        QueryAssignmentResponseBody,
        QueryConsumeQueueResponseBody,
        QueryConsumeTimeSpanBody,
        QueryCorrectionOffsetBody,
        QuerySubscriptionResponseBody,
        RegisterBrokerBody,
        ResetOffsetBody,
        ResetOffsetBodyForC,
        SetMessageRequestModeRequestBody,
        SubscriptionGroupList,
        SubscriptionGroupWrapper,
        TopicConfigAndMappingSerializeWrapper,
        TopicConfigSerializeWrapper,
        TopicList,
        TopicQueueMappingDetail,
        TopicQueueMappingInfo,
        TopicQueueMappingSerializeWrapper,
        TopicRouteData,
        TopicStatsTable,
        ConsumerOffsetTable = ConsumerOffsetSerializeWrapper,
        LockBatchRequestBody = LockBatchRequestBody UnlockBatchRequestBody,
        MessageRequestModeTable = MessageRequestModeSerializeWrapper,
    }
}

#[test]
fn headers_have_the_fields_of_the_reference() {
    check(HEADERS, &declared_headers());
}

#[test]
fn bodies_have_the_fields_of_the_reference() {
    check(BODIES, &declared_bodies());
}

#[test]
fn every_class_that_is_declared_is_compared() {
    for (folder, table, compared) in
        [("header", HEADERS, declared_headers()), ("body", BODIES, declared_bodies())]
    {
        let classes = fields_by_class(table);
        for name in declared_in(folder).iter().filter(|name| classes.contains_key(&***name)) {
            let is_compared = compared.iter().any(|(class, _)| class == name);
            assert!(is_compared, "{name} is declared and not in the list of this test");
        }
    }
}

/// Names of the structs in one folder of the sources.
fn declared_in(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
    let files = std::fs::read_dir(folder).unwrap();
    let texts = files.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    let mut names = Vec::new();
    for text in texts {
        let structs = text.lines().filter_map(|line| line.trim_start().strip_prefix("pub struct "));
        names.extend(structs.map(|rest| rest.split([' ', '<', ';']).next().unwrap().to_owned()));
    }
    assert!(names.len() > 10, "{names:?}");
    names
}

#[test]
fn fields_that_are_left_out_stand_in_the_table_of_differences() {
    for (class, field, reason) in LEFT_OUT {
        let row = format!("| `{class}.{field}` | {reason} |");
        assert!(COMPATIBILITY.contains(&row), "COMPATIBILITY.md lacks\n{row}");
    }
}

/// The names that a body is read by.
fn fields_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut fields = None;
    let _ = T::deserialize(Probe(&mut fields));
    fields.unwrap()
}

/// Notes which fields a struct asks for, and has none.
struct Probe<'a>(&'a mut Option<&'static [&'static str]>);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(value::Error::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = Some(fields);
        Err(value::Error::custom("only the names"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
