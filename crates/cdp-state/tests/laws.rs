//! States of the same events are the same, whatever the way they came about.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod model;

use cdp_state::{Calendar, Edge, EdgeEvents, SlotSpec, State};
use cdp_value::{AggregateFunction, Timestamp, Window, DAY};
use model::{aggregates, answer, berlin, config, events, serve, spec_of, Event, NOW};
use proptest::prelude::*;
use proptest::sample::Index;

fn fold(spec: &SlotSpec, events: &[Event], calendar: &dyn Calendar) -> State {
    let mut state = State::new();
    for (ts, value) in events {
        state.touch(*ts);
        state.fold(spec, *ts, value.as_ref(), calendar).unwrap();
    }
    state
}

/// Compacts, and reads every range that some aggregate asks for, as often as that helps.
fn settle(state: &mut State, spec: &SlotSpec, events: &[Event], now: Timestamp) {
    let specs = vec![spec.clone()];
    loop {
        let mut ranges: Vec<Edge> = Vec::new();
        for (function, window) in aggregates() {
            ranges.extend(state.edges(spec, function, window, now).unwrap());
        }
        let edges = serve(events, ranges);
        let has_changed = state.refine(spec, now, &edges).unwrap();
        state.compact(&specs, now).unwrap();
        if !has_changed {
            return;
        }
    }
}

proptest! {
    #![proptest_config(config(21, 150))]

    #[test]
    fn the_order_of_arrival_does_not_matter(
        (events, shuffled) in events(200).prop_flat_map(|e| (Just(e.clone()), Just(e).prop_shuffle())),
    ) {
        let (calendar, spec) = (berlin(), spec_of(1, &aggregates()));
        let specs = vec![spec.clone()];
        let mut a = fold(&spec, &events, &calendar);
        let mut b = fold(&spec, &shuffled, &calendar);
        prop_assert_eq!(a.encode(), b.encode());
        a.compact(&specs, NOW).unwrap();
        b.compact(&specs, NOW).unwrap();
        prop_assert_eq!(a.encode(), b.encode());
        // Compacting twice is compacting once; reading back is the same state.
        b.compact(&specs, NOW).unwrap();
        prop_assert_eq!(a.encode(), b.encode());
        prop_assert_eq!(State::decode(&a.encode()).unwrap().encode(), b.encode());
        let mut reread = State::decode(&a.encode()).unwrap();
        reread.compact(&specs, NOW).unwrap();
        prop_assert_eq!(reread.encode(), a.encode());
    }

    /// Once the edges of windows have been read, even earlier compactions leave no trace.
    #[test]
    fn earlier_compactions_leave_no_trace(
        (events, shuffled) in events(200).prop_flat_map(|e| (Just(e.clone()), Just(e).prop_shuffle())),
        compactions in prop::collection::vec((any::<Index>(), 0..40 * DAY), 0..6),
    ) {
        let (calendar, spec) = (berlin(), spec_of(1, &aggregates()));
        let specs = vec![spec.clone()];
        let mut once = fold(&spec, &events, &calendar);
        let mut often = State::new();
        let mut ages: Vec<i64> = compactions.iter().map(|c| c.1).collect();
        let mut places: Vec<usize> = compactions.iter().map(|c| c.0.index(200)).collect();
        ages.sort_by(|a, b| b.cmp(a));
        places.sort();
        for (i, (ts, value)) in shuffled.iter().enumerate() {
            often.touch(*ts);
            often.fold(&spec, *ts, value.as_ref(), &calendar).unwrap();
            for (place, age) in places.iter().zip(&ages) {
                if *place == i {
                    often.compact(&specs, NOW - age).unwrap();
                    often = State::decode(&often.encode()).unwrap();
                }
            }
        }
        settle(&mut once, &spec, &events, NOW);
        settle(&mut often, &spec, &events, NOW);
        prop_assert_eq!(once.encode(), often.encode());
    }

    /// Events that no window reaches need not be read to make a state.
    #[test]
    fn what_no_window_reaches_leaves_no_trace(
        events in events(200),
        chosen in prop::collection::vec(any::<Index>(), 1..5),
        age in 0..20 * DAY,
    ) {
        let windowed: Vec<_> = aggregates().into_iter().filter(|(_, window)| window.is_some()).collect();
        let chosen: Vec<_> = chosen.iter().map(|index| windowed[index.index(windowed.len())]).collect();
        let (calendar, spec, now) = (berlin(), spec_of(1, &chosen), NOW - age);
        let specs = vec![spec.clone()];
        if let Some(from) = spec.needs_from(now) {
            let mut all = State::new();
            let mut some = State::new();
            some.starts_at(now);
            let later: Vec<Event> = events.iter().filter(|(ts, _)| *ts >= from).cloned().collect();
            for (state, events) in [(&mut all, &events), (&mut some, &later)] {
                let events = events.iter().map(|(ts, value)| (*ts, value.as_ref()));
                state.fold_all(&spec, events, &calendar).unwrap();
            }
            // What was before is answered by all events, whichever are left out.
            for (function, window) in &chosen {
                let before = now - DAY;
                let of = |state| answer(state, &spec, &events, *function, *window, before, &calendar);
                prop_assert_eq!(of(&some), of(&all));
            }
            all.compact(&specs, now).unwrap();
            some.compact(&specs, now).unwrap();
            prop_assert_eq!(all.encode(), some.encode());
        }
    }

    #[test]
    fn merging_is_associative_and_commutative(
        events in events(150),
        parts in prop::collection::vec(0usize..3, 150),
        ages in prop::collection::vec(prop::option::of(0..40 * DAY), 3),
    ) {
        let (calendar, spec) = (berlin(), spec_of(1, &aggregates()));
        let specs = vec![spec.clone()];
        let part = |n: usize| {
            let own: Vec<Event> = events
                .iter()
                .zip(&parts)
                .filter(|(_, part)| **part == n)
                .map(|(event, _)| event.clone())
                .collect();
            let mut state = fold(&spec, &own, &calendar);
            if let Some(age) = ages[n] {
                state.compact(&specs, NOW - age).unwrap();
            }
            State::decode(&state.encode()).unwrap()
        };
        let merge = |a: &State, b: &State| {
            let mut merged = a.clone();
            merged.merge(b).unwrap();
            merged
        };
        let (a, b, c) = (part(0), part(1), part(2));
        let mut whole = fold(&spec, &events, &calendar);
        settle(&mut whole, &spec, &events, NOW);
        for mut merged in [
            merge(&merge(&a, &b), &c),
            merge(&a, &merge(&b, &c)),
            merge(&c, &merge(&b, &a)),
            merge(&merge(&State::new(), &merge(&b, &c)), &a),
        ] {
            prop_assert_eq!(merged.event_count, events.len() as u64);
            settle(&mut merged, &spec, &events, NOW);
            prop_assert_eq!(merged.encode(), whole.encode());
        }
    }

    /// The same after the latest event, when only what was dropped tells that the clock went back.
    #[test]
    fn what_was_dropped_is_read_again(events in events(60), later in 0..10 * DAY, ahead in DAY..60 * DAY) {
        let (calendar, spec) = (berlin(), spec_of(1, &aggregates()));
        let mut state = fold(&spec, &events, &calendar);
        state.compact(&vec![spec.clone()], NOW + later + ahead).unwrap();
        let mut merged = State::new();
        merged.merge(&state).unwrap();
        let state = merged;
        let now = NOW + later;
        for (function, window) in aggregates().into_iter().filter(|a| a.1.is_some()) {
            let expected = model::naive(&events, function, window, now, &calendar);
            let actual = answer(&state, &spec, &events, function, window, now, &calendar);
            prop_assert_eq!(actual, expected, "{:?} {:?}", function, window);
        }
    }

    /// A state that was compacted for a later instant answers for an earlier one: the clock of a
    /// test went back.
    #[test]
    fn the_clock_may_go_back(events in events(100), back in 0..45 * DAY) {
        let (calendar, spec) = (berlin(), spec_of(1, &aggregates()));
        let mut state = fold(&spec, &events, &calendar);
        state.compact(&vec![spec.clone()], NOW + back / 2).unwrap();
        let now = NOW - back / 2;
        for (function, window) in aggregates() {
            if matches!(function, AggregateFunction::Percentile(_)) && window.is_none() {
                continue;
            }
            let expected = model::naive(&events, function, window, now, &calendar);
            let actual = answer(&state, &spec, &events, function, window, now, &calendar);
            prop_assert_eq!(actual, expected, "{:?} {:?}", function, window);
        }
    }
}

/// States of a very active person that were compacted at different times have buckets of
/// different widths.
#[test]
fn crowded_states_merge() {
    let calendar = berlin();
    let (minutes, week) = (cdp_value::MINUTE, Some(Window { length: 7 * DAY }));
    let functions = [
        AggregateFunction::Count,
        AggregateFunction::Sum,
        AggregateFunction::Max,
        AggregateFunction::Sessions(30 * minutes),
    ];
    let month = Some(Window { length: 30 * DAY });
    let aggregates: Vec<_> = functions
        .iter()
        .flat_map(|function| [(*function, week), (*function, month), (*function, None)])
        .collect();
    let spec = spec_of(1, &aggregates);
    let specs = vec![spec.clone()];
    let events: Vec<Event> = (0..6_000i64)
        .map(|n| {
            let ts = NOW - (n * 7_919 % 6_000) * 40 * DAY / 6_000 - n % 1_000;
            (ts, Some(model::number(&(n % 100).to_string())))
        })
        .collect();
    let part = |n: usize, age: i64| {
        let own: Vec<Event> = events.iter().skip(n).step_by(3).cloned().collect();
        let mut state = fold(&spec, &own, &calendar);
        state.compact(&specs, NOW - age).unwrap();
        state
    };
    let parts = [part(0, 33 * DAY), part(1, 12 * DAY), part(2, 0)];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let mut merged = State::new();
        for n in order {
            merged.merge(&parts[n]).unwrap();
        }
        for is_compact in [false, true] {
            for later in [0, DAY / 3, 9 * DAY] {
                for (function, window) in &aggregates {
                    let now = NOW + later;
                    let expected = model::naive(&events, *function, *window, now, &calendar);
                    let actual =
                        answer(&merged, &spec, &events, *function, *window, now, &calendar);
                    assert_eq!(actual, expected, "{function:?} {window:?} {order:?}");
                }
            }
            if !is_compact {
                merged.compact(&specs, NOW).unwrap();
            }
        }
    }
}

#[test]
fn what_all_time_needs_stays_and_the_rest_goes() {
    let calendar = berlin();
    let events: Vec<Event> = (0..30i64)
        .map(|n| {
            (
                NOW - 400 * DAY - n * DAY / 9,
                Some(model::number(&n.to_string())),
            )
        })
        .collect();
    for function in model::FUNCTIONS {
        let month = Some(Window { length: 30 * DAY });
        let (ever, windowed) = (
            spec_of(1, &[(function, None)]),
            spec_of(1, &[(function, month)]),
        );
        let mut state = fold(&ever, &events, &calendar);
        state.compact(&vec![ever.clone()], NOW).unwrap();
        let expected = model::naive(&events, function, None, NOW, &calendar);
        let actual = answer(&state, &ever, &events, function, None, NOW, &calendar);
        assert_eq!(actual, expected, "{function:?}");

        if !model::has_windows(function) {
            continue;
        }
        let mut state = fold(&windowed, &events, &calendar);
        state
            .compact(&vec![windowed.clone()], NOW - 400 * DAY)
            .unwrap();
        assert!(state.slot_last_seen(&windowed).unwrap().is_some());
        state.compact(&vec![windowed.clone()], NOW).unwrap();
        assert_eq!(
            state.slot_last_seen(&windowed).unwrap(),
            None,
            "{function:?}"
        );
    }
}

/// Events that are not those that were folded are no reason to forget the latter.
#[test]
fn refining_needs_the_same_events() {
    let (calendar, now) = (berlin(), NOW + 7 * DAY);
    let (count, week) = (AggregateFunction::Count, Some(Window { length: 7 * DAY }));
    let spec = spec_of(1, &[(count, week)]);
    let mut events: Vec<Event> = (-20..20i64).map(|n| (NOW + n * 60_000_000, None)).collect();
    let mut state = fold(&spec, &events, &calendar);
    state.compact(&vec![spec.clone()], NOW + DAY).unwrap();
    let before = state.encode();
    let ranges = state.edges(&spec, count, week, now).unwrap();
    assert!(!ranges.is_empty());
    let all = serve(&events, ranges.clone());
    events.remove(21);
    assert!(!state.refine(&spec, now, &serve(&events, ranges)).unwrap());
    assert_eq!(state.encode(), before);
    assert!(state.refine(&spec, now, &all).unwrap());
    assert_ne!(state.encode(), before);
    // What was learnt answers without events.
    assert!(state.edges(&spec, count, week, now).unwrap().is_empty());
}

/// A state of many slots, only some of which are looked into.
#[test]
fn slots_are_independent() {
    let calendar = berlin();
    let count = AggregateFunction::Count;
    let week = Some(Window { length: 7 * DAY });
    let specs: Vec<SlotSpec> = (0..40)
        .map(|id| spec_of(id * 3, &[(count, week)]))
        .collect();
    let mut state = State::new();
    for (i, spec) in specs.iter().enumerate().rev() {
        for n in 0..=i as i64 {
            state
                .fold(spec, NOW - n * DAY / 8, None, &calendar)
                .unwrap();
        }
    }
    let mut state = State::decode(&state.encode()).unwrap();
    state.fold(&specs[7], NOW, None, &calendar).unwrap();
    state.compact_changed(&specs, NOW).unwrap();
    let none = EdgeEvents::none();
    let mut state = State::decode(&state.encode()).unwrap();
    for (i, spec) in specs.iter().enumerate() {
        let value = state
            .evaluate(spec, count, week, NOW, &none, &calendar)
            .unwrap();
        let expected = (i as i64 + 1) + i64::from(i == 7);
        assert_eq!(value, model::number(&expected.to_string()));
    }
    // What the definitions do not know any more goes away.
    state.compact(&specs[..2], NOW).unwrap();
    assert!(state.encode().len() < 64);
    assert_eq!(state.slot_last_seen(&specs[1]).unwrap(), Some(NOW));
    assert_eq!(state.slot_last_seen(&specs[2]).unwrap(), None);
}

/// A new definition's slot is computed elsewhere and taken over.
#[test]
fn a_slot_can_be_adopted() {
    let calendar = berlin();
    let old = spec_of(1, &[(AggregateFunction::Count, None)]);
    let mut new = old.clone();
    new.add(AggregateFunction::Count, Some(Window { length: DAY }));
    let events: Vec<Event> = (0..5).map(|n| (NOW - n * DAY, None)).collect();
    let mut state = fold(&old, &events, &calendar);
    let other = fold(&new, &events, &calendar);
    state.adopt(1, &other).unwrap();
    assert_eq!(state.encode(), other.encode());
    state.adopt(1, &State::new()).unwrap();
    assert_eq!(state.slot_last_seen(&new).unwrap(), None);
}
