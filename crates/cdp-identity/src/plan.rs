//! What goes into identity resolution, and what comes out.

use crate::rules::KindId;
use crate::snapshot::ProfileRef;
use cdp_value::Timestamp;
use std::collections::HashMap;

/// An identifier of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageIdentifier {
    pub kind: KindId,
    /// Normalised.
    pub value: String,
    /// An earlier id of the person (alias): the message asks for its owner and the person of its
    /// other identifiers to become one. List such an id once per kind that it may be of.
    pub previous: bool,
}

/// What identity resolution needs to know of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageIdentifiers {
    /// When the message happened; new links bear this time.
    pub at: Timestamp,
    pub identifiers: Vec<MessageIdentifier>,
}

/// Why a link or a merge was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// No identifier of the message was known: a new person.
    Create,
    /// The identifiers that were known belonged to one person.
    Attach,
    /// The identifiers belonged to several persons, and the limits allow one.
    Merge,
    /// The message named an earlier id of the person.
    Alias,
}

impl Rule {
    /// A stable snake_case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Rule::Create => "create",
            Rule::Attach => "attach",
            Rule::Merge => "merge",
            Rule::Alias => "alias",
        }
    }
}

/// An identifier now belongs to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The person at the time of the message; [`Plan::resolved`] gives the one at the end.
    pub profile: ProfileRef,
    pub kind: KindId,
    pub value: String,
    /// Position of the message in the batch.
    pub message: usize,
    pub rule: Rule,
}

/// Two persons are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merge {
    /// The older one.
    pub survivor: ProfileRef,
    pub absorbed: ProfileRef,
    /// Position of the message in the batch.
    pub message: usize,
    pub rule: Rule,
}

/// Why an identifier of a message was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DemotionReason {
    /// The value identifies nobody.
    Blocked,
    /// With it, one person would have had too many values of this kind.
    Limit(KindId),
    /// With it, two persons would have become one that were split by hand.
    Split,
}

/// An identifier of a message that did not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demotion {
    /// Position of the message in the batch.
    pub message: usize,
    pub kind: KindId,
    pub value: String,
    pub reason: DemotionReason,
}

/// A message that belongs to nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Every identifier is blocked, or there is none.
    #[error("none of the message's identifiers identifies a person")]
    NoIdentifier,
    /// The message names the user ids of two persons.
    #[error("the message names two user ids, \"{first}\" and \"{second}\"")]
    SeveralUserIds { first: String, second: String },
}

impl IdentityError {
    /// The SQLSTATE; never reused for another meaning.
    pub const fn sqlstate(&self) -> &'static str {
        match self {
            IdentityError::NoIdentifier => "CD030",
            IdentityError::SeveralUserIds { .. } => "CD031",
        }
    }

    /// A stable snake_case name, as shown in receipts and in the quarantine.
    pub const fn name(&self) -> &'static str {
        match self {
            IdentityError::NoIdentifier => "no_identifier",
            IdentityError::SeveralUserIds { .. } => "several_user_ids",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            IdentityError::NoIdentifier => {
                "Values such as 0, -1, null or anonymous are blocked; send an id that is the \
                 person's own."
            }
            IdentityError::SeveralUserIds { .. } => {
                "Send one user id with a message; use alias to say that two are one person."
            }
        }
    }
}

/// A person that did not exist before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewProfile {
    pub profile: ProfileRef,
    /// Position of the message in the batch.
    pub message: usize,
}

/// What a batch does to the persons, in the order in which it happens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Per message, the person at the time of the message; None when the message has an error.
    pub assignments: Vec<Option<ProfileRef>>,
    /// Persons to create. Some may be absorbed later in the same batch.
    pub new_profiles: Vec<NewProfile>,
    pub links: Vec<Link>,
    pub merges: Vec<Merge>,
    pub demotions: Vec<Demotion>,
    /// Position of the message, and why it belongs to nobody.
    pub errors: Vec<(usize, IdentityError)>,
    pub(crate) absorbed: HashMap<ProfileRef, ProfileRef>,
}

impl Plan {
    /// The person that a person has become by the end of the batch.
    pub fn resolved(&self, profile: ProfileRef) -> ProfileRef {
        let mut current = profile;
        while let Some(survivor) = self.absorbed.get(&current) {
            current = *survivor;
        }
        current
    }
}
