//! SQL92 expressions over the properties of a message.
//!
//! An expression is compiled once per subscription and evaluated on the property bytes as they lie
//! in the log; nothing is copied. A property's value is text: it becomes a number when it is
//! compared with one. What is missing is NULL, and NULL makes most things neither true nor false.
//!
//! Reference: package `org.apache.rocketmq.filter`, 5.5.0.

mod error;
mod evaluate;
mod expression;
mod lexer;
mod limits;
mod number;
mod parser;
mod tags;
#[cfg(test)]
mod tests;

pub use self::error::SqlError;
use self::expression::Expression;

/// A compiled expression.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlFilter {
    root: Expression,
    /// Hashes of the tags that a message may have; nothing when that does not matter.
    tag_hashes: Option<Box<[i32]>>,
}

/// What clients call these expressions.
const KIND: &str = "SQL92";

impl SqlFilter {
    /// Compiles an expression.
    ///
    /// # Errors
    /// When it is none, or too large.
    pub fn compile(text: &str) -> Result<Self, SqlError> {
        let root = parser::parse(text)?;
        let tag_hashes = root.tag_hashes().map(|hashes| hashes.into_iter().collect());
        Ok(Self { root, tag_hashes })
    }

    /// Compiles an expression of the kind that a client names.
    ///
    /// # Errors
    /// As [`SqlFilter::compile`], and for kinds that nothing here compiles, such as classes.
    pub(crate) fn compile_as(kind: &str, text: &str) -> Result<Self, SqlError> {
        if kind != KIND {
            return Err(SqlError::kind(kind));
        }
        Self::compile(text)
    }

    /// Tells whether a message with this tags code may be wanted, for all that the code tells. A code
    /// that is no hash, as a delayed message has its time of delivery instead, tells nothing.
    pub(crate) fn may_match(&self, tags_code: i64) -> bool {
        match (&self.tag_hashes, i32::try_from(tags_code)) {
            (Some(hashes), Ok(hash)) => hashes.binary_search(&hash).is_ok(),
            _ => true,
        }
    }

    /// Tells whether a message with these encoded properties is wanted. One that cannot be compared
    /// is not.
    pub fn matches(&self, properties: &[u8]) -> bool {
        self.root.matches(properties).unwrap_or(false)
    }
}
