//! Identity resolution: which person each message belongs to.
//!
//! A pure function, [`plan`], from the rules, what is known about the persons in question, and a
//! batch of messages in order, to the links, merges and new persons that the caller writes down.
//! See [`plan`] for the algorithm.

mod blocked;
mod history;
mod plan;
mod regroup;
mod resolve;
mod rules;
mod snapshot;
mod split;
mod tree;

pub use blocked::{BlockedPattern, BlockedValues, PatternError};
pub use history::{History, OwnIdentifier, Part, PastMerge};
pub use plan::{
    Demotion, DemotionReason, IdentityError, Link, Merge, MessageIdentifier, MessageIdentifiers,
    NewProfile, Plan, Rule,
};
pub use resolve::plan;
pub use rules::{KindId, KindRule, Rules, EMAIL, USER_ID};
pub use snapshot::{ProfileRef, Snapshot};
pub use split::{split, NothingElse, Side, Split};
