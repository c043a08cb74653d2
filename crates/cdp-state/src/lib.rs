//! A person's window state: compact, versioned, mergeable and exact.
//!
//! A [`State`] holds what all traits need of one person's events, in a few hundred bytes that are
//! stored in the person's row. It is divided into slots: one per source of events (an event name,
//! maybe a filter) and property. A [`SlotSpec`] says what a slot keeps; the caller decides which
//! events belong to it and what the property's value is.
//!
//! ```
//! use cdp_state::{EdgeEvents, SlotSpec, State, Utc};
//! use cdp_value::{AggregateFunction, Decimal, Value, Window, DAY};
//!
//! let (count, week) = (AggregateFunction::Count, Some(Window { length: 7 * DAY }));
//! let mut spec = SlotSpec::new(1);
//! spec.add(count, week);
//! let specs = vec![spec.clone()];
//!
//! let now = 20_000 * DAY;
//! let mut state = State::new();
//! state.touch(now);
//! state.fold(&spec, now, None, &Utc)?;
//! state.compact(&specs, now)?;
//! let state = State::decode(&state.encode())?;
//!
//! // Usually no events are needed. If some are, the caller reads those of the ranges.
//! assert!(state.edges(&spec, count, week, now)?.is_empty());
//! let edges = EdgeEvents::none();
//! let value = state.evaluate(&spec, count, week, now, &edges, &Utc)?;
//! assert_eq!(value, Value::Number(Decimal::from(1)));
//! // The event leaves the window one microsecond after its age is seven days.
//! let at = state.changes_at(&spec, count, week, now, &edges, &Utc)?;
//! assert_eq!(at, Some(now + 7 * DAY + 1));
//! # Ok::<(), cdp_state::StateError>(())
//! ```
//!
//! # Meaning
//!
//! A window of length `w` holds at `now` the events with `now - w <= ts <= now`. Events at one
//! instant are ordered by their values ([`cdp_value::Value::total_cmp`]), so `first` is the
//! smallest of the earliest and `last` the greatest of the latest. Null counts as missing; `sum`,
//! `avg`, `min`, `max` and percentiles look at numbers only, the other functions of a property at
//! any value. Without anything to look at, `count`, `unique_*`, `unique` and sessions are 0, `list`
//! is empty, and everything else is null. Percentiles interpolate like Postgres'
//! `percentile_cont`. A sum that includes a number of 10^300 or more is null.
//!
//! # Exact, and where not
//!
//! Every function is exact at every instant, to the microsecond, but for:
//!
//! | function | over all time | within a window |
//! | --- | --- | --- |
//! | `unique` | above [`UNIQUE_EXACT`] values: standard error [`UNIQUE_ERROR`] | above [`UNIQUE_EXACT`] values: standard error [`UNIQUE_WINDOW_ERROR`], plus the values of at most 1/64 of the slot's shortest such window before it |
//! | percentiles | above [`PERCENTILE_EXACT`] numbers: relative error [`PERCENTILE_ERROR`], twice that for each time that a histogram would need more than 256 bins | above [`READ_LIMIT`] events: the same with 128 bins per block, and numbers of more than 38 digits are left out; at the edge, events count in proportion of their block |
//! | `top` | above [`TOP_EXACT`] values: a value of less than 1/16 of the events is not found, and null if there is no other; values of similar frequency may be confused | above [`READ_LIMIT`] events: a sample, 24 events of each block of at most a quarter of the window |
//! | `list` | the first [`LIST_LIMIT`] in order | the first [`LIST_LIMIT`] in order |
//!
//! `top` and `list` leave out values that are too long ([`is_listable`]). Estimates do not depend
//! on the order of events either. [`State::is_approximate`] tells whether a value is an estimate.
//!
//! # Laws
//!
//! - The order of folding does not matter, and merging is associative and commutative: states of
//!   the same events that are compacted at the same instant are equal, byte for byte.
//! - Earlier compactions change no value. They change no byte either once [`State::refine`] was
//!   given the events of all edges. (An exception is the list of candidates of a `top` over all
//!   time with more than [`TOP_EXACT`] values.)
//! - `compact` drops what no window can reach at its instant. If the clock goes back behind it,
//!   the answers come from the events alone: [`State::edges`] then gives the whole window.
//! - Bytes that are not a state give a [`StateError`], never a panic.

mod bytes;
mod calendar;
mod distinct;
mod edge;
mod error;
mod estimate;
mod evaluate;
mod frequency;
mod hyperloglog;
mod ladder;
mod list;
mod partial;
mod periods;
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
mod value_code;

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
