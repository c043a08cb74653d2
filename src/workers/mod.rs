//! Background workers: the launcher, and for each database one for deliveries and one for what time changes.

pub mod delivery;
mod health;
pub mod launcher;
pub mod maintenance;
pub mod timers;
mod trouble;

pub use health::{announce, health};
