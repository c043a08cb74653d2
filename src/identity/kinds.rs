//! The kinds of identifiers, their rules, and where in a message they are found.

use super::settings::Settings;
use crate::error::Result;
use crate::ingest::stored;
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::pg::{cache, guard};
use cdp_identity::Rules;
use cdp_message::ExtractionRules;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Kinds that come with the extension, as sql/03_identity.sql numbers them.
pub const EMAIL: i32 = 2;
pub const EMAIL_HASH: i32 = 3;
pub const PHONE: i32 = 4;

pub struct Kinds {
    by_name: HashMap<String, i32>,
    pub rules: Rules,
    pub extraction: ExtractionRules,
}

impl Kinds {
    pub fn id(&self, name: &str) -> Option<i32> {
        self.by_name.get(name).copied()
    }

    pub fn name(&self, kind: i32) -> &str {
        self.rules.get(kind).map_or("", |rule| rule.name.as_str())
    }
}

thread_local! {
    static KINDS: RefCell<HashMap<i32, (u64, Rc<Kinds>)>> = RefCell::new(HashMap::new());
}

/// Forgets kinds that an aborted transaction may have made.
pub fn forget() {
    if let Ok(mut kinds) = KINDS.try_with(|k| k.try_borrow_mut().map(|mut k| std::mem::take(&mut *k))) {
        if let Ok(kinds) = kinds.as_mut() {
            kinds.clear();
        }
    }
}

/// The kinds of a namespace.
pub fn current(spi: &Spi, namespace: &Namespace) -> Result<Rc<Kinds>> {
    let generation = cache::generation();
    let known = KINDS.with_borrow(|k| k.get(&namespace.id).filter(|k| k.0 == generation).map(|k| k.1.clone()));
    match known {
        Some(kinds) => Ok(kinds),
        None => load(spi, namespace),
    }
}

fn load(spi: &Spi, namespace: &Namespace) -> Result<Rc<Kinds>> {
    let generation = cache::generation();
    let settings = spi
        .query_latest(
            "SELECT settings FROM _cdp.namespaces WHERE namespace_id OPERATOR(pg_catalog.=) $1",
            &[Param::Int4(namespace.id)],
        )?
        .first(|row| Ok(row.optional_jsonb(0)))?
        .flatten()
        .and_then(|text| stored::json(&text))
        .unwrap_or_default();
    // They were checked when they were set. Should they have got in otherwise, events are worth more.
    let settings = Settings::read(&settings).unwrap_or_else(|error| {
        guard::warn(&format!("namespace \"{}\": {}", namespace.name, error.message), error.hint.as_deref());
        Settings::default()
    });
    let rows = spi
        .query_latest(
            "SELECT kind_id, name FROM _cdp.identifier_kinds WHERE namespace_id OPERATOR(pg_catalog.=) ANY (ARRAY[0, $1]) \
             ORDER BY kind_id",
            &[Param::Int4(namespace.id)],
        )?
        .map(|row| Ok((row.i32(0)?, row.text(1)?)))?;
    let kinds = Rc::new(Kinds {
        rules: Rules::new(rows.iter().map(|(id, name)| settings.rule(*id, name))),
        by_name: rows.into_iter().map(|(id, name)| (name, id)).collect(),
        extraction: settings.extraction(),
    });
    KINDS.with_borrow_mut(|k| k.insert(namespace.id, (generation, kinds.clone())));
    Ok(kinds)
}

/// More kinds than these in one namespace are a mistake: somebody puts values where the name of a kind belongs.
pub const MOST_KINDS: usize = 1_000;

/// The kinds of a namespace, with those of the given names made where they are new, as far as there is room.
pub fn with_names<'a>(spi: &Spi, namespace: &Namespace, names: impl Iterator<Item = &'a str>) -> Result<Rc<Kinds>> {
    let kinds = current(spi, namespace)?;
    let mut missing: Vec<&str> = names.filter(|name| kinds.id(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(kinds);
    }
    // Another session may have made them.
    let kinds = load(spi, namespace)?;
    missing.retain(|name| kinds.id(name).is_none());
    if missing.is_empty() {
        return Ok(kinds);
    }
    missing.sort_unstable();
    missing.dedup();
    missing.truncate(MOST_KINDS.saturating_sub(kinds.by_name.len()));
    if missing.is_empty() {
        return Ok(kinds);
    }
    spi.execute(
        "INSERT INTO _cdp.identifier_kinds (namespace_id, name) SELECT $1, n FROM pg_catalog.unnest($2) AS n ON CONFLICT DO NOTHING",
        &[Param::Int4(namespace.id), Param::TextArray(&missing)],
    )?;
    load(spi, namespace)
}
