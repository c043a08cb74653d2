//! Intervals of numbers, and whether they overlap.

use crate::amount::{Amount, Bound};
use crate::members::{Members, ScoreError};
use cdp_value::Decimal;

/// Numbers between two bounds; None is no bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    pub low: Option<Bound>,
    pub high: Option<Bound>,
}

impl Interval {
    /// Reads `from` or `above`, and `to` or `below`.
    pub(crate) fn read(members: &Members<'_>) -> Result<Interval, ScoreError> {
        let low = bound(members, "from", "above")?;
        let high = bound(members, "to", "below")?;
        let interval = Interval { low, high };
        if interval.low.is_none() && interval.high.is_none() {
            return Err(
                ScoreError::new(members.path.clone(), "a range needs a bound").hint(
                    "Bounds are from or above, and to or below: {\"from\": 1, \"to\": 10, \"points\": 10}.",
                ),
            );
        }
        if interval.is_empty() {
            return Err(ScoreError::new(
                members.path.clone(),
                "the range ends before it begins",
            ));
        }
        Ok(interval)
    }

    fn is_empty(&self) -> bool {
        match (&self.low, &self.high) {
            (Some(low), Some(high)) => {
                low.value > high.value
                    || (low.value == high.value && !(low.inclusive && high.inclusive))
            }
            _ => false,
        }
    }

    /// Whether some number lies in both.
    pub fn overlaps(&self, other: &Interval) -> bool {
        let low = match (&self.low, &other.low) {
            (Some(a), Some(b)) => Some(
                if a.value > b.value || (a.value == b.value && b.inclusive) {
                    a
                } else {
                    b
                },
            ),
            (a, b) => a.as_ref().or(b.as_ref()),
        };
        let high = match (&self.high, &other.high) {
            (Some(a), Some(b)) => Some(
                if a.value < b.value || (a.value == b.value && b.inclusive) {
                    a
                } else {
                    b
                },
            ),
            (a, b) => a.as_ref().or(b.as_ref()),
        };
        !Interval {
            low: low.cloned(),
            high: high.cloned(),
        }
        .is_empty()
    }

    /// Whether a number lies within.
    pub fn contains(&self, number: &Decimal) -> bool {
        let above = self
            .low
            .as_ref()
            .is_none_or(|low| *number > low.value || (low.inclusive && *number == low.value));
        let below = self
            .high
            .as_ref()
            .is_none_or(|high| *number < high.value || (high.inclusive && *number == high.value));
        above && below
    }

    /// Whether an amount lies within. Of a band ("$10M-$50M") both ends have to lie between the
    /// bounds or on them: the band that a table calls "above 10M to 50M" is written $10M-$50M.
    pub fn holds(&self, amount: &Amount) -> bool {
        let band = match amount {
            Amount::Number(number) => return self.contains(number),
            Amount::Band(band) => band,
        };
        let above = match (&self.low, &band.low) {
            (None, _) => true,
            (Some(low), Some(given)) => given.value >= low.value,
            (Some(_), None) => false,
        };
        let below = match (&self.high, &band.high) {
            (None, _) => true,
            (Some(high), Some(given)) => given.value <= high.value,
            (Some(_), None) => false,
        };
        above && below
    }
}

fn bound(members: &Members<'_>, closed: &str, open: &str) -> Result<Option<Bound>, ScoreError> {
    match (members.number(closed)?, members.number(open)?) {
        (Some(_), Some(_)) => {
            Err(members.error(open, format!("give either {closed} or {open}, not both")))
        }
        (Some(value), None) => Ok(Some(Bound {
            value,
            inclusive: true,
        })),
        (None, Some(value)) => Ok(Some(Bound {
            value,
            inclusive: false,
        })),
        (None, None) => Ok(None),
    }
}
