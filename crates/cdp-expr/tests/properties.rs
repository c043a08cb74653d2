//! Laws of the language over random expressions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use cdp_expr::{check, evaluate, next_change, parse, print, resolve, Expr, Kind};
use cdp_value::{Value, DAY, HOUR, MINUTE};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, RngSeed};
use support::{arbitrary, catalog, Person};

const NOW: i64 = 1_700_000_000_000_000;

fn config(cases: u32) -> ProptestConfig {
    let seed = std::env::var("CDP_SEED").ok().and_then(|s| s.parse().ok());
    let more: u32 = std::env::var("CDP_CASES")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1);
    ProptestConfig {
        cases: cases * more,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(seed.unwrap_or(1)),
        ..ProptestConfig::default()
    }
}

fn person(first: i64, last: i64, purchase: i64) -> Person {
    let mut person = Person::at(NOW);
    person.first_seen = Some(NOW - first);
    person.last_seen = Some(NOW - last);
    person.event_seen("purchase", NOW - first, NOW - purchase);
    person.profile = serde_json::json!({
        "plan": "pro", "total": 12.5, "a": {"b_1": [1, "x", null]}, "signup": "2023-10-15T08:00:00Z"
    });
    person.properties = person.profile.clone();
    person
        .traits
        .insert("ltv".into(), Value::from_json(&serde_json::json!(120.50)));
    person.segments.push("churned".into());
    person
}

/// Instants after now at which an "ago" value can change, and one microsecond around them.
fn edges(person: &Person) -> Vec<i64> {
    let signup = 1_697_356_800_000_000;
    let mut instants = Vec::new();
    for since in [
        person.first_seen,
        person.last_seen,
        Some(person.events["purchase"].1),
        Some(signup),
    ]
    .into_iter()
    .flatten()
    {
        for unit in [MINUTE, HOUR, DAY] {
            let passed = (NOW - since).div_euclid(unit);
            for units in passed + 1..passed + 65 {
                instants.extend([
                    since + units * unit - 1,
                    since + units * unit,
                    since + units * unit + 1,
                ]);
            }
        }
    }
    instants.retain(|at| *at > NOW);
    instants.sort_unstable();
    instants.dedup();
    instants
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn printing_and_parsing_are_inverse(expr in arbitrary::expression()) {
        let text = print(&expr);
        let parsed = parse(&text);
        prop_assert_eq!(parsed.as_ref(), Ok(&expr), "{}", text);
    }

    #[test]
    fn evaluation_never_fails(expr in arbitrary::expression()) {
        let person = person(30 * DAY, DAY, HOUR);
        let value = evaluate(&expr, &person);
        prop_assert!(value.to_string().len() < 1_000_000);
        let at = next_change(&expr, &person);
        prop_assert!(at.is_none_or(|at| at > NOW), "{:?}", at);
    }

    #[test]
    fn resolving_twice_changes_nothing(expr in arbitrary::expression()) {
        if let Ok(checked) = resolve(&expr, Kind::Trait, Some("new"), &catalog()) {
            let again = resolve(&checked.expr, Kind::Trait, Some("new"), &catalog());
            prop_assert_eq!(again.as_ref(), Ok(&checked));
            let text = print(&checked.expr);
            let parsed = check(&text, Kind::Trait, Some("new"), &catalog());
            prop_assert_eq!(parsed.as_ref(), Ok(&checked));
            // The type that was promised is the type that comes out.
            let value = evaluate(&checked.expr, &person(30 * DAY, DAY, HOUR));
            let fits = match (checked.result_type.to_string().as_str(), &value) {
                (_, Value::Null) | ("any", _) => true,
                ("boolean", Value::Bool(_)) | ("list", Value::Array(_)) => true,
                // This person's aggregates are all null; scores and traits are free.
                ("number", Value::Number(_)) | ("text" | "time", Value::Text(_)) => true,
                _ => false,
            };
            prop_assert!(fits, "{} is no {}", value, checked.result_type);
        }
    }

    /// A segment's meaning does not depend on whether its parts are filled in.
    #[test]
    fn inlining_keeps_the_value(expr in arbitrary::expression()) {
        let mut definitions = support::Definitions::default()
            .with_trait("ltv", "profile.total * 2 + last_seen_days_ago")
            .with_trait("power_user", "trait('ltv') > 20")
            .with_segment("churned", "power_user && last_seen > 12h");
        definitions.scores = vec!["ltv".into(), "x y".into(), "recency".into()];
        if let Ok(checked) = resolve(&expr, Kind::Trait, None, &definitions) {
            let mut person = person(30 * DAY, DAY, HOUR);
            person.traits.clear();
            person.segments.clear();
            for key in ["ltv", "power_user"] {
                let value = evaluate(&parse(&format!("trait('{key}')")).unwrap().inline(&definitions), &person);
                person.traits.insert(key.into(), value);
            }
            if cdp_expr::is_true(&parse("segment('churned')").unwrap().inline(&definitions), &person) {
                person.segments.push("churned".into());
            }
            let inlined = checked.expr.inline(&definitions);
            prop_assert_eq!(evaluate(&inlined, &person), evaluate(&checked.expr, &person));
        }
    }

    #[test]
    fn any_text_parses_or_is_refused(text in "\\PC{0,40}") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.position >= 1 && error.position <= text.chars().count() + 1);
        }
    }

    /// Soups of tokens get further than random characters.
    #[test]
    fn any_soup_of_tokens_parses_or_is_refused(tokens in prop::collection::vec(
        prop::sample::select(vec![
            "(", ")", "[", "]", ",", ".", "!", "-", "+", "*", "/", "%", "==", "!=", "<", ">=", "&&", "||",
            "and", "or", "not", "in", "contains", "matches", "exists", "if", "coalesce", "trait", "events",
            "profile", "x", "count_7d", "sum", "last_seen", "last_seen_days_ago", "30d", "1", "1.5", "'a'", "\"b\"", "null", "true",
        ]), 0..25), spaced in any::<bool>())
    {
        let text = tokens.join(if spaced { " " } else { "" });
        match parse(&text) {
            Ok(expr) => {
                let printed = print(&expr);
                prop_assert_eq!(parse(&printed), Ok(expr), "{}", printed);
            }
            Err(error) => {
                prop_assert!(error.position >= 1 && error.position <= text.chars().count() + 1);
            }
        }
        let _ = check(&text, Kind::Segment, Some("x"), &catalog());
    }
}

proptest! {
    #![proptest_config(config(300))]

    /// Nothing changes before the instant that was announced, and a comparison does change then.
    #[test]
    fn values_hold_until_the_announced_instant(
        expr in arbitrary::of_time(),
        first in 0i64..40 * DAY,
        last in prop_oneof![0i64..3 * DAY, Just(0), Just(DAY), Just(59 * MINUTE)],
        purchase in 0i64..20 * DAY,
    ) {
        let mut person = person(first, last, purchase);
        // As the rule of a condition: a bare "ago" value announces nothing.
        let condition = Expr::Compare(
            cdp_expr::Comparison::Equal,
            Box::new(expr.clone()),
            Box::new(Expr::Literal(Value::Bool(true))),
        );
        let announced = next_change(&condition, &person);
        let before = evaluate(&condition, &person);
        let limit = announced.unwrap_or(i64::MAX);
        for at in edges(&person).into_iter().filter(|at| *at < limit) {
            person.now = at;
            prop_assert_eq!(evaluate(&condition, &person), before.clone(), "{} changed at now + {} µs", print(&condition), at - NOW);
        }
    }

    #[test]
    fn a_linear_comparison_flips_at_the_announced_instant(
        ago in arbitrary::unit(),
        last in prop_oneof![0i64..3 * DAY, Just(0), Just(DAY), Just(59 * MINUTE)],
        (factor, divided, offset, bound) in (-4i64..5, any::<bool>(), -50i64..50, arbitrary::number()),
        operator in prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]),
        mirrored in any::<bool>(),
    ) {
        let person = person(40 * DAY, last, last);
        let ago = print(&Expr::LastSeenAgo(ago));
        let symbol = if divided { "/" } else { "*" };
        let line = format!("{ago} {symbol} {factor} + {offset}");
        let text = if mirrored { format!("{bound} {operator} {line}") } else { format!("{line} {operator} {bound}") };
        let expr = parse(&text).unwrap();
        let before = evaluate(&expr, &person);
        let at_time = |now: i64| {
            let mut later = person.clone();
            later.now = now;
            evaluate(&expr, &later)
        };
        match next_change(&expr, &person) {
            Some(at) => {
                prop_assert_eq!(at_time(at - 1), before.clone(), "{} before {}", text, at - NOW);
                prop_assert_ne!(at_time(at), before, "{} at {}", text, at - NOW);
            }
            None => {
                for at in edges(&person) {
                    prop_assert_eq!(at_time(at), before.clone(), "{} at {}", text, at - NOW);
                }
            }
        }
    }
}
