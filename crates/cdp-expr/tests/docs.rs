//! The reference page says what the grammar says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use cdp_expr::{criteria, parse, print, Function};

const PAGE: &str = include_str!("../../../docs/reference/expressions.md");
const GRAMMAR: &str = include_str!("../src/grammar.pest");

/// The blocks of code in a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let start = format!("```{language}\n");
    PAGE.split(start.as_str())
        .skip(1)
        .map(|rest| rest.split("\n```").next().unwrap())
        .collect()
}

#[test]
fn every_example_parses() {
    let lines: Vec<&str> = blocks("expr")
        .iter()
        .flat_map(|block| block.lines())
        .collect();
    assert!(lines.len() > 30);
    for line in lines {
        let expr = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(parse(&print(&expr)), Ok(expr), "{line}");
    }
}

#[test]
fn every_criteria_example_is_read() {
    let examples = blocks("json criteria");
    assert!(!examples.is_empty());
    for example in examples {
        let json = serde_json::from_str(example).unwrap();
        criteria(&json).unwrap_or_else(|error| panic!("{example}: {error}"));
    }
}

/// Every literal of the grammar is a word or sign that the page explains.
#[test]
fn every_token_of_the_grammar_is_mentioned() {
    let code: Vec<&str> = PAGE.split('`').skip(1).step_by(2).collect();
    let blocks = blocks("expr").join("\n");
    let rules = GRAMMAR
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let mut tokens = 0;
    for line in rules {
        // White space and escapes are JSON's.
        if [
            "WHITESPACE",
            "escape",
            "double_quoted",
            "single_quoted",
            "text ",
        ]
        .iter()
        .any(|rule| line.starts_with(rule))
        {
            continue;
        }
        for token in line.split('"').skip(1).step_by(2) {
            let token = token.replace("\\\\", "\\").replace("\\\"", "\"");
            // Table cells write a bar with a backslash.
            let in_table = token.replace('|', "\\|");
            let mentioned = code
                .iter()
                .any(|code| code.contains(&token) || code.contains(&in_table))
                || blocks.contains(&token);
            assert!(mentioned, "{token} of {line}");
            tokens += 1;
        }
    }
    assert!(tokens > 40, "{tokens}");
}

#[test]
fn every_function_and_aggregate_is_mentioned() {
    let functions = Function::ALL.map(Function::name);
    let special = [
        "trait",
        "segment",
        "score",
        "grade",
        "attribute",
        "bucket",
        "percentage",
    ];
    for function in functions.iter().chain(&special) {
        assert!(PAGE.contains(&format!("`{function}(")), "{function}");
    }
    for aggregate in [
        "count",
        "unique_days",
        "unique_hours",
        "sum(",
        "avg(",
        "min(",
        "max(",
        "first(",
        "last(",
        "top(",
        "list(",
        "unique(",
        "p1(",
        "p99(",
        "sessions(",
        "first_seen_minutes_ago",
        "first_seen_hours_ago",
        "first_seen_days_ago",
        "last_seen_minutes_ago",
        "last_seen_hours_ago",
        "last_seen_days_ago",
    ] {
        assert!(PAGE.contains(&format!("`{aggregate}")), "{aggregate}");
        let written = match aggregate.strip_suffix('(') {
            Some("sessions") => "sessions(30m)".to_string(),
            Some(name) => format!("{name}(p)"),
            None => aggregate.to_string(),
        };
        assert!(parse(&format!("events.x.{written}")).is_ok(), "{written}");
    }
}
