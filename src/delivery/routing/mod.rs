//! Stage 10, first half: what goes where.

pub mod changes;
pub mod messages;
pub mod routes;
