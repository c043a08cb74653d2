//! Compiled definitions are kept per session; they are read again when another session's change of definitions commits,
//! or when this one's rolls back (`pg::cache`), never by time.

use super::load::load;
use super::Catalog;
use crate::error::{internal, Result};
use crate::namespaces::Namespace;
use crate::pg::cache;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::traits::person::Person;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

struct Remembered {
    generation: u64,
    catalogs: HashMap<i32, Rc<Catalog>>,
}

thread_local! {
    static CATALOGS: RefCell<Remembered> = RefCell::new(Remembered { generation: 0, catalogs: HashMap::new() });
    static WATCHED: Cell<Option<[u32; 3]>> = const { Cell::new(None) };
}

/// Forgets everything; an aborted transaction may have made part of it.
pub fn forget() {
    if let Ok(mut remembered) = CATALOGS.try_with(|c| c.try_borrow_mut().map(|mut r| std::mem::take(&mut r.catalogs))) {
        if let Ok(catalogs) = remembered.as_mut() {
            catalogs.clear();
        }
    }
    WATCHED.set(None);
}

/// Makes this session hear of changes to definitions and partitions.
pub fn watch_definitions(spi: &Spi) -> Result<[u32; 3]> {
    if let Some(relations) = WATCHED.get() {
        return Ok(relations);
    }
    let relations = spi
        .query_latest(
            "SELECT '_cdp.definition_versions'::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int8, \
                    '_cdp.events'::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int8, \
                    '_cdp.outbox'::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int8",
            &[],
        )?
        .first(|row| Ok([row.i64(0)? as u32, row.i64(1)? as u32, row.i64(2)? as u32]))?
        .ok_or_else(|| internal("the tables of cdp are missing"))?;
    cache::watch(relations);
    WATCHED.set(Some(relations));
    Ok(relations)
}

/// Takes the next version of a namespace's definitions. Changes of one namespace queue here.
pub fn next_version(spi: &Spi, namespace: &Namespace) -> Result<i32> {
    let version = spi
        .query(
            "INSERT INTO _cdp.definition_versions AS v (namespace_id, version) VALUES ($1, 1) \
             ON CONFLICT (namespace_id) DO UPDATE SET version = v.version OPERATOR(pg_catalog.+) 1 RETURNING version",
            &[Param::Int4(namespace.id)],
        )?
        .first(|row| row.i32(0))?
        .ok_or_else(|| internal("no definition version"))?;
    invalidate(spi)?;
    Ok(version)
}

/// Makes every session read the definitions again once this transaction commits, and this one at once.
pub fn invalidate(spi: &Spi) -> Result<()> {
    let [versions, ..] = watch_definitions(spi)?;
    cache::invalidate(versions);
    forget();
    Ok(())
}

/// Definitions that cover what these people were brought to.
pub fn covering(spi: &Spi, namespace: &Namespace, people: &[Person]) -> Result<Rc<Catalog>> {
    let catalog = current(spi, namespace)?;
    if people.iter().all(|person| person.version <= catalog.version) {
        return Ok(catalog);
    }
    // A session with later definitions was here first, and the news of them is still on its way.
    forget();
    current(spi, namespace)
}

/// The compiled definitions of a namespace.
pub fn current(spi: &Spi, namespace: &Namespace) -> Result<Rc<Catalog>> {
    watch_definitions(spi)?;
    cache::hear();
    let generation = cache::generation();
    let known = CATALOGS
        .with_borrow(|r| (r.generation == generation).then(|| r.catalogs.get(&namespace.id).cloned()).flatten());
    if let Some(catalog) = known {
        return Ok(catalog);
    }
    let catalog = Rc::new(load(spi, namespace.id)?);
    CATALOGS.with_borrow_mut(|r| {
        if r.generation != generation {
            r.generation = generation;
            r.catalogs.clear();
        }
        r.catalogs.insert(namespace.id, catalog.clone());
    });
    Ok(catalog)
}
