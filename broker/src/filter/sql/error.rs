//! Why an expression is none.

use super::lexer::{Token, TokenKind};

/// An expression that cannot be compiled. The text is the reference's, Java class included, as far
/// as it tells where and what: clients show it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SqlError(String);

impl SqlError {
    pub(super) fn lexical(line: usize, column: usize, found: &str, after: &str) -> Self {
        let comma = if found == "<EOF>" { "" } else { "," };
        Self(format!(
            "org.apache.rocketmq.filter.parser.TokenMgrError: Lexical error at line {line}, column \
             {column}.  Encountered: {found}{comma} after : \"{}\"",
            escape(after)
        ))
    }

    pub(super) fn unexpected(token: &Token<'_>, expected: &str) -> Self {
        let (line, column) = (token.line, token.column);
        let found = match token.kind {
            TokenKind::End => "<EOF>".to_owned(),
            kind => format!(" {} \"{} \"", kind.image(), escape(token.text)),
        };
        Self(format!(
            "org.apache.rocketmq.filter.parser.ParseException: Encountered \"{found}\" at line \
             {line}, column {column}.\nWas expecting {expected}"
        ))
    }

    pub(super) fn parse(text: &str) -> Self {
        Self(format!("org.apache.rocketmq.filter.parser.ParseException: {text}"))
    }

    pub(super) fn runtime(text: &str) -> Self {
        Self(format!("java.lang.RuntimeException: {text}"))
    }

    pub(super) fn number(text: &str) -> Self {
        Self(format!("java.lang.NumberFormatException: For input string: \"{text}\""))
    }

    pub(super) fn kind(kind: &str) -> Self {
        Self(format!("there are no filters of the kind {kind}"))
    }

    pub(super) fn limit(what: &str, limit: usize) -> Self {
        Self(format!("the expression has {what} than {limit}"))
    }
}

/// A text as the reference's parser quotes it.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{8}' => escaped.push_str("\\b"),
            '\u{c}' => escaped.push_str("\\f"),
            '\t' | '\n' | '\r' | '"' | '\'' | '\\' => escaped.extend(c.escape_default()),
            ' '..='~' => escaped.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    escaped.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    escaped
}
