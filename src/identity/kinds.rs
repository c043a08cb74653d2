//! The kinds of identifiers, their rules, and where in a message they are found.

use crate::error::Result;
use crate::namespaces::Namespace;
use crate::pg::cache;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_identity::{KindRule, Rules};
use cdp_message::ExtractionRules;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

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
    let rows = spi
        .query_latest("SELECT kind_id, name FROM _cdp.identifier_kinds ORDER BY kind_id", &[])?
        .map(|row| Ok((row.i32(0)?, row.text(1)?)))?;
    let kinds = Rc::new(Kinds {
        rules: Rules::new(rows.iter().map(|(id, name)| KindRule::standard(*id, name))),
        by_name: rows.into_iter().map(|(id, name)| (name, id)).collect(),
        extraction: ExtractionRules::default(),
    });
    KINDS.with_borrow_mut(|k| k.insert(namespace.id, (generation, kinds.clone())));
    Ok(kinds)
}

/// The kinds of a namespace, with those of the given names made where they are new.
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
    spi.execute(
        "INSERT INTO _cdp.identifier_kinds (name) SELECT n FROM pg_catalog.unnest($1) AS n ON CONFLICT DO NOTHING",
        &[Param::TextArray(&missing)],
    )?;
    load(spi, namespace)
}
