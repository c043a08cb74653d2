//! Speed and size, printed: `cargo test --release -p cdp-state --test timing -- --ignored --nocapture`

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod model;

use cdp_state::{EdgeEvents, SlotSpec, State, Utc, Zoned};
use cdp_value::{AggregateFunction as F, Timestamp, Value, Window, DAY, HOUR, MINUTE};
use model::{number, serve, spec_of, text, Event, NOW};
use std::hint::black_box;
use std::time::Instant;

fn window(length: i64) -> Option<Window> {
    Some(Window { length })
}

/// Twenty traits over four slots.
fn typical_specs() -> Vec<SlotSpec> {
    let (day, week, month) = (window(DAY), window(7 * DAY), window(30 * DAY));
    vec![
        spec_of(
            1,
            &[
                (F::Count, None),
                (F::Count, day),
                (F::Count, week),
                (F::UniqueDays, window(14 * DAY)),
                (F::LastSeenAgo(cdp_value::AgoUnit::Minutes), None),
                (F::Sessions(30 * MINUTE), week),
            ],
        ),
        spec_of(
            2,
            &[
                (F::Count, None),
                (F::Sum, None),
                (F::Avg, None),
                (F::Max, None),
                (F::Sum, month),
                (F::Count, window(90 * DAY)),
                (F::FirstSeenAgo(cdp_value::AgoUnit::Days), None),
            ],
        ),
        spec_of(
            3,
            &[
                (F::Last, None),
                (F::Top, month),
                (F::Unique, month),
                (F::Count, week),
            ],
        ),
        spec_of(
            4,
            &[(F::Count, month), (F::UniqueDays, None), (F::Last, None)],
        ),
    ]
}

fn typical_events() -> Vec<(usize, Event)> {
    let mut events = Vec::new();
    for day in 0..60i64 {
        // Two or three sessions a week of a few clicks, an order every other week.
        if day % 3 == 0 {
            for click in 0..4 {
                let ts = NOW - day * DAY - HOUR - click * (40_000_000 + day * 1_234_567);
                events.push((0, (ts / 1000 * 1000, None)));
                let category = text(["shoes", "books", "garden"][(day + click) as usize % 3]);
                events.push((2, ((ts + 3_217_000) / 1000 * 1000, Some(category))));
            }
        }
        if day % 14 == 5 {
            let total = number(&format!("{}.{}", 20 + day, 10 + day));
            events.push((1, (NOW - day * DAY - 77_777_000, Some(total))));
        }
        if day % 10 == 0 {
            events.push((3, (NOW - day * DAY - HOUR, Some(text("newsletter")))));
        }
    }
    events
}

fn measure(what: &str, times: u32, mut run: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..100 {
        let start = Instant::now();
        for _ in 0..times / 10 {
            run();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(times / 10));
    }
    println!("{what:<58} {best:>9.0} ns");
}

#[test]
#[ignore = "prints measurements"]
fn timings() {
    let specs = typical_specs();
    let mut state = State::new();
    for (slot, (ts, value)) in typical_events() {
        state.touch(ts);
        state.fold(&specs[slot], ts, value.as_ref(), &Utc).unwrap();
    }
    println!("events {}", state.event_count);
    println!("before compaction {} bytes", state.encode().len());
    state.compact(&specs, NOW).unwrap();
    let bytes = state.encode();
    println!("typical state: {} bytes", bytes.len());
    for spec in &specs {
        let mut one = State::new();
        one.adopt(spec.id(), &state).unwrap();
        let bytes = one.encode();
        measure(
            &format!("  slot {}: decode {} bytes", spec.id(), bytes.len()),
            10_000,
            || {
                let state = State::decode(black_box(&bytes)).unwrap();
                state.verify().unwrap();
                black_box(state);
            },
        );
    }
    measure("decode, no slot touched", 10_000, || {
        black_box(State::decode(black_box(&bytes)).unwrap());
    });
    measure("decode, all slots", 10_000, || {
        let state = State::decode(black_box(&bytes)).unwrap();
        state.verify().unwrap();
        black_box(state);
    });
    measure("encode, unchanged", 10_000, || {
        black_box(State::decode(&bytes).unwrap().encode());
    });
    let berlin = Zoned::new("Europe/Berlin").unwrap();
    measure(
        "decode, fold into 1 slot of 4, compact, encode",
        10_000,
        || {
            let mut state = State::decode(black_box(&bytes)).unwrap();
            state.touch(NOW);
            state.fold(&specs[0], NOW, None, &berlin).unwrap();
            state.compact_changed(&specs, NOW).unwrap();
            black_box(state.encode());
        },
    );
    let mut decoded = State::decode(&bytes).unwrap();
    decoded.fold(&specs[0], NOW, None, &berlin).unwrap();
    let before = decoded.clone();
    let mut at = NOW;
    let price = number("19.99");
    for (name, slot, value) in [("click", 0, None), ("order", 1, Some(&price))] {
        measure(&format!("fold: {name}"), 200, || {
            at += MINUTE;
            decoded.fold(&specs[slot], at, value, &berlin).unwrap();
        });
    }
    let decoded = before;
    let none = EdgeEvents::none();
    for (slot, function, within) in [
        (0, F::Count, window(7 * DAY)),
        (0, F::UniqueDays, window(14 * DAY)),
        (1, F::Sum, window(30 * DAY)),
        (0, F::Sessions(30 * MINUTE), window(7 * DAY)),
        (1, F::Avg, None),
        (2, F::Top, window(30 * DAY)),
        (2, F::Unique, window(30 * DAY)),
    ] {
        measure(&format!("edges of {function:?} {within:?}"), 10_000, || {
            let edges = decoded.edges(&specs[slot], function, within, NOW);
            black_box(edges.unwrap());
        });
        measure(&format!("evaluate {function:?} {within:?}"), 10_000, || {
            let value = decoded.evaluate(&specs[slot], function, within, NOW, &none, &berlin);
            black_box(value.unwrap());
        });
    }
    measure("changes_at of Count 7d", 10_000, || {
        let at = decoded.changes_at(&specs[0], F::Count, window(7 * DAY), NOW, &none, &berlin);
        black_box(at.unwrap());
    });
    let many: Vec<SlotSpec> = (0..100)
        .map(|id| spec_of(id, &[(F::Count, window(DAY))]))
        .collect();
    let mut wide = State::new();
    for spec in &many {
        for n in 0..10 {
            wide.fold(spec, NOW - n * HOUR, None, &Utc).unwrap();
        }
    }
    let bytes = wide.encode();
    println!("a hundred slots: {} bytes", bytes.len());
    measure(
        "a hundred slots: decode, fold into 2, compact, encode",
        1_000,
        || {
            let mut state = State::decode(black_box(&bytes)).unwrap();
            state.fold(&many[5], NOW, None, &Utc).unwrap();
            state.fold(&many[95], NOW, None, &Utc).unwrap();
            state.compact_changed(&many, NOW).unwrap();
            black_box(state.encode());
        },
    );
}

fn profile(state: &State, specs: &Vec<SlotSpec>, aggregates: &[(F, Option<Window>)]) {
    let bytes = state.encode();
    let price = number("19.99");
    measure("dense: decode", 1_000, || {
        let state = State::decode(black_box(&bytes)).unwrap();
        state.verify().unwrap();
        black_box(state);
    });
    measure("dense: clone", 1_000, || {
        black_box(state.clone());
    });
    measure("dense: clone, fold", 1_000, || {
        let mut state = state.clone();
        state.fold(&specs[0], NOW, Some(&price), &Utc).unwrap();
        black_box(state);
    });
    measure("dense: clone, fold, encode", 1_000, || {
        let mut state = state.clone();
        state.fold(&specs[0], NOW, Some(&price), &Utc).unwrap();
        black_box(state.encode());
    });
    measure("dense: clone, fold, compact", 1_000, || {
        let mut state = state.clone();
        state.fold(&specs[0], NOW, Some(&price), &Utc).unwrap();
        state.compact_changed(specs, NOW).unwrap();
        black_box(state);
    });
    let none = EdgeEvents::none();
    for (function, window) in aggregates {
        measure(
            &format!("dense: evaluate {function:?} {window:?}"),
            1_000,
            || {
                let value = state.evaluate(&specs[0], *function, *window, NOW, &none, &Utc);
                black_box(value.unwrap());
            },
        );
    }
}

/// One event and one evaluation for a person with more and more events behind them.
#[test]
#[ignore = "prints measurements"]
fn cost_against_history() {
    let aggregates = [
        (F::Count, window(7 * DAY)),
        (F::Count, window(30 * DAY)),
        (F::Sum, window(30 * DAY)),
        (F::UniqueDays, window(14 * DAY)),
        (F::Count, None),
    ];
    let specs = vec![spec_of(1, &aggregates)];
    for size in [100i64, 1_000, 10_000, 100_000, 1_000_000] {
        // The same year, more and more densely; then an hour in which every event is evaluated.
        let step = 365 * DAY / size;
        let mut events: Vec<Event> = Vec::new();
        let mut state = State::new();
        let price = number("19.99");
        let mut fold = |state: &mut State, ts: Timestamp| {
            state.touch(ts);
            state.fold(&specs[0], ts, Some(&price), &Utc).unwrap();
            events.push((ts, Some(price.clone())));
            events.len()
        };
        for n in 0..size {
            let ts = NOW - 365 * DAY + n * step;
            if fold(&mut state, ts) % 500 == 0 {
                state.compact(&specs, ts).unwrap();
            }
        }
        state.compact(&specs, NOW).unwrap();
        if size == 10_000 {
            profile(&state, &specs, &aggregates);
        }
        let steps = 2_000;
        let (mut read, mut reads) = (0, 0);
        let mut bytes = state.encode();
        let mut spent = Vec::new();
        for n in 0..steps {
            let now = NOW + n * step.min(MINUTE);
            events.push((now, Some(price.clone())));
            let start = Instant::now();
            let mut state = State::decode(&bytes).unwrap();
            state.touch(now);
            state.fold(&specs[0], now, Some(&price), &Utc).unwrap();
            let mut ranges = Vec::new();
            for (function, window) in aggregates {
                ranges.extend(state.edges(&specs[0], function, window, now).unwrap());
            }
            let first_half = start.elapsed();
            reads += usize::from(!ranges.is_empty());
            let edges = if ranges.is_empty() {
                EdgeEvents::none()
            } else {
                let first = ranges.iter().map(|r| r.from).min().unwrap();
                let from = events.partition_point(|e| e.0 < first);
                let served: Vec<Event> = events[from..]
                    .iter()
                    .filter(|e| ranges.iter().any(|r| r.from <= e.0 && e.0 <= r.to))
                    .cloned()
                    .collect();
                read += served.len();
                serve(&served, ranges)
            };
            let start = Instant::now();
            let values: Vec<Value> = aggregates
                .iter()
                .map(|(function, window)| {
                    let value = state.evaluate(&specs[0], *function, *window, now, &edges, &Utc);
                    value.unwrap()
                })
                .collect();
            black_box(values);
            state.refine(&specs[0], now, &edges).unwrap();
            state.compact_changed(&specs, now).unwrap();
            bytes = state.encode();
            spent.push(first_half + start.elapsed());
        }
        spent.sort();
        println!(
            "{size:>8} events: {:>6} ns a step (median), state {:>5} bytes, {reads} reads of {read} events in {steps} steps",
            spent[spent.len() / 2].as_nanos(),
            bytes.len(),
        );
    }
}
