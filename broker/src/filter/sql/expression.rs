//! Expressions, and what may be built of them.
//!
//! Reference: `ComparisonExpression`, `LogicExpression`, `UnaryExpression`, `ConstantExpression`
//! (filter), 5.5.0.

use std::fmt;

use super::error::SqlError;
use super::limits::MAX_SQL_DEPTH;

/// A value that stands in an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Box<str>),
}

impl Constant {
    fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Long(_) | Self::Double(_))
    }

    fn as_double(&self) -> f64 {
        match *self {
            Self::Int(value) => value.into(),
            Self::Long(value) => value as f64,
            Self::Double(value) => value,
            _ => f64::NAN,
        }
    }
}

/// How two values are ordered, when an expression asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

/// What is looked for in a text, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextMatch {
    Contains,
    StartsWith,
    EndsWith,
}

/// An expression; its parts have been checked to go together.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Constant(Constant),
    Property(Box<str>),
    Negate(Box<Expression>),
    Not(Box<Expression>),
    /// A property where a truth value is needed. Its text never is one.
    Cast(Box<Expression>),
    /// Chains of one operator are one node: the parts are tried in order, just as they are nested.
    And(Vec<Expression>),
    Or(Vec<Expression>),
    /// Also `IS NULL`, as an equality with NULL.
    Equal(Box<(Expression, Expression)>),
    Compare(Order, Box<(Expression, Expression)>),
    In {
        property: Box<str>,
        list: Vec<Box<str>>,
        not: bool,
    },
    Text {
        kind: TextMatch,
        value: Box<Expression>,
        search: Box<str>,
        not: bool,
    },
}

type Built = Result<Expression, SqlError>;

impl Expression {
    pub(super) fn negate(value: Self) -> Self {
        Self::Negate(value.into())
    }

    pub(super) fn not(value: Self) -> Built {
        Ok(Self::Not(value.into_truth()?.into()))
    }

    pub(super) fn and(left: Self, right: Self) -> Built {
        let (left, right) = (left.into_truth()?, right.into_truth()?);
        Ok(match left {
            Self::And(mut parts) => {
                parts.push(right);
                Self::And(parts)
            }
            left => Self::And(vec![left, right]),
        })
    }

    pub(super) fn or(left: Self, right: Self) -> Built {
        let (left, right) = (left.into_truth()?, right.into_truth()?);
        Ok(match left {
            Self::Or(mut parts) => {
                parts.push(right);
                Self::Or(parts)
            }
            left => Self::Or(vec![left, right]),
        })
    }

    pub(super) fn equal(left: Self, right: Self) -> Built {
        for side in [&left, &right] {
            if *side == Self::Constant(Constant::Null) {
                return Err(SqlError::runtime(&format!("'{side}' cannot be compared.")));
            }
        }
        if let (Self::Constant(Constant::Bool(_)), Self::Constant(other)) = (&left, &right)
            && !matches!(other, Constant::Bool(_))
        {
            let text = format!("'{left}' cannot be compared with '{right}'");
            return Err(SqlError::runtime(&text));
        }
        Ok(Self::Equal(Box::new((left, right))))
    }

    pub(super) fn not_equal(left: Self, right: Self) -> Built {
        Ok(Self::Not(Self::equal(left, right)?.into()))
    }

    pub(super) fn is_null(value: Self, not: bool) -> Self {
        let equal = Self::Equal(Box::new((value, Self::Constant(Constant::Null))));
        if not { Self::Not(equal.into()) } else { equal }
    }

    pub(super) fn compare(order: Order, left: Self, right: Self) -> Built {
        left.check_can_be_ordered()?;
        right.check_can_be_ordered()?;
        Ok(Self::Compare(order, Box::new((left, right))))
    }

    pub(super) fn between(value: Self, low: Self, high: Self, not: bool) -> Built {
        if not {
            let below = Self::compare(Order::Less, value.clone(), low)?;
            return Self::or(below, Self::compare(Order::Greater, value, high)?);
        }
        if let (Self::Constant(low), Self::Constant(high)) = (&low, &high) {
            if *low == Constant::Null || *high == Constant::Null {
                let text = "Illegal values of between, values can not be null!";
                return Err(SqlError::runtime(text));
            }
            let ordered = low.is_number() && high.is_number();
            if ordered && high.as_double() < low.as_double() {
                return Err(SqlError::runtime(&format!(
                    "Illegal values of between, left value({low}) must less than or equal to right \
                     value({high})"
                )));
            }
        }
        let above = Self::compare(Order::GreaterEqual, value.clone(), low)?;
        Self::and(above, Self::compare(Order::LessEqual, value, high)?)
    }

    pub(super) fn in_list(value: Self, list: Vec<Box<str>>, not: bool) -> Built {
        match value {
            Self::Property(property) => Ok(Self::In { property, list, not }),
            other => Err(SqlError::runtime(&format!(
                "Expected a property for In expression, got: {other}"
            ))),
        }
    }

    /// The expression as a truth value.
    pub(super) fn into_truth(self) -> Built {
        match self {
            Self::Property(_) => Ok(Self::Cast(self.into())),
            _ if self.is_truth() => Ok(self),
            _ => Err(SqlError::parse(&format!(
                "Expression will not result in a boolean value: {self}"
            ))),
        }
    }

    fn is_truth(&self) -> bool {
        match self {
            // NULL is a truth value in the reference, one that is neither true nor false.
            Self::Constant(value) => matches!(value, Constant::Bool(_) | Constant::Null),
            Self::Property(_) | Self::Negate(_) => false,
            _ => true,
        }
    }

    /// Only numbers have an order, and properties, whose text may be one.
    fn check_can_be_ordered(&self) -> Result<(), SqlError> {
        let fine = match self {
            Self::Constant(value) => value.is_number(),
            _ => !self.is_truth(),
        };
        if fine {
            Ok(())
        } else {
            Err(SqlError::runtime(&format!("Value '{self}' cannot be compared.")))
        }
    }

    /// Refuses what would take too deep a recursion to evaluate.
    pub(super) fn check_depth(&self, left: usize) -> Result<(), SqlError> {
        let Some(left) = left.checked_sub(1) else {
            return Err(SqlError::limit("more levels", MAX_SQL_DEPTH));
        };
        match self {
            Self::Constant(_) | Self::Property(_) | Self::In { .. } => Ok(()),
            Self::Negate(value) | Self::Not(value) | Self::Cast(value) => value.check_depth(left),
            Self::Text { value, .. } => value.check_depth(left),
            Self::And(parts) | Self::Or(parts) => {
                parts.iter().try_for_each(|part| part.check_depth(left))
            }
            Self::Equal(sides) | Self::Compare(_, sides) => {
                sides.0.check_depth(left)?;
                sides.1.check_depth(left)
            }
        }
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Bool(true) => f.write_str("TRUE"),
            Self::Bool(false) => f.write_str("FALSE"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Long(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value:?}"),
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
        }
    }
}

/// As the reference prints it, which its errors show.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = |f: &mut fmt::Formatter<'_>, parts: &[Self], sign: &str| {
            f.write_str(&"(".repeat(parts.len() - 1))?;
            for (index, part) in parts.iter().enumerate() {
                match index {
                    0 => write!(f, "{part}")?,
                    _ => write!(f, " {sign} {part})")?,
                }
            }
            Ok(())
        };
        match self {
            Self::Constant(value) => value.fmt(f),
            Self::Property(name) => f.write_str(name),
            Self::Negate(value) => write!(f, "(- {value})"),
            Self::Not(value) => write!(f, "(NOT {value})"),
            Self::Cast(value) => value.fmt(f),
            Self::And(parts) => chain(f, parts, "&&"),
            Self::Or(parts) => chain(f, parts, "||"),
            Self::Equal(sides) => write!(f, "({} == {})", sides.0, sides.1),
            Self::Compare(order, sides) => {
                let sign = match order {
                    Order::Greater => ">",
                    Order::GreaterEqual => ">=",
                    Order::Less => "<",
                    Order::LessEqual => "<=",
                };
                write!(f, "({} {sign} {})", sides.0, sides.1)
            }
            Self::In { property, list, not } => {
                let not = if *not { "NOT " } else { "" };
                write!(f, "{property} {not}IN ( {} )", list.join(", "))
            }
            Self::Text { kind, value, not, .. } => {
                let not = if *not { "NOT " } else { "" };
                let name = match kind {
                    TextMatch::Contains => "CONTAINS",
                    TextMatch::StartsWith => "STARTSWITH",
                    TextMatch::EndsWith => "ENDSWITH",
                };
                write!(f, "({not}{name} {value})")
            }
        }
    }
}
