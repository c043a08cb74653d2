//! Where there is too much to be exact, estimates are as good as stated, and the same for every
//! way in which the same events came.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod model;

use cdp_state::{EdgeEvents, SlotSpec, State, Utc, READ_LIMIT};
use cdp_value::{AggregateFunction as F, Timestamp, Value, Window, DAY, HOUR};
use model::{is_close, naive, number, serve, spec_of, text, Event, NOW};

const FUNCTIONS: [F; 4] = [F::Top, F::Unique, F::Percentile(50), F::Percentile(95)];
const WINDOWS: [i64; 3] = [DAY, 7 * DAY, 30 * DAY];

fn spec() -> SlotSpec {
    let windows = WINDOWS
        .iter()
        .map(|length| Some(Window { length: *length }));
    let aggregates: Vec<_> = windows
        .chain([None])
        .flat_map(|window| FUNCTIONS.map(|function| (function, window)))
        .collect();
    spec_of(1, &aggregates)
}

/// Twenty days of many events; a quarter of the texts are `hero`.
fn stream() -> Vec<Event> {
    (0..24_000i64)
        .map(|n| {
            let ts = NOW - (24_000 - n) * 20 * DAY / 24_000 - (n * 7_919) % HOUR;
            let value = match n % 8 {
                0 | 4 => text("hero"),
                1..=3 => text(&format!("page {}", (n * 104_729) % 3_000)),
                // Between 1 and 1,000, small ones more often.
                _ => number(&format!("{}e-3", 1_000 + (n * 15_485_863 % 1_000).pow(2))),
            };
            (ts, Some(value))
        })
        .collect()
}

fn fold<'a>(events: impl Iterator<Item = &'a Event>, every: usize) -> State {
    let (spec, mut state) = (spec(), State::new());
    let specs = vec![spec.clone()];
    for (i, (ts, value)) in events.enumerate() {
        state.fold(&spec, *ts, value.as_ref(), &Utc).unwrap();
        if i % every == every - 1 {
            state.compact(&specs, NOW - DAY).unwrap();
            state = State::decode(&state.encode()).unwrap();
        }
    }
    state.compact(&specs, NOW).unwrap();
    state
}

fn evaluate(
    state: &State,
    events: &[Event],
    f: F,
    window: Option<Window>,
    now: Timestamp,
) -> Value {
    let ranges = state.edges(&spec(), f, window, now).unwrap();
    let edges = serve(events, ranges);
    assert!(edges.len() as u64 <= 2 * READ_LIMIT, "{}", edges.len());
    state
        .evaluate(&spec(), f, window, now, &edges, &Utc)
        .unwrap()
}

#[test]
fn estimates_are_close_and_do_not_depend_on_order() {
    let events = stream();
    let forward = fold(events.iter(), 700);
    let backward = fold(events.iter().rev(), 1_100);
    // 7,919 and the number of events have no common divisor.
    let mixed = fold(
        (0..events.len()).map(|i| &events[i * 7_919 % events.len()]),
        5_000,
    );
    let windows = WINDOWS
        .iter()
        .map(|length| Some(Window { length: *length }));
    let none = EdgeEvents::none();
    for window in windows.chain([None]) {
        for later in [0, 1, 5 * HOUR, 3 * DAY, 9 * DAY, 27 * DAY] {
            let now = NOW + later;
            for function in FUNCTIONS {
                let what = format!("{function:?} {window:?} at NOW + {later}");
                let value = evaluate(&forward, &events, function, window, now);
                assert_eq!(
                    evaluate(&backward, &events, function, window, now),
                    value,
                    "{what}"
                );
                assert_eq!(
                    evaluate(&mixed, &events, function, window, now),
                    value,
                    "{what}"
                );
                let exact = naive(&events, function, window, now, &Utc);
                let is_estimate = forward
                    .is_approximate(&spec(), function, window, now, &none)
                    .unwrap();
                if !is_estimate {
                    assert_eq!(value, exact, "{what}");
                    continue;
                }
                let double = |value: &Value| {
                    let number = value.as_number().unwrap();
                    number.to_string().parse::<f64>().unwrap()
                };
                match function {
                    F::Top => assert_eq!(value, exact, "{what}"),
                    F::Unique => {
                        let error = double(&value) / double(&exact) - 1.0;
                        assert!(error.abs() < 0.15, "{what}: {error}");
                    }
                    F::Percentile(percent) if window.is_none() => {
                        assert!(is_close(&events, percent, window, now, &value), "{what}");
                    }
                    _ => {
                        // Some of the block across the edge may count that should not.
                        let error = double(&value) / double(&exact) - 1.0;
                        assert!(error.abs() < 0.15, "{what}: {error}");
                    }
                }
            }
        }
    }
}

#[test]
fn estimates_announce_their_changes() {
    let events = stream();
    let state = fold(events.iter(), 700);
    let none = EdgeEvents::none();
    let week = Some(Window { length: 7 * DAY });
    for function in FUNCTIONS {
        let (mut now, mut steps) = (NOW, 0);
        let value = |now| evaluate(&state, &events, function, week, now);
        while state
            .is_approximate(&spec(), function, week, now, &none)
            .unwrap()
        {
            let edges = serve(&events, state.edges(&spec(), function, week, now).unwrap());
            let at = state
                .changes_at(&spec(), function, week, now, &edges, &Utc)
                .unwrap()
                .unwrap();
            assert!(at > now);
            assert_eq!(value(now), value(at - 1), "{function:?}");
            (now, steps) = (at, steps + 1);
            assert!(steps < 1_000, "{function:?}");
        }
        assert!(steps > 10);
    }
}
