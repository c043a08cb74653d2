//! Every aggregate equals the naive model, at every instant.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod model;

use cdp_state::{Calendar, EdgeEvents, SlotSpec, State};
use cdp_value::{AggregateFunction, Timestamp, DAY};
use model::{aggregates, answer, berlin, config, events, is_close, naive, Event, NOW, WINDOWS};
use proptest::prelude::*;

fn assert_exact(
    state: &State,
    spec: &SlotSpec,
    events: &[Event],
    now: Timestamp,
    calendar: &dyn Calendar,
) -> Result<(), TestCaseError> {
    for (function, window) in aggregates() {
        let expected = naive(events, function, window, now, calendar);
        let actual = answer(state, spec, events, function, window, now, calendar);
        if let AggregateFunction::Percentile(percent) = function {
            let edges = EdgeEvents::none();
            if state
                .is_approximate(spec, function, window, now, &edges)
                .unwrap()
            {
                prop_assert!(is_close(events, percent, window, now, &actual));
                continue;
            }
        }
        prop_assert_eq!(
            &actual,
            &expected,
            "{:?} {:?} at NOW + {}",
            function,
            window,
            now - NOW
        );
    }
    Ok(())
}

/// Buckets and their parts begin and end at multiples of powers of two.
#[test]
fn windows_that_start_at_powers_of_two() {
    let calendar = berlin();
    let spec = model::spec_of(7, &aggregates());
    let value = |n: i64| Some(model::number(&n.to_string()));
    let spread = (0..40).map(|n| (NOW - n * n * DAY / 60, value(n)));
    let crowd = (0..20).map(|n| (NOW - DAY / 3 - n * 77_777_777, value(-n)));
    let events: Vec<Event> = spread.chain(crowd).collect();
    let mut state = State::new();
    for (ts, value) in &events {
        state.fold(&spec, *ts, value.as_ref(), &calendar).unwrap();
    }
    state.compact(&vec![spec.clone()], NOW).unwrap();
    for bits in 8..40 {
        for n in [0, 5, 13, 45, 50, 59] {
            let ts: Timestamp = events[n].0;
            for edge in [ts >> bits << bits, ts | ((1 << bits) - 1)] {
                for window in WINDOWS {
                    for now in edge + window - 1..=edge + window + 1 {
                        if now >= NOW {
                            assert_exact(&state, &spec, &events, now, &calendar).unwrap();
                        }
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(config(11, 200))]

    /// Folded in any order and compacted now and then, at instants that are not those of the
    /// questions.
    #[test]
    fn folding_equals_the_model(
        events in events(120),
        compactions in prop::collection::vec((any::<prop::sample::Index>(), 0..20 * DAY), 0..6),
        laters in prop::collection::vec(0..35 * DAY, 3),
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0usize..4, -1i64..3), 3),
    ) {
        let calendar = berlin();
        let spec = model::spec_of(7, &aggregates());
        let specs = vec![spec.clone()];
        let mut state = State::new();
        for (i, (ts, value)) in events.iter().enumerate() {
            state.touch(*ts);
            state.fold(&spec, *ts, value.as_ref(), &calendar).unwrap();
            for (position, age) in &compactions {
                if position.index(events.len()) == i {
                    state.compact(&specs, NOW - age).unwrap();
                    state = State::decode(&state.encode()).unwrap();
                }
            }
        }
        state.compact(&specs, NOW).unwrap();
        let state = State::decode(&state.encode()).unwrap();
        assert_exact(&state, &spec, &events, NOW, &calendar)?;
        for later in laters {
            assert_exact(&state, &spec, &events, NOW + later, &calendar)?;
        }
        for (event, window, offset) in picks {
            if events.is_empty() {
                break;
            }
            // The instant at which an event is at the edge of a window, and its neighbours.
            let now = events[event.index(events.len())].0 + WINDOWS[window] + offset;
            if now >= NOW {
                assert_exact(&state, &spec, &events, now, &calendar)?;
            }
        }
    }
}
