//! Experiments: what was measured of the people who saw each variant of a flag, and what that says.

pub mod define;
mod measure;
pub mod report;
