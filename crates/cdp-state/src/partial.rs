//! What is known of a set of events without the events: the columns of a bucket.

use crate::property::{Held, Property};
use crate::quantile::{Bins, BINS_BUCKET};
use crate::sample::Sample;
use crate::spec::{column, Parts};
use cdp_value::{Decimal, Timestamp, Value};
use std::sync::{Arc, LazyLock};

/// A number this large or larger makes a sum overflow, whatever else is added: partial sums of
/// smaller numbers never leave the range of [`Decimal`], so the order of events cannot matter.
static SUM_LIMIT: LazyLock<Option<Decimal>> = LazyLock::new(|| Decimal::parse("1e300"));

/// Number and sum of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) numbers: u64,
    pub(crate) total: Decimal,
    pub(crate) overflow: bool,
}

impl Default for Sum {
    fn default() -> Sum {
        Sum {
            numbers: 0,
            total: Decimal::zero(),
            overflow: false,
        }
    }
}

impl Sum {
    pub(crate) fn add(&mut self, property: Property<'_>) {
        let Some(number) = property.number() else {
            return;
        };
        self.numbers = self.numbers.saturating_add(1);
        if let (Property::LargeNumber(_), Some(limit)) = (property, &*SUM_LIMIT) {
            if number >= limit || number.neg() >= *limit {
                self.overflow = true;
            }
        }
        self.add_total(number);
    }

    fn add_total(&mut self, number: &Decimal) {
        match self.total.checked_add(number) {
            Some(total) if !self.overflow => self.total = total,
            // One form for all sums that overflow.
            _ => {
                self.overflow = true;
                self.total = Decimal::zero();
            }
        }
    }

    pub(crate) fn merge(&mut self, other: &Sum) {
        self.numbers = self.numbers.saturating_add(other.numbers);
        self.overflow |= other.overflow;
        self.add_total(&other.total);
    }
}

/// Keeps the smaller number.
pub(crate) fn keep_minimum(kept: &mut Option<Decimal>, number: &Decimal) {
    if kept.as_ref().is_none_or(|known| number < known) {
        *kept = Some(number.clone());
    }
}

/// Keeps the greater number.
pub(crate) fn keep_maximum(kept: &mut Option<Decimal>, number: &Decimal) {
    if kept.as_ref().is_none_or(|known| number > known) {
        *kept = Some(number.clone());
    }
}

/// A value and when it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dated {
    pub(crate) ts: Timestamp,
    pub(crate) held: Held,
}

impl Dated {
    /// The value of an event; None when it has none.
    pub(crate) fn new(ts: Timestamp, held: Held) -> Option<Dated> {
        let held = match held {
            Held::Absent => return None,
            // One form for all that has to be read from the events.
            Held::LargeNumber => Held::LargeOther,
            other => other,
        };
        Some(Dated { ts, held })
    }

    /// The earlier of two; at one instant the smaller value. If one of those is not known, the
    /// events have to be asked.
    pub(crate) fn keep_first(kept: &mut Option<Dated>, other: Dated) {
        let replace = match kept {
            Some(known) if known.ts == other.ts => {
                !known.held.is_large()
                    && (other.held.is_large() || other.held.total_cmp(&known.held).is_lt())
            }
            Some(known) => other.ts < known.ts,
            None => true,
        };
        if replace {
            *kept = Some(other);
        }
    }

    /// The later of two; at one instant the greater value.
    pub(crate) fn keep_last(kept: &mut Option<Dated>, other: Dated) {
        let replace = match kept {
            Some(known) if known.ts == other.ts => {
                !known.held.is_large()
                    && (other.held.is_large() || other.held.total_cmp(&known.held).is_gt())
            }
            Some(known) => other.ts > known.ts,
            None => true,
        };
        if replace {
            *kept = Some(other);
        }
    }
}

/// Number of runs of events that are no further apart than a gap, over a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Runs {
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    /// Zero when it is not known: an event came late, between others that are no longer known.
    pub(crate) number: u64,
}

impl Runs {
    pub(crate) fn at(ts: Timestamp) -> Runs {
        Runs {
            first: ts,
            last: ts,
            number: 1,
        }
    }

    /// Puts two stretches together.
    pub(crate) fn merge(self, other: Runs, gap: i64) -> Runs {
        let (left, right) = if (self.first, self.last) <= (other.first, other.last) {
            (self, other)
        } else {
            (other, self)
        };
        let known = left.number > 0 && right.number > 0;
        let number = if left.last <= right.first && known {
            let joined = right.first.saturating_sub(left.last) <= gap;
            left.number
                .saturating_add(right.number)
                .saturating_sub(u64::from(joined))
        } else if left.number == 1 && right.number == 1 {
            1
        } else {
            0
        };
        Runs {
            first: left.first,
            last: left.last.max(right.last),
            number,
        }
    }
}

/// The columns of a bucket; which of them are kept is the series' matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Partial {
    pub(crate) sum: Sum,
    pub(crate) minimum: Option<Decimal>,
    pub(crate) maximum: Option<Decimal>,
    /// Some number was too long to be kept: numeric results have to be computed from the events.
    pub(crate) has_large_number: bool,
    pub(crate) first: Option<Dated>,
    pub(crate) runs: Option<Runs>,
    pub(crate) sample: Option<Box<Sample>>,
    pub(crate) bins: Option<Box<Bins>>,
}

impl Partial {
    pub(crate) fn add(&mut self, columns: Parts, gap: i64, ts: Timestamp, held: &Held) {
        if columns.has(column::OF_NUMBERS) {
            self.add_number(columns, held);
        }
        if columns.has(column::FIRST) {
            if let Some(dated) = Dated::new(ts, held.clone()) {
                Dated::keep_first(&mut self.first, dated);
            }
        }
        if columns.has(column::EXTENT | column::RUNS) {
            self.add_runs(Runs::at(ts), gap);
        }
        if columns.has(column::SAMPLE) {
            let sample = self.sample.get_or_insert_default();
            match held {
                Held::Number(number) => sample.add(ts, Arc::new(Value::Number(number.clone()))),
                Held::Other(value) => sample.add(ts, Arc::clone(value)),
                _ => {}
            }
        }
    }

    fn add_number(&mut self, columns: Parts, held: &Held) {
        match held {
            Held::LargeNumber => self.has_large_number = true,
            Held::Number(number) => {
                if columns.has(column::SUM) {
                    self.sum.add(Property::Number(number));
                }
                if columns.has(column::MINIMUM) {
                    keep_minimum(&mut self.minimum, number);
                }
                if columns.has(column::MAXIMUM) {
                    keep_maximum(&mut self.maximum, number);
                }
                if columns.has(column::BINS) {
                    self.bins.get_or_insert_default().add(number, BINS_BUCKET);
                }
            }
            _ => {}
        }
    }

    fn add_runs(&mut self, runs: Runs, gap: i64) {
        self.runs = Some(match self.runs {
            Some(known) => known.merge(runs, gap),
            None => runs,
        });
    }

    pub(crate) fn merge(&mut self, other: &Partial, gap: i64) {
        self.sum.merge(&other.sum);
        if let Some(number) = &other.minimum {
            keep_minimum(&mut self.minimum, number);
        }
        if let Some(number) = &other.maximum {
            keep_maximum(&mut self.maximum, number);
        }
        self.has_large_number |= other.has_large_number;
        if let Some(dated) = &other.first {
            Dated::keep_first(&mut self.first, dated.clone());
        }
        if let Some(runs) = other.runs {
            self.add_runs(runs, gap);
        }
        if let Some(sample) = &other.sample {
            self.sample.get_or_insert_default().merge(sample);
        }
        if let Some(bins) = &other.bins {
            self.bins.get_or_insert_default().merge(bins, BINS_BUCKET);
        }
    }
}
