//! Who gets what, and in which order things are looked at.
#![allow(clippy::panic)]

use cdp_decision::{Decider, Decision, Flag, Reason, Situation, Step};
use proptest::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};

/// A person of whom the names of true conditions are known.
struct Person {
    key: Option<String>,
    now: i64,
    ids: Vec<String>,
    holds: HashSet<String>,
    overrides: HashMap<String, String>,
    flags: BTreeMap<String, Flag>,
}

impl Person {
    fn new(key: &str) -> Person {
        Person {
            key: Some(key.to_string()),
            now: 0,
            ids: vec![key.to_string()],
            holds: HashSet::new(),
            overrides: HashMap::new(),
            flags: BTreeMap::new(),
        }
    }
}

impl Situation for Person {
    fn now(&self) -> i64 {
        self.now
    }
    fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
    fn listed<'i>(&self, ids: &'i HashSet<String>) -> Option<&'i str> {
        self.ids
            .iter()
            .find_map(|id| ids.get(id))
            .map(String::as_str)
    }
    fn override_of(&self, flag: &Flag) -> Option<&str> {
        self.overrides.get(&flag.key).map(String::as_str)
    }
    fn holds(&self, flag: &Flag, rule: usize) -> bool {
        match flag
            .rules
            .get(rule)
            .and_then(|rule| rule.condition.as_ref())
        {
            Some(cdp_decision::Condition::Text(text)) => self.holds.contains(text),
            _ => false,
        }
    }
    fn flag(&self, key: &str) -> Option<&Flag> {
        self.flags.get(key)
    }
    fn holdout(&self, key: &str) -> Option<u32> {
        (key == "tenth").then_some(100_000)
    }
}

fn flag(key: &str, definition: serde_json::Value) -> Flag {
    match Flag::parse(key, &definition) {
        Ok(flag) => flag,
        Err(error) => panic!("{error}"),
    }
}

fn decide<'a>(person: &'a Person, flag: &'a Flag) -> Decision<'a> {
    match Decider::new(person).decide(flag) {
        Some(decision) => decision,
        None => panic!("no decision"),
    }
}

#[test]
fn the_first_rule_that_holds_decides() {
    let flag = flag(
        "f",
        json!({"variants": {"a": {"x": 1}, "b": [2]}, "default": "b", "rules": [
            {"condition": "one", "variant": "a"}, {"name": "second", "condition": "two", "variant": "off"}]}),
    );
    let mut person = Person::new("1");
    let answer = decide(&person, &flag);
    assert_eq!(
        (
            answer.variant.name.as_str(),
            answer.reason,
            answer.variant.allow
        ),
        ("b", Reason::NoRuleMatched, false)
    );
    person.holds = ["two".to_string()].into();
    let answer = decide(&person, &flag);
    assert_eq!(
        (answer.variant.name.as_str(), answer.rule),
        ("off", Some(1))
    );
    assert_eq!(
        answer.steps.last().map(ToString::to_string),
        Some("rule 2 \"second\" matched".to_string())
    );
    person.holds.insert("one".to_string());
    let answer = decide(&person, &flag);
    assert_eq!(
        (&answer.variant.value, answer.variant.allow),
        (&json!({"x": 1}), true)
    );
}

#[test]
fn allowance_is_told_or_follows_from_the_value_or_the_default() {
    let flag = flag(
        "f",
        json!({"default": "d", "variants": [
            "a", "d", {"name": "no", "value": false}, {"name": "yes", "value": 0, "allow": true}, {"name": "never", "allow": false}]}),
    );
    let allows: Vec<(&str, bool)> = flag
        .variants
        .iter()
        .map(|v| (v.name.as_str(), v.allow))
        .collect();
    let expected = [
        ("a", true),
        ("d", false),
        ("no", false),
        ("yes", true),
        ("never", false),
        ("on", true),
        ("off", false),
    ];
    assert_eq!(allows, expected);
}

#[test]
fn what_comes_first_is_looked_at_first() {
    let definition = json!({
        "enabled": false, "prerequisites": ["other"], "schedule": {"start": "1970-01-01T00:00:01Z", "end": "1970-01-01T00:00:02Z"},
        "targets": {"on": ["1"]}, "holdout": "tenth", "exclusive": {"group": "g", "share": 0}, "rollout": 0, "rules": [{}]});
    let mut person = Person::new("1");
    person.overrides.insert("f".to_string(), "on".to_string());
    person
        .flags
        .insert("other".to_string(), flag("other", json!({"rollout": 0})));
    let mut definition = definition;
    let reason = |person: &Person, definition: &serde_json::Value| {
        let flag = flag("f", definition.clone());
        decide(person, &flag).reason
    };
    assert_eq!(reason(&person, &definition), Reason::Override);
    person.overrides.insert("f".to_string(), "gone".to_string());
    assert_eq!(reason(&person, &definition), Reason::Disabled);
    definition["enabled"] = json!(true);
    assert_eq!(reason(&person, &definition), Reason::NotStarted);
    person.now = 2_000_000;
    assert_eq!(reason(&person, &definition), Reason::Ended);
    person.now = 1_000_000;
    assert_eq!(reason(&person, &definition), Reason::PrerequisiteFailed);
    person
        .flags
        .insert("other".to_string(), flag("other", json!({"rollout": 100})));
    assert_eq!(reason(&person, &definition), Reason::TargetMatched);
    definition["targets"] = json!(null);
    // The first person whom the holdout takes.
    let held = (0..1000)
        .map(|n| n.to_string())
        .find(|key| cdp_decision::bucket(cdp_decision::Purpose::Holdout, "tenth", key) < 100_000);
    person.key = held;
    assert_eq!(reason(&person, &definition), Reason::HeldOut);
    definition["holdout"] = json!(null);
    assert_eq!(reason(&person, &definition), Reason::Excluded);
    definition["exclusive"] = json!(null);
    assert_eq!(reason(&person, &definition), Reason::OutsideRollout);
    definition["rollout"] = json!(null);
    assert_eq!(reason(&person, &definition), Reason::RuleMatched);
    definition["rules"] = json!([]);
    assert_eq!(reason(&person, &definition), Reason::NoRuleMatched);
    person.key = None;
    assert_eq!(reason(&person, &definition), Reason::UnknownPerson);
}

#[test]
fn circles_of_prerequisites_are_spelled_out() {
    let (a, b) = (
        flag("a", json!({"prerequisites": ["b"]})),
        flag("b", json!({"prerequisites": ["c"]})),
    );
    let c = flag("c", json!({"prerequisites": ["d", "a"]}));
    let d = flag("d", json!({"rollout": 5}));
    let others = BTreeMap::from([("a", &a), ("b", &b), ("d", &d)]);
    let error = c
        .check_prerequisites(&others)
        .err()
        .map(|error| error.to_string());
    assert_eq!(
        error.as_deref(),
        Some("prerequisites[1]: these flags wait for each other: c → a → b → c")
    );
}

#[test]
fn a_long_lattice_of_prerequisites_is_answered_once_each() {
    let mut person = Person::new("1");
    person
        .flags
        .insert("f0".to_string(), flag("f0", json!({"rollout": 100})));
    for n in 1..40 {
        let before = format!("f{}", n - 1);
        let definition =
            json!({"prerequisites": [before, {"flag": before, "variant": "on"}], "rollout": 100});
        person
            .flags
            .insert(format!("f{n}"), flag(&format!("f{n}"), definition));
    }
    assert_eq!(decide(&person, &person.flags["f39"]).variant.name, "on");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whoever is in stays in while a rollout rises, and comes in exactly when it was said.
    #[test]
    fn rollouts_rise(from in 0u32..50, rise in 1u32..50, length in 1_000i64..10_000_000_000, key in 0u32..100_000, part in 0f64..1.2) {
        let end = cdp_value_text(length);
        let flag = flag("f", json!({"rollout": {"from": from, "to": from + rise, "start": "1970-01-01T00:00:00Z", "end": end}}));
        let mut person = Person::new(&key.to_string());
        person.now = (length as f64 * part) as i64;
        let (was_on, admitted) = {
            let before = decide(&person, &flag);
            let admitted = before.steps.iter().find_map(|step| match step {
                Step::Rollout { admitted, .. } => *admitted,
                _ => None,
            });
            (before.variant.name == "on", admitted)
        };
        match admitted {
            None => {
                person.now = i64::MAX / 2;
                prop_assert_eq!(decide(&person, &flag).variant.name == "on", was_on);
            }
            Some(at) => {
                prop_assert!(!was_on && at > person.now);
                person.now = at - 1;
                prop_assert_eq!(&decide(&person, &flag).variant.name, "off");
                person.now = at;
                prop_assert_eq!(&decide(&person, &flag).variant.name, "on");
            }
        }
    }

    /// Any document is read or refused, and never anything else.
    #[test]
    fn no_document_breaks_it(document in document(3)) {
        if let Ok(flag) = Flag::parse("f", &document) {
            let person = Person::new("7");
            prop_assert!(Decider::new(&person).decide(&flag).is_some());
            let conditions = vec![None; flag.rules.len()];
            let kept = cdp_decision::canonical(&document, &flag, &conditions);
            prop_assert_eq!(Flag::parse("f", &kept).ok(), Some(flag));
        }
    }
}

fn cdp_value_text(micros: i64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (minutes, hours) = (seconds / 60 % 60, seconds / 3600);
    format!(
        "1970-01-01T{hours:02}:{minutes:02}:{:02}.{fraction:06}Z",
        seconds % 60
    )
}

/// JSON that looks like definitions, and does not.
fn document(depth: u32) -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        (0u32..120).prop_map(|n| json!(n)),
        (-2.0f64..2.0).prop_map(|n| json!(n)),
        prop_oneof![
            Just("on"),
            Just("off"),
            Just("a"),
            Just("2026-01-01"),
            Just("7d"),
            Just(""),
            Just("é")
        ]
        .prop_map(|t| json!(t)),
    ];
    let key = prop_oneof![
        Just("variants"),
        Just("rules"),
        Just("split"),
        Just("rollout"),
        Just("condition"),
        Just("variant"),
        Just("default"),
        Just("schedule"),
        Just("start"),
        Just("end"),
        Just("targets"),
        Just("on"),
        Just("off"),
        Just("a"),
        Just("buckets"),
        Just("prerequisites"),
        Just("exclusive"),
        Just("group"),
        Just("share"),
        Just("exposure"),
        Just("every"),
        Just("weight"),
        Just("rule"),
        Just("enabled"),
        Just("salt"),
        Just("name"),
        Just("value"),
    ];
    leaf.prop_recursive(depth, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_string(), v)).collect()),
        ]
    })
}
