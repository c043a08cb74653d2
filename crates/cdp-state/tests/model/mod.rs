//! The naive model: all events, and every function by its definition.

#![allow(dead_code, reason = "not every test uses all of the model")]

use cdp_state::{
    is_listable, Calendar, Edge, EdgeEvents, SlotSpec, State, Zoned, PERCENTILE_ERROR,
};
use cdp_value::{
    AggregateFunction as F, AgoUnit, Decimal, Period, Timestamp, Value, Window, DAY, HOUR, MINUTE,
};
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};

pub type Event = (Timestamp, Option<Value>);

/// 2024-11-05: the last change of daylight saving time in Berlin is nine days ago.
pub const NOW: Timestamp = 20_032 * DAY + 10 * HOUR;

pub fn berlin() -> Zoned {
    Zoned::new("Europe/Berlin").unwrap()
}

/// The seed is fixed. For longer searches, `CDP_STATE_RUNS` makes so many times as many cases and
/// gives another seed.
pub fn config(seed: u64, cases: u32) -> ProptestConfig {
    let runs = std::env::var("CDP_STATE_RUNS").ok();
    let runs: u32 = runs.and_then(|runs| runs.parse().ok()).unwrap_or(1);
    ProptestConfig {
        rng_seed: proptest::test_runner::RngSeed::Fixed(seed + 1_000 * u64::from(runs - 1)),
        failure_persistence: None,
        cases: cases * runs,
        max_shrink_iters: 3000,
        ..ProptestConfig::default()
    }
}

pub fn number(text: &str) -> Value {
    Value::Number(Decimal::parse(text).unwrap())
}

pub fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub const FUNCTIONS: [F; 25] = [
    F::Count,
    F::LimitedCount {
        most: 2,
        period: Period::Day,
    },
    F::LimitedCount {
        most: 1,
        period: Period::Week,
    },
    F::DecayedCount {
        half_life: 2 * DAY,
        step: Period::Day,
        most: None,
    },
    F::DecayedCount {
        half_life: 90 * MINUTE,
        step: Period::Hour,
        most: None,
    },
    F::DecayedCount {
        half_life: 7 * DAY,
        step: Period::Day,
        most: Some(2),
    },
    F::UniqueDays,
    F::UniqueHours,
    F::Sum,
    F::Avg,
    F::Min,
    F::Max,
    F::First,
    F::Last,
    F::Top,
    F::List,
    F::Unique,
    F::Percentile(50),
    F::Percentile(99),
    F::Sessions(30 * MINUTE),
    F::Sessions(2 * DAY),
    F::FirstSeenAgo(AgoUnit::Days),
    F::FirstSeenAgo(AgoUnit::Minutes),
    F::LastSeenAgo(AgoUnit::Hours),
    F::LastSeenAgo(AgoUnit::Minutes),
];

pub const WINDOWS: [i64; 4] = [90 * MINUTE, DAY, 7 * DAY, 30 * DAY];

/// Whether a function can be asked within a window.
pub fn has_windows(function: F) -> bool {
    !matches!(function, F::LimitedCount { .. } | F::DecayedCount { .. })
}

/// Every function, within every window that it takes and over all time.
pub fn aggregates() -> Vec<(F, Option<Window>)> {
    let windows = WINDOWS
        .iter()
        .map(|length| Some(Window { length: *length }));
    let all: Vec<_> = windows.chain([None]).collect();
    FUNCTIONS
        .iter()
        .flat_map(|function| all.iter().map(|window| (*function, *window)))
        .filter(|(function, window)| window.is_none() || has_windows(*function))
        .collect()
}

pub fn spec_of(id: u32, aggregates: &[(F, Option<Window>)]) -> SlotSpec {
    let mut spec = SlotSpec::new(id);
    for (function, window) in aggregates {
        spec.add(*function, *window);
    }
    spec
}

/// The number of a local hour, day or week.
fn period_of(period: Period, ts: Timestamp, calendar: &dyn Calendar) -> i64 {
    match period {
        Period::Hour => calendar.hour(ts),
        Period::Day => i64::from(calendar.day(ts)),
        Period::Week => (i64::from(calendar.day(ts)) - 4).div_euclid(7),
    }
}

fn by_period(
    events: &[&Event],
    period: Period,
    calendar: &dyn Calendar,
) -> std::collections::BTreeMap<i64, usize> {
    let mut counts = std::collections::BTreeMap::new();
    for (ts, _) in events {
        *counts.entry(period_of(period, *ts, calendar)).or_default() += 1;
    }
    counts
}

/// The value by definition.
pub fn naive(
    events: &[Event],
    function: F,
    window: Option<Window>,
    now: Timestamp,
    calendar: &dyn Calendar,
) -> Value {
    let from = window.map_or(Timestamp::MIN, |window| now - window.length);
    let mut events: Vec<&Event> = events
        .iter()
        .filter(|(ts, _)| from <= *ts && *ts <= now)
        .collect();
    events.sort_by_key(|event| event.0);
    let whole = |n: usize| Value::Number(Decimal::from(n as i64));
    let mut numbers: Vec<&Decimal> = events
        .iter()
        .filter_map(|(_, value)| value.as_ref()?.as_number())
        .collect();
    let values = || {
        events
            .iter()
            .filter_map(|(ts, value)| Some((*ts, value.as_ref().filter(|v| !v.is_null())?)))
    };
    let optional = |number: Option<&&Decimal>| {
        number.map_or(Value::Null, |number| Value::Number((*number).clone()))
    };
    let total = || {
        numbers
            .iter()
            .fold(Decimal::zero(), |sum, n| sum.checked_add(n).unwrap())
    };
    let ago = |ts: Option<Timestamp>, unit: AgoUnit| {
        let length = match unit {
            AgoUnit::Minutes => MINUTE,
            AgoUnit::Hours => HOUR,
            AgoUnit::Days => DAY,
        };
        ts.map_or(Value::Null, |ts| {
            Value::Number(Decimal::from((now - ts) / length))
        })
    };
    match function {
        F::Count => whole(events.len()),
        F::LimitedCount { most, period } => {
            let counts = by_period(&events, period, calendar);
            whole(counts.values().map(|n| (*n).min(most as usize)).sum())
        }
        F::DecayedCount {
            half_life,
            step,
            most,
        } => {
            let current = period_of(step, now, calendar);
            let sum: f64 = by_period(&events, step, calendar)
                .into_iter()
                .map(|(period, n)| {
                    let age = (current - period) * step.length();
                    let n = most.map_or(n, |most| n.min(most as usize));
                    if age > 20 * half_life {
                        return 0.0;
                    }
                    n as f64 * 0.5f64.powf(age as f64 / half_life as f64)
                })
                .sum();
            number(&format!("{sum:.6}"))
        }
        F::UniqueDays => {
            let days: BTreeSet<_> = events.iter().map(|e| calendar.day(e.0)).collect();
            whole(days.len())
        }
        F::UniqueHours => {
            let hours: BTreeSet<_> = events.iter().map(|e| calendar.hour(e.0)).collect();
            whole(hours.len())
        }
        F::Sum if numbers.is_empty() => Value::Null,
        F::Sum => Value::Number(total()),
        F::Avg => total()
            .checked_div(&Decimal::from(numbers.len() as i64))
            .map_or(Value::Null, Value::Number),
        F::Min => optional(numbers.iter().min()),
        F::Max => optional(numbers.iter().max()),
        F::First => values()
            .min_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.total_cmp(b.1)))
            .map_or(Value::Null, |first| first.1.clone()),
        F::Last => values()
            .max_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.total_cmp(b.1)))
            .map_or(Value::Null, |last| last.1.clone()),
        F::Top => {
            let mut counts: HashMap<&Value, usize> = HashMap::new();
            for (_, value) in values().filter(|(_, value)| is_listable(value)) {
                *counts.entry(value).or_default() += 1;
            }
            let mut counts: Vec<_> = counts.into_iter().collect();
            counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.total_cmp(b.0)));
            counts.first().map_or(Value::Null, |top| top.0.clone())
        }
        F::List => {
            let mut list: Vec<Value> = values()
                .map(|(_, value)| value.clone())
                .filter(is_listable)
                .collect();
            list.sort_by(|a, b| a.total_cmp(b));
            list.dedup();
            list.truncate(100);
            Value::Array(list)
        }
        F::Unique => {
            let mut list: Vec<&Value> = values().map(|(_, value)| value).collect();
            list.sort_by(|a, b| a.total_cmp(b));
            list.dedup();
            whole(list.len())
        }
        F::Percentile(percent) => {
            numbers.sort();
            // percentile_cont: the place between the first (0) and the last (n - 1) number.
            let Some(last) = numbers.len().checked_sub(1) else {
                return Value::Null;
            };
            let place = usize::from(percent) * last;
            let low = numbers[place / 100];
            let high = numbers[place.div_ceil(100)];
            let part = Decimal::parse(&format!("{}e-2", place % 100)).unwrap();
            let step = high.checked_sub(low).unwrap().checked_mul(&part).unwrap();
            Value::Number(low.checked_add(&step).unwrap())
        }
        F::Sessions(gap) => {
            let starts = events
                .windows(2)
                .filter(|pair| pair[1].0 - pair[0].0 > gap)
                .count();
            whole(starts + usize::from(!events.is_empty()))
        }
        F::FirstSeenAgo(unit) => ago(events.first().map(|e| e.0), unit),
        F::LastSeenAgo(unit) => ago(events.last().map(|e| e.0), unit),
    }
}

/// The events of ranges, as the events table would give them.
pub fn serve(events: &[Event], ranges: Vec<Edge>) -> EdgeEvents {
    let served = events
        .iter()
        .filter(|(ts, _)| ranges.iter().any(|r| r.from <= *ts && *ts <= r.to))
        .cloned()
        .collect();
    EdgeEvents::new(ranges, served)
}

/// The value from the state, with the edges it asks for.
pub fn answer(
    state: &State,
    spec: &SlotSpec,
    events: &[Event],
    function: F,
    window: Option<Window>,
    now: Timestamp,
    calendar: &dyn Calendar,
) -> Value {
    let ranges = state.edges(spec, function, window, now).unwrap();
    let edges = serve(events, ranges);
    state
        .evaluate(spec, function, window, now, &edges, calendar)
        .unwrap()
}

/// Whether an estimated percentile is within the stated error of the two numbers at its rank.
pub fn is_close(
    events: &[Event],
    percent: u8,
    window: Option<Window>,
    now: Timestamp,
    value: &Value,
) -> bool {
    let from = window.map_or(Timestamp::MIN, |window| now - window.length);
    let double = |number: &Decimal| number.to_string().parse::<f64>().unwrap();
    let mut numbers: Vec<f64> = events
        .iter()
        .filter(|(ts, _)| from <= *ts && *ts <= now)
        .filter_map(|(_, value)| Some(double(value.as_ref()?.as_number()?)))
        .collect();
    numbers.sort_by(f64::total_cmp);
    let Some(value) = value.as_number().map(double) else {
        return numbers.is_empty();
    };
    let place = usize::from(percent) * (numbers.len() - 1);
    let (low, high) = (numbers[place / 100], numbers[place.div_ceil(100)]);
    let exact = low + (high - low) * (place % 100) as f64 / 100.0;
    (value - exact).abs() <= PERCENTILE_ERROR * low.abs().max(high.abs())
}

/// A property: mostly numbers and a few categories.
pub fn value() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Value::Null)),
        8 => (-20i64..200).prop_map(|n| Some(Value::Number(Decimal::from(n)))),
        6 => (0u32..5000).prop_map(|n| Some(number(&format!("{n}e-2")))),
        1 => Just(Some(number("33.333333333333336"))),
        1 => Just(Some(number("-123456789012345678901234567890123456789012345.5"))),
        6 => "[a-e]".prop_map(|s| Some(Value::Text(s))),
        2 => "[a-z]{0,3}".prop_map(|s| Some(Value::Text(s))),
        1 => any::<bool>().prop_map(|b| Some(Value::Bool(b))),
        1 => Just(Some(Value::Array(vec![number("1"), text("x")]))),
        1 => "[ab]".prop_map(|s| Some(Value::Text(s.repeat(300)))),
    ]
}

/// Times before [`NOW`]: spread, in bursts, at round instants and at the edges of windows.
pub fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        4 => (0..40 * DAY).prop_map(|age| NOW - age),
        1 => (0..400 * DAY).prop_map(|age| NOW - age),
        4 => ((0i64..8), (0..MINUTE)).prop_map(|(burst, age)| NOW - burst * burst * DAY / 2 - age),
        2 => (0..2 * HOUR).prop_map(|age| NOW - age / 1000 * 1000),
        1 => (0i64..40, -2i64..2).prop_map(|(day, off)| (NOW / DAY - day) * DAY - HOUR + off),
        2 => (prop::sample::select(&WINDOWS[..]), -2i64..3).prop_map(|(w, off)| NOW - w + off),
        1 => (0i64..6).prop_map(|n| NOW - n * 5 * DAY),
    ]
    .prop_map(|ts| ts.min(NOW))
}

pub fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec((time(), value()), 0..most)
}
