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
    /// Number of sessions: runs of events no further apart than the gap (microseconds).
    Sessions(i64),
    /// Whole units since the first event, null when there was none.
    FirstSeenAgo(AgoUnit),
    /// Whole units since the last event, null when there was none.
    LastSeenAgo(AgoUnit),
}
