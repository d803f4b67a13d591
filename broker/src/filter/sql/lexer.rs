//! Text to tokens.
//!
//! Reference: token section of `SelectorParser` (filter), 5.5.0.

use super::error::SqlError;

/// One token with where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind,
    pub(super) text: &'a str,
    /// From 1; 0 behind an empty text.
    pub(super) line: usize,
    /// In characters, from 1.
    pub(super) column: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    End,
    Not,
    And,
    Or,
    Between,
    In,
    True,
    False,
    Null,
    Is,
    Contains,
    StartsWith,
    EndsWith,
    Decimal,
    Float,
    String,
    Identifier,
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    Open,
    Comma,
    Close,
    Plus,
    Minus,
}

/// Reserved words, in any case.
const WORDS: [(&str, TokenKind); 12] = [
    ("NOT", TokenKind::Not),
    ("AND", TokenKind::And),
    ("OR", TokenKind::Or),
    ("BETWEEN", TokenKind::Between),
    ("IN", TokenKind::In),
    ("TRUE", TokenKind::True),
    ("FALSE", TokenKind::False),
    ("NULL", TokenKind::Null),
    ("IS", TokenKind::Is),
    ("CONTAINS", TokenKind::Contains),
    ("STARTSWITH", TokenKind::StartsWith),
    ("ENDSWITH", TokenKind::EndsWith),
];

/// Longer signs first: `<=` is not `<` and `=`.
const SIGNS: [(&str, TokenKind); 11] = [
    ("<>", TokenKind::NotEqual),
    (">=", TokenKind::GreaterEqual),
    ("<=", TokenKind::LessEqual),
    ("=", TokenKind::Equal),
    (">", TokenKind::Greater),
    ("<", TokenKind::Less),
    ("(", TokenKind::Open),
    (",", TokenKind::Comma),
    (")", TokenKind::Close),
    ("+", TokenKind::Plus),
    ("-", TokenKind::Minus),
];

impl TokenKind {
    /// How the reference's errors call this kind.
    pub(super) fn image(self) -> String {
        match self {
            Self::End => "<EOF>".to_owned(),
            Self::Decimal => "<DECIMAL_LITERAL>".to_owned(),
            Self::Float => "<FLOATING_POINT_LITERAL>".to_owned(),
            Self::String => "<STRING_LITERAL>".to_owned(),
            Self::Identifier => "<ID>".to_owned(),
            _ => {
                let named = WORDS.iter().chain(&SIGNS).find(|(_, kind)| *kind == self);
                format!("\"{}\"", named.map_or("", |(text, _)| text))
            }
        }
    }
}

/// Reads tokens when they are asked for: what stands behind the end of an expression is never
/// looked at, as in the reference.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text, line: 1, column: 1 }
    }

    pub(super) fn next(&mut self) -> Result<Token<'a>, SqlError> {
        self.skip_blanks();
        let Some(first) = self.rest.chars().next() else {
            return Ok(self.end());
        };
        let (kind, bytes) = match first {
            '\'' => (TokenKind::String, self.string()?),
            '0'..='9' | '.' => self.number()?,
            'a'..='z' | 'A'..='Z' | '_' | '$' => self.word(),
            _ => SIGNS
                .iter()
                .find(|(sign, _)| self.rest.starts_with(sign))
                .map(|(sign, kind)| (*kind, sign.len()))
                .ok_or_else(|| self.unknown(first, ""))?,
        };
        let (text, line, column) = (&self.rest[..bytes], self.line, self.column);
        self.advance(bytes);
        Ok(Token { kind, text, line, column })
    }

    /// The end stands where the last character does.
    fn end(&self) -> Token<'a> {
        let empty = (self.line, self.column) == (1, 1);
        let line = if empty { 0 } else { self.line };
        Token { kind: TokenKind::End, text: "", line, column: self.column - 1 }
    }

    fn skip_blanks(&mut self) {
        loop {
            let blank = self.rest.starts_with([' ', '\t', '\n', '\r', '\x0c']);
            let bytes = if blank { Some(1) } else { self.line_comment().or(self.block_comment()) };
            let Some(bytes) = bytes else { return };
            self.advance(bytes);
        }
    }

    /// A comment of this kind needs the end of its line; without one its dashes are signs.
    fn line_comment(&self) -> Option<usize> {
        let comment = self.rest.strip_prefix("--")?;
        Some(2 + comment.find(['\n', '\r'])? + 1)
    }

    fn block_comment(&self) -> Option<usize> {
        let comment = self.rest.strip_prefix("/*")?;
        Some(2 + comment.find("*/")? + 2)
    }

    /// Up to the closing quote; two of them are one in the text.
    fn string(&self) -> Result<usize, SqlError> {
        let bytes = self.rest.as_bytes();
        let mut at = 1;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            if byte == b'\'' {
                if bytes.get(at) != Some(&b'\'') {
                    return Ok(at);
                }
                at += 1;
            }
        }
        Err(self.unfinished())
    }

    /// A token that the text ends within.
    fn unfinished(&self) -> SqlError {
        let mut end = self.clone();
        end.advance(self.rest.len());
        SqlError::lexical(end.line, end.column, "<EOF>", self.rest)
    }

    fn number(&self) -> Result<(TokenKind, usize), SqlError> {
        let bytes = self.rest.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let whole = digits(0);
        let mut at = whole;
        let mut float = false;
        if bytes.get(at) == Some(&b'.') {
            let fraction = digits(at + 1);
            if whole + fraction == 0 {
                let after = self.rest[1..].chars().next();
                let Some(after) = after else {
                    return Err(SqlError::lexical(self.line, self.column, "<EOF>", "."));
                };
                return Err(self.unknown(after, "."));
            }
            float = true;
            at += 1 + fraction;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let exponent = digits((at + 1 + sign).min(bytes.len()));
            if exponent > 0 {
                return Ok((TokenKind::Float, at + 1 + sign + exponent));
            }
        }
        if float {
            return Ok((TokenKind::Float, at));
        }
        // A number that begins with 0 is 0; what follows is the next one.
        if bytes[0] == b'0' {
            return Ok((TokenKind::Decimal, 1));
        }
        let long = usize::from(matches!(bytes.get(at), Some(b'l' | b'L')));
        Ok((TokenKind::Decimal, at + long))
    }

    fn word(&self) -> (TokenKind, usize) {
        let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let text = &self.rest[..end];
        let known = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        (known.map_or(TokenKind::Identifier, |(_, kind)| *kind), end)
    }

    fn advance(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes);
        for c in passed.chars() {
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.rest = rest;
    }

    fn unknown(&self, found: char, after: &str) -> SqlError {
        if self.rest.starts_with("/*") {
            return self.unfinished();
        }
        let column = self.column + after.chars().count();
        // The reference counts on when nothing follows.
        if self.rest.len() == after.len() + found.len_utf8() {
            return SqlError::lexical(self.line, column + 1, "<EOF>", after);
        }
        let found = format!("\"{found}\" ({})", u32::from(found));
        SqlError::lexical(self.line, column, &found, after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        let mut lexer = Lexer::new(text);
        let mut kinds = Vec::new();
        loop {
            let token = lexer.next().unwrap();
            kinds.push(token.kind);
            if token.kind == TokenKind::End {
                return kinds;
            }
        }
    }

    #[test]
    fn words_are_reserved_in_any_case() {
        use TokenKind::*;
        assert_eq!(kinds("not NoT nota"), [Not, Not, Identifier, End]);
        assert_eq!(kinds("a<>b<=1"), [Identifier, NotEqual, Identifier, LessEqual, Decimal, End]);
    }

    #[test]
    fn numbers_end_where_those_of_the_reference_do() {
        use TokenKind::*;
        assert_eq!(
            kinds("5 5. .5 5e1 5.5E-3 10L"),
            [Decimal, Float, Float, Float, Float, Decimal, End]
        );
        assert_eq!(kinds("007"), [Decimal, Decimal, Decimal, End]);
        assert_eq!(kinds("007.5"), [Float, End]);
        assert_eq!(kinds("5e 0L"), [Decimal, Identifier, Decimal, Identifier, End]);
    }

    #[test]
    fn comments_are_skipped_when_they_end() {
        use TokenKind::*;
        assert_eq!(kinds("/* a ** */ x -- y\n z"), [Identifier, Identifier, End]);
        assert_eq!(kinds("x --y"), [Identifier, Minus, Minus, Identifier, End]);
    }

    #[test]
    fn what_is_no_token_is_named_with_its_place() {
        let error = Lexer::new(" ~ a").next().unwrap_err().to_string();
        assert_eq!(
            error,
            "org.apache.rocketmq.filter.parser.TokenMgrError: Lexical error at line 1, column 2.  \
             Encountered: \"~\" (126), after : \"\""
        );
        let error = Lexer::new("'ab").next().unwrap_err().to_string();
        assert!(error.ends_with("column 4.  Encountered: <EOF> after : \"\\'ab\""), "{error}");
    }
}
