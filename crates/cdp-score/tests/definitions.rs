//! Definitions: what is refused, and where.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use cdp_expr::EmptyCatalog;
use cdp_score::{Grades, Score};
use cdp_value::Decimal;
use proptest::prelude::*;
use serde_json::{json, Value as Json};

fn refusal(definition: &Json) -> (String, String) {
    let error = match Score::parse(definition) {
        Err(error) => error,
        Ok(mut score) => score.resolve("own", &EmptyCatalog).unwrap_err(),
    };
    (error.path, error.message)
}

fn with_grades(grades: Json) -> Json {
    json!({"behavior": {"rules": [{"event": "e", "points": 1}]}, "grades": grades})
}

fn with_ranges(ranges: Json) -> Json {
    json!({"icp": {"rules": [{"traits": ["t"], "ranges": ranges}]}})
}

#[test]
fn refusals_name_the_place() {
    for (definition, path) in [
        (json!(null), ""),
        (json!({"icp": []}), "/icp"),
        (json!({"icp": {"rules": {}}}), "/icp/rules"),
        (json!({"icp": {"cap": -1}}), "/icp/cap"),
        (json!({"icp": {"a/b~c": 1}}), "/icp/a~1b~0c"),
        (with_ranges(json!([{"from": 1}])), "/icp/rules/0/ranges/0"),
        (
            with_ranges(json!([{"from": 1, "above": 1, "points": 1}])),
            "/icp/rules/0/ranges/0/above",
        ),
        (
            with_ranges(json!([{"above": 1, "below": 1, "points": 1}])),
            "/icp/rules/0/ranges/0",
        ),
        (
            with_ranges(json!([{"to": 5, "points": 1}, {"from": 5, "points": 1}])),
            "/icp/rules/0/ranges/1",
        ),
        (with_grades(json!([{"from": 1}])), "/grades/0"),
        (
            with_grades(json!([{"grade": "", "from": 1}])),
            "/grades/0/grade",
        ),
        (
            with_grades(json!([{"grade": "A", "from": 10}])),
            "/grades/0",
        ),
        (
            with_grades(
                json!([{"grade": "A", "from": 10}, {"grade": "B", "from": 10}, {"grade": "C"}]),
            ),
            "/grades/1",
        ),
        (
            with_grades(json!([{"grade": "A", "from": 10}, {"grade": "A"}])),
            "/grades/1",
        ),
        (
            with_grades(json!([{"grade": "B", "below": 9}, {"grade": "A", "from": 10}])),
            "/grades/0",
        ),
        (
            with_grades(json!([{"grade": "B", "to": 8}, {"grade": "A", "from": 10}])),
            "/grades/0",
        ),
        (
            with_grades(json!([{"grade": "B", "to": 10}, {"grade": "A", "from": 10}])),
            "/grades/0",
        ),
    ] {
        assert_eq!(refusal(&definition).0, path, "{definition}");
    }
}

#[test]
fn ranges_may_meet_but_not_overlap() {
    for ranges in [
        json!([{"to": 5, "points": 1}, {"above": 5, "points": 1}]),
        json!([{"below": 5, "points": 1}, {"from": 5, "points": 1}]),
        json!([{"from": 5, "to": 5, "points": 1}, {"from": 1, "below": 5, "points": 2}]),
    ] {
        assert!(
            Score::parse(&with_ranges(ranges.clone())).is_ok(),
            "{ranges}"
        );
    }
}

#[test]
fn what_is_stored_reads_the_same() {
    let given = json!({
        "icp": {"rules": [{"expression": "coalesce( profile.plan , 'x')", "values": [{"equals": "pro", "points": 1}]}]},
        "behavior": {"rules": [{"event": "a \"b\"", "filter": "total>1 and kind=='x'", "points": -2.5,
            "limit": {"count": 3, "per": "week"}, "decay": {"half_life": "30d"}}]},
        "grades": [{"grade": "ok", "from": 1, "to": 4}, {"grade": "good", "from": 5}, {"grade": "bad"}],
    });
    let mut score = Score::parse(&given).unwrap();
    score.resolve("own", &EmptyCatalog).unwrap();
    let stored = score.stored(&given);
    assert_ne!(stored, given);
    let again = Score::parse(&stored).unwrap();
    assert!(again.inputs().eq(score.inputs()));
    assert_eq!(again.stored(&stored), stored);
    assert_eq!(score.grades.of(&Decimal::from(5)), "good");
}

fn json_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<i32>().prop_map(|n| json!(n)),
        "[a-z0-9 .\\[\\]\"]{0,12}".prop_map(Json::String),
    ];
    let name = prop::sample::select(vec![
        "icp",
        "behavior",
        "grades",
        "changes",
        "rules",
        "cap",
        "traits",
        "expression",
        "ranges",
        "values",
        "from",
        "to",
        "above",
        "below",
        "points",
        "event",
        "filter",
        "window",
        "limit",
        "decay",
        "count",
        "per",
        "half_life",
        "step",
        "grade",
        "equals",
        "any_of",
        "name",
    ]);
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::Array),
            prop::collection::vec((name.clone(), inner), 0..6).prop_map(|m| Json::Object(
                m.into_iter().map(|(k, v)| (k.to_string(), v)).collect()
            )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(8), failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_definition_panics(definition in json_value()) {
        if let Ok(mut score) = Score::parse(&definition) {
            let _ = score.resolve("own", &EmptyCatalog);
            score.evaluate(&[]);
        }
    }

    /// Every total has exactly one grade: that of the highest step it reaches.
    #[test]
    fn scales_have_no_holes(steps in prop::collection::btree_set(-50i64..150, 1..8), total in -100i64..200) {
        let mut grades: Vec<Json> =
            steps.iter().map(|from| json!({"grade": format!("from {from}"), "from": from})).collect();
        grades.push(json!({"grade": "lowest"}));
        let score = Score::parse(&with_grades(Json::Array(grades))).unwrap();
        let expected = steps.iter().rfind(|from| **from <= total);
        let expected = expected.map_or("lowest".to_string(), |from| format!("from {from}"));
        prop_assert_eq!(score.grades.of(&Decimal::from(total)), expected);
    }
}

#[test]
fn the_default_scale_is_that_of_lead() {
    let lead: Json = serde_json::from_str(cdp_score::LEAD).unwrap();
    assert_eq!(Score::parse(&lead).unwrap().grades, Grades::default());
}
