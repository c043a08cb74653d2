//! States of people: from the bytes that are stored to those that are stored again.

use super::Path;
use crate::definitions::{calendar, event, stored_states, Definitions, Event, NOW};
use crate::random::Random;
use cdp_state::State;
use cdp_value::DAY;
use std::hint::black_box;

const PEOPLE: u64 = 20;
const HISTORY: u64 = 200;

pub fn paths() -> Vec<Path> {
    vec![
        Path {
            name: "fold_event",
            operation: "stored state that takes one event and is stored again",
            operations: PEOPLE,
            prepare: || prepare(NOW, 1),
        },
        Path {
            name: "fold_twenty_events",
            operation: "stored state that takes twenty events and is stored again",
            operations: PEOPLE,
            prepare: || prepare(NOW, 20),
        },
        Path {
            name: "advance_windows",
            operation: "stored state whose windows move on by a day without an event",
            operations: PEOPLE,
            prepare: || prepare(NOW + DAY, 0),
        },
        Path {
            name: "merge_states",
            operation: "state that takes in that of another person",
            operations: PEOPLE / 2,
            prepare: || {
                let definitions = Definitions::new();
                let stored = stored_states(&definitions, PEOPLE, HISTORY);
                Box::new(move || {
                    for pair in stored.chunks_exact(2) {
                        let mut state = decode(&pair[0]);
                        state.merge(&decode(&pair[1])).expect("a state");
                        state.compact(&definitions, NOW).expect("a state");
                        black_box(state.encode());
                    }
                })
            },
        },
        Path {
            name: "find_edges",
            operation: "stored state that is asked which events its twenty traits need to be read",
            operations: PEOPLE,
            prepare: || {
                let definitions = Definitions::new();
                let stored = stored_states(&definitions, PEOPLE, HISTORY);
                Box::new(move || {
                    for bytes in &stored {
                        let state = decode(bytes);
                        for (aggregate, slot) in &definitions.aggregates {
                            let spec = &definitions.slots[*slot].spec;
                            let edges = state.edges(
                                spec,
                                aggregate.function,
                                aggregate.window,
                                NOW + DAY / 3,
                            );
                            black_box(edges.expect("a state"));
                        }
                    }
                })
            },
        },
    ]
}

fn decode(bytes: &[u8]) -> State {
    State::decode(black_box(bytes)).expect("a state")
}

/// Each person takes `count` events of the last minute, and everything moves on to `at`.
fn prepare(at: i64, count: u64) -> Box<dyn FnMut()> {
    let definitions = Definitions::new();
    let calendar = calendar();
    let mut random = Random::new(4);
    let people: Vec<(Vec<u8>, Vec<Event>)> = stored_states(&definitions, PEOPLE, HISTORY)
        .into_iter()
        .map(|stored| {
            let recent = |_| Event {
                at: at - random.below(60_000_000) as i64,
                ..event(&mut random, 1)
            };
            (stored, (0..count).map(recent).collect())
        })
        .collect();
    Box::new(move || {
        for (stored, events) in &people {
            let mut state = decode(stored);
            for event in events {
                definitions.fold(&mut state, event, &calendar);
            }
            match events.is_empty() {
                true => state.compact(&definitions, at),
                false => state.compact_changed(&definitions, at),
            }
            .expect("a state");
            black_box(state.encode());
        }
    })
}
