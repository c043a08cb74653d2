//! When values change by the passing of time alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use cdp_expr::{check, evaluate, next_change, parse, Kind};
use cdp_value::{DAY, HOUR, MINUTE};
use support::{catalog, Person};

const NOW: i64 = 1_700_000_000_000_000;
/// 90 minutes and 1 µs ago.
const LAST: i64 = NOW - 90 * MINUTE - 1;
const FIRST: i64 = NOW - 10 * DAY;

fn person() -> Person {
    let mut person = Person::at(NOW);
    person.first_seen = Some(FIRST);
    person.last_seen = Some(LAST);
    person.profile = serde_json::json!({
        "plan": "pro", "limit": 120, "trial": "2023-11-14T00:00:00Z", "day": "2023-11-14"
    });
    person.event_seen("purchase", FIRST, NOW - 2 * DAY);
    for (aggregate, value, changes) in [
        ("events.purchase.count_7d", 1, Some(NOW + 5 * DAY)),
        ("events.purchase.count", 4, None),
        ("events.app_open.count_1d", 3, Some(NOW + HOUR)),
    ] {
        person.set(aggregate, serde_json::json!(value));
        if let Some(at) = changes {
            person.changes.insert(aggregate.to_string(), at);
        }
    }
    person
}

const TRIAL: i64 = 1_699_920_000_000_000;

#[test]
fn announced_instants() {
    for (text, at) in [
        // Comparisons with a number: the exact flip.
        ("last_seen_minutes_ago < 1440", Some(LAST + 1440 * MINUTE)),
        ("last_seen_minutes_ago <= 1440", Some(LAST + 1441 * MINUTE)),
        ("last_seen_minutes_ago > 1440", Some(LAST + 1441 * MINUTE)),
        ("last_seen_minutes_ago >= 1440", Some(LAST + 1440 * MINUTE)),
        ("1440 > last_seen_minutes_ago", Some(LAST + 1440 * MINUTE)),
        ("last_seen_minutes_ago == 95", Some(LAST + 95 * MINUTE)),
        ("last_seen_minutes_ago == 90", Some(LAST + 91 * MINUTE)),
        ("last_seen_minutes_ago == 89", None),
        ("last_seen_minutes_ago < 90", None),
        ("last_seen_minutes_ago > 5", None),
        ("last_seen_minutes_ago < 91.5", Some(LAST + 92 * MINUTE)),
        (
            "last_seen_minutes_ago + 10 < 1440",
            Some(LAST + 1430 * MINUTE),
        ),
        (
            "1440 - last_seen_minutes_ago > 0",
            Some(LAST + 1440 * MINUTE),
        ),
        (
            "last_seen_minutes_ago / 60 < 24",
            Some(LAST + 1440 * MINUTE),
        ),
        (
            "last_seen_minutes_ago < profile.limit",
            Some(LAST + 120 * MINUTE),
        ),
        ("last_seen_minutes_ago < profile.missing", None),
        ("last_seen_minutes_ago < profile.plan", None),
        ("last_seen_minutes_ago == null", None),
        ("first_seen_days_ago >= 30", Some(FIRST + 30 * DAY)),
        (
            "events.purchase.last_seen_days_ago > 2",
            Some(NOW - 2 * DAY + 3 * DAY),
        ),
        ("events.never.last_seen_days_ago > 2", None),
        ("days_since(profile.trial) >= 14", Some(TRIAL + 14 * DAY)),
        ("days_since(profile.plan) >= 14", None),
        // Times with durations: the microsecond.
        ("last_seen < 2h", Some(LAST + 2 * HOUR)),
        ("last_seen <= 2h", Some(LAST + 2 * HOUR + 1)),
        ("last_seen > 2h", Some(LAST + 2 * HOUR + 1)),
        ("last_seen >= 2h", Some(LAST + 2 * HOUR)),
        ("last_seen < 1h", None),
        ("profile.trial > 14d", Some(TRIAL + 14 * DAY + 1)),
        ("profile.day > 14d", Some(TRIAL + 14 * DAY + 1)),
        ("profile.plan > 14d", None),
        // Inside other conditions: the next whole unit.
        (
            "last_seen_minutes_ago in [91, 95]",
            Some(LAST + 91 * MINUTE),
        ),
        ("last_seen_minutes_ago % 7 == 0", Some(LAST + 91 * MINUTE)),
        (
            "last_seen_minutes_ago < first_seen_days_ago",
            Some(LAST + 91 * MINUTE),
        ),
        ("exists(last_seen_minutes_ago)", None),
        ("last_seen_minutes_ago + 1 exists", Some(LAST + 91 * MINUTE)),
        // Numbers that are the result are read when they are needed.
        ("last_seen_minutes_ago", None),
        ("last_seen_minutes_ago * 2 + 1", None),
        ("coalesce(last_seen_minutes_ago, 0)", None),
        (
            "if(last_seen_minutes_ago < 120, last_seen_minutes_ago, -1)",
            Some(LAST + 120 * MINUTE),
        ),
        // Windows.
        ("events.purchase.count_7d", Some(NOW + 5 * DAY)),
        ("events.purchase.count_7d >= 1", Some(NOW + 5 * DAY)),
        ("events.purchase.count >= 1", None),
        (
            "events.purchase.count_7d > events.app_open.count_1d",
            Some(NOW + HOUR),
        ),
        (
            "events.app_open.count_1d > 1 && last_seen_minutes_ago < 100",
            Some(LAST + 100 * MINUTE),
        ),
        // What decides the whole holds until it changes.
        ("false && last_seen_minutes_ago < 100", None),
        ("true || last_seen_minutes_ago < 100", None),
        (
            "true && last_seen_minutes_ago < 100",
            Some(LAST + 100 * MINUTE),
        ),
        (
            "last_seen > 2h && first_seen > 30d",
            Some(FIRST + 30 * DAY + 1),
        ),
        ("last_seen < 2h || first_seen < 30d", Some(FIRST + 30 * DAY)),
        ("last_seen < 1h && first_seen < 30d", None),
        ("not (last_seen < 2h)", Some(LAST + 2 * HOUR)),
        (
            "if(profile.plan == 'pro', last_seen < 2h, last_seen < 100d)",
            Some(LAST + 2 * HOUR),
        ),
        // Time plays no part.
        ("profile.plan == 'pro'", None),
        ("1 + 1", None),
    ] {
        let expr = parse(text).unwrap();
        let given = next_change(&expr, &person());
        let apart = given.zip(at).map(|(a, b)| a - b);
        assert_eq!(given, at, "{text}: {apart:?} µs apart");
    }
}

#[test]
fn a_flip_is_exact_to_the_microsecond() {
    let mut person = person();
    for text in [
        "last_seen_minutes_ago < 1440",
        "last_seen <= 2h",
        "last_seen_hours_ago * -3 < -8",
        "7 - last_seen_hours_ago > 0",
    ] {
        let expr = parse(text).unwrap();
        person.now = NOW;
        let before = evaluate(&expr, &person);
        let at = next_change(&expr, &person).unwrap();
        person.now = at - 1;
        assert_eq!(evaluate(&expr, &person), before, "{text}");
        person.now = at;
        assert_ne!(evaluate(&expr, &person), before, "{text}");
    }
}

#[test]
fn changes_are_seen_through_traits_and_segments_once_they_are_filled_in() {
    let definitions = catalog();
    let checked = check(
        "not churned && power_user",
        Kind::Segment,
        None,
        &definitions,
    )
    .unwrap();
    let mut person = person();
    person.set("events.app_open.unique_days_14d", serde_json::json!(9));
    let inlined = checked.expr.inline(&definitions);
    assert_eq!(
        cdp_expr::print(&inlined),
        "not (last_seen_minutes_ago > 43200) && events.app_open.unique_days_14d >= 5"
    );
    assert_eq!(next_change(&inlined, &person), Some(LAST + 43201 * MINUTE));
}

#[test]
fn absurd_times_are_survived() {
    for last in [i64::MIN, i64::MIN + 1, 0, NOW + DAY, i64::MAX] {
        let mut person = person();
        person.last_seen = Some(last);
        for text in [
            "last_seen_minutes_ago < 1440",
            "last_seen < 5d",
            "last_seen_days_ago * 99999999999 < 5",
            "days_since(last_seen) in [1]",
        ] {
            let expr = parse(text).unwrap();
            let _ = evaluate(&expr, &person);
            let at = next_change(&expr, &person);
            assert!(at.is_none_or(|at| at > NOW), "{text} {last}");
        }
    }
}
