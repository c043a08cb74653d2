//! Definitions that are newer than a person: filled in from the person's events, by whoever meets the
//! person first. A reader does it in memory, a writer for good, and the sweep takes everybody.
//!
//! Nothing is lost or counted twice meanwhile: a person is of one definition version, and a slot newer than
//! that is computed from `_cdp.events` as a whole.

use super::catalog::{self, Catalog};
use super::context::PersonContext;
use super::edges;
use super::evaluate::{self, Cause};
use super::person::{self, Person};
use super::settle::{self, Look};
use super::{past, pending};
use crate::error::Result;
use crate::guc;
use crate::identity::groups;
use crate::namespaces::{self, Namespace};
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::segments::lists;
use cdp_expr::Expr;
use cdp_state::{Calendar, Specs, State};
use cdp_value::{Timestamp, Value};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// People evaluated together.
const CHUNK: usize = 1_000;
/// People whom the sweep brings up to date in one transaction, and about how many events they may have together: the
/// more at once, the fewer times the events are read through.
const SWEPT_PEOPLE: i64 = 10_000;
const SWEPT_EVENTS: i64 = 2_000_000;

/// Brings people up to the catalog's version: slots they lack are computed from their events, as far as windows reach
/// back from `now` or from what people have yet to be taken through. Returns whether any were read.
pub fn fill(
    spi: &Spi,
    catalog: &Catalog,
    calendar: &dyn Calendar,
    people: &mut [Person],
    now: Timestamp,
) -> Result<bool> {
    let mut at = now;
    let mut wanted: BTreeSet<usize> = BTreeSet::new();
    let mut whole = false;
    let mut owners: HashMap<i64, usize> = HashMap::new();
    for (position, person) in people.iter_mut().enumerate() {
        if person.version >= catalog.version {
            continue;
        }
        let mut lacks = person.version < 0;
        whole |= lacks;
        for (index, slot) in catalog.slots.iter().enumerate() {
            if slot.version > person.version {
                lacks = true;
                wanted.insert(index);
                person
                    .state
                    .adopt(slot.spec.id(), &State::new())
                    .map_err(|error| person::corrupt(person.profile_id, &error))?;
            }
        }
        if lacks {
            at = at.min(person.due.unwrap_or(now));
            owners.extend(person.profile_ids().map(|id| (id, position)));
        }
    }
    let reads = !owners.is_empty();
    if reads {
        past::read(spi, catalog, calendar, people, &past::Wanted { owners, slots: wanted, whole, at })?;
    }
    for person in people.iter_mut() {
        if person.version < catalog.version {
            person.state.keep(|slot| catalog.spec(slot).is_some());
            let lacked = catalog.slots.iter().any(|slot| slot.version > person.version);
            if lacked && !whole {
                person.state.starts_at(at);
            }
            person.version = catalog.version;
            person
                .computed
                .keep(|id| catalog.traits.iter().any(|t| t.id == id) || catalog.scores.iter().any(|s| s.id == id));
        }
    }
    Ok(reads)
}

/// Loads people up to date, with what is pending, for reading; with the definitions they were brought to.
pub fn read_people(spi: &Spi, namespace: &Namespace, profile_ids: &[i64]) -> Result<(Rc<Catalog>, Vec<Person>)> {
    let mut people = person::load(spi, profile_ids)?;
    let catalog = catalog::covering(spi, namespace, &people)?;
    pending::add(spi, &mut people)?;
    fill(spi, &catalog, &catalog.calendar(), &mut people, clock::now()?)?;
    // Flags and scores load what they need when somebody asks for them.
    let traits = catalog.traits.iter().map(|t| &t.definition);
    let definitions = traits.chain(catalog.segments.iter().map(|s| &s.definition));
    evaluate::load_needed(spi, &catalog, &mut people, definitions, !catalog.segments.is_empty())?;
    Ok((catalog, people))
}

/// Asks for everybody of a namespace to be brought to `version`; small ones are done in this call.
pub fn start(spi: &Spi, namespace: &Namespace, version: i32) -> Result<()> {
    let total = spi
        .query(
            "SELECT pg_catalog.count(*) FROM _cdp.profiles WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND merged_into IS NULL",
            &[Param::Int4(namespace.id)],
        )?
        .first(|row| row.i64(0))?
        .unwrap_or(0);
    spi.execute(
        "INSERT INTO _cdp.sweeps (namespace_id, version, position, total, done, started_at) VALUES ($1, $2, 0, $3, 0, $4) \
         ON CONFLICT (namespace_id) DO UPDATE SET version = EXCLUDED.version, position = 0, total = EXCLUDED.total, done = 0, \
             started_at = EXCLUDED.started_at, swept = false, made_by = EXCLUDED.made_by, barrier = NULL",
        &[Param::Int4(namespace.id), Param::Int4(version), Param::Int8(total), Param::Timestamp(clock::real())],
    )?;
    if total <= guc::backfill_in_call() {
        while !sweep_namespace(spi, namespace)?.is_over {}
    }
    Ok(())
}

/// Does part of what is left; returns how many people were done.
pub fn sweep(spi: &Spi) -> Result<usize> {
    let namespaces = spi
        .query(
            "SELECT namespace_id FROM _cdp.sweeps WHERE NOT swept OR barrier IS NULL \
                 OR barrier OPERATOR(pg_catalog.<=) pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) \
                 OR barrier OPERATOR(pg_catalog.>) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) \
             ORDER BY started_at, namespace_id",
            &[],
        )?
        .map(|row| row.i32(0))?;
    for namespace_id in namespaces {
        let namespace = namespaces::by_id(spi, namespace_id)?;
        let part = sweep_namespace(spi, &namespace)?;
        if part.people > 0 {
            return Ok(part.people);
        }
    }
    Ok(0)
}

/// What one transaction, or one round in a call, does of a sweep.
struct Part {
    people: usize,
    /// Whether nothing is left that can be done now: others hold whoever is still behind.
    is_over: bool,
}

fn sweep_namespace(spi: &Spi, namespace: &Namespace) -> Result<Part> {
    let id = Param::Int4(namespace.id);
    let Some((version, position)) = spi
        .query(
            "SELECT version, position FROM _cdp.sweeps WHERE namespace_id OPERATOR(pg_catalog.=) $1 FOR UPDATE SKIP LOCKED",
            &[id],
        )?
        .first(|row| Ok((row.i32(0)?, row.i64(1)?)))?
    else {
        return Ok(Part { people: 0, is_over: true });
    };
    // The next who are behind, and whether they are all.
    let stale = |after: i64| -> Result<(Vec<i64>, bool)> {
        let rows = spi.query(
            "SELECT profile_id, event_count FROM _cdp.profiles WHERE namespace_id OPERATOR(pg_catalog.=) $1 \
                 AND profile_id OPERATOR(pg_catalog.>) $2 AND version OPERATOR(pg_catalog.<) $3 AND merged_into IS NULL \
                 ORDER BY profile_id LIMIT $4",
            &[id, Param::Int8(after), Param::Int4(version), Param::Int8(SWEPT_PEOPLE)],
        )?;
        let mut events = 0i64;
        let people = rows.map(|row| Ok((row.i64(0)?, row.i64(1)?)))?;
        let found = people.len();
        let within = |(_, count): &(i64, i64)| {
            let fits = events < SWEPT_EVENTS;
            events = events.saturating_add(*count);
            fits
        };
        let ids: Vec<i64> = people.into_iter().take_while(within).map(|(profile_id, _)| profile_id).collect();
        let are_all = after == 0 && ids.len() == found && (found as i64) < SWEPT_PEOPLE;
        Ok((ids, are_all))
    };
    let (ids, are_all) = stale(position)?;
    let Some(last) = ids.last() else {
        // The end was reached; whoever was held by others on the way is taken in another round.
        if position == 0 || stale(0)?.0.is_empty() {
            end_sweep(spi, namespace)?;
        } else {
            spi.execute("UPDATE _cdp.sweeps SET position = 0 WHERE namespace_id OPERATOR(pg_catalog.=) $1", &[id])?;
        }
        return Ok(Part { people: 0, is_over: true });
    };
    let first = ids.first().unwrap_or(last);
    let people = person::lock_stretch(spi, namespace.id, (*first, *last), version)?;
    let done = settle::refresh(spi, namespace, people, Look::Definitions, &Cause::Definition, clock::now()?)?;
    spi.execute(
        "UPDATE _cdp.sweeps SET position = $2, done = done OPERATOR(pg_catalog.+) $3 WHERE namespace_id OPERATOR(pg_catalog.=) $1",
        &[id, Param::Int8(*last), Param::Int8(done as i64)],
    )?;
    let is_over = are_all && done >= ids.len();
    if is_over {
        end_sweep(spi, namespace)?;
    }
    Ok(Part { people: ids.len(), is_over })
}

/// Everybody who can be seen is up to date. A transaction that began before the change was committed may still bring
/// people of the earlier definitions: the sweep ends when all of those are over, and until then readers know.
fn end_sweep(spi: &Spi, namespace: &Namespace) -> Result<()> {
    let id = [Param::Int4(namespace.id)];
    // The transaction that makes the change cannot know yet which others will have begun before it commits; and a
    // barrier from before a restore is none.
    spi.execute(
        "UPDATE _cdp.sweeps SET swept = true, \
             barrier = CASE WHEN made_by OPERATOR(pg_catalog.<>) pg_catalog.pg_current_xact_id() \
                 THEN pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) END \
         WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND (NOT swept OR barrier IS NULL \
             OR barrier OPERATOR(pg_catalog.>) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()))",
        &id,
    )?;
    spi.execute(
        "DELETE FROM _cdp.sweeps WHERE namespace_id OPERATOR(pg_catalog.=) $1 \
             AND barrier OPERATOR(pg_catalog.<=) pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())",
        &id,
    )?;
    Ok(())
}

/// Computes people from their events alone, waiting for those who hold them; returns how many.
pub fn rebuild_people(spi: &Spi, namespace: &Namespace, ids: &[i64], cause: &Cause) -> Result<usize> {
    let people = person::lock_whatever_state(spi, ids)?;
    settle::refresh(spi, namespace, people, Look::Rebuild, cause, clock::now()?)
}

/// Computes people again from their events; all of a namespace when `ids` is None. Returns how many.
pub fn rebuild(spi: &Spi, namespace: &Namespace, ids: Option<&[i64]>) -> Result<i64> {
    if let Some(ids) = ids {
        return Ok(rebuild_people(spi, namespace, ids, &Cause::Rebuild)? as i64);
    }
    let mut after = 0;
    let mut done = 0;
    loop {
        let ids = person::next_ids(spi, namespace.id, after, CHUNK as i64)?;
        let Some(last) = ids.last() else { return Ok(done) };
        after = *last;
        done += rebuild_people(spi, namespace, &ids, &Cause::Rebuild)? as i64;
        crate::pg::session::check_for_interrupts();
    }
}

/// People of whom stored memberships may not be the last word: due by time, behind the definitions, or with
/// events that another transaction left to be folded in.
pub fn unsettled(spi: &Spi, namespace: &Namespace, version: i32, now: Timestamp) -> Result<Vec<i64>> {
    let id = Param::Int4(namespace.id);
    let mut ids: BTreeSet<i64> = spi
        .query(
            "SELECT profile_id FROM _cdp.timers WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND due OPERATOR(pg_catalog.<=) $2",
            &[id, Param::Timestamp(now)],
        )?
        .map(|row| row.i64(0))?
        .into_iter()
        .collect();
    ids.extend(pending_people(spi, namespace.id)?);
    ids.extend(groups::unsettled(spi, namespace.id)?);
    ids.extend(lists::unsettled(spi, namespace.id)?);
    let sweeping =
        spi.query("SELECT 1 FROM _cdp.sweeps WHERE namespace_id OPERATOR(pg_catalog.=) $1", &[id])?.processed;
    if sweeping > 0 {
        ids.extend(
            spi.query(
                "SELECT profile_id FROM _cdp.profiles WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.<) $2 \
                     AND merged_into IS NULL",
                &[id, Param::Int4(version)],
            )?
            .map(|row| row.i64(0))?,
        );
    }
    Ok(ids.into_iter().collect())
}

/// People with something that another transaction left to be folded in.
pub fn pending_people(spi: &Spi, namespace_id: i32) -> Result<Vec<i64>> {
    spi.query(
        "SELECT DISTINCT COALESCE(p.merged_into, p.profile_id) FROM _cdp.pending_folds AS f \
         CROSS JOIN LATERAL (SELECT merged_into, profile_id FROM _cdp.profiles AS p \
             WHERE p.profile_id OPERATOR(pg_catalog.=) f.profile_id OFFSET 0) AS p WHERE f.namespace_id OPERATOR(pg_catalog.=) $1",
        &[Param::Int4(namespace_id)],
    )?
    .map(|row| row.i64(0))
}

/// As [`evaluate_once`], for everybody of a namespace.
pub fn evaluate_everybody(
    spi: &Spi,
    namespace: &Namespace,
    catalog: &Catalog,
    expression: &Expr,
    mut each: impl FnMut(i64, Value),
) -> Result<()> {
    let mut after = 0;
    loop {
        let ids = person::next_ids(spi, namespace.id, after, CHUNK as i64)?;
        let Some(last) = ids.last() else { return Ok(()) };
        after = *last;
        for (profile_id, value) in evaluate_once(spi, catalog, expression, &ids)? {
            each(profile_id, value);
        }
        crate::pg::session::check_for_interrupts();
    }
}

/// The value of an expression that is not stored, for some people, computed from their events where no slot
/// answers it.
pub fn evaluate_once(
    spi: &Spi,
    catalog: &Catalog,
    expression: &Expr,
    profile_ids: &[i64],
) -> Result<Vec<(i64, Value)>> {
    let extended = catalog.with_expression(expression)?;
    let calendar = catalog.calendar();
    let at = clock::now()?;
    let mut people = person::load(spi, profile_ids)?;
    pending::add(spi, &mut people)?;
    fill(spi, &extended.catalog, &calendar, &mut people, at)?;
    person::load_traits(spi, &mut people)?;
    person::load_groups(spi, &mut people)?;
    if extended.definition.needs_lists {
        lists::load(spi, &extended.catalog, people.iter_mut())?;
    }
    let edges = edges::read(
        spi,
        &extended.catalog,
        people.iter().map(|person| (person, person.instant(at), extended.definition.aggregates.as_slice())),
    )?;
    people
        .iter()
        .map(|person| {
            let context = PersonContext::new(&extended.catalog, person, person.instant(at), &calendar, &edges);
            let value = context.value(&extended.definition);
            context.check()?;
            Ok((person.profile_id, value))
        })
        .collect()
}
