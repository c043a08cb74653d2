//! Flags (docs/flags.md): [`Flag::parse`] reads a definition, [`Decider`] answers it for a person, [`bucket`] divides
//! people, and [`Flag::continue_from`] changes a flag so that as few of them as possible get something else.
//!
//! Nothing here knows where people and conditions come from: that is [`Situation`].

mod allocation;
mod bucket;
mod canonical;
mod change;
mod decide;
mod experiment;
mod flag;
mod parse;
mod place;
mod shares;

pub use allocation::{allocate, sizes, Range};
pub use bucket::{bucket, Purpose, BUCKETS};
pub use canonical::canonical;
pub use decide::{Decider, Decision, Reason, Situation, Step};
pub use experiment::{Experiment, Metric};
pub use flag::{Condition, Exclusion, Flag, Outcome, Prerequisite, Rollout, Rule, Target, Variant};
pub use place::DefinitionError;
