//! The value of an aggregate at an instant, and the next instant at which it can change.

use crate::calendar::Calendar;
use crate::edge::EdgeEvents;
use crate::partial::{keep_maximum, keep_minimum, Dated, Runs, Sum};
use crate::property::Property;
use crate::quantile::Ranks;
use crate::query::{Piece, Query};
use crate::series::Series;
use crate::slot::Slot;
use crate::spec::SlotSpec;
use crate::units::{DAYS, HOURS};
use cdp_value::{AggregateFunction, AgoUnit, Decimal, Timestamp, Value, Window};
use cdp_value::{DAY, HOUR, MINUTE, SECOND};
use std::collections::HashMap;

/// When the clock has gone back, what is still to come is not known: look again soon.
const RETRY: i64 = SECOND;

impl Query {
    /// The value; `edges` holds the events of the ranges that [`Query::edges`] gives.
    pub(crate) fn evaluate(
        &self,
        slot: &Slot,
        compacted: Option<Timestamp>,
        edges: &EdgeEvents,
        calendar: &dyn Calendar,
    ) -> Value {
        if self.needs_events(slot, compacted) {
            return self.evaluate_events(edges, calendar);
        }
        if let Some(series) = self.series(slot) {
            return self.evaluate_series(series, edges);
        }
        if let Some(grid) = self.grid() {
            return match (slot.periods(grid), self.function) {
                (Some(periods), AggregateFunction::DecayedCount { half_life, .. }) => {
                    periods.decayed(half_life, self.now, calendar)
                }
                (Some(periods), _) => periods.count(),
                (None, _) => count(0),
            };
        }
        let (from, totals) = (self.from(), &slot.totals);
        match self.function {
            AggregateFunction::Count => count(totals.count),
            // Answered above.
            AggregateFunction::LimitedCount { .. } | AggregateFunction::DecayedCount { .. } => {
                Value::Null
            }
            AggregateFunction::UniqueDays if self.window.is_none() => count(slot.days.count_all()),
            AggregateFunction::UniqueHours if self.window.is_none() => {
                count(slot.hours.count_all())
            }
            AggregateFunction::UniqueDays => count(
                slot.days
                    .count(DAYS, from, edges, |ts| i64::from(calendar.day(ts))),
            ),
            AggregateFunction::UniqueHours => {
                count(slot.hours.count(HOURS, from, edges, |ts| calendar.hour(ts)))
            }
            AggregateFunction::Sum => sum(&totals.sum),
            AggregateFunction::Avg => average(&totals.sum),
            AggregateFunction::Min => number(totals.minimum.as_ref()),
            AggregateFunction::Max => number(totals.maximum.as_ref()),
            AggregateFunction::First => dated(totals.first.as_ref(), edges, true),
            AggregateFunction::Last => {
                let last = totals.last.as_ref().filter(|last| last.ts >= from);
                dated(last, edges, false)
            }
            AggregateFunction::FirstSeenAgo(unit) => self.ago(totals.first_seen, unit),
            AggregateFunction::LastSeenAgo(unit) => {
                self.ago(slot.last.filter(|last| *last >= from), unit)
            }
            // Answered by a series.
            AggregateFunction::Sessions(_) => count(0),
            AggregateFunction::Top => slot.top.as_ref().map_or(Value::Null, |top| top.top()),
            AggregateFunction::Percentile(percent) => slot.numbers.percentile(percent),
            AggregateFunction::List if self.window.is_none() => slot.list.all(),
            AggregateFunction::List => slot.list.within(from, edges),
            AggregateFunction::Unique if self.window.is_none() => count(slot.unique.count_all()),
            AggregateFunction::Unique => count(slot.unique.count(from, edges)),
        }
    }

    /// Evaluates from the events of the window alone.
    fn evaluate_events(&self, edges: &EdgeEvents, calendar: &dyn Calendar) -> Value {
        let mut spec = SlotSpec::new(0);
        spec.add(self.function, self.window.map(|length| Window { length }));
        let mut slot = Slot::default();
        let range = self.everything();
        let events = edges.within(range.from, range.to);
        for (ts, value) in events {
            slot.fold(&spec, *ts, value.as_ref(), calendar);
        }
        let own = EdgeEvents::new(self.edges(&slot, None), events.to_vec());
        self.evaluate(&slot, None, &own, calendar)
    }

    fn evaluate_series(&self, series: &Series, edges: &EdgeEvents) -> Value {
        match self.function {
            AggregateFunction::Count => count(self.count(series, edges)),
            AggregateFunction::Sum => sum(&self.sum(series, edges)),
            AggregateFunction::Avg => average(&self.sum(series, edges)),
            AggregateFunction::Min => number(self.extreme(series, edges, keep_minimum).as_ref()),
            AggregateFunction::Max => number(self.extreme(series, edges, keep_maximum).as_ref()),
            AggregateFunction::First => dated(self.first(series, edges).as_ref(), edges, true),
            AggregateFunction::FirstSeenAgo(unit) => {
                self.ago(self.runs(series, edges, 0).map(|runs| runs.first), unit)
            }
            AggregateFunction::Top => self.top(series, edges),
            AggregateFunction::Percentile(percent) => self.percentile(series, edges, percent),
            AggregateFunction::Sessions(gap) => count(
                self.runs(series, edges, gap)
                    .map_or(0, |runs| runs.number.max(1)),
            ),
            _ => Value::Null,
        }
    }

    fn count(&self, series: &Series, edges: &EdgeEvents) -> u64 {
        let from = self.from();
        let before = series.singles.partition_point(|single| single.ts < from);
        let mut count = (series.singles.len() - before) as u64;
        for bucket in series.buckets.iter().rev() {
            let (earliest, latest) = (bucket.earliest(), bucket.latest());
            if latest < from {
                break;
            }
            let is_read = Query::straddles(bucket, from) && edges.covers(earliest, latest);
            let number = if is_read {
                edges.within(from, latest).len() as u64
            } else {
                bucket.count
            };
            count = count.saturating_add(number);
        }
        count
    }

    fn sum(&self, series: &Series, edges: &EdgeEvents) -> Sum {
        let mut sum = Sum::default();
        self.visit(series, edges, |piece| match piece {
            Piece::Single(single) => sum.add(single.held.property()),
            Piece::Event(_, property) => sum.add(property),
            Piece::Bucket(bucket) => {
                if let Some(partial) = &bucket.partial {
                    sum.merge(&partial.sum);
                }
            }
        });
        sum
    }

    /// The smallest or the greatest number, by `keep`.
    fn extreme(
        &self,
        series: &Series,
        edges: &EdgeEvents,
        keep: fn(&mut Option<Decimal>, &Decimal),
    ) -> Option<Decimal> {
        let mut extreme = None;
        let is_minimum = self.function == AggregateFunction::Min;
        self.visit(series, edges, |piece| {
            let number = match &piece {
                Piece::Single(single) => single.held.property().number(),
                Piece::Event(_, property) => property.number(),
                Piece::Bucket(bucket) => bucket.partial.as_ref().and_then(|partial| {
                    let kept = if is_minimum {
                        &partial.minimum
                    } else {
                        &partial.maximum
                    };
                    kept.as_ref()
                }),
            };
            if let Some(number) = number {
                keep(&mut extreme, number);
            }
        });
        extreme
    }

    /// First and last instant within the window, and the number of sessions.
    fn runs(&self, series: &Series, edges: &EdgeEvents, gap: i64) -> Option<Runs> {
        let mut all: Option<Runs> = None;
        self.visit(series, edges, |piece| {
            let runs = match piece {
                Piece::Single(single) => Some(Runs::at(single.ts)),
                Piece::Event(ts, _) => Some(Runs::at(ts)),
                Piece::Bucket(bucket) => bucket.partial.as_ref().and_then(|p| p.runs),
            };
            if let Some(runs) = runs {
                all = Some(all.map_or(runs, |known| known.merge(runs, gap)));
            }
        });
        all
    }

    fn top(&self, series: &Series, edges: &EdgeEvents) -> Value {
        if !self.reads_all(series) {
            return self.estimate_top(series);
        }
        let mut counts: HashMap<Value, u64> = HashMap::new();
        self.visit(series, edges, |piece| {
            let value = match piece.property() {
                Some(Property::Number(number)) => Value::Number(number.clone()),
                Some(Property::Other(value)) => value.clone(),
                _ => return,
            };
            *counts.entry(value).or_default() += 1;
        });
        counts
            .into_iter()
            .max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.total_cmp(&a.0)))
            .map_or(Value::Null, |(value, _)| value)
    }

    fn percentile(&self, series: &Series, edges: &EdgeEvents, percent: u8) -> Value {
        if !self.reads_all(series) {
            return self.estimate_percentile(series, percent);
        }
        let mut ranks = Ranks::default();
        self.visit(series, edges, |piece| {
            if let Some(number) = piece.property().and_then(Property::number) {
                ranks.add(number);
            }
        });
        ranks.percentile(percent)
    }

    /// Whole units since `ts`.
    fn ago(&self, ts: Option<Timestamp>, unit: AgoUnit) -> Value {
        ts.map_or(Value::Null, |ts| {
            let passed = self.now.saturating_sub(ts).max(0) / length(unit);
            Value::Number(Decimal::from(passed))
        })
    }

    /// The earliest instant after `now` at which the value can change without an event.
    pub(crate) fn changes_at(
        &self,
        slot: &Slot,
        compacted: Option<Timestamp>,
        edges: &EdgeEvents,
        calendar: &dyn Calendar,
    ) -> Option<Timestamp> {
        if self.needs_events(slot, compacted) {
            return Some(self.now.saturating_add(RETRY));
        }
        if let AggregateFunction::DecayedCount { half_life, .. } = self.function {
            let periods = self.grid().and_then(|grid| slot.periods(grid));
            return periods?.decays_at(half_life, self.now, calendar);
        }
        let from = self.from();
        let leaver = match self.function {
            AggregateFunction::UniqueDays => slot
                .days
                .first_to_leave(DAYS, from, edges, |ts| i64::from(calendar.day(ts))),
            AggregateFunction::UniqueHours => slot
                .hours
                .first_to_leave(HOURS, from, edges, |ts| calendar.hour(ts)),
            AggregateFunction::Last => {
                let last = slot.totals.last.as_ref().map(|last| last.ts);
                last.filter(|last| *last >= from)
            }
            AggregateFunction::LastSeenAgo(_) => slot.last.filter(|last| *last >= from),
            AggregateFunction::Unique => slot.unique.first_to_leave(from, edges),
            AggregateFunction::List => slot.list.first_to_leave(from, edges),
            _ => self.series(slot).and_then(|series| {
                if self.estimates() && !self.reads_all(series) {
                    self.estimate_changes(series)
                } else {
                    self.first_to_leave(series, edges)
                }
            }),
        };
        let leaves = leaver.and_then(|ts| self.leaves(ts));
        let ticks = match self.function {
            AggregateFunction::FirstSeenAgo(unit) if self.window.is_none() => {
                self.ticks_at(slot.totals.first_seen, unit)
            }
            AggregateFunction::FirstSeenAgo(unit) => {
                let runs = self
                    .series(slot)
                    .and_then(|series| self.runs(series, edges, 0));
                self.ticks_at(runs.map(|runs| runs.first), unit)
            }
            AggregateFunction::LastSeenAgo(unit) => self.ticks_at(leaver, unit),
            _ => None,
        };
        match (leaves, ticks) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// An instant no later than the earliest event within the window.
    pub(crate) fn first_to_leave(&self, series: &Series, edges: &EdgeEvents) -> Option<Timestamp> {
        self.window?;
        let from = self.from();
        let single = series.singles.partition_point(|single| single.ts < from);
        let single = series.singles.get(single).map(|single| single.ts);
        let bucket = series
            .buckets
            .iter()
            .filter(|bucket| bucket.latest() >= from)
            .find_map(|bucket| {
                let (earliest, latest) = (bucket.earliest(), bucket.latest());
                if Query::straddles(bucket, from) && edges.covers(earliest, latest) {
                    edges.within(from, latest).first().map(|event| event.0)
                } else {
                    Some(earliest.max(from))
                }
            });
        match (single, bucket) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// When the number of whole units since `ts` next grows.
    fn ticks_at(&self, ts: Option<Timestamp>, unit: AgoUnit) -> Option<Timestamp> {
        let (ts, length) = (ts?, length(unit));
        let passed = self.now.saturating_sub(ts).max(0) / length;
        ts.checked_add(passed.checked_add(1)?.checked_mul(length)?)
    }
}

fn length(unit: AgoUnit) -> i64 {
    match unit {
        AgoUnit::Minutes => MINUTE,
        AgoUnit::Hours => HOUR,
        AgoUnit::Days => DAY,
    }
}

fn count(count: u64) -> Value {
    Value::Number(Decimal::from(i64::try_from(count).unwrap_or(i64::MAX)))
}

fn number(number: Option<&Decimal>) -> Value {
    number.map_or(Value::Null, |number| Value::Number(number.clone()))
}

fn sum(sum: &Sum) -> Value {
    if sum.numbers == 0 || sum.overflow {
        return Value::Null;
    }
    Value::Number(sum.total.clone())
}

fn average(sum: &Sum) -> Value {
    let numbers = Decimal::from(i64::try_from(sum.numbers).unwrap_or(i64::MAX));
    if sum.overflow {
        return Value::Null;
    }
    // Nothing divided by zero is null, too.
    sum.total
        .checked_div(&numbers)
        .map_or(Value::Null, Value::Number)
}

/// The first or last value, read from the events of its instant when it is too long to be kept.
fn dated(dated: Option<&Dated>, edges: &EdgeEvents, is_first: bool) -> Value {
    let Some(dated) = dated else {
        return Value::Null;
    };
    if !dated.held.is_large() {
        return dated.held.to_value();
    }
    let events = edges.within(dated.ts, dated.ts).iter();
    let values = events.filter_map(|event| event.1.as_ref().filter(|value| !value.is_null()));
    let chosen = if is_first {
        values.min_by(|a, b| a.total_cmp(b))
    } else {
        values.max_by(|a, b| a.total_cmp(b))
    };
    chosen.cloned().unwrap_or(Value::Null)
}
