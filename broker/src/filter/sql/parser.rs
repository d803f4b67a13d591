//! Tokens to an expression.
//!
//! ```text
//! or       and (OR and)*
//! and      equality (AND equality)*
//! equality comparison (= comparison | <> comparison | IS NULL | IS NOT NULL)*
//! comparison unary (< <= > >= unary | [NOT] BETWEEN unary AND unary | [NOT] IN (text, ...)
//!                   | [NOT] CONTAINS text | [NOT] STARTSWITH text | [NOT] ENDSWITH text)*
//! unary    + unary | - unary | NOT unary | literal | property | (or)
//! ```
//!
//! What follows a whole expression is not looked at, and NOT binds closer than `=`: both are what
//! the reference does.
//!
//! Reference: `SelectorParser` (filter), 5.5.0.

use super::error::SqlError;
use super::expression::{Constant, Expression, Order, TextMatch};
use super::lexer::{Lexer, Token, TokenKind};
use super::limits::{MAX_SQL_BYTES, MAX_SQL_DEPTH};
use super::number;

/// Compiles `text`.
pub(super) fn parse(text: &str) -> Result<Expression, SqlError> {
    if text.len() > MAX_SQL_BYTES {
        return Err(SqlError::limit("more bytes", MAX_SQL_BYTES));
    }
    let mut parser = Parser { lexer: Lexer::new(text), ahead: None, depth: 0 };
    let expression = parser.or()?.into_truth()?;
    expression.check_depth(MAX_SQL_DEPTH)?;
    Ok(expression)
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token that comes next, once it has been looked at.
    ahead: Option<Token<'a>>,
    depth: usize,
}

type Parsed = Result<Expression, SqlError>;

impl<'a> Parser<'a> {
    fn or(&mut self) -> Parsed {
        let mut left = self.and()?;
        while self.take(TokenKind::Or)? {
            left = Expression::or(left, self.and()?)?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed {
        let mut left = self.equality()?;
        while self.take(TokenKind::And)? {
            left = Expression::and(left, self.equality()?)?;
        }
        Ok(left)
    }

    fn equality(&mut self) -> Parsed {
        let mut left = self.comparison()?;
        // A long chain nests to the left without any recursion here.
        for _ in 0..=MAX_SQL_DEPTH {
            left = match self.peek()? {
                TokenKind::Equal => {
                    self.advance()?;
                    Expression::equal(left, self.comparison()?)?
                }
                TokenKind::NotEqual => {
                    self.advance()?;
                    Expression::not_equal(left, self.comparison()?)?
                }
                TokenKind::Is => {
                    self.advance()?;
                    let not = self.take(TokenKind::Not)?;
                    self.expect(TokenKind::Null, if not { "NULL" } else { "NULL or NOT" })?;
                    Expression::is_null(left, not)
                }
                _ => return Ok(left),
            };
        }
        Err(SqlError::limit("more levels", MAX_SQL_DEPTH))
    }

    fn comparison(&mut self) -> Parsed {
        let mut left = self.unary()?;
        for _ in 0..=MAX_SQL_DEPTH {
            let not = match self.peek()? {
                TokenKind::Greater
                | TokenKind::GreaterEqual
                | TokenKind::Less
                | TokenKind::LessEqual => {
                    let order = order_of(self.advance()?.kind);
                    left = Expression::compare(order, left, self.unary()?)?;
                    continue;
                }
                kind if is_word_operator(kind) => false,
                TokenKind::Not => {
                    let not = self.advance()?;
                    if !is_word_operator(self.peek()?) {
                        let expected = "CONTAINS, STARTSWITH, ENDSWITH, BETWEEN or IN behind it";
                        return Err(SqlError::unexpected(&not, expected));
                    }
                    true
                }
                _ => return Ok(left),
            };
            left = self.worded(left, not)?;
        }
        Err(SqlError::limit("more levels", MAX_SQL_DEPTH))
    }

    /// An operator that is a word.
    fn worded(&mut self, value: Expression, not: bool) -> Parsed {
        let kind = match self.advance()?.kind {
            TokenKind::Contains => TextMatch::Contains,
            TokenKind::StartsWith => TextMatch::StartsWith,
            TokenKind::Between => {
                let low = self.unary()?;
                self.expect(TokenKind::And, "AND")?;
                let high = self.unary()?;
                return Expression::between(value, low, high, not);
            }
            TokenKind::In => {
                let list = self.list()?;
                return Expression::in_list(value, list, not);
            }
            _ => TextMatch::EndsWith,
        };
        let search = self.text()?;
        Ok(Expression::Text { kind, value: value.into(), search, not })
    }

    fn list(&mut self) -> Result<Vec<Box<str>>, SqlError> {
        self.expect(TokenKind::Open, "(")?;
        let mut list = vec![self.text()?];
        while self.take(TokenKind::Comma)? {
            list.push(self.text()?);
        }
        self.expect(TokenKind::Close, ", or )")?;
        Ok(list)
    }

    fn unary(&mut self) -> Parsed {
        if self.depth == MAX_SQL_DEPTH {
            return Err(SqlError::limit("more levels", MAX_SQL_DEPTH));
        }
        self.depth += 1;
        let parsed = self.nested_unary();
        self.depth -= 1;
        parsed
    }

    fn nested_unary(&mut self) -> Parsed {
        let token = self.advance()?;
        Ok(match token.kind {
            TokenKind::Plus => self.unary()?,
            TokenKind::Minus => Expression::negate(self.unary()?),
            TokenKind::Not => Expression::not(self.unary()?)?,
            TokenKind::Open => {
                let inner = self.or()?;
                self.expect(TokenKind::Close, ")")?;
                inner
            }
            TokenKind::Identifier => Expression::Property(token.text.into()),
            TokenKind::True => Expression::Constant(Constant::Bool(true)),
            TokenKind::False => Expression::Constant(Constant::Bool(false)),
            TokenKind::Null => Expression::Constant(Constant::Null),
            TokenKind::String => Expression::Constant(Constant::Text(unquote(token.text))),
            TokenKind::Decimal => Expression::Constant(decimal(token.text)?),
            TokenKind::Float => Expression::Constant(float(token.text)?),
            _ => {
                let expected = "a property, a text in quotes, a number, TRUE, FALSE, NULL, NOT, a \
                                sign or (";
                return Err(SqlError::unexpected(&token, expected));
            }
        })
    }

    fn text(&mut self) -> Result<Box<str>, SqlError> {
        let token = self.advance()?;
        if token.kind == TokenKind::String {
            Ok(unquote(token.text))
        } else {
            Err(SqlError::unexpected(&token, "a text in quotes"))
        }
    }

    fn peek(&mut self) -> Result<TokenKind, SqlError> {
        if let Some(token) = &self.ahead {
            return Ok(token.kind);
        }
        let token = self.lexer.next()?;
        Ok(self.ahead.insert(token).kind)
    }

    fn advance(&mut self) -> Result<Token<'a>, SqlError> {
        match self.ahead.take() {
            Some(token) => Ok(token),
            None => self.lexer.next(),
        }
    }

    fn take(&mut self, kind: TokenKind) -> Result<bool, SqlError> {
        let is_next = self.peek()? == kind;
        if is_next {
            self.ahead = None;
        }
        Ok(is_next)
    }

    fn expect(&mut self, kind: TokenKind, what: &str) -> Result<(), SqlError> {
        let token = self.advance()?;
        if token.kind == kind { Ok(()) } else { Err(SqlError::unexpected(&token, what)) }
    }
}

fn is_word_operator(kind: TokenKind) -> bool {
    use TokenKind::{Between, Contains, EndsWith, In, StartsWith};
    matches!(kind, Contains | StartsWith | EndsWith | Between | In)
}

fn order_of(sign: TokenKind) -> Order {
    match sign {
        TokenKind::Greater => Order::Greater,
        TokenKind::GreaterEqual => Order::GreaterEqual,
        TokenKind::Less => Order::Less,
        _ => Order::LessEqual,
    }
}

fn unquote(text: &str) -> Box<str> {
    text[1..text.len() - 1].replace("''", "'").into()
}

fn decimal(text: &str) -> Result<Constant, SqlError> {
    let digits = text.trim_end_matches(['l', 'L']);
    let value = number::long(digits.as_bytes()).ok_or_else(|| SqlError::number(digits))?;
    // A sign is no part of the number, so what fits an int is one.
    Ok(i32::try_from(value).map_or(Constant::Long(value), Constant::Int))
}

fn float(text: &str) -> Result<Constant, SqlError> {
    let value = number::double(text.as_bytes()).ok_or_else(|| SqlError::number(text))?;
    if value > f64::MAX {
        let text = format!("{text} is greater than 1.7976931348623157E308");
        return Err(SqlError::runtime(&text));
    }
    // The reference takes the smallest positive number for the least one: `0.0` is refused.
    if value == 0.0 {
        return Err(SqlError::runtime(&format!("{text} is less than 4.9E-324")));
    }
    Ok(Constant::Double(value))
}
