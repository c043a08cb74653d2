//! Instants as text: ISO 8601, as `toISOString` and Postgres write it.

use cdp_value::{Timestamp, DAY, HOUR, MINUTE, SECOND};
use chrono::{DateTime, NaiveDate};

/// Reads `2024-01-15`, `2024-01-15T10:30`, `2024-01-15 10:30:00.25+02:00`, …: a date of years 1 to
/// 9999, optionally a time of day, optionally `Z` or an offset. Without an offset it is UTC. What
/// is finer than a microsecond is cut off.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let mut rest = Reader(text.as_bytes());
    let year = rest.digits(4)?;
    rest.literal(b'-')?;
    let month = rest.digits(2)?;
    rest.literal(b'-')?;
    let day = rest.digits(2)?;
    if year == 0 {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(
        i32::try_from(year).ok()?,
        u32::try_from(month).ok()?,
        u32::try_from(day).ok()?,
    )?;
    let days = date.signed_duration_since(NaiveDate::default()).num_days();
    let mut at = days * DAY;
    if rest.0.is_empty() {
        return Some(at);
    }
    if rest.literal(b'T').is_none() && rest.literal(b' ').is_none() {
        return None;
    }
    at += rest.below(24)? * HOUR;
    rest.literal(b':')?;
    at += rest.below(60)? * MINUTE;
    if rest.literal(b':').is_some() {
        at += rest.below(60)? * SECOND;
        if rest.literal(b'.').is_some() {
            at += rest.fraction()?;
        }
    }
    if rest.0.is_empty() || rest.literal(b'Z').is_some() {
        return rest.0.is_empty().then_some(at);
    }
    let sign = if rest.literal(b'+').is_some() {
        1
    } else {
        rest.literal(b'-')?;
        -1
    };
    let mut offset = rest.below(16)? * HOUR;
    if !rest.0.is_empty() {
        // `+0200` and `+02:00` say the same.
        let _ = rest.literal(b':');
        offset += rest.below(60)? * MINUTE;
    }
    rest.0.is_empty().then_some(at - sign * offset)
}

/// Writes an instant as `2024-01-15T10:30:00Z`, with microseconds when there are any.
pub fn format(at: Timestamp) -> Option<String> {
    let time = DateTime::from_timestamp_micros(at)?;
    Some(if at.rem_euclid(SECOND) == 0 {
        time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
    } else {
        time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
    })
}

struct Reader<'t>(&'t [u8]);

impl Reader<'_> {
    fn literal(&mut self, byte: u8) -> Option<()> {
        match self.0 {
            [first, rest @ ..] if *first == byte => {
                self.0 = rest;
                Some(())
            }
            _ => None,
        }
    }

    fn digit(&mut self) -> Option<i64> {
        match self.0 {
            [first, rest @ ..] if first.is_ascii_digit() => {
                self.0 = rest;
                Some(i64::from(first - b'0'))
            }
            _ => None,
        }
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        (0..count).try_fold(0, |number, _| Some(number * 10 + self.digit()?))
    }

    /// Two digits below a bound.
    fn below(&mut self, bound: i64) -> Option<i64> {
        self.digits(2).filter(|number| *number < bound)
    }

    /// One or more digits behind the decimal point, in microseconds.
    fn fraction(&mut self) -> Option<i64> {
        let mut worth = SECOND / 10;
        let mut micros = self.digit()? * worth;
        while let Some(digit) = self.digit() {
            worth /= 10;
            micros += digit * worth;
        }
        Some(micros)
    }
}
