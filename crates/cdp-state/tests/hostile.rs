//! Bytes from anywhere are refused or read, but never make anything panic.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod model;

use cdp_state::{EdgeEvents, State, StateError};
use model::{aggregates, berlin, config, events, spec_of, NOW};
use proptest::prelude::*;

/// Does everything that can be done with a state, whatever comes of it.
fn use_all(bytes: &[u8]) -> Result<(), StateError> {
    let (calendar, spec) = (berlin(), spec_of(1, &aggregates()));
    let mut state = State::decode(bytes)?;
    let none = EdgeEvents::none();
    for (function, window) in aggregates() {
        let ranges = state.edges(&spec, function, window, NOW)?;
        let edges = model::serve(&[(NOW, Some(model::number("1")))], ranges);
        for edges in [&none, &edges] {
            state.evaluate(&spec, function, window, NOW, edges, &calendar)?;
            state.changes_at(&spec, function, window, NOW, edges, &calendar)?;
            state.is_approximate(&spec, function, window, NOW, edges)?;
        }
        state.clone().refine(&spec, NOW, &edges)?;
    }
    state.verify()?;
    let mut other = state.clone();
    other.merge(&state)?;
    state.fold(&spec, NOW, Some(&model::text("x")), &calendar)?;
    state.merge(&other)?;
    state.compact(&vec![spec], NOW)?;
    State::decode(&state.encode())?.verify()
}

proptest! {
    #![proptest_config(config(41, 400))]

    #[test]
    fn random_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = use_all(&bytes);
        // A header that is right, so that the slot is looked into.
        let length = bytes.len().min(120);
        bytes.truncate(length);
        let mut framed = vec![1, 0, 0, 1, 1, length as u8];
        framed.extend(&bytes);
        let _ = use_all(&framed);
    }

    #[test]
    fn damaged_states(
        events in events(150),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (calendar, spec) = (berlin(), spec_of(1, &aggregates()));
        let mut state = State::new();
        for (ts, value) in &events {
            state.touch(*ts);
            state.fold(&spec, *ts, value.as_ref(), &calendar).unwrap();
        }
        state.compact(&vec![spec], NOW).unwrap();
        let mut bytes = state.encode();
        prop_assert_eq!(use_all(&bytes), Ok(()));
        for (index, byte) in damages {
            let position = index.index(bytes.len());
            bytes[position] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = use_all(&bytes);
    }
}

#[test]
fn later_formats_are_named() {
    assert_eq!(
        State::decode(&[2, 0, 0]).unwrap_err(),
        StateError::Version(2)
    );
    assert!(State::decode(&[]).is_ok());
    assert!(matches!(State::decode(&[1]), Err(StateError::Damaged(_))));
}
