//! Two profiles turn out to be one person: everything moves at once, except events, which stay where they
//! are and are read through the survivor.

use super::profile_traits;
use crate::error::Result;
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::session;
use crate::pg::spi::{Rows, Spi};
use crate::traits::person::{self, Person};
use crate::traits::{engine, evaluate, settle};
use cdp_value::Timestamp;
use std::collections::{BTreeSet, HashMap};

/// A merge that identity resolution decided on.
pub struct Merge {
    pub survivor: i64,
    pub absorbed: i64,
    pub message_id: Option<String>,
    pub rule: &'static str,
}

/// Merges in order; false when one of the profiles was merged by somebody else meanwhile, or has something that the
/// transaction's snapshot does not show. The caller evaluates the survivors.
pub fn merge(spi: &Spi, namespace: &Namespace, merges: &[Merge], now: Timestamp) -> Result<bool> {
    if merges.is_empty() {
        return Ok(true);
    }
    let ids: BTreeSet<i64> = merges.iter().flat_map(|m| [m.survivor, m.absorbed]).collect();
    let ids: Vec<i64> = ids.into_iter().collect();
    // Waits for whoever folds events into one of them: a merge needs all that was committed.
    let mut people = person::lock_waiting(spi, &ids)?;
    if people.len() != ids.len() || !sees_everything(spi, &ids)? {
        return Ok(false);
    }
    let settled = settle::settle(spi, namespace, &mut people, None, now)?;
    let catalog = &settled.catalog;
    // What time had changed before the two were one happened to each of them.
    if people.iter().any(|person| person.due.is_some_and(|due| due <= now)) {
        evaluate::load_references(spi, catalog, &mut people)?;
        let changes = evaluate::advance(spi, catalog, &settled.calendar, &mut people, now)?;
        engine::finish(spi, catalog, namespace, &mut people, &changes, now)?;
    }

    let parents: HashMap<i64, i64> = merges.iter().map(|m| (m.absorbed, m.survivor)).collect();
    let mut by_id: HashMap<i64, Person> = people.into_iter().map(|p| (p.profile_id, p)).collect();
    for merge in merges {
        let (Some(absorbed), Some(survivor)) = (by_id.remove(&merge.absorbed), by_id.get_mut(&merge.survivor)) else {
            continue;
        };
        survivor.state.merge(&absorbed.state).map_err(|error| person::corrupt(survivor.profile_id, &error))?;
        survivor.absorbed.push(absorbed.profile_id);
        survivor.absorbed.extend(&absorbed.absorbed);
        survivor.created_at = survivor.created_at.min(absorbed.created_at);
        // Looked at as soon as either would have been.
        survivor.due = match (survivor.due, absorbed.due) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        move_rows(spi, namespace, merge, last_survivor(&parents, merge), now)?;
        profile_traits::merge(spi, namespace.id, merge.survivor, merge.absorbed)?;
    }
    let mut survivors: Vec<Person> =
        by_id.into_values().filter(|p| merges.iter().any(|m| m.survivor == p.profile_id)).collect();
    survivors.sort_by_key(|p| p.profile_id);
    for survivor in &survivors {
        spi.execute(
            "UPDATE _cdp.profiles SET absorbed = $2, created_at = $3 WHERE profile_id OPERATOR(pg_catalog.=) $1",
            &[
                Param::Int8(survivor.profile_id),
                Param::Int8Array(&survivor.absorbed),
                Param::Timestamp(survivor.created_at),
            ],
        )?;
    }
    crate::traits::timers::set(spi, &mut survivors, now)?;
    person::save(spi, catalog, &mut survivors, now)?;
    Ok(true)
}

/// Who has survived when all merges are done.
fn last_survivor(parents: &HashMap<i64, i64>, merge: &Merge) -> i64 {
    let mut last = merge.survivor;
    while let Some(parent) = parents.get(&last) {
        last = *parent;
    }
    last
}

/// Whether the transaction sees all that was committed of people it holds. One with a snapshot of its own would leave
/// behind what others gave them since; where they changed the profile's row as well, locking it has failed already.
fn sees_everything(spi: &Spi, profile_ids: &[i64]) -> Result<bool> {
    if !session::has_transaction_snapshot() {
        return Ok(true);
    }
    const BELONGINGS: &str = "SELECT (SELECT pg_catalog.count(*) FROM _cdp.identifiers AS i WHERE i.profile_id OPERATOR(pg_catalog.=) ANY ($1)), \
         (SELECT pg_catalog.count(*) FROM _cdp.group_members AS m WHERE m.profile_id OPERATOR(pg_catalog.=) ANY ($1)), \
         (SELECT pg_catalog.count(*) FROM _cdp.segment_members AS m WHERE m.profile_id OPERATOR(pg_catalog.=) ANY ($1)), \
         (SELECT pg_catalog.count(*) FROM _cdp.flag_overrides AS o WHERE o.profile_id OPERATOR(pg_catalog.=) ANY ($1))";
    let counts = |rows: Rows| rows.first(|row| Ok([row.i64(0)?, row.i64(1)?, row.i64(2)?, row.i64(3)?]));
    let parameters = [Param::Int8Array(profile_ids)];
    Ok(counts(spi.query(BELONGINGS, &parameters)?)? == counts(spi.query_latest(BELONGINGS, &parameters)?)?)
}

/// Everything that belongs to the absorbed profile now belongs to the survivor. What there is one of for each
/// identifier or profile goes to the last survivor at once: passed on from one to the next, it would be written
/// as often as there are merges.
fn move_rows(spi: &Spi, namespace: &Namespace, merge: &Merge, last: i64, now: Timestamp) -> Result<()> {
    let pair = [Param::Int8(merge.survivor), Param::Int8(merge.absorbed)];
    let to_last = [Param::Int8(last), Param::Int8(merge.absorbed)];
    spi.execute(
        "UPDATE _cdp.profiles SET merged_into = $1, absorbed = NULL, state = '\\x', computed = '\\x', due = NULL, event_count = 0, \
             first_seen = NULL, last_seen = NULL WHERE profile_id OPERATOR(pg_catalog.=) $2",
        &to_last,
    )?;
    spi.execute("UPDATE _cdp.profiles SET merged_into = $1 WHERE merged_into OPERATOR(pg_catalog.=) $2", &to_last)?;
    spi.execute(
        "UPDATE _cdp.identifiers AS i SET profile_id = $1, slot = i.slot OPERATOR(pg_catalog.+) COALESCE(( \
             SELECT pg_catalog.max(s.slot) FROM _cdp.identifiers AS s WHERE s.profile_id OPERATOR(pg_catalog.=) $1 \
                 AND s.kind_id OPERATOR(pg_catalog.=) i.kind_id), 0) \
         WHERE i.profile_id OPERATOR(pg_catalog.=) $2",
        &to_last,
    )?;
    spi.execute(
        "INSERT INTO _cdp.profile_merges (absorbed_id, survivor_id, namespace_id, merged_at, message_id, rule) VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            Param::Int8(merge.absorbed),
            Param::Int8(merge.survivor),
            Param::Int4(namespace.id),
            Param::Timestamp(now),
            Param::OptionalText(merge.message_id.as_deref()),
            Param::Text(merge.rule),
        ],
    )?;
    spi.execute(
        "WITH moved AS (DELETE FROM _cdp.segment_members WHERE profile_id OPERATOR(pg_catalog.=) $2 RETURNING segment_id, namespace_id, since) \
         INSERT INTO _cdp.segment_members AS m (profile_id, segment_id, namespace_id, since) SELECT $1, segment_id, namespace_id, since FROM moved \
         ON CONFLICT (profile_id, segment_id) DO UPDATE SET since = LEAST(m.since, EXCLUDED.since)",
        &pair,
    )?;
    spi.execute(
        "WITH moved AS (DELETE FROM _cdp.group_members WHERE profile_id OPERATOR(pg_catalog.=) $2 RETURNING group_id, namespace_id, joined_at) \
         INSERT INTO _cdp.group_members AS m (profile_id, group_id, namespace_id, joined_at) SELECT $1, group_id, namespace_id, joined_at FROM moved \
         ON CONFLICT (profile_id, group_id) DO UPDATE SET joined_at = GREATEST(m.joined_at, EXCLUDED.joined_at)",
        &pair,
    )?;
    spi.execute(
        "WITH moved AS (DELETE FROM _cdp.flag_overrides WHERE profile_id OPERATOR(pg_catalog.=) $2 \
             RETURNING flag_id, namespace_id, variant, set_at, set_by) \
         INSERT INTO _cdp.flag_overrides (profile_id, flag_id, namespace_id, variant, set_at, set_by) \
         SELECT $1, flag_id, namespace_id, variant, set_at, set_by FROM moved ON CONFLICT (profile_id, flag_id) DO NOTHING",
        &pair,
    )?;
    spi.execute("DELETE FROM _cdp.timers WHERE profile_id OPERATOR(pg_catalog.=) $1", &[Param::Int8(merge.absorbed)])?;
    Ok(())
}
