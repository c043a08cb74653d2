//! Values, exact numbers and the vocabulary of aggregates.
//!
//! Every other crate of the workspace speaks in these types, so that a value means the same
//! thing when it is folded into a state, evaluated in an expression or written as JSON.

mod aggregate;
mod decimal;
mod jsonb;
mod value;

pub use aggregate::{AggregateFunction, AgoUnit, Period, Window};
pub use decimal::Decimal;
pub use jsonb::Jsonb;
pub use value::Value;

/// An instant: microseconds since 1970-01-01 00:00 UTC.
pub type Timestamp = i64;

/// Microseconds of a second, a minute, an hour and a day (always 24 hours).
pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;
