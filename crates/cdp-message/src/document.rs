//! A JSON object that keeps its own text.

use crate::error::{ErrorCode, MessageError};
use crate::limits::Limits;
use crate::scan::{Problem, Raw, RawKind, Scanner};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

/// A JSON object as the client wrote it, known to be storable as `jsonb`.
///
/// The text is what goes to the database; a tree is built only when somebody asks for it.
#[derive(Clone)]
pub struct Document {
    text: Box<str>,
    value: OnceCell<Value>,
}

impl Document {
    /// Checks and keeps the text of a JSON object. `field` names it in errors.
    pub fn parse(
        text: &str,
        field: &'static str,
        limits: &Limits,
    ) -> Result<Document, MessageError> {
        let mut scanner = Scanner::new(text, limits.effective_nesting());
        let raw = match scanner.value() {
            Ok(raw) if scanner.at_end() => raw,
            Ok(_) => {
                return Err(syntax_error(
                    field,
                    text,
                    scanner.error("nothing after the value"),
                ))
            }
            Err(error) => return Err(syntax_error(field, text, error)),
        };
        if let Some((problem, at)) = scanner.take_problem() {
            return Err(problem_error(field, text, problem, at, limits));
        }
        if raw.kind() != RawKind::Object {
            return Err(wrong_type(field, raw, "an object"));
        }
        Ok(Document::from_checked(raw.text))
    }

    /// Keeps a text that the scanner has already been over.
    pub(crate) fn from_checked(text: impl Into<Box<str>>) -> Document {
        Document {
            text: text.into(),
            value: OnceCell::new(),
        }
    }

    /// The text of the object.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The object as a tree; built at the first call. The last of duplicate keys wins, as in
    /// `jsonb`.
    pub fn value(&self) -> &Value {
        self.value.get_or_init(|| {
            let mut scanner = Scanner::new(&self.text, usize::MAX);
            build(&mut scanner).unwrap_or(Value::Null)
        })
    }

    /// The value at a path of keys with dots between them; a key that itself holds dots is found
    /// too.
    pub fn get(&self, path: &str) -> Option<&Value> {
        get_in(self.value(), path)
    }

    /// The members of the object in the order of the text.
    pub fn members(&self) -> Members<'_> {
        members(Raw { text: &self.text })
    }

    /// The text of the value at a path, without building the tree.
    pub fn raw(&self, path: &str) -> Option<Raw<'_>> {
        raw_in(Raw { text: &self.text }, path)
    }

    /// Whether the object has no members.
    pub fn is_empty(&self) -> bool {
        self.members().next().is_none()
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Document) -> bool {
        self.text == other.text
    }
}

/// Builds the tree of the value at which the scanner stands. serde_json's own reader is not used
/// because it stops at 128 levels and gives some keys a meaning of their own. The recursion is
/// bounded by the nesting that was allowed when the text was checked.
fn build(scanner: &mut Scanner<'_>) -> Option<Value> {
    scanner.skip_space();
    match scanner.peek() {
        Some(b'{') => {
            let mut object = Map::new();
            let mut more = scanner.enter_object().ok()?;
            while more {
                let key = decode(scanner.key().ok()?).into_owned();
                object.insert(key, build(scanner)?);
                more = scanner.next_member().ok()?;
            }
            Some(Value::Object(object))
        }
        Some(b'[') => {
            let mut array = Vec::new();
            let mut more = scanner.enter_array().ok()?;
            while more {
                array.push(build(scanner)?);
                more = scanner.next_element().ok()?;
            }
            Some(Value::Array(array))
        }
        _ => {
            let raw = scanner.value().ok()?;
            match raw.kind() {
                RawKind::String => Some(Value::String(string_content(raw)?.into_owned())),
                RawKind::Number => raw.text.parse().ok().map(Value::Number),
                RawKind::Bool => Some(Value::Bool(raw.text == "true")),
                _ => Some(Value::Null),
            }
        }
    }
}

fn get_in<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if let Some(found) = value.get(path) {
        return Some(found);
    }
    path.match_indices('.').find_map(|(dot, _)| {
        let (key, rest) = path.split_at_checked(dot)?;
        get_in(value.get(key)?, rest.get(1..)?)
    })
}

pub(crate) fn raw_in<'a>(value: Raw<'a>, path: &str) -> Option<Raw<'a>> {
    let member = |key: &str| {
        members(value)
            .filter(|(found, _)| found == key)
            .last()
            .map(|(_, raw)| raw)
    };
    if let Some(found) = member(path) {
        return Some(found);
    }
    path.match_indices('.').find_map(|(dot, _)| {
        let (key, rest) = path.split_at_checked(dot)?;
        raw_in(member(key)?, rest.get(1..)?)
    })
}

impl Raw<'_> {
    /// The value as a tree; null when the text is not JSON.
    pub fn value(self) -> Value {
        build(&mut Scanner::new(self.text, usize::MAX)).unwrap_or(Value::Null)
    }
}

/// Walks over the members of an object, or over nothing when the value is not one. The text must
/// be JSON; if it is not, the walk ends early.
pub fn members(object: Raw<'_>) -> Members<'_> {
    let mut scanner = Scanner::new(object.text, usize::MAX);
    let more = scanner.enter_object().unwrap_or(false);
    Members { scanner, more }
}

/// See [`members`].
pub struct Members<'a> {
    scanner: Scanner<'a>,
    more: bool,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Raw<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if !self.more {
            return None;
        }
        self.more = false;
        let key = decode(self.scanner.key().ok()?);
        let value = self.scanner.value().ok()?;
        self.more = self.scanner.next_member().unwrap_or(false);
        Some((key, value))
    }
}

/// Walks over the elements of an array, or over nothing when the value is not one.
pub(crate) fn elements<'a>(array: Raw<'a>) -> impl Iterator<Item = Raw<'a>> {
    let mut scanner = Scanner::new(array.text, usize::MAX);
    let mut more = scanner.enter_array().unwrap_or(false);
    std::iter::from_fn(move || {
        if !more {
            return None;
        }
        let value = scanner.value().ok();
        more = value.is_some() && scanner.next_element().unwrap_or(false);
        value
    })
}

/// The text that stands between the quotes of a JSON string, with its escapes resolved.
pub(crate) fn decode(inner: &str) -> Cow<'_, str> {
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    match serde_json::from_str::<String>(&format!("\"{inner}\"")) {
        Ok(decoded) => Cow::Owned(decoded),
        // Half a surrogate pair: the message is refused for it elsewhere.
        Err(_) => Cow::Borrowed(inner),
    }
}

/// The content of a JSON string; None when the value is not one.
pub(crate) fn string_content<'a>(raw: Raw<'a>) -> Option<Cow<'a, str>> {
    let inner = raw.text.strip_prefix('"')?.strip_suffix('"')?;
    Some(decode(inner))
}

/// The object with the members of `base` that `object` does not have, in front of its own.
pub(crate) fn merge(base: &str, object: &str) -> String {
    let own: Vec<_> = members(Raw { text: object }).map(|(key, _)| key).collect();
    let mut merged = String::with_capacity(base.len() + object.len());
    merged.push('{');
    let base_members: Vec<_> = members(Raw { text: base }).collect();
    for (index, (key, value)) in base_members.iter().enumerate() {
        let later = base_members.iter().skip(index + 1);
        if own.contains(key) || later.into_iter().any(|(other, _)| other == key) {
            continue;
        }
        push_member(&mut merged, key, value.text);
    }
    let rest = object.trim_start().strip_prefix('{').unwrap_or("}");
    if merged.len() > 1 && !own.is_empty() {
        merged.push(',');
    }
    merged.push_str(rest);
    merged
}

/// Appends `"key":value` to the text of an object that is being written.
pub(crate) fn push_member(object: &mut String, key: &str, value: &str) {
    if object.len() > 1 {
        object.push(',');
    }
    object.push_str(&Value::String(key.to_owned()).to_string());
    object.push(':');
    object.push_str(value);
}

/// The error for text that is not JSON.
pub(crate) fn syntax_error(
    field: &'static str,
    text: &str,
    error: crate::scan::SyntaxError,
) -> MessageError {
    let before = text.get(..error.at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    // A little of what stands before the place helps to find it.
    let from = before.char_indices().rev().nth(19).map_or(0, |(at, _)| at);
    MessageError::new(
        ErrorCode::InvalidJson,
        field,
        text.get(from..).unwrap_or(""),
        format!(
            "invalid JSON at line {line}, column {column}: expected {}",
            error.expected
        ),
        "Send one JSON object, an array of them, {\"batch\": [...]}, or one object per line.",
    )
}

/// The error for JSON that the database cannot store.
pub(crate) fn problem_error(
    field: &'static str,
    text: &str,
    problem: Problem,
    at: usize,
    limits: &Limits,
) -> MessageError {
    let value = text.get(at..).unwrap_or("");
    let (code, message, hint) = match problem {
        Problem::Nul => (
            ErrorCode::NulCharacter,
            "a string holds the NUL character (\\u0000), which PostgreSQL cannot store".to_owned(),
            "Remove the NUL characters before sending.",
        ),
        Problem::LoneSurrogate => (
            ErrorCode::InvalidUnicode,
            "a string holds half of a surrogate pair, which is not Unicode text".to_owned(),
            "Send both halves (\\ud83d\\ude00) or the character itself; texts are often cut in \
             the middle of an emoji.",
        ),
        Problem::TooDeep => (
            ErrorCode::TooDeep,
            format!(
                "objects and arrays are nested deeper than {} levels",
                limits.effective_nesting()
            ),
            "Send flatter objects, or the inner part as text.",
        ),
        Problem::NumberOutOfRange => (
            ErrorCode::NumberOutOfRange,
            "a number is beyond the range of numeric".to_owned(),
            "At most 131072 digits before and 16383 after the decimal point; send such a value \
             as text.",
        ),
    };
    MessageError::new(code, field, value, message, hint)
}

/// The error for a field of the wrong JSON type.
pub(crate) fn wrong_type(field: &'static str, raw: Raw<'_>, expected: &str) -> MessageError {
    MessageError::new(
        ErrorCode::WrongType,
        field,
        raw.text,
        format!("{field} must be {expected}, not {}", raw.kind().name()),
        "See the fields of the call in the Segment spec.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::tests::json;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    fn document(text: &str) -> Document {
        Document::parse(text, "properties", &Limits::default()).unwrap()
    }

    #[test]
    fn the_text_is_kept_and_the_last_duplicate_wins() {
        let text = r#"{"total": 10.50, "a":1, "big":123456789012345678901234567890.10, "a" : 2}"#;
        let document = document(&format!("  {text}\n"));
        assert_eq!(document.text(), text);
        assert_eq!(document.get("a"), Some(&Value::from(2)));
        assert_eq!(document.raw("a").unwrap().text, "2");
        assert_eq!(document.get("total").unwrap().to_string(), "10.50");
    }

    #[test]
    fn paths_lead_into_objects_and_through_dotted_keys() {
        let document = document(r#"{"a":{"b.c":{"d":1},"x":[{"y":2}]},"e.f":3,"g":"h"}"#);
        for (path, found) in [
            ("a.b.c.d", Some("1")),
            ("e.f", Some("3")),
            ("g", Some("\"h\"")),
            ("a.x.y", None),
            ("a.b", None),
            ("g.h", None),
            ("", None),
            (".", None),
        ] {
            let value = document.get(path).map(ToString::to_string);
            assert_eq!(value.as_deref(), found, "{path}");
            assert_eq!(document.raw(path).map(|raw| raw.text), found, "{path}");
        }
    }

    #[test]
    fn nesting_up_to_the_limit_can_be_read() {
        let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        let deep = document(&nested(200));
        assert!(deep.value().is_object());
        let error = Document::parse(&nested(201), "properties", &Limits::default()).unwrap_err();
        assert_eq!(error.code, ErrorCode::TooDeep);
        let limits = Limits {
            nesting: 5000,
            ..Limits::default()
        };
        assert!(Document::parse(&nested(1000), "traits", &limits)
            .unwrap()
            .value()
            .is_object());
        assert!(Document::parse(&nested(1001), "traits", &limits).is_err());
    }

    #[test]
    fn only_objects_are_documents() {
        for (text, code) in [
            ("[]", ErrorCode::WrongType),
            ("\"x\"", ErrorCode::WrongType),
            ("{", ErrorCode::InvalidJson),
            ("{} {}", ErrorCode::InvalidJson),
            ("", ErrorCode::InvalidJson),
            (r#"{"a":"\u0000"}"#, ErrorCode::NulCharacter),
            (r#"{"a":"\ud800"}"#, ErrorCode::InvalidUnicode),
            (r#"{"a":1e999999}"#, ErrorCode::NumberOutOfRange),
        ] {
            let error = Document::parse(text, "properties", &Limits::default()).unwrap_err();
            assert_eq!(error.code, code, "{text}");
            assert_eq!(error.field, "properties");
        }
    }

    #[test]
    fn keys_that_mean_something_to_serde_json_mean_nothing_here() {
        let document = document(r#"{"a":{"$serde_json::private::Number":"x"}}"#);
        assert!(document.get("a").unwrap().is_object());
    }

    #[test]
    fn merging_keeps_the_objects_own_members() {
        for (base, own, merged) in [
            ("{}", "{}", "{}"),
            (r#"{"a":1}"#, "{ }", r#"{"a":1 }"#),
            ("{}", r#"{"b":1}"#, r#"{"b":1}"#),
            (r#"{"a":1,"b":2}"#, r#"{"b":null}"#, r#"{"a":1,"b":null}"#),
            (r#"{"a":1,"a":3}"#, r#"{"b":2}"#, r#"{"a":3,"b":2}"#),
            (r#"{"\u0061":1}"#, r#"{"a":2}"#, r#"{"a":2}"#),
            (r#"{"q\"\n":1}"#, r#"{"b":2}"#, r#"{"q\"\n":1,"b":2}"#),
        ] {
            assert_eq!(merge(base, own), merged);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, rng_seed: RngSeed::Fixed(12), ..ProptestConfig::default() })]

        #[test]
        fn the_tree_is_the_one_serde_json_builds(value in json(), pretty in any::<bool>()) {
            let wrapped = serde_json::json!({ "v": value });
            let text = if pretty {
                serde_json::to_string_pretty(&wrapped).unwrap()
            } else {
                wrapped.to_string()
            };
            if let Ok(document) = Document::parse(&text, "properties", &Limits::default()) {
                prop_assert_eq!(document.value(), &serde_json::from_str::<Value>(&text).unwrap());
            } else {
                // The only thing a generated value can hold that cannot be stored.
                prop_assert!(text.contains("\\u0000"));
            }
        }

        #[test]
        fn merging_is_that_of_maps(a in json(), b in json(), c in json()) {
            let base = serde_json::json!({ "x": a, "y": b });
            let own = serde_json::json!({ "y": c, "z": a });
            let mut expected = base.as_object().unwrap().clone();
            expected.extend(own.as_object().unwrap().clone());
            let merged: Value = serde_json::from_str(&merge(&base.to_string(), &own.to_string())).unwrap();
            prop_assert_eq!(merged, Value::Object(expected));
        }
    }
}
