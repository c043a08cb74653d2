//! One message: its fields, and the rules that each call has to meet.

use crate::document::{elements, merge, wrong_type, Document};
use crate::error::{ErrorCode, MessageError};
use crate::fields::{text_of, Field, RawFields};
use crate::identifiers::may_identify;
use crate::limits::Limits;
use crate::message_type::MessageType;
use crate::scan::{Raw, RawKind};
use crate::timestamp::{check_range, parse_epoch, parse_timestamp, TimestampError};
use cdp_value::Timestamp;
use std::borrow::Cow;

/// A message that was read and found valid.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub kind: MessageType,
    /// As the client sent it; the caller makes one when it is absent.
    pub message_id: Option<String>,
    pub user_id: Option<String>,
    pub anonymous_id: Option<String>,
    /// Earlier ids of the same person: `previousId` of an alias call, and the `previousIds` that
    /// identity records carry.
    pub previous_ids: Vec<String>,
    pub group_id: Option<String>,
    /// Identifiers given by name outside the spec's fields: `email` (`user_email`),
    /// `email_hash`, `device_id`, `external_id`.
    pub other_ids: Vec<NamedId>,
    /// Name of a tracked event.
    pub event: Option<String>,
    /// Name of a page or a screen.
    pub name: Option<String>,
    /// Category of a page or a screen.
    pub category: Option<String>,
    pub properties: Option<Document>,
    /// Traits of the person, or of the group in a group call.
    pub traits: Option<Document>,
    pub context: Option<Document>,
    pub integrations: Option<Document>,
    /// When it happened, by our best knowledge: corrected for the client's clock, never later
    /// than `received_at`.
    pub timestamp: Timestamp,
    /// When it happened by the client's clock, if the client said so.
    pub original_timestamp: Option<Timestamp>,
    /// When the client sent it, by the client's clock.
    pub sent_at: Option<Timestamp>,
    /// When it arrived here.
    pub received_at: Timestamp,
}

/// An identifier and the name of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedId {
    pub kind: Cow<'static, str>,
    pub value: String,
}

impl Message {
    /// The `previousId` of an alias call.
    pub fn previous_id(&self) -> Option<&str> {
        self.previous_ids.first().map(String::as_str)
    }

    /// The name under which expressions see the message as an event: that of a track call,
    /// `Page Viewed` and `Screen Viewed` for those calls, nothing for the others.
    pub fn event_name(&self) -> Option<&str> {
        match self.kind {
            MessageType::Track => self.event.as_deref(),
            MessageType::Page => Some("Page Viewed"),
            MessageType::Screen => Some("Screen Viewed"),
            MessageType::Identify | MessageType::Group | MessageType::Alias => None,
        }
    }
}

/// The fields of a message that are already apart: arguments of a call, or a row of the inbox.
/// Blank text counts as absent. Documents are JSON text; `null` counts as absent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    /// Name of the call; without it the other fields decide.
    pub kind: Option<&'a str>,
    pub user_id: Option<&'a str>,
    pub anonymous_id: Option<&'a str>,
    pub previous_id: Option<&'a str>,
    pub group_id: Option<&'a str>,
    pub event: Option<&'a str>,
    pub name: Option<&'a str>,
    pub category: Option<&'a str>,
    pub properties: Option<&'a str>,
    pub traits: Option<&'a str>,
    pub context: Option<&'a str>,
    pub integrations: Option<&'a str>,
    pub timestamp: Option<Timestamp>,
    pub original_timestamp: Option<Timestamp>,
    pub sent_at: Option<Timestamp>,
    pub message_id: Option<&'a str>,
}

/// Makes a message from fields that are already apart.
pub fn from_fields(
    fields: &Fields<'_>,
    received_at: Timestamp,
    limits: &Limits,
) -> Result<Message, MessageError> {
    let documents = [
        fields.properties,
        fields.traits,
        fields.context,
        fields.integrations,
    ];
    let size = documents.iter().flatten().map(|text| text.len()).sum();
    check_size(size, limits)?;
    let text = |value: Option<&str>| value.filter(|t| !t.trim().is_empty()).map(str::to_owned);
    let document = |field: Field, value: Option<&str>| match value {
        Some(text) if text.trim() != "null" => {
            Document::parse(text, field.name(), limits).map(Some)
        }
        _ => Ok(None),
    };
    let kind = match fields.kind.map(str::trim) {
        None | Some("") => infer_type(Hints {
            event: fields.event.is_some(),
            traits: fields.traits.is_some(),
            group: fields.group_id.is_some(),
            previous: fields.previous_id.is_some(),
        })?,
        Some(name) => parse_type(name)?,
    };
    let times = Times {
        timestamp: checked(Field::Timestamp, fields.timestamp)?,
        original_timestamp: checked(Field::OriginalTimestamp, fields.original_timestamp)?,
        sent_at: checked(Field::SentAt, fields.sent_at)?,
        forwarded_at: None,
    };
    let (timestamp, original_timestamp) = times.resolve(received_at)?;
    let mut message = Message {
        kind,
        message_id: text(fields.message_id),
        user_id: text(fields.user_id),
        anonymous_id: text(fields.anonymous_id),
        previous_ids: text(fields.previous_id).into_iter().collect(),
        group_id: text(fields.group_id),
        other_ids: Vec::new(),
        event: text(fields.event),
        name: text(fields.name),
        category: text(fields.category),
        properties: document(Field::Properties, fields.properties)?,
        traits: document(Field::Traits, fields.traits)?,
        context: document(Field::Context, fields.context)?,
        integrations: document(Field::Integrations, fields.integrations)?,
        timestamp,
        original_timestamp,
        sent_at: times.sent_at,
        received_at,
    };
    validate(&mut message, limits)?;
    Ok(message)
}

fn checked(field: Field, time: Option<Timestamp>) -> Result<Option<Timestamp>, MessageError> {
    match time {
        None => Ok(None),
        Some(time) => match check_range(i128::from(time)) {
            Ok(time) => Ok(Some(time)),
            Err(error) => Err(timestamp_error(field, "", error)),
        },
    }
}

/// Makes a message from the fields of a JSON object. `base` holds what the batch around it gives.
pub(crate) fn from_raw(
    fields: &RawFields<'_>,
    base: &Base<'_>,
    received_at: Timestamp,
    limits: &Limits,
) -> Result<Message, MessageError> {
    fields.check_conflict()?;
    let id = |field: Field| -> Result<Option<String>, MessageError> {
        Ok(fields.text(field, true)?.map(Cow::into_owned))
    };
    let text = |field: Field| -> Result<Option<String>, MessageError> {
        Ok(fields.text(field, false)?.map(Cow::into_owned))
    };
    let kind = match fields.text(Field::Type, false)? {
        Some(name) => parse_type(&name)?,
        None => infer_type(Hints {
            event: fields.get(Field::Event).is_some(),
            traits: fields.get(Field::Traits).is_some(),
            group: fields.get(Field::GroupId).is_some(),
            previous: fields.get(Field::PreviousId).is_some(),
        })?,
    };
    let times = Times {
        timestamp: time(fields, Field::Timestamp)?,
        original_timestamp: time(fields, Field::OriginalTimestamp)?,
        sent_at: time(fields, Field::SentAt)?.or(base.sent_at),
        forwarded_at: time(fields, Field::ReceivedAt)?,
    };
    let (timestamp, original_timestamp) = times.resolve(received_at)?;
    let mut previous_ids = Vec::new();
    previous_ids.extend(id(Field::PreviousId)?);
    if let Some(raw) = fields.get(Field::PreviousIds) {
        add_previous_ids(&mut previous_ids, raw)?;
    }
    let mut other_ids = Vec::new();
    for field in [
        Field::Email,
        Field::EmailHash,
        Field::DeviceId,
        Field::ExternalId,
    ] {
        if let Some(value) = id(field)? {
            other_ids.push(NamedId {
                kind: Cow::Borrowed(field.name()),
                value,
            });
        }
    }
    let mut message = Message {
        kind,
        message_id: id(Field::MessageId)?,
        user_id: id(Field::UserId)?,
        anonymous_id: id(Field::AnonymousId)?,
        previous_ids,
        group_id: id(Field::GroupId)?,
        other_ids,
        event: text(Field::Event)?,
        name: text(Field::Name)?,
        category: text(Field::Category)?,
        properties: document(fields, Field::Properties, None)?,
        traits: document(fields, Field::Traits, None)?,
        context: document(fields, Field::Context, base.context)?,
        integrations: document(fields, Field::Integrations, base.integrations)?,
        timestamp,
        original_timestamp,
        sent_at: times.sent_at,
        received_at,
    };
    validate(&mut message, limits)?;
    Ok(message)
}

/// What a batch says about all of its messages.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Base<'a> {
    pub context: Option<Raw<'a>>,
    pub integrations: Option<Raw<'a>>,
    pub sent_at: Option<Timestamp>,
    /// The same as the client wrote it.
    pub sent_at_raw: Option<Raw<'a>>,
}

impl Base<'_> {
    /// Whether the batch says nothing, or there is none.
    pub fn is_empty(&self) -> bool {
        self.context.is_none() && self.integrations.is_none() && self.sent_at_raw.is_none()
    }
}

fn add_previous_ids(previous_ids: &mut Vec<String>, raw: Raw<'_>) -> Result<(), MessageError> {
    let wrong = |raw| wrong_type(Field::PreviousIds.name(), raw, "an array of strings");
    if raw.kind() != RawKind::Array {
        return Err(wrong(raw));
    }
    for element in elements(raw) {
        let id = text_of(element, true).ok_or_else(|| wrong(element))?;
        if !id.trim().is_empty() && !previous_ids.iter().any(|known| *known == id) {
            previous_ids.push(id.into_owned());
        }
    }
    Ok(())
}

/// An object field, with the members that the batch gives and the message does not. An empty
/// array counts as absent: it is how PHP writes an empty object.
fn document(
    fields: &RawFields<'_>,
    field: Field,
    base: Option<Raw<'_>>,
) -> Result<Option<Document>, MessageError> {
    let own = fields.get(field).filter(|raw| !is_empty_array(*raw));
    if let Some(raw) = own.filter(|raw| raw.kind() != RawKind::Object) {
        return Err(wrong_type(field.name(), raw, "an object"));
    }
    Ok(match (own, base) {
        (None, None) => None,
        (Some(raw), None) | (None, Some(raw)) => Some(Document::from_checked(raw.text)),
        (Some(own), Some(base)) => Some(Document::from_checked(merge(base.text, own.text))),
    })
}

fn is_empty_array(raw: Raw<'_>) -> bool {
    raw.kind() == RawKind::Array && elements(raw).next().is_none()
}

/// A time field: text or a number.
pub(crate) fn time(
    fields: &RawFields<'_>,
    field: Field,
) -> Result<Option<Timestamp>, MessageError> {
    let Some(raw) = fields.get(field) else {
        return Ok(None);
    };
    let parsed = match raw.kind() {
        RawKind::Number => parse_epoch(raw.text),
        _ => match text_of(raw, false) {
            Some(text) => parse_timestamp(&text),
            None => {
                return Err(wrong_type(
                    field.name(),
                    raw,
                    "a time as a string or a number",
                ))
            }
        },
    };
    parsed
        .map(Some)
        .map_err(|error| timestamp_error(field, raw.text, error))
}

fn timestamp_error(field: Field, value: &str, error: TimestampError) -> MessageError {
    let (code, problem) = match error {
        TimestampError::Invalid => (ErrorCode::InvalidTimestamp, "is not a time"),
        TimestampError::OutOfRange => (
            ErrorCode::TimestampOutOfRange,
            "is outside the years 1 to 9999",
        ),
    };
    MessageError::new(
        code,
        field.name(),
        value,
        format!("{} {problem}", field.name()),
        "Send ISO-8601 such as 2024-05-01T10:30:00.000Z, or seconds or milliseconds since 1970.",
    )
}

/// The times of a message as given.
struct Times {
    timestamp: Option<Timestamp>,
    original_timestamp: Option<Timestamp>,
    sent_at: Option<Timestamp>,
    /// When another collector received the message, if it came through one.
    forwarded_at: Option<Timestamp>,
}

impl Times {
    /// The time that counts, and the client's own.
    fn resolve(
        &self,
        received_at: Timestamp,
    ) -> Result<(Timestamp, Option<Timestamp>), MessageError> {
        let original = self.original_timestamp.or(self.timestamp);
        let corrected = match (original, self.sent_at) {
            (None, _) => received_at,
            // Without the time of sending the client's clock cannot be compared with ours.
            (Some(original), None) => self.timestamp.unwrap_or(original),
            (Some(original), Some(sent_at)) => {
                // A message that another collector received was compared with the clock there.
                let arrived = self
                    .forwarded_at
                    .map_or(received_at, |t| t.min(received_at));
                let corrected = i128::from(arrived) - i128::from(sent_at) + i128::from(original);
                check_range(corrected)
                    .map_err(|error| timestamp_error(Field::Timestamp, "", error))?
            }
        };
        Ok((corrected.min(received_at), original))
    }
}

fn parse_type(name: &str) -> Result<MessageType, MessageError> {
    MessageType::parse(name).ok_or_else(|| {
        MessageError::new(
            ErrorCode::UnknownType,
            Field::Type.name(),
            name,
            format!("\"{}\" is not a type of message", name.trim()),
            "Use track, identify, page, screen, group or alias.",
        )
    })
}

/// Which fields a message without a type has.
struct Hints {
    event: bool,
    traits: bool,
    group: bool,
    previous: bool,
}

/// The call of a message that does not name it, as clients that post to one address per call
/// send them.
fn infer_type(hints: Hints) -> Result<MessageType, MessageError> {
    if hints.event {
        Ok(MessageType::Track)
    } else if hints.group {
        Ok(MessageType::Group)
    } else if hints.traits {
        Ok(MessageType::Identify)
    } else if hints.previous {
        Ok(MessageType::Alias)
    } else {
        Err(MessageError::new(
            ErrorCode::MissingType,
            Field::Type.name(),
            "",
            "the message has no type",
            "Set type to track, identify, page, screen, group or alias.",
        ))
    }
}

/// Checks that a message has what its call needs and keeps within the limits. Blank names and
/// ids become absent.
pub fn validate(message: &mut Message, limits: &Limits) -> Result<(), MessageError> {
    for text in [
        &mut message.message_id,
        &mut message.user_id,
        &mut message.anonymous_id,
        &mut message.group_id,
        &mut message.event,
        &mut message.name,
        &mut message.category,
    ] {
        if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
            *text = None;
        }
    }
    message.previous_ids.retain(|id| !id.trim().is_empty());
    check_lengths(message, limits)?;
    check_required(message)
}

fn check_lengths(message: &Message, limits: &Limits) -> Result<(), MessageError> {
    let ids = limits.id_chars;
    let names = limits.name_chars;
    let texts = [
        (
            Field::MessageId,
            &message.message_id,
            limits.message_id_chars,
        ),
        (Field::UserId, &message.user_id, ids),
        (Field::AnonymousId, &message.anonymous_id, ids),
        (Field::GroupId, &message.group_id, ids),
        (Field::Event, &message.event, names),
        (Field::Name, &message.name, names),
        (Field::Category, &message.category, names),
    ];
    for (field, text, limit) in texts {
        if let Some(text) = text {
            check_text(Cow::Borrowed(field.name()), text, limit)?;
        }
    }
    for id in &message.previous_ids {
        check_text(Cow::Borrowed(Field::PreviousId.name()), id, ids)?;
    }
    for id in &message.other_ids {
        check_text(id.kind.clone(), &id.value, ids)?;
    }
    Ok(())
}

fn check_text(field: Cow<'static, str>, text: &str, limit: usize) -> Result<(), MessageError> {
    if text.contains('\0') {
        return Err(MessageError::new(
            ErrorCode::NulCharacter,
            field.clone(),
            text,
            format!("{field} holds the NUL character, which PostgreSQL cannot store"),
            "Remove the NUL characters before sending.",
        ));
    }
    // Bytes are never fewer than characters, so most texts need no counting.
    if text.len() > limit && text.chars().count() > limit {
        return Err(MessageError::new(
            ErrorCode::TooLong,
            field.clone(),
            text,
            format!("{field} is longer than {limit} characters"),
            "Shorten it, or put the long text into a property.",
        ));
    }
    Ok(())
}

fn check_required(message: &Message) -> Result<(), MessageError> {
    let missing = |field: Field| {
        Err(MessageError::new(
            ErrorCode::MissingField,
            field.name(),
            "",
            format!("{} needs a {}", message.kind, field.name()),
            "Give the field a value that is not blank.",
        ))
    };
    match message.kind {
        MessageType::Track if message.event.is_none() => {
            return Err(MessageError::new(
                ErrorCode::MissingEvent,
                Field::Event.name(),
                "",
                "track needs the name of an event",
                "Say what happened, for example \"Order Completed\".",
            ))
        }
        MessageType::Group if message.group_id.is_none() => return missing(Field::GroupId),
        MessageType::Alias if message.previous_ids.is_empty() => return missing(Field::PreviousId),
        MessageType::Alias if message.user_id.is_none() => return missing(Field::UserId),
        _ => {}
    }
    if may_identify(message) {
        Ok(())
    } else {
        Err(missing_identifier())
    }
}

/// A message that has no identifier anywhere.
pub fn missing_identifier() -> MessageError {
    MessageError::new(
        ErrorCode::MissingIdentifier,
        Field::UserId.name(),
        "",
        "the message does not say whom it is about",
        "Give user_id, anonymous_id, an email or phone among the traits, or an entry of context.externalIds.",
    )
}

pub(crate) fn check_size(bytes: usize, limits: &Limits) -> Result<(), MessageError> {
    if bytes > limits.event_bytes {
        return Err(MessageError::new(
            ErrorCode::EventTooLarge,
            "",
            "",
            format!(
                "the message has {bytes} bytes, more than the limit of {}",
                limits.event_bytes
            ),
            "Send less with one message, or raise the limit in the settings.",
        ));
    }
    Ok(())
}
