//! The properties of events, as expressions see them.

use crate::ingest::stored;
use cdp_message::{Document, Raw, RawKind};
use cdp_value::{Decimal, Value};
use std::collections::BTreeSet;

/// Properties as a value; missing ones are an empty object.
pub fn parse(text: Option<&str>) -> Value {
    text.and_then(stored::json).map_or_else(|| Value::Object(Vec::new()), |json| Value::from_json(&json))
}

/// What expressions see as the properties of a message: those it came with, and a page's or screen's
/// name and category where the properties do not have their own.
pub fn of(properties: Option<&str>, name: Option<&str>, category: Option<&str>) -> Value {
    let mut value = parse(properties);
    if let Value::Object(members) = &mut value {
        for (key, text) in [("name", name), ("category", category)] {
            if let (Some(text), Err(at)) = (text, members.binary_search_by(|m| m.0.as_str().cmp(key))) {
                members.insert(at, (key.to_string(), Value::Text(text.to_string())));
            }
        }
    }
    value
}

/// As [`of`], with the wanted members only: the others are not even parsed.
pub fn some(
    wanted: &BTreeSet<String>,
    properties: Option<&Document>,
    name: Option<&str>,
    category: Option<&str>,
) -> Value {
    let mut members: Vec<(String, Value)> = Vec::new();
    if wanted.is_empty() {
        return Value::Object(members);
    }
    for (key, raw) in properties.into_iter().flat_map(Document::members).filter(|(key, _)| wanted.contains(&**key)) {
        // The last of duplicate keys wins.
        match members.iter_mut().find(|(known, _)| *known == key) {
            Some((_, value)) => *value = value_of(raw),
            None => members.push((key.into_owned(), value_of(raw))),
        }
    }
    for (key, text) in [("name", name), ("category", category)] {
        if let (Some(text), true) = (text, wanted.contains(key) && members.iter().all(|(known, _)| known != key)) {
            members.push((key.to_string(), Value::Text(text.to_string())));
        }
    }
    members.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(members)
}

fn value_of(raw: Raw) -> Value {
    match raw.kind() {
        RawKind::Number => Decimal::parse(raw.text).map_or(Value::Null, Value::Number),
        _ => Value::from_json(&raw.value()),
    }
}
