//! Stage 9: entering and leaving segments.

pub mod transition;
