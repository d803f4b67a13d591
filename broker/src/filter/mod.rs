//! Which messages of a queue a consumer wants.

mod bloom;
mod registry;
mod sql;

use std::sync::Arc;

use oxmq_protocol::message::{java_string_hash, properties};

pub(crate) use self::bloom::text as bits_text;
pub(crate) use self::registry::{ConsumerFilters, FilterProblem};
pub use self::sql::{SqlError, SqlFilter};

/// A compiled subscription. Tags are compared by hash, as in the reference: a false positive is
/// left to the client, which compares the text again.
///
/// Reference: `FilterAPI` (common), `ExpressionMessageFilter` (broker), 5.5.0.
#[derive(Clone, Debug)]
pub(crate) enum MessageFilter {
    /// Every message.
    All,
    /// Messages whose whole TAGS value has one of these hashes.
    Tags(Arc<[i32]>),
    /// Messages whose properties match an expression.
    Sql(Arc<SqlFilter>),
    /// Messages to try again that match what their group wants of the topic they came from.
    ///
    /// Reference: `ExpressionForRetryMessageFilter` (broker), 5.5.0.
    Retried {
        /// Where the expressions of that topic are.
        filters: Arc<ConsumerFilters>,
        /// The group.
        group: Box<str>,
    },
}

impl MessageFilter {
    /// Compiles a tag expression, `a || b`; nothing at all or `*` is everything, while blanks are no tag that
    /// a message could have. `None` when there is nothing but bars, which the reference cannot split.
    pub(crate) fn from_tags(expression: &str) -> Option<Self> {
        if matches!(expression, "" | "*") {
            return Some(Self::All);
        }
        let parts = expression.split("||");
        let tags = parts.clone().map(trim).filter(|tag| !tag.is_empty());
        let is_split = !parts.clone().all(str::is_empty);
        is_split.then(|| Self::Tags(tags.map(java_string_hash).collect()))
    }

    /// Takes hashes as they are; none at all is everything.
    pub(crate) fn from_codes(codes: impl IntoIterator<Item = i32>) -> Self {
        let codes: Arc<[i32]> = codes.into_iter().collect();
        if codes.is_empty() { Self::All } else { Self::Tags(codes) }
    }

    /// Whether there may be messages that are not wanted.
    pub(crate) fn leaves_out(&self) -> bool {
        !matches!(self, Self::All)
    }

    /// Tells whether a message with this tags code may be wanted, and what its `properties` say if
    /// that is what counts. Those of a damaged record cannot be read: it is not wanted then.
    pub(crate) fn matches<'a>(
        &self,
        tags_code: i64,
        properties: impl FnOnce() -> Option<&'a [u8]>,
    ) -> bool {
        match self {
            Self::All => true,
            Self::Tags(codes) => codes.iter().any(|&code| i64::from(code) == tags_code),
            Self::Sql(filter) => {
                filter.may_match(tags_code)
                    && properties().is_some_and(|properties| filter.matches(properties))
            }
            Self::Retried { filters, group } => properties().is_some_and(|properties| {
                let topic = properties::property_str(properties, properties::RETRY_TOPIC);
                let filter = topic.and_then(|topic| filters.find(group, topic));
                filter.is_none_or(|filter| filter.matches(properties))
            }),
        }
    }
}

/// As `String.trim` of Java: a wide space belongs to the tag, a control character does not.
fn trim(tag: &str) -> &str {
    tag.trim_matches(|character| character <= ' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxmq_protocol::message::tags_code;

    fn wants(filter: &MessageFilter, tags_code: i64) -> bool {
        filter.matches(tags_code, || panic!("tags need no properties"))
    }

    #[test]
    fn expression_matches_any_of_its_tags_and_nothing_else() {
        let filter = MessageFilter::from_tags(" TagA\x01||TagB|| ").unwrap();
        assert!(wants(&filter, tags_code("TagA")) && wants(&filter, tags_code("TagB")));
        assert!(!wants(&filter, tags_code("TagC")) && !wants(&filter, 0));
    }

    #[test]
    fn star_and_nothing_match_everything_and_blanks_nothing() {
        for expression in ["*", ""] {
            let filter = MessageFilter::from_tags(expression);
            assert!(matches!(filter, Some(MessageFilter::All)), "{expression:?}");
        }
        for expression in ["  ", "* ", " *", " || ", "\u{3000}TagA"] {
            let filter = MessageFilter::from_tags(expression).unwrap();
            assert!(!wants(&filter, tags_code("TagA")) && !wants(&filter, 0), "{expression:?}");
        }
        for expression in ["||", "||||"] {
            assert!(MessageFilter::from_tags(expression).is_none(), "{expression:?}");
        }
        assert!(matches!(MessageFilter::from_codes([]), MessageFilter::All));
    }
}
