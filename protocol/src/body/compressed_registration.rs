//! The registration that a broker with `compressedRegister=true` sends.
//!
//! One zlib stream around parts that each have their length in front:
//!
//! ```text
//! | length: 4 | data version, JSON |
//! | count: 4  | count times: | length: 4 | name readQueues writeQueues perm filterType attributes |
//! | length: 4 | filter servers, JSON |
//! | count: 4  | count times: | length: 4 | mapping of a static topic, JSON |     from 5.0.0
//! ```
//!
//! Reference: `RegisterBrokerBody`, `TopicConfig.decode`, 5.5.0.

use std::io::Read as _;

use flate2::read::ZlibDecoder;

use super::{RegisterBrokerBody, TopicConfig, TopicFilterType, TopicQueueMappingInfo};
use crate::fastjson::{self, FastjsonError};
use crate::limits::MAX_INFLATED_REGISTRATION_BYTES;

/// Version from which static topics follow.
///
/// Reference: `MQVersion.Version.V5_0_0` (common), 5.5.0.
const V5_0_0: i32 = 413;

/// A compressed registration that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CompressedBodyError {
    /// It is no zlib stream, or one cut short.
    #[error("not a zlib stream: {0}")]
    Inflate(#[source] std::io::Error),
    /// It inflates to more than any registration has.
    #[error("more than {MAX_INFLATED_REGISTRATION_BYTES} bytes once inflated")]
    TooLarge,
    /// A part is longer than what is left.
    #[error("it ends within {0}")]
    Short(&'static str),
    /// A part is not the JSON that it should be.
    #[error("{what}: {source}")]
    Json {
        /// The part.
        what: &'static str,
        /// What is wrong with it.
        source: FastjsonError,
    },
    /// A line of a topic lacks a column or has one of the wrong type.
    #[error("topic {0:?} is not a name, three numbers and a filter type")]
    Topic(String),
}

impl RegisterBrokerBody {
    /// Reads the compressed form as a broker of `version` writes it.
    ///
    /// # Errors
    /// When it cannot be inflated, is too large, or a part is malformed.
    pub fn decode_compressed(bytes: &[u8], version: i32) -> Result<Self, CompressedBodyError> {
        let inflated = inflate(bytes)?;
        let mut parts = Parts(&inflated);
        let mut body = Self::default();
        let wrapper = &mut body.topic_config_serialize_wrapper;
        wrapper.data_version = json("data version", parts.part("the data version")?)?;
        for _ in 0..parts.number("the number of topics")? {
            let topic = topic(&String::from_utf8_lossy(parts.part("a topic")?))?;
            wrapper.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        body.filter_server_list = json("filter servers", parts.part("the filter servers")?)?;
        if version >= V5_0_0 {
            for _ in 0..parts.number("the number of mappings")? {
                let mapping: TopicQueueMappingInfo = json("mapping", parts.part("a mapping")?)?;
                if let Some(topic) = mapping.topic.clone() {
                    wrapper.topic_queue_mapping_info_map.insert(topic, mapping);
                }
            }
        }
        Ok(body)
    }
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, CompressedBodyError> {
    let mut inflated = Vec::new();
    // One byte more than allowed tells that there are more.
    let limit = MAX_INFLATED_REGISTRATION_BYTES as u64 + 1;
    ZlibDecoder::new(bytes)
        .take(limit)
        .read_to_end(&mut inflated)
        .map_err(CompressedBodyError::Inflate)?;
    if inflated.len() > MAX_INFLATED_REGISTRATION_BYTES {
        return Err(CompressedBodyError::TooLarge);
    }
    Ok(inflated)
}

/// What is still to be read.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    /// A length or count. A negative one is longer than anything is.
    fn number(&mut self, what: &'static str) -> Result<usize, CompressedBodyError> {
        let (number, rest) = self.0.split_first_chunk().ok_or(CompressedBodyError::Short(what))?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number) as usize)
    }

    fn part(&mut self, what: &'static str) -> Result<&'a [u8], CompressedBodyError> {
        let length = self.number(what)?;
        let (part, rest) =
            self.0.split_at_checked(length).ok_or(CompressedBodyError::Short(what))?;
        self.0 = rest;
        Ok(part)
    }
}

fn json<T: serde::de::DeserializeOwned>(
    what: &'static str,
    part: &[u8],
) -> Result<T, CompressedBodyError> {
    fastjson::from_slice(part).map_err(|source| CompressedBodyError::Json { what, source })
}

fn topic(line: &str) -> Result<TopicConfig, CompressedBodyError> {
    let mut columns = line.splitn(6, ' ');
    let mut next = || columns.next();
    let parsed = (|| {
        let topic_name = next()?.to_owned();
        let read_queue_nums = next()?.parse().ok()?;
        let write_queue_nums = next()?.parse().ok()?;
        let perm = next()?.parse().ok()?;
        let topic_filter_type = match next()? {
            "SINGLE_TAG" => TopicFilterType::SingleTag,
            "MULTI_TAG" => TopicFilterType::MultiTag,
            _ => return None,
        };
        Some(TopicConfig {
            read_queue_nums,
            write_queue_nums,
            perm,
            topic_filter_type,
            // The reference, too, takes attributes that do not read for none.
            attributes: next()
                .and_then(|text| fastjson::from_slice(text.as_bytes()).ok())
                .unwrap_or_default(),
            ..TopicConfig::new(topic_name)
        })
    })();
    parsed.ok_or_else(|| CompressedBodyError::Topic(line.chars().take(64).collect()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write as _;

    use super::*;
    use crate::body::DataVersion;

    const PLAIN: &[u8] = include_bytes!("../../tests/golden/register_broker_compressed_plain.bin");
    const FULL: &[u8] = include_bytes!("../../tests/golden/register_broker_compressed_full.bin");

    fn deflate(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn body_of_the_reference_reads_with_all_its_parts() {
        let body = RegisterBrokerBody::decode_compressed(PLAIN, 513).unwrap();
        let wrapper = &body.topic_config_serialize_wrapper;
        assert_eq!(wrapper.data_version, DataVersion { timestamp: 7, ..DataVersion::default() });
        let topic = &wrapper.topic_config_table["T"];
        assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (3, 4, 6));
        assert_eq!(wrapper.topic_config_table["U"].perm, 4);
        assert!(topic.attributes.is_empty() && body.filter_server_list.is_empty());

        let body = RegisterBrokerBody::decode_compressed(FULL, 513).unwrap();
        let wrapper = &body.topic_config_serialize_wrapper;
        let attributes = &wrapper.topic_config_table["T"].attributes;
        assert_eq!(attributes, &BTreeMap::from([("message.type".into(), "FIFO".into())]));
        assert_eq!(body.filter_server_list, ["f:1"]);
        let mapping = &wrapper.topic_queue_mapping_info_map["T"];
        assert_eq!((mapping.total_queues, mapping.epoch), (8, 5));
        assert_eq!(mapping.curr_id_map, BTreeMap::from([(0, 1)]));
    }

    #[test]
    fn broker_before_5_0_sends_no_mappings() {
        let body = RegisterBrokerBody::decode_compressed(FULL, 409).unwrap();
        let wrapper = &body.topic_config_serialize_wrapper;
        assert_eq!(wrapper.topic_config_table.len(), 2);
        assert!(wrapper.topic_queue_mapping_info_map.is_empty());
    }

    #[test]
    fn body_cut_anywhere_is_an_error() {
        let whole = FULL;
        let inflated = inflate(whole).unwrap();
        // The last four bytes are the stream's checksum, behind everything that is read.
        for cut in 0..whole.len() - 4 {
            assert!(RegisterBrokerBody::decode_compressed(&whole[..cut], 513).is_err(), "{cut}");
        }
        for cut in 0..inflated.len() {
            let result = RegisterBrokerBody::decode_compressed(&deflate(&inflated[..cut]), 513);
            assert!(result.is_err(), "{cut}");
        }
    }

    #[test]
    fn body_that_inflates_without_end_is_refused() {
        let bomb = deflate(&vec![0; MAX_INFLATED_REGISTRATION_BYTES + 1]);
        let result = RegisterBrokerBody::decode_compressed(&bomb, 513);
        assert!(matches!(result, Err(CompressedBodyError::TooLarge)));
    }

    #[test]
    fn malformed_parts_are_named() {
        let part = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
        let fail = |parts: &[&[u8]]| {
            let result = RegisterBrokerBody::decode_compressed(&deflate(&parts.concat()), 0);
            result.unwrap_err().to_string()
        };
        let version = part("{}");
        assert_eq!(fail(&[&part("{")]), "data version: expected a value at byte 1");
        assert_eq!(fail(&[&version, &[0xff; 4]]), "it ends within a topic");
        let one = [0, 0, 0, 1];
        for line in ["T", "T 1 2 x SINGLE_TAG", "T 1 2 3 NO_TAG", ""] {
            let expected = format!("topic {line:?} is not a name, three numbers and a filter type");
            assert_eq!(fail(&[&version, &one, &part(line)]), expected);
        }
    }
}
