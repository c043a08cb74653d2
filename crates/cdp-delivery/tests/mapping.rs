//! Mappings of routes: what they do, and how they are refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use cdp_delivery::mapping::Mapping;
use proptest::prelude::*;
use serde_json::{json, Value};

fn message() -> Value {
    json!({
        "type": "track",
        "event": "Order Completed",
        "userId": "u1",
        "properties": {"total": 42.50, "currency": "EUR", "test": false, "items": [{"sku": "a"}]},
        "context": {"ip": "198.51.100.7", "traits": {"email": " Ann@Example.com", "phone": "030 123456"}}
    })
}

fn apply(mapping: Value) -> Option<Value> {
    Mapping::parse(&mapping).unwrap().apply(&message())
}

fn body(expression: Value) -> Value {
    apply(json!({ "body": expression })).unwrap()
}

fn errors(mapping: Value) -> Vec<String> {
    Mapping::parse(&mapping)
        .unwrap_err()
        .into_iter()
        .map(|error| error.to_string())
        .collect()
}

#[test]
fn an_empty_mapping_changes_nothing() {
    assert_eq!(apply(json!({})), Some(message()));
}

#[test]
fn steps_are_done_in_their_order() {
    let changed = apply(json!({
        "if": {"$ne": ["$.properties.test", true]},
        "drop": ["context.ip", "properties.nothing"],
        "rename": {"properties.total": "properties.revenue", "properties.gone": "properties.x"},
        "normalise": {"context.traits.email": "email", "context.traits.phone": "phone"},
        "set": {
            "properties.total_text": "{{properties.total}} {{properties.currency}}",
            "properties.source": "shop",
            "context.traits.email_sha256": {"$hash": "$.context.traits.email", "$as": "email"},
        },
    }))
    .unwrap();
    assert_eq!(
        changed,
        json!({
            "type": "track",
            "event": "Order Completed",
            "userId": "u1",
            "properties": {
                "revenue": 42.50,
                "currency": "EUR",
                "test": false,
                "items": [{"sku": "a"}],
                "total_text": "42.5 EUR",
                "source": "shop",
            },
            "context": {"traits": {
                "email": "ann@example.com",
                // A national number without a country has no form.
                "phone": null,
                "email_sha256": sha256("ann@example.com"),
            }},
        })
    );
}

fn sha256(text: &str) -> String {
    cdp_delivery::mapping::hash(text).unwrap()
}

#[test]
fn conditions_drop() {
    let dropped = |condition: Value| apply(json!({ "if": condition })).is_none();
    assert!(dropped(json!({"$eq": ["$.event", "Other"]})));
    assert!(!dropped(json!({"$eq": ["$.properties.total", 42.5]})));
    assert!(dropped(json!("$.properties.test")));
    assert!(!dropped(json!({"$not": "$.properties.test"})));
    assert!(!dropped(json!({"$gte": ["$.properties.total", 42.5]})));
    assert!(dropped(json!({"$gt": ["$.properties.total", 42.5]})));
    assert!(dropped(json!({"$lt": ["$.properties.total", "50"]})));
    assert!(!dropped(
        json!({"$in": ["$.properties.currency", ["EUR", "USD"]]})
    ));
    assert!(dropped(json!({"$exists": "$.properties.gone"})));
    assert!(!dropped(json!({"$matches": ["$.event", "Order*"]})));
    assert!(!dropped(json!({"$matches": ["$.event", "*der*"]})));
    assert!(dropped(json!({"$matches": ["$.event", "*der"]})));
    assert!(!dropped(
        json!({"$and": [true, {"$or": [false, {"$lte": [1, 1]}]}]})
    ));
}

#[test]
fn expressions() {
    assert_eq!(body(json!("$.properties.items[0].sku")), json!("a"));
    assert_eq!(body(json!("$.properties.gone")), Value::Null);
    assert_eq!(
        body(json!({"$path": "$.gone", "$default": "d"})),
        json!("d")
    );
    assert_eq!(
        body(json!({"$value": {"$path": "$.event"}})),
        json!({"$path": "$.event"})
    );
    assert_eq!(
        body(json!({"a": ["$.userId", 1, null, true], "b": {"c": "text"}})),
        json!({"a": ["u1", 1, null, true], "b": {"c": "text"}})
    );
    assert_eq!(
        body(json!({"$if": {"$gt": ["$.properties.total", 40]}, "$then": "big", "$else": "small"})),
        json!("big")
    );
    assert_eq!(body(json!({"$if": false, "$then": 1})), Value::Null);
    assert_eq!(
        body(json!({"$first": ["$.gone", "$.userId", "x"]})),
        json!("u1")
    );
    assert_eq!(body(json!({"$upper": "$.userId"})), json!("U1"));
    assert_eq!(body(json!({"$text": "$.properties.total"})), json!("42.5"));
    assert_eq!(
        body(json!({"$number": {"$value": " 12.50 "}})).to_string(),
        "12.50"
    );
    assert_eq!(body(json!({"$number": "$.userId"})), Value::Null);
    assert_eq!(
        body(json!({"$email": "$.context.traits.email"})),
        json!("ann@example.com")
    );
    assert_eq!(
        body(json!({"$phone": "$.context.traits.phone", "$country": "49"})),
        json!("+4930123456")
    );
    assert_eq!(body(json!({"$hash": "$.userId"})), json!(sha256("u1")));
    assert_eq!(body(json!({"$hash": "$.gone"})), Value::Null);
    assert_eq!(body(json!("costs $5")), json!("costs $5"));
}

#[test]
fn keep_and_hash_in_place() {
    assert_eq!(
        apply(json!({
            "keep": ["event", "context.traits.email", "gone"],
            "hash": {"context.traits.email": "email", "context.traits.phone": "phone"},
        })),
        Some(json!({
            "event": "Order Completed",
            "context": {"traits": {"email": sha256("ann@example.com")}},
        }))
    );
    assert_eq!(
        apply(json!({"keep": ["userId"], "hash": {"userId": "none"}})),
        Some(json!({"userId": sha256("u1")}))
    );
}

#[test]
fn errors_name_their_place() {
    assert_eq!(errors(json!([])), [": a mapping is a JSON object"]);
    assert_eq!(errors(json!({"sett": {}})), ["sett: no such step"]);
    assert_eq!(
        errors(json!({"set": {"a": {"$pth": "$.x"}}})),
        ["set.a.$pth: no such function"]
    );
    assert_eq!(
        errors(json!({"set": {"a..b": 1, "c": "$.x..y", "d": "{{x"}})).len(),
        3
    );
    assert_eq!(
        errors(json!({"body": {"a": [{"$if": {"$eq": [1]}, "$than": 2}]}})),
        [
            "body.a[0].$than: does not go with $if",
            "body.a[0].$if.$eq: must be a list of two",
        ]
    );
    for bad in [
        json!({"drop": "a"}),
        json!({"drop": [1]}),
        json!({"rename": {"a": 1}}),
        json!({"rename": []}),
        json!({"normalise": {"a": "mail"}}),
        json!({"hash": {"a": "sha1"}}),
        json!({"if": {"$matches": ["$.a"]}}),
        json!({"if": {"$and": 1}}),
        json!({"body": {"$first": 1}}),
        json!({"body": {"$template": 1}}),
        json!({"body": {"$path": 1}}),
        json!({"body": {"$hash": "x", "$as": "y"}}),
        json!({"body": {"$phone": "x", "$country": "DE"}}),
    ] {
        assert_eq!(errors(bad.clone()).len(), 1, "{bad}");
    }
}

/// The examples of the documentation are mappings, and do what it says.
#[test]
fn documented_examples() {
    let page = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/destinations/mapping.md"
    );
    let text = std::fs::read_to_string(page).unwrap();
    let examples: Vec<Value> = text
        .split("```json\n")
        .skip(1)
        .map(|rest| serde_json::from_str(rest.split("```").next().unwrap()).unwrap())
        .collect();
    assert_eq!(examples.len(), 3);
    let masked = apply(examples[0].clone()).unwrap();
    let email = &masked["context"]["traits"]["email"];
    assert_eq!(*email, json!(sha256("ann@example.com")));
    assert_eq!(masked["context"].get("ip"), None);
    let tested = json!({"userId": "u", "properties": {"test": true}});
    assert_eq!(Mapping::parse(&examples[1]).unwrap().apply(&tested), None);
    assert_eq!(
        apply(examples[1].clone()).unwrap()["properties"]["session"],
        "u1-"
    );
    assert_eq!(
        apply(examples[2].clone()).unwrap(),
        json!({"kind": "order", "who": "u1", "amount": 42.5, "lines": null})
    );
    let (_, in_sql) = text.split_once("mapping => '").unwrap();
    let in_sql = serde_json::from_str(in_sql.split("')").next().unwrap()).unwrap();
    assert!(Mapping::parse(&in_sql).is_ok());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-c$.{}\\[\\]\"? 0]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let key = prop_oneof![
            "[a-c]",
            prop::sample::select(vec![
                "$path", "$if", "$then", "$hash", "$first", "$eq", "$and", "$phone", "set", "drop",
                "if", "body", "rename", "keep",
            ])
            .prop_map(str::to_string),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(11),
        ..ProptestConfig::default()
    })]

    /// Whatever is given as a mapping and a message, nothing panics, and the same gives the same.
    #[test]
    fn nothing_panics(mapping in any_json(), message in any_json()) {
        if let Ok(parsed) = Mapping::parse(&mapping) {
            prop_assert_eq!(parsed.apply(&message), parsed.apply(&message));
        }
    }
}
