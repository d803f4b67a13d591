//! Records against bytes of the reference, and against themselves.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use oxmq_protocol::message::{
    EncodeError, EncodeOptions, Message, MessageExt, RecordError, RecordView, encode_record,
    encoded_len, properties, record, sys_flag, tags_code_of_properties,
};
use proptest::prelude::*;

/// Written by the store of the reference, 5.3.3: topic `TopicA`, body `hello`.
const GOLDEN_V1: &str = "
    0000009d daa320a7 3610a686 00000001 00000007 0000000000000000 0000000000000000 00000000
    0000018bcfe56800 0a010203000015b3 000001a1fc56b423 0a01020400002a9f 00000002 0000000000000000
    00000005 68656c6c6f 06 546f70696341 0037
    4b455953016b31206b3202 554e49515f4b455901374630303030303130303031303030303030303030303031 02
    5441475301 54616741 02";

fn golden_v1() -> Vec<u8> {
    let digits: Vec<u8> = GOLDEN_V1.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn golden_message() -> MessageExt {
    MessageExt {
        topic: "TopicA".to_owned(),
        queue_id: 1,
        flag: 7,
        sys_flag: 0,
        queue_offset: 0,
        commit_log_offset: 0,
        born_timestamp_ms: 1_700_000_000_000,
        born_host: "10.1.2.3:5555".parse().unwrap(),
        store_timestamp_ms: 0x01a1_fc56_b423,
        store_host: "10.1.2.4:10911".parse().unwrap(),
        reconsume_times: 2,
        prepared_transaction_offset: 0,
        body: b"hello".to_vec(),
        properties: b"KEYS\x01k1 k2\x02UNIQ_KEY\x017F0000010001000000000001\x02TAGS\x01TagA\x02"
            .to_vec(),
    }
}

#[test]
fn record_of_the_reference_is_read() {
    let bytes = golden_v1();
    assert_eq!(bytes.len(), 157);
    assert_eq!(MessageExt::decode(&bytes), Ok(golden_message()));
    let view = RecordView::parse(&bytes).unwrap();
    assert_eq!(view.property(properties::KEYS), Some(&b"k1 k2"[..]));
    assert_eq!(tags_code_of_properties(view.properties()), 0x27_a807);
}

#[test]
fn record_equals_the_bytes_of_the_reference() {
    let mut bytes = Vec::new();
    golden_message().encode(&EncodeOptions::default(), &mut bytes).unwrap();
    assert_eq!(bytes, golden_v1());
}

#[test]
fn topic_over_127_bytes_makes_a_version_2_record() {
    let mut message = golden_message();
    message.topic = format!("%RETRY%{}", "g".repeat(123));
    let mut bytes = Vec::new();
    message.encode(&EncodeOptions::default(), &mut bytes).unwrap();
    assert_eq!(bytes[4..8], record::MAGIC_V2.to_be_bytes());
    assert_eq!(bytes[93..95], [0x00, 0x82]);
    assert_eq!(MessageExt::decode(&bytes), Ok(message.clone()));

    let only_v1 = EncodeOptions { version_by_topic_length: false, ..Default::default() };
    assert_eq!(message.encode(&only_v1, &mut bytes), Err(EncodeError::TopicTooLong(130)));
}

#[test]
fn ipv6_hosts_set_their_flags_and_take_20_bytes() {
    let mut message = golden_message();
    message.born_host = "[2001:db8::1]:5555".parse().unwrap();
    message.store_host = "[2001:db8::2]:10911".parse().unwrap();
    message.sys_flag = sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6;
    let mut bytes = Vec::new();
    message.encode(&EncodeOptions::default(), &mut bytes).unwrap();
    assert_eq!(bytes.len(), 157 + 24);
    assert_eq!(bytes[36..40], [0, 0, 0, 0x30]);
    assert_eq!(MessageExt::decode(&bytes), Ok(message));
}

#[test]
fn host_flags_of_the_sender_are_not_believed() {
    let mut message = golden_message();
    message.sys_flag = sys_flag::BORN_HOST_V6 | sys_flag::COMPRESSED;
    let mut bytes = Vec::new();
    message.encode(&EncodeOptions::default(), &mut bytes).unwrap();
    assert_eq!(RecordView::parse(&bytes).unwrap().sys_flag(), sys_flag::COMPRESSED);
}

#[test]
fn property_crc_covers_the_patched_record() {
    let options = EncodeOptions { append_property_crc: true, ..Default::default() };
    for text in [&b""[..], b"a\x011", b"a\x011\x02"] {
        let mut message = golden_message();
        message.properties = text.to_vec();
        message.queue_offset = 5;
        let mut bytes = Vec::new();
        message.encode(&options, &mut bytes).unwrap();
        let view = RecordView::parse(&bytes).unwrap();
        assert_eq!(view.verify_property_crc(), Ok(()));
        assert_eq!(view.property("a").is_some(), !text.is_empty());
        assert!(view.property(properties::CRC32).is_some());
        bytes[27] ^= 1;
        let view = RecordView::parse(&bytes).unwrap();
        assert_eq!(view.verify_property_crc(), Err(RecordError::PropertyCrc));
        assert_eq!(view.verify_body_crc(), Ok(()));
    }
}

#[test]
fn limits_hold_at_their_exact_number() {
    let options = EncodeOptions { max_message_bytes: 10, ..Default::default() };
    let properties = vec![b'x'; i16::MAX as usize + 1];
    let golden = golden_message();
    let message = Message { body: &[0; 10], properties: &[], ..golden.as_message() };
    assert_eq!(encoded_len(&message, &options), Ok(91 + 10 + 6));
    let eleven = Message { body: &[0; 11], ..message };
    assert_eq!(encoded_len(&eleven, &options), Err(EncodeError::BodyTooLarge(11)));
    let long = Message { properties: &properties, ..message };
    assert_eq!(encoded_len(&long, &options), Err(EncodeError::PropertiesTooLarge(32_768)));
    let just = Message { properties: &properties[1..], ..message };
    assert!(encoded_len(&just, &options).is_ok());
}

#[test]
fn blank_head_has_length_and_magic() {
    let head = record::blank_head(64);
    assert_eq!(head, [0, 0, 0, 0x40, 0xcb, 0xd4, 0x31, 0x94]);
    assert!(record::is_blank(&head));
    assert!(!record::is_blank(&head[..7]));
}

#[test]
fn damaged_body_fails_its_crc() {
    let mut bytes = golden_v1();
    bytes[88] ^= 1;
    assert!(matches!(MessageExt::decode(&bytes), Err(RecordError::BodyCrc { .. })));
}

#[test]
fn record_cut_at_any_byte_is_refused() {
    let bytes = golden_v1();
    for cut in 0..bytes.len() {
        assert!(RecordView::parse(&bytes[..cut]).is_err(), "cut at {cut}");
        assert_eq!(record::properties_of_record(&bytes[..cut]), None, "cut at {cut}");
    }
}

#[test]
fn properties_are_those_of_a_record_that_nothing_follows() {
    let mut bytes = golden_v1();
    let properties = RecordView::parse(&bytes).unwrap().properties();
    assert_eq!(record::properties_of_record(&bytes), Some(properties));
    bytes.push(0);
    assert!(RecordView::parse(&bytes).is_ok());
    assert_eq!(record::properties_of_record(&bytes), None);
}

/// With a user property of each of `values`, and the properties that `bytes` lead to when those of the first are known.
fn at_end(topic: &str, values: [&str; 2]) -> (Option<Vec<u8>>, Vec<u8>) {
    let [first, second] = values.map(|value| format!("UNIQ_KEY\u{1}0A\u{2}amount\u{1}{value}"));
    let message = Message { properties: second.as_bytes(), ..Message::new(topic, 0, b"body") };
    let mut bytes = Vec::new();
    encode_record(&message, &EncodeOptions::default(), &mut bytes).unwrap();
    let found = record::properties_at_end(&bytes, topic.as_bytes(), first.len());
    (found.map(<[u8]>::to_vec), second.into_bytes())
}

#[test]
fn end_of_a_record_tells_its_properties_where_they_are_about_as_long_as_others() {
    let long = "7".repeat(300);
    for values in [["1", "2"], ["12345678", ""], ["", "12345678"], [&long, &long[8..]]] {
        let (found, properties) = at_end("topic", values);
        assert_eq!(found, Some(properties), "{values:?}");
    }
    assert_eq!(at_end("topic", ["", "123456789"]).0, None);
    assert_eq!(at_end("topic", ["123456789", ""]).0, None);
    let (found, properties) = at_end(&"t".repeat(200), ["1", "2"]);
    assert_eq!(found, Some(properties), "a version 2 record");
    assert_eq!(at_end(&"t".repeat(300), ["1", "2"]).0, None, "a length that takes two bytes");
}

#[test]
fn end_of_a_record_of_another_topic_tells_nothing() {
    let bytes = golden_v1();
    let view = RecordView::parse(&bytes).unwrap();
    let (topic, count) = (view.topic(), view.properties().len());
    assert_eq!(record::properties_at_end(&bytes, topic.as_bytes(), count), Some(view.properties()));
    assert_eq!(record::properties_at_end(&bytes, &topic.as_bytes()[1..], count), None);
    assert_eq!(record::properties_at_end(&bytes, b"", count), None);
    for begin in 0..=bytes.len() {
        let _ = record::properties_at_end(&bytes[begin..], topic.as_bytes(), count);
    }
}

prop_compose! {
    fn any_host()(v6 in any::<bool>(), ip in any::<u128>(), port in any::<u16>()) -> SocketAddr {
        if v6 {
            SocketAddr::new(std::net::Ipv6Addr::from(ip).into(), port)
        } else {
            SocketAddr::new(std::net::Ipv4Addr::from(ip as u32).into(), port)
        }
    }
}

prop_compose! {
    fn any_message()(
        topic in "[a-zA-Z%_-]{1,200}",
        body in proptest::collection::vec(any::<u8>(), 0..300),
        properties in proptest::collection::vec(any::<u8>(), 0..100),
        numbers in any::<[i64; 4]>(),
        words in any::<[i32; 3]>(),
        transaction in 0..4_i32,
        born_host in any_host(),
        store_host in any_host(),
    ) -> MessageExt {
        let mut sys_flag = transaction << 2;
        sys_flag |= if born_host.is_ipv6() { sys_flag::BORN_HOST_V6 } else { 0 };
        sys_flag |= if store_host.is_ipv6() { sys_flag::STORE_HOST_V6 } else { 0 };
        MessageExt {
            topic, body, properties, born_host, store_host, sys_flag,
            queue_id: words[0], flag: words[1], reconsume_times: words[2],
            queue_offset: numbers[0], commit_log_offset: numbers[1],
            born_timestamp_ms: numbers[2], store_timestamp_ms: numbers[3],
            prepared_transaction_offset: numbers[0],
        }
    }
}

proptest! {
    #[test]
    fn every_message_comes_back_from_its_record(message in any_message()) {
        let mut bytes = Vec::new();
        message.encode(&EncodeOptions::default(), &mut bytes).unwrap();
        let length = encoded_len(&message.as_message(), &EncodeOptions::default()).unwrap();
        prop_assert_eq!(bytes.len(), length);
        let properties = RecordView::parse(&bytes).unwrap().properties();
        let at_end = record::properties_at_end(&bytes, message.topic.as_bytes(), properties.len());
        prop_assert_eq!(at_end, Some(properties));
        prop_assert_eq!(MessageExt::decode(&bytes), Ok(message));
    }

    #[test]
    fn mutated_records_never_panic(
        message in any_message(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = Vec::new();
        message.encode(&EncodeOptions::default(), &mut bytes).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        for count in [0, bytes.len(), message.properties.len()] {
            let found = record::properties_at_end(&bytes, message.topic.as_bytes(), count);
            prop_assert!(found.is_none_or(|found| bytes.ends_with(found)));
        }
        let found = record::properties_of_record(&bytes);
        if let Ok(view) = RecordView::parse(&bytes) {
            let whole = view.total_bytes() == bytes.len();
            prop_assert_eq!(found, whole.then(|| view.properties()));
            let _ = (view.body(), view.topic(), view.verify_body_crc(), view.verify_property_crc());
            let _ = (view.born_host(), view.store_host(), view.reconsume_times());
            let _ = properties::pairs(view.properties()).count();
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = RecordView::parse(&bytes);
        let _ = properties::pairs(&bytes).count();
        let mut edited = bytes;
        properties::set(&mut edited, "TAGS", b"t");
        prop_assert_eq!(properties::property(&edited, "TAGS"), Some(&b"t"[..]));
    }

    #[test]
    fn a_property_is_the_last_of_its_pairs(bytes in "[aab\u{1}\u{1}\u{2}\u{2}]{0,40}", name in "[ab]{1,2}") {
        let (bytes, name) = (bytes.as_bytes(), name.as_str());
        let last = properties::pairs(bytes).filter(|pair| pair.0 == name.as_bytes()).last();
        prop_assert_eq!(properties::property(bytes, name), last.map(|pair| pair.1));
    }
}
