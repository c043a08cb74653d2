//! Local calendar days and clock hours.

use cdp_value::{Timestamp, DAY, HOUR, MINUTE, SECOND};
use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;
use std::cell::Cell;
use std::str::FromStr;

/// Numbers the local days and hours of a time zone.
///
/// Both are what the wall clock shows: in the night in which clocks go back, the hour that
/// happens twice is one hour, as in `date_trunc('hour', ts AT TIME ZONE zone)`.
pub trait Calendar {
    /// The local day: days since 1970-01-01 in local time.
    fn day(&self, ts: Timestamp) -> i32;
    /// The local hour: hours since 1970-01-01 00:00 in local time.
    fn hour(&self, ts: Timestamp) -> i64;
}

/// Days and hours of UTC.
#[derive(Debug, Clone, Copy, Default)]
pub struct Utc;

impl Calendar for Utc {
    fn day(&self, ts: Timestamp) -> i32 {
        day_number(ts)
    }

    fn hour(&self, ts: Timestamp) -> i64 {
        ts.div_euclid(HOUR)
    }
}

/// No time of 64-bit microseconds is more than 2^27 days away from 1970.
fn day_number(local: Timestamp) -> i32 {
    i32::try_from(local.div_euclid(DAY)).unwrap_or(0)
}

/// Days and hours of a zone of the IANA database, daylight saving time included.
#[derive(Debug, Clone)]
pub struct Zoned {
    /// None for UTC, where nothing has to be looked up.
    zone: Option<Tz>,
    /// The last slice of time that was looked up, and its offset from UTC in microseconds.
    recent: Cell<(i64, i64)>,
}

/// Zones change their offset at whole minutes of UTC, in practice at quarters of an hour.
const SLICE: i64 = 15 * MINUTE;
const NO_SLICE: i64 = i64::MIN;

impl Zoned {
    /// The calendar of a zone by its IANA name, such as `Europe/Berlin`. None when unknown.
    pub fn new(name: &str) -> Option<Zoned> {
        let is_utc = |zone: &Tz| matches!(zone, Tz::UTC | Tz::Etc__UTC);
        Tz::from_str(name).ok().map(|zone| Zoned {
            zone: Some(zone).filter(|zone| !is_utc(zone)),
            recent: Cell::new((NO_SLICE, 0)),
        })
    }

    fn lookup(zone: Tz, ts: Timestamp) -> i64 {
        // Far beyond the years that chrono knows the zone's last rule does not matter.
        DateTime::from_timestamp(ts.div_euclid(SECOND), 0).map_or(0, |instant| {
            let offset = zone.offset_from_utc_datetime(&instant.naive_utc());
            i64::from(offset.fix().local_minus_utc()) * SECOND
        })
    }

    fn local(&self, ts: Timestamp) -> Timestamp {
        let Some(zone) = self.zone else {
            return ts;
        };
        let slice = ts.div_euclid(SLICE);
        let (known, offset) = self.recent.get();
        if known == slice {
            return ts.saturating_add(offset);
        }
        let offset = Zoned::lookup(zone, ts);
        let start = slice.saturating_mul(SLICE);
        // Before the age of railways offsets changed at odd seconds: such a slice is not kept.
        let end = start.saturating_add(SLICE - 1);
        if Zoned::lookup(zone, start) == offset && Zoned::lookup(zone, end) == offset {
            self.recent.set((slice, offset));
        }
        ts.saturating_add(offset)
    }
}

impl Calendar for Zoned {
    fn day(&self, ts: Timestamp) -> i32 {
        day_number(self.local(ts))
    }

    fn hour(&self, ts: Timestamp) -> i64 {
        self.local(ts).div_euclid(HOUR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Microseconds of a time that is written in UTC.
    fn at(text: &str) -> Timestamp {
        text.parse::<DateTime<chrono::Utc>>()
            .unwrap()
            .timestamp_micros()
    }

    #[test]
    fn days_follow_the_wall_clock() {
        let berlin = Zoned::new("Europe/Berlin").unwrap();
        let midnight = at("2024-06-30T22:00:00Z");
        assert_eq!(berlin.day(midnight) - berlin.day(midnight - 1), 1);
        assert_eq!(berlin.day(midnight), Utc.day(midnight) + 1);
        // 2024-03-31 has 23 hours, 2024-10-27 has 25.
        let spring = at("2024-03-30T23:00:00Z");
        assert_eq!(berlin.day(spring + 23 * HOUR - 1), berlin.day(spring));
        assert_eq!(berlin.day(spring + 23 * HOUR), berlin.day(spring) + 1);
        let autumn = at("2024-10-26T22:00:00Z");
        assert_eq!(berlin.day(autumn + 25 * HOUR - 1), berlin.day(autumn));
        assert_eq!(berlin.day(autumn + 25 * HOUR), berlin.day(autumn) + 1);
    }

    #[test]
    fn the_hour_that_happens_twice_is_one() {
        let berlin = Zoned::new("Europe/Berlin").unwrap();
        let first = at("2024-10-27T00:30:00Z");
        assert_eq!(berlin.hour(first), berlin.hour(first + HOUR));
        assert_eq!(berlin.hour(first) + 1, berlin.hour(first + 2 * HOUR));
        let kathmandu = Zoned::new("Asia/Kathmandu").unwrap();
        let quarter = at("2024-01-01T00:15:00Z");
        assert_eq!(kathmandu.hour(quarter) - kathmandu.hour(quarter - 1), 1);
    }

    #[test]
    fn offsets_may_change_within_a_quarter_of_an_hour() {
        // Liberia was 44 minutes and 30 seconds behind Greenwich until 1972.
        let monrovia = Zoned::new("Africa/Monrovia").unwrap();
        let (before, after) = (at("1972-01-07T00:31:00Z"), at("1972-01-07T00:44:40Z"));
        let days = [before, after, before].map(|ts| monrovia.day(ts));
        assert_eq!(days, [735, 736, 735]);
    }

    #[test]
    fn utc_is_utc() {
        for (name, ts) in [("UTC", at("2024-06-30T22:00:00Z")), ("Etc/UTC", -1)] {
            let utc = Zoned::new(name).unwrap();
            assert_eq!((utc.day(ts), utc.hour(ts)), (Utc.day(ts), Utc.hour(ts)));
        }
    }

    #[test]
    fn no_time_is_too_far() {
        let berlin = Zoned::new("Europe/Berlin").unwrap();
        for ts in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX] {
            berlin.day(ts);
            berlin.hour(ts);
            Utc.day(ts);
        }
        assert!(Zoned::new("Mars/Olympus").is_none());
    }
}
