//! A person's window state: compact, versioned, mergeable and exact.

mod bytes;
mod calendar;
mod distinct;
mod edge;
mod error;
mod estimate;
mod evaluate;
mod frequency;
mod ladder;
mod list;
mod partial;
mod property;
mod quantile;
mod query;
mod sample;
mod series;
mod series_code;
mod slot;
mod spec;
mod state;
mod totals;
mod units;

pub use calendar::{Calendar, Utc, Zoned};
pub use distinct::{UNIQUE_ERROR, UNIQUE_EXACT, UNIQUE_WINDOW_ERROR};
pub use edge::{Edge, EdgeEvents};
pub use error::StateError;
pub use frequency::TOP_EXACT;
pub use list::LIST_LIMIT;
pub use property::{is_listable, VALUE_LIMIT};
pub use quantile::{PERCENTILE_ERROR, PERCENTILE_EXACT};
pub use query::READ_LIMIT;
pub use spec::{SlotSpec, Specs};
pub use state::State;
