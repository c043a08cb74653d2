//! Namespaces: which one a call is for, and its time zone.

use crate::error::{unknown_key, Error, Result};
use crate::guc;
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

/// The namespace a call names, else the one of the session, else the default.
pub fn find(spi: &Spi, argument: Option<&str>) -> Result<Rc<Namespace>> {
    let name = match argument {
        Some(name) => name.to_string(),
        None => guc::namespace().unwrap_or_else(|| DEFAULT.to_string()),
    };
    by_name(spi, &name)
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
    let mut error = unknown_key("namespace", name, known);
    error.sqlstate = Error::new(crate::error::state::UNKNOWN_NAMESPACE, "").sqlstate;
    if error.hint.is_none() {
        error = error.hint("Make it with cdp.define_namespace, or set cdp.namespace.");
    }
    error
}

/// Makes or changes a namespace.
pub fn define(spi: &Spi, name: &str, keywords: &[String], timezone: &str, settings: &str) -> Result<()> {
    use crate::error::state;
    if Zoned::new(timezone).is_none() {
        return Err(Error::new(
            state::INVALID_DEFINITION,
            format!("\"{}\" is no time zone", crate::error::cut(timezone)),
        )
        .hint("Use a name of the IANA database, for example Europe/Berlin."));
    }
    let parsed = crate::ingest::stored::json(settings).filter(serde_json::Value::is_object).ok_or_else(|| {
        Error::new(state::INVALID_DEFINITION, "the settings of a namespace are a JSON object").hint("For example '{}'.")
    })?;
    crate::identity::settings::Settings::read(&parsed)?;
    let keywords: Vec<&str> = keywords.iter().map(String::as_str).collect();
    let parameters = [Param::Text(name), Param::TextArray(&keywords), Param::Text(timezone), Param::Jsonb(settings)];
    let before = by_name_if_known(spi, name)?;
    if name == DEFAULT {
        spi.execute(
            "INSERT INTO _cdp.namespaces (namespace_id, name, keywords, timezone, settings) VALUES (1, $1, $2, $3, $4) \
             ON CONFLICT (namespace_id) DO UPDATE SET keywords = EXCLUDED.keywords, timezone = EXCLUDED.timezone, \
                 settings = EXCLUDED.settings, updated_at = pg_catalog.now()",
            &parameters,
        )?;
    } else {
        spi.execute(
            "INSERT INTO _cdp.namespaces (name, keywords, timezone, settings) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (name) DO UPDATE SET keywords = EXCLUDED.keywords, timezone = EXCLUDED.timezone, \
                 settings = EXCLUDED.settings, updated_at = pg_catalog.now()",
            &parameters,
        )?;
    }
    crate::traits::catalog::invalidate(spi)?;
    // Days of another time zone are other days: everything that counts them is computed again.
    if let Some(before) = before.filter(|before| before.timezone != timezone) {
        crate::traits::define::change_timezone(spi, &*by_id(spi, before.id)?)?;
    }
    Ok(())
}

fn by_name_if_known(spi: &Spi, name: &str) -> Result<Option<Rc<Namespace>>> {
    let exists = spi
        .query("SELECT 1 FROM _cdp.namespaces WHERE name OPERATOR(pg_catalog.=) $1", &[Param::Text(name)])?
        .processed
        > 0;
    if exists || name == DEFAULT {
        return by_name(spi, name).map(Some);
    }
    Ok(None)
}
