//! When a destination says how long to wait.

use chrono::{DateTime, NaiveDateTime};
use serde_json::Value;
use std::time::Duration;

/// Longest wait that is believed: a destination that asks for more is asked again after a day.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How long to wait, from the headers or the body of an answer; `now` in milliseconds since 1970.
///
/// Read in this order: `retry-after-ms`; `retry-after` and `x-ratelimit-retry-after` as seconds
/// (whole or not), with a unit (`1s`, `250ms`, `2m`, `1h`), or as an HTTP date in its three forms
/// or RFC 3339; `x-ratelimit-reset-after` in seconds; the body's `retry_after_ms`, `retry_after`
/// or `retryAfter`, at the top or inside `error` or `parameters`; `x-ratelimit-reset` and
/// `ratelimit-reset` as seconds, or as an instant in seconds or milliseconds since 1970.
/// A wait in the past is no wait; what cannot be read is as if it were not there.
pub fn retry_after(headers: &[(String, String)], body: &[u8], now: i64) -> Option<Duration> {
    let header = |name: &str| {
        headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    };
    let found = header("retry-after-ms")
        .and_then(|text| seconds(text, 0.001))
        .or_else(|| header("retry-after").and_then(|text| wait(text, now)))
        .or_else(|| header("x-ratelimit-retry-after").and_then(|text| wait_or_instant(text, now)))
        .or_else(|| header("x-ratelimit-reset-after").and_then(|text| wait(text, now)))
        .or_else(|| from_body(body, now))
        .or_else(|| header("x-ratelimit-reset").and_then(|text| wait_or_instant(text, now)))
        .or_else(|| header("ratelimit-reset").and_then(|text| wait_or_instant(text, now)))?;
    Some(found.min(LONGEST))
}

fn seconds(text: &str, unit: f64) -> Option<Duration> {
    let plain = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || c == '.' || c == '-');
    let value: f64 = if plain {
        text.parse().ok()?
    } else {
        return None;
    };
    let value = (value * unit).clamp(0.0, LONGEST.as_secs_f64());
    Duration::try_from_secs_f64(value).ok()
}

fn wait(text: &str, now: i64) -> Option<Duration> {
    let text = text.trim();
    seconds(text, 1.0)
        .or_else(|| {
            [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)]
                .into_iter()
                .find_map(|(suffix, unit)| seconds(text.strip_suffix(suffix)?, unit))
        })
        .or_else(|| until(date(text)?, now))
}

fn wait_or_instant(text: &str, now: i64) -> Option<Duration> {
    match text.parse::<f64>() {
        Ok(value) if value >= 1e11 => until(value as i64, now),
        Ok(value) if value >= 1e9 => until((value * 1000.0) as i64, now),
        _ => wait(text, now),
    }
}

fn until(instant: i64, now: i64) -> Option<Duration> {
    Some(Duration::from_millis(
        u64::try_from(instant.saturating_sub(now)).unwrap_or(0),
    ))
}

/// Milliseconds since 1970 of an HTTP date (RFC 9110 §5.6.7, all three forms) or RFC 3339 text.
fn date(text: &str) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc2822(text) {
        return Some(time.timestamp_millis());
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_millis());
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .map(|time| time.and_utc().timestamp_millis())
}

fn from_body(body: &[u8], now: i64) -> Option<Duration> {
    // An answer to a throttled request is short; a large one is not worth parsing for this.
    if body.len() > 64 * 1024 || body.first() != Some(&b'{') {
        return None;
    }
    let value: Value = serde_json::from_slice(body).ok()?;
    for object in [Some(&value), value.get("error"), value.get("parameters")] {
        if let Some(wait) = object.and_then(|object| from_object(object, now)) {
            return Some(wait);
        }
    }
    None
}

fn from_object(object: &Value, now: i64) -> Option<Duration> {
    let read = |key: &str| match object.get(key)? {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    };
    read("retry_after_ms")
        .and_then(|text| seconds(&text, 0.001))
        .or_else(|| read("retry_after").and_then(|text| wait(&text, now)))
        .or_else(|| read("retryAfter").and_then(|text| wait(&text, now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06 08:49:37 UTC, the example of RFC 9110.
    const THEN: i64 = 784_111_777_000;

    fn from_header(name: &str, value: &str) -> Option<f64> {
        retry_after(&[(name.to_string(), value.to_string())], b"", THEN - 10_000)
            .map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn header_forms() {
        for (name, value, wait) in [
            ("Retry-After", "120", Some(120.0)),
            ("retry-after", " 1.5 ", Some(1.5)),
            ("retry-after", "0", Some(0.0)),
            ("retry-after", "-3", Some(0.0)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", Some(10.0)),
            ("retry-after", "Sunday, 06-Nov-94 08:49:37 GMT", Some(10.0)),
            ("retry-after", "Sun Nov  6 08:49:37 1994", Some(10.0)),
            ("retry-after", "1994-11-06T08:49:37Z", Some(10.0)),
            ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT", Some(0.0)),
            ("retry-after", "1s", Some(1.0)),
            ("retry-after", "250ms", Some(0.25)),
            ("retry-after", "2m", Some(120.0)),
            ("retry-after", "99999999999", Some(86400.0)),
            ("retry-after", "soon", None),
            ("retry-after", "", None),
            ("retry-after", "NaN", None),
            ("retry-after", "inf", None),
            ("retry-after", "1e400", None),
            ("retry-after-ms", "1500", Some(1.5)),
            ("x-ratelimit-reset", "784111777", Some(86400.0)),
            ("x-ratelimit-reset", "30", Some(30.0)),
            ("x-ratelimit-reset-after", "0.75", Some(0.75)),
        ] {
            assert_eq!(from_header(name, value), wait, "{name}: {value}");
        }
    }

    #[test]
    fn instants_in_reset_headers() {
        let now = 1_700_000_000_000;
        for value in ["1700000012", "1700000012000"] {
            let headers = [("X-RateLimit-Reset".to_string(), value.to_string())];
            assert_eq!(
                retry_after(&headers, b"", now),
                Some(Duration::from_secs(12))
            );
        }
    }

    #[test]
    fn body_forms() {
        for (body, wait) in [
            (r#"{"retry_after": 0.65, "global": false}"#, Some(0.65)),
            (r#"{"retry_after": "3"}"#, Some(3.0)),
            (r#"{"error": {"retry_after": 4}}"#, Some(4.0)),
            (r#"{"parameters": {"retry_after": 5}}"#, Some(5.0)),
            (r#"{"retry_after_ms": 250}"#, Some(0.25)),
            (r#"{"retry_after": null}"#, None),
            ("[1]", None),
            ("{", None),
        ] {
            let found = retry_after(&[], body.as_bytes(), THEN).map(|wait| wait.as_secs_f64());
            assert_eq!(found, wait, "{body}");
        }
    }
}
