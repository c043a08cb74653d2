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

/// A JSON argument as a tree; None when it is null.
fn document(call: &Call, index: usize, name: &str) -> Result<Option<serde_json::Value>> {
    let read = |text: String| {
        serde_json::from_str(&text).map_err(|_| {
            Error::new("CD013", format!("argument {name} is nested too deep"))
                .hint("Objects and arrays may be nested up to 128 levels.")
        })
    };
    call.jsonb(index).map(read).transpose()
}

/// An argument that has to be there.
fn required(call: &Call, index: usize, name: &str) -> Result<String> {
    call.text(index).ok_or_else(|| Error::new("22004", format!("argument {name} is null")).hint("Give a value."))
}
