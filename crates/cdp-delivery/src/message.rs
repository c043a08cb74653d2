//! What is delivered: one message to one destination.

use crate::path;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

/// What a message means. The body of the derived kinds is an ordinary call of the spec:
/// a trait or score change is an `identify`, an audience change a `track`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MessageKind {
    Track,
    Identify,
    Page,
    Screen,
    Group,
    Alias,
    /// The person asked to be forgotten: the destination deletes what it holds.
    Delete,
    /// The person came into the segment `properties.audience_key`.
    AudienceEntered,
    /// The person left the segment `properties.audience_key`.
    AudienceExited,
    /// A computed trait changed; its new value is in `traits`.
    TraitChanged,
    /// A score changed; its new parts are in `traits`.
    ScoreChanged,
}

impl MessageKind {
    /// Every kind, in a stable order.
    pub const ALL: [MessageKind; 11] = [
        MessageKind::Track,
        MessageKind::Identify,
        MessageKind::Page,
        MessageKind::Screen,
        MessageKind::Group,
        MessageKind::Alias,
        MessageKind::Delete,
        MessageKind::AudienceEntered,
        MessageKind::AudienceExited,
        MessageKind::TraitChanged,
        MessageKind::ScoreChanged,
    ];

    /// The name used in the database, in configurations and in documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageKind::Track => "track",
            MessageKind::Identify => "identify",
            MessageKind::Page => "page",
            MessageKind::Screen => "screen",
            MessageKind::Group => "group",
            MessageKind::Alias => "alias",
            MessageKind::Delete => "delete",
            MessageKind::AudienceEntered => "audience_entered",
            MessageKind::AudienceExited => "audience_exited",
            MessageKind::TraitChanged => "trait_changed",
            MessageKind::ScoreChanged => "score_changed",
        }
    }

    /// The inverse of [`MessageKind::as_str`].
    pub fn parse(text: &str) -> Option<MessageKind> {
        MessageKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// One message for one destination.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Idempotency key: the same on every attempt, also sent as `webhook-id`.
    pub id: String,
    /// Messages of one profile are sent in the order of the batch.
    pub profile_id: i64,
    pub kind: MessageKind,
    /// The message in the spec's camelCase JSON, after the route's mapping.
    pub body: Value,
    /// Sent again by `cdp.replay`: channels that people read refuse it unless told otherwise.
    pub replay: bool,
    /// 1 for the first attempt.
    pub attempt: u32,
}

impl Message {
    /// The value at a path of object keys, if it is there and not null.
    pub fn at(&self, keys: &[&str]) -> Option<&Value> {
        path::keys(&self.body, keys)
    }

    /// The value at a path of object keys as text; numbers and booleans are written out.
    pub fn text(&self, keys: &[&str]) -> Option<String> {
        self.at(keys).and_then(scalar_text)
    }

    /// `userId`, when not empty.
    pub fn user_id(&self) -> Option<String> {
        self.text(&["userId"])
    }

    /// `anonymousId`, when not empty.
    pub fn anonymous_id(&self) -> Option<String> {
        self.text(&["anonymousId"])
    }

    /// `userId`, otherwise `anonymousId`.
    pub fn person_id(&self) -> Option<String> {
        self.user_id().or_else(|| self.anonymous_id())
    }

    /// Name of the event of a `track`, of the page or of the screen.
    pub fn event(&self) -> Option<String> {
        self.text(&["event"]).or_else(|| self.text(&["name"]))
    }

    /// `properties` as an object, empty when there are none.
    pub fn properties(&self) -> serde_json::Map<String, Value> {
        self.object(&["properties"])
    }

    /// `traits` of the message, otherwise `context.traits`; empty when there are none.
    pub fn traits(&self) -> serde_json::Map<String, Value> {
        let own = self.object(&["traits"]);
        if own.is_empty() {
            self.object(&["context", "traits"])
        } else {
            own
        }
    }

    fn object(&self, keys: &[&str]) -> serde_json::Map<String, Value> {
        self.at(keys)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    }

    /// A trait of the person: from `traits` (which are the group's in a `group` call),
    /// `context.traits` or `properties`, in this order.
    pub fn person_trait(&self, key: &str) -> Option<&Value> {
        let own = match self.kind {
            MessageKind::Group => None,
            _ => self.at(&["traits", key]),
        };
        own.or_else(|| self.at(&["context", "traits", key]))
            .or_else(|| self.at(&["properties", key]))
    }

    /// E-mail address of the person: the trait `email`, or a `userId` that looks like one.
    /// Trimmed and in lower case.
    pub fn email(&self) -> Option<String> {
        let found = match self.person_trait("email").and_then(scalar_text) {
            Some(text) => Some(text),
            None => self.user_id(),
        }?;
        let email = found.trim().to_lowercase();
        looks_like_email(&email).then_some(email)
    }

    /// Phone number of the person as sent.
    pub fn phone(&self) -> Option<String> {
        self.person_trait("phone").and_then(scalar_text)
    }

    /// Key of the segment of an audience message.
    pub fn audience_key(&self) -> Option<String> {
        self.text(&["properties", "audience_key"])
    }

    /// When it happened, in milliseconds since 1970, from `timestamp`, `originalTimestamp`,
    /// `receivedAt` or `sentAt`. It comes from the message so that every attempt sends the same.
    pub fn time_millis(&self) -> Option<i64> {
        ["timestamp", "originalTimestamp", "receivedAt", "sentAt"]
            .iter()
            .find_map(|key| self.at(&[key]).and_then(time_value))
    }

    /// [`Message::time_millis`] as RFC 3339 in UTC with milliseconds.
    pub fn time_text(&self) -> Option<String> {
        self.time_millis().and_then(millis_text)
    }
}

/// RFC 3339 in UTC with milliseconds; None outside the years chrono knows.
pub fn millis_text(millis: i64) -> Option<String> {
    DateTime::<Utc>::from_timestamp_millis(millis)
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Milliseconds since 1970 of an RFC 3339 text.
pub fn time_value(value: &Value) -> Option<i64> {
    DateTime::parse_from_rfc3339(value.as_str()?)
        .ok()
        .map(|time| time.timestamp_millis())
}

/// Text of a string, number or boolean; None for an empty string and for everything else.
pub fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A cheap sanity check, not a validation: something, one `@`, something with a dot.
pub fn looks_like_email(text: &str) -> bool {
    match text.split_once('@') {
        Some((local, domain)) => {
            !local.is_empty()
                && !domain.contains('@')
                && domain.contains('.')
                && !domain.starts_with('.')
                && !domain.ends_with('.')
                && !text.contains(char::is_whitespace)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(body: Value) -> Message {
        Message {
            id: "m".into(),
            profile_id: 1,
            kind: MessageKind::Track,
            body,
            replay: false,
            attempt: 1,
        }
    }

    #[test]
    fn kinds_round_trip() {
        for kind in MessageKind::ALL {
            assert_eq!(MessageKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(MessageKind::parse("nonsense"), None);
    }

    #[test]
    fn person_details_come_from_the_usual_places() {
        let m =
            message(json!({"userId": 7, "context": {"traits": {"email": " Ann@Example.com "}}}));
        assert_eq!(m.user_id().as_deref(), Some("7"));
        assert_eq!(m.email().as_deref(), Some("ann@example.com"));
        assert_eq!(
            message(json!({"userId": "a@b.co"})).email().as_deref(),
            Some("a@b.co")
        );
        assert_eq!(message(json!({"userId": "user_1"})).email(), None);
    }

    #[test]
    fn time_is_the_same_on_every_attempt() {
        let m = message(json!({"timestamp": "2026-01-02T03:04:05.678+02:00"}));
        assert_eq!(m.time_text().as_deref(), Some("2026-01-02T01:04:05.678Z"));
        assert_eq!(message(json!({})).time_millis(), None);
    }
}
