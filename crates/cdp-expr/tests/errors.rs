//! What a person reads who has made a mistake.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use cdp_expr::{check, ExprError, Kind};
use support::{catalog, Definitions};

fn refusal(text: &str) -> ExprError {
    match check(text, Kind::Segment, Some("me"), &catalog()) {
        Err(error) => error,
        Ok(checked) => panic!("{text} was accepted: {checked:?}"),
    }
}

/// Text, position, part of the message, part of the hint.
const CASES: &[(&str, usize, &str, &str)] = &[
    ("", 1, "the expression is empty", ""),
    ("  \n ", 1, "the expression is empty", ""),
    ("1 +", 4, "unexpected end of the expression", ""),
    ("(1 + 2", 7, "unexpected end of the expression", ""),
    ("a = 1", 3, "unexpected =", "use == to compare"),
    ("a == = 2", 6, "unexpected =", "use == to compare"),
    ("a & b", 3, "unexpected &", "use && or and"),
    ("vip | churned", 5, "unexpected |", "use || or or"),
    (
        "profile.plan <> 'x'",
        14,
        "unexpected <",
        "use != for not equal",
    ),
    (
        "profile.plan == “pro”",
        17,
        "unexpected “",
        "use straight quotes",
    ),
    (
        "profile.x ? 1 : 2",
        11,
        "unexpected ?",
        "use if(condition, a, b)",
    ),
    ("profile.plan is null", 14, "unexpected is", "use == null"),
    (
        "profile.plan like 'p%'",
        14,
        "unexpected like",
        "use contains",
    ),
    (
        "1.5d > last_seen",
        1,
        "unexpected 1",
        "durations 30m, 12h, 7d or 2w",
    ),
    ("ü == 1 )", 8, "unexpected )", ""),
    ("'abc", 1, "this text has no closing quote", ""),
    ("1 == \"a", 6, "this text has no closing quote", ""),
    (
        r#""a\ud800""#,
        1,
        "this text has an escape that is no character",
        "",
    ),
    (
        r#""a\u0000""#,
        1,
        "this text has an escape that is no character",
        "",
    ),
    (
        "1 < 2 < 3",
        7,
        "a comparison cannot be followed by another operator",
        "join comparisons with &&",
    ),
    (
        "events.purchase",
        16,
        "unexpected end",
        "events.purchase.count_7d",
    ),
    (
        "events.Order Completed.count",
        14,
        "unexpected Completed",
        "put an event's name in quotes",
    ),
    (
        "events.x.cuont_7d > 1",
        10,
        "unknown aggregate cuont_7d",
        "did you mean count_7d?",
    ),
    (
        "events.x.unique_day_14d > 1",
        10,
        "unknown aggregate",
        "did you mean unique_days_14d?",
    ),
    (
        "events.x.count_7x > 1",
        10,
        "7x is not a window",
        "30m, 12h, 7d, 2w",
    ),
    (
        "events.x.count_7 > 1",
        10,
        "the window of count_7 has no unit",
        "30m, 12h, 7d, 2w",
    ),
    (
        "events.x.count_0d > 1",
        10,
        "the window of count_0d is too short",
        "count_7d",
    ),
    (
        "events.x.count_30s > 1",
        10,
        "the window of count_30s is too short",
        "count_7d",
    ),
    (
        "events.x.sum > 1",
        10,
        "sum needs the name of one property",
        "write sum(price)",
    ),
    (
        "events.x.sum(a, b) > 1",
        10,
        "sum needs the name of one property",
        "write sum(price)",
    ),
    (
        "events.x.count(total) > 1",
        10,
        "count takes no argument",
        "events.name[condition].count",
    ),
    (
        "events.x.sessions > 1",
        10,
        "sessions needs the gap that ends a session",
        "sessions(30m)",
    ),
    (
        "events.x.p100(y) > 1",
        10,
        "unknown aggregate p100",
        "p1 to p99",
    ),
    (
        "events.x.p0(y) > 1",
        10,
        "unknown aggregate p0",
        "p1 to p99",
    ),
    (
        "events.x.last_seen_days_ago_7d > 1",
        10,
        "last_seen_days_ago takes no window",
        "",
    ),
    (
        "events.x[y = 1].count",
        12,
        "unexpected =",
        "use == to compare",
    ),
    (
        "events.x[profile.plan == 1].count > 1",
        10,
        "profile.plan cannot be used here",
        "own properties",
    ),
    (
        "vip && events.x[1 == 2 && trait('a') > 1].count > 1",
        27,
        "trait(\"a\") cannot be used here",
        "own properties",
    ),
    (
        "events.x[at < 30d].count > 1",
        10,
        "the time that has passed cannot be used here",
        "count_30d",
    ),
    (
        "events.x[days_since(at) < 3].count > 1",
        10,
        "the time that has passed cannot be used here",
        "count_30d",
    ),
    (
        "power_usr",
        1,
        "unknown trait or segment power_usr",
        "did you mean power_user?",
    ),
    (
        "true and powr_user",
        10,
        "unknown trait or segment powr_user",
        "did you mean power_user?",
    ),
    (
        "plan == 'pro'",
        1,
        "unknown trait or segment plan",
        "write profile.plan",
    ),
    (
        "last_seen_dys_ago < 3",
        1,
        "unknown trait or segment",
        "did you mean last_seen_days_ago?",
    ),
    ("profile", 1, "profile needs a path", "profile.plan"),
    (
        "trait('ltw') > 1",
        1,
        "unknown trait ltw",
        "did you mean ltv?",
    ),
    (
        "segment('vpi')",
        1,
        "unknown segment vpi",
        "did you mean vip?",
    ),
    (
        "score('laed') > 1",
        1,
        "unknown score laed",
        "did you mean lead?",
    ),
    ("vip && me", 8, "cycle: me -> me", ""),
    (
        "lenght(profile.x) > 1",
        1,
        "unknown function lenght",
        "did you mean length?",
    ),
    ("round(1, 2, 3) > 1", 1, "round takes 1 to 2 arguments", ""),
    ("if(vip, 1)", 1, "if takes 3 arguments", ""),
    (
        "trait(1)",
        1,
        "trait does not take these arguments",
        "write trait(\"key\")",
    ),
    (
        "bucket('a', 0) > 1",
        1,
        "bucket does not take these arguments",
        "bucket(\"experiment\", 10)",
    ),
    (
        "percentage('a', 101)",
        1,
        "percentage does not take these arguments",
        "percentage(\"experiment\", 25)",
    ),
    (
        "profile.x matches '['",
        19,
        "bad regular expression: unclosed character class",
        "",
    ),
    (
        "profile.x matches 'a{1000}{1000}'",
        19,
        "the pattern is too large",
        "",
    ),
    (
        "profile.x matches profile.y",
        19,
        "the pattern of matches must be a text",
        "write it in quotes",
    ),
    (
        "last_seen_days_ago < 30d",
        1,
        "a duration cannot be compared with a number",
        "last_seen < 30d",
    ),
    (
        "last_seen == 30d",
        11,
        "a time cannot be equal to a duration",
        "use <",
    ),
    (
        "30d",
        1,
        "a duration can only be compared with a time",
        "last_seen < 30d",
    ),
    (
        "profile.x + 3d > 1",
        1,
        "a duration can only be compared with a time",
        "last_seen < 30d",
    ),
    ("30d < 3d", 5, "two durations cannot be compared", ""),
    (
        "99999999999w > last_seen",
        1,
        "the duration is too long",
        "",
    ),
    ("1e500 > 1", 1, "the number is too large", ""),
    (
        "ltv",
        1,
        "a segment needs a condition, but this is a number",
        "compare it",
    ),
    (
        "plan.tier == 1",
        1,
        "plan.tier is a property of an event",
        "write profile.plan.tier",
    ),
    (
        "context.x == 1",
        1,
        "context cannot be used here",
        "only flags and filters of routes",
    ),
    (
        "message.event == 'x'",
        1,
        "message cannot be used here",
        "only filters of routes",
    ),
];

#[test]
fn mistakes_are_explained() {
    for (text, position, message, hint) in CASES {
        let error = refusal(text);
        assert_eq!(error.position, *position, "{text}: {error}");
        assert!(error.message.contains(message), "{text}: {}", error.message);
        let given = error.hint.as_str();
        assert!(given.contains(hint), "{text}: {given}");
        // Each says what to write instead.
        assert!(!given.is_empty(), "{text}: no hint");
        let first = error.message.chars().next().unwrap();
        assert!(
            !first.is_uppercase() && !error.message.ends_with('.'),
            "{text}"
        );
    }
}

#[test]
fn what_was_expected_is_in_words_of_the_language() {
    let expected = |text: &str| refusal(text).expected;
    assert_eq!(expected("1 +"), ["a value"]);
    assert_eq!(expected("(1 + 2"), ["an operator", "\")\""]);
    assert_eq!(expected("events.x."), ["an aggregate such as count_7d"]);
    assert_eq!(expected("events.x"), ["a filter in [ ]", "\".\""]);
    assert_eq!(expected("profile."), ["a name"]);
    assert_eq!(
        refusal("(1 + 2").to_string(),
        "unexpected end of the expression at position 7, expected an operator or \")\""
    );
}

#[test]
fn cycles_are_spelled_out() {
    let definitions = Definitions::default()
        .with_trait("a", "b + 1")
        .with_trait("b", "if(segment('c'), 1, 2)")
        .with_segment("c", "1 < 2");
    let error = check("a > 1", Kind::Segment, Some("c"), &definitions).unwrap_err();
    assert!(error.message.ends_with("c -> a -> b -> c"), "{error}");
    // The same key may be a trait and a segment: only the segment refers to itself.
    assert!(check("a > 1", Kind::Trait, Some("c"), &definitions).is_ok());
    let error = check("1 + trait('b')", Kind::Trait, Some("b"), &definitions).unwrap_err();
    assert!(error.message.ends_with("b -> b"), "{error}");
    assert_eq!(error.position, 5);
}

#[test]
fn a_cycle_that_already_exists_is_survived() {
    let definitions = Definitions::default()
        .with_trait("a", "trait('b') + 1")
        .with_trait("b", "trait('a') + 1");
    let error = check("a > 1", Kind::Segment, Some("x"), &definitions).unwrap_err();
    assert!(error.message.contains("too large"), "{error}");
    let expr = cdp_expr::parse("trait('a')").unwrap();
    assert_eq!(expr.inline(&definitions), expr);
}

#[test]
fn definitions_cannot_multiply_without_bound() {
    let mut definitions = Definitions::default().with_trait("t0", "1 + 1");
    for index in 1..40 {
        let text = format!("trait('t{0}') + trait('t{0}')", index - 1);
        definitions = definitions.with_trait(&format!("t{index}"), &text);
    }
    assert!(check("t8 > 1", Kind::Segment, None, &definitions).is_ok());
    let error = check("t39 > 1", Kind::Segment, None, &definitions).unwrap_err();
    assert!(error.message.contains("too large"), "{error}");
    let expr = cdp_expr::parse("trait('t39')").unwrap();
    assert_eq!(expr.inline(&definitions), expr);
}

#[test]
fn doubts_are_warnings() {
    let warnings = |text: &str| {
        let checked = check(text, Kind::Segment, None, &catalog()).unwrap();
        checked.warnings.join("; ")
    };
    assert_eq!(
        warnings("events.purchas.count > 1"),
        "no event purchas has been seen yet; did you mean purchase?"
    );
    assert_eq!(
        warnings("events.zzz.count > 1"),
        "no event zzz has been seen yet"
    );
    for text in [
        "1 == 'x'",
        "last_seen_days_ago < '30'",
        "ltv == 'x'",
        "ltv contains 'x'",
        "ltv in ['a', 'b']",
        "vip in 5",
        "ltv matches 'x'",
        "last_seen < 30",
    ] {
        assert!(
            warnings(text).ends_with("is always false")
                || warnings(text).contains("is always false:"),
            "{text}: {}",
            warnings(text)
        );
    }
    for text in [
        "ltv + 'x' > 1",
        "-vip > 1",
        "abs('x') > 1",
        "lower(ltv) == 'x'",
        "days_since(5) > 1",
    ] {
        assert!(warnings(text).contains("is always null"), "{text}");
    }
    assert!(warnings("ltv && vip").contains("never true"));
    for text in [
        "profile.x > 1",
        "profile.x == null",
        "ltv == null",
        "last_seen < '2024-01-01'",
        "profile.x < 30d",
        "vip == true",
    ] {
        assert_eq!(warnings(text), "", "{text}");
    }
}

#[test]
fn kinds_decide_what_may_be_read() {
    let ok = |text: &str, kind: Kind| check(text, kind, None, &catalog()).is_ok();
    assert!(ok("context.country == 'DE'", Kind::Flag));
    assert!(ok(
        "context.ip exists && message.event == 'x' && total > 5 && vip == 1",
        Kind::RouteFilter
    ));
    assert!(ok("category == 'Books' and a.b > 1", Kind::EventFilter));
    assert!(!ok("profile.x == 1", Kind::EventFilter));
    assert!(!ok("message.event == 'x'", Kind::Flag));
    assert!(!ok("1 + 1", Kind::EventFilter));
    assert!(ok("1 + 1", Kind::Trait));
    let filter = check(
        "segment('vip') && total > 5",
        Kind::RouteFilter,
        None,
        &catalog(),
    )
    .unwrap();
    assert_eq!(
        cdp_expr::print(&filter.expr),
        "segment(\"vip\") && properties.total > 5"
    );
}

#[test]
fn filters_of_routes_warn_of_names_that_may_mean_something_else() {
    let warnings = |text: &str| {
        check(text, Kind::RouteFilter, None, &catalog())
            .unwrap()
            .warnings
            .join("; ")
    };
    assert_eq!(
        warnings("event == 'Order Completed' && total > 5"),
        "event is a property of the message here; message.event is a field of the message itself"
    );
    assert_eq!(
        warnings("ltv > 5"),
        "ltv is a property of the message here; trait(\"ltv\") is the person's trait"
    );
    assert_eq!(
        warnings("message.event == 'x' && trait('ltv') > 5 && total > 5"),
        ""
    );
}
