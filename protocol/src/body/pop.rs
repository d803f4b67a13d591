//! What is noted about messages that were popped, in requests and in the messages of the revive topic.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Body of `BATCH_ACK_MESSAGE` (200151).
///
/// Reference: `BatchAckMessageRequestBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BatchAckMessageRequestBody {
    /// Broker that the messages were popped from.
    pub broker_name: Option<String>,
    /// One entry for each pop of a queue.
    pub acks: Vec<BatchAck>,
}

/// Messages of one pop of a queue that are done.
///
/// Reference: `BatchAck` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchAck {
    /// Group that has worked them off.
    #[serde(rename = "c", alias = "consumerGroup")]
    pub consumer_group: String,
    /// Topic that was popped.
    #[serde(rename = "t", alias = "topic")]
    pub topic: String,
    /// Which of the topic's own and its retry topics it was, as in a receipt.
    #[serde(rename = "r", alias = "retry")]
    pub retry: String,
    /// Where the pop of the queue began.
    #[serde(rename = "so", alias = "startOffset")]
    pub start_offset: i64,
    /// The queue.
    #[serde(rename = "q", alias = "queueId")]
    pub queue_id: i32,
    /// Queue of the revive topic.
    #[serde(rename = "rq", alias = "reviveQueueId")]
    pub revive_queue_id: i32,
    /// When they were popped, ms since 1970.
    #[serde(rename = "pt", alias = "popTime")]
    pub pop_time: i64,
    /// For how long, ms.
    #[serde(rename = "it", alias = "invisibleTime")]
    pub invisible_time: i64,
    /// Bit n is the message `start_offset + n`.
    #[serde(rename = "b", alias = "bitSet", with = "bit_set")]
    pub bit_set: Vec<u8>,
}

impl BatchAck {
    /// Distances from the start of the messages that are done.
    pub fn distances(&self) -> impl Iterator<Item = i64> {
        let bytes = self.bit_set.iter().enumerate();
        bytes.flat_map(|(at, byte)| {
            (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| at as i64 * 8 + bit)
        })
    }
}

/// Bytes with the lowest bit first, as Base64.
mod bit_set {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::base64;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&base64::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = Option::<String>::deserialize(from)?.unwrap_or_default();
        base64::decode(&text).ok_or_else(|| D::Error::custom("a bit set is not Base64"))
    }
}

/// Which messages of a queue one pop has given out: body of a `ck` message of the revive topic.
///
/// Reference: `PopCheckPoint` (store), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PopCheckPoint {
    /// Bit n: the n-th message is done.
    #[serde(rename = "bm")]
    pub bit_map: i32,
    /// Broker that gave them out.
    #[serde(rename = "bn", skip_serializing_if = "Option::is_none")]
    pub broker_name: Option<String>,
    /// Group that they were given to.
    #[serde(rename = "c")]
    pub consumer_group: String,
    /// Distance of each from the start; without, they follow each other.
    #[serde(rename = "d", skip_serializing_if = "Option::is_none")]
    pub queue_offset_diff: Option<Vec<i32>>,
    /// For how long, ms.
    #[serde(rename = "it")]
    pub invisible_time: i64,
    /// How many they are.
    #[serde(rename = "n")]
    pub num: i8,
    /// When, ms since 1970.
    #[serde(rename = "pt")]
    pub pop_time: i64,
    /// Their queue.
    #[serde(rename = "q")]
    pub queue_id: i32,
    /// When they are due again; derived from the others.
    #[serde(rename = "reviveTime", skip_deserializing)]
    pub revive_time: i64,
    /// Offset of this in the revive topic, while it is looked at.
    #[serde(rename = "ro")]
    pub revive_offset: i64,
    /// How often this was stored again.
    #[serde(rename = "rp", skip_serializing_if = "Option::is_none")]
    pub re_put_times: Option<String>,
    /// Where the pop began.
    #[serde(rename = "so")]
    pub start_offset: i64,
    /// Whether they come again as if they had not been given out.
    #[serde(rename = "sp")]
    pub suspend: bool,
    /// Topic that was popped, perhaps one of messages to try again.
    #[serde(rename = "t")]
    pub topic: String,
}

impl PopCheckPoint {
    /// Offsets of the messages.
    pub fn offsets(&self) -> Vec<i64> {
        let count = usize::try_from(self.num).unwrap_or(0);
        match self.queue_offset_diff.as_deref() {
            None | Some([]) => {
                (0..count as i64).map(|n| self.start_offset.saturating_add(n)).collect()
            }
            Some(diffs) => {
                let diffs = diffs.iter().take(count);
                diffs.map(|diff| self.start_offset.saturating_add((*diff).into())).collect()
            }
        }
    }
}

/// A message that is done: body of an `ack` message of the revive topic, and with `aol` of a `bAck`
/// message, which names many.
///
/// Reference: `AckMsg`, `BatchAckMsg` (store), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AckMsg {
    /// Its offset; -1 when `aol` is there.
    #[serde(rename = "ao", alias = "ackOffset")]
    pub ack_offset: i64,
    /// The offsets of many.
    #[serde(rename = "aol", alias = "ackOffsetList", skip_serializing_if = "Option::is_none")]
    pub ack_offset_list: Option<Vec<i64>>,
    /// Broker that gave it out.
    #[serde(rename = "bn", alias = "brokerName", skip_serializing_if = "Option::is_none")]
    pub broker_name: Option<String>,
    /// Group that has worked it off.
    #[serde(rename = "c", alias = "consumerGroup")]
    pub consumer_group: String,
    /// When it was popped, ms since 1970.
    #[serde(rename = "pt", alias = "popTime")]
    pub pop_time: i64,
    /// Its queue.
    #[serde(rename = "q", alias = "queueId")]
    pub queue_id: i32,
    /// Where the pop began.
    #[serde(rename = "so", alias = "startOffset")]
    pub start_offset: i64,
    /// Topic that was popped, perhaps one of messages to try again.
    #[serde(rename = "t", alias = "topic")]
    pub topic: String,
}

/// `consumerOrderInfo.json`: what groups that consume in order were given of each queue.
///
/// Reference: `ConsumerOrderInfoManager` (broker), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumerOrderTable {
    /// By `topic@group` and queue.
    pub table: BTreeMap<String, BTreeMap<i32, OrderInfo>>,
}

/// Messages of a queue that were given out in order.
///
/// Reference: `ConsumerOrderInfoManager.OrderInfo` (broker), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrderInfo {
    /// The attempt that they were given to.
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    pub attempt_id: Option<String>,
    /// Bit n: the n-th is done.
    #[serde(rename = "cm")]
    pub commit_offset_bit: i64,
    /// For how long, ms.
    #[serde(rename = "i", skip_serializing_if = "Option::is_none")]
    pub invisible_time: Option<i64>,
    /// When this changed last, ms since 1970.
    #[serde(rename = "l")]
    pub last_consume_timestamp: i64,
    /// Offset of the first, then the distance of each other from it.
    #[serde(rename = "o")]
    pub offset_list: Vec<i64>,
    /// How often each was given out before, by offset; those that were not are left out.
    #[serde(rename = "oc", skip_serializing_if = "Option::is_none")]
    pub offset_consumed_count: Option<BTreeMap<i64, i32>>,
    /// When each is due again that has a time of its own, by offset.
    #[serde(rename = "ot", skip_serializing_if = "Option::is_none")]
    pub offset_next_visible_time: Option<BTreeMap<i64, i64>>,
    /// When they were popped, ms since 1970.
    #[serde(rename = "popTime")]
    pub pop_time: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fastjson::{self, Dialect};

    fn written(value: &impl Serialize) -> String {
        String::from_utf8(fastjson::to_vec(value, Dialect::Raw).unwrap()).unwrap()
    }

    #[test]
    fn check_point_has_the_members_of_the_reference() {
        let point = PopCheckPoint {
            broker_name: Some("b".to_owned()),
            consumer_group: "g".to_owned(),
            queue_offset_diff: Some(vec![0, 2]),
            invisible_time: 30,
            num: 2,
            pop_time: 100,
            queue_id: 3,
            revive_time: 130,
            start_offset: 7,
            topic: "t".to_owned(),
            ..PopCheckPoint::default()
        };
        let text = r#"{"bm":0,"bn":"b","c":"g","d":[0,2],"it":30,"n":2,"pt":100,"q":3,"reviveTime":130,"ro":0,"so":7,"sp":false,"t":"t"}"#;
        assert_eq!(written(&point), text);
        let read: PopCheckPoint = fastjson::from_slice(text.as_bytes()).unwrap();
        assert_eq!(read, PopCheckPoint { revive_time: 0, ..point });
        assert_eq!(read.offsets(), [7, 9]);
        let old: PopCheckPoint = fastjson::from_slice(br#"{"n":3,"so":5}"#).unwrap();
        assert_eq!(old.offsets(), [5, 6, 7]);
        let odd: PopCheckPoint = fastjson::from_slice(br#"{"n":-3,"so":5,"d":[1]}"#).unwrap();
        assert!(odd.offsets().is_empty());
    }

    #[test]
    fn ack_is_read_with_short_names_and_long_ones() {
        let ack = AckMsg { ack_offset: 9, topic: "t".to_owned(), ..AckMsg::default() };
        assert_eq!(written(&ack), r#"{"ao":9,"c":"","pt":0,"q":0,"so":0,"t":"t"}"#);
        let long = br#"{"ackOffset":9,"topic":"t"}"#;
        assert_eq!(fastjson::from_slice::<AckMsg>(long).unwrap(), ack);
        let many: AckMsg = fastjson::from_slice(br#"{"ao":-1,"aol":[4,6]}"#).unwrap();
        assert_eq!(many.ack_offset_list, Some(vec![4, 6]));
    }

    #[test]
    fn bit_set_of_a_batch_is_base64_with_the_lowest_bit_first() {
        let text =
            r#"{"acks":[{"c":"g","t":"t","r":"0","so":5,"q":1,"rq":2,"pt":3,"it":4,"b":"BQE="}]}"#;
        let body: BatchAckMessageRequestBody = fastjson::from_slice(text.as_bytes()).unwrap();
        assert_eq!(body.acks[0].distances().collect::<Vec<_>>(), [0, 2, 8]);
        assert!(written(&body).contains(r#""b":"BQE=""#));
        let none: BatchAck = fastjson::from_slice(br#"{"c":"g"}"#).unwrap();
        assert_eq!(none.distances().count(), 0);
        assert!(fastjson::from_slice::<BatchAck>(br#"{"b":"?"}"#).is_err());
    }

    #[test]
    fn order_table_has_bare_numbers_for_keys() {
        let text = r#"{"table":{"t@g":{0:{"cm":1,"i":30,"l":9,"o":[5,1],"oc":{5:1},"ot":{6:99},"popTime":8}}}}"#;
        let table: ConsumerOrderTable = fastjson::from_slice(text.as_bytes()).unwrap();
        assert_eq!(table.table["t@g"][&0].offset_list, [5, 1]);
        assert_eq!(written(&table), text);
    }
}
