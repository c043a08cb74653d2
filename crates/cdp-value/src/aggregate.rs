//! The vocabulary of aggregates over a person's events (DESIGN.md §6).

/// The length of a rolling window that ends now, in microseconds. `7d` is 7 × 24 hours.
///
/// At instant `t` an event at `ts` is inside when `t - length <= ts <= t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    /// Length in microseconds, always positive.
    pub length: i64,
}

/// The unit of an "ago" value; the value is the whole number of units that have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AgoUnit {
    Minutes,
    Hours,
    Days,
}

/// What is computed over the events of one source (event name, optional filter, optional property).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AggregateFunction {
    /// Number of events; 0 when there was none.
    Count,
    /// Calendar days, in the namespace's time zone, with at least one event.
    UniqueDays,
    /// Clock hours, in the namespace's time zone, with at least one event.
    UniqueHours,
    /// Sum of a numeric property; null when no event had a number there.
    Sum,
    /// Sum divided by the number of numbers; null when there was none.
    Avg,
    Min,
    Max,
    /// Value of the property at the earliest event that has it (not null).
    First,
    /// Value of the property at the latest event that has it (not null).
    Last,
    /// Most frequent value; ties go to the alphabetically first.
    Top,
    /// Distinct values in alphabetical order, as an array.
    List,
    /// Number of distinct values.
    Unique,
    /// p50 … p99 of a numeric property: the argument is 1 … 99.
    Percentile(u8),
    /// Number of events, of which at most `most` count in each period.
    LimitedCount {
        most: u32,
        period: Period,
    },
    /// Number of events, each worth the less the older it is: the sum over all steps of
    /// `min(events of the step, most) × 0.5 ^ (age / half_life)`, where the age of a step is the
    /// number of steps from it to now times the length of a step. What is older than 20
    /// half-lives counts nothing. Rounded to six digits after the point.
    DecayedCount {
        /// Microseconds, positive.
        half_life: i64,
        step: Period,
        /// Most events of a step that count; None for no limit.
        most: Option<u32>,
    },
    /// Number of sessions: runs of events no further apart than the gap (microseconds).
    Sessions(i64),
    /// Whole units since the first event, null when there was none.
    FirstSeenAgo(AgoUnit),
    /// Whole units since the last event, null when there was none.
    LastSeenAgo(AgoUnit),
}

/// A period of the calendar, in the namespace's time zone. Weeks begin on Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    Hour,
    Day,
    Week,
}

impl Period {
    /// Every period.
    pub const ALL: [Period; 3] = [Period::Hour, Period::Day, Period::Week];

    /// Length in microseconds, changes of daylight saving time aside.
    pub fn length(self) -> i64 {
        match self {
            Period::Hour => crate::HOUR,
            Period::Day => crate::DAY,
            Period::Week => 7 * crate::DAY,
        }
    }

    /// Its name: `hour`, `day`, `week`.
    pub fn as_str(self) -> &'static str {
        match self {
            Period::Hour => "hour",
            Period::Day => "day",
            Period::Week => "week",
        }
    }

    /// The inverse of [`Period::as_str`].
    pub fn parse(name: &str) -> Option<Period> {
        Period::ALL
            .into_iter()
            .find(|period| period.as_str() == name)
    }

    /// The steps in which something decays unless said otherwise: hours for a half-life of less
    /// than two days, else days.
    pub fn default_step(half_life: i64) -> Period {
        if half_life < 2 * crate::DAY {
            Period::Hour
        } else {
            Period::Day
        }
    }
}
