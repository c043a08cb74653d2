//! The instants at which values change without an event.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod model;

use cdp_state::{Calendar, SlotSpec, State};
use cdp_value::{AggregateFunction, Timestamp, Value, Window, DAY, HOUR};
use model::{aggregates, berlin, config, events, naive, serve, spec_of, Event, FUNCTIONS, NOW};
use proptest::prelude::*;

fn next(
    state: &State,
    spec: &SlotSpec,
    events: &[Event],
    (function, window): (AggregateFunction, Option<Window>),
    now: Timestamp,
    calendar: &dyn Calendar,
) -> Option<Timestamp> {
    let ranges = state.edges(spec, function, window, now).unwrap();
    let edges = serve(events, ranges);
    state
        .changes_at(spec, function, window, now, &edges, calendar)
        .unwrap()
}

/// The first instant after `now` at which the value differs: an event leaves, or a unit is full.
fn truth(
    events: &[Event],
    (function, window): (AggregateFunction, Option<Window>),
    now: Timestamp,
    calendar: &dyn Calendar,
) -> Option<Timestamp> {
    let value = |now| naive(events, function, window, now, calendar);
    let unit = match function {
        AggregateFunction::FirstSeenAgo(unit) | AggregateFunction::LastSeenAgo(unit) => Some(unit),
        _ => None,
    };
    let length = unit.map(|unit| match unit {
        cdp_value::AgoUnit::Minutes => cdp_value::MINUTE,
        cdp_value::AgoUnit::Hours => HOUR,
        cdp_value::AgoUnit::Days => DAY,
    });
    let mut instants: Vec<Timestamp> = Vec::new();
    for (ts, _) in events {
        instants.extend(window.map(|window| ts + window.length + 1));
        instants.extend(length.map(|length| ts + ((now - ts) / length + 1) * length));
    }
    if let AggregateFunction::DecayedCount { .. } = function {
        // Steps begin at full hours, in Berlin and anywhere else on a full hour of its offset.
        instants.extend((0..8 * 24).map(|hour| (now / HOUR + hour) * HOUR));
    }
    instants.retain(|instant| *instant > now);
    instants.sort();
    let current = value(now);
    instants.into_iter().find(|at| value(*at) != current)
}

proptest! {
    #![proptest_config(config(31, 60))]

    #[test]
    fn changes_are_never_announced_too_late(
        events in events(60),
        later in 0..32 * DAY,
    ) {
        let (calendar, spec) = (berlin(), spec_of(1, &aggregates()));
        let mut state = State::new();
        for (ts, value) in &events {
            state.fold(&spec, *ts, value.as_ref(), &calendar).unwrap();
        }
        state.compact(&vec![spec.clone()], NOW).unwrap();
        for aggregate in aggregates() {
            for now in [NOW, NOW + later] {
                let announced = next(&state, &spec, &events, aggregate, now, &calendar);
                if let Some(at) = announced {
                    prop_assert!(at > now, "{:?}", aggregate);
                }
                // Estimates are not the model's numbers; over all time they do not change.
                let is_percentile = matches!(aggregate.0, AggregateFunction::Percentile(_));
                if is_percentile && aggregate.1.is_none() {
                    prop_assert_eq!(announced, None);
                    continue;
                }
                let truth = truth(&events, aggregate, now, &calendar);
                if let Some(truth) = truth {
                    prop_assert!(
                        announced.is_some_and(|at| at <= truth),
                        "{:?}: {:?} announced, {} true", aggregate, announced, truth
                    );
                }
            }
        }
    }

    /// Going from one announced instant to the next reaches the end in a number of steps that is
    /// of the order of the number of events.
    #[test]
    fn announcements_are_few(events in events(60)) {
        let (calendar, spec) = (berlin(), spec_of(1, &aggregates()));
        let mut state = State::new();
        for (ts, value) in &events {
            state.fold(&spec, *ts, value.as_ref(), &calendar).unwrap();
        }
        state.compact(&vec![spec.clone()], NOW).unwrap();
        let week = Some(Window { length: 7 * DAY });
        for function in FUNCTIONS {
            let ticks = matches!(
                function,
                AggregateFunction::FirstSeenAgo(_) | AggregateFunction::LastSeenAgo(_)
            );
            if ticks || !model::has_windows(function) {
                continue;
            }
            let (mut now, mut steps) = (NOW, 0);
            while let Some(at) = next(&state, &spec, &events, (function, week), now, &calendar) {
                (now, steps) = (at, steps + 1);
                prop_assert!(steps <= 2 * events.len() + 1, "{:?}", function);
            }
            prop_assert!(now <= NOW + 7 * DAY + 1);
        }
    }
}

#[test]
fn minutes_are_full_on_time() {
    let calendar = berlin();
    let ago = AggregateFunction::LastSeenAgo(cdp_value::AgoUnit::Minutes);
    let spec = spec_of(1, &[(ago, None)]);
    let mut state = State::new();
    state.fold(&spec, NOW, None, &calendar).unwrap();
    let minute = cdp_value::MINUTE;
    let at = next(
        &state,
        &spec,
        &[],
        (ago, None),
        NOW + 1439 * minute,
        &calendar,
    );
    assert_eq!(at, Some(NOW + 1440 * minute));
    let answer = |now| model::answer(&state, &spec, &[], ago, None, now, &calendar);
    assert_eq!(answer(NOW + 1440 * minute - 1), model::number("1439"));
    assert_eq!(answer(NOW + 1440 * minute), model::number("1440"));
}

#[test]
fn edges_are_exact_to_the_microsecond() {
    let calendar = berlin();
    let week = Some(Window { length: 7 * DAY });
    let (count, days) = (AggregateFunction::Count, AggregateFunction::UniqueDays);
    let spec = spec_of(1, &[(count, week), (days, week), (days, None)]);
    // The last microsecond of a day in Berlin, and the first of the next one, twice.
    let midnight = NOW - NOW % DAY - HOUR;
    let events: Vec<Event> = [-1, 0, 0]
        .iter()
        .map(|off| (midnight + off, None))
        .collect();
    let mut state = State::new();
    for (ts, _) in &events {
        state.fold(&spec, *ts, None, &calendar).unwrap();
    }
    state.compact(&vec![spec.clone()], NOW).unwrap();
    let answer = |function, window, now| -> Value {
        model::answer(&state, &spec, &events, function, window, now, &calendar)
    };
    for (now, expected, expected_days) in [
        (midnight + 7 * DAY - 1, "3", "2"),
        (midnight + 7 * DAY, "2", "1"),
        (midnight + 7 * DAY + 1, "0", "0"),
    ] {
        assert_eq!(answer(count, week, now), model::number(expected));
        assert_eq!(answer(days, week, now), model::number(expected_days));
    }
    assert_eq!(answer(days, None, NOW), model::number("2"));
}
