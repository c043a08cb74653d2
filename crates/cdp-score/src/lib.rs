//! Lead scores as definitions: points for who somebody is (the ideal customer profile, ICP), points
//! for what somebody does, and a grade for their sum.
//!
//! `total = min(ICP points, ICP cap) + behaviour points`. A definition is JSON ([`Score::parse`]);
//! what it reads of a person are expressions ([`Score::inputs`]), so that whoever evaluates them
//! keeps them up to date as it keeps traits; from their values comes the [`Outcome`].
//!
//! ```
//! use cdp_score::{Score, LEAD};
//! use cdp_value::Value;
//!
//! let definition = serde_json::from_str(LEAD)?;
//! let score = Score::parse(&definition)?;
//! let nobody = vec![Value::Null; score.inputs().count()];
//! assert_eq!(score.evaluate(&nobody).totals.grade, "F");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod amount;
mod definition;
mod evaluate;
mod grades;
mod interval;
mod members;

pub use amount::{Amount, Bound};
pub use definition::{Activity, Announcements, Attribute, Score, Source, Tests};
pub use evaluate::{Component, Note, Outcome, RuleOutcome, Totals};
pub use grades::Grades;
pub use interval::Interval;
pub use members::ScoreError;

/// The definition of the score `lead`, which every namespace has unless it defines its own.
pub const LEAD: &str = include_str!("lead.json");
