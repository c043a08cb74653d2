//! A person's window state: compact, versioned, mergeable and exact.

mod bytes;
mod calendar;
mod edge;
mod error;
mod evaluate;
mod ladder;
mod partial;
mod property;
mod query;
mod series;
mod series_code;
mod slot;
mod spec;
mod state;
mod totals;
mod units;

pub use calendar::{Calendar, Utc, Zoned};
pub use edge::{Edge, EdgeEvents};
pub use error::StateError;
pub use property::{is_listable, VALUE_LIMIT};
pub use spec::{SlotSpec, Specs};
pub use state::State;
