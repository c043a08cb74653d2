//! Messages of the Segment spec: parsing, validation and the identifiers they carry.
//!
//! Pure functions from text to [`Message`]s. JSON is read once, by a scanner that finds the fields
//! of a message and at the same time refuses what `jsonb` could not store, so that a message that
//! was accepted here never fails later. Objects (`properties`, `traits`, `context`,
//! `integrations`) keep the client's own text: no digit and no key order is lost on the way.

mod document;
mod error;
mod fields;
mod identifiers;
mod limits;
mod message;
mod message_type;
mod payload;
mod scan;
mod timestamp;

pub use document::{members, Document, Members};
pub use error::{ErrorCode, MessageError};
pub use identifiers::{
    email_hash, identifiers, names_somebody, normalize_identifier, ExtractionRules, Identifier,
    IdentifierSource, KeyRule,
};
pub use limits::Limits;
pub use message::{from_fields, missing_identifier, validate, Fields, Message, NamedId};
pub use message_type::MessageType;
pub use payload::{parse_payload, BadItem, Item};
pub use scan::{Raw, RawKind};
pub use timestamp::{parse_epoch, parse_timestamp, TimestampError};
