//! What changes by time alone: each person's next instant, and the work when it comes.

use super::evaluate::Cause;
use super::person::{self, Person};
use super::settle::{self, Look};
use crate::error::Result;
use crate::namespaces;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_value::Timestamp;
use std::collections::BTreeMap;

/// Notes when people are due. A timer that is set stays as it is when it turns out to be too early, as most events
/// make it: when it fires, somebody looks once more.
pub fn set(spi: &Spi, people: &mut [Person], now: Timestamp) -> Result<()> {
    for person in people.iter_mut() {
        let early = person.timer.filter(|timer| *timer > now && person.due.is_none_or(|due| due > *timer));
        person.due = early.or(person.due);
    }
    let changed: Vec<&Person> = people.iter().filter(|p| p.due != p.timer && p.due.is_some()).collect();
    if !changed.is_empty() {
        let ids: Vec<i64> = changed.iter().map(|p| p.profile_id).collect();
        let namespaces: Vec<i32> = changed.iter().map(|p| p.namespace_id).collect();
        let dues: Vec<Option<i64>> = changed.iter().map(|p| p.due).collect();
        spi.execute(
            "INSERT INTO _cdp.timers (profile_id, namespace_id, due) \
             SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS t \
             ON CONFLICT (profile_id) DO UPDATE SET due = EXCLUDED.due",
            &[Param::Int8Array(&ids), Param::Int4Array(&namespaces), Param::OptionalTimestampArray(&dues)],
        )?;
    }
    let gone: Vec<i64> = people.iter().filter(|p| p.timer.is_some() && p.due.is_none()).map(|p| p.profile_id).collect();
    if !gone.is_empty() {
        spi.execute(
            "DELETE FROM _cdp.timers WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1)",
            &[Param::Int8Array(&gone)],
        )?;
    }
    Ok(())
}

/// Does what is due, for up to `limit` people; returns how many were done.
pub fn run_due(spi: &Spi, limit: usize) -> Result<usize> {
    let now = clock::now()?;
    let due = spi
        .query(
            "SELECT namespace_id, profile_id FROM _cdp.timers WHERE due OPERATOR(pg_catalog.<=) $1 ORDER BY due LIMIT $2",
            &[Param::Timestamp(now), Param::Int8(limit as i64)],
        )?
        .map(|row| Ok((row.i32(0)?, row.i64(1)?)))?;
    let mut by_namespace: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for (namespace_id, profile_id) in due {
        by_namespace.entry(namespace_id).or_default().push(profile_id);
    }
    let mut done = 0;
    for (namespace_id, ids) in by_namespace {
        let namespace = namespaces::by_id(spi, namespace_id)?;
        let mut people = person::lock(spi, &ids)?;
        for person in &mut people {
            // The timer's own row may be older than what the profile knows; look at least once.
            person.due = Some(person.due.map_or(now, |due| due.min(now)));
        }
        done += settle::refresh(spi, &namespace, people, Look::Due, &Cause::Time, now)?;
    }
    Ok(done)
}
