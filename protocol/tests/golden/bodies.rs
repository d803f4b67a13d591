//! Bodies: they read as the declared ones, which write the same bytes.

use oxmq_protocol::body::*;
use oxmq_protocol::command::CommandView;
use oxmq_protocol::fastjson::{Dialect, from_slice, to_vec};
use oxmq_protocol::message::{BatchMessages, EncodeOptions, MessageExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::captured::Captured;
use crate::check_each;

#[test]
fn bodies_read_as_the_declared_ones_and_have_the_same_bytes_again() {
    let seen = check_each(|view| !view.body.is_empty(), check_body);
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
