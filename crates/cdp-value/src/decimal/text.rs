//! Decimal numbers as text.

use super::{Decimal, Digits};
use bigdecimal::num_bigint::BigInt;
use std::fmt;

/// Longest text that is read as a number.
const MAX_LENGTH: usize = 1500;

impl Decimal {
    /// Reads a JSON or SQL number: `12`, `-0.5`, `.5`, `1.2e-3`. None when it is not a number or
    /// has more than 400 digits before or 1,000 after the decimal point.
    pub fn parse(text: &str) -> Option<Decimal> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, text.get(1..)?),
            b'+' => (false, text.get(1..)?),
            _ => (false, text),
        };
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (rest.get(..at)?, exponent(rest.get(at + 1..)?)?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        let scale = i64::try_from(fraction.len()).ok()? - exponent;

        let mut small: Option<i128> = Some(0);
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return None;
            }
            small = small
                .and_then(|digits| digits.checked_mul(10))
                .and_then(|digits| digits.checked_add(i128::from(byte - b'0')));
        }
        let sign = if negative { -1 } else { 1 };
        match (small, u32::try_from(scale)) {
            (Some(digits), Ok(scale)) => Decimal::from_small(sign * digits, scale),
            (Some(0), Err(_)) => Some(Decimal::zero()),
            (Some(digits), Err(_)) => Decimal::from_parts(BigInt::from(sign * digits), scale),
            (None, _) => {
                let digits: BigInt = format!("{whole}{fraction}").parse().ok()?;
                Decimal::from_parts(digits * sign, scale)
            }
        }
    }
}

/// The number behind the `e`; what is out of range for certain is cut to keep sums in range.
fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    const CERTAINLY_OUT: i64 = 1_000_000;
    let magnitude = digits
        .parse::<i64>()
        .unwrap_or(CERTAINLY_OUT)
        .min(CERTAINLY_OUT);
    Some(if text.starts_with('-') {
        -magnitude
    } else {
        magnitude
    })
}

impl fmt::Display for Decimal {
    /// Without trailing zeros or exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (0, Digits::Small(digits)) = (self.scale, &self.digits) {
            return match i64::try_from(*digits) {
                Ok(digits) => write!(f, "{digits}"),
                Err(_) => write!(f, "{digits}"),
            };
        }
        let magnitude = match &self.digits {
            Digits::Small(digits) => digits.unsigned_abs().to_string(),
            Digits::Big(digits) => digits.magnitude().to_string(),
        };
        if self.is_negative() {
            f.write_str("-")?;
        }
        if self.scale == 0 {
            return f.write_str(&magnitude);
        }
        let scale = self.scale as usize;
        let padded = format!("{magnitude:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        write!(f, "{whole}.{fraction}")
    }
}
