//! Property values, and which of them are kept.

use crate::value_code::coded_length;
use cdp_value::{Decimal, Value};
use std::cmp::Ordering;
use std::sync::Arc;

/// The longest value a state keeps, in bytes: the length of a text, otherwise of the coding.
/// Longer ones are read from the event when they are needed (`first`, `last`) and left out by
/// `top` and `list`.
pub const VALUE_LIMIT: usize = 256;

/// Longest digits and scale of a number that is kept with single events and buckets: whatever
/// 128 bits hold. Sums and extremes of other numbers are computed from the events.
const DIGIT_BITS_LIMIT: u64 = 127;
const SCALE_LIMIT: u32 = 60;

/// The property of one event, seen from a state.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Property<'a> {
    /// Missing or null.
    Absent,
    Number(&'a Decimal),
    /// Boolean, text, array or object.
    Other(&'a Value),
    /// A number or another value that is too long to be kept.
    LargeNumber(&'a Decimal),
    LargeOther,
}

impl<'a> Property<'a> {
    pub(crate) fn of(value: Option<&'a Value>) -> Property<'a> {
        match value {
            None | Some(Value::Null) => Property::Absent,
            Some(Value::Number(number)) if is_large_number(number) => Property::LargeNumber(number),
            Some(Value::Number(number)) => Property::Number(number),
            Some(other) if is_large(other) => Property::LargeOther,
            Some(other) => Property::Other(other),
        }
    }

    pub(crate) fn number(self) -> Option<&'a Decimal> {
        match self {
            Property::Number(number) | Property::LargeNumber(number) => Some(number),
            _ => None,
        }
    }

    /// What a state keeps of it.
    pub(crate) fn hold(self) -> Held {
        match self {
            Property::Absent => Held::Absent,
            Property::Number(number) => Held::Number(number.clone()),
            Property::Other(value) => Held::Other(Arc::new(value.clone())),
            Property::LargeNumber(_) => Held::LargeNumber,
            Property::LargeOther => Held::LargeOther,
        }
    }

    /// What a state keeps of it when only numbers matter.
    pub(crate) fn hold_number(self) -> Held {
        match self {
            Property::Number(number) => Held::Number(number.clone()),
            Property::LargeNumber(_) => Held::LargeNumber,
            _ => Held::Absent,
        }
    }
}

fn is_large_number(number: &Decimal) -> bool {
    let (bits, scale) = number.size();
    bits > DIGIT_BITS_LIMIT || scale > SCALE_LIMIT
}

fn is_large(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.len() > VALUE_LIMIT,
        Value::Array(_) | Value::Object(_) => coded_length(value, VALUE_LIMIT) > VALUE_LIMIT,
        _ => false,
    }
}

/// Whether `top` and `list` consider a value: it is not null, a text of at most 256 bytes, a
/// number of at most 38 digits, or an array or object that is coded in at most 256 bytes.
pub fn is_listable(value: &Value) -> bool {
    matches!(
        Property::of(Some(value)),
        Property::Number(_) | Property::Other(_)
    )
}

/// The kept form of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    Absent,
    Number(Decimal),
    Other(Arc<Value>),
    /// Too long: to be read from the event.
    LargeNumber,
    LargeOther,
}

impl Held {
    pub(crate) fn is_large(&self) -> bool {
        matches!(self, Held::LargeNumber | Held::LargeOther)
    }

    pub(crate) fn to_value(&self) -> Value {
        match self {
            Held::Number(number) => Value::Number(number.clone()),
            Held::Other(value) => (**value).clone(),
            Held::Absent | Held::LargeNumber | Held::LargeOther => Value::Null,
        }
    }

    /// The kept value as a property again; large ones are absent.
    pub(crate) fn property(&self) -> Property<'_> {
        match self {
            Held::Number(number) => Property::Number(number),
            Held::Other(value) => Property::Other(value),
            Held::Absent | Held::LargeNumber | Held::LargeOther => Property::Absent,
        }
    }

    /// The order of [`Value::total_cmp`], large values last.
    pub(crate) fn total_cmp(&self, other: &Held) -> Ordering {
        fn rank(held: &Held) -> u8 {
            match held {
                Held::Absent => 0,
                Held::Other(value) if matches!(**value, Value::Bool(_)) => 1,
                Held::Number(_) => 2,
                Held::Other(_) => 3,
                Held::LargeNumber => 4,
                Held::LargeOther => 5,
            }
        }
        match (self, other) {
            (Held::Number(a), Held::Number(b)) => a.cmp(b),
            (Held::Other(a), Held::Other(b)) => a.total_cmp(b),
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_not_kept() {
        let text = |length| Value::Text("x".repeat(length));
        assert!(is_listable(&text(256)) && !is_listable(&text(257)));
        assert!(is_listable(&number("1e38")) && !is_listable(&number("1e39")));
        assert!(!is_listable(&Value::Null));
        let nested = (0..1000).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        assert!(!is_listable(&nested));
    }

    fn number(text: &str) -> Value {
        Value::Number(Decimal::parse(text).unwrap())
    }
}
