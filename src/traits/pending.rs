//! Events, traits and groups of people whose row another transaction holds: kept beside it as a state of their
//! own, added by readers, and folded in for good by the next writer or the worker. Nobody waits.

use super::catalog::{self, Catalog};
use super::edges;
use super::engine::Event;
use super::evaluate::Cause;
use super::person::{self, Person};
use super::settle::{self, Look};
use crate::error::Result;
use crate::identity::attributes::{self, Attributes};
use crate::identity::groups;
use crate::namespaces::{self, Namespace};
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::segments::lists;
use cdp_profile::Traits;
use cdp_state::{Calendar, State};
use cdp_value::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What a batch leaves for people whose rows others hold.
pub struct Left<'a> {
    pub people: &'a HashSet<i64>,
    pub events: Vec<Event<'a>>,
    pub attributes: &'a BTreeMap<i64, Attributes>,
    /// The message that each person's changes are put down to.
    pub message_ids: HashMap<i64, &'a str>,
}

/// Stores the events of people held by others, and what was brought to those people beside.
pub fn append(spi: &Spi, namespace: &Namespace, catalog: &Catalog, calendar: &dyn Calendar, left: &Left) -> Result<()> {
    let Left { people: others, events, attributes: brought, message_ids } = left;
    if others.is_empty() {
        return Ok(());
    }
    // Also for people without an event in this batch: something else is new, which the worker has to see.
    let mut states: BTreeMap<i64, State> = others.iter().map(|id| (*id, State::default())).collect();
    for event in events {
        let Some(state) = states.get_mut(&event.profile_id) else { continue };
        state.touch(event.at);
        let Some(touched) = catalog.event(event.name) else { continue };
        for slot in touched.slots.iter().filter_map(|i| catalog.slots.get(*i)) {
            if let Some(value) = edges::hit(slot, &event.properties, event.at) {
                state
                    .fold(&slot.spec, event.at, value.as_ref(), calendar)
                    .map_err(|error| person::corrupt(event.profile_id, &error))?;
            }
        }
    }
    let ids: Vec<i64> = states.keys().copied().collect();
    let encoded: Vec<Vec<u8>> = states.values().map(State::encode).collect();
    let encoded: Vec<&[u8]> = encoded.iter().map(Vec::as_slice).collect();
    let of = |id: &i64| brought.get(id);
    let with_traits = |id: &i64| of(id).filter(|a| a.traits != Traits::default());
    let traits: Vec<Option<String>> =
        ids.iter().map(|id| with_traits(id).map(|a| a.traits.values().to_string())).collect();
    let updated: Vec<Option<String>> =
        ids.iter().map(|id| with_traits(id).map(|a| a.traits.times().to_string())).collect();
    let groups: Vec<Option<String>> =
        ids.iter().map(|id| of(id).filter(|a| !a.groups.is_empty()).map(Attributes::groups_json)).collect();
    let traits: Vec<Option<&str>> = traits.iter().map(Option::as_deref).collect();
    let updated: Vec<Option<&str>> = updated.iter().map(Option::as_deref).collect();
    let groups: Vec<Option<&str>> = groups.iter().map(Option::as_deref).collect();
    let message_ids: Vec<Option<&str>> =
        ids.iter().map(|id| message_ids.get(id).copied().or_else(|| of(id).map(|a| a.message_id.as_str()))).collect();
    spi.execute(
        "INSERT INTO _cdp.pending_folds (namespace_id, version, profile_id, state, traits, updated, groups, message_id) \
         SELECT $1, $2, t.* FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), \
             pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)) AS t",
        &[
            Param::Int4(namespace.id),
            Param::Int4(catalog.version),
            Param::Int8Array(&ids),
            Param::BytesArray(&encoded),
            Param::JsonbArray(&traits),
            Param::JsonbArray(&updated),
            Param::JsonbArray(&groups),
            Param::OptionalTextArray(&message_ids),
        ],
    )?;
    Ok(())
}

/// Leaves a note without events for people, from which readers see that they are unsettled and the worker that they
/// have to be looked at.
pub fn note(spi: &Spi, namespace: &Namespace, profile_ids: &[i64]) -> Result<()> {
    if profile_ids.is_empty() {
        return Ok(());
    }
    spi.execute(
        "INSERT INTO _cdp.pending_folds (namespace_id, version, profile_id, state) SELECT $1, $2, p, $4 FROM pg_catalog.unnest($3) AS p",
        &[
            Param::Int4(namespace.id),
            Param::Int4(catalog::current(spi, namespace)?.version),
            Param::Int8Array(profile_ids),
            Param::Bytes(&State::default().encode()),
        ],
    )?;
    Ok(())
}

fn merge(person: &mut Person, version: i32, bytes: &[u8]) -> Result<()> {
    let merged = State::decode(bytes).and_then(|delta| person.state.merge(&delta));
    merged.map_err(|error| person::corrupt(person.profile_id, &error))?;
    // The delta knows the slots of its version only. Slots the person has and the delta lacks, or the other
    // way round, are filled again from the events, which are visible wherever the delta is.
    person.version = person.version.min(version);
    Ok(())
}

/// Folds what is pending into people whose rows this transaction holds, where there may be something; returns whom that
/// changed, with the message it is put down to.
pub fn absorb(spi: &Spi, people: &mut [Person], now: Timestamp) -> Result<HashMap<i64, Option<Cause>>> {
    let mut changed: HashMap<i64, Option<Cause>> = HashMap::new();
    let ids: Vec<i64> = people.iter().filter(|p| p.may_have_pending).flat_map(Person::profile_ids).collect();
    if ids.is_empty() {
        return Ok(changed);
    }
    let mut rows = spi.query(
        "WITH gone AS (DELETE FROM _cdp.pending_folds WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) \
         RETURNING pending_id, profile_id, version, state, traits, updated, groups, message_id) \
         SELECT profile_id, version, state, traits, updated, groups, message_id FROM gone ORDER BY pending_id",
        &[Param::Int8Array(&ids)],
    )?;
    if rows.processed == 0 {
        return Ok(changed);
    }
    let owners = owners(people);
    let mut brought: BTreeMap<i32, BTreeMap<i64, Attributes>> = BTreeMap::new();
    while rows.advance() {
        if let Some(person) = owners.get(&rows.i64(0)?).and_then(|i| people.get_mut(*i)) {
            merge(person, rows.i32(1)?, &rows.bytes(2)?)?;
            let cause = changed.entry(person.profile_id).or_default();
            *cause = rows.optional_text(6).map(|id| Cause::Message(id.into())).or(cause.take());
            if let Some(attributes) = Attributes::read(&rows, 3) {
                brought
                    .entry(person.namespace_id)
                    .or_default()
                    .entry(person.profile_id)
                    .or_default()
                    .follow(&attributes);
            }
        }
    }
    for (namespace_id, brought) in brought {
        attributes::fold(spi, namespace_id, &brought, &HashSet::new(), now)?;
    }
    Ok(changed)
}

/// Positions of people by every profile id that is theirs.
fn owners(people: &[Person]) -> HashMap<i64, usize> {
    people.iter().enumerate().flat_map(|(i, p)| p.profile_ids().map(move |id| (id, i))).collect()
}

/// Adds what is pending to people that are only read.
pub fn add(spi: &Spi, people: &mut [Person]) -> Result<()> {
    let ids: Vec<i64> = people.iter().flat_map(Person::profile_ids).collect();
    let mut rows = spi.query(
        "SELECT profile_id, version, state, traits, updated, groups, message_id FROM _cdp.pending_folds \
         WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY pending_id",
        &[Param::Int8Array(&ids)],
    )?;
    if rows.processed == 0 {
        return Ok(());
    }
    let owners = owners(people);
    while rows.advance() {
        if let Some(person) = owners.get(&rows.i64(0)?).and_then(|i| people.get_mut(*i)) {
            merge(person, rows.i32(1)?, &rows.bytes(2)?)?;
            if let Some(attributes) = Attributes::read(&rows, 3) {
                person.pending.follow(&attributes);
            }
        }
    }
    Ok(())
}

/// Folds for good what is pending, for up to `limit` people and groups; returns how many were done.
pub fn fold_pending(spi: &Spi, limit: usize) -> Result<usize> {
    let others = groups::fold_pending(spi, limit)? + lists::settle_changes(spi, limit)?;
    let waiting = spi
        .query(
            "SELECT DISTINCT p.namespace_id, COALESCE(p.merged_into, p.profile_id) \
             FROM (SELECT profile_id FROM _cdp.pending_folds LIMIT $1) AS f \
             CROSS JOIN LATERAL (SELECT namespace_id, merged_into, profile_id FROM _cdp.profiles AS p \
                 WHERE p.profile_id OPERATOR(pg_catalog.=) f.profile_id OFFSET 0) AS p",
            &[Param::Int8(limit as i64)],
        )?
        .map(|row| Ok((row.i32(0)?, row.i64(1)?)))?;
    let mut by_namespace: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for (namespace_id, profile_id) in waiting {
        by_namespace.entry(namespace_id).or_default().push(profile_id);
    }
    let mut done = others;
    for (namespace_id, ids) in by_namespace {
        let namespace = namespaces::by_id(spi, namespace_id)?;
        let people = person::lock(spi, &ids)?;
        done += settle::refresh(spi, &namespace, people, Look::Everything, &Cause::Time, clock::now()?)?;
    }
    Ok(done)
}
