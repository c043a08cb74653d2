//! Times as clients write them: ISO-8601 in its usual forms, and seconds or milliseconds since
//! 1970.

use cdp_value::{Timestamp, DAY, HOUR, MINUTE, SECOND};

/// Why a text is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampError {
    /// The text has none of the accepted forms, or names a day or an hour that does not exist.
    Invalid,
    /// A time outside the years 1 to 9999.
    OutOfRange,
}

/// 0001-01-01 00:00 UTC.
const FIRST: Timestamp = -62_135_596_800 * SECOND;
/// The last microsecond of the year 9999, UTC.
const LAST: Timestamp = 253_402_300_800 * SECOND - 1;
/// Numbers from here on, either way, count milliseconds: in seconds it would be the year 5138.
const FIRST_MILLISECONDS: i128 = 100_000_000_000;

/// Checks that a time lies in the years 1 to 9999.
pub(crate) fn check_range(timestamp: i128) -> Result<Timestamp, TimestampError> {
    match i64::try_from(timestamp) {
        Ok(timestamp) if (FIRST..=LAST).contains(&timestamp) => Ok(timestamp),
        _ => Err(TimestampError::OutOfRange),
    }
}

/// Reads a time: `2024-05-01`, `2024-05-01T10:30Z`, `2024-05-01 10:30:00.123456+02:00`,
/// `20240501T103000Z`, or seconds or milliseconds since 1970 in digits. Without a zone the time
/// is UTC. Fractions beyond microseconds are rounded, as the server does.
pub fn parse_timestamp(text: &str) -> Result<Timestamp, TimestampError> {
    let text = text.trim();
    if looks_like_epoch(text) {
        return parse_epoch(text);
    }
    let mut reader = Reader {
        rest: text.as_bytes(),
    };
    let timestamp = reader.date_and_time().ok_or(TimestampError::Invalid)?;
    check_range(timestamp)
}

/// Whether the text is a plain number rather than a date.
fn looks_like_epoch(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let mut dots = 0;
    !digits.is_empty()
        && digits.bytes().all(|byte| {
            dots += usize::from(byte == b'.');
            byte.is_ascii_digit() || byte == b'.'
        })
        && dots <= 1
}

/// Reads a number of seconds since 1970, or of milliseconds when it is 10¹¹ or more either way.
/// Takes the text of any JSON number.
pub fn parse_epoch(text: &str) -> Result<Timestamp, TimestampError> {
    let text = text.trim();
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if unsigned.contains(['e', 'E']) {
        return parse_float_epoch(text);
    }
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if whole.is_empty()
        || !whole
            .bytes()
            .chain(fraction.bytes())
            .all(|b| b.is_ascii_digit())
    {
        return Err(TimestampError::Invalid);
    }
    if whole.trim_start_matches('0').len() > 18 {
        return Err(TimestampError::OutOfRange);
    }
    let number: i128 = whole.parse().map_err(|_| TimestampError::Invalid)?;
    let unit = if number >= FIRST_MILLISECONDS {
        1_000
    } else {
        1_000_000
    };
    // Twelve digits of the fraction are more than microseconds can show, and leave room to round.
    let mut part: i128 = 0;
    for position in 0..12 {
        let digit = fraction.as_bytes().get(position).map_or(0, |b| b - b'0');
        part = part * 10 + i128::from(digit);
    }
    let scale = 1_000_000_000_000;
    let magnitude = number * unit + (part * unit + scale / 2) / scale;
    check_range(if negative { -magnitude } else { magnitude })
}

/// Reads a number with an exponent, such as `1.7e9`.
fn parse_float_epoch(text: &str) -> Result<Timestamp, TimestampError> {
    let number: f64 = text.parse().map_err(|_| TimestampError::Invalid)?;
    if !number.is_finite() || number.abs() > 1e18 {
        return Err(TimestampError::OutOfRange);
    }
    let unit = if number.abs() >= FIRST_MILLISECONDS as f64 {
        1e3
    } else {
        1e6
    };
    check_range((number * unit).round() as i128)
}

/// Reads an ISO-8601 text from left to right.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Moves over a byte when it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Reads exactly `count` digits.
    fn number(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.rest.split_at_checked(count)?;
        let mut number = 0;
        for byte in digits {
            if !byte.is_ascii_digit() {
                return None;
            }
            number = number * 10 + i64::from(byte - b'0');
        }
        self.rest = rest;
        Some(number)
    }

    /// Reads the whole text. Microseconds since 1970, not yet checked for range.
    fn date_and_time(&mut self) -> Option<i128> {
        let year = self.number(4)?;
        let extended = self.take(b'-');
        let month = self.number(2)?;
        if extended && !self.take(b'-') {
            return None;
        }
        let day = self.number(2)?;
        // The year 0 does not exist in the server's calendar.
        if year == 0
            || !(1..=12).contains(&month)
            || !(1..=days_of_month(year, month)).contains(&day)
        {
            return None;
        }
        let midnight = i128::from(days_since_1970(year, month, day)) * i128::from(DAY);
        if self.rest.is_empty() {
            return extended.then_some(midnight);
        }
        if !(self.take(b'T') || self.take(b't') || self.take(b' ')) {
            return None;
        }
        let time = self.time(extended)?;
        let offset = self.zone()?;
        self.rest
            .is_empty()
            .then_some(midnight + i128::from(time) - i128::from(offset))
    }

    /// Reads the time of day, in microseconds.
    fn time(&mut self, extended: bool) -> Option<i64> {
        let hour = self.number(2)?;
        if extended && !self.take(b':') {
            return None;
        }
        let minute = self.number(2)?;
        let has_seconds = if extended {
            self.take(b':')
        } else {
            self.peek().is_some_and(|byte| byte.is_ascii_digit())
        };
        let mut second = 0;
        let mut fraction = 0;
        if has_seconds {
            second = self.number(2)?;
            if self.take(b'.') || self.take(b',') {
                fraction = self.fraction()?;
            }
        }
        // A leap second counts as the first one of the next minute; 24:00 is the next midnight.
        let valid = (hour < 24 && minute < 60 && second <= 60)
            || (hour == 24 && minute == 0 && second == 0 && fraction == 0);
        valid.then_some(hour * HOUR + minute * MINUTE + second * SECOND + fraction)
    }

    /// Reads the digits of a fraction of a second, in microseconds, rounded.
    fn fraction(&mut self) -> Option<i64> {
        let mut micros = 0;
        let mut count = 0;
        while let Some(byte @ b'0'..=b'9') = self.peek() {
            let digit = i64::from(byte - b'0');
            match count {
                0..=5 => micros = micros * 10 + digit,
                6 => micros += i64::from(digit >= 5),
                _ => {}
            }
            count += 1;
            self.take(byte);
        }
        if count == 0 {
            return None;
        }
        for _ in count..6 {
            micros *= 10;
        }
        Some(micros)
    }

    /// Reads the zone, as microseconds east of Greenwich; none means UTC.
    fn zone(&mut self) -> Option<i64> {
        self.take(b' ');
        let sign = match self.peek() {
            None => return Some(0),
            Some(b'Z' | b'z') => {
                self.rest = self.rest.get(1..)?;
                return Some(0);
            }
            Some(b'+') => 1,
            Some(b'-') => -1,
            Some(_) => {
                let name = self.rest;
                self.rest = &[];
                let utc = name.eq_ignore_ascii_case(b"utc") || name.eq_ignore_ascii_case(b"gmt");
                return utc.then_some(0);
            }
        };
        self.rest = self.rest.get(1..)?;
        let hours = self.number(2)?;
        let mut minutes = 0;
        let mut seconds = 0;
        if self.take(b':') || !self.rest.is_empty() {
            minutes = self.number(2)?;
            if self.take(b':') {
                seconds = self.number(2)?;
            }
        }
        // The widest offset that the server takes is just under 16 hours.
        (hours < 16 && minutes < 60 && seconds < 60)
            .then_some(sign * (hours * HOUR + minutes * MINUTE + seconds * SECOND))
    }
}

fn is_leap_year(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap_year(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, for years 1 and later.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March put the leap day at their end.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let days_before_year = year * 365 + year / 4 - year / 100 + year / 400;
    let days_before_month = (month * 153 + 2) / 5;
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    days_before_year + days_before_month + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, TimeZone, Utc};
    use proptest::prelude::*;

    fn micros(rfc3339: &str) -> i64 {
        DateTime::parse_from_rfc3339(rfc3339)
            .unwrap()
            .timestamp_micros()
    }

    #[test]
    fn reads_the_usual_forms() {
        let expected = micros("2024-05-01T10:30:15.123456Z");
        for text in [
            "2024-05-01T10:30:15.123456Z",
            "2024-05-01t10:30:15.123456z",
            "2024-05-01 10:30:15.123456",
            " 2024-05-01 10:30:15.123456+00 ",
            "2024-05-01T12:30:15.123456+02:00",
            "2024-05-01T12:30:15.123456+0200",
            "2024-05-01T05:00:15,1234561-05:30",
            "20240501T103015.123456Z",
            "2024-05-01 10:30:15.1234555 UTC",
            "1714559415.123456",
            "1714559415123.456",
        ] {
            assert_eq!(parse_timestamp(text), Ok(expected), "{text}");
        }
        assert_eq!(
            parse_timestamp("2024-05-01"),
            Ok(micros("2024-05-01T00:00:00Z"))
        );
        assert_eq!(
            parse_timestamp("2024-05-01T10:30"),
            Ok(micros("2024-05-01T10:30:00Z"))
        );
        assert_eq!(
            parse_timestamp("2024-05-01T24:00:00Z"),
            Ok(micros("2024-05-02T00:00:00Z"))
        );
        assert_eq!(
            parse_timestamp("2016-12-31T23:59:60Z"),
            Ok(micros("2017-01-01T00:00:00Z"))
        );
        assert_eq!(parse_timestamp("0"), Ok(0));
        assert_eq!(parse_timestamp("-1.5"), Ok(-1_500_000));
        assert_eq!(parse_epoch("1.7145594e9"), Ok(1_714_559_400_000_000));
        assert_eq!(parse_epoch("1700000000"), parse_epoch("1700000000000"));
    }

    #[test]
    fn the_change_from_seconds_to_milliseconds_is_at_1e11() {
        assert_eq!(parse_epoch("99999999999"), Ok(99_999_999_999 * SECOND));
        assert_eq!(parse_epoch("100000000000"), Ok(100_000_000 * SECOND));
        assert_eq!(parse_epoch("-100000000000"), Ok(-100_000_000 * SECOND));
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            " ",
            "now",
            "2024",
            "2024-05",
            "2024-13-01",
            "2024-02-30",
            "2023-02-29",
            "2024-05-01T",
            "2024-05-01T25:00",
            "2024-05-01T10",
            "2024-05-01T10:60",
            "24:00",
            "2024-05-01T24:00:01",
            "2024-05-01T10:30:",
            "2024-05-01T10:30:15.",
            "20240501T10:30",
            "2024-05-01T10:30:15+",
            "2024-05-01T10:30:15+16:00",
            "2024-05-01T10:30:15 CET",
            "2024-05-01T10:30Zx",
            "0000-01-01",
            "-2024-05-01",
            "1.2.3",
            ".",
            "-",
            "NaN",
            "infinity",
            "٢٠٢٤-٠٥-٠١",
        ] {
            let error = parse_timestamp(text);
            if text == "2024" {
                // Four digits are seconds: 33 minutes into 1970.
                assert_eq!(error, Ok(2024 * SECOND));
            } else {
                assert_eq!(error, Err(TimestampError::Invalid), "{text}");
            }
        }
    }

    #[test]
    fn refuses_absurd_years() {
        assert_eq!(parse_timestamp("0001-01-01"), Ok(FIRST));
        assert_eq!(parse_timestamp("9999-12-31T23:59:59.999999Z"), Ok(LAST));
        for text in [
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59.9999999Z",
            "9999-12-31T24:00:00Z",
            "1714559415123456",
            "99999999999999999999999999",
            "-99999999999999",
        ] {
            assert_eq!(
                parse_timestamp(text),
                Err(TimestampError::OutOfRange),
                "{text}"
            );
        }
        assert_eq!(parse_epoch("1e300"), Err(TimestampError::OutOfRange));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(17), ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_chrono(micros in FIRST..=LAST, offset in -899i32..=899) {
            let utc: DateTime<Utc> = Utc.timestamp_micros(micros).unwrap();
            let zone = chrono::FixedOffset::east_opt(offset * 60).unwrap();
            let local = utc.with_timezone(&zone);
            prop_assume!((1..=9999).contains(&chrono::Datelike::year(&local)));
            for text in [
                local.format("%Y-%m-%dT%H:%M:%S%.6f%:z").to_string(),
                local.format("%Y%m%dT%H%M%S,%6f%z").to_string(),
                utc.format("%Y-%m-%d %H:%M:%S%.6f").to_string(),
            ] {
                prop_assert_eq!(parse_timestamp(&text), Ok(micros), "{}", text);
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}", digits in "[-+0-9.eETZ: ]{0,40}") {
            let _ = parse_timestamp(&text);
            let _ = parse_timestamp(&digits);
            let _ = parse_epoch(&digits);
        }
    }
}
