//! Groups (companies, accounts): their traits, and who belongs to them.
//!
//! A group is shared by many people, so its row would be the one that everybody waits for. It is treated as a
//! person's row is: whoever finds it locked leaves the traits in `_cdp.pending_group_traits`; readers add them,
//! the next writer or the worker folds them in. A row of a new group is made only by the holder of a lock that
//! nobody waits for either. Memberships belong to the person ([`super::attributes`]).
//!
//! Everybody in a group is looked at again when its traits change. The call does not do that, as a group may have
//! any number of members: it leaves an empty pending row, from which readers see that the members are unsettled
//! and the worker that they have to be looked at.

use super::attributes::Attributes;
use super::profile_traits;
use crate::error::Result;
use crate::ingest::Accepted;
use crate::namespaces::{self, Namespace};
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::pg::{clock, lock, session};
use crate::traits::catalog::{self, Catalog};
use crate::traits::person::Person;
use cdp_message::MessageType;
use cdp_profile::Traits;
use cdp_state::State;
use cdp_value::Timestamp;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Groups whose rows this transaction holds, with their traits.
type Held = BTreeMap<String, Traits>;

/// New groups share this many locks: a batch of any size takes few of them.
const SLOTS: u64 = 64;

/// Applies the traits of a batch's group calls.
pub fn apply(spi: &Spi, namespace: &Namespace, batch: &[Accepted], now: Timestamp) -> Result<()> {
    let mut brought: BTreeMap<&str, Traits> = BTreeMap::new();
    for accepted in batch.iter().filter(|a| a.message.kind == MessageType::Group) {
        if let Some(group_id) = accepted.message.group_id.as_deref() {
            let traits = brought.entry(group_id).or_default();
            if let Some(document) = &accepted.message.traits {
                traits.apply(document.value(), accepted.message.timestamp);
            }
        }
    }
    if brought.is_empty() {
        return Ok(());
    }
    let group_ids: Vec<&str> = brought.keys().copied().collect();
    let (before, new) = hold(spi, namespace.id, &group_ids, now)?;
    let mut after = before.clone();
    absorb(spi, namespace.id, &mut after)?;
    for (group_id, traits) in &mut after {
        if let Some(brought) = brought.get(group_id.as_str()) {
            traits.follow(brought);
        }
    }
    save(spi, namespace.id, &before, &after)?;

    let mut pending: BTreeMap<&str, &Traits> = brought
        .iter()
        .filter(|(id, traits)| !before.contains_key(**id) && **traits != Traits::default())
        .map(|(id, t)| (*id, t))
        .collect();
    let marker = Traits::default();
    if needs_groups(&*catalog::current(spi, namespace)?) {
        for group_id in changed(&before, &after) {
            if !new.contains(group_id) {
                pending.insert(group_id, &marker);
            }
        }
    }
    append(spi, namespace.id, &pending)
}

/// Whether an answer depends on the traits of groups.
fn needs_groups(catalog: &Catalog) -> bool {
    catalog.definitions().any(|(_, _, definition)| definition.needs_groups)
}

/// Locks those groups that no other transaction holds, making the rows of new ones; also returns which those are.
fn hold(spi: &Spi, namespace_id: i32, group_ids: &[&str], now: Timestamp) -> Result<(Held, HashSet<String>)> {
    let mut new = HashSet::new();
    // With one snapshot for the whole transaction, a row changed since would make it fail.
    if session::has_transaction_snapshot() {
        return Ok((Held::new(), new));
    }
    let parameters = [Param::Int4(namespace_id), Param::TextArray(group_ids)];
    let rows = spi.query(
        "SELECT group_id, traits, updated FROM _cdp.groups WHERE namespace_id OPERATOR(pg_catalog.=) $1 \
             AND group_id OPERATOR(pg_catalog.=) ANY ($2) ORDER BY group_id FOR UPDATE SKIP LOCKED",
        &parameters,
    )?;
    let mut held: Held = rows.map(|row| Ok((row.text(0)?, profile_traits::read(row, 1, 2))))?.into_iter().collect();
    if held.len() == group_ids.len() {
        return Ok((held, new));
    }
    let rows = spi.query(
        "SELECT group_id FROM _cdp.groups WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND group_id OPERATOR(pg_catalog.=) ANY ($2)",
        &parameters,
    )?;
    let known: HashSet<String> = rows.map(|row| row.text(0))?.into_iter().collect();
    let missing: Vec<&str> = group_ids.iter().copied().filter(|id| !known.contains(*id)).collect();
    let slots: BTreeSet<u64> = missing.iter().map(|id| slot(namespace_id, id)).collect();
    let mut mine = HashSet::new();
    for slot in slots {
        if lock::try_group_slot(relation(spi)?, slot as u32) {
            mine.insert(slot);
        }
    }
    let missing: Vec<&str> = missing.into_iter().filter(|id| mine.contains(&slot(namespace_id, id))).collect();
    if !missing.is_empty() {
        // Whoever made one of them meanwhile has committed, as the lock was free: nothing to wait for.
        let rows = spi.query(
            "INSERT INTO _cdp.groups (namespace_id, group_id, created_at) SELECT $1, g, $3 FROM pg_catalog.unnest($2) AS g \
             ON CONFLICT DO NOTHING RETURNING group_id",
            &[Param::Int4(namespace_id), Param::TextArray(&missing), Param::Timestamp(now)],
        )?;
        for group_id in rows.map(|row| row.text(0))? {
            held.insert(group_id.clone(), Traits::default());
            new.insert(group_id);
        }
    }
    Ok((held, new))
}

fn slot(namespace_id: i32, group_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (namespace_id, group_id).hash(&mut hasher);
    hasher.finish() % SLOTS
}

fn relation(spi: &Spi) -> Result<u32> {
    let oid = spi
        .query("SELECT '_cdp.groups'::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int8", &[])?
        .first(|row| row.i64(0))?;
    Ok(oid.and_then(|oid| u32::try_from(oid).ok()).unwrap_or(0))
}

/// Adds what is pending to groups that this transaction holds; returns which of them were only marked.
fn absorb(spi: &Spi, namespace_id: i32, held: &mut Held) -> Result<BTreeSet<String>> {
    let mut marked = BTreeSet::new();
    if held.is_empty() {
        return Ok(marked);
    }
    let group_ids: Vec<&str> = held.keys().map(String::as_str).collect();
    let rows = spi.query(
        "WITH gone AS (DELETE FROM _cdp.pending_group_traits WHERE namespace_id OPERATOR(pg_catalog.=) $1 \
             AND group_id OPERATOR(pg_catalog.=) ANY ($2) RETURNING pending_id, group_id, traits, updated) \
         SELECT group_id, traits, updated FROM gone ORDER BY pending_id",
        &[Param::Int4(namespace_id), Param::TextArray(&group_ids)],
    )?;
    for (group_id, traits) in rows.map(|row| Ok((row.text(0)?, profile_traits::read(row, 1, 2))))? {
        if traits == Traits::default() {
            marked.insert(group_id);
        } else if let Some(held) = held.get_mut(&group_id) {
            held.follow(&traits);
        }
    }
    Ok(marked)
}

/// The groups whose traits have other values than before.
fn changed<'a>(before: &'a Held, after: &'a Held) -> impl Iterator<Item = &'a str> {
    after
        .iter()
        .filter(|(id, traits)| {
            before.get(*id).is_none_or(|before| before != *traits && before.values() != traits.values())
        })
        .map(|(id, _)| id.as_str())
}

fn save(spi: &Spi, namespace_id: i32, before: &Held, after: &Held) -> Result<()> {
    let written: Vec<(&String, &Traits)> =
        after.iter().filter(|(id, traits)| before.get(*id) != Some(*traits)).collect();
    if written.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = written.iter().map(|w| w.0.as_str()).collect();
    let values: Vec<String> = written.iter().map(|w| w.1.values().to_string()).collect();
    let times: Vec<String> = written.iter().map(|w| w.1.times().to_string()).collect();
    let values: Vec<Option<&str>> = values.iter().map(|v| Some(v.as_str())).collect();
    let times: Vec<Option<&str>> = times.iter().map(|t| Some(t.as_str())).collect();
    spi.execute_hashed(
        "UPDATE _cdp.groups AS g SET traits = t.traits, updated = t.updated \
         FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) AS t (group_id, traits, updated) \
         WHERE g.namespace_id OPERATOR(pg_catalog.=) $1 AND g.group_id OPERATOR(pg_catalog.=) ANY ($2) \
               AND g.group_id OPERATOR(pg_catalog.=) t.group_id",
        &[Param::Int4(namespace_id), Param::TextArray(&ids), Param::JsonbArray(&values), Param::JsonbArray(&times)],
    )?;
    Ok(())
}

/// Leaves traits for whoever comes next; empty ones only say that the members have to be looked at.
fn append(spi: &Spi, namespace_id: i32, pending: &BTreeMap<&str, &Traits>) -> Result<()> {
    if pending.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = pending.keys().copied().collect();
    let values: Vec<String> = pending.values().map(|t| t.values().to_string()).collect();
    let times: Vec<String> = pending.values().map(|t| t.times().to_string()).collect();
    let values: Vec<Option<&str>> = values.iter().map(|v| Some(v.as_str())).collect();
    let times: Vec<Option<&str>> = times.iter().map(|t| Some(t.as_str())).collect();
    spi.execute(
        "INSERT INTO _cdp.pending_group_traits (namespace_id, group_id, traits, updated) \
         SELECT $1, t.* FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) AS t",
        &[Param::Int4(namespace_id), Param::TextArray(&ids), Param::JsonbArray(&values), Param::JsonbArray(&times)],
    )?;
    Ok(())
}

/// Folds for good what is pending, for up to `limit` groups, and asks for the members of those that changed to be
/// looked at; returns how many groups were done.
pub fn fold_pending(spi: &Spi, limit: usize) -> Result<usize> {
    let waiting = spi
        .query(
            "SELECT DISTINCT g.namespace_id, g.group_id FROM (SELECT namespace_id, group_id FROM _cdp.pending_group_traits LIMIT $1) AS g",
            &[Param::Int8(limit as i64)],
        )?
        .map(|row| Ok((row.i32(0)?, row.text(1)?)))?;
    let mut by_namespace: BTreeMap<i32, BTreeSet<String>> = BTreeMap::new();
    for (namespace_id, group_id) in waiting {
        by_namespace.entry(namespace_id).or_default().insert(group_id);
    }
    let mut done = 0;
    for (namespace_id, group_ids) in by_namespace {
        let namespace = namespaces::by_id(spi, namespace_id)?;
        let group_ids: Vec<&str> = group_ids.iter().map(String::as_str).collect();
        let (before, _) = hold(spi, namespace_id, &group_ids, clock::now()?)?;
        let mut after = before.clone();
        let mut unsettled = absorb(spi, namespace_id, &mut after)?;
        save(spi, namespace_id, &before, &after)?;
        unsettled.extend(changed(&before, &after).map(str::to_string));
        look_at_members(spi, &namespace, &unsettled)?;
        done += before.len();
    }
    Ok(done)
}

/// Leaves a pending row without events for every member, from which the worker looks at them.
fn look_at_members(spi: &Spi, namespace: &Namespace, group_ids: &BTreeSet<String>) -> Result<()> {
    let catalog = catalog::current(spi, namespace)?;
    if group_ids.is_empty() || !needs_groups(&catalog) {
        return Ok(());
    }
    let group_ids: Vec<&str> = group_ids.iter().map(String::as_str).collect();
    spi.execute(
        "INSERT INTO _cdp.pending_folds (namespace_id, version, profile_id, state) \
         SELECT $1, $2, m.profile_id, $3 FROM (SELECT DISTINCT profile_id FROM _cdp.group_members \
             WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND group_id OPERATOR(pg_catalog.=) ANY ($4)) AS m",
        &[
            Param::Int4(namespace.id),
            Param::Int4(catalog.version),
            Param::Bytes(&State::default().encode()),
            Param::TextArray(&group_ids),
        ],
    )?;
    Ok(())
}

/// Writes memberships of people whose rows this transaction holds; returns those people.
pub fn join(spi: &Spi, namespace_id: i32, brought: &BTreeMap<i64, Attributes>) -> Result<HashSet<i64>> {
    let members: Vec<(i64, &str, Timestamp)> = brought
        .iter()
        .flat_map(|(profile_id, attributes)| {
            attributes.groups.iter().map(|(group_id, at)| (*profile_id, group_id.as_str(), *at))
        })
        .collect();
    if members.is_empty() {
        return Ok(HashSet::new());
    }
    let profile_ids: Vec<i64> = members.iter().map(|m| m.0).collect();
    let group_ids: Vec<&str> = members.iter().map(|m| m.1).collect();
    let joined: Vec<i64> = members.iter().map(|m| m.2).collect();
    spi.execute(
        "INSERT INTO _cdp.group_members AS m (namespace_id, profile_id, group_id, joined_at) \
         SELECT $1, t.* FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) AS t \
         ON CONFLICT (profile_id, group_id) DO UPDATE SET joined_at = GREATEST(m.joined_at, EXCLUDED.joined_at)",
        &[
            Param::Int4(namespace_id),
            Param::Int8Array(&profile_ids),
            Param::TextArray(&group_ids),
            Param::TimestampArray(&joined),
        ],
    )?;
    Ok(profile_ids.into_iter().collect())
}

/// Makes these the memberships of people whose rows this transaction holds, and no others.
pub fn replace(spi: &Spi, namespace_id: i32, all: &BTreeMap<i64, Attributes>) -> Result<()> {
    let profile_ids: Vec<i64> = all.keys().copied().collect();
    spi.execute(
        "DELETE FROM _cdp.group_members WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1)",
        &[Param::Int8Array(&profile_ids)],
    )?;
    join(spi, namespace_id, all)?;
    Ok(())
}

/// The traits of groups, with what is pending. A group that has none is left out.
pub fn traits_of(spi: &Spi, namespace_id: i32, group_ids: &[&str]) -> Result<HashMap<String, Value>> {
    // One statement, so that what is folded in meanwhile is seen once.
    let rows = spi
        .query(
            "SELECT group_id, traits, updated, 0::pg_catalog.int8 FROM _cdp.groups WHERE namespace_id OPERATOR(pg_catalog.=) $1 \
                 AND group_id OPERATOR(pg_catalog.=) ANY ($2) \
             UNION ALL SELECT group_id, traits, updated, pending_id FROM _cdp.pending_group_traits \
                 WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND group_id OPERATOR(pg_catalog.=) ANY ($2) ORDER BY 4",
            &[Param::Int4(namespace_id), Param::TextArray(group_ids)],
        )?
        .map(|row| Ok((row.text(0)?, profile_traits::read(row, 1, 2))))?;
    let mut found = Held::new();
    for (group_id, traits) in rows {
        found.entry(group_id).or_default().follow(&traits);
    }
    Ok(found.into_iter().map(|(group_id, traits)| (group_id, traits.values())).collect())
}

/// All groups of a person, each with its traits.
pub fn of_person(spi: &Spi, person: &Person) -> Result<Value> {
    let mut group_ids: BTreeSet<String> = spi
        .query(
            "SELECT group_id FROM _cdp.group_members WHERE profile_id OPERATOR(pg_catalog.=) $1",
            &[Param::Int8(person.profile_id)],
        )?
        .map(|row| row.text(0))?
        .into_iter()
        .collect();
    group_ids.extend(person.pending.groups.keys().cloned());
    let wanted: Vec<&str> = group_ids.iter().map(String::as_str).collect();
    let mut traits = traits_of(spi, person.namespace_id, &wanted)?;
    let groups: Map<String, Value> = group_ids
        .into_iter()
        .map(|group_id| {
            let traits = traits.remove(&group_id).unwrap_or_else(|| Value::Object(Map::new()));
            (group_id, traits)
        })
        .collect();
    Ok(Value::Object(groups))
}

/// People in groups whose traits are about to be folded in: what is stored for them may not be the last word.
pub fn unsettled(spi: &Spi, namespace_id: i32) -> Result<Vec<i64>> {
    spi.query(
        "SELECT DISTINCT m.profile_id FROM _cdp.pending_group_traits AS g JOIN _cdp.group_members AS m \
             ON m.namespace_id OPERATOR(pg_catalog.=) g.namespace_id AND m.group_id OPERATOR(pg_catalog.=) g.group_id \
         WHERE g.namespace_id OPERATOR(pg_catalog.=) $1",
        &[Param::Int4(namespace_id)],
    )?
    .map(|row| row.i64(0))
}
