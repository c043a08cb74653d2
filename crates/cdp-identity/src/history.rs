//! How a person came to be, as the tables tell it.

use crate::plan::MessageIdentifier;
use crate::rules::KindId;

/// An identifier of the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnIdentifier {
    pub kind: KindId,
    pub value: String,
    /// The profile that it was first linked to, before any merge.
    pub origin: i64,
    /// The message that linked it: a position in [`History::messages`]; None when that is not
    /// known any more.
    pub message: Option<usize>,
}

/// A merge that led to the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastMerge {
    pub absorbed: i64,
    /// The profile that it went into, which may itself have been absorbed later.
    pub survivor: i64,
    /// The message that brought the two together, as in [`OwnIdentifier::message`].
    pub message: Option<usize>,
}

/// How a person came to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The profile that stands for the person.
    pub root: i64,
    /// The profiles that were absorbed, the oldest first.
    pub absorbed: Vec<i64>,
    pub identifiers: Vec<OwnIdentifier>,
    /// One for each absorbed profile.
    pub merges: Vec<PastMerge>,
    /// The identifiers of the messages that linked or merged, in the order of arrival.
    pub messages: Vec<Vec<MessageIdentifier>>,
}

/// A part of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Identifiers; several where one value is an identifier of several kinds.
    Identifiers(Vec<(KindId, String)>),
    /// A profile that was absorbed, with all that it had.
    Profile(i64),
    /// Whatever is left.
    Rest,
}
