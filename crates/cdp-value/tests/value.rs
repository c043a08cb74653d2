//! Values: JSON in and out, and their total order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use cdp_value::Value;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, RngSeed};
use std::cmp::Ordering;

fn parse(json: &str) -> Value {
    Value::from_json(&serde_json::from_str(json).unwrap())
}

#[test]
fn canonical_json_does_not_depend_on_the_writing() {
    for (json, canonical) in [
        (
            r#"{"b": 1.50, "a": [1, 2e1, null]}"#,
            r#"{"a":[1,20,null],"b":1.5}"#,
        ),
        (r#""a\u00fc\"\n""#, "\"aü\\\"\\n\""),
        ("[]", "[]"),
        ("{}", "{}"),
        ("[[],{}]", "[[],{}]"),
        ("true", "true"),
        ("1e999", "null"),
        ("0.1000", "0.1"),
    ] {
        assert_eq!(parse(json).to_string(), canonical);
    }
}

#[test]
fn numbers_keep_every_digit() {
    let exact = "123456789012345678901234567890.123456789";
    assert_eq!(parse(exact).to_json().to_string(), exact);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-50i64..50, 0i64..3).prop_map(|(n, s)| {
            Value::Number(cdp_value::Decimal::from_parts(n.into(), s).unwrap())
        }),
        "[a-cäZ\"\\\\]{0,3}".prop_map(Value::Text),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn json_round_trips(v in value()) {
        prop_assert_eq!(parse(&v.to_string()), v.clone());
        prop_assert_eq!(Value::from_json(&v.to_json()), v);
    }

    #[test]
    fn the_order_is_total(a in value(), b in value(), c in value()) {
        prop_assert_eq!(a.total_cmp(&b), b.total_cmp(&a).reverse());
        prop_assert_eq!(a.total_cmp(&b) == Ordering::Equal, a == b);
        if a.total_cmp(&b) != Ordering::Greater && b.total_cmp(&c) != Ordering::Greater {
            prop_assert_ne!(a.total_cmp(&c), Ordering::Greater);
        }
    }
}
