//! Input that wants to crash or stall the parser.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use cdp_expr::{check, limits, parse, Kind};
use std::time::{Duration, Instant};

/// Parses in bounded time; says whether the text was accepted.
fn parses(text: &str) -> bool {
    let start = Instant::now();
    let accepted = parse(text).is_ok();
    let _ = check(text, Kind::Trait, None, &support::catalog());
    let took = start.elapsed();
    // Generous for a slow machine in debug mode; exponential time would take years.
    assert!(took < Duration::from_secs(5), "{took:?} for {:.60}", text);
    accepted
}

#[test]
fn deep_nesting_is_refused_whatever_nests() {
    for piece in [
        "(",
        "[",
        "!",
        "-",
        "not ",
        "!(",
        "-(",
        "[(",
        "if(",
        "coalesce(",
        "1 in (",
        "1 in [",
        "events.x[",
        "1 + (",
        "lower(",
        "1 not in ((",
        "a == not ",
        "1 in not (",
    ] {
        for count in [65, 1000, 5000] {
            let text = piece.repeat(count);
            assert!(!parses(&text), "{piece}");
            assert!(!parses(&format!("{text}1")), "{piece}");
            let error = parse(&format!("{text}1")).unwrap_err();
            let too_big = ["deep", "longer"]
                .iter()
                .any(|word| error.message.contains(word));
            assert!(too_big || count < 1000, "{piece} {error}");
        }
    }
}

#[test]
fn nesting_up_to_the_limit_is_accepted() {
    for (open, close) in [
        ("(", ")"),
        ("!", ""),
        ("-", ""),
        ("[", "]"),
        ("abs(", ")"),
        ("1 in (", ")"),
    ] {
        let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert!(parses(&nested(limits::DEPTH - 1)), "{open}");
        assert!(!parses(&nested(limits::DEPTH + 1)), "{open}");
    }
}

/// Failing at the very end is what makes a backtracking parser try everything again.
#[test]
fn failure_at_the_end_does_not_multiply() {
    for piece in [
        "(",
        "1 in (",
        "if(1, ",
        "[",
        "events.x[a == (",
        "1 not in (",
        "(1 + 2) * (",
        "a.b.c in (not ",
    ] {
        let depth = 60 / piece.matches(['(', '[']).count();
        for end in ["", "1 2", "#", "1 +", "'", "\"", ")]"] {
            parses(&format!("{}{end}", piece.repeat(depth)));
        }
    }
}

#[test]
fn long_texts_take_linear_time() {
    let room = limits::TEXT / 4;
    for piece in [
        "a",
        "1",
        "'",
        "\"",
        "\\",
        " ",
        ".",
        "a.",
        "a+",
        "1+1*",
        "a in ",
        "a and ",
        "not in ",
        "events.",
        "[1],",
        "(1)+",
        "1,",
        "\"a\" ",
        "a[",
        "&&",
        "||",
        "==",
        "events.x.count+",
        "ü",
        "x exists ",
        "a==1 and ",
        "\\u0041",
        "/* ",
        "--",
    ] {
        let text = piece.repeat(room / piece.len());
        parses(&text);
        parses(&format!("'{text}"));
        parses(&format!("'{text}'"));
        parses(&format!("[{text}]"));
        parses(&format!("{text}1"));
        parses(&format!("events.'{text}'.count"));
        parses(&format!("profile.x matches '{text}'"));
    }
    assert!(!parses(&" 1".repeat(limits::TEXT)));
}

#[test]
fn limits_are_exact() {
    let sum = |terms: usize| vec!["1"; terms].join(" + ");
    assert!(parses(&sum(limits::HEIGHT - 1)));
    assert!(!parses(&sum(limits::HEIGHT + 1)));
    let all = |terms: usize| vec!["a"; terms].join(" && ");
    assert!(parses(&all(1000)));
    assert!(!parses(&all(limits::NODES)));
    let list = |items: usize| format!("1 in [{}]", vec!["1"; items].join(","));
    assert!(parses(&list(limits::LIST)));
    assert!(!parses(&list(limits::LIST + 1)));
    let text = format!("'{}'", "x".repeat(limits::TEXT - 2));
    assert!(parses(&text));
    assert!(!parses(&format!(" {text}")));
}

#[test]
fn hostile_criteria_are_refused() {
    let mut nested = serde_json::json!({"segment": "x"});
    for _ in 0..100 {
        nested = serde_json::json!({ "not": nested });
    }
    assert!(cdp_expr::criteria(&nested)
        .unwrap_err()
        .message
        .contains("too deep"));
    let wide: Vec<_> = (0..10_000)
        .map(|_| serde_json::json!({"segment": "x"}))
        .collect();
    let error = cdp_expr::criteria(&serde_json::json!({ "and": wide })).unwrap_err();
    assert!(error.message.contains("too many"));
}

/// The smallest stack a thread of the tests gets must do, in debug mode, for the deepest tree.
#[test]
fn the_deepest_tree_fits_a_small_stack() {
    let work = || {
        let deep = format!("{}1{}", "(1 + ".repeat(60), ")".repeat(60));
        let chain = vec![deep; 40].join(" + ");
        let expr = parse(&vec!["profile.x"; 255].join(" + ")).unwrap();
        let person = support::Person::at(0);
        let text = cdp_expr::print(&expr);
        assert_eq!(parse(&text).unwrap(), expr);
        assert!(cdp_expr::evaluate(&expr, &person).is_null());
        assert_eq!(cdp_expr::next_change(&expr, &person), None);
        assert!(parse(&chain).is_err());
        // Definitions on top of each other, up to the limit.
        let mut definitions = support::Definitions::default();
        let mut below = "profile.x".to_string();
        for index in 0..60 {
            let text = format!("{}{below}", "1 + ".repeat(8));
            definitions = definitions.with_trait(&format!("t{index}"), &text);
            below = format!("(trait('t{index}') + 1)");
        }
        let top = parse("trait('t59')").unwrap();
        let inlined = top.inline(&definitions);
        assert_ne!(inlined, top);
        assert!(cdp_expr::evaluate(&inlined, &person).is_null());
        assert_eq!(cdp_expr::next_change(&inlined, &person), None);
        assert!(cdp_expr::print(&inlined).len() > 1000);
    };
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    thread.spawn(work).unwrap().join().unwrap();
}
