//! What an expression says of the tags of the messages that it matches.
//!
//! A queue has the hash of each message's tags beside the place of its record. Where an expression
//! wants certain tags, whatever else it wants, most of the others need no look into the log.

use std::collections::BTreeSet;

use oxmq_protocol::message::{java_string_hash, properties};

use super::expression::{Constant, Expression};

impl Expression {
    /// The hashes of all tags that a message may have which this is true for; nothing when tags
    /// alone never rule a message out.
    pub(super) fn tag_hashes(&self) -> Option<BTreeSet<i32>> {
        match self {
            Self::Equal(sides) => match &**sides {
                (Self::Property(name), Self::Constant(Constant::Text(tag)))
                | (Self::Constant(Constant::Text(tag)), Self::Property(name))
                    if is_tags(name) =>
                {
                    Some([java_string_hash(tag)].into())
                }
                _ => None,
            },
            Self::In { property, list, not: false } if is_tags(property) => {
                Some(list.iter().map(|tag| java_string_hash(tag)).collect())
            }
            // All have to be true: what one of them rules out is out.
            Self::And(parts) => {
                parts.iter().filter_map(Self::tag_hashes).reduce(|left, right| &left & &right)
            }
            Self::Or(parts) => {
                parts.iter().map(Self::tag_hashes).try_fold(BTreeSet::new(), |mut all, hashes| {
                    all.append(&mut hashes?);
                    Some(all)
                })
            }
            _ => None,
        }
    }
}

fn is_tags(property: &str) -> bool {
    property == properties::TAGS
}
