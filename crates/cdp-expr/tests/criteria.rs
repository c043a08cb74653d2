//! JSON audience criteria.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use cdp_expr::{check, criteria, print, resolve, EmptyCatalog, Kind};
use serde_json::{json, Value};
use support::catalog;

/// The example of the requirements, verbatim.
#[test]
fn high_value_at_risk() {
    let json: Value = serde_json::from_str(
        r#"{"and":[{"trait":"ltv","operator":">","value":1000},{"trait":"lastSeen","operator":"<","value":"30d"},{"event":"subscription.cancelled","window":"7d"}]}"#,
    )
    .unwrap();
    let expr = criteria(&json).unwrap();
    let rest = "last_seen < 30d && events.\"subscription.cancelled\".count_7d >= 1";
    assert_eq!(print(&expr), format!("attribute(\"ltv\") > 1000 && {rest}"));
    assert_eq!(cdp_expr::parse(&print(&expr)), Ok(expr.clone()));
    let computed = resolve(&expr, Kind::Segment, None, &catalog()).unwrap();
    assert_eq!(
        print(&computed.expr),
        format!("trait(\"ltv\") > 1000 && {rest}")
    );
    let sent = resolve(&expr, Kind::Segment, None, &EmptyCatalog).unwrap();
    assert_eq!(print(&sent.expr), print(&expr), "a trait ltv may come");
    for settled in [
        sent.expr.settled(&EmptyCatalog),
        sent.expr.inline(&EmptyCatalog),
    ] {
        assert_eq!(print(&settled), format!("profile.ltv > 1000 && {rest}"));
    }
    assert_eq!(sent.expr.settled(&catalog()), computed.expr);
}

#[test]
fn a_trait_that_is_defined_later_is_no_way_around_a_cycle() {
    let high = criteria(&json!({"trait": "ltv_later", "operator": ">", "value": 1})).unwrap();
    let definitions = catalog().with_segment("high", &print(&high));
    let refused = check(
        "if(segment(\"high\"), 1, 0)",
        Kind::Trait,
        Some("ltv_later"),
        &definitions,
    );
    assert_eq!(
        refused.unwrap_err().message,
        "definitions refer to each other in a cycle: ltv_later -> high -> ltv_later"
    );
}

#[test]
fn every_form() {
    for (json, text) in [
        (
            json!({"trait": "plan", "operator": "==", "value": "pro"}),
            "attribute(\"plan\") == \"pro\"",
        ),
        (
            json!({"trait": "plan", "operator": "equals", "value": null}),
            "attribute(\"plan\") == null",
        ),
        (
            json!({"trait": "plan", "operator": "=", "value": true}),
            "attribute(\"plan\") == true",
        ),
        (
            json!({"trait": "plan", "operator": "notEquals", "value": "x"}),
            "attribute(\"plan\") != \"x\"",
        ),
        (
            json!({"trait": "n", "operator": "greaterThanOrEqual", "value": 1.50}),
            "attribute(\"n\") >= 1.5",
        ),
        (
            json!({"trait": "n", "operator": "lte", "value": 3}),
            "attribute(\"n\") <= 3",
        ),
        (
            json!({"trait": "n", "operator": "between", "value": [1, 5]}),
            "attribute(\"n\") >= 1 && attribute(\"n\") <= 5",
        ),
        (
            json!({"trait": "p", "operator": "in", "value": ["a", 1]}),
            "attribute(\"p\") in [\"a\", 1]",
        ),
        (
            json!({"trait": "p", "operator": "notIn", "value": ["a"]}),
            "attribute(\"p\") not in [\"a\"]",
        ),
        (
            json!({"trait": "p", "operator": "contains", "value": "a"}),
            "attribute(\"p\") contains \"a\"",
        ),
        (
            json!({"trait": "p", "operator": "not_contains", "value": "a"}),
            "not (attribute(\"p\") contains \"a\")",
        ),
        (
            json!({"trait": "p", "operator": "startsWith", "value": "a"}),
            "attribute(\"p\") starts_with \"a\"",
        ),
        (
            json!({"trait": "p", "operator": "ends_with", "value": "a"}),
            "attribute(\"p\") ends_with \"a\"",
        ),
        (
            json!({"trait": "p", "operator": "matches", "value": "^a"}),
            "attribute(\"p\") matches \"^a\"",
        ),
        (
            json!({"trait": "p", "operator": "exists"}),
            "exists(attribute(\"p\"))",
        ),
        (
            json!({"trait": "p", "operator": "notExists"}),
            "not exists(attribute(\"p\"))",
        ),
        (
            json!({"trait": "last_seen", "operator": ">", "value": "12h"}),
            "last_seen > 12h",
        ),
        (
            json!({"trait": "firstSeen", "operator": "<=", "value": "2w"}),
            "first_seen <= 14d",
        ),
        (
            json!({"trait": "firstSeen", "operator": ">", "value": "2024-01-01"}),
            "first_seen > \"2024-01-01\"",
        ),
        (
            json!({"trait": "firstSeen", "operator": "between", "value": ["7d", "30d"]}),
            "first_seen >= 7d && first_seen <= 30d",
        ),
        (
            json!({"trait": "lastSeenDaysAgo", "operator": "<", "value": 3}),
            "last_seen_days_ago < 3",
        ),
        (json!({"segment": "vip"}), "segment(\"vip\")"),
        (
            json!({"segment": "vip", "value": false}),
            "not segment(\"vip\")",
        ),
        (
            json!({"segment": "vip", "operator": "!=", "value": true}),
            "not segment(\"vip\")",
        ),
        (json!({"event": "purchase"}), "events.purchase.count >= 1"),
        (
            json!({"event": "purchase", "window": "30d", "count": 3}),
            "events.purchase.count_30d >= 3",
        ),
        (
            json!({"event": "purchase", "window": "24h", "operator": "<", "count": 2}),
            "events.purchase.count_1d < 2",
        ),
        (
            json!({"event": "purchase", "operator": "==", "value": 0}),
            "events.purchase.count == 0",
        ),
        (
            json!({"event": "purchase", "operator": "notExists", "window": "90d"}),
            "events.purchase.count_90d == 0",
        ),
        (
            json!({"event": "purchase", "operator": "between", "count": [2, 4]}),
            "events.purchase.count >= 2 && events.purchase.count <= 4",
        ),
        (
            json!({"event": "Order Completed", "window": "7d", "where": {"property": "total", "operator": ">", "value": 10}}),
            "events.\"Order Completed\"[total > 10].count_7d >= 1",
        ),
        (
            json!({"event": "x", "where": [
                {"property": "a.b", "operator": "in", "value": ["1"]},
                {"or": [{"property": "c", "operator": "exists"}, {"not": {"property": "d", "operator": "==", "value": 1}}]}
            ]}),
            "events.x[a.b in [\"1\"] && (exists(c) || not (d == 1))].count >= 1",
        ),
        (
            json!({"or": [{"segment": "a"}, {"and": [{"segment": "b"}, {"segment": "c"}]}]}),
            "segment(\"a\") || segment(\"b\") && segment(\"c\")",
        ),
        (
            json!({"and": [{"and": [{"segment": "a"}, {"segment": "b"}]}, {"segment": "c"}]}),
            "segment(\"a\") && segment(\"b\") && segment(\"c\")",
        ),
        (
            json!({"not": {"or": [{"segment": "a"}, {"segment": "b"}]}}),
            "not (segment(\"a\") || segment(\"b\"))",
        ),
        (
            json!({"none": [{"segment": "a"}, {"segment": "b"}]}),
            "not (segment(\"a\") || segment(\"b\"))",
        ),
        (json!({"all": [{"segment": "a"}]}), "segment(\"a\")"),
    ] {
        let expr = criteria(&json).unwrap_or_else(|error| panic!("{json}: {error}"));
        assert_eq!(print(&expr), text, "{json}");
        assert_eq!(cdp_expr::parse(text), Ok(expr), "{text}");
    }
}

#[test]
fn a_key_with_dots_is_a_path_unless_it_is_a_trait() {
    let expr =
        criteria(&json!({"trait": "address.city", "operator": "==", "value": "Bonn"})).unwrap();
    let resolved = |catalog: &dyn cdp_expr::Catalog| {
        let checked = resolve(&expr, Kind::Segment, None, catalog).unwrap();
        print(&checked.expr.settled(catalog))
    };
    assert_eq!(resolved(&EmptyCatalog), "profile.address.city == \"Bonn\"");
    let definitions = catalog().with_trait("address.city", "profile.city");
    assert_eq!(
        resolved(&definitions),
        "trait(\"address.city\") == \"Bonn\""
    );
}

#[test]
fn mistakes_are_explained() {
    for (json, path, message, hint) in [
        (json!([]), "", "a condition must be an object", "operator"),
        (json!({}), "", "the condition is empty", ""),
        (
            json!({"and": []}),
            "and",
            "the list of conditions is empty",
            "",
        ),
        (
            json!({"and": {"segment": "x"}}),
            "and",
            "must be a list",
            "",
        ),
        (
            json!({"and": [{"segment": "x"}, 5]}),
            "and[1]",
            "must be an object",
            "operator",
        ),
        (
            json!({"traits": "ltv"}),
            "",
            "needs one of and, or, not",
            "did you mean trait?",
        ),
        (json!({"trait": "ltv"}), "", "operator is missing", ""),
        (
            json!({"trait": "ltv", "operator": ">"}),
            "",
            "value is missing",
            "",
        ),
        (
            json!({"trait": "ltv", "operator": ">>", "value": 1}),
            "operator",
            "unknown operator >>",
            "use == != >",
        ),
        (
            json!({"trait": "ltv", "operator": "contain", "value": 1}),
            "operator",
            "unknown operator contain",
            "did you mean contains?",
        ),
        (
            json!({"trait": "ltv", "operator": ">", "value": [1]}),
            "value",
            "must be a text, a number",
            "",
        ),
        (
            json!({"trait": "ltv", "operator": ">", "vlaue": 1}),
            "",
            "unknown member vlaue",
            "did you mean value?",
        ),
        (
            json!({"trait": 5, "operator": ">", "value": 1}),
            "trait",
            "must be a text",
            "",
        ),
        (
            json!({"trait": "x", "operator": "in", "value": "a"}),
            "value",
            "must be a list",
            "",
        ),
        (
            json!({"trait": "x", "operator": "between", "value": [1]}),
            "value",
            "list of two",
            "",
        ),
        (
            json!({"trait": "x", "operator": "matches", "value": "["}),
            "value",
            "bad regular expression",
            "",
        ),
        (
            json!({"trait": "lastSeen", "operator": "<", "value": "30 days"}),
            "value",
            "neither a duration nor a time",
            "7d",
        ),
        (
            json!({"trait": "lastSeen", "operator": "<", "value": 30}),
            "value",
            "compared with a duration",
            "7d",
        ),
        (
            json!({"event": "x", "window": "7"}),
            "window",
            "not a window",
            "7d",
        ),
        (
            json!({"event": "x", "operator": ">"}),
            "",
            "the operator needs a count",
            "",
        ),
        (
            json!({"event": "x", "operator": "contains", "count": 1}),
            "operator",
            "cannot be compared",
            ">=",
        ),
        (
            json!({"event": "x", "count": "1"}),
            "count",
            "must be a number",
            "",
        ),
        (
            json!({"event": "x", "where": {"segment": "y"}}),
            "where",
            "unknown member segment",
            "property",
        ),
        (
            json!({"or": [{"and": [{"event": "x", "windw": "7d"}]}]}),
            "or[0].and[0]",
            "unknown member windw",
            "did you mean window?",
        ),
        (
            json!({"segment": "x", "operator": ">", "value": 1}),
            "value",
            "true or false",
            "",
        ),
        (
            json!({"last_seen": 1, "lastSeen": 2}),
            "",
            "last_seen is given twice",
            "",
        ),
        (
            json!({"and": [{"segment": "x"}], "or": []}),
            "",
            "unknown member or",
            "known here: and",
        ),
    ] {
        let error = criteria(&json).unwrap_err();
        assert_eq!(error.path, path, "{json}: {error}");
        assert!(error.message.contains(message), "{json}: {error}");
        let given = error.hint.as_str();
        assert!(given.contains(hint) && !given.is_empty(), "{json}: {given}");
    }
}

mod random {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;
    use proptest::test_runner::{RngAlgorithm, RngSeed};

    fn leaf() -> impl Strategy<Value = Value> {
        prop_oneof![
            select(vec![
                json!("ltv"),
                json!("lastSeen"),
                json!("firstSeen"),
                json!("a.b"),
                json!("30d"),
                json!("7x"),
                json!("2024-01-01"),
                json!(""),
                json!("it's \"x\"\n"),
                json!(5),
                json!(-1.50),
                json!(1e300),
                json!(null),
                json!(true),
                json!([1, "a", null]),
                json!([]),
                json!([1, 5]),
                json!(["7d", "30d"]),
                json!({}),
            ]),
            select(vec![
                ">",
                ">=",
                "<",
                "lte",
                "==",
                "=",
                "ne",
                "in",
                "notIn",
                "contains",
                "not_contains",
                "startsWith",
                "endsWith",
                "matches",
                "exists",
                "notExists",
                "between",
                "nope",
            ])
            .prop_map(|operator| json!(operator)),
        ]
    }

    fn any_criteria() -> impl Strategy<Value = Value> {
        leaf().prop_recursive(5, 40, 4, |inner| {
            let member = select(vec![
                "and", "or", "not", "all", "any", "none", "trait", "event", "segment", "operator",
                "value", "window", "count", "where", "property", "syncTo",
            ]);
            let operator = select(vec![
                "<", ">", "in", "exists", "between", "==", "contains", "matches",
            ]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(member.prop_map(str::to_string), inner.clone(), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
                (inner.clone(), operator, inner.clone())
                    .prop_map(|(k, o, v)| json!({"trait": k, "operator": o, "value": v})),
                (leaf(), leaf(), inner.clone())
                    .prop_map(|(e, w, f)| json!({"event": e, "window": w, "where": f})),
                prop::collection::vec(inner.clone(), 1..4)
                    .prop_map(|items| json!({ "and": items })),
                prop::collection::vec(inner, 1..4).prop_map(|items| json!({ "or": items })),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 4000,
            failure_persistence: None,
            rng_algorithm: RngAlgorithm::ChaCha,
            rng_seed: RngSeed::Fixed(3),
            ..ProptestConfig::default()
        })]

        /// Whatever is accepted can be stored as text.
        #[test]
        fn what_is_read_can_be_written(json in any_criteria()) {
            if let Ok(expr) = criteria(&json) {
                let text = print(&expr);
                prop_assert_eq!(cdp_expr::parse(&text), Ok(expr), "{}", text);
            }
        }
    }
}
