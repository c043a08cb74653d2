//! Stages 7 and 8: events become state, state becomes trait values, exactly and on time.

pub mod ahead;
pub mod backfill;
pub mod catalog;
pub mod computed;
pub mod context;
pub mod define;
pub mod edges;
pub mod engine;
pub mod evaluate;
pub mod events;
pub mod past;
pub mod pending;
pub mod person;
pub mod properties;
pub mod set_based;
pub mod settle;
pub mod slots;
pub mod timers;
