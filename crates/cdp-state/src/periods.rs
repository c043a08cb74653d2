//! Events by calendar period: counts with a limit per period, and counts that decay.

use crate::bytes::{put, put_signed, Reader};
use crate::calendar::Calendar;
use crate::StateError;
use cdp_value::{Decimal, Period, Timestamp, Value, DAY, HOUR};
use std::collections::BTreeMap;

/// Half-lives after which an event counts nothing: its weight is below a millionth.
const HALF_LIVES: i64 = 20;
/// Digits after the decimal point of a decayed count.
const DIGITS: usize = 6;

/// What makes two aggregates share a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Grid {
    pub(crate) period: Period,
    /// Most events of a period that count; None for no limit.
    pub(crate) most: Option<u32>,
}

/// A histogram that a slot keeps, and how far back it reaches; None for all time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GridSpec {
    pub(crate) grid: Grid,
    pub(crate) reach: Option<i64>,
}

impl GridSpec {
    pub(crate) fn limited(most: u32, period: Period) -> GridSpec {
        let grid = Grid {
            period,
            most: Some(most),
        };
        GridSpec { grid, reach: None }
    }

    pub(crate) fn decayed(half_life: i64, period: Period, most: Option<u32>) -> GridSpec {
        let grid = Grid { period, most };
        let reach = Some(half_life.saturating_mul(HALF_LIVES));
        GridSpec { grid, reach }
    }

    /// Takes over the longer reach.
    pub(crate) fn extend(&mut self, other: &GridSpec) {
        self.reach = match (self.reach, other.reach) {
            (Some(a), Some(b)) => Some(a.max(b)),
            _ => None,
        };
    }
}

/// The number of the period that an instant lies in.
pub(crate) fn number(period: Period, ts: Timestamp, calendar: &dyn Calendar) -> i64 {
    match period {
        Period::Hour => calendar.hour(ts),
        Period::Day => i64::from(calendar.day(ts)),
        // 1970-01-01 was a Thursday.
        Period::Week => (i64::from(calendar.day(ts)) + 3).div_euclid(7),
    }
}

/// The first instant after `now` that lies in a later period.
fn next_period(period: Period, now: Timestamp, calendar: &dyn Calendar) -> Option<Timestamp> {
    let current = number(period, now, calendar);
    // A day may have 25 hours, and clocks may go back for an hour.
    let longest = match period {
        Period::Hour => 3 * HOUR,
        Period::Day => DAY + 3 * HOUR,
        Period::Week => 7 * DAY + 3 * HOUR,
    };
    let (mut before, mut after) = (now, now.checked_add(longest)?);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if number(period, middle, calendar) > current {
            after = middle;
        } else {
            before = middle;
        }
    }
    Some(after)
}

/// Events by period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Periods {
    pub(crate) grid: Grid,
    /// Number of events by period, none of them 0 and none above the grid's limit.
    counts: BTreeMap<i64, u64>,
}

impl Periods {
    pub(crate) fn new(grid: Grid) -> Periods {
        let counts = BTreeMap::new();
        Periods { grid, counts }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    fn add(&mut self, number: i64, events: u64) {
        let most = self.grid.most.map_or(u64::MAX, u64::from);
        let count = self.counts.entry(number).or_insert(0);
        *count = count.saturating_add(events).min(most);
    }

    pub(crate) fn fold(&mut self, ts: Timestamp, calendar: &dyn Calendar) {
        self.add(number(self.grid.period, ts, calendar), 1);
    }

    pub(crate) fn merge(&mut self, other: &Periods) {
        for (number, count) in &other.counts {
            self.add(*number, *count);
        }
    }

    /// Drops what nothing reaches any more. Without a calendar at hand, two periods more are kept
    /// than the reach has.
    pub(crate) fn compact(&mut self, spec: &GridSpec, now: Timestamp) {
        let Some(reach) = spec.reach else { return };
        let length = self.grid.period.length();
        let oldest = now.saturating_sub(reach).div_euclid(length) - 2;
        self.counts = self.counts.split_off(&oldest);
    }

    /// Number of events, within the limit of each period.
    pub(crate) fn count(&self) -> Value {
        let count = self
            .counts
            .values()
            .fold(0u64, |sum, count| sum.saturating_add(*count));
        Value::Number(Decimal::from(i64::try_from(count).unwrap_or(i64::MAX)))
    }

    /// The periods that still count at `now`, oldest first: steps of age, and events.
    fn aged<'a>(
        &'a self,
        half_life: i64,
        now: Timestamp,
        calendar: &dyn Calendar,
    ) -> impl Iterator<Item = (i64, u64)> + 'a {
        let (period, current) = (self.grid.period, number(self.grid.period, now, calendar));
        let most = half_life.saturating_mul(HALF_LIVES) / period.length();
        let all = self.counts.iter();
        all.map(move |(number, count)| (current.saturating_sub(*number).max(0), *count))
            .filter(move |(age, _)| *age <= most)
    }

    /// The sum of all events, each weighted by its age.
    pub(crate) fn decayed(&self, half_life: i64, now: Timestamp, calendar: &dyn Calendar) -> Value {
        let length = self.grid.period.length() as f64;
        let sum: f64 = self
            .aged(half_life, now, calendar)
            .map(|(age, count)| {
                // Whole half-lives are exact.
                let age = age as f64 * length / half_life as f64;
                count as f64 * (-age).exp2()
            })
            .sum();
        Value::Number(Decimal::parse(&format!("{sum:.DIGITS$}")).unwrap_or_else(Decimal::zero))
    }

    /// When a decayed count next changes: with the next period, as long as something counts.
    pub(crate) fn decays_at(
        &self,
        half_life: i64,
        now: Timestamp,
        calendar: &dyn Calendar,
    ) -> Option<Timestamp> {
        self.aged(half_life, now, calendar).next()?;
        next_period(self.grid.period, now, calendar)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.grid.period {
            Period::Hour => 0,
            Period::Day => 1,
            Period::Week => 2,
        });
        put(out, self.grid.most.map_or(0, u64::from));
        put(out, self.counts.len() as u64);
        let mut previous = 0;
        for (number, count) in &self.counts {
            put_signed(out, number.wrapping_sub(previous));
            put(out, *count);
            previous = *number;
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Periods, StateError> {
        let period = match reader.byte()? {
            0 => Period::Hour,
            1 => Period::Day,
            2 => Period::Week,
            _ => return Err(StateError::Damaged("a period is unknown")),
        };
        let most = u32::try_from(reader.varint()?)
            .map_err(|_| StateError::Damaged("the limit of a period is too large"))?;
        let most = (most > 0).then_some(most);
        let mut periods = Periods::new(Grid { period, most });
        let mut number = 0i64;
        for _ in 0..reader.count(2)? {
            number = number.wrapping_add(reader.signed()?);
            periods.counts.insert(number, reader.varint()?);
        }
        Ok(periods)
    }
}
