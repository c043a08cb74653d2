//! Everything that talks to Postgres' C code. No other module has `unsafe`.
#![allow(unsafe_code)]

pub mod cache;
pub mod clock;
pub mod datum;
pub mod exports;
pub mod function;
pub mod guard;
pub mod lock;
pub mod notes;
mod planner;
pub mod rows;
pub mod sandbox;
pub mod session;
pub mod shared;
pub mod spi;
mod stream;
pub mod table;
pub mod transaction;
pub mod wake;
pub mod worker;

#[cfg(any(test, feature = "pg_test"))]
mod tests;
