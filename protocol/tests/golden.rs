//! Frames that other implementations sent: they are read, mean the same once written again, and have
//! the same bytes where the reference's own code wrote them.
//!
//! `golden/frames` has a file for each client and version, a line for each frame: the call that it is
//! of, who sent it to whom, for an answer the code that it answers, header and body. They were
//! recorded by a proxy between clients and the servers of the reference; `golden/README.md` says how
//! to do it again.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests, too.

mod captured;

use std::collections::BTreeSet;

use captured::{Captured, captured};
use oxmq_protocol::body::*;
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::ext_fields::{ExtFields, Fields};
use oxmq_protocol::fastjson::{Dialect, from_slice, to_vec};
use oxmq_protocol::frame::{HeaderForm, split};
use oxmq_protocol::header::*;
use oxmq_protocol::message::{BatchMessages, EncodeOptions, MessageExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Fields that stand beside the header's own: names and wishes of the sender, a signature, which some
/// clients add whether or not they have a key, and what an answer tells every client.
const BESIDE_THE_HEADER: &[&str] = &[
    "ns",
    "nsd",
    "bname",
    "oway",
    "lo",
    "ReqT",
    "AccessKey",
    "OnsChannel",
    "Signature",
    "MSG_REGION",
    "TRACE_ON",
    "IS_SUPPORT_HEART_BEAT_V2",
    "IS_SUB_CHANGE",
];

/// Fields that the reference sends and that no class declares: nothing here reads them, but for the last, which
/// is read by its name.
const LEFT_OVER: &[(i32, &str)] = &[
    (12, "indexType"),
    (12, "lastKey"),
    (309, "brokerName"),
    (309, "topicSysFlag"),
    (309, "groupSysFlag"),
    (2004, "READ_AHEAD_MODE"),
];

/// The request codes that are absent here, or those that are not.
fn codes(are_absent: bool) -> BTreeSet<i32> {
    let table = include_str!("../../COMPATIBILITY.md");
    let rows = table.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let rows = rows.filter(|row| row.get(4).is_some_and(|it| (*it == "absent") == are_absent));
    rows.filter_map(|row| row[1].parse().ok()).collect()
}

/// Codes that no server here serves; their headers and bodies need not be declared.
fn absent_codes() -> BTreeSet<i32> {
    let codes = codes(true);
    assert!(codes.contains(&902), "{codes:?}");
    codes
}

#[test]
fn each_code_that_is_served_has_frames_of_a_request_and_unless_nobody_wants_one_of_an_answer() {
    let (mut asked, mut wanted, mut answered) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for captured in captured() {
        let view = captured.view();
        if view.is_response() {
            answered.insert(captured.request_code);
            continue;
        }
        asked.insert(captured.request_code);
        if !view.is_oneway() {
            wanted.insert(captured.request_code);
        }
    }
    let served = codes(false);
    assert!(served.len() > 100, "{served:?}");
    let none = BTreeSet::new();
    assert_eq!(&served - &asked, none, "no request");
    assert_eq!(&(&served & &wanted) - &answered, none, "no answer");
}

#[test]
fn frames_mean_the_same_once_written_again_in_either_form() {
    for captured in captured() {
        let command = captured.view().to_command();
        for form in [HeaderForm::Json, HeaderForm::RocketMq] {
            if form == HeaderForm::RocketMq && i16::try_from(command.code).is_err() {
                // The binary form has no room for these codes; the reference cuts them off as well.
                continue;
            }
            let command = RemotingCommand { form, ..command.clone() };
            let again = decode(&encode(&command));
            match form {
                HeaderForm::Json => assert_eq!(again, command, "{}", captured.at),
                HeaderForm::RocketMq => {
                    assert_eq!(again, without_empty_texts(command), "{}", captured.at)
                }
            }
        }
    }
}

/// An empty text is none in the binary form, here and in the reference.
fn without_empty_texts(mut command: RemotingCommand) -> RemotingCommand {
    command.remark = command.remark.filter(|remark| !remark.is_empty());
    let mut fields = ExtFields::default();
    for (name, value) in command.ext_fields.iter().filter(|(_, value)| !value.is_empty()) {
        fields.insert(name, value);
    }
    command.ext_fields = fields;
    command
}

#[test]
fn headers_of_the_reference_have_the_same_bytes_but_for_the_order_of_fields() {
    let mut count = 0;
    for captured in captured().iter().filter(|captured| captured.by_reference) {
        let view = captured.view();
        let sorted = match view.form {
            HeaderForm::Json => sorted_json(captured.frame().header),
            HeaderForm::RocketMq => sorted_binary(captured.frame().header),
        };
        let again = encode(&view.to_command());
        let again = split(&again).unwrap().unwrap().0;
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        assert_eq!(text(again.header), text(&sorted), "{}", captured.at);
        assert_eq!(again.body, view.body);
        count += 1;
    }
    assert!(count > 300, "{count}");
}

/// The same JSON with the ext fields in the order of their names, and with an empty object where there
/// are none: our answers always have one, as some clients look into it unchecked.
fn sorted_json(header: &[u8]) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(header).unwrap();
    // A map of `serde_json` is sorted, and so are the members of a command.
    let sorted = value.to_string();
    assert_eq!(sorted.len(), header.len(), "{}", header.escape_ascii());
    value.as_object_mut().unwrap().entry("extFields").or_insert_with(|| Map::new().into());
    value.to_string().into_bytes()
}

/// The same binary header with the ext fields in the order of their names.
fn sorted_binary(header: &[u8]) -> Vec<u8> {
    let number = |at: usize, width: usize| {
        header[at..at + width].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    // Code, language, version, opaque and flag.
    let fields_at = 2 + 1 + 2 + 4 + 4 + 4 + number(13, 4) + 4;
    assert_eq!(number(fields_at - 4, 4), header.len() - fields_at);
    let mut fields = Vec::new();
    let mut at = fields_at;
    while at < header.len() {
        let value_at = at + 2 + number(at, 2);
        let end = value_at + 4 + number(value_at, 4);
        // A field without a value is read as none.
        if end > value_at + 4 {
            fields.push((&header[at + 2..value_at], &header[at..end]));
        }
        at = end;
    }
    fields.sort_unstable();
    let fields: Vec<u8> = fields.iter().flat_map(|(_, bytes)| bytes.iter()).copied().collect();
    [&header[..fields_at - 4], &(fields.len() as u32).to_be_bytes(), &fields].concat()
}

#[test]
fn headers_read_as_the_declared_ones_and_leave_nothing_over() {
    let mut seen = BTreeSet::new();
    let absent = absent_codes();
    for captured in &captured() {
        let view = captured.view();
        // An error has a remark and no header.
        if view.is_response() && view.code != 0 && view.fields().next().is_none() {
            continue;
        }
        seen.insert((captured.request_code, view.is_response()));
        check_header(captured, &view, absent.contains(&captured.request_code));
    }
    assert!(seen.len() > 80, "{seen:?}");
}

fn check_header(captured: &Captured, view: &CommandView<'_>, is_absent: bool) {
    macro_rules! headers {
        ($($codes:pat, $answer:literal => $header:ident,)+) => {
            match (captured.request_code, view.is_response()) {
                $(($codes, $answer) => reads_as::<$header>(captured, view),)+
                _ if is_absent => {}
                _ => nothing_left_over(captured, view, &[]),
            }
        };
    }
    headers! {
        10 | 310 | 320 | 324 | 325, true => SendMessageResponseHeader,
        310 | 320 | 325, false => SendMessageRequestHeaderV2,
        11 | 361, false => PullMessageRequestHeader,
        11 | 361, true => PullMessageResponseHeader,
        12, false => QueryMessageRequestHeader,
        12, true => QueryMessageResponseHeader,
        14, false => QueryConsumerOffsetRequestHeader,
        14, true => QueryConsumerOffsetResponseHeader,
        15, false => UpdateConsumerOffsetRequestHeader,
        17, false => CreateTopicRequestHeader,
        21, false => GetAllTopicConfigRequestHeader,
        21, true => GetAllTopicConfigResponseHeader,
        26, true => GetBrokerConfigResponseHeader,
        29, false => SearchOffsetRequestHeader,
        30, false => GetMaxOffsetRequestHeader,
        31, false => GetMinOffsetRequestHeader,
        29..=31, true => OffsetResponseHeader,
        32, false => GetEarliestMsgStoretimeRequestHeader,
        32, true => GetEarliestMsgStoretimeResponseHeader,
        33, false => ViewMessageRequestHeader,
        35, false => UnregisterClientRequestHeader,
        36, false => ConsumerSendMsgBackRequestHeader,
        37, false => EndTransactionRequestHeader,
        38, false => GetConsumerListByGroupRequestHeader,
        39, false => CheckTransactionStateRequestHeader,
        40, false => NotifyConsumerIdsChangedRequestHeader,
        100, false => PutKVConfigRequestHeader,
        101, false => GetKVConfigRequestHeader,
        101, true => GetKVConfigResponseHeader,
        102, false => DeleteKVConfigRequestHeader,
        103, false => RegisterBrokerRequestHeader,
        103, true => RegisterBrokerResponseHeader,
        104, false => UnRegisterBrokerRequestHeader,
        105, false => GetRouteInfoRequestHeader,
        201, false => GetAllSubscriptionGroupRequestHeader,
        201, true => GetAllSubscriptionGroupResponseHeader,
        202, false => GetTopicStatsInfoRequestHeader,
        203, false => GetConsumerConnectionListRequestHeader,
        204, false => GetProducerConnectionListRequestHeader,
        205, false => WipeWritePermOfBrokerRequestHeader,
        205, true => WipeWritePermOfBrokerResponseHeader,
        207, false => DeleteSubscriptionGroupRequestHeader,
        208, false => GetConsumeStatsRequestHeader,
        215, false => DeleteTopicRequestHeader,
        216, false => DeleteTopicFromNamesrvRequestHeader,
        217, false => RegisterTopicRequestHeader,
        219, false => GetKVListByNamespaceRequestHeader,
        220 | 222, false => ResetOffsetRequestHeader,
        221 | 223, false => GetConsumerStatusRequestHeader,
        224, false => GetTopicsByClusterRequestHeader,
        300, false => QueryTopicConsumeByWhoRequestHeader,
        303, false => QueryConsumeTimeSpanRequestHeader,
        307, false => GetConsumerRunningInfoRequestHeader,
        308, false => QueryCorrectionOffsetHeader,
        309, false => ConsumeMessageDirectlyResultRequestHeader,
        314, false => CloneGroupOffsetRequestHeader,
        315, false => ViewBrokerStatsDataRequestHeader,
        317, false => GetConsumeStatsInBrokerHeader,
        321, false => QueryConsumeQueueRequestHeader,
        322, false => QueryDataVersionRequestHeader,
        322, true => QueryDataVersionResponseHeader,
        323, false => ResumeCheckHalfMessageRequestHeader,
        326, false => ReplyMessageRequestHeader,
        327, false => AddWritePermOfBrokerRequestHeader,
        327, true => AddWritePermOfBrokerResponseHeader,
        343, false => QueryTopicsByConsumerRequestHeader,
        345, false => QuerySubscriptionByConsumerRequestHeader,
        351, false => GetTopicConfigRequestHeader,
        352, false => GetSubscriptionGroupConfigRequestHeader,
        353, false => UpdateGroupForbiddenRequestHeader,
        370, false => RecallMessageRequestHeader,
        370, true => RecallMessageResponseHeader,
        513, false => CreateTopicRequestHeader,
        901, false => GetBrokerMemberGroupRequestHeader,
        904, false => BrokerHeartbeatRequestHeader,
        905, false => NotifyMinBrokerIdChangeRequestHeader,
        200_050, false => PopMessageRequestHeader,
        200_050, true => PopMessageResponseHeader,
        200_051, false => AckMessageRequestHeader,
        200_052, false => PeekMessageRequestHeader,
        200_052, true => PopMessageResponseHeader,
        200_053, false => ChangeInvisibleTimeRequestHeader,
        200_053, true => ChangeInvisibleTimeResponseHeader,
        200_054, false => NotificationRequestHeader,
        200_054, true => NotificationResponseHeader,
        200_055, false => PollingInfoRequestHeader,
        200_055, true => PollingInfoResponseHeader,
        200_070, false => PopLiteMessageRequestHeader,
        200_070, true => PopLiteMessageResponseHeader,
        200_073, false => NotifyUnsubscribeLiteRequestHeader,
        200_075, false => GetParentTopicInfoRequestHeader,
        200_076, false => GetLiteTopicInfoRequestHeader,
        200_077, false => GetLiteClientInfoRequestHeader,
        200_078, false => GetLiteGroupInfoRequestHeader,
        200_079, false => TriggerLiteDispatchRequestHeader,
    }
    if by_long_names(captured.request_code) && !view.is_response() {
        let send = SendMessageView::decode(view).unwrap_or_else(|e| panic!("{}: {e}", captured.at));
        assert_eq!(Some(send.topic.text()), view.get("topic"), "{}", captured.at);
        assert_eq!(Some(send.properties.text()), view.get("properties"), "{}", captured.at);
    }
}

/// Tells whether a request is a send whose fields have names of many letters, which is read without a class.
fn by_long_names(request_code: i32) -> bool {
    matches!(request_code, 10 | 324)
}

/// The header reads, has its values as they were sent, and there is no field beside it.
fn reads_as<H: Header>(captured: &Captured, view: &CommandView<'_>) {
    let header = H::decode(view).unwrap_or_else(|error| panic!("{}: {error}", captured.at));
    let mut again = ExtFields::default();
    header.encode(&mut again);
    for (name, value) in again.iter().filter(|_| captured.by_reference) {
        // A field that was not sent has its default now.
        let sent = view.get(name);
        assert!(
            sent.is_none() || sent.as_deref() == Some(value),
            "{} {name}: {sent:?}",
            captured.at
        );
    }
    nothing_left_over(captured, view, H::FIELDS);
}

fn nothing_left_over(captured: &Captured, view: &CommandView<'_>, declared: &[&str]) {
    for (name, _) in view.fields() {
        let name = name.text();
        let is_known = declared.contains(&&*name)
            || BESIDE_THE_HEADER.contains(&&*name)
            || by_long_names(captured.request_code)
            || LEFT_OVER.contains(&(captured.request_code, &*name));
        assert!(
            is_known,
            "{}: {name} of {} is not declared here",
            captured.at, captured.request_code
        );
    }
}

#[test]
fn bodies_read_as_the_declared_ones_and_have_the_same_bytes_again() {
    let mut seen = BTreeSet::new();
    let absent = absent_codes();
    for captured in &captured() {
        let view = captured.view();
        if view.body.is_empty() {
            continue;
        }
        seen.insert((captured.request_code, view.is_response()));
        check_body(captured, &view, absent.contains(&captured.request_code));
    }
    assert!(seen.len() > 25, "{seen:?}");
}

fn check_body(captured: &Captured, view: &CommandView<'_>, is_absent: bool) {
    macro_rules! bodies {
        ($($codes:pat, $answer:literal => $body:ident,)+) => {
            match (captured.request_code, view.is_response()) {
                $(($codes, $answer) => has_the_same_bytes::<$body>(captured, view.body),)+
                (10 | 310 | 324..=326, false) => {}
                // With `pullOffsetTable`, which no receiver reads, so that it is not written here.
                (43, true) => drop(body_of::<ConsumerOffsetTable>(captured, view.body)),
                (2002, false) => assert_eq!(view.body, b"golden_api", "{}", captured.at),
                // Seven numbers, which the broker's timer reads.
                (60, true) => assert_eq!(view.body.len(), 56, "{}", captured.at),
                // With each time as local text as well, which no receiver can set.
                (303, true) => drop(body_of::<QueryConsumeTimeSpanBody>(captured, view.body)),
                (25 | 318 | 2001, false) | (26 | 319, true) => is_properties_text(captured, view.body),
                (11 | 12 | 33 | 361 | 200_050 | 200_052 | 200_070, true) => has_records(captured, view.body),
                (309 | 39, false) => has_records(captured, view.body),
                (320, false) => is_a_batch(captured, view.body),
                // A map that the tools print as it is: it has no class.
                (2003, true) => drop(body_of::<Map<String, Value>>(captured, view.body)),
                (307 | 309, true) => {}
                _ if is_absent => {}
                (code, _) => panic!("{}: the body of {code} is missing here", captured.at),
            }
        };
    }
    bodies! {
        18, false => CreateTopicListRequestBody,
        21, true => TopicConfigAndMappingSerializeWrapper,
        28, true => KVTable,
        34, false => HeartbeatData,
        38, true => GetConsumerListByGroupResponseBody,
        41, false => LockBatchRequestBody,
        41, true => LockBatchResponseBody,
        42, false => LockBatchRequestBody,
        45, true => DelayOffsetTable,
        46, false => CheckClientRequestBody,
        61, true => TimerMetricsTable,
        103, false => RegisterBrokerBody,
        103, true => KVTable,
        105, true => TopicRouteData,
        106, true => ClusterInfo,
        200, false => SubscriptionGroupConfig,
        201, true => SubscriptionGroupWrapper,
        202, true => TopicStatsTable,
        203, true => ConsumerConnection,
        204, true => ProducerConnection,
        206 | 224 | 304 | 305 | 311..=313, true => TopicList,
        208, true => ConsumeStats,
        217, false => TopicRouteData,
        219, true => KVTable,
        220, false => ResetOffsetBody,
        222, true => ResetOffsetBody,
        221 | 223, true => GetConsumerStatusBody,
        225, false => SubscriptionGroupList,
        300, true => GroupList,
        308, true => QueryCorrectionOffsetBody,
        315, true => BrokerStatsData,
        317, true => ConsumeStatsList,
        321, true => QueryConsumeQueueResponseBody,
        322, false => DataVersion,
        322, true => DataVersion,
        328, true => ProducerTableInfo,
        343, true => TopicList,
        345, true => QuerySubscriptionResponseBody,
        351, true => TopicConfigAndQueueMapping,
        352, true => SubscriptionGroupConfig,
        353, true => GroupForbidden,
        400, false => QueryAssignmentRequestBody,
        400, true => QueryAssignmentResponseBody,
        401, false => SetMessageRequestModeRequestBody,
        402, true => MessageRequestModeTable,
        513, false => TopicQueueMappingDetail,
        901, true => GetBrokerMemberGroupResponseBody,
        200_071, false => LiteSubscriptionCtlRequestBody,
        200_074, true => GetBrokerLiteInfoResponseBody,
        200_075, true => GetParentTopicInfoResponseBody,
        200_076, true => GetLiteTopicInfoResponseBody,
        200_077, true => GetLiteClientInfoResponseBody,
        200_078, true => GetLiteGroupInfoResponseBody,
        200_151, false => BatchAckMessageRequestBody,
    }
}

/// Bodies with tables that the reference does not keep in order.
const UNORDERED: &[i32] =
    &[21, 28, 103, 106, 200, 201, 202, 203, 206, 208, 222, 224, 300, 304, 305, 317, 328, 400, 402];

fn body_of<B: DeserializeOwned>(captured: &Captured, body: &[u8]) -> B {
    from_slice(body).unwrap_or_else(|error| panic!("{}: {error}", captured.at))
}

fn has_the_same_bytes<B: DeserializeOwned + Serialize>(captured: &Captured, body: &[u8]) {
    let read: B = body_of(captured, body);
    if !captured.by_current_reference {
        // What others leave out has its default now.
        return;
    }
    let [raw, strict] =
        [Dialect::Raw, Dialect::Strict].map(|dialect| to_vec(&read, dialect).unwrap());
    if raw == body || strict == body {
        return;
    }
    let sorted = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.sort_unstable();
        bytes
    };
    // The reference keeps some tables by hash.
    let is_unordered = UNORDERED.contains(&captured.request_code);
    let is_same = [&raw, &strict].iter().any(|written| sorted(written) == sorted(body));
    let [text, raw] = [body, &raw].map(String::from_utf8_lossy);
    assert!(is_same && is_unordered, "{}\n{text}\n{raw}", captured.at);
}

fn is_properties_text(captured: &Captured, body: &[u8]) {
    let entries = oxmq_protocol::properties_file::parse(body);
    assert!(entries.is_ok_and(|entries| !entries.is_empty()), "{}", captured.at);
}

fn has_records(captured: &Captured, body: &[u8]) {
    let records = MessageExt::decode_all(body).unwrap_or_else(|e| panic!("{}: {e}", captured.at));
    let mut again = Vec::new();
    for record in &records {
        record.encode(&EncodeOptions::default(), &mut again).unwrap();
    }
    assert!(again == body, "{}", captured.at);
}

fn is_a_batch(captured: &Captured, body: &[u8]) {
    let mut again = Vec::new();
    for message in BatchMessages::new(body) {
        message.unwrap().encode(&mut again).unwrap();
    }
    assert!(again == body, "{}", captured.at);
}

fn encode(command: &RemotingCommand) -> Vec<u8> {
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    bytes
}

fn decode(bytes: &[u8]) -> RemotingCommand {
    RemotingCommand::decode(split(bytes).unwrap().unwrap().0).unwrap()
}
