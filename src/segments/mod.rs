//! Stage 9: entering and leaving segments, those that have a rule and those whose members are listed.

pub mod held;
pub mod lists;
pub mod membership;
pub mod transition;
