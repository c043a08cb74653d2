//! Functions that generated statements call because Postgres has none that mean the same on every
//! installation. Whoever runs the statements defines them in the schema `SqlNames::functions`,
//! strict, immutable and parallel safe, over the functions of this module:
//!
//! | in SQL | here |
//! | --- | --- |
//! | `lower_text(text) → text` | [`lower`] |
//! | `upper_text(text) → text` | [`upper`] |
//! | `text_matches(text, pattern text) → boolean` | [`matches`] |
//! | `text_to_instant(text) → timestamptz` | [`instant`] |
//! | `value_order(jsonb) → bytea` | [`order`] |
//! | `value_is_listable(jsonb) → boolean` | `cdp_state::is_listable` |

use crate::pattern::Pattern;
use cdp_value::{Timestamp, Value};

/// Names of the functions in SQL.
pub(super) const LOWER: &str = "lower_text";
pub(super) const UPPER: &str = "upper_text";
pub(super) const MATCHES: &str = "text_matches";
pub(super) const INSTANT: &str = "text_to_instant";
pub(super) const ORDER: &str = "value_order";
pub(super) const LISTABLE: &str = "value_is_listable";

/// The text in lower case, by Unicode, whatever the database's locale.
pub fn lower(text: &str) -> String {
    text.to_lowercase()
}

/// The text in upper case, by Unicode, whatever the database's locale.
pub fn upper(text: &str) -> String {
    text.to_uppercase()
}

/// Whether a pattern occurs in a text; false for a pattern that is none. Compiling a pattern takes
/// longer than matching it: keep the last one in `cache`.
pub fn matches(text: &str, pattern: &str, cache: &mut Option<Pattern>) -> bool {
    if cache.as_ref().is_none_or(|known| known.as_str() != pattern) {
        *cache = Pattern::new(pattern).ok();
    }
    cache.as_ref().is_some_and(|known| known.is_match(text))
}

/// The instant that an ISO 8601 text stands for, in microseconds since 1970; None when it is none.
pub fn instant(text: &str) -> Option<Timestamp> {
    crate::time::parse(text)
}

/// Bytes that sort as [`Value::total_cmp`] does.
pub fn order(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, value);
    bytes
}

/// Ends a list of items: below every tag.
const END: u8 = 0;

fn put(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => bytes.push(1),
        Value::Bool(b) => bytes.extend([2, u8::from(*b)]),
        Value::Number(number) => {
            bytes.push(3);
            put_number(bytes, number);
        }
        Value::Text(text) => {
            bytes.push(4);
            put_text(bytes, text);
        }
        Value::Array(items) => {
            bytes.push(5);
            for item in items {
                put(bytes, item);
            }
            bytes.push(END);
        }
        Value::Object(members) => {
            bytes.push(6);
            for (key, value) in members {
                bytes.push(1);
                put_text(bytes, key);
                put(bytes, value);
            }
            bytes.push(END);
        }
    }
}

/// A text, ended so that a prefix sorts first: zero bytes inside are escaped.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        bytes.push(byte);
        if byte == 0 {
            bytes.push(0xff);
        }
    }
    bytes.extend([0, 0]);
}

/// Sign, power of ten, digits; those of negative numbers inverted.
fn put_number(bytes: &mut Vec<u8>, number: &cdp_value::Decimal) {
    if number.is_zero() {
        bytes.push(1);
        return;
    }
    let (digits, scale) = number.to_parts();
    let text = digits.magnitude().to_string();
    let exponent = i64::try_from(text.len()).unwrap_or(i64::MAX) - scale;
    // Numbers have at most 400 digits before and 1,000 after the point.
    let exponent = u16::try_from(exponent + 0x4000).unwrap_or(0);
    let mut coded = exponent.to_be_bytes().to_vec();
    coded.extend(text.trim_end_matches('0').bytes());
    coded.push(0);
    if number.is_negative() {
        bytes.push(0);
        bytes.extend(coded.iter().map(|byte| !byte));
    } else {
        bytes.push(2);
        bytes.extend(coded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_sort_as_values_do() {
        let texts = [
            "null",
            "false",
            "true",
            "-1e300",
            "-12",
            "-1.5",
            "-1.45",
            "-0.001",
            "0",
            "1e-300",
            "0.01",
            "0.1",
            "1",
            "1.000001",
            "2",
            "9",
            "10",
            "11",
            "100",
            "1e300",
            "\"\"",
            "\"\\u0000\"",
            "\"a\"",
            "\"a\\u0000\"",
            "\"a\\u0001\"",
            "\"ab\"",
            "\"b\"",
            "\"ü\"",
            "[]",
            "[null]",
            "[1]",
            "[1,1]",
            "[2]",
            "[[]]",
            "[[1]]",
            "[{}]",
            "{}",
            "{\"a\":1}",
            "{\"a\":1,\"b\":1}",
            "{\"a\":2}",
            "{\"b\":0}",
        ];
        let values: Vec<Value> = texts
            .iter()
            .filter_map(|text| serde_json::from_str(text).ok())
            .map(|json| Value::from_json(&json))
            .collect();
        assert_eq!(values.len(), texts.len());
        for a in &values {
            for b in &values {
                assert_eq!(order(a).cmp(&order(b)), a.total_cmp(b), "{a} {b}");
            }
        }
    }

    #[test]
    fn patterns_are_kept() {
        let mut cache = None;
        assert!(matches("abc", "^a", &mut cache));
        assert!(!matches("bc", "^a", &mut cache));
        assert!(matches("bc", "c$", &mut cache));
        assert!(!matches("bc", "(", &mut cache));
    }
}
