//! The fields of a message, found by name in the JSON text but not yet interpreted.

use crate::document::{decode, string_content, wrong_type};
use crate::error::{ErrorCode, MessageError};
use crate::scan::{Raw, RawKind, Scanner, SyntaxError};
use std::borrow::Cow;

/// The fields that a message or a batch may have. Everything else is ignored, as in the spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Type,
    UserId,
    AnonymousId,
    PreviousId,
    PreviousIds,
    GroupId,
    DeviceId,
    ExternalId,
    Email,
    EmailHash,
    Event,
    Name,
    Category,
    Properties,
    Traits,
    Context,
    Integrations,
    MessageId,
    Timestamp,
    OriginalTimestamp,
    SentAt,
    ReceivedAt,
    Batch,
}

const COUNT: usize = Field::Batch as usize + 1;

impl Field {
    /// The name in the spec's snake_case, as errors show it.
    pub fn name(self) -> &'static str {
        match self {
            Field::Type => "type",
            Field::UserId => "user_id",
            Field::AnonymousId => "anonymous_id",
            Field::PreviousId => "previous_id",
            Field::PreviousIds => "previous_ids",
            Field::GroupId => "group_id",
            Field::DeviceId => "device_id",
            Field::ExternalId => "external_id",
            Field::Email => "email",
            Field::EmailHash => "email_hash",
            Field::Event => "event",
            Field::Name => "name",
            Field::Category => "category",
            Field::Properties => "properties",
            Field::Traits => "traits",
            Field::Context => "context",
            Field::Integrations => "integrations",
            Field::MessageId => "message_id",
            Field::Timestamp => "timestamp",
            Field::OriginalTimestamp => "original_timestamp",
            Field::SentAt => "sent_at",
            Field::ReceivedAt => "received_at",
            Field::Batch => "batch",
        }
    }

    /// The field that a key names: the spec's camelCase, its snake_case, and the few names that
    /// older clients use (`user_email`, `props`, `ts`). Grouped by length, because this runs for
    /// every key of every message.
    pub fn of_key(key: &str) -> Option<Field> {
        let field = match key.len() {
            2 if key == "ts" => Field::Timestamp,
            4 => match key {
                "type" => Field::Type,
                "name" => Field::Name,
                _ => return None,
            },
            5 => match key {
                "event" => Field::Event,
                "email" => Field::Email,
                "props" => Field::Properties,
                "batch" => Field::Batch,
                _ => return None,
            },
            6 => match key {
                "userId" => Field::UserId,
                "traits" => Field::Traits,
                "sentAt" => Field::SentAt,
                _ => return None,
            },
            7 => match key {
                "user_id" => Field::UserId,
                "context" => Field::Context,
                "groupId" => Field::GroupId,
                "sent_at" => Field::SentAt,
                _ => return None,
            },
            8 => match key {
                "category" => Field::Category,
                "group_id" => Field::GroupId,
                "deviceId" => Field::DeviceId,
                _ => return None,
            },
            9 => match key {
                "messageId" => Field::MessageId,
                "timestamp" => Field::Timestamp,
                "device_id" => Field::DeviceId,
                "emailHash" => Field::EmailHash,
                "userEmail" => Field::Email,
                _ => return None,
            },
            10 => match key {
                "properties" => Field::Properties,
                "message_id" => Field::MessageId,
                "previousId" => Field::PreviousId,
                "receivedAt" => Field::ReceivedAt,
                "externalId" => Field::ExternalId,
                "email_hash" => Field::EmailHash,
                "user_email" => Field::Email,
                _ => return None,
            },
            11 => match key {
                "anonymousId" => Field::AnonymousId,
                "previous_id" => Field::PreviousId,
                "previousIds" => Field::PreviousIds,
                "received_at" => Field::ReceivedAt,
                "external_id" => Field::ExternalId,
                _ => return None,
            },
            12 => match key {
                "anonymous_id" => Field::AnonymousId,
                "integrations" => Field::Integrations,
                "previous_ids" => Field::PreviousIds,
                _ => return None,
            },
            17 if key == "originalTimestamp" => Field::OriginalTimestamp,
            18 if key == "original_timestamp" => Field::OriginalTimestamp,
            _ => return None,
        };
        Some(field)
    }
}

/// The fields of one object, as pieces of its text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawFields<'a> {
    /// Per field, the key that was used and its value; null counts as absent.
    values: [Option<(&'a str, Raw<'a>)>; COUNT],
    /// A field that was given under two names with two values.
    conflict: Option<(Field, Raw<'a>)>,
}

impl<'a> RawFields<'a> {
    /// Reads the object at which the scanner stands, to its end.
    pub fn read(scanner: &mut Scanner<'a>) -> Result<RawFields<'a>, SyntaxError> {
        let mut fields = RawFields {
            values: [None; COUNT],
            conflict: None,
        };
        let mut more = scanner.enter_object()?;
        while more {
            let key = scanner.key()?;
            let value = scanner.value()?;
            let field = if key.contains('\\') {
                Field::of_key(&decode(key))
            } else {
                Field::of_key(key)
            };
            if let Some(field) = field {
                fields.set(field, key, value);
            }
            more = scanner.next_member()?;
        }
        Ok(fields)
    }

    fn set(&mut self, field: Field, key: &'a str, value: Raw<'a>) {
        let Some(slot) = self.values.get_mut(field as usize) else {
            return;
        };
        match *slot {
            // Of duplicate keys the last one wins, as in jsonb.
            Some((earlier, _)) if earlier == key => *slot = Some((key, value)),
            Some((_, earlier)) if earlier.kind() != RawKind::Null => {
                if value.kind() != RawKind::Null && value.text != earlier.text {
                    self.conflict.get_or_insert((field, value));
                }
            }
            _ => *slot = Some((key, value)),
        }
    }

    /// The value of a field; None when it is absent or null.
    pub fn get(&self, field: Field) -> Option<Raw<'a>> {
        let (_, raw) = (*self.values.get(field as usize)?)?;
        (raw.kind() != RawKind::Null).then_some(raw)
    }

    /// The name of the field whose value holds a byte of the object's text; empty when none does.
    pub fn name_at(&self, object: &str, at: usize) -> &'static str {
        let place = object.as_ptr() as usize + at;
        self.values
            .iter()
            .flatten()
            .find(|(_, raw)| {
                let start = raw.text.as_ptr() as usize;
                (start..start + raw.text.len()).contains(&place)
            })
            .and_then(|(key, _)| Field::of_key(&decode(key)))
            .map_or("", Field::name)
    }

    /// Refuses a field that was given under two names with two values.
    pub fn check_conflict(&self) -> Result<(), MessageError> {
        match self.conflict {
            None => Ok(()),
            Some((field, value)) => Err(MessageError::new(
                ErrorCode::ConflictingFields,
                field.name(),
                value.text,
                format!("{} is given under two names with two values", field.name()),
                "Send each field once, in camelCase or in snake_case.",
            )),
        }
    }

    /// A text field. Numbers become text where `numbers` says so, as the spec's servers do for
    /// ids. Blank text counts as absent.
    pub fn text(&self, field: Field, numbers: bool) -> Result<Option<Cow<'a, str>>, MessageError> {
        let Some(raw) = self.get(field) else {
            return Ok(None);
        };
        match text_of(raw, numbers) {
            Some(text) if text.trim().is_empty() => Ok(None),
            Some(text) => Ok(Some(text)),
            None if numbers => Err(wrong_type(field.name(), raw, "a string or a number")),
            None => Err(wrong_type(field.name(), raw, "a string")),
        }
    }
}

/// The text of a string, or of a number where `numbers` says so.
pub(crate) fn text_of(raw: Raw<'_>, numbers: bool) -> Option<Cow<'_, str>> {
    match raw.kind() {
        RawKind::String => string_content(raw),
        RawKind::Number if numbers => Some(Cow::Borrowed(raw.text)),
        _ => None,
    }
}
