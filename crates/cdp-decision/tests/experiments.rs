//! Definitions of experiments.
#![allow(clippy::panic)]

use cdp_decision::{Experiment, Flag};
use serde_json::json;

fn flag() -> Flag {
    match Flag::parse(
        "f",
        &json!({"variants": {"a": 1, "b": 2, "c": 3}, "split": {"a": 20, "b": 30, "off": 50}}),
    ) {
        Ok(flag) => flag,
        Err(error) => panic!("{error}"),
    }
}

fn parse(definition: serde_json::Value) -> Result<Experiment, String> {
    let flag = flag();
    Experiment::parse(&definition, |key| (key == "f").then_some(&flag), &["f"])
        .map_err(|error| error.to_string())
}

#[test]
fn what_is_not_said_follows_from_the_flag() {
    let got = parse(json!({"flag": "f", "primary": "events.order.count"}));
    let Ok(got) = got else { panic!("{got:?}") };
    assert_eq!(
        (got.control.as_str(), got.variants.join(" ")),
        ("off", "off a b".to_string())
    );
    assert_eq!(got.allocation, [500_000.0, 200_000.0, 300_000.0]);
    assert_eq!(
        (got.metrics.len(), got.metrics[0].name.as_str()),
        (1, "events.order.count")
    );
    let named = parse(
        json!({"flag": "f", "control": "b", "variants": ["c", "b"], "primary": "1", "confidence": 0.9}),
    );
    let Ok(named) = named else {
        panic!("{named:?}")
    };
    // "c" has no part in the split: all alike is expected.
    assert_eq!(
        (named.variants.join(" "), named.allocation),
        ("b c".to_string(), vec![1.0, 1.0])
    );
    assert!((named.alpha - 0.1).abs() < 1e-12);
}

#[test]
fn places_are_told() {
    let cases = [
        (json!({}), "an experiment needs a flag"),
        (json!({"flag": "g"}), "flag: flag \"g\" does not exist"),
        (
            json!({"flag": "f", "variants": ["a", "d"], "control": "a"}),
            "variants[1]: flag \"f\" has no variant \"d\"",
        ),
        (
            json!({"flag": "f", "variants": ["a"], "control": "a"}),
            "there is nothing to compare \"a\" with",
        ),
        (
            json!({"flag": "f", "variants": ["a", "b"]}),
            "an experiment needs a control",
        ),
        (json!({"flag": "f", "primary": 5}), "primary: a metric"),
        (
            json!({"flag": "f", "primary": {"name": "x"}}),
            "primary: a metric needs an expression",
        ),
        (
            json!({"flag": "f", "primary": {"expression": "1", "better": "more"}}),
            "primary.better: \"higher\" or \"lower\"",
        ),
        (
            json!({"flag": "f", "primary": "1", "guardrails": [{"name": "1", "expression": "2"}]}),
            "guardrails[0]: metric \"1\" is there twice",
        ),
        (
            json!({"flag": "f", "primary": "1", "allocation": {"a": 50, "b": 50, "c": 0}}),
            "allocation.c: variant \"c\"",
        ),
        (
            json!({"flag": "f", "primary": "1", "allocation": {"a": 50, "b": 40}}),
            "allocation: the weights are 90",
        ),
        (
            json!({"flag": "f", "primary": "1", "confidence": 2}),
            "confidence: a number from 0.5 to 0.9999",
        ),
        (
            json!({"flag": "f", "primary": "1", "start": "2026-02-01", "end": "2026-01-01"}),
            "the end is not after the start",
        ),
        (
            json!({"flag": "f", "primary": "1", "guard": []}),
            "guard: member \"guard\" does not exist",
        ),
    ];
    for (definition, expected) in cases {
        let got = parse(definition.clone()).map_or_else(|error| error, |_| "accepted".to_string());
        assert!(got.starts_with(expected), "{definition}: {got}");
    }
}

#[test]
fn what_is_kept_reads_the_same() {
    let definition = json!({"flag": "f", "primary": {"name": "x", "expression": "1+1"}, "guardrails": ["2+2"], "covariate": "3"});
    let Ok(parsed) = parse(definition.clone()) else {
        panic!("refused")
    };
    let kept = parsed.canonical(
        &definition,
        &["1 + 1".to_string(), "2 + 2".to_string()],
        Some("3"),
    );
    assert_eq!(kept["primary"], json!({"name": "x", "expression": "1 + 1"}));
    assert_eq!(kept["guardrails"], json!(["2 + 2"]));
    let metrics = parse(kept).map(|again| again.metrics.len());
    assert_eq!(metrics, Ok(2));
}
