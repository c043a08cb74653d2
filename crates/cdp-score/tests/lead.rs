//! The score `lead`: its tables at every edge, and its grades at every boundary.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use cdp_score::{Component, Note, Score, LEAD};
use cdp_value::{Decimal, Value};
use proptest::prelude::*;

fn lead() -> Score {
    Score::parse(&serde_json::from_str(LEAD).unwrap()).unwrap()
}

fn number(number: &str) -> Value {
    Value::Number(Decimal::parse(number).unwrap())
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// The values of the inputs, with some of them given: attributes by the place of their first trait,
/// activities after the seven traits.
fn values(given: &[(usize, Value)]) -> Vec<Value> {
    let mut values = vec![Value::Null; lead().inputs().count()];
    for (place, value) in given {
        values[*place] = value.clone();
    }
    values
}

const EMPLOYEES: usize = 0;
const REVENUE: usize = 3;
const FUNDING: usize = 5;
const EMAIL_OPENED: usize = 7;
const EMAIL_REPLIED: usize = 9;

fn icp(place: usize, value: Value) -> i64 {
    let score = lead();
    let outcome = score.evaluate(&values(&[(place, value)]));
    assert_eq!(outcome.totals.total, outcome.totals.icp);
    outcome.totals.icp.to_i64().unwrap()
}

#[test]
fn company_sizes() {
    for (size, points) in [
        ("0", 0),
        ("0.99", 0),
        ("1", 10),
        ("10", 10),
        ("10.01", 0),
        ("11", 30),
        ("50", 30),
        ("51", 40),
        ("250", 40),
        ("251", 0),
        ("-5", 0),
        ("1e300", 0),
    ] {
        assert_eq!(icp(EMPLOYEES, number(size)), points, "{size}");
    }
}

#[test]
fn revenues() {
    for (revenue, points) in [
        ("999999.99", 0),
        ("1000000", 20),
        ("10000000", 20),
        ("10000000.01", 40),
        ("50000000", 40),
        ("50000000.01", 0),
    ] {
        assert_eq!(icp(REVENUE, number(revenue)), points, "{revenue}");
    }
    for (revenue, points) in [
        ("$1M-$10M", 20),
        ("$10M-$50M", 40),
        ("$10M", 20),
        ("$50M-$100M", 0),
        ("$1M-$50M", 0),
    ] {
        assert_eq!(icp(REVENUE, text(revenue)), points, "{revenue}");
    }
}

#[test]
fn funding_in_any_case() {
    for (stage, points) in [
        ("Seed", 10),
        ("seed", 10),
        ("SERIES A", 15),
        ("series_a", 15),
        (" Series-B ", 20),
        ("Series  B", 20),
        ("Series C", 0),
        ("Pre-Seed", 0),
        ("A", 0),
    ] {
        assert_eq!(icp(FUNDING, text(stage)), points, "{stage}");
    }
}

#[test]
fn grades_at_every_boundary() {
    let score = lead();
    for (total, grade) in [
        ("-1", "F"),
        ("0", "F"),
        ("19", "F"),
        ("19.99", "F"),
        ("20", "D"),
        ("39", "D"),
        ("40", "C"),
        ("49", "C"),
        ("50", "C+"),
        ("59", "C+"),
        ("60", "B"),
        ("69", "B"),
        ("70", "B+"),
        ("79", "B+"),
        ("80", "A"),
        ("89", "A"),
        ("89.99", "A"),
        ("90", "A+"),
        ("100000", "A+"),
    ] {
        let total = Decimal::parse(total).unwrap();
        assert_eq!(score.grades.of(&total), grade, "{}", total.to_json());
    }
}

#[test]
fn behaviour_has_no_limit_and_the_fit_has() {
    let mut score = lead();
    let everything = [
        (EMPLOYEES, number("100")),
        (REVENUE, number("20000000")),
        (FUNDING, text("Series B")),
        (EMAIL_OPENED, number("1000")),
        (EMAIL_REPLIED, number("3")),
    ];
    let outcome = score.evaluate(&values(&everything));
    assert_eq!(outcome.totals.icp, Decimal::from(100));
    assert_eq!(outcome.totals.behavior, Decimal::from(5030));
    assert_eq!(outcome.totals.total, Decimal::from(5130));
    score.icp_cap = Some(Decimal::from(60));
    assert_eq!(
        score.evaluate(&values(&everything)).totals.icp,
        Decimal::from(60)
    );
}

#[test]
fn what_is_missing_or_unreadable_gives_nothing_and_is_named() {
    let score = lead();
    let given = [(EMPLOYEES, text("many")), (REVENUE, text("$5M-$20M"))];
    let outcome = score.evaluate(&values(&given));
    assert_eq!(outcome.totals.total, Decimal::zero());
    let notes: Vec<_> = outcome.rules.iter().filter_map(|rule| rule.note).collect();
    assert_eq!(notes, [Note::Unreadable, Note::Spans, Note::Missing]);
    assert!(outcome.is_blank());
    // Fewer values than inputs are missing ones.
    assert_eq!(score.evaluate(&[]).totals.total, Decimal::zero());
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|n| Value::Number(Decimal::from(n))),
        "[0-9$.,kmb -]{0,12}".prop_map(Value::Text),
        ".{0,20}".prop_map(Value::Text),
        Just(Value::Array(vec![Value::Null])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the inputs are, the halves are the sums of their rules and the total is theirs.
    #[test]
    fn totals_are_sums(values in prop::collection::vec(value(), 0..14)) {
        let score = lead();
        let outcome = score.evaluate(&values);
        let sum = |component| outcome.rules.iter()
            .filter(|rule| rule.component == component)
            .fold(Decimal::zero(), |sum, rule| sum.checked_add(&rule.points).unwrap());
        prop_assert_eq!(&outcome.totals.icp, &sum(Component::Icp));
        prop_assert_eq!(&outcome.totals.behavior, &sum(Component::Behavior));
        prop_assert_eq!(&outcome.totals.total, &outcome.totals.icp.checked_add(&outcome.totals.behavior).unwrap());
        prop_assert!(outcome.totals.icp <= Decimal::from(100));
        prop_assert_eq!(outcome.totals.grade, score.grades.of(&outcome.totals.total));
    }
}
