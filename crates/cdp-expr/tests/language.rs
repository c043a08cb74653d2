//! The language as a user meets it: parse, print, resolve, evaluate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use cdp_expr::{check, criteria, evaluate, next_change, parse, print, Kind};
use cdp_value::{Decimal, Value, DAY, MINUTE};
use support::{catalog, Person};

const NOW: i64 = 1_700_000_000_000_000;

fn person() -> Person {
    let mut person = Person::at(NOW);
    person.profile = serde_json::json!({
        "plan": "pro", "age": 30, "address": {"city": "Bonn"}, "plans": ["a", "b"],
        "signup": "2023-11-01T00:00:00Z", "name": "Ünal"
    });
    person.first_seen = Some(NOW - 10 * DAY);
    person.last_seen = Some(NOW - 90 * MINUTE);
    person.set("events.purchase.count_30d", serde_json::json!(3));
    person.set("events.purchase.sum(total)", serde_json::json!(120.50));
    person.event_seen("purchase", NOW - 3 * DAY, NOW - DAY - 1);
    person
}

fn value(text: &str) -> String {
    let expr = check(text, Kind::Flag, None, &catalog())
        .or_else(|_| check(text, Kind::Trait, None, &catalog()))
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .expr;
    evaluate(&expr, &person()).to_json().to_string()
}

#[test]
fn values() {
    for (text, expected) in [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("0.1 + 0.2 == 0.3", "true"),
        ("10 / 4", "2.5"),
        ("1 / 3", "0.33333333333333333333"),
        ("1 / 0", "null"),
        ("-7 % 3", "-1"),
        ("profile.plan", "\"pro\""),
        ("profile.address.city == 'Bonn'", "true"),
        ("profile.plans.1", "\"b\""),
        ("profile.missing == null", "true"),
        ("profile.missing != null", "false"),
        ("profile.missing != 'x'", "false"),
        ("profile.missing < 1", "false"),
        ("not (profile.missing < 1)", "true"),
        ("not null", "true"),
        ("profile.plan in ['pro', \"team\"]", "true"),
        ("profile.plan in('free', 'team')", "false"),
        ("profile.plan in(['pro'])", "true"),
        ("profile.plan not in ['free']", "true"),
        ("'a' in profile.plans", "true"),
        ("profile.plans contains 'c'", "false"),
        ("profile.plan contains 'r'", "true"),
        (
            "profile.plan starts_with 'p' and profile.plan ends_with 'o'",
            "true",
        ),
        ("profile.plan matches '^p.o$'", "true"),
        ("profile.name matches '^.nal$'", "true"),
        ("exists(profile.plan)", "true"),
        ("profile.x exists", "false"),
        ("profile.x not exists", "true"),
        ("lower('ABC')", "\"abc\""),
        ("upper('ü')", "\"Ü\""),
        ("length(profile.name)", "4"),
        ("coalesce(profile.x, null, 5)", "5"),
        ("if(profile.age >= 18, 'adult', 'child')", "\"adult\""),
        ("round(2.5)", "3"),
        ("round(-2.345, 2)", "-2.35"),
        ("floor(-0.5)", "-1"),
        ("ceil(0.1)", "1"),
        ("abs(-3)", "3"),
        ("first_seen_days_ago", "10"),
        ("last_seen_minutes_ago", "90"),
        ("last_seen_hours_ago < 1", "false"),
        ("last_seen < 2h", "true"),
        ("2h > last_seen", "true"),
        ("profile.signup > 13d", "true"),
        ("days_since(profile.signup)", "13"),
        ("days_since('2023-02-30')", "null"),
        ("last_seen", "\"2023-11-14T20:43:20Z\""),
        (
            "events.purchase.count_30d >= 1 && last_seen_minutes_ago < 1440",
            "true",
        ),
        ("events.purchase.last_seen_days_ago", "1"),
        ("events.never.last_seen_days_ago", "null"),
        (
            "events.purchase.sum(total) / events.purchase.count_30d >= 40",
            "true",
        ),
        ("1 == '1'", "false"),
        ("1 != '1'", "false"),
        ("true == true", "true"),
        ("[1, 2] == [1, 2.0]", "true"),
        ("NOT FALSE AND TRUE", "true"),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn printed_text_parses_to_the_same_tree() {
    for (text, canonical) in [
        ("a&&b||c", "a && b || c"),
        ("a && (b || c)", "a && (b || c)"),
        ("not (a and b)", "not (a && b)"),
        ("!a", "not a"),
        ("1-(2-3)", "1 - (2 - 3)"),
        ("--5", "5"),
        ("-(-profile.x)", "-(-profile.x)"),
        (
            "events.'Order Completed'.sum_30d(total)>500",
            "events.\"Order Completed\".sum_30d(total) > 500",
        ),
        (
            "events.x[category=='Books'&&price>10].count_90d",
            "events.x[category == \"Books\" && price > 10].count_90d",
        ),
        ("events.x.p95_2w(a.b)", "events.x.p95_14d(a.b)"),
        ("events.x.sessions_30d(30m)", "events.x.sessions_30d(30m)"),
        ("x in('a')", "x in [\"a\"]"),
        ("not (x in [1])", "x not in [1]"),
        ("last_seen < 2w", "last_seen < 14d"),
        ("profile.'weird key'.0", "profile.\"weird key\".0"),
        ("x exists", "exists(x)"),
        (
            "events.x[properties.and == 1].count",
            "events.x[properties.and == 1].count",
        ),
        ("bucket('salt', 10) < 3", "bucket(\"salt\", 10) < 3"),
    ] {
        let expr = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(print(&expr), canonical);
        assert_eq!(parse(canonical).as_ref(), Ok(&expr), "{canonical}");
    }
}

#[test]
fn criteria_of_the_requirements() {
    let json = serde_json::json!({"and":[
        {"trait":"ltv","operator":">","value":1000},
        {"trait":"lastSeen","operator":"<","value":"30d"},
        {"event":"subscription.cancelled","window":"7d"}
    ]});
    let expr = criteria(&json).unwrap();
    assert_eq!(
        print(&expr),
        "attribute(\"ltv\") > 1000 && last_seen < 30d && events.\"subscription.cancelled\".count_7d >= 1"
    );
    let checked = cdp_expr::resolve(&expr, Kind::Segment, None, &catalog()).unwrap();
    assert!(print(&checked.expr).starts_with("trait(\"ltv\") > 1000"));
    let bare = cdp_expr::resolve(&expr, Kind::Segment, None, &cdp_expr::EmptyCatalog).unwrap();
    assert!(print(&bare.expr).starts_with("profile.ltv > 1000"));
}

#[test]
fn a_recency_condition_flips_at_its_exact_minute() {
    let expr = parse("last_seen_minutes_ago < 1440").unwrap();
    assert_eq!(
        next_change(&expr, &person()),
        Some(NOW - 90 * MINUTE + 1440 * MINUTE)
    );
    let _ = Value::Number(Decimal::zero());
}
