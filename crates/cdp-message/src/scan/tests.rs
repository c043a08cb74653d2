//! The scanner beside serde_json, and at its edges.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::value::RawValue;

fn scan(text: &str, depth: usize) -> Result<Option<Problem>, SyntaxError> {
    let mut scanner = Scanner::new(text, depth);
    let value = scanner.value()?;
    if !scanner.at_end() {
        return Err(scanner.error("the end"));
    }
    assert_eq!(value.text, text.trim_matches([' ', '\t', '\r', '\n']));
    Ok(scanner.take_problem().map(|(problem, _)| problem))
}

#[test]
fn numbers_are_held_to_the_range_of_numeric() {
    let digits = |count| "9".repeat(count);
    for (text, fits) in [
        ("0".to_owned(), true),
        ("1e131071".to_owned(), true),
        ("1e131072".to_owned(), false),
        ("99e131070".to_owned(), true),
        ("10e131071".to_owned(), false),
        ("0.01e131073".to_owned(), true),
        ("0.01e131074".to_owned(), false),
        ("1e-16383".to_owned(), true),
        ("1e-16384".to_owned(), false),
        ("1.5e-16382".to_owned(), true),
        ("1.5e-16383".to_owned(), false),
        ("0e131072".to_owned(), true),
        ("0e1073741822".to_owned(), true),
        ("0e1073741823".to_owned(), false),
        ("0e-16384".to_owned(), false),
        ("-1e99999999999999999999".to_owned(), false),
        (digits(131_072), true),
        (digits(131_073), false),
        (format!("0.{}", digits(16_383)), true),
        (format!("0.{}", digits(16_384)), false),
        (format!("{}.{}", digits(900), digits(900)), true),
    ] {
        let problem = scan(&text, 1).unwrap();
        let expected = (!fits).then_some(Problem::NumberOutOfRange);
        assert_eq!(problem, expected, "{}", &text[..text.len().min(30)]);
    }
}

#[test]
fn text_that_jsonb_cannot_store_is_noted() {
    for (text, problem) in [
        (r#""\u0001\u00e9\ud83d\ude00""#, None),
        (r#""\u0000""#, Some(Problem::Nul)),
        (r#"{"a\u0000":1}"#, Some(Problem::Nul)),
        (r#""\ud83d""#, Some(Problem::LoneSurrogate)),
        (r#""\ud83dx""#, Some(Problem::LoneSurrogate)),
        (r#""\ud83d\n""#, Some(Problem::LoneSurrogate)),
        (r#""\ude00""#, Some(Problem::LoneSurrogate)),
        (r#""\ud83d\ud83d\ude00""#, Some(Problem::LoneSurrogate)),
        (r#""\ud83d\u0041""#, Some(Problem::LoneSurrogate)),
        (r#""\\u0000""#, None),
    ] {
        assert_eq!(scan(text, 5), Ok(problem), "{text}");
    }
}

#[test]
fn depth_counts_containers() {
    for (text, depth) in [
        ("1", 0),
        ("{}", 1),
        ("[]", 1),
        (r#"{"a":[{}]}"#, 3),
        ("[[],[[1]]]", 3),
    ] {
        assert_eq!(scan(text, depth), Ok(None), "{text}");
        if depth > 0 {
            assert_eq!(scan(text, depth - 1), Ok(Some(Problem::TooDeep)), "{text}");
        }
    }
    let hostile = "[".repeat(1_000_000);
    assert!(scan(&hostile, 200).is_err());
    let closed = format!("{hostile}{}", "]".repeat(1_000_000));
    assert_eq!(scan(&closed, 200), Ok(Some(Problem::TooDeep)));
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(11),
        ..ProptestConfig::default()
    }
}

/// JSON-like text: pieces that make valid values often enough, and wrong ones as well.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"\"",
        "\"\\n\"",
        "\"\\u00e9\"",
        "\"\\ud83d\"",
        "\"\\x\"",
        "\"",
        "\\",
        "0",
        "-1",
        "01",
        "1.5",
        "1.",
        ".5",
        "1e5",
        "1E+",
        "-",
        "true",
        "false",
        "null",
        "nul",
        " ",
        "\n",
        "\t",
        "\u{a0}",
        "\u{1}",
        "é",
        "{\"k\":",
        "[1,",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

pub(crate) fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn accepts_what_serde_json_accepts(text in soup()) {
        let expected = serde_json::from_str::<&RawValue>(&text).is_ok();
        prop_assert_eq!(scan(&text, 100).is_ok(), expected, "{}", text);
    }

    #[test]
    fn accepts_what_serde_json_accepts_of_damaged_json(
        value in json(), pretty in any::<bool>(), at in any::<prop::sample::Index>(),
        with in prop::option::of(any::<char>()),
    ) {
        let text = if pretty {
            serde_json::to_string_pretty(&value).unwrap()
        } else {
            value.to_string()
        };
        prop_assert!(scan(&text, 100).is_ok());
        let mut characters: Vec<char> = text.chars().collect();
        let at = at.index(characters.len());
        match with {
            Some(character) => characters[at] = character,
            None => { characters.remove(at); }
        }
        let damaged: String = characters.into_iter().collect();
        let expected = serde_json::from_str::<&RawValue>(&damaged).is_ok();
        prop_assert_eq!(scan(&damaged, 100).is_ok(), expected, "{}", damaged);
    }

    #[test]
    fn any_text_is_survived(text in any::<String>()) {
        let _ = scan(&text, 3);
    }
}
