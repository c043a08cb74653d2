//! When something that recurs is due: cron expressions in a time zone.

use cdp_value::Timestamp;
use chrono::{DateTime, TimeZone, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};
use croner::Cron;
use std::str::FromStr;

/// A cron expression of five fields (minute, hour, day of month, month, day of week) in a time zone.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
}

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleError {
    /// The expression cannot be read; why.
    Expression(String),
    /// There is no time zone of this name.
    Zone(String),
    /// It can be read, but such a day never comes, as in `0 0 31 2 *`.
    Never,
}

impl Schedule {
    /// Reads a cron expression, or one of `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`, and the IANA name of a
    /// time zone. `now` is used to see whether it comes at all.
    pub fn new(expression: &str, zone: &str, now: Timestamp) -> Result<Schedule, ScheduleError> {
        let zone = Tz::from_str(zone).map_err(|_| ScheduleError::Zone(zone.to_string()))?;
        let cron = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .dom_and_dow(false)
            .build()
            .parse(expression)
            .map_err(|error| ScheduleError::Expression(error.to_string()))?;
        let schedule = Schedule { cron, zone };
        match schedule.next(now) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never),
        }
    }

    /// The first instant after `after` at which it is due. A local time that a change of the clock leaves out counts
    /// as the instant of the change; one that comes twice counts once, for an hour given by number.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after: DateTime<Utc> = Utc.timestamp_micros(after).single()?;
        let next = self
            .cron
            .find_next_occurrence(&after.with_timezone(&self.zone), false)
            .ok()?;
        Some(next.timestamp_micros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        DateTime::parse_from_rfc3339(text)
            .unwrap()
            .timestamp_micros()
    }

    #[track_caller]
    fn check(expression: &str, zone: &str, after: &str, expected: &str) {
        let schedule = Schedule::new(expression, zone, at(after)).unwrap();
        let next = schedule.next(at(after)).unwrap();
        assert_eq!(
            next,
            at(expected),
            "{}",
            Utc.timestamp_micros(next).unwrap()
        );
    }

    #[test]
    fn finds_the_next_time() {
        check(
            "0 */4 * * *",
            "UTC",
            "2026-01-15T12:00:00Z",
            "2026-01-15T16:00:00Z",
        );
        check(
            "0 */4 * * *",
            "UTC",
            "2026-01-15T11:59:59.999999Z",
            "2026-01-15T12:00:00Z",
        );
        check(
            "0 2 * * 0",
            "UTC",
            "2026-01-15T12:00:00Z",
            "2026-01-18T02:00:00Z",
        );
        check(
            "*/15 9-17 * * MON-FRI",
            "UTC",
            "2026-01-16T17:50:00Z",
            "2026-01-19T09:00:00Z",
        );
        check(
            "30 6 1 * *",
            "UTC",
            "2026-01-15T12:00:00Z",
            "2026-02-01T06:30:00Z",
        );
        check(
            "0 0 29 2 *",
            "UTC",
            "2026-01-15T12:00:00Z",
            "2028-02-29T00:00:00Z",
        );
        check(
            "@daily",
            "UTC",
            "2026-01-15T12:00:00Z",
            "2026-01-16T00:00:00Z",
        );
        // Where day of month and day of week are both given, either is enough.
        check(
            "0 0 20 * 0",
            "UTC",
            "2026-01-15T12:00:00Z",
            "2026-01-18T00:00:00Z",
        );
    }

    #[test]
    fn counts_in_its_time_zone() {
        check(
            "0 2 * * 0",
            "America/New_York",
            "2026-01-15T12:00:00Z",
            "2026-01-18T07:00:00Z",
        );
        check(
            "0 9 * * *",
            "Europe/Berlin",
            "2026-07-01T12:00:00Z",
            "2026-07-02T07:00:00Z",
        );
        // On 29 March there is no half past two: the clock goes from 2 to 3, at 1 in UTC.
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            "2026-03-29T01:00:00Z",
        );
        // On 25 October half past two comes twice.
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            "2026-10-25T00:30:00Z",
        );
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-25T00:30:00Z",
            "2026-10-26T01:30:00Z",
        );
    }

    #[test]
    fn refuses_what_cannot_be() {
        let now = at("2026-01-15T12:00:00Z");
        for expression in [
            "",
            "* * * *",
            "61 * * * *",
            "* 25 * * *",
            "nonsense",
            "* * * * * *",
            "0 0 * * 9",
        ] {
            let error = Schedule::new(expression, "UTC", now).unwrap_err();
            assert!(
                matches!(error, ScheduleError::Expression(_)),
                "{expression}: {error:?}"
            );
        }
        assert_eq!(
            Schedule::new("0 0 31 2 *", "UTC", now).unwrap_err(),
            ScheduleError::Never
        );
        assert_eq!(
            Schedule::new("* * * * *", "Mars/Base", now).unwrap_err(),
            ScheduleError::Zone("Mars/Base".into())
        );
    }

    #[test]
    fn survives_any_time() {
        let schedule = Schedule::new("* * * * *", "UTC", at("2026-01-15T12:00:00Z")).unwrap();
        for after in [Timestamp::MIN, Timestamp::MAX, -1, 0] {
            let _ = schedule.next(after);
        }
    }
}
