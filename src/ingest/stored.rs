//! From rows of the database back to what clients sent.

use super::append;
use crate::pg::spi::Rows;
use cdp_message::{Document, ExtractionRules, Identifier, Limits, Message, MessageType, NamedId};
use serde_json::Value;
use std::borrow::Cow;

/// A stored JSON text as a tree. serde's own reader is quick, but stops at 128 levels and gives some keys a
/// meaning of their own.
pub fn json(text: &str) -> Option<Value> {
    if !text.contains("$serde_json::private::") {
        if let Ok(value) = serde_json::from_str(text) {
            return Some(value);
        }
    }
    document(text).map(|document| document.value().clone())
}

/// The value of a jsonb column; None when it is null.
pub fn value(row: &Rows, column: usize) -> Option<cdp_value::Value> {
    let read = row.jsonb(column, |jsonb| jsonb.value())?;
    read.or_else(|| json(&row.optional_jsonb(column)?).map(|json| cdp_value::Value::from_json(&json)))
}

/// A stored JSON object.
fn document(text: &str) -> Option<Document> {
    let limits = Limits { nesting: Limits::MAX_NESTING, ..Limits::default() };
    Document::parse(text, "stored", &limits).ok()
}

/// Names of the columns that [`identifiers`] reads, in its order.
macro_rules! identifier_columns {
    () => {
        "e.type, e.user_id, e.anonymous_id, e.previous_id, e.other_ids, e.properties, e.context, e.integrations"
    };
}
pub(crate) use identifier_columns;

/// The identifiers that an event came with, from the columns [`identifier_columns`], of which `first` is the first.
pub fn identifiers(row: &Rows, first: usize, rules: &ExtractionRules) -> crate::error::Result<Vec<Identifier>> {
    let kind = append::type_of(row.i16(first)?);
    let documents = [5, 6, 7].map(|column| row.optional_jsonb(first + column).and_then(|text| document(&text)));
    let [own, context, integrations] = documents;
    let (properties, traits) = match kind {
        MessageType::Identify | MessageType::Group => (None, own),
        _ => (own, None),
    };
    let mut message = Message {
        kind,
        message_id: None,
        user_id: row.optional_text(first + 1),
        anonymous_id: row.optional_text(first + 2),
        previous_ids: row.optional_text(first + 3).into_iter().collect(),
        group_id: None,
        other_ids: Vec::new(),
        event: None,
        name: None,
        category: None,
        properties,
        traits,
        context,
        integrations,
        timestamp: 0,
        original_timestamp: None,
        sent_at: None,
        received_at: 0,
    };
    if let Some(Value::Object(others)) = row.optional_jsonb(first + 4).and_then(|text| json(&text)) {
        for (kind, values) in others {
            for value in values.as_array().into_iter().flatten().filter_map(Value::as_str) {
                if kind == PREVIOUS {
                    message.previous_ids.push(value.to_string());
                } else {
                    message.other_ids.push(NamedId { kind: Cow::Owned(kind.clone()), value: value.to_string() });
                }
            }
        }
    }
    Ok(cdp_message::identifiers(&message, rules))
}

const PREVIOUS: &str = "previous_id";

/// The identifiers of a message for which `_cdp.events` has no column, as JSON; None when there are none.
pub fn other_ids(message: &Message) -> Option<String> {
    let more = message.previous_ids.get(1..).unwrap_or_default();
    if message.other_ids.is_empty() && more.is_empty() {
        return None;
    }
    let mut others = serde_json::Map::new();
    let named = message.other_ids.iter().map(|id| (id.kind.as_ref(), id.value.as_str()));
    for (kind, value) in named.chain(more.iter().map(|id| (PREVIOUS, id.as_str()))) {
        let values = others.entry(kind).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(values) = values {
            values.push(Value::from(value));
        }
    }
    Some(Value::Object(others).to_string())
}
