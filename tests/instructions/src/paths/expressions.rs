//! Traits, segments, filters: their values, when they change next, and reading them from text.

use super::{messages, Path};
use crate::definitions::{
    calendar, segment_texts, stored_states, trait_texts, Definitions, Person, NOW, ROUTE_FILTERS,
};
use cdp_expr::{check, evaluate, is_true, lookup, next_change, Aggregate, Context, Expr, Kind};
use cdp_state::{State, Zoned};
use cdp_value::{Timestamp, Value};
use std::hint::black_box;

const PEOPLE: u64 = 20;
const MESSAGES: u64 = 100;

pub fn paths() -> Vec<Path> {
    vec![
        Path {
            name: "evaluate_definitions",
            operation: "person for whom twenty traits and ten segments are evaluated",
            operations: PEOPLE,
            prepare: || {
                people(|person| {
                    for expr in person.definitions.traits.values() {
                        black_box(evaluate(black_box(expr), person));
                    }
                    for rule in person.definitions.segments.values() {
                        black_box(is_true(black_box(rule), person));
                    }
                })
            },
        },
        Path {
            name: "next_change",
            operation: "person for whom it is told when any of twenty traits and ten segments changes by time alone",
            operations: PEOPLE,
            prepare: || {
                people(|person| {
                    let definitions = person.definitions.inlined.iter();
                    black_box(definitions.filter_map(|expr| next_change(black_box(expr), person)).min());
                })
            },
        },
        Path {
            name: "filter_routes",
            operation: "message that is tried with the filters of three routes",
            operations: MESSAGES,
            prepare: || {
                let definitions = Definitions::new();
                let filters: Vec<Expr> = ROUTE_FILTERS
                    .iter()
                    .map(|text| check(text, Kind::RouteFilter, None, &definitions).expect("a filter").expr)
                    .collect();
                let bodies: Vec<serde_json::Value> = messages::plain(MESSAGES)
                    .lines()
                    .map(|line| serde_json::from_str(line).expect("a message"))
                    .collect();
                Box::new(move || {
                    for body in &bodies {
                        let message = Message(Value::from_json(black_box(body)));
                        for filter in &filters {
                            black_box(is_true(black_box(filter), &message));
                        }
                    }
                })
            },
        },
        Path {
            name: "read_definitions",
            operation: "text of a trait or segment that is parsed, resolved and checked",
            operations: 30,
            prepare: || {
                let definitions = Definitions::new();
                let (traits, segments) = (trait_texts(), segment_texts());
                Box::new(move || {
                    for (kind, texts) in [(Kind::Trait, &traits), (Kind::Segment, &segments)] {
                        for (key, text) in texts {
                            black_box(check(black_box(text), kind, Some(key), &definitions)).expect("a definition");
                        }
                    }
                })
            },
        },
    ]
}

/// Something that is done with each of a few people whose states have just been read.
fn people(each: fn(&Person)) -> Box<dyn FnMut()> {
    let definitions = Definitions::new();
    let calendar: Zoned = calendar();
    let stored = stored_states(&definitions, PEOPLE, 200);
    Box::new(move || {
        for bytes in &stored {
            let state = State::decode(bytes).expect("a state");
            each(&Person::new(&definitions, &state, &calendar, NOW));
        }
    })
}

struct Message(Value);

impl Context for Message {
    fn now(&self) -> Timestamp {
        NOW
    }
    fn aggregate(&self, _: &Aggregate) -> Value {
        Value::Null
    }
    fn property(&self, path: &[String]) -> Value {
        let properties = lookup(&self.0, &["properties".to_string()]);
        properties
            .and_then(|properties| lookup(properties, path))
            .cloned()
            .unwrap_or(Value::Null)
    }
    fn message(&self, path: &[String]) -> Value {
        lookup(&self.0, path).cloned().unwrap_or(Value::Null)
    }
}
