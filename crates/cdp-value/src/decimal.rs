//! Exact decimal numbers.

mod divide;
mod text;

use bigdecimal::num_bigint::{BigInt, Sign};
use std::cmp::Ordering;
use std::hash::Hash;
use std::sync::LazyLock;

/// Largest number of digits before the decimal point. With [`MAX_SCALE`] this is more than the
/// range of a double, and it keeps hostile input such as `1e999999999` from costing memory.
pub(crate) const MAX_INTEGER_DIGITS: u32 = 400;
/// Largest number of digits after the decimal point.
pub(crate) const MAX_SCALE: u32 = 1000;

static LIMIT: LazyLock<BigInt> = LazyLock::new(|| BigInt::from(10).pow(MAX_INTEGER_DIGITS));

/// An exact decimal number: sums do not depend on their order, and `0.1 + 0.2 = 0.3`.
///
/// It has at most 400 digits before and 1,000 after the decimal point; operations whose exact
/// result has more give None.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decimal {
    digits: Digits,
    /// The number is `digits × 10^-scale`. Normal form: the smallest scale that is possible, so
    /// equal numbers are equal field by field.
    scale: u32,
}

/// Nearly all numbers fit 128 bits; the others pay for an allocation. Normal form: `Big` only
/// holds what does not fit `Small`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Digits {
    Small(i128),
    Big(BigInt),
}

/// 10^exponent, if it fits.
fn power(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

fn big_power(exponent: u32) -> BigInt {
    power(exponent).map_or_else(|| BigInt::from(10).pow(exponent), BigInt::from)
}

impl Decimal {
    /// Zero.
    pub fn zero() -> Decimal {
        Decimal::from(0)
    }

    /// `digits × 10^-scale`; None beyond the range.
    pub fn from_parts(digits: BigInt, scale: i64) -> Option<Decimal> {
        let (digits, scale) = if scale < 0 {
            if digits.sign() == Sign::NoSign {
                return Some(Decimal::zero());
            }
            let shift = u32::try_from(-scale).ok()?;
            if shift > MAX_INTEGER_DIGITS {
                return None;
            }
            (digits * big_power(shift), 0)
        } else {
            // A longer scale is only possible with trailing zeros, which nobody writes.
            (digits, u32::try_from(scale).ok()?)
        };
        Decimal::from_big(digits, scale)
    }

    /// A number from its digits to the base of 10,000, the first of which counts 10,000^`weight`; None beyond the
    /// range.
    pub(crate) fn from_myriads(
        is_negative: bool,
        digits: impl ExactSizeIterator<Item = u16> + Clone,
        weight: i64,
    ) -> Option<Decimal> {
        /// So many digits fit 64 bits.
        const WORD: usize = 4;
        // The last digit counts 10^-scale.
        let scale = 4 * (i64::try_from(digits.len()).ok()? - 1 - weight);
        let small = if digits.len() <= WORD {
            let word = digits
                .clone()
                .fold(0u64, |word, digit| word * 10_000 + u64::from(digit));
            Some(i128::from(word))
        } else {
            digits.clone().try_fold(0i128, |small, digit| {
                small.checked_mul(10_000)?.checked_add(i128::from(digit))
            })
        };
        let sign = if is_negative { -1 } else { 1 };
        match (small, u32::try_from(scale)) {
            (Some(small), Ok(scale)) => Decimal::from_small(sign * small, scale),
            (Some(small), Err(_)) => {
                let raised = u32::try_from(-scale).ok().and_then(power);
                match raised.and_then(|raised| small.checked_mul(raised)) {
                    Some(whole) => Decimal::from_small(sign * whole, 0),
                    None => Decimal::from_parts(BigInt::from(sign * small), scale),
                }
            }
            (None, _) => {
                let all = digits.fold(BigInt::from(0), |all, digit| all * 10_000 + digit);
                Decimal::from_parts(all * sign, scale)
            }
        }
    }

    /// Bits of the digits without sign, and digits after the decimal point.
    pub fn size(&self) -> (u64, u32) {
        let bits = match &self.digits {
            Digits::Small(digits) => u64::from(u128::BITS - digits.unsigned_abs().leading_zeros()),
            Digits::Big(digits) => digits.bits(),
        };
        (bits, self.scale)
    }

    /// Digits and scale: the number is `digits × 10^-scale`.
    pub fn to_parts(&self) -> (BigInt, i64) {
        (self.big(), i64::from(self.scale))
    }

    fn from_small(mut digits: i128, mut scale: u32) -> Option<Decimal> {
        if digits == 0 {
            scale = 0;
        }
        if scale > 0 {
            // Nearly all numbers fit 64 bits, which divide much faster.
            if let Ok(mut word) = i64::try_from(digits) {
                while scale > 0 && word % 10 == 0 {
                    word /= 10;
                    scale -= 1;
                }
                digits = i128::from(word);
            } else {
                while scale > 0 && digits % 10 == 0 {
                    digits /= 10;
                    scale -= 1;
                }
            }
        }
        (scale <= MAX_SCALE).then_some(Decimal {
            digits: Digits::Small(digits),
            scale,
        })
    }

    fn from_big(mut digits: BigInt, mut scale: u32) -> Option<Decimal> {
        if let Ok(small) = i128::try_from(&digits) {
            return Decimal::from_small(small, scale);
        }
        // Hostile digits are refused before they are divided by ten again and again.
        let bits = digits.bits();
        if bits > 4 * u64::from(MAX_INTEGER_DIGITS + 2 * MAX_SCALE) {
            return None;
        }
        let ten = BigInt::from(10);
        while scale > 0 && (&digits % &ten).sign() == Sign::NoSign {
            digits /= &ten;
            scale -= 1;
        }
        if let Ok(small) = i128::try_from(&digits) {
            return Decimal::from_small(small, scale);
        }
        if scale > MAX_SCALE {
            return None;
        }
        // Each digit takes between 3.32 and 3.33 bits: only near the limit is it worth a look.
        let near = 3 * u64::from(MAX_INTEGER_DIGITS + scale);
        if digits.bits() > near {
            let magnitude = BigInt::from(digits.magnitude().clone());
            if magnitude >= &*LIMIT * big_power(scale) {
                return None;
            }
        }
        Some(Decimal {
            digits: Digits::Big(digits),
            scale,
        })
    }

    fn big(&self) -> BigInt {
        match &self.digits {
            Digits::Small(digits) => BigInt::from(*digits),
            Digits::Big(digits) => digits.clone(),
        }
    }

    /// The digits at a scale that is at least the number's own.
    fn big_at(&self, scale: u32) -> BigInt {
        let digits = self.big();
        match scale.saturating_sub(self.scale) {
            0 => digits,
            shift => digits * big_power(shift),
        }
    }

    fn small_at(&self, scale: u32) -> Option<i128> {
        let Digits::Small(digits) = self.digits else {
            return None;
        };
        match scale.checked_sub(self.scale)? {
            0 => Some(digits),
            shift => digits.checked_mul(power(shift)?),
        }
    }

    /// Applies an operation to both numbers' digits at their common scale.
    fn aligned(
        &self,
        other: &Decimal,
        small: impl Fn(i128, i128) -> Option<i128>,
        big: impl Fn(BigInt, BigInt) -> BigInt,
    ) -> Option<Decimal> {
        let scale = self.scale.max(other.scale);
        let quick = self
            .small_at(scale)
            .zip(other.small_at(scale))
            .and_then(|(a, b)| small(a, b));
        match quick {
            Some(digits) => Decimal::from_small(digits, scale),
            None => Decimal::from_big(big(self.big_at(scale), other.big_at(scale)), scale),
        }
    }

    /// Exact sum; None on overflow of the range.
    pub fn checked_add(&self, other: &Decimal) -> Option<Decimal> {
        self.aligned(other, i128::checked_add, |a, b| a + b)
    }

    /// Exact difference; None on overflow of the range.
    pub fn checked_sub(&self, other: &Decimal) -> Option<Decimal> {
        self.aligned(other, i128::checked_sub, |a, b| a - b)
    }

    /// Exact product; None on overflow of the range.
    pub fn checked_mul(&self, other: &Decimal) -> Option<Decimal> {
        let scale = self.scale + other.scale;
        if let (Digits::Small(a), Digits::Small(b)) = (&self.digits, &other.digits) {
            if let Some(digits) = a.checked_mul(*b) {
                return Decimal::from_small(digits, scale);
            }
        }
        Decimal::from_big(self.big() * other.big(), scale)
    }

    /// The number with the opposite sign.
    pub fn neg(&self) -> Decimal {
        let digits = match &self.digits {
            Digits::Small(digits) => match digits.checked_neg() {
                Some(digits) => Digits::Small(digits),
                None => Digits::Big(-BigInt::from(*digits)),
            },
            // -2^127 fits where 2^127 does not.
            Digits::Big(digits) => match i128::try_from(-digits) {
                Ok(small) => Digits::Small(small),
                Err(_) => Digits::Big(-digits),
            },
        };
        Decimal {
            digits,
            scale: self.scale,
        }
    }

    /// The number without its sign.
    pub fn abs(&self) -> Decimal {
        if self.is_negative() {
            self.neg()
        } else {
            self.clone()
        }
    }

    /// Whether the number is below zero.
    pub fn is_negative(&self) -> bool {
        match &self.digits {
            Digits::Small(digits) => *digits < 0,
            Digits::Big(digits) => digits.sign() == Sign::Minus,
        }
    }

    /// Whether the number is zero.
    pub fn is_zero(&self) -> bool {
        self.digits == Digits::Small(0)
    }

    /// Whether the number has nothing after the decimal point.
    pub fn is_integer(&self) -> bool {
        self.scale == 0
    }

    /// Whole number, when it is one and fits.
    pub fn to_i64(&self) -> Option<i64> {
        match &self.digits {
            Digits::Small(digits) if self.scale == 0 => i64::try_from(*digits).ok(),
            _ => None,
        }
    }

    /// The same number as a JSON number, without trailing zeros or exponent.
    pub fn to_json(&self) -> serde_json::Value {
        match self.to_i64() {
            Some(whole) => serde_json::Value::from(whole),
            None => self
                .to_string()
                .parse()
                .map_or(serde_json::Value::Null, serde_json::Value::Number),
        }
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Decimal {
        Decimal {
            digits: Digits::Small(i128::from(value)),
            scale: 0,
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        let scale = self.scale.max(other.scale);
        match self.small_at(scale).zip(other.small_at(scale)) {
            Some((a, b)) => a.cmp(&b),
            None => self.big_at(scale).cmp(&other.big_at(scale)),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
