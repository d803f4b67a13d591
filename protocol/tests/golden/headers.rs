//! Headers: they read as the declared ones.

use oxmq_protocol::command::CommandView;
use oxmq_protocol::ext_fields::{ExtFields, Fields};
use oxmq_protocol::header::*;

use crate::captured::Captured;
use crate::check_each;

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

#[test]
fn headers_read_as_the_declared_ones_and_leave_nothing_over() {
    // An error has a remark and no header.
    let is_error = |view: &CommandView<'_>| view.is_response() && view.code != 0;
    let seen = check_each(|view| !is_error(view) || view.fields().next().is_some(), check_header);
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
