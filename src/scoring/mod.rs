//! Stage 9, the other half: lead scores. What a score reads are expressions like any other, so its parts are kept
//! up to date, merged, split and rebuilt as those of traits are; `cdp_score` makes points and grades of them.

pub mod announce;
pub mod assess;
pub mod define;
pub mod load;
pub mod rescore;
pub mod stored;

use crate::traits::catalog::Definition;
use std::rc::Rc;

/// A score.
pub struct Score {
    /// Under which a person's score is kept.
    pub id: i32,
    pub key: String,
    pub model: Rc<cdp_score::Score>,
    /// What each rule reads, as a list: an event makes those rules be looked at that it touches.
    pub rules: Vec<Definition>,
    /// Its expression is the list of all that the model reads.
    pub definition: Definition,
}
