//! What the destinations that speak of people and events have in common: names, ids in the form
//! each vendor wants, and answers that are about single messages.

use crate::config::{Config, Field, FieldKind};
use crate::digest::sha256_hex;
use crate::message::{Message, MessageKind};
use crate::outcome::{Outcome, Reply, RequestPlan};
use serde_json::{Map, Value};

/// Base URL instead of the vendor's own.
pub const ENDPOINT: Field = Field::new(
    "endpoint",
    FieldKind::Url,
    "Base URL instead of the vendor's own, for a proxy or a gateway in between.",
);

/// The base URL: `endpoint` when given, otherwise the host of the `region`; without a slash at
/// the end.
pub fn base_url(config: &Config, hosts: &[(&str, &str)]) -> String {
    let region = config.required("region");
    let host = hosts
        .iter()
        .find(|(name, _)| *name == region)
        .or(hosts.first())
        .map_or("", |(_, url)| url);
    let url = config.text("endpoint").unwrap_or_else(|| host.to_string());
    url.trim_end_matches('/').to_string()
}

/// True for messages that set traits of a person.
pub fn sets_traits(kind: MessageKind) -> bool {
    matches!(
        kind,
        MessageKind::Identify | MessageKind::TraitChanged | MessageKind::ScoreChanged
    )
}

/// For messages about an audience: its key and whether the person is in it now.
pub fn audience(message: &Message) -> Option<(String, bool)> {
    let entered = match message.kind {
        MessageKind::AudienceEntered => true,
        MessageKind::AudienceExited => false,
        _ => return None,
    };
    Some((message.audience_key()?, entered))
}

/// Name of the event that a message is to an events API: the event of a `track`; `Viewed X Page`
/// and `Viewed X Screen`; None for what is not an event.
pub fn event_name(message: &Message) -> Option<String> {
    let viewed = |what: &str| match message.text(&["name"]) {
        Some(name) => format!("Viewed {name} {what}"),
        None => format!("Viewed {what}"),
    };
    match message.kind {
        MessageKind::Track => message.text(&["event"]),
        MessageKind::Page => Some(viewed("Page")),
        MessageKind::Screen => Some(viewed("Screen")),
        MessageKind::AudienceEntered => Some("Audience Entered".to_string()),
        MessageKind::AudienceExited => Some("Audience Exited".to_string()),
        _ => None,
    }
}

/// `properties`, with name and category of a page or screen.
pub fn event_properties(message: &Message) -> Map<String, Value> {
    let mut properties = message.properties();
    if matches!(message.kind, MessageKind::Page | MessageKind::Screen) {
        for key in ["name", "category"] {
            if let Some(value) = message.at(&[key]) {
                properties
                    .entry(key.to_string())
                    .or_insert_with(|| value.clone());
            }
        }
    }
    properties
}

/// The object without its nulls.
pub fn without_nulls(object: Map<String, Value>) -> Map<String, Value> {
    object
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .collect()
}

/// Values in place of objects and arrays: their JSON, for vendors that take scalars only.
pub fn flat(object: Map<String, Value>) -> Map<String, Value> {
    object
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| match value {
            Value::Object(_) | Value::Array(_) => {
                let text = value.to_string();
                (key, Value::String(text))
            }
            scalar => (key, scalar),
        })
        .collect()
}

/// Copies values from paths of the message to keys of an object, where they are.
pub fn copy(message: &Message, object: &mut Map<String, Value>, pairs: &[(&str, &[&str])]) {
    for (key, path) in pairs {
        if let Some(value) = message.at(path) {
            object.insert((*key).to_string(), value.clone());
        }
    }
}

/// The id itself when it has at most `longest` characters of `A-Z a-z 0-9 -`, otherwise a digest
/// of it: the same on every attempt.
pub fn plain_id(id: &str, longest: usize) -> String {
    let plain = !id.is_empty()
        && id.len() <= longest
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if plain {
        id.to_string()
    } else {
        sha256_hex(id).chars().take(longest).collect()
    }
}

/// The id itself when it is a UUID, otherwise a UUID (version 8) made of its digest.
pub fn uuid(id: &str) -> String {
    let lower = id.to_ascii_lowercase();
    let shape: String = lower
        .chars()
        .map(|c| if c.is_ascii_hexdigit() { 'x' } else { c })
        .collect();
    if shape == "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx" {
        return lower;
    }
    let hex: Vec<char> = sha256_hex(id).chars().collect();
    let mut text = String::with_capacity(36);
    for (position, digit) in hex.iter().take(32).enumerate() {
        if matches!(position, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(match position {
            12 => '8',
            16 => ['8', '9', 'a', 'b'][digit.to_digit(16).unwrap_or(0) as usize % 4],
            _ => *digit,
        });
    }
    text
}

/// For systems that hold known people only: somebody without the id it goes by is nothing to
/// send. Only a deletion that cannot be carried out must not pass unnoticed.
pub fn unknown_person(message: &Message, what: &str) -> Outcome {
    let reason = format!("the person has no {what}");
    match message.kind {
        MessageKind::Delete => Outcome::reject(reason),
        _ => Outcome::discard(reason),
    }
}

/// Reads an answer that names the messages it refuses by their position in the request: those
/// get the outcome of `refused`, the others are delivered.
pub fn partial(plan: &RequestPlan, mut refused: impl FnMut(usize) -> Option<Outcome>) -> Reply {
    Reply {
        settled: plan
            .messages
            .iter()
            .enumerate()
            .map(|(position, index)| (*index, refused(position).unwrap_or(Outcome::Delivered)))
            .collect(),
        ..Reply::default()
    }
}

/// An answer that refuses a whole request for the sake of one message: a request with several is
/// sent again in halves, until the culprit is alone.
pub fn isolate(plan: &RequestPlan, outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Reject { .. } if plan.messages.len() > 1 => Reply::all(plan, Outcome::SplitBatch),
        outcome => Reply::all(plan, outcome),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_vendors_want() {
        let known = "0196B1A2-0000-7000-8000-000000000001";
        assert_eq!(uuid(known), known.to_lowercase());
        let made = uuid("order 7");
        assert_eq!(made, uuid("order 7"));
        assert_eq!((made.len(), &made[14..15]), (36, "8"));
        assert!("89ab".contains(&made[19..20]));
        assert_ne!(made, uuid("order 8"));
        assert_eq!(plain_id("abc-1", 36), "abc-1");
        assert_eq!(plain_id("abc_1", 36).len(), 36);
        assert_eq!(plain_id(&"a".repeat(37), 36).len(), 36);
    }
}
