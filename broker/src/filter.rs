//! Which messages of a queue a consumer wants.

use std::sync::Arc;

use oxmq_protocol::message::java_string_hash;

/// A compiled subscription. Tags are compared by hash, as in the reference: a false positive is left
/// to the client, which compares the text again.
///
/// Reference: `FilterAPI` (common), `DefaultMessageFilter` (store), 5.5.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MessageFilter {
    /// Every message.
    All,
    /// Messages whose whole TAGS value has one of these hashes.
    Tags(Arc<[i32]>),
}

impl MessageFilter {
    /// Compiles a tag expression, `a || b`; empty or `*` is everything.
    pub(crate) fn from_tags(expression: &str) -> Self {
        let tags = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        match expression.trim() {
            "" | "*" => Self::All,
            _ => Self::from_codes(tags.map(java_string_hash)),
        }
    }

    /// Takes hashes as they are; none at all is everything.
    pub(crate) fn from_codes(codes: impl IntoIterator<Item = i32>) -> Self {
        let codes: Arc<[i32]> = codes.into_iter().collect();
        if codes.is_empty() { Self::All } else { Self::Tags(codes) }
    }

    /// Tells whether a message with this tags code may be wanted.
    pub(crate) fn matches(&self, tags_code: i64) -> bool {
        match self {
            Self::All => true,
            Self::Tags(codes) => codes.iter().any(|&code| i64::from(code) == tags_code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxmq_protocol::message::tags_code;

    #[test]
    fn expression_matches_any_of_its_tags_and_nothing_else() {
        let filter = MessageFilter::from_tags(" TagA ||TagB|| ");
        assert!(filter.matches(tags_code("TagA")) && filter.matches(tags_code("TagB")));
        assert!(!filter.matches(tags_code("TagC")) && !filter.matches(0));
    }

    #[test]
    fn star_and_nothing_match_everything() {
        for expression in ["*", "", "  "] {
            assert_eq!(MessageFilter::from_tags(expression), MessageFilter::All);
        }
    }
}
