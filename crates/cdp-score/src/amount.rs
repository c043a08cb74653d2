//! The shapes in which enrichment services write amounts: `120`, `"120"`, `"51-250"`, `"$10M-$50M"`,
//! `"10,001+"`. What cannot be read for certain is not read at all.

use crate::interval::Interval;
use cdp_value::{Decimal, Value};

/// One end of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    pub value: Decimal,
    /// Whether the value itself belongs to the range.
    pub inclusive: bool,
}

/// A number, or a band of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amount {
    Number(Decimal),
    /// Has at least one end; the low one is below the high one.
    Band(Interval),
}

/// Nobody writes a longer one.
const LONGEST: usize = 60;

/// Words after an amount that say what is counted, and change nothing.
const COUNTED: [&str; 6] = ["employees", "employee", "people", "staff", "usd", "dollars"];

impl Amount {
    /// Reads a number, or a text in one of these shapes; None for anything else:
    ///
    /// - an amount: digits with `,` between thousands, decimals after `.`, perhaps `$`, `US$` or
    ///   `USD` before, and perhaps `k`, `m`/`mm`/`mn`, `b`/`bn` or `thousand`, `million`, `billion`
    ///   after;
    /// - two amounts with `-`, `–`, `—` or `to` between them, the first below the second;
    /// - one amount with `+` after it, or `>`, `>=`, `<`, `<=`, `over`, `under` before it.
    ///
    /// `10-50M` is refused: the first number may be ten or ten million.
    pub fn read(value: &Value) -> Option<Amount> {
        match value {
            Value::Number(number) => Some(Amount::Number(number.clone())),
            Value::Text(text) if text.len() <= LONGEST => Amount::parse(text),
            _ => None,
        }
    }

    fn parse(text: &str) -> Option<Amount> {
        let mut text = text.trim().to_lowercase();
        for word in COUNTED {
            if let Some(rest) = text.strip_suffix(word) {
                if rest.ends_with([' ', '+']) || rest.ends_with(|c: char| c.is_ascii_digit()) {
                    text = rest.trim_end().to_string();
                    break;
                }
            }
        }
        let text = text.as_str();
        for (sign, is_low, inclusive) in [
            (">=", true, true),
            ("<=", false, true),
            (">", true, false),
            ("<", false, false),
            ("over ", true, false),
            ("under ", false, false),
        ] {
            if let Some(rest) = text.strip_prefix(sign) {
                let (value, _) = scaled(rest)?;
                let bound = Some(Bound { value, inclusive });
                return Some(Amount::Band(if is_low {
                    Interval {
                        low: bound,
                        high: None,
                    }
                } else {
                    Interval {
                        low: None,
                        high: bound,
                    }
                }));
            }
        }
        if let Some(rest) = text.strip_suffix('+') {
            let (value, _) = scaled(rest)?;
            let low = Some(Bound {
                value,
                inclusive: true,
            });
            return Some(Amount::Band(Interval { low, high: None }));
        }
        for separator in ["-", "–", "—", " to "] {
            if let Some((low, high)) = text.split_once(separator) {
                let ((low, unit), (high, high_unit)) = (scaled(low)?, scaled(high)?);
                // "10-50M": without a unit of its own the first is not certain.
                if low > high || (!unit && high_unit && !low.is_zero()) {
                    return None;
                }
                if low == high {
                    return Some(Amount::Number(low));
                }
                let closed = |value| {
                    Some(Bound {
                        value,
                        inclusive: true,
                    })
                };
                return Some(Amount::Band(Interval {
                    low: closed(low),
                    high: closed(high),
                }));
            }
        }
        scaled(text).map(|(number, _)| Amount::Number(number))
    }
}

/// An amount in lower case, and whether it has a unit (thousands, millions).
fn scaled(text: &str) -> Option<(Decimal, bool)> {
    let mut text = text.trim();
    for sign in ["us$", "usd", "$"] {
        if let Some(rest) = text.strip_prefix(sign) {
            text = rest.trim_start();
            break;
        }
    }
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == ',' || c == '.'))
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    let factor: i64 = match unit.trim() {
        "" => 1,
        "k" | "thousand" => 1_000,
        "m" | "mm" | "mn" | "million" => 1_000_000,
        "b" | "bn" | "billion" => 1_000_000_000,
        _ => return None,
    };
    let number = plain(digits)?.checked_mul(&Decimal::from(factor))?;
    Some((number, factor != 1))
}

/// `1234`, `1,234`, `1,234.5`: commas only between groups of three.
fn plain(digits: &str) -> Option<Decimal> {
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let mut groups = whole.split(',');
    let first = groups.next()?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(first) || fraction.is_some_and(|f| !is_number(f)) {
        return None;
    }
    let mut number = first.to_string();
    for group in groups {
        if group.len() != 3 || !is_number(group) || first.len() > 3 {
            return None;
        }
        number.push_str(group);
    }
    if let Some(fraction) = fraction {
        number.push('.');
        number.push_str(fraction);
    }
    Decimal::parse(&number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<String> {
        let show = |bound: &Option<Bound>| {
            bound.as_ref().map_or_else(String::new, |bound| {
                let sign = if bound.inclusive { "" } else { "!" };
                format!("{sign}{}", bound.value.to_json())
            })
        };
        Amount::read(&Value::Text(text.to_string())).map(|amount| match amount {
            Amount::Number(number) => number.to_json().to_string(),
            Amount::Band(band) => format!("{}..{}", show(&band.low), show(&band.high)),
        })
    }

    #[test]
    fn common_shapes_are_read() {
        for (text, meaning) in [
            ("120", "120"),
            (" 1,200 ", "1200"),
            ("12.5", "12.5"),
            ("10M", "10000000"),
            ("$10M", "10000000"),
            ("$1.5 million", "1500000"),
            ("USD 2bn", "2000000000"),
            ("51-250", "51..250"),
            ("51 – 250 employees", "51..250"),
            ("11 to 50", "11..50"),
            ("$10M-$50M", "10000000..50000000"),
            ("$10m - $50m", "10000000..50000000"),
            ("1,001-5,000", "1001..5000"),
            ("0-1M", "0..1000000"),
            ("10,001+", "10001.."),
            ("500+ employees", "500.."),
            (">50M", "!50000000.."),
            ("< $1M", "..!1000000"),
            ("10-10", "10"),
        ] {
            assert_eq!(read(text).as_deref(), Some(meaning), "{text}");
        }
    }

    #[test]
    fn what_is_not_certain_is_refused() {
        for text in [
            "",
            "-",
            "many",
            "10-50M",
            "50-10",
            "€10M",
            "1,00",
            "1.2.3",
            "1e5",
            "10 - 20 - 30",
            "~200",
            "-5",
            "5x",
            "$",
            "10M ARR",
            "+",
            "1234,567",
            "NaN",
            "Infinity",
            "١٠",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_panics(text in "[-–0-9$.,kmbMK+<> a-z]{0,30}|.{0,30}") {
            Amount::read(&Value::Text(text));
        }

        #[test]
        fn plain_bands_are_read_back(low in 0i64..1_000_000, above in 1i64..1_000_000) {
            let text = format!("{low}-{}", low + above);
            prop_assert_eq!(read(&text), Some(format!("{low}..{}", low + above)));
        }
    }
}
