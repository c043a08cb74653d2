//! Division, remainder and rounding, digit for digit as Postgres' `numeric` does them.

use super::{big_power, power, Decimal, Digits, MAX_INTEGER_DIGITS, MAX_SCALE};
use bigdecimal::num_bigint::{BigInt, Sign};
use std::cmp::Ordering;

/// Decimal digits in one digit of Postgres' numeric, which counts in base 10,000.
const GROUP: i64 = 4;
/// Significant digits a quotient has at least.
const MIN_SIGNIFICANT_DIGITS: i64 = 16;

impl Decimal {
    /// The quotient; None when the divisor is zero or on overflow of the range.
    ///
    /// It has at least 16 significant digits and is rounded half away from zero, at the scale
    /// that Postgres' `numeric / numeric` chooses (`select_div_scale` in its numeric.c).
    pub fn checked_div(&self, divisor: &Decimal) -> Option<Decimal> {
        if divisor.is_zero() {
            return None;
        }
        let scale = quotient_scale(self, divisor);
        // self / divisor × 10^scale, and the scale is never below self's own.
        let shift = (scale + divisor.scale).checked_sub(self.scale)?;
        if let (Digits::Small(a), Digits::Small(b)) = (&self.digits, &divisor.digits) {
            let numerator = power(shift).and_then(|factor| a.checked_mul(factor));
            if let Some(quotient) = numerator.and_then(|n| rounded_quotient(n, *b)) {
                return Decimal::from_small(quotient, scale);
            }
        }
        let quotient = rounded_big_quotient(&(self.big() * big_power(shift)), &divisor.big());
        Decimal::from_big(quotient, scale)
    }

    /// The remainder of the division truncated towards zero: it has the sign of `self`. None when
    /// the divisor is zero.
    pub fn checked_rem(&self, divisor: &Decimal) -> Option<Decimal> {
        if divisor.is_zero() {
            return None;
        }
        self.aligned(divisor, i128::checked_rem, |a, b| a % b)
    }

    /// Rounded half away from zero to so many digits after the decimal point; negative numbers of
    /// digits round to tens, hundreds, … None on overflow of the range.
    pub fn round(&self, digits: i32) -> Option<Decimal> {
        let drop = i64::from(self.scale) - i64::from(digits);
        if drop <= 0 {
            return Some(self.clone());
        }
        // More digits than a number can have: all of them vanish.
        let most = MAX_INTEGER_DIGITS + MAX_SCALE + 1;
        let drop = u32::try_from(drop).unwrap_or(most).min(most);
        let small = match (&self.digits, power(drop)) {
            (Digits::Small(value), Some(factor)) => rounded_quotient(*value, factor),
            _ => None,
        };
        let quotient = match small {
            Some(quotient) => BigInt::from(quotient),
            None => rounded_big_quotient(&self.big(), &big_power(drop)),
        };
        Decimal::from_parts(quotient, i64::from(digits))
    }

    /// The largest whole number that is not above this one; None on overflow of the range.
    pub fn floor(&self) -> Option<Decimal> {
        self.whole(Ordering::Less)
    }

    /// The smallest whole number that is not below this one; None on overflow of the range.
    pub fn ceil(&self) -> Option<Decimal> {
        self.whole(Ordering::Greater)
    }

    /// Cuts the fraction off, then steps one away from zero if there was a fraction and the
    /// number lies on the `away` side of zero.
    fn whole(&self, away: Ordering) -> Option<Decimal> {
        if self.scale == 0 {
            return Some(self.clone());
        }
        let cut = |digits: &BigInt| digits / big_power(self.scale);
        let truncated = match (&self.digits, power(self.scale)) {
            (Digits::Small(digits), Some(factor)) => BigInt::from(digits / factor),
            _ => cut(&self.big()),
        };
        // In normal form a scale above zero means that there is a fraction.
        let stepped = match (away, self.is_negative()) {
            (Ordering::Less, true) => truncated - 1,
            (Ordering::Greater, false) => truncated + 1,
            _ => truncated,
        };
        Decimal::from_big(stepped, 0)
    }
}

/// Quotient rounded half away from zero; None on overflow.
fn rounded_quotient(a: i128, b: i128) -> Option<i128> {
    let quotient = a.checked_div(b)?;
    let remainder = a.checked_rem(b)?;
    // |remainder| >= |b| - |remainder| says 2|remainder| >= |b| without overflow.
    let magnitude = remainder.unsigned_abs();
    if magnitude != 0 && magnitude >= b.unsigned_abs() - magnitude {
        quotient.checked_add(if (a < 0) == (b < 0) { 1 } else { -1 })
    } else {
        Some(quotient)
    }
}

fn rounded_big_quotient(a: &BigInt, b: &BigInt) -> BigInt {
    let quotient = a / b;
    let remainder = a % b;
    if remainder.sign() != Sign::NoSign && remainder.magnitude() * 2u8 >= *b.magnitude() {
        if a.sign() == b.sign() {
            quotient + 1
        } else {
            quotient - 1
        }
    } else {
        quotient
    }
}

/// The scale of a quotient, as Postgres estimates it from the leading base-10,000 digits.
fn quotient_scale(a: &Decimal, b: &Decimal) -> u32 {
    let (weight_a, first_a) = leading(a);
    let (weight_b, first_b) = leading(b);
    let mut weight = weight_a - weight_b;
    if first_a <= first_b {
        weight -= 1;
    }
    let wanted = MIN_SIGNIFICANT_DIGITS - weight * GROUP;
    let least = i64::from(a.scale.max(b.scale));
    u32::try_from(wanted.max(least).min(i64::from(MAX_SCALE))).unwrap_or(0)
}

/// Exponent of 10,000 and value of the leading base-10,000 digit.
fn leading(number: &Decimal) -> (i64, u32) {
    if number.is_zero() {
        return (0, 0);
    }
    let (count, top) = match &number.digits {
        Digits::Small(digits) => {
            let digits = digits.unsigned_abs();
            let count = digits.ilog10() + 1;
            // The first (up to) four digits.
            (
                i64::from(count),
                digits / 10u128.pow(count.saturating_sub(4)),
            )
        }
        Digits::Big(digits) => {
            let text = digits.magnitude().to_string();
            let top = text.get(..4).and_then(|top| top.parse().ok()).unwrap_or(0);
            (i64::try_from(text.len()).unwrap_or(0), top)
        }
    };
    let exponent = count - 1 - i64::from(number.scale);
    let weight = exponent.div_euclid(GROUP);
    let wanted = exponent.rem_euclid(GROUP) + 1;
    let available = count.min(4);
    let first = if wanted >= available {
        top * 10u128.pow(u32::try_from(wanted - available).unwrap_or(0))
    } else {
        top / 10u128.pow(u32::try_from(available - wanted).unwrap_or(0))
    };
    (weight, u32::try_from(first).unwrap_or(0))
}
