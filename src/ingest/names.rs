//! The dictionary of event names: hot tables carry an integer.

use crate::error::{internal, Result};
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

thread_local! {
    /// By namespace, those that were seen in it.
    static IDS: RefCell<HashMap<i32, HashMap<String, i32>>> = RefCell::new(HashMap::new());
}

/// More names than this are not remembered by a session: someone puts ids into event names.
const MOST_REMEMBERED: usize = 50_000;

/// Forgets names that an aborted transaction may have made.
pub fn forget() {
    IDS.with_borrow_mut(HashMap::clear);
}

/// The ids of these names, making those that are new, in the database or in the namespace.
pub fn ids<'a>(spi: &Spi, namespace_id: i32, names: impl Iterator<Item = &'a str>) -> Result<HashMap<&'a str, i32>> {
    let wanted: BTreeSet<&str> = names.collect();
    let mut found = HashMap::with_capacity(wanted.len());
    let mut unknown = Vec::new();
    IDS.with_borrow(|ids| {
        let ids = ids.get(&namespace_id);
        for name in wanted {
            match ids.and_then(|ids| ids.get(name)) {
                Some(id) => {
                    found.insert(name, *id);
                }
                None => unknown.push(name),
            }
        }
    });
    if !unknown.is_empty() {
        let mut known = look_up(spi, &unknown)?;
        let missing: Vec<&str> = unknown.iter().copied().filter(|name| !known.contains_key(*name)).collect();
        if !missing.is_empty() {
            spi.execute(
                "INSERT INTO _cdp.event_names (name) SELECT n FROM pg_catalog.unnest($1) AS n ON CONFLICT DO NOTHING",
                &[Param::TextArray(&missing)],
            )?;
            known.extend(look_up(spi, &missing)?);
        }
        for name in unknown {
            let id = known.get(name).ok_or_else(|| internal(format!("no id for event name \"{name}\"")))?;
            found.insert(name, *id);
        }
        let mut seen: Vec<i32> = known.values().copied().collect();
        seen.sort_unstable();
        spi.execute(
            "INSERT INTO _cdp.namespace_event_names (namespace_id, event_name_id) \
             SELECT $1, n FROM pg_catalog.unnest($2) AS n ON CONFLICT DO NOTHING",
            &[Param::Int4(namespace_id), Param::Int4Array(&seen)],
        )?;
        IDS.with_borrow_mut(|ids| {
            let remembered: usize = ids.values().map(HashMap::len).sum();
            if remembered + known.len() > MOST_REMEMBERED {
                ids.clear();
            }
            ids.entry(namespace_id).or_default().extend(known);
        });
    }
    Ok(found)
}

/// The ids of those names that exist.
pub fn look_up(spi: &Spi, names: &[&str]) -> Result<HashMap<String, i32>> {
    let rows = spi.query_known(
        "SELECT name, event_name_id FROM _cdp.event_names WHERE name OPERATOR(pg_catalog.=) ANY ($1)",
        &[Param::TextArray(names)],
    )?;
    Ok(rows.map(|row| Ok((row.text(0)?, row.i32(1)?)))?.into_iter().collect())
}
