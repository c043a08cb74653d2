//! The properties of events, as expressions see them.

use crate::ingest::stored;
use crate::pg::spi::Rows;
use cdp_message::{Document, Raw, RawKind};
use cdp_value::{Decimal, Value};
use std::collections::BTreeSet;

/// What expressions see as the properties of a stored message, whose columns properties, name and category start with
/// `first`: those it came with, and a page's or screen's name and category where the properties do not have their own.
pub fn of_row(row: &Rows, first: usize) -> Value {
    page_of(row, first, stored::value(row, first))
}

/// As [`of_row`], with no more of the members than those of the given names, which are in order.
pub fn some_of_row(row: &Rows, first: usize, names: &[String]) -> Value {
    let read = row.jsonb(first, |jsonb| jsonb.members(names)).flatten();
    page_of(row, first, read.or_else(|| stored::value(row, first)))
}

/// What a path leads to in the properties of a stored message, the name and category of a page aside.
pub fn at_path(row: &Rows, column: usize, path: &[String]) -> Value {
    let found = row.jsonb(column, |jsonb| jsonb.lookup(path)).flatten().or_else(|| {
        let properties = stored::value(row, column)?;
        cdp_expr::lookup(&properties, path).cloned()
    });
    found.unwrap_or(Value::Null)
}

fn page_of(row: &Rows, first: usize, properties: Option<Value>) -> Value {
    let (name, category) = (row.optional_text(first + 1), row.optional_text(first + 2));
    with_page(properties, name.as_deref(), category.as_deref())
}

fn with_page(properties: Option<Value>, name: Option<&str>, category: Option<&str>) -> Value {
    let mut value = properties.unwrap_or_else(|| Value::Object(Vec::new()));
    if let Value::Object(members) = &mut value {
        for (key, text) in [("name", name), ("category", category)] {
            if let (Some(text), Err(at)) = (text, members.binary_search_by(|m| m.0.as_str().cmp(key))) {
                members.insert(at, (key.to_string(), Value::Text(text.to_string())));
            }
        }
    }
    value
}

/// What expressions see as the properties of a message that just came, with the wanted members only: the others are not
/// even parsed.
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
