//! Messages as a pull answer carries them: the bytes of the commit log.

use std::collections::BTreeMap;

/// First word of a record with one byte of topic length.
const MAGIC_V1: u32 = 0xdaa3_20a7;
/// First word of a record with two bytes of topic length.
const MAGIC_V2: u32 = 0xdaa3_20ab;
const SYS_FLAG_BORN_HOST_V6: i32 = 0x10;
const SYS_FLAG_STORE_HOST_V6: i32 = 0x20;
const SYS_FLAG_INNER_BATCH: i32 = 0x80;
/// Between a property's name and its value.
const NAME_VALUE: char = '\u{1}';
/// Between properties.
const PROPERTY: char = '\u{2}';

/// One stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the stored fields say it")]
pub struct Record {
    pub topic: String,
    pub queue_id: i32,
    pub queue_offset: i64,
    pub phy_offset: i64,
    pub flag: i32,
    pub sys_flag: i32,
    pub body_crc: i32,
    pub born_timestamp_ms: i64,
    pub born_host: Vec<u8>,
    pub store_timestamp_ms: i64,
    pub store_host: Vec<u8>,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub body: Vec<u8>,
    pub properties: BTreeMap<String, String>,
}

impl Record {
    /// Reads every record of a pull body.
    ///
    /// # Panics
    /// On bytes that are not whole records.
    #[must_use]
    pub fn decode_all(bytes: &[u8]) -> Vec<Self> {
        let mut records = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let size = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let (record, after) = rest.split_at(size);
            records.push(Self::decode(record));
            rest = after;
        }
        records
    }

    fn decode(bytes: &[u8]) -> Self {
        let mut input = Input { rest: &bytes[4..] };
        let magic = input.int() as u32;
        assert!(magic == MAGIC_V1 || magic == MAGIC_V2, "magic {magic:#x}");
        let body_crc = input.int();
        let queue_id = input.int();
        let flag = input.int();
        let queue_offset = input.long();
        let phy_offset = input.long();
        let sys_flag = input.int();
        let born_timestamp_ms = input.long();
        let born_host = input.host(sys_flag & SYS_FLAG_BORN_HOST_V6 != 0);
        let store_timestamp_ms = input.long();
        let store_host = input.host(sys_flag & SYS_FLAG_STORE_HOST_V6 != 0);
        let reconsume_times = input.int();
        let prepared_transaction_offset = input.long();
        let body_len = input.int() as usize;
        let body = input.take(body_len).to_vec();
        let topic_len =
            if magic == MAGIC_V2 { input.short() } else { usize::from(input.take(1)[0]) };
        let topic = String::from_utf8(input.take(topic_len).to_vec()).unwrap();
        let properties_len = input.short();
        let properties = String::from_utf8(input.take(properties_len).to_vec()).unwrap();
        assert!(input.rest.is_empty(), "{} bytes after the record", input.rest.len());
        Self {
            topic,
            queue_id,
            queue_offset,
            phy_offset,
            flag,
            sys_flag,
            body_crc,
            born_timestamp_ms,
            born_host,
            store_timestamp_ms,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            properties: parse_properties(&properties),
        }
    }

    /// How many messages it holds: one, unless a batch was stored as it came.
    ///
    /// # Panics
    /// When it does not say.
    #[must_use]
    pub fn messages(&self) -> i64 {
        if self.sys_flag & SYS_FLAG_INNER_BATCH == 0 {
            return 1;
        }
        self.properties["INNER_NUM"].parse().unwrap()
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

fn parse_properties(text: &str) -> BTreeMap<String, String> {
    text.split(PROPERTY)
        .filter_map(|pair| pair.split_once(NAME_VALUE))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, tail) = self.rest.split_at(len);
        self.rest = tail;
        head
    }

    fn short(&mut self) -> usize {
        usize::from(u16::from_be_bytes(self.take(2).try_into().unwrap()))
    }

    fn int(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    fn long(&mut self) -> i64 {
        i64::from_be_bytes(self.take(8).try_into().unwrap())
    }

    /// An address and its port.
    fn host(&mut self, v6: bool) -> Vec<u8> {
        self.take(if v6 { 20 } else { 8 }).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_split_at_the_separators_and_may_end_with_one() {
        let parsed = parse_properties("KEYS\u{1}a b\u{2}TAGS\u{1}t\u{2}");
        let expected = [("KEYS", "a b"), ("TAGS", "t")].map(|(k, v)| (k.into(), v.into()));
        assert_eq!(parsed, BTreeMap::from(expected));
    }
}
