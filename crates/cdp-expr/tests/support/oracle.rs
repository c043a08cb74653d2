//! People with raw events, and aggregates computed in the most obvious way.

use super::Person;
use cdp_expr::{is_true, lookup, Aggregate, Context, EventSource};
use cdp_value::{AggregateFunction, Decimal, Period, Timestamp, Value, DAY, HOUR};
use std::borrow::Cow;
use std::cmp::Ordering;

/// One event of a person.
#[derive(Debug, Clone)]
pub struct Event {
    pub event: String,
    pub ts: Timestamp,
    pub properties: Value,
}

/// A person as the raw data has them. Days and hours are those of UTC.
#[derive(Debug, Clone)]
pub struct RawPerson {
    pub id: i64,
    pub now: Timestamp,
    pub first_seen: Option<Timestamp>,
    pub last_seen: Option<Timestamp>,
    pub traits: Value,
    pub group: Value,
    pub segments: Vec<String>,
    pub scores: Vec<(String, Value, Value)>,
    pub events: Vec<Event>,
}

fn at(value: &Value, path: &[String]) -> Value {
    lookup(value, path).cloned().unwrap_or(Value::Null)
}

fn number(n: usize) -> Value {
    Value::Number(Decimal::from(i64::try_from(n).unwrap_or(i64::MAX)))
}

impl RawPerson {
    /// Events of a source up to now, in the order of time.
    fn of<'a>(&'a self, source: &'a EventSource) -> Vec<&'a Event> {
        let mut events: Vec<&Event> = self
            .events
            .iter()
            .filter(|event| event.event == source.event && event.ts <= self.now)
            .filter(|event| {
                source.filter.as_ref().is_none_or(|filter| {
                    let mut at = Person::at(self.now);
                    at.properties = event.properties.to_json();
                    is_true(filter, &at)
                })
            })
            .collect();
        events.sort_by_key(|event| event.ts);
        events
    }
}

fn distinct(mut values: Vec<Value>) -> Vec<Value> {
    values.sort_by(Value::total_cmp);
    values.dedup();
    values
}

fn percentile(numbers: &[Decimal], percent: u8) -> Option<Decimal> {
    let rank = usize::from(percent) * numbers.len().checked_sub(1)?;
    let (low, high) = (&numbers[rank / 100], &numbers[rank.div_ceil(100)]);
    let part = Decimal::from_parts((rank % 100).into(), 2)?;
    low.checked_add(&high.checked_sub(low)?.checked_mul(&part)?)
}

fn sum(numbers: &[Decimal]) -> Option<Decimal> {
    let limit = Decimal::parse("1e300")?;
    if numbers.is_empty() || numbers.iter().any(|n| n.abs() >= limit) {
        return None;
    }
    numbers
        .iter()
        .try_fold(Decimal::zero(), |sum, n| sum.checked_add(n))
}

/// The number of an hour, day or week of UTC.
fn period_of(period: Period, ts: Timestamp) -> i64 {
    match period {
        Period::Hour => ts.div_euclid(HOUR),
        Period::Day => ts.div_euclid(DAY),
        Period::Week => (ts.div_euclid(DAY) + 3).div_euclid(7),
    }
}

fn by_period(events: &[&Event], period: Period) -> std::collections::BTreeMap<i64, usize> {
    let mut counts = std::collections::BTreeMap::new();
    for event in events {
        *counts.entry(period_of(period, event.ts)).or_default() += 1;
    }
    counts
}

impl Context for RawPerson {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Value {
        use AggregateFunction as F;
        let from = aggregate
            .window
            .map_or(Timestamp::MIN, |w| self.now - w.length);
        let events: Vec<&Event> = self
            .of(&aggregate.source)
            .into_iter()
            .filter(|event| event.ts >= from)
            .collect();
        let path = aggregate.property.clone().unwrap_or_default();
        let dated: Vec<(Timestamp, Value)> = events
            .iter()
            .map(|event| (event.ts, at(&event.properties, &path)))
            .filter(|(_, value)| !value.is_null())
            .collect();
        let values: Vec<Value> = dated.iter().map(|(_, value)| value.clone()).collect();
        let mut numbers: Vec<Decimal> = values
            .iter()
            .filter_map(|v| v.as_number().cloned())
            .collect();
        numbers.sort();
        let of = |n: Option<Decimal>| n.map_or(Value::Null, Value::Number);
        let order = |a: &&(Timestamp, Value), b: &&(Timestamp, Value)| {
            a.0.cmp(&b.0).then_with(|| a.1.total_cmp(&b.1))
        };
        let listable: Vec<Value> = values.iter().filter(|v| is_listable(v)).cloned().collect();
        match aggregate.function {
            F::Count => number(events.len()),
            F::LimitedCount { most, period } => number(
                by_period(&events, period)
                    .into_values()
                    .map(|n| n.min(most as usize))
                    .sum(),
            ),
            F::DecayedCount {
                half_life,
                step,
                most,
            } => {
                let current = period_of(step, self.now);
                let weighted = by_period(&events, step).into_iter().map(|(period, n)| {
                    let age = (current - period) * step.length();
                    let n = most.map_or(n, |most| n.min(most as usize));
                    if age > 20 * half_life {
                        return 0.0;
                    }
                    n as f64 * 0.5f64.powf(age as f64 / half_life as f64)
                });
                of(Decimal::parse(&format!("{:.6}", weighted.sum::<f64>())))
            }
            F::UniqueDays | F::UniqueHours => {
                let unit = if aggregate.function == F::UniqueDays {
                    DAY
                } else {
                    HOUR
                };
                let mut units: Vec<i64> = events.iter().map(|e| e.ts.div_euclid(unit)).collect();
                units.sort_unstable();
                units.dedup();
                number(units.len())
            }
            F::Sum => of(sum(&numbers)),
            F::Avg => {
                let count = Decimal::from(i64::try_from(numbers.len()).unwrap_or(0));
                of(sum(&numbers).and_then(|sum| sum.checked_div(&count)))
            }
            F::Min => of(numbers.first().cloned()),
            F::Max => of(numbers.last().cloned()),
            F::First => dated
                .iter()
                .min_by(order)
                .map_or(Value::Null, |d| d.1.clone()),
            F::Last => dated
                .iter()
                .max_by(order)
                .map_or(Value::Null, |d| d.1.clone()),
            F::Top => {
                let count = |value: &Value| listable.iter().filter(|v| *v == value).count();
                distinct(listable.clone())
                    .into_iter()
                    .max_by(|a, b| count(a).cmp(&count(b)).then_with(|| b.total_cmp(a)))
                    .unwrap_or(Value::Null)
            }
            F::List => {
                let mut list = distinct(listable);
                list.truncate(100);
                Value::Array(list)
            }
            F::Unique => number(distinct(values).len()),
            F::Percentile(percent) => of(percentile(&numbers, percent)),
            F::Sessions(gap) => {
                let starts = events
                    .windows(2)
                    .filter(|pair| pair[1].ts - pair[0].ts > gap);
                number(starts.count() + usize::from(!events.is_empty()))
            }
            F::FirstSeenAgo(_) | F::LastSeenAgo(_) => Value::Null,
        }
    }

    fn event_first_seen(&self, aggregate: &Aggregate) -> Option<Timestamp> {
        self.of(&aggregate.source).first().map(|event| event.ts)
    }

    fn event_last_seen(&self, aggregate: &Aggregate) -> Option<Timestamp> {
        self.of(&aggregate.source).last().map(|event| event.ts)
    }

    fn first_seen(&self) -> Option<Timestamp> {
        self.first_seen
    }

    fn last_seen(&self) -> Option<Timestamp> {
        self.last_seen
    }

    fn segment(&self, key: &str) -> bool {
        self.segments.iter().any(|known| known == key)
    }

    fn profile(&self, path: &[String]) -> Value {
        at(&self.traits, path)
    }

    fn group(&self, path: &[String]) -> Value {
        at(&self.group, path)
    }

    fn score(&self, key: &str) -> Value {
        let found = self.scores.iter().find(|score| score.0 == key);
        found.map_or(Value::Null, |score| score.1.clone())
    }

    fn grade(&self, key: &str) -> Value {
        let found = self.scores.iter().find(|score| score.0 == key);
        found.map_or(Value::Null, |score| score.2.clone())
    }

    fn random_key(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Owned(self.id.to_string()))
    }
}

/// What lists and top values consider; the arrays and objects of tests are short.
pub fn is_listable(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Text(text) => text.len() <= 256,
        Value::Number(number) => {
            let limit = Decimal::parse("1e38").map(|l| number.abs().cmp(&l));
            limit != Some(Ordering::Greater) && number.to_parts().1 <= 60
        }
        _ => true,
    }
}
