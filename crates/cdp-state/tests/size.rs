//! A state stays small, however many events there are.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod model;

use cdp_state::{EdgeEvents, SlotSpec, State, Utc};
use cdp_value::{AggregateFunction as F, Timestamp, Value, Window, DAY, HOUR, MINUTE, SECOND};
use model::{aggregates, naive, number, serve, spec_of, text, Event, NOW};

fn window(length: i64) -> Option<Window> {
    Some(Window { length })
}

/// Folds and compacts now and then; returns the largest state on the way and the last one.
fn fold(spec: &SlotSpec, events: impl Iterator<Item = (Timestamp, Value)>) -> (usize, State) {
    let specs = vec![spec.clone()];
    let (mut state, mut largest) = (State::new(), 0);
    for (i, (ts, value)) in events.enumerate() {
        state.touch(ts);
        state.fold(spec, ts, Some(&value), &Utc).unwrap();
        if i % 1_000 == 999 {
            state.compact(&specs, ts).unwrap();
            largest = largest.max(state.encode().len());
        }
    }
    state.compact(&specs, NOW).unwrap();
    (largest.max(state.encode().len()), state)
}

#[test]
fn a_million_events_take_kilobytes() {
    let spec = spec_of(
        1,
        &[
            (F::Count, None),
            (F::Count, window(7 * DAY)),
            (F::Sum, window(30 * DAY)),
            (F::Count, window(90 * DAY)),
            (F::UniqueDays, window(90 * DAY)),
            (F::UniqueDays, None),
            (F::LastSeenAgo(cdp_value::AgoUnit::Days), None),
        ],
    );
    let size = 1_000_000i64;
    let price = number("19.99");
    let step = 365 * DAY / size;
    let events = (0..size).map(|n| (NOW - (size - n) * step, price.clone()));
    let (largest, state) = fold(&spec, events);
    assert!(largest < 1_700, "{largest}");
    let none = EdgeEvents::none();
    let count = state
        .evaluate(&spec, F::Count, None, NOW, &none, &Utc)
        .unwrap();
    assert_eq!(count, number("1000000"));
}

#[test]
fn every_function_at_once_takes_kilobytes() {
    // Values of all kinds: 40 categories and, one time in three, one of very many.
    let value = |n: i64| match n % 3 {
        0 => text(&format!("product {}", (n * 7_919) % 5_000)),
        1 => text(&format!("category {}", n % 40)),
        _ => number(&format!("{}e-2", (n * 104_729) % 100_000)),
    };
    let size = 60_000i64;
    let spec = spec_of(1, &aggregates());
    let events = (0..size).map(|n| (NOW - (size - n) * 60 * DAY / size, value(n)));
    let (largest, _) = fold(&spec, events);
    println!("all aggregates: {largest}");
    for (function, limit) in [
        (F::Count, 700),
        (F::UniqueDays, 400),
        (F::UniqueHours, 2_500),
        (F::Sum, 1_200),
        (F::Max, 1_200),
        (F::First, 2_500),
        (F::Last, 60),
        (F::Top, 9_000),
        (F::List, 9_000),
        (F::Unique, 6_000),
        (F::Percentile(50), 9_000),
        (F::Sessions(30 * MINUTE), 1_500),
    ] {
        let own: Vec<_> = aggregates()
            .into_iter()
            .filter(|a| a.0 == function)
            .collect();
        let spec = spec_of(1, &own);
        let events = (0..size / 3).map(|n| (NOW - (size / 3 - n) * 180 * DAY / size, value(n)));
        let (largest, _) = fold(&spec, events);
        println!("{function:?}: {largest}");
        assert!(largest < limit, "{function:?}: {largest}");
    }
}

/// A person with a thousand events a minute. Every batch is evaluated; the number of events that
/// are read for the edges of windows is of the order of those that leave them.
#[test]
fn a_thousand_events_a_minute_are_sustained() {
    let aggregates = [
        (F::Count, window(HOUR / 4)),
        (F::Sum, window(HOUR / 2)),
        (F::Count, window(7 * DAY)),
        (F::UniqueHours, window(HOUR)),
        (F::Sessions(10 * SECOND), window(HOUR / 4)),
    ];
    let spec = spec_of(1, &aggregates);
    let specs = vec![spec.clone()];
    let mut bytes = Vec::new();
    let mut events: Vec<Event> = Vec::new();
    let (mut read, mut largest) = (0, 0);
    for minute in 0..60i64 {
        for batch in 0..10i64 {
            let mut state = State::decode(&bytes).unwrap();
            let now = NOW + minute * MINUTE + (batch + 1) * 6 * SECOND;
            for n in 0..100 {
                let ts = now - (100 - n) * 59_999;
                let value = number(&(n % 7).to_string());
                state.touch(ts);
                state.fold(&spec, ts, Some(&value), &Utc).unwrap();
                events.push((ts, Some(value)));
            }
            let mut ranges = Vec::new();
            for (function, window) in aggregates {
                ranges.extend(state.edges(&spec, function, window, now).unwrap());
            }
            let first = ranges.iter().map(|r| r.from).min().unwrap_or(now);
            let from = events.partition_point(|event| event.0 < first);
            let edges = serve(&events[from..], ranges);
            read += edges.len();
            if batch == 9 && minute % 10 == 9 {
                for (function, window) in aggregates {
                    let value = state
                        .evaluate(&spec, function, window, now, &edges, &Utc)
                        .unwrap();
                    assert_eq!(value, naive(&events, function, window, now, &Utc));
                }
            }
            state.refine(&spec, now, &edges).unwrap();
            state.compact_changed(&specs, now).unwrap();
            bytes = state.encode();
            largest = largest.max(bytes.len());
        }
    }
    println!("read {read}, largest {largest}");
    assert!(read < 6 * events.len(), "{read}");
    assert!(largest < 3_000, "{largest}");
}

/// What the documentation calls a typical person.
#[test]
fn typical_people_take_some_hundred_bytes() {
    let spec = spec_of(
        1,
        &[
            (F::Count, None),
            (F::Count, window(DAY)),
            (F::Count, window(7 * DAY)),
            (F::UniqueDays, window(14 * DAY)),
            (F::Sum, window(30 * DAY)),
            (F::Avg, None),
        ],
    );
    let visits = (0..90i64).rev().filter(|day| day % 4 == 0);
    let events = visits.flat_map(|day| {
        let click = move |n: i64| NOW - day * DAY - n * 47 * SECOND - day * 1_234 * 1_000;
        (0..5).rev().map(move |n| (click(n), number("12.5")))
    });
    let (_, state) = fold(&spec, events);
    assert!(state.encode().len() < 250, "{}", state.encode().len());
}
