//! Reads.

use crate::error::Result;
use crate::pg::clock;
use crate::pg::function::{Call, Field, Returned};

pub fn now(_: &Call) -> Result<Returned> {
    Ok(Returned::Value(Field::Timestamp(clock::now()?)))
}

pub fn version(_: &Call) -> Result<Returned> {
    Ok(Returned::Value(Field::Text(env!("CARGO_PKG_VERSION").to_string())))
}
