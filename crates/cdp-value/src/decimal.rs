//! Exact decimal numbers.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::BigDecimal;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Largest power of ten, either way, that a number may have: the range of a double, so that
/// hostile input such as `1e999999999` cannot cost memory.
const MAX_EXPONENT: i64 = 400;

/// An exact decimal number: sums do not depend on their order, and `0.1 + 0.2 = 0.3`.
#[derive(Debug, Clone)]
pub struct Decimal(BigDecimal);

impl Decimal {
    /// Reads a JSON or SQL number. None when it is not a number or beyond ±10^400.
    pub fn parse(text: &str) -> Option<Decimal> {
        if text.len() > 1200 {
            return None;
        }
        let value = BigDecimal::from_str(text).ok()?;
        Decimal::within_range(value)
    }

    /// Zero.
    pub fn zero() -> Decimal {
        Decimal(BigDecimal::from(0))
    }

    fn within_range(value: BigDecimal) -> Option<Decimal> {
        let (digits, scale) = value.as_bigint_and_exponent();
        let length = i64::try_from(digits.bits() / 3 + 1).ok()?;
        if scale.abs() > MAX_EXPONENT * 2 || length - scale > MAX_EXPONENT + 400 {
            return None;
        }
        Some(Decimal(value))
    }

    /// Exact sum; None on overflow of the range.
    pub fn checked_add(&self, other: &Decimal) -> Option<Decimal> {
        Decimal::within_range(&self.0 + &other.0)
    }

    /// Exact difference; None on overflow of the range.
    pub fn checked_sub(&self, other: &Decimal) -> Option<Decimal> {
        Decimal::within_range(&self.0 - &other.0)
    }

    /// Exact product; None on overflow of the range.
    pub fn checked_mul(&self, other: &Decimal) -> Option<Decimal> {
        Decimal::within_range(&self.0 * &other.0)
    }

    /// The same number as a JSON number, without trailing zeros or exponent.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::from_str(&self.to_string()).unwrap_or(serde_json::Value::Null)
    }

    /// Whole number, when it is one and fits.
    pub fn to_i64(&self) -> Option<i64> {
        use bigdecimal::ToPrimitive;
        if self.0.is_integer() {
            self.0.to_i64()
        } else {
            None
        }
    }

    /// Digits and scale: the number is `digits × 10^-scale`.
    pub fn to_parts(&self) -> (BigInt, i64) {
        self.0.as_bigint_and_exponent()
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Decimal {
        Decimal(BigDecimal::from(value))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Decimal) -> bool {
        self.0 == other.0
    }
}

impl Eq for Decimal {}

impl Hash for Decimal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.normalized().hash(state);
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.normalized().to_plain_string())
    }
}
