//! Operating: rebuild, due work, health.

use super::{namespace, required};
use crate::decisions::exposure;
use crate::delivery;
use crate::error::Result;
use crate::identity::{resolve, unmerge};
use crate::namespaces::usage;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::function::{Call, Field, Returned};
use crate::pg::session;
use crate::pg::spi::Spi;
use crate::traits::{backfill, pending, timers};
use std::time::{Duration, Instant};

/// `cdp.rebuild(id, namespace)`: computes one person, or everybody, from the events again.
pub fn rebuild(call: &Call) -> Result<Returned> {
    let id = call.text(0);
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 1)?;
        match &id {
            Some(id) => {
                let profile_id = resolve::require(spi, &namespace, id)?;
                backfill::rebuild(spi, &namespace, Some(&[profile_id]))
            }
            None => backfill::rebuild(spi, &namespace, None),
        }
    })
    .map(|count| Returned::Value(Field::Int8(count)))
}

/// `cdp.run_due(max_seconds)`: does the workers' work here and now; returns how many people and messages were
/// dealt with.
pub fn run_due(call: &Call) -> Result<Returned> {
    const PEOPLE: usize = 1_000;
    let deadline = call.i32(0).map(|seconds| Instant::now() + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let done = Spi::connect(false, |spi| {
        crate::namespaces::bindings::require_all(spi, "cdp.run_due()")?;
        let mut done = 0;
        while !is_late() {
            let people = pending::fold_pending(spi, PEOPLE)? + backfill::sweep(spi)? + timers::run_due(spi, PEOPLE)?;
            let worked = crate::jobs::step(spi, PEOPLE as i64)?;
            if people == 0 && !worked {
                break;
            }
            done += people;
            session::check_for_interrupts();
        }
        while exposure::record_left(spi, PEOPLE as i64)? {}
        usage::store_decisions(spi, 0)?;
        while !is_late() && usage::close_day(spi, 0)? {}
        Ok(done + delivery::run::run_due(spi, deadline)?)
    })?;
    Ok(Returned::Value(Field::Int8(done as i64)))
}

/// `cdp.health()`: what runs, what does not, and what to do about it.
pub fn health(_: &Call) -> Result<Returned> {
    let rows = Spi::connect(true, crate::workers::health)?;
    Ok(Returned::Rows(
        rows.into_iter()
            .map(|(component, ok, detail)| vec![Field::Text(component), Field::Bool(ok), Field::Text(detail)])
            .collect(),
    ))
}

/// `cdp.unmerge(id, identifier, kind, namespace)`: rows (profile_id, identifiers, events) of the person, then of the
/// one who was split off.
pub fn unmerge(call: &Call) -> Result<Returned> {
    let (id, identifier) = (required(call, 0, "id")?, required(call, 1, "identifier")?);
    let kind = call.text(2);
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 3)?;
        let parted = unmerge::unmerge(spi, &namespace, &id, &identifier, kind.as_deref(), clock::now()?)?;
        spi.query(
            "SELECT p.profile_id, \
                 (SELECT pg_catalog.jsonb_object_agg(t.name, t.\"values\") FROM ( \
                     SELECT k.name, pg_catalog.jsonb_agg(i.value ORDER BY i.linked_at, i.value) AS \"values\" FROM _cdp.identifiers AS i \
                     JOIN _cdp.identifier_kinds AS k ON k.kind_id OPERATOR(pg_catalog.=) i.kind_id \
                     WHERE i.profile_id OPERATOR(pg_catalog.=) p.profile_id GROUP BY k.name) AS t), \
                 (SELECT pg_catalog.count(*) FROM _cdp.events AS e \
                  WHERE e.profile_id OPERATOR(pg_catalog.=) ANY (p.profile_id OPERATOR(pg_catalog.||) p.absorbed)) \
             FROM _cdp.profiles AS p WHERE p.profile_id OPERATOR(pg_catalog.=) ANY (ARRAY[$1, $2]) \
             ORDER BY p.profile_id OPERATOR(pg_catalog.=) $2",
            &[Param::Int8(parted.person), Param::Int8(parted.other)],
        )?
        .map(|row| {
            Ok(vec![Field::Int8(row.i64(0)?), Field::optional_jsonb(row.optional_jsonb(1)), Field::Int8(row.i64(2)?)])
        })
    })
    .map(Returned::Rows)
}
