//! What kind of value an expression has, as far as it can be known before it is evaluated.

use crate::ast::{Expr, Function};
use cdp_value::{AggregateFunction, Value};
use std::fmt;

/// The type of an expression's value; any of them may also be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// Not known: what the application sends.
    Any,
    Boolean,
    Number,
    Text,
    /// An instant, as ISO 8601 text.
    Time,
    List,
    /// Always null.
    Null,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Any => "any",
            Type::Boolean => "boolean",
            Type::Number => "number",
            Type::Text => "text",
            Type::Time => "time",
            Type::List => "list",
            Type::Null => "null",
        })
    }
}

impl Type {
    /// Whether a value of one type can equal a value of the other.
    pub(crate) fn comparable(self, other: Type) -> bool {
        let plain = |of: Type| if of == Type::Time { Type::Text } else { of };
        self == Type::Any || other == Type::Any || plain(self) == plain(other)
    }

    pub(crate) fn may_be(self, wanted: Type) -> bool {
        self == Type::Null || self.comparable(wanted)
    }

    /// The type of a value that may come from either place.
    pub(crate) fn or(self, other: Type) -> Type {
        match (self, other) {
            (Type::Null, known) | (known, Type::Null) => known,
            (a, b) if a == b => a,
            (Type::Text | Type::Time, Type::Text | Type::Time) => Type::Text,
            _ => Type::Any,
        }
    }
}

/// The type of a node, given the types of its parts.
pub(crate) fn type_of(expr: &Expr, parts: &[Type], of_trait: impl Fn(&str) -> Type) -> Type {
    match expr {
        Expr::Literal(value) => match value {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Boolean,
            Value::Number(_) => Type::Number,
            Value::Text(_) => Type::Text,
            Value::Array(_) => Type::List,
            Value::Object(_) => Type::Any,
        },
        Expr::List(_) => Type::List,
        Expr::Trait(key) => of_trait(key),
        Expr::Segment(_)
        | Expr::Not(_)
        | Expr::And(_)
        | Expr::Or(_)
        | Expr::Compare(..)
        | Expr::Test(..)
        | Expr::Matches(..)
        | Expr::In(..)
        | Expr::Percentage(..) => Type::Boolean,
        Expr::Score(_)
        | Expr::FirstSeenAgo(_)
        | Expr::LastSeenAgo(_)
        | Expr::Negate(_)
        | Expr::Arithmetic(..)
        | Expr::Bucket(..) => Type::Number,
        Expr::Grade(_) => Type::Text,
        Expr::FirstSeen | Expr::LastSeen => Type::Time,
        Expr::Aggregate(aggregate) => match aggregate.function {
            AggregateFunction::First | AggregateFunction::Last | AggregateFunction::Top => {
                Type::Any
            }
            AggregateFunction::List => Type::List,
            _ => Type::Number,
        },
        Expr::Call(function, _) => match function {
            Function::Exists => Type::Boolean,
            Function::Lower | Function::Upper => Type::Text,
            Function::If => match parts {
                [_, then, otherwise] => then.or(*otherwise),
                _ => Type::Any,
            },
            Function::Coalesce => parts.iter().copied().fold(Type::Null, Type::or),
            _ => Type::Number,
        },
        Expr::Duration(_)
        | Expr::Name(_)
        | Expr::Attribute(_)
        | Expr::Profile(_)
        | Expr::Group(_)
        | Expr::Property(_)
        | Expr::Context(_)
        | Expr::Message(_) => Type::Any,
    }
}
