//! Deliveries: what is due is taken with a lease and committed, sent with no transaction open, and
//! settled in a short transaction (DESIGN.md §7).

pub mod claim;
pub mod dead_letters;
pub mod destinations;
pub mod engine;
pub mod leases;
pub mod outbox;
pub mod probe;
pub mod replay;
pub mod route_definitions;
pub mod routing;
pub mod run;
pub mod secrets;
pub mod settle;
pub mod shaping;
pub mod statistics;
pub mod targets;
pub mod trial;
