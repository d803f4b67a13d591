//! What each target does with an input: read it, use what came out, and hold on to what must be so.

// A file of its own, which needs nothing of its crate.
#[path = "../../../remoting/src/connection/greeting.rs"]
mod greeting;

use oxmq_protocol::advertised_listeners::AdvertisedListeners;
use oxmq_protocol::body::*;
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::config::ConfigValue as _;
use oxmq_protocol::fastjson::{Dialect, from_slice, to_vec};
use oxmq_protocol::frame::{Frame, HeaderForm, split, total_bytes};
use oxmq_protocol::header::*;
use oxmq_protocol::message::properties;
use oxmq_protocol::message::{
    BatchMessages, EncodeOptions, MessageExt, RecallHandle, ReceiptHandle, RecordView, TopicKind,
    message_id, record, tags_code_of_properties,
};
use oxmq_protocol::properties_file as properties_text;

/// Most bytes that one byte of a body may become when what was read of it is written: an empty
/// object of three bytes stands for a subscription group and all its defaults.
const GROWTH: usize = 400;

/// Bytes that a body of any length may become, with all its defaults.
const DEFAULTS_BYTES: usize = 4 * 1024;

/// The length of an input that refers to parts of itself says nothing about what it stands for.
const REFERENCE_MARK: &[u8] = b"$ref";

/// Longest input that may still be the beginning of something.
const MAX_GREETING_BYTES: usize = 4 * 1024;

/// The first bytes of a connection, with the PROXY protocol in both versions.
pub fn proxy(input: &[u8]) {
    use greeting::{Greeting, read};

    match read(input) {
        Greeting::Incomplete => assert!(input.len() < MAX_GREETING_BYTES),
        Greeting::Proxied { bytes, source } => {
            assert!(bytes > 0 && bytes <= input.len());
            // It is the same however the bytes come in.
            for cut in 0..bytes {
                assert_eq!(read(&input[..cut]), Greeting::Incomplete, "cut at {cut}");
            }
            assert_eq!(read(&input[..bytes]), Greeting::Proxied { bytes, source });
        }
        Greeting::Frame | Greeting::Tls | Greeting::Foreign(_) => assert!(!input.is_empty()),
    }
}

/// Frames one after the other, as a connection reads them.
pub fn frame(input: &[u8]) {
    let mut rest = input;
    while let Ok(Some((frame, used))) = split(rest) {
        assert!(used >= 8 && used <= rest.len());
        assert_eq!(total_bytes(rest), Ok(Some(used)));
        header(frame);
        rest = &rest[used..];
    }
}

/// A header in JSON.
pub fn json_header(input: &[u8]) {
    header(Frame { form: HeaderForm::Json, header: input, body: b"body" });
}

/// A header in the binary form.
pub fn binary_header(input: &[u8]) {
    header(Frame { form: HeaderForm::RocketMq, header: input, body: b"body" });
}

fn header(frame: Frame<'_>) {
    let owned = RemotingCommand::decode(frame);
    let Ok(view) = CommandView::decode(frame) else {
        assert!(owned.is_err());
        return;
    };
    for (name, value) in view.fields() {
        let (name, value) = (name.text(), value.text());
        assert!(name.len() + value.len() <= 3 * frame.header.len());
    }
    every_header(&view);
    let (Ok(owned), command) = (owned, view.to_command()) else {
        panic!("read as a view, and not otherwise");
    };
    assert_eq!(owned, command);
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    if let Ok(Some((frame, used))) = split(&bytes) {
        assert_eq!(used, bytes.len());
        assert_eq!(RemotingCommand::decode(frame).as_ref(), Ok(&command), "changed by writing it");
    }
}

macro_rules! decode_each {
    ($view:ident: $($header:ident)+) => {$(
        if let Ok(header) = $header::decode($view) {
            let written = RemotingCommand::request(oxmq_protocol::code::RequestCode(0));
            let written = written.with_header(&header).ext_fields;
            assert_eq!($header::decode(&written).as_ref(), Ok(&header));
        }
    )+};
}

/// All headers that are declared, whatever the code says.
fn every_header(view: &CommandView<'_>) {
    decode_each! { view:
        AddWritePermOfBrokerRequestHeader AddWritePermOfBrokerResponseHeader
        BrokerHeartbeatRequestHeader CheckTransactionStateRequestHeader
        CloneGroupOffsetRequestHeader ConsumeMessageDirectlyResultRequestHeader
        ConsumerSendMsgBackRequestHeader CreateTopicRequestHeader DeleteKVConfigRequestHeader
        DeleteSubscriptionGroupRequestHeader DeleteTopicFromNamesrvRequestHeader
        DeleteTopicRequestHeader EndTransactionRequestHeader GetAllSubscriptionGroupRequestHeader
        GetAllSubscriptionGroupResponseHeader GetAllTopicConfigRequestHeader
        GetAllTopicConfigResponseHeader GetBrokerConfigResponseHeader
        GetBrokerMemberGroupRequestHeader GetConsumeStatsInBrokerHeader GetConsumeStatsRequestHeader
        GetConsumerConnectionListRequestHeader GetConsumerListByGroupRequestHeader
        GetConsumerRunningInfoRequestHeader GetConsumerStatusRequestHeader
        GetEarliestMsgStoretimeRequestHeader GetEarliestMsgStoretimeResponseHeader
        GetKVConfigRequestHeader GetKVConfigResponseHeader GetKVListByNamespaceRequestHeader
        GetMaxOffsetRequestHeader GetMinOffsetRequestHeader GetProducerConnectionListRequestHeader
        GetRouteInfoRequestHeader GetSubscriptionGroupConfigRequestHeader
        GetTopicConfigRequestHeader GetTopicStatsInfoRequestHeader GetTopicsByClusterRequestHeader
        NotifyConsumerIdsChangedRequestHeader NotifyMinBrokerIdChangeRequestHeader
        PullMessageRequestHeader PullMessageResponseHeader PutKVConfigRequestHeader
        QueryConsumeQueueRequestHeader QueryConsumeTimeSpanRequestHeader
        QueryConsumerOffsetRequestHeader QueryConsumerOffsetResponseHeader
        QueryCorrectionOffsetHeader QueryDataVersionRequestHeader QueryDataVersionResponseHeader
        QueryMessageRequestHeader QueryMessageResponseHeader
        QuerySubscriptionByConsumerRequestHeader QueryTopicConsumeByWhoRequestHeader
        QueryTopicsByConsumerRequestHeader RecallMessageRequestHeader RecallMessageResponseHeader
        RegisterBrokerRequestHeader RegisterBrokerResponseHeader RegisterTopicRequestHeader
        ReplyMessageRequestHeader ResetOffsetRequestHeader ResumeCheckHalfMessageRequestHeader
        SearchOffsetRequestHeader SendMessageRequestHeaderV2 SendMessageResponseHeader
        UnRegisterBrokerRequestHeader UnregisterClientRequestHeader
        UpdateConsumerOffsetRequestHeader UpdateGroupForbiddenRequestHeader
        ViewBrokerStatsDataRequestHeader ViewMessageRequestHeader WipeWritePermOfBrokerRequestHeader
        WipeWritePermOfBrokerResponseHeader AckMessageRequestHeader
        ChangeInvisibleTimeRequestHeader ChangeInvisibleTimeResponseHeader
        NotificationRequestHeader NotificationResponseHeader PeekMessageRequestHeader
        PollingInfoRequestHeader PollingInfoResponseHeader PopMessageRequestHeader
        PopLiteMessageRequestHeader PopLiteMessageResponseHeader
        NotifyUnsubscribeLiteRequestHeader GetParentTopicInfoRequestHeader
        GetLiteTopicInfoRequestHeader GetLiteClientInfoRequestHeader
        GetLiteGroupInfoRequestHeader TriggerLiteDispatchRequestHeader
        PopMessageResponseHeader
    }
    let _ = SendMessageView::decode(view);
    let _ = PullMessageView::decode(view);
}

macro_rules! read_each {
    ($input:ident: $($body:ident)+) => {$(
        if let Ok(body) = from_slice::<$body>($input) {
            for dialect in [Dialect::Raw, Dialect::Strict] {
                let text = to_vec(&body, dialect).expect("what was read can be written");
                if !$input.windows(REFERENCE_MARK.len()).any(|part| part == REFERENCE_MARK) {
                    let limit = DEFAULTS_BYTES + GROWTH * $input.len();
                    assert!(text.len() <= limit, "{} bytes of {}", text.len(), $input.len());
                }
                // A value of no known name is left out, and then read as the default; no more changes.
                let round = |text: &[u8]| {
                    let body = from_slice::<$body>(text).expect("what was written can be read");
                    to_vec(&body, dialect).expect("what was read can be written")
                };
                let again = round(&text);
                assert!(round(&again) == again, "{}", String::from_utf8_lossy(&text));
            }
        }
    )+};
}

/// Every body in JSON.
pub fn body(input: &[u8]) {
    read_each! { input:
        BrokerMemberGroup BrokerStatsData CheckClientRequestBody ClusterInfo ConsumeStats
        ConsumeStatsList ConsumerConnection ConsumerFilterTable ConsumerOffsetTable
        CreateTopicListRequestBody DataVersion DelayOffsetTable GetBrokerMemberGroupResponseBody
        GetConsumerListByGroupResponseBody GetConsumerStatusBody GroupForbidden GroupList
        HeartbeatData KVTable LockBatchRequestBody LockBatchResponseBody LogicQueueMappingItem
        MessageRequestModeTable ProducerConnection ProducerInfo ProducerTableInfo
        QueryAssignmentRequestBody QueryAssignmentResponseBody QueryConsumeQueueResponseBody
        QueryConsumeTimeSpanBody QueryCorrectionOffsetBody QuerySubscriptionResponseBody
        RegisterBrokerBody ResetOffsetBody ResetOffsetBodyForC SetMessageRequestModeRequestBody
        SubscriptionGroupList SubscriptionGroupWrapper TopicConfigAndMappingSerializeWrapper
        TopicConfigSerializeWrapper TopicList TopicQueueMappingDetail TopicQueueMappingInfo
        TopicConfigAndQueueMapping TopicQueueMappingSerializeWrapper
        LiteSubscriptionCtlRequestBody GetBrokerLiteInfoResponseBody GetParentTopicInfoResponseBody
        GetLiteTopicInfoResponseBody GetLiteClientInfoResponseBody GetLiteGroupInfoResponseBody
        TopicRouteData TopicStatsTable BatchAckMessageRequestBody PopCheckPoint AckMsg
        ConsumerOrderTable TimerMetricsTable TransactionMetricsTable
    }
    if let Ok(body) = from_slice::<BatchAckMessageRequestBody>(input) {
        for ack in body.acks {
            assert!(ack.distances().all(|at| (0..8 * ack.bit_set.len() as i64).contains(&at)));
        }
    }
    if let Ok(body) = from_slice::<PopCheckPoint>(input) {
        assert!(body.offsets().len() <= i8::MAX as usize);
    }
}

/// Names that come as text: of a popped message, of one that waits, of a stored one, of a broker's addresses.
pub fn handle(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(receipt) = ReceiptHandle::parse(text) {
        assert_eq!(ReceiptHandle::parse(&receipt.to_string()).as_ref(), Ok(&receipt));
    }
    if let Some(handle) = RecallHandle::decode(text) {
        let again = handle.encode();
        // A time that is no number is written as -1, which may be longer than a handle can be.
        assert!(again.len() > text.len() || RecallHandle::decode(&again).as_ref() == Some(&handle));
    }
    if let Ok((host, phy_offset)) = message_id::decode(text) {
        let again = message_id::encode_offset_id(host, phy_offset);
        assert!(again.eq_ignore_ascii_case(text), "{again}");
    }
    if let Some(listeners) = AdvertisedListeners::parse(text) {
        assert_eq!(AdvertisedListeners::parse(&listeners.print()), Some(listeners));
    }
    let (group, topic) = text.split_once(' ').unwrap_or((text, text));
    for kind in [TopicKind::RetryV1, TopicKind::RetryV2] {
        assert_eq!(TopicKind::normal_topic(&kind.topic(topic, group), group), topic);
    }
}

/// A compressed registration; the first byte chooses between the versions of its layout.
pub fn registration(input: &[u8]) {
    let Some((&first, rest)) = input.split_first() else { return };
    let version = if first & 1 == 0 { 493 } else { oxmq_protocol::version::CURRENT };
    let _ = RegisterBrokerBody::decode_compressed(rest, version);
}

/// The body of a batch send.
pub fn batch(input: &[u8]) {
    let mut bytes = 0;
    for message in BatchMessages::new(input).flatten() {
        let mut written = Vec::new();
        message.encode(&mut written).expect("what was read can be written");
        bytes += written.len();
    }
    assert!(bytes <= input.len());
}

/// Records as a commit log or the body of a pull has them, and the id of a message.
pub fn record(input: &[u8]) {
    let _ = record::is_blank(input);
    let _ = record::total_size(input);
    if let Ok(view) = RecordView::parse(input) {
        assert!(view.total_bytes() <= input.len());
        let _ = (view.born_host(), view.store_host(), view.topic(), view.body());
        let _ = (view.verify_body_crc(), view.verify_property_crc());
        properties(view.properties());
    }
    for message in MessageExt::decode_all(input).into_iter().flatten() {
        let _ = message.encode(&EncodeOptions::default(), &mut Vec::new());
    }
    let _ = message_id::decode(&String::from_utf8_lossy(input));
}

/// The properties text of a message.
pub fn properties(input: &[u8]) {
    let pairs = properties::pairs(input).map(|(name, value)| name.len() + value.len());
    assert!(pairs.sum::<usize>() <= input.len());
    let _ = (properties::property_str(input, properties::TAGS), tags_code_of_properties(input));
    let mut changed = input.to_vec();
    properties::set(&mut changed, properties::KEYS, b"k");
    assert_eq!(properties::property(&changed, properties::KEYS), Some(&b"k"[..]));
    properties::remove(&mut changed, properties::KEYS);
    assert_eq!(properties::property(&changed, properties::KEYS), None);
    assert!(changed.len() <= input.len() + 8);
}

/// A Java property file.
pub fn properties_file(input: &[u8]) {
    let Ok(entries) = properties_text::parse(input) else { return };
    let mut text = String::new();
    for entry in &entries {
        properties_text::write_entry(&entry.key, &entry.value, &mut text);
    }
    // A unit of sixteen bits takes six letters, and came in one byte at least.
    assert!(text.len() <= 6 * input.len() + 2 * entries.len());
    let again = properties_text::parse(text.as_bytes()).expect("what was written can be read");
    let pair = |entry: &properties_text::Entry| (entry.key.clone(), entry.value.clone());
    assert!(again.iter().map(pair).eq(entries.iter().map(pair)), "{text:?}");
}
