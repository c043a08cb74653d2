//! Why a message was refused.

use std::borrow::Cow;
use std::fmt;

/// Longest piece of a refused value that an error repeats, in characters.
const SHOWN_CHARS: usize = 80;

/// The kinds of refusal; each has a stable SQLSTATE of class `CD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The text is not JSON.
    InvalidJson,
    /// A field holds a JSON value of the wrong type.
    WrongType,
    /// The message does not say which call it is, and its fields do not tell.
    MissingType,
    /// `type` is none of the spec's calls.
    UnknownType,
    /// A track call without an event name, or with a blank one.
    MissingEvent,
    /// A field that this call needs is absent or blank.
    MissingField,
    /// Nothing says whom the message is about.
    MissingIdentifier,
    /// A name or an id is longer than the limit.
    TooLong,
    /// A time that cannot be read.
    InvalidTimestamp,
    /// A time outside the years 1 to 9999.
    TimestampOutOfRange,
    /// A string holds the NUL character, which PostgreSQL cannot store.
    NulCharacter,
    /// A string holds half of a surrogate pair, which is not Unicode text.
    InvalidUnicode,
    /// Objects and arrays are nested deeper than the limit.
    TooDeep,
    /// A number is beyond the range of `numeric`.
    NumberOutOfRange,
    /// The message is larger than the limit.
    EventTooLarge,
    /// The payload is larger than the limit of a batch.
    BatchTooLarge,
    /// The payload holds more messages than the limit of a batch.
    TooManyMessages,
    /// One field is given under two names with two values.
    ConflictingFields,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [ErrorCode; 18] = [
        ErrorCode::InvalidJson,
        ErrorCode::WrongType,
        ErrorCode::MissingType,
        ErrorCode::UnknownType,
        ErrorCode::MissingEvent,
        ErrorCode::MissingField,
        ErrorCode::MissingIdentifier,
        ErrorCode::TooLong,
        ErrorCode::InvalidTimestamp,
        ErrorCode::TimestampOutOfRange,
        ErrorCode::NulCharacter,
        ErrorCode::InvalidUnicode,
        ErrorCode::TooDeep,
        ErrorCode::NumberOutOfRange,
        ErrorCode::EventTooLarge,
        ErrorCode::BatchTooLarge,
        ErrorCode::TooManyMessages,
        ErrorCode::ConflictingFields,
    ];

    /// The SQLSTATE; never reused for another meaning.
    pub const fn sqlstate(self) -> &'static str {
        match self {
            ErrorCode::InvalidJson => "CD001",
            ErrorCode::WrongType => "CD002",
            ErrorCode::MissingType => "CD003",
            ErrorCode::UnknownType => "CD004",
            ErrorCode::MissingEvent => "CD005",
            ErrorCode::MissingField => "CD006",
            ErrorCode::MissingIdentifier => "CD007",
            ErrorCode::TooLong => "CD008",
            ErrorCode::InvalidTimestamp => "CD009",
            ErrorCode::TimestampOutOfRange => "CD010",
            ErrorCode::NulCharacter => "CD011",
            ErrorCode::InvalidUnicode => "CD012",
            ErrorCode::TooDeep => "CD013",
            ErrorCode::NumberOutOfRange => "CD014",
            ErrorCode::EventTooLarge => "CD015",
            ErrorCode::BatchTooLarge => "CD016",
            ErrorCode::TooManyMessages => "CD017",
            ErrorCode::ConflictingFields => "CD018",
        }
    }

    /// A stable snake_case name, as shown in receipts and in the quarantine.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorCode::InvalidJson => "invalid_json",
            ErrorCode::WrongType => "wrong_type",
            ErrorCode::MissingType => "missing_type",
            ErrorCode::UnknownType => "unknown_type",
            ErrorCode::MissingEvent => "missing_event",
            ErrorCode::MissingField => "missing_field",
            ErrorCode::MissingIdentifier => "missing_identifier",
            ErrorCode::TooLong => "too_long",
            ErrorCode::InvalidTimestamp => "invalid_timestamp",
            ErrorCode::TimestampOutOfRange => "timestamp_out_of_range",
            ErrorCode::NulCharacter => "nul_character",
            ErrorCode::InvalidUnicode => "invalid_unicode",
            ErrorCode::TooDeep => "too_deep",
            ErrorCode::NumberOutOfRange => "number_out_of_range",
            ErrorCode::EventTooLarge => "event_too_large",
            ErrorCode::BatchTooLarge => "batch_too_large",
            ErrorCode::TooManyMessages => "too_many_messages",
            ErrorCode::ConflictingFields => "conflicting_fields",
        }
    }
}

/// Why a message, or a whole payload, was refused, in a form that a person can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageError {
    pub code: ErrorCode,
    /// The field in the spec's snake_case (`user_id`, `properties`, `batch`), or empty when the
    /// error is about the message as a whole.
    pub field: Cow<'static, str>,
    /// The refused value, cut to 80 characters; empty when there is none.
    pub value: String,
    /// One sentence without a full stop, fit for an error message.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

impl MessageError {
    pub(crate) fn new(
        code: ErrorCode,
        field: impl Into<Cow<'static, str>>,
        value: &str,
        message: impl Into<String>,
        hint: &'static str,
    ) -> MessageError {
        MessageError {
            code,
            field: field.into(),
            value: shown(value),
            message: message.into(),
            hint,
        }
    }
}

/// A value as errors show it: at most 80 characters, the last one `…` when something was cut.
fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN_CHARS) {
        None => value.to_owned(),
        Some(_) => {
            let mut cut: String = value.chars().take(SHOWN_CHARS - 1).collect();
            cut.push('…');
            cut
        }
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for MessageError {}
