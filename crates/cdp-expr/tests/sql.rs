//! Generated SQL: it cannot be broken out of, and in a database it means what the evaluator does.
//!
//! The comparison needs a Postgres: set `CDP_SQL_TEST_DATABASE` to a connection string of psql. It
//! works in a schema of its own and drops it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use cdp_expr::sql::{compile, compile_condition, functions, SqlError, SqlNames};
use cdp_expr::{evaluate, is_true, parse, print, Expr};
use cdp_value::{Decimal, Value, DAY, HOUR, MINUTE};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, RngSeed, TestRunner};
use std::io::Write;
use std::process::{Command, Stdio};
use support::arbitrary;
use support::oracle::{is_listable, Event, RawPerson};

const NOW: i64 = 1_700_000_000_123_456;
const EVENTS: [&str; 4] = ["purchase", "app_open", "plan", "a"];

fn event_id(event: &str) -> Option<i32> {
    let position = EVENTS.iter().position(|known| *known == event)?;
    i32::try_from(position).ok()
}

const NAMES: SqlNames<'static> = SqlNames {
    events: "(SELECT profile_id, event_id, ts, properties FROM cdp_sql_test.events WHERE namespace_id = $1)",
    profiles: "cdp_sql_test.profiles",
    profile_traits: "cdp_sql_test.profile_traits",
    groups: "cdp_sql_test.groups",
    segment_members: "cdp_sql_test.segment_members",
    scores: "cdp_sql_test.scores",
    functions: "cdp_sql_test",
    timezone: "UTC",
    event_id: &event_id,
};

fn runner(seed: u64) -> TestRunner {
    TestRunner::new(ProptestConfig {
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    })
}

fn sample<T>(strategy: &impl Strategy<Value = T>, runner: &mut TestRunner) -> T {
    strategy.new_tree(runner).expect("a value").current()
}

/// Every quote of the statement belongs to a constant, and outside of them there is nothing but
/// words, numbers and the characters that the compiler writes.
fn is_well_quoted(sql: &str) -> bool {
    let mut rest = sql.chars().peekable();
    let mut before = ' ';
    while let Some(character) = rest.next() {
        match character {
            '\'' => {
                let escapes = before == 'E';
                loop {
                    match rest.next() {
                        None => return false,
                        Some('\\') if escapes => {
                            rest.next();
                        }
                        Some('\'') if rest.peek() == Some(&'\'') => {
                            rest.next();
                        }
                        Some('\'') => break,
                        Some(_) => {}
                    }
                }
            }
            '"' if !rest.by_ref().any(|c| c == '"') => return false,
            ';' | '\\' => return false,
            '-' if rest.peek() == Some(&'-') => return false,
            '/' if rest.peek() == Some(&'*') => return false,
            other if !other.is_ascii() => return false,
            _ => {}
        }
        before = character;
    }
    true
}

#[test]
fn no_constant_can_break_out() {
    let mut runner = runner(11);
    for _ in 0..400 {
        let expr = sample(&arbitrary::of_a_person(), &mut runner);
        let sql = compile(&expr, &NAMES).unwrap();
        assert!(is_well_quoted(&sql), "{}\n{sql}", print(&expr));
    }
    for hostile in [
        "'; DROP TABLE x; --",
        "\\'; DROP TABLE x; --",
        "\\",
        "''",
        "$1",
        "E'",
        "\u{0}'",
    ] {
        let quoted = Expr::text(hostile);
        let path = vec![hostile.to_string()];
        for expr in [
            quoted.clone(),
            Expr::Profile(path.clone()),
            Expr::Segment(hostile.to_string()),
            Expr::Score(hostile.to_string()),
            Expr::Bucket(hostile.to_string(), Some(3)),
            Expr::In(
                Box::new(Expr::Group(path)),
                Box::new(Expr::List(vec![quoted])),
            ),
        ] {
            assert!(
                is_well_quoted(&compile(&expr, &NAMES).unwrap()),
                "{hostile}"
            );
        }
    }
}

#[test]
fn what_is_not_of_a_person_is_refused() {
    for (text, error) in [
        ("power_user", SqlError::NotInlined("power_user".into())),
        (
            "trait('x') > 1",
            SqlError::NotInlined("trait(\"x\")".into()),
        ),
        (
            "attribute('x')",
            SqlError::NotInlined("attribute(\"x\")".into()),
        ),
        ("context.x == 1", SqlError::NotOfAPerson("context.x".into())),
        (
            "properties.x == 1",
            SqlError::NotOfAPerson("properties.x".into()),
        ),
        (
            "events.a[profile.x > 1].count",
            SqlError::NotOfAPerson("profile.x".into()),
        ),
    ] {
        assert_eq!(compile(&parse(text).unwrap(), &NAMES), Err(error), "{text}");
    }
}

/// Nested conversions must not repeat what they convert.
#[test]
fn statements_grow_with_the_expression() {
    let mut text = "profile.x".to_string();
    for _ in 0..20 {
        text = format!("coalesce(profile.y, {text} + 1)");
    }
    let sql = compile(&parse(&text).unwrap(), &NAMES).unwrap();
    assert!(sql.len() < 40_000, "{}", sql.len());
    let mut text = "profile.x".to_string();
    for _ in 0..20 {
        text = format!(
            "if({text} in profile.y, {text_short}, profile.z)",
            text_short = "profile.w"
        );
    }
    let sql = compile(&parse(&text).unwrap(), &NAMES).unwrap();
    assert!(sql.len() < 60_000, "{}", sql.len());
    let mut text = "profile.x".to_string();
    for _ in 0..20 {
        text = format!("({text}) in [profile.y, profile.z, 1]");
    }
    let sql = compile(&parse(&text).unwrap(), &NAMES).unwrap();
    assert!(sql.len() < 60_000, "{}", sql.len());
}

#[test]
fn one_scan_answers_what_it_can() {
    let text =
        "events.purchase.count_7d + events.purchase.sum_30d(total) + events.app_open.count > \
                events.purchase.count_7d * events.purchase[total > 5].avg(total)";
    let sql = compile(&parse(text).unwrap(), &NAMES).unwrap();
    assert_eq!(sql.matches("cdp_sql_test.events").count(), 1, "{sql}");
    assert!(sql.contains("FILTER"), "{sql}");
    let sql = compile(&parse("events.purchase.count_7d").unwrap(), &NAMES).unwrap();
    assert!(
        !sql.contains("FILTER") && sql.contains("e.event_id = 0"),
        "{sql}"
    );
}

/// Values of properties and traits, among them what conversions stumble over.
fn values() -> Vec<Value> {
    [
        "null",
        "true",
        "false",
        "0",
        "1",
        "3",
        "12.5",
        "12.50",
        "-7",
        "100",
        "0.1",
        "1e350",
        "-1e301",
        "5e299",
        "1e-500",
        "123456789012345678901234567890.5",
        "99999999999999999999999999999999999999999",
        "\"pro\"",
        "\"free\"",
        "\"\"",
        "\"Books\"",
        "\"2023-11-14\"",
        "\"2023-11-14T10:00:00Z\"",
        "\"2023-11-13T22:13:20.123456+02:00\"",
        "\"2023-02-30\"",
        "\"10\"",
        "\"aé.b\"",
        "\"it's\"",
        "\"STRASSE\"",
        "[]",
        "[1]",
        "[1, \"pro\", null, [2]]",
        "[\"pro\", \"free\"]",
        "{}",
        "{\"a\": 1}",
        "{\"total\": 5, \"plan\": \"pro\"}",
    ]
    .iter()
    .map(|text| Value::from_json(&serde_json::from_str(text).unwrap()))
    .collect()
}

/// Keys that the arbitrary expressions know.
const KEYS: [&str; 8] = ["plan", "total", "a", "b_1", "Straße", "and", "0", "7"];

fn object() -> impl Strategy<Value = Value> {
    let value = prop::sample::select(values());
    prop::collection::btree_map(prop::sample::select(KEYS.to_vec()), value, 0..5).prop_map(
        |members| {
            let mut members: Vec<(String, Value)> = members
                .into_iter()
                .map(|(key, value)| (key.to_string(), value))
                .collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(members)
        },
    )
}

/// Instants around the edges of windows.
fn instant() -> impl Strategy<Value = i64> {
    let units = prop::sample::select(vec![MINUTE, HOUR, DAY, 7 * DAY]);
    (units, 0i64..60, -1i64..=1).prop_map(|(unit, n, off)| NOW - unit * n + off)
}

fn people(runner: &mut TestRunner) -> Vec<RawPerson> {
    let event = (prop::sample::select(EVENTS.to_vec()), instant(), object()).prop_map(
        |(event, ts, properties)| Event {
            event: event.to_string(),
            ts,
            properties,
        },
    );
    let person = (
        prop::collection::vec(event, 0..25),
        object(),
        object(),
        prop::option::of(instant()),
        prop::option::of(instant()),
        prop::collection::vec(prop::sample::select(vec!["vip", "it's"]), 0..2),
        prop::option::of((0i64..100, prop::sample::select(vec!["A", "B"]))),
    )
        .prop_map(
            |(events, traits, group, first_seen, last_seen, mut segments, score)| {
                segments.dedup();
                RawPerson {
                    id: 0,
                    now: NOW,
                    first_seen,
                    last_seen: last_seen.map(|at| at.min(NOW)),
                    traits,
                    group,
                    segments: segments.into_iter().map(str::to_string).collect(),
                    scores: score
                        .into_iter()
                        .map(|(total, grade)| {
                            let total = Value::Number(Decimal::from(total));
                            ("lead".to_string(), total, Value::Text(grade.to_string()))
                        })
                        .collect(),
                    events,
                }
            },
        );
    let mut people = Vec::new();
    for id in 1..=30 {
        let mut one = sample(&person, runner);
        one.id = id;
        // People without a row of traits or a group.
        if id % 7 == 0 {
            one.traits = Value::Object(Vec::new());
            one.group = Value::Object(Vec::new());
        }
        people.push(one);
    }
    people
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn timestamp(at: i64) -> String {
    format!("(timestamptz '1970-01-01 00:00:00+00' + interval '1 microsecond' * {at})")
}

/// What the statements need of a database, with values written as the application sent them.
fn setup(people: &[RawPerson]) -> String {
    let mut sql = String::from(
        r#"
SET client_min_messages = warning;
SET timezone = 'Asia/Kathmandu';
DROP SCHEMA IF EXISTS cdp_sql_test CASCADE;
CREATE SCHEMA cdp_sql_test;
CREATE TABLE cdp_sql_test.events (namespace_id integer, profile_id bigint, event_id integer, ts timestamptz, properties jsonb);
CREATE TABLE cdp_sql_test.profiles (profile_id bigint, first_seen timestamptz, last_seen timestamptz);
CREATE TABLE cdp_sql_test.profile_traits (profile_id bigint, traits jsonb);
CREATE TABLE cdp_sql_test.groups (profile_id bigint, traits jsonb);
CREATE TABLE cdp_sql_test.segment_members (profile_id bigint, segment text);
CREATE TABLE cdp_sql_test.scores (profile_id bigint, score text, total numeric, grade text);
CREATE TABLE cdp_sql_test.known (value jsonb PRIMARY KEY, sort bytea, listable boolean);
CREATE FUNCTION cdp_sql_test.lower_text(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT lower($1 COLLATE "und-x-icu") $$;
CREATE FUNCTION cdp_sql_test.upper_text(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT upper($1 COLLATE "und-x-icu") $$;
CREATE FUNCTION cdp_sql_test.text_matches(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT $1 ~ $2 $$;
CREATE FUNCTION cdp_sql_test.value_order(jsonb) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT sort FROM cdp_sql_test.known WHERE value = $1 $$;
CREATE FUNCTION cdp_sql_test.value_is_listable(jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT listable FROM cdp_sql_test.known WHERE value = $1 $$;
CREATE FUNCTION cdp_sql_test.text_to_instant(text) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE STRICT SET timezone = 'UTC' AS $$
BEGIN
    IF $1 !~ '^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)?)?$' THEN RETURN NULL; END IF;
    RETURN regexp_replace($1, '(\.\d{6})\d+', '\1')::timestamptz;
EXCEPTION WHEN others THEN RETURN NULL;
END $$;
"#,
    );
    let mut known = values();
    for person in people {
        known.extend([person.traits.clone(), person.group.clone()]);
    }
    let nested: Vec<Value> = known
        .iter()
        .flat_map(|value| match value {
            Value::Array(items) => items.clone(),
            Value::Object(members) => members.iter().map(|(_, value)| value.clone()).collect(),
            _ => Vec::new(),
        })
        .collect();
    known.extend(nested);
    for value in known {
        let order: String = functions::order(&value)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        sql.push_str(&format!(
            "INSERT INTO cdp_sql_test.known VALUES ({}, '\\x{order}', {}) ON CONFLICT DO NOTHING;\n",
            literal(&value.to_string()),
            is_listable(&value)
        ));
    }
    for person in people {
        let seen = |at: Option<i64>| at.map_or("NULL".to_string(), timestamp);
        let id = person.id;
        sql.push_str(&format!(
            "INSERT INTO cdp_sql_test.profiles VALUES ({id}, {}, {});\n",
            seen(person.first_seen),
            seen(person.last_seen)
        ));
        if id % 7 != 0 {
            for (table, value) in [
                ("profile_traits", &person.traits),
                ("groups", &person.group),
            ] {
                sql.push_str(&format!(
                    "INSERT INTO cdp_sql_test.{table} VALUES ({id}, {});\n",
                    literal(&value.to_string())
                ));
            }
        }
        for segment in &person.segments {
            sql.push_str(&format!(
                "INSERT INTO cdp_sql_test.segment_members VALUES ({id}, {});\n",
                literal(segment)
            ));
        }
        for (score, total, grade) in &person.scores {
            sql.push_str(&format!(
                "INSERT INTO cdp_sql_test.scores VALUES ({id}, {}, {total}, {});\n",
                literal(score),
                literal(grade.as_text().unwrap())
            ));
        }
        for event in &person.events {
            sql.push_str(&format!(
                "INSERT INTO cdp_sql_test.events VALUES (7, {id}, {}, {}, {});\n",
                event_id(&event.event).unwrap(),
                timestamp(event.ts),
                literal(&event.properties.to_string())
            ));
        }
    }
    // Somebody else's events.
    sql.push_str("INSERT INTO cdp_sql_test.events SELECT 8, profile_id, event_id, ts, properties FROM cdp_sql_test.events;\n");
    sql.push_str("ANALYZE;\nSET search_path = pg_catalog, pg_temp;\n");
    sql
}

/// Runs a script; its output, or what psql complained about.
fn psql(database: &str, script: &str) -> Result<String, String> {
    let mut child = Command::new("psql")
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", database])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql");
    let mut input = child.stdin.take().unwrap();
    let script = script.to_string();
    let writer = std::thread::spawn(move || {
        let _ = input.write_all(script.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn run_both(database: &str, people: &[RawPerson], expressions: &[Expr]) {
    let mut script = setup(people);
    for expr in expressions {
        let value = compile(expr, &NAMES).unwrap();
        let condition = compile_condition(expr, &NAMES).unwrap();
        script.push_str(&format!(
            "\\echo == \nPREPARE q(integer, timestamptz) AS SELECT q.profile_id, q.value FROM ({value}) AS q ORDER BY q.profile_id;\n\
             EXECUTE q(7, {now});\nDEALLOCATE q;\n\\echo ==\nPREPARE q(integer, timestamptz) AS SELECT q.profile_id FROM ({condition}) AS q ORDER BY q.profile_id;\n\
             EXECUTE q(7, {now});\nDEALLOCATE q;\n",
            now = timestamp(NOW)
        ));
    }
    let output = match psql(database, &script) {
        Ok(output) => output,
        Err(complaint) if expressions.len() == 1 => {
            let sql = compile(&expressions[0], &NAMES).unwrap();
            panic!("{}\n{sql}\n{complaint}", print(&expressions[0]));
        }
        Err(complaint) => {
            // One of them: run each by itself.
            for expr in expressions {
                run_both(database, people, std::slice::from_ref(expr));
            }
            panic!("only together: {complaint}");
        }
    };
    let mut parts = output.split("==");
    parts.next();
    for expr in expressions {
        let rows = parts.next().unwrap();
        let rows: Vec<&str> = rows
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        assert_eq!(rows.len(), people.len());
        for (person, row) in people.iter().zip(rows) {
            let (id, json) = row.split_once('|').unwrap();
            assert_eq!(id, person.id.to_string());
            let expected = evaluate(expr, person);
            let given = if json.is_empty() {
                Value::Null
            } else {
                Value::from_json(&serde_json::from_str(json).unwrap())
            };
            assert_eq!(
                given,
                expected,
                "\n{}\nperson {person:#?}\n{}",
                print(expr),
                compile(expr, &NAMES).unwrap()
            );
        }
        let members: Vec<i64> = parts
            .next()
            .unwrap()
            .split_whitespace()
            .map(|id| id.parse().unwrap())
            .collect();
        let expected: Vec<i64> = people
            .iter()
            .filter(|p| is_true(expr, *p))
            .map(|p| p.id)
            .collect();
        assert_eq!(members, expected, "{}", print(expr));
    }
}

#[test]
fn the_database_agrees_with_the_evaluator() {
    let Ok(database) = std::env::var("CDP_SQL_TEST_DATABASE") else {
        println!("not run: CDP_SQL_TEST_DATABASE is not set");
        return;
    };
    let seed = std::env::var("CDP_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(5);
    let cases = std::env::var("CDP_CASES")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1);
    let mut runner = runner(seed);
    for _ in 0..cases {
        let people = people(&mut runner);
        let mut expressions: Vec<Expr> = support::EXAMPLES
            .iter()
            .map(|text| parse(text).unwrap())
            .collect();
        for _ in 0..300 {
            expressions.push(sample(&arbitrary::of_a_person(), &mut runner));
        }
        run_both(&database, &people, &expressions);
    }
}
