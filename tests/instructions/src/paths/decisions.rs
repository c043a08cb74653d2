//! Flags.

use super::Path;
use crate::definitions::NOW;
use cdp_decision::{bucket, Decider, Flag, Purpose, Situation};
use cdp_value::Timestamp;
use serde_json::json;
use std::collections::HashSet;
use std::hint::black_box;

const PEOPLE: u64 = 100;

pub fn paths() -> Vec<Path> {
    vec![
        Path {
            name: "bucket",
            operation: "person whose bucket is computed",
            operations: PEOPLE,
            prepare: || {
                let keys = keys();
                Box::new(move || {
                    for key in &keys {
                        black_box(bucket(Purpose::Split, black_box("offer"), key));
                    }
                })
            },
        },
        Path {
            name: "decide",
            operation: "person for whom a flag with targets, three rules, a rollout and a split is answered",
            operations: PEOPLE,
            prepare: || {
                let definition = json!({
                    "variants": {"red": {"colour": "#f00"}, "green": {"colour": "#0f0"}}, "default": "off",
                    "targets": {"red": ["user_1", "user_2", "staff"]}, "rollout": 80,
                    "rules": [
                        {"condition": "never", "variant": "green"},
                        {"condition": "never", "variant": "red"},
                        {"condition": "always", "split": {"red": 50, "green": 50}}]});
                let flag = Flag::parse("offer", &definition).expect("a flag");
                let people: Vec<Person> = keys().into_iter().map(|key| Person { key }).collect();
                Box::new(move || {
                    for person in &people {
                        let decider = Decider::new(person);
                        let decision = decider.decide(black_box(&flag)).expect("a decision");
                        black_box(decision.variant);
                    }
                })
            },
        },
    ]
}

fn keys() -> Vec<String> {
    (0..PEOPLE)
        .map(|number| format!("user_{}", number * 7919))
        .collect()
}

/// Somebody for whom the third rule holds.
struct Person {
    key: String,
}

impl Situation for Person {
    fn now(&self) -> Timestamp {
        NOW
    }
    fn key(&self) -> Option<&str> {
        Some(&self.key)
    }
    fn listed<'i>(&self, ids: &'i HashSet<String>) -> Option<&'i str> {
        ids.get(&self.key).map(String::as_str)
    }
    fn override_of(&self, _: &Flag) -> Option<&str> {
        None
    }
    fn holds(&self, _: &Flag, rule: usize) -> bool {
        rule == 2
    }
    fn flag(&self, _: &str) -> Option<&Flag> {
        None
    }
    fn holdout(&self, _: &str) -> Option<u32> {
        None
    }
}
