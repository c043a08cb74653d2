//! Namespaces: which one a call is for, and its time zone.

pub mod bindings;
pub mod define;
pub mod remove;
pub mod retention;
pub mod routing;
pub mod statistics;
pub mod usage;

use crate::error::{closest, unknown_key, Error, Result};
use crate::pg::cache;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_state::Zoned;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// The namespace that needs no definition.
pub const DEFAULT: &str = "default";
pub const DEFAULT_ID: i32 = 1;

#[derive(Debug)]
pub struct Namespace {
    pub id: i32,
    pub name: String,
    /// Calendar days and hours are counted in this time zone.
    pub timezone: String,
}

/// The days and hours of a time zone; UTC's if it has no name.
pub fn calendar(timezone: &str) -> Zoned {
    Zoned::new(timezone).unwrap_or_else(utc)
}

#[allow(clippy::expect_used)]
fn utc() -> Zoned {
    Zoned::new("UTC").expect("UTC is a time zone")
}

struct Remembered {
    generation: u64,
    by_name: HashMap<String, Rc<Namespace>>,
}

thread_local! {
    static NAMESPACES: RefCell<Remembered> = RefCell::new(Remembered { generation: 0, by_name: HashMap::new() });
}

/// The namespace a call names, else the one of the session, else the one its role is bound to, else the default.
/// Refused when the role is bound to others. What cdp does of itself uses [`by_name`] and [`by_id`].
pub fn find(spi: &Spi, argument: Option<&str>) -> Result<Rc<Namespace>> {
    by_name(spi, &bindings::choose(spi, argument)?)
}

/// The namespace with this name.
pub fn by_name(spi: &Spi, name: &str) -> Result<Rc<Namespace>> {
    let generation = cache::generation();
    let known =
        NAMESPACES.with_borrow(|r| (r.generation == generation).then(|| r.by_name.get(name).cloned()).flatten());
    if let Some(namespace) = known {
        return Ok(namespace);
    }
    crate::traits::catalog::watch_definitions(spi)?;
    let generation = cache::generation();
    let found = spi
        .query_latest(
            "SELECT namespace_id, timezone FROM _cdp.namespaces WHERE name OPERATOR(pg_catalog.=) $1",
            &[Param::Text(name)],
        )?
        .first(|row| Ok((row.i32(0)?, row.text(1)?)))?;
    let (id, timezone) = match found {
        Some(found) => found,
        None if name == DEFAULT => (DEFAULT_ID, "UTC".to_string()),
        None => return Err(unknown(spi, name)),
    };
    let namespace = Rc::new(Namespace { id, name: name.to_string(), timezone });
    NAMESPACES.with_borrow_mut(|r| {
        if r.generation != generation {
            r.generation = generation;
            r.by_name.clear();
        }
        r.by_name.insert(name.to_string(), namespace.clone());
    });
    Ok(namespace)
}

/// The namespace with this id.
pub fn by_id(spi: &Spi, id: i32) -> Result<Rc<Namespace>> {
    let name = spi
        .query_latest(
            "SELECT name FROM _cdp.namespaces WHERE namespace_id OPERATOR(pg_catalog.=) $1",
            &[Param::Int4(id)],
        )?
        .first(|row| row.text(0))?;
    by_name(spi, name.as_deref().unwrap_or(DEFAULT))
}

fn unknown(spi: &Spi, name: &str) -> Error {
    let names = spi
        .query_latest("SELECT name FROM _cdp.namespaces", &[])
        .and_then(|rows| rows.map(|row| row.text(0)))
        .unwrap_or_default();
    let known = names.iter().map(String::as_str).chain([DEFAULT]);
    let is_misspelt = closest(name, known.clone()).is_some();
    let mut error = unknown_key("namespace", name, known);
    error.sqlstate = Error::new(crate::error::state::UNKNOWN_NAMESPACE, "").sqlstate;
    if !is_misspelt {
        error = error.hint("Make it with cdp.define_namespace, or set cdp.namespace.");
    }
    error
}
