//! What may be kept of people and sent about them.

pub mod consent;
pub mod gate;
pub mod suppression;
