//! The clock: real time, or the fixed time of `cdp.clock`.

use crate::error::{cut, state, Error, Result};
use crate::guc;
use cdp_value::Timestamp;
use pgrx::pg_sys;
use std::cell::RefCell;

/// Microseconds between 1970-01-01 and 2000-01-01, where Postgres' timestamps begin.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// The earliest instant that Postgres knows.
pub const FIRST: Timestamp = -210_866_803_200_000_000;

thread_local! {
    /// The last `cdp.clock` read and what it means, since parsing it costs more than using it.
    static FIXED: RefCell<Option<(String, Timestamp)>> = const { RefCell::new(None) };
}

/// From Postgres' timestamptz. Infinities become the ends of the range.
pub fn from_postgres(timestamp: i64) -> Timestamp {
    timestamp.saturating_add(POSTGRES_EPOCH)
}

/// To Postgres' timestamptz.
pub fn to_postgres(timestamp: Timestamp) -> i64 {
    timestamp.saturating_sub(POSTGRES_EPOCH)
}

/// What `cdp.now()` says.
pub fn now() -> Result<Timestamp> {
    match guc::clock() {
        Some(text) => fixed(&text),
        None => Ok(real()),
    }
}

/// Whether `cdp.clock` fixes the time.
pub fn is_fixed() -> bool {
    guc::clock().is_some()
}

/// The real time, for leases and retries, which a test clock must not freeze.
pub fn real() -> Timestamp {
    // SAFETY: reads the system's clock.
    from_postgres(unsafe { pg_sys::GetCurrentTimestamp() })
}

fn fixed(text: &str) -> Result<Timestamp> {
    let known = FIXED.with_borrow(|fixed| fixed.as_ref().filter(|f| f.0 == text).map(|f| f.1));
    if let Some(at) = known {
        return Ok(at);
    }
    let parsed = text
        .trim()
        .parse::<chrono::DateTime<chrono::Utc>>()
        .map(|t| t.timestamp_micros())
        .ok()
        .or_else(|| parse_like_postgres(text.trim()))
        .ok_or_else(|| {
            Error::new(state::INVALID_SETTING, format!("cdp.clock is not a time: \"{}\"", cut(text)))
                .hint("Set cdp.clock to a time such as '1998-07-01 00:00:00+00', or reset it to use the real time.")
        })?;
    FIXED.set(Some((text.to_string(), parsed)));
    Ok(parsed)
}

/// The forms people type: a date, or a date and time with a space, UTC unless a zone is given.
fn parse_like_postgres(text: &str) -> Option<Timestamp> {
    use chrono::{DateTime, NaiveDate, NaiveDateTime};
    for format in ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M%#z"] {
        if let Ok(at) = DateTime::parse_from_str(text, format) {
            return Some(at.timestamp_micros());
        }
    }
    let utc = text.strip_suffix("UTC").map_or(text, str::trim_end);
    for format in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"] {
        if let Ok(at) = NaiveDateTime::parse_from_str(utc, format) {
            return Some(at.and_utc().timestamp_micros());
        }
    }
    let day = NaiveDate::parse_from_str(utc, "%Y-%m-%d").ok()?;
    Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
}
