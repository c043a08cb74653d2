//! What is wrong with a definition is told with its place.

use cdp_decision::{Flag, Outcome};
use serde_json::json;

fn refusal(definition: serde_json::Value) -> String {
    match Flag::parse("f", &definition) {
        Ok(_) => "accepted".to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn places_are_told() {
    let cases = [
        (json!([]), "a definition as an object is expected, not []"),
        (
            json!({"rulez": 1}),
            "rulez: member \"rulez\" does not exist",
        ),
        (
            json!({"enabled": 1}),
            "enabled: true or false is expected, not 1",
        ),
        (
            json!({"variants": [{"value": 1}]}),
            "variants[0]: a variant needs a name",
        ),
        (
            json!({"variants": ["a", "a"]}),
            "variants[1]: variant \"a\" is there twice",
        ),
        (
            json!({"default": "none"}),
            "default: variant \"none\" does not exist",
        ),
        (
            json!({"rules": {"a": 1}}),
            "rules: rules as an array is expected, not {\"a\":1}",
        ),
        (
            json!({"rules": [{}, {"split": {"on": 50, "off": 49}}]}),
            "rules[1].split: the weights are 99 together, not 100",
        ),
        (
            json!({"rules": [{"split": {"on": 50, "x y": 50}}]}),
            "rules[0].split[\"x y\"]: variant \"x y\" does not exist",
        ),
        (
            json!({"split": {"on": -50, "off": 150}}),
            "split.off: 150 is no percentage: 0 to 100",
        ),
        (
            json!({"split": {"on": "1", "off": 99}}),
            "split.on: a number is expected, not \"1\"",
        ),
        (
            json!({"split": [{"variant": "on"}]}),
            "split[0]: a part of a split needs a weight",
        ),
        (
            json!({"split": {"on": 33.33333, "off": 66.66667}}),
            "split.off: 66.66667 has more than four decimal places",
        ),
        (
            json!({"rules": [{"variant": "on", "split": {"on": 100}}]}),
            "rules[0].split: a rule gives a variant or splits, not both",
        ),
        (
            json!({"rules": [{"condition": ""}]}),
            "rules[0].condition: a condition, as text or as criteria, is expected, not \"\"",
        ),
        (
            json!({"rules": [{"condition": {"trait": "x"}}]}),
            "rules[0].condition",
        ),
        (
            json!({"prerequisites": ["f"]}),
            "prerequisites[0]: flag \"f\" cannot be its own prerequisite",
        ),
        (
            json!({"rollout": {"from": 50, "to": 10, "start": "2026-01-01", "end": "2026-02-01"}}),
            "rollout: a rollout rises",
        ),
        (
            json!({"rollout": {"from": 5}}),
            "rollout: a rollout that rises needs a start",
        ),
        (
            json!({"schedule": {"start": "soon"}}),
            "schedule.start: a time",
        ),
        (
            json!({"exclusive": {"group": "g"}}),
            "exclusive: a share is needed",
        ),
        (
            json!({"exposure": {"every": "day"}}),
            "exposure.every: a period",
        ),
        (
            json!({"split": {"on": 50, "off": 50}, "buckets": [[0, 500000, "on"]]}),
            "buckets: the ranges end at 500000",
        ),
        (
            json!({"split": {"on": 100}, "buckets": [[0, 500000, "on"], [500000, 1000000, "off"]]}),
            "buckets: the buckets are not divided",
        ),
    ];
    for (definition, expected) in cases {
        let got = refusal(definition.clone());
        assert!(got.starts_with(expected), "{definition}: {got}");
    }
}

#[test]
fn weights_may_be_fractions() {
    let percent = Flag::parse("f", &json!({"split": {"on": 33.3, "off": 66.7}}));
    let fractions = Flag::parse(
        "f",
        &json!({"split": [{"variant": "off", "weight": 0.667}, {"variant": "on", "weight": 0.333}]}),
    );
    assert!(percent.is_ok());
    assert_eq!(percent, fractions);
}

#[test]
fn a_changed_flag_goes_on_where_it_was() {
    let first = json!({"rules": [{"name": "x", "split": {"on": 50, "off": 50}}]});
    let second = json!({"variants": ["a"], "rules": [{}, {"name": "x", "split": {"on": 45, "off": 45, "a": 10}}]});
    let (Ok(before), Ok(mut after)) = (Flag::parse("f", &first), Flag::parse("f", &second)) else {
        panic!("refused")
    };
    after.continue_from(&before, &second);
    let Some(Outcome::Split(ranges)) = after.rules.get(1).map(|rule| rule.outcome.clone()) else {
        panic!("no split")
    };
    let ranges: Vec<(u32, u32, &str)> = ranges
        .iter()
        .map(|r| (r.from, r.to, r.owner.as_str()))
        .collect();
    // By name "off" came before "on".
    assert_eq!(
        ranges,
        [
            (0, 450_000, "off"),
            (450_000, 500_000, "a"),
            (500_000, 950_000, "on"),
            (950_000, 1_000_000, "a")
        ]
    );
    // What is kept says so, and read again is the same.
    let kept = cdp_decision::canonical(&second, &after, &[None, None]);
    assert_eq!(
        kept["rules"][1]["buckets"][1],
        json!([450_000, 500_000, "a"])
    );
    assert_eq!(Flag::parse("f", &kept).ok(), Some(after));
}
