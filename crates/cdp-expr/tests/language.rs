//! The language as a user meets it: parse, print, resolve, evaluate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use cdp_expr::{check, evaluate, parse, print, Kind};
use cdp_value::{DAY, MINUTE};
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
        ("bucket('salt') < 12.5", "bucket(\"salt\") < 12.5"),
    ] {
        let expr = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(print(&expr), canonical);
        assert_eq!(parse(canonical).as_ref(), Ok(&expr), "{canonical}");
    }
}

#[test]
fn precedence() {
    for (text, grouped) in [
        ("a || b && c", "a || (b && c)"),
        ("not a == b", "not (a == b)"),
        ("!a && b", "(not a) && b"),
        ("a + b * c - d", "(a + (b * c)) - d"),
        ("-a * b", "(-a) * b"),
        ("a - b - c", "(a - b) - c"),
        ("a + b > c and d", "((a + b) > c) and d"),
        ("a + b in [c]", "(a + b) in [c]"),
        ("a contains b or c", "(a contains b) or c"),
        ("a == not b", "a == (not b)"),
        ("not not a", "not (not a)"),
        ("a + b exists", "(a + b) exists"),
        ("a in (profile.list)", "a in profile.list"),
    ] {
        assert_eq!(parse(text), parse(grouped), "{text}");
        assert!(parse(text).is_ok(), "{text}");
    }
}

#[test]
fn references_are_collected() {
    let text =
        "trait('a') > 1 && segment('b') || score('s') > 2 and grade('s') == 'A' && profile.x.y \
        == group.z || events.e[p > 1].sum_7d(p) > trait('a') + events.e[p > 1].sum_7d(p)";
    let expr = parse(text).unwrap();
    assert_eq!(expr.trait_references(), ["a"]);
    assert_eq!(expr.segment_references(), ["b"]);
    assert_eq!(expr.score_references(), ["s"]);
    assert_eq!(expr.profile_references(), [["x", "y"]]);
    assert!(expr.uses_group());
    assert!(!expr.uses_first_or_last_seen());
    assert_eq!(expr.aggregates().len(), 1);
    assert!(parse("last_seen < 3d").unwrap().uses_first_or_last_seen());
}

#[test]
fn static_segments_stay_references() {
    let mut definitions = catalog();
    definitions.static_segments.push("invited".into());
    let checked = check("invited && not churned", Kind::Segment, None, &definitions).unwrap();
    let inlined = checked.expr.inline(&definitions);
    assert_eq!(
        print(&inlined),
        "segment(\"invited\") && not (last_seen_minutes_ago > 43200)"
    );
    assert_eq!(inlined.segment_references(), ["invited"]);
}

#[test]
fn result_types() {
    for (text, of) in [
        ("1 + 1", "number"),
        ("ltv > 3", "boolean"),
        ("ltv", "number"),
        ("power_user", "boolean"),
        ("profile.x", "any"),
        ("lower(profile.x)", "text"),
        ("if(vip, 'a', 'b')", "text"),
        ("if(vip, 'a', 1)", "any"),
        ("coalesce(null, 1)", "number"),
        ("events.purchase.list(sku)", "list"),
        ("events.purchase.top(sku)", "any"),
        ("last_seen", "time"),
        ("null", "null"),
        ("percentage('x', 50)", "boolean"),
        ("grade('lead')", "text"),
    ] {
        let checked = check(text, Kind::Trait, None, &catalog()).unwrap();
        assert_eq!(checked.result_type.to_string(), of, "{text}");
    }
}

#[test]
fn escapes_and_quotes() {
    for (text, value) in [
        (r#""a\"b""#, "a\"b"),
        (r"'it\'s'", "it's"),
        (r#"'say "x"'"#, "say \"x\""),
        (r#""\u00fc\ud83d\ude00\n\t\/\\""#, "ü😀\n\t/\\"),
        ("'ü😀'", "ü😀"),
    ] {
        assert_eq!(parse(text), Ok(cdp_expr::Expr::text(value)), "{text}");
    }
}

/// Documented, so that anybody can compute it elsewhere.
#[test]
fn buckets_are_stable_and_even() {
    // SHA-256 of "salt:person-1" begins with 15 hexadecimal digits whose value modulo 10 this is.
    assert_eq!(value("bucket('salt', 10)"), SALT_BUCKET);
    let mut counts = [0; 4];
    for index in 0..4000 {
        counts[cdp_expr::bucket("experiment", &index.to_string(), 4) as usize] += 1;
    }
    assert!(
        counts.iter().all(|count| (900..1100).contains(count)),
        "{counts:?}"
    );
    assert_eq!(value("percentage('x', 0)"), "false");
    assert_eq!(value("percentage('x', 100)"), "true");
}

const SALT_BUCKET: &str = "6";
