//! Consent: what people said about categories such as `marketing`, what that means once two profiles turn out
//! to be one person, and whether a message may go to a destination that requires some of them.

mod preferences;
mod requirement;
mod standing;

pub use preferences::{
    is_category, of_context, preferences, Preferences, PreferencesError, MOST_CATEGORIES,
};
pub use requirement::{Refusal, Requirement, Unknown};
pub use standing::{standing, Merge, Standing, Statement, Verdict};
