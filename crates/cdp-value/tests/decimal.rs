//! Decimal numbers: against Postgres' results, and their laws.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use cdp_value::Decimal;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, RngSeed};

fn number(text: &str) -> Decimal {
    Decimal::parse(text).unwrap_or_else(|| panic!("{text} is no number"))
}

fn text(number: Option<Decimal>) -> String {
    number.map_or("null".to_string(), |n| n.to_string())
}

/// Results of Postgres' numeric for operands of many sizes and scales.
#[test]
fn computes_what_postgres_computes() {
    let golden = match std::env::var("CDP_NUMERIC_RESULTS") {
        Ok(path) => std::fs::read_to_string(path).unwrap(),
        Err(_) => include_str!("postgres_numeric.tsv").to_string(),
    };
    let mut lines = 0;
    for line in golden.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split('\t').collect();
        let (a, b) = (number(cells[0]), number(cells[1]));
        let digits: i32 = cells[2].parse().unwrap();
        let computed = [
            text(a.checked_add(&b)),
            text(a.checked_sub(&b)),
            text(a.checked_mul(&b)),
            text(a.checked_div(&b)),
            text(a.checked_rem(&b)),
            text(a.round(digits)),
            text(a.floor()),
            text(a.ceil()),
            if a < b { "1" } else { "0" }.to_string(),
        ];
        assert_eq!(computed.as_slice(), &cells[3..], "{line}");
        lines += 1;
    }
    assert!(lines > 200);
}

#[test]
fn reads_and_prints() {
    for (read, printed) in [
        ("0", "0"),
        ("-0", "0"),
        ("-0.00", "0"),
        ("007", "7"),
        ("+1", "1"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1.50", "1.5"),
        ("-0.05", "-0.05"),
        ("1e3", "1000"),
        ("1E-3", "0.001"),
        ("1.25e+1", "12.5"),
        ("100", "100"),
        ("0e999999999999999999999", "0"),
        (
            "170141183460469231731687303715884105727",
            "170141183460469231731687303715884105727",
        ),
        (
            "-170141183460469231731687303715884105728",
            "-170141183460469231731687303715884105728",
        ),
        (
            "170141183460469231731687303715884105728.10",
            "170141183460469231731687303715884105728.1",
        ),
    ] {
        assert_eq!(number(read).to_string(), printed, "{read}");
    }
    for bad in [
        "",
        "-",
        ".",
        "e5",
        "1e",
        "1e+",
        "1x",
        "0x10",
        "1_000",
        "1,5",
        " 1",
        "1 ",
        "NaN",
        "Infinity",
        "--1",
        "1.2.3",
        "1e5.5",
        "1e401",
        "1e999999999999999999999",
        "-1e1000000000",
        "1e-1001",
        "٣",
    ] {
        assert_eq!(Decimal::parse(bad), None, "{bad:?}");
    }
    assert!(Decimal::parse(&"9".repeat(400)).is_some());
    assert!(Decimal::parse(&"9".repeat(401)).is_none());
    assert!(Decimal::parse(&format!("0.{}1", "0".repeat(999))).is_some());
    assert!(Decimal::parse(&format!("0.{}1", "0".repeat(1000))).is_none());
}

#[test]
fn stays_within_its_range() {
    let huge = number(&"9".repeat(400));
    let tiny = number("1e-1000");
    assert_eq!(huge.checked_add(&Decimal::from(1)), None);
    assert_eq!(huge.checked_mul(&Decimal::from(10)), None);
    assert_eq!(huge.checked_div(&number("0.1")), None);
    assert_eq!(tiny.checked_mul(&number("0.1")), None);
    assert_eq!(
        huge.checked_add(&number("0.5")).and_then(|n| n.ceil()),
        None
    );
    assert_eq!(huge.round(-400), None);
    assert_eq!(huge.round(-401).map(|n| n.is_zero()), Some(true));
    assert_eq!(huge.round(i32::MIN).map(|n| n.is_zero()), Some(true));
    assert_eq!(huge.round(i32::MAX), Some(huge.clone()));
    assert_eq!(Decimal::from(1).checked_div(&Decimal::zero()), None);
    assert_eq!(Decimal::from(1).checked_rem(&Decimal::zero()), None);
    assert_eq!(tiny.checked_div(&huge).map(|n| n.is_zero()), Some(true));
}

#[test]
fn whole_numbers_come_out() {
    assert_eq!(number("12.00").to_i64(), Some(12));
    assert_eq!(number("12.5").to_i64(), None);
    assert_eq!(number("9223372036854775808").to_i64(), None);
    assert_eq!(number("-9223372036854775808").to_i64(), Some(i64::MIN));
    assert_eq!(
        number("1e30").to_json().to_string(),
        format!("1{}", "0".repeat(30))
    );
}

/// Numbers of all sizes, small ones more often.
fn decimal() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        any::<i64>().prop_map(Decimal::from),
        (-1000i64..1000, 0i64..6).prop_map(|(n, s)| Decimal::from_parts(n.into(), s).unwrap()),
        (any::<i128>(), -40i64..80).prop_map(|(n, s)| Decimal::from_parts(n.into(), s).unwrap()),
        (any::<i128>(), any::<i128>(), -20i64..120).prop_filter_map("range", |(a, b, s)| {
            Decimal::from_parts(bigdecimal::num_bigint::BigInt::from(a) * b, s)
        }),
    ]
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(20_240_117),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn text_and_parts_round_trip(n in decimal()) {
        prop_assert_eq!(Decimal::parse(&n.to_string()), Some(n.clone()));
        let (digits, scale) = n.to_parts();
        prop_assert_eq!(Decimal::from_parts(digits, scale), Some(n.clone()));
        prop_assert_eq!(cdp_value::Value::from_json(&n.to_json()), cdp_value::Value::Number(n));
    }

    #[test]
    fn sums_and_products_commute_and_associate(a in decimal(), b in decimal(), c in decimal()) {
        prop_assert_eq!(a.checked_add(&b), b.checked_add(&a));
        prop_assert_eq!(a.checked_mul(&b), b.checked_mul(&a));
        let left = a.checked_add(&b).and_then(|n| n.checked_add(&c));
        let right = b.checked_add(&c).and_then(|n| a.checked_add(&n));
        prop_assert_eq!(left, right);
        prop_assert_eq!(a.checked_add(&b).and_then(|n| n.checked_sub(&b)), Some(a));
    }

    #[test]
    fn equal_numbers_hash_alike_and_order_agrees(a in decimal(), b in decimal()) {
        use std::hash::{BuildHasher, RandomState};
        let hasher = RandomState::new();
        let again = a.checked_add(&b).and_then(|n| n.checked_sub(&b)).unwrap();
        prop_assert_eq!(hasher.hash_one(&a), hasher.hash_one(&again));
        let difference = a.checked_sub(&b).unwrap();
        prop_assert_eq!(a < b, difference.is_negative());
        prop_assert_eq!(a == b, difference.is_zero());
        prop_assert_eq!(a.neg().neg(), a.clone());
        prop_assert_eq!(a.neg() < b.neg(), b < a);
    }

    #[test]
    fn division_and_remainder_fit_together(a in decimal(), b in decimal()) {
        prop_assume!(!b.is_zero());
        let remainder = a.checked_rem(&b).unwrap();
        prop_assert!(remainder.abs() < b.abs());
        prop_assert!(remainder.is_zero() || remainder.is_negative() == a.is_negative());
        let whole = a.checked_sub(&remainder).and_then(|n| n.checked_div(&b));
        // A whole quotient of few digits comes out exactly.
        if let Some(whole) = whole.filter(|n| n.abs() < Decimal::from(1 << 50)) {
            prop_assert_eq!(whole.checked_mul(&b).and_then(|n| n.checked_add(&remainder)), Some(a));
        }
    }

    #[test]
    fn rounding_is_near(a in decimal(), digits in -10i32..20) {
        let rounded = a.round(digits).unwrap();
        let half = number("0.5");
        let unit = number(&format!("1e{}", -digits)).checked_mul(&half).unwrap();
        prop_assert!(rounded.checked_sub(&a).unwrap().abs() <= unit);
        prop_assert!(a.floor().unwrap() <= a && a <= a.ceil().unwrap());
        prop_assert!(a.ceil().unwrap().checked_sub(&a.floor().unwrap()).unwrap() <= Decimal::from(1));
    }

    #[test]
    fn any_text_is_a_number_or_none(text in "[-+]?[0-9.eE+-]{0,40}") {
        if let Some(n) = Decimal::parse(&text) {
            prop_assert_eq!(Decimal::parse(&n.to_string()), Some(n));
        }
    }
}
