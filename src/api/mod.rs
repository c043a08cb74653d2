//! The functions that SQL sees: read the arguments, call the module that does the work, shape the result.

pub mod attach;
pub mod compiled;
pub mod consent;
pub mod define;
pub mod destinations;
pub mod experiments;
pub mod explain;
pub mod flags;
pub mod ingest;
pub mod jobs;
pub mod metrics;
pub mod namespaces;
pub mod operate;
pub mod read;
pub mod scores;
pub mod segments;

use crate::error::{Error, Result};
use crate::namespaces::Namespace;
use crate::pg::function::Call;
use crate::pg::spi::Spi;
use std::rc::Rc;

/// The namespace of a call, from its last argument.
fn namespace(spi: &Spi, call: &Call, index: usize) -> Result<Rc<Namespace>> {
    crate::namespaces::find(spi, call.text(index).as_deref())
}

/// An argument that has to be there.
fn required(call: &Call, index: usize, name: &str) -> Result<String> {
    call.text(index).ok_or_else(|| Error::new("22004", format!("argument {name} is null")).hint("Give a value."))
}
