//! Constants of SQL.

use cdp_value::{Decimal, SECOND};

/// A text constant, safe whatever the text and the setting of `standard_conforming_strings`.
/// A NUL, which no text of Postgres can hold, becomes a replacement character.
pub(super) fn text(text: &str) -> String {
    let escaped = text.contains('\\');
    let mut quoted = String::with_capacity(text.len() + 10);
    quoted.push_str(if escaped { "E'" } else { "'" });
    for character in text.chars() {
        match character {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\0' => quoted.push('\u{fffd}'),
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

/// A constant of a type.
pub(super) fn typed(value: &str, of: &str) -> String {
    format!("{}::{of}", text(value))
}

/// A numeric constant: never an integer, which would divide differently.
pub(super) fn number(number: &Decimal) -> String {
    typed(&number.to_string(), "numeric")
}

/// An interval of microseconds, without days or months: those have no fixed length.
pub(super) fn interval(microseconds: i64) -> String {
    let (whole, rest) = (microseconds / SECOND, (microseconds % SECOND).abs());
    let sign = if microseconds < 0 && whole == 0 {
        "-"
    } else {
        ""
    };
    typed(&format!("{sign}{whole}.{rest:06} seconds"), "interval")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_end_early() {
        for (plain, quoted) in [
            ("", "''"),
            ("it's", "'it''s'"),
            ("'; DROP TABLE x; --", "'''; DROP TABLE x; --'"),
            ("\\'", "E'\\\\'''"),
            ("\\", "E'\\\\'"),
            ("a\0b", "'a\u{fffd}b'"),
            ("$$ü\n", "'$$ü\n'"),
        ] {
            assert_eq!(text(plain), quoted);
        }
    }

    #[test]
    fn intervals_are_exact() {
        assert_eq!(
            interval(7 * 86_400_000_000),
            "'604800.000000 seconds'::interval"
        );
        assert_eq!(interval(-1), "'-0.000001 seconds'::interval");
    }
}
