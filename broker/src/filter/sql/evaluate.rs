//! An expression's value for one message.
//!
//! Reference: `ComparisonExpression.__compare` and the `evaluate` of each expression (filter), 5.5.0.

use std::cmp::Ordering;

use oxmq_protocol::message::properties;

use super::expression::{Constant, Expression, Order, TextMatch};
use super::number;

/// A value for one message; text is borrowed from its properties or the expression.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value<'a> {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a [u8]),
}

/// The message and the expression do not go together: a text that is no number is compared with
/// one, or a truth value with a text. Such a message is not matched, whatever stands beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incomparable;

impl Expression {
    /// Whether the message with these properties matches.
    pub(super) fn matches(&self, properties: &[u8]) -> Result<bool, Incomparable> {
        Ok(self.truth(properties)? == Some(true))
    }

    /// True, false, or neither.
    fn truth(&self, message: &[u8]) -> Result<Option<bool>, Incomparable> {
        match self {
            Self::And(parts) => all(parts, message, false),
            Self::Or(parts) => all(parts, message, true),
            Self::Not(value) => Ok(value.truth(message)?.map(|value| !value)),
            // Text is not a truth value, not even `true`.
            Self::Cast(value) => match value.value(message)? {
                Value::Null => Ok(None),
                value => Ok(Some(value == Value::Bool(true))),
            },
            Self::Equal(sides) => equal(sides.0.value(message)?, sides.1.value(message)?),
            Self::Compare(order, sides) => {
                let left = sides.0.value(message)?;
                if left == Value::Null {
                    return Ok(None);
                }
                compare(*order, left, sides.1.value(message)?)
            }
            Self::In { property, list, not } => Ok(properties::property(message, property)
                .map(|value| list.iter().any(|candidate| candidate.as_bytes() == value) != *not)),
            Self::Text { kind, value, search, not } => {
                let value = value.value(message)?;
                Ok(Some(match value {
                    Value::Text(text) if !search.is_empty() => {
                        find(*kind, text, search.as_bytes()) != *not
                    }
                    _ => false,
                }))
            }
            Self::Constant(_) | Self::Property(_) | Self::Negate(_) => {
                match self.value(message)? {
                    Value::Bool(value) => Ok(Some(value)),
                    Value::Null => Ok(None),
                    _ => Err(Incomparable),
                }
            }
        }
    }

    fn value<'a>(&'a self, message: &'a [u8]) -> Result<Value<'a>, Incomparable> {
        Ok(match self {
            Self::Constant(constant) => match constant {
                Constant::Null => Value::Null,
                Constant::Bool(value) => Value::Bool(*value),
                Constant::Int(value) => Value::Int(*value),
                Constant::Long(value) => Value::Long(*value),
                Constant::Double(value) => Value::Double(*value),
                Constant::Text(text) => Value::Text(text.as_bytes()),
            },
            Self::Property(name) => {
                properties::property(message, name).map_or(Value::Null, Value::Text)
            }
            Self::Negate(value) => match value.value(message)? {
                Value::Int(value) => Value::Int(value.wrapping_neg()),
                Value::Long(value) => Value::Long(value.wrapping_neg()),
                Value::Double(value) => Value::Double(-value),
                // Text is not converted here.
                _ => Value::Null,
            },
            _ => self.truth(message)?.map_or(Value::Null, Value::Bool),
        })
    }
}

/// Parts in order until one decides: `decisive` decides an OR when true, an AND when false.
fn all(parts: &[Expression], message: &[u8], decisive: bool) -> Result<Option<bool>, Incomparable> {
    let mut unknown = false;
    for part in parts {
        match part.truth(message)? {
            Some(value) if value == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => unknown = true,
        }
    }
    Ok((!unknown).then_some(!decisive))
}

/// Two absent values are equal, and a present one differs from an absent one, but not the other way
/// round, which is unknown.
fn equal(left: Value<'_>, right: Value<'_>) -> Result<Option<bool>, Incomparable> {
    match (left, right) {
        (Value::Null, Value::Null) => Ok(Some(true)),
        (Value::Null, _) => Ok(None),
        (_, Value::Null) => Ok(Some(false)),
        _ => Ok(Some(order(left, right)? == Some(Ordering::Equal))),
    }
}

fn compare(wanted: Order, left: Value<'_>, right: Value<'_>) -> Result<Option<bool>, Incomparable> {
    let ordering = match (left, right) {
        (_, Value::Null) => return Ok(None),
        (Value::Text(left), Value::Text(right)) => {
            let left = number::double(left).ok_or(Incomparable)?;
            let right = number::double(right).ok_or(Incomparable)?;
            double_order(left, right)
        }
        // Values of different kinds count as ascending.
        _ => order(left, right)?.unwrap_or(Ordering::Less),
    };
    Ok(Some(match wanted {
        Order::Greater => ordering.is_gt(),
        Order::GreaterEqual => ordering.is_ge(),
        Order::Less => ordering.is_lt(),
        Order::LessEqual => ordering.is_le(),
    }))
}

/// How two values stand to each other once one has been converted to the kind of the other; `None`
/// when they cannot be.
fn order(left: Value<'_>, right: Value<'_>) -> Result<Option<Ordering>, Incomparable> {
    let parsed = |number: Option<Value<'static>>| number.ok_or(Incomparable);
    Ok(Some(match (left, right) {
        (Value::Text(left), Value::Text(right)) => left.cmp(right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(&right),
        (Value::Int(left), Value::Int(right)) => left.cmp(&right),
        (Value::Long(left), Value::Long(right)) => left.cmp(&right),
        (Value::Int(left), Value::Long(right)) => i64::from(left).cmp(&right),
        (Value::Long(left), Value::Int(right)) => left.cmp(&i64::from(right)),
        (Value::Double(left), Value::Double(right)) => double_order(left, right),
        (Value::Double(left), Value::Int(right)) => double_order(left, right.into()),
        (Value::Double(left), Value::Long(right)) => double_order(left, right as f64),
        (Value::Int(left), Value::Double(right)) => double_order(left.into(), right),
        (Value::Long(left), Value::Double(right)) => double_order(left as f64, right),
        // The reference fails over this one, though not over the other order.
        (Value::Bool(_), Value::Text(_)) => return Err(Incomparable),
        (Value::Text(left), Value::Bool(right)) => left.eq_ignore_ascii_case(b"true").cmp(&right),
        (Value::Text(text), kind) => return order(parsed(convert(text, kind))?, kind),
        (kind, Value::Text(text)) => return order(kind, parsed(convert(text, kind))?),
        _ => return Ok(None),
    }))
}

/// The text as a number of the same kind as another.
fn convert(text: &[u8], kind: Value<'_>) -> Option<Value<'static>> {
    match kind {
        Value::Int(_) => number::int(text).map(Value::Int),
        Value::Long(_) => number::long(text).map(Value::Long),
        Value::Double(_) => number::double(text).map(Value::Double),
        _ => None,
    }
}

/// `Double.compareTo`: 0 is above -0 and below every other positive number, NaN above all.
fn double_order(left: f64, right: f64) -> Ordering {
    let plain = |value: f64| if value.is_nan() { f64::NAN.abs() } else { value };
    plain(left).total_cmp(&plain(right))
}

fn find(kind: TextMatch, text: &[u8], search: &[u8]) -> bool {
    match kind {
        TextMatch::Contains => text.windows(search.len()).any(|part| part == search),
        TextMatch::StartsWith => text.starts_with(search),
        TextMatch::EndsWith => text.ends_with(search),
    }
}
