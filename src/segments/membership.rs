//! Who is in a segment now. Stored memberships are the answer for everybody but those whom time, a definition or
//! another transaction may have changed: these are asked themselves.

use crate::error::{unknown_key, Result};
use crate::namespaces::{self, Namespace};
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::segments::lists;
use crate::traits::backfill;
use crate::traits::catalog::{self, Catalog, Definition, Segment};
use crate::traits::context::PersonContext;
use crate::traits::edges;
use crate::traits::person::Person;
use cdp_value::Timestamp;
use std::collections::{BTreeMap, HashSet};

/// People asked together.
const CHUNK: usize = 1_000;

/// The position of a segment in the catalog.
pub fn position(catalog: &Catalog, key: &str) -> Result<usize> {
    catalog
        .segment_position(key)
        .ok_or_else(|| unknown_key("segment", key, catalog.segments.iter().map(|s| s.key.as_str())))
}

/// Since when somebody is in a segment: as stored, or, where time alone brought them in and the worker has not
/// been there yet, the instant at which that was due.
pub fn since(person: &Person, segment_id: i32, at: Timestamp) -> Timestamp {
    person.memberships.since(segment_id).unwrap_or_else(|| person.due.map_or(at, |due| due.min(at)))
}

/// People whose stored memberships may not be the last word, each with the segments (by id) that they are in, and
/// since when. `wanted` chooses the segments.
struct Unsettled {
    ids: Vec<i64>,
    memberships: Vec<(i64, i32, Timestamp)>,
}

fn unsettled(spi: &Spi, namespace: &Namespace, at: Timestamp, wanted: impl Fn(&Segment) -> bool) -> Result<Unsettled> {
    let version = catalog::current(spi, namespace)?.version;
    let ids = backfill::unsettled(spi, namespace, version, at)?;
    let mut memberships = Vec::new();
    for chunk in ids.chunks(CHUNK) {
        let (catalog, mut people) = backfill::read_people(spi, namespace, chunk)?;
        let segments: Vec<&Segment> = catalog.segments.iter().filter(|segment| wanted(segment)).collect();
        if segments.iter().any(|segment| segment.definition.needs_lists) {
            lists::load(spi, &catalog, people.iter_mut())?;
        }
        let calendar = catalog.calendar();
        let needed = Definition::aggregates(segments.iter().map(|segment| &segment.definition));
        let edges =
            edges::read(spi, &catalog, people.iter().map(|person| (person, person.instant(at), needed.as_slice())))?;
        for person in &people {
            let context = PersonContext::new(&catalog, person, person.instant(at), &calendar, &edges);
            for segment in segments.iter().filter(|segment| context.holds(&segment.definition)) {
                memberships.push((person.profile_id, segment.id, since(person, segment.id, at)));
            }
            context.check()?;
        }
        crate::pg::session::check_for_interrupts();
    }
    Ok(Unsettled { ids, memberships })
}

/// Everybody who is in a segment, and since when.
pub fn members(spi: &Spi, namespace: &Namespace, key: &str) -> Result<BTreeMap<i64, Timestamp>> {
    let catalog = catalog::current(spi, namespace)?;
    let position = position(&catalog, key)?;
    let Some(segment) = catalog.segments.get(position) else { return Ok(BTreeMap::new()) };
    let unsettled = unsettled(spi, namespace, clock::now()?, |found| found.id == segment.id)?;
    let mut members: BTreeMap<i64, Timestamp> = spi
        .query(
            "SELECT profile_id, since FROM _cdp.segment_members WHERE segment_id OPERATOR(pg_catalog.=) $1 \
                 AND profile_id OPERATOR(pg_catalog.<>) ALL ($2)",
            &[Param::Int4(segment.id), Param::Int8Array(&unsettled.ids)],
        )?
        .map(|row| Ok((row.i64(0)?, row.timestamp(1)?)))?
        .into_iter()
        .collect();
    members.extend(unsettled.memberships.into_iter().map(|(profile_id, _, since)| (profile_id, since)));
    Ok(members)
}

/// How many people are in each segment of all namespaces, by the segment's id.
pub fn counts(spi: &Spi) -> Result<BTreeMap<i32, i64>> {
    let namespaces = spi
        .query("SELECT DISTINCT namespace_id FROM _cdp.segments ORDER BY namespace_id", &[])?
        .map(|row| row.i32(0))?;
    let mut counts = BTreeMap::new();
    for namespace_id in namespaces {
        let namespace = namespaces::by_id(spi, namespace_id)?;
        let unsettled = unsettled(spi, &namespace, clock::now()?, |_| true)?;
        let stored = spi.query(
            "SELECT segment_id, pg_catalog.count(*) FROM _cdp.segment_members WHERE namespace_id OPERATOR(pg_catalog.=) $1 \
                 AND profile_id OPERATOR(pg_catalog.<>) ALL ($2) GROUP BY segment_id",
            &[Param::Int4(namespace_id), Param::Int8Array(&unsettled.ids)],
        )?;
        counts.extend(stored.map(|row| Ok((row.i32(0)?, row.i64(1)?)))?);
        for (_, segment_id, _) in unsettled.memberships {
            *counts.entry(segment_id).or_default() += 1;
        }
    }
    Ok(counts)
}

/// How many people are in the first of two segments only, in the second only, and in both.
pub fn overlap(spi: &Spi, namespace: &Namespace, keys: [&str; 2]) -> Result<[i64; 3]> {
    let catalog = catalog::current(spi, namespace)?;
    let mut ids = [0; 2];
    for (id, key) in ids.iter_mut().zip(keys) {
        let position = position(&catalog, key)?;
        *id = catalog.segments.get(position).map_or(0, |segment| segment.id);
    }
    let [a, b] = ids;
    let unsettled = unsettled(spi, namespace, clock::now()?, |found| ids.contains(&found.id))?;
    let stored = spi
        .query(
            "SELECT pg_catalog.count(*) FILTER (WHERE m.a AND NOT m.b), pg_catalog.count(*) FILTER (WHERE m.b AND NOT m.a), \
                 pg_catalog.count(*) FILTER (WHERE m.a AND m.b) \
             FROM (SELECT pg_catalog.bool_or(segment_id OPERATOR(pg_catalog.=) $1) AS a, pg_catalog.bool_or(segment_id OPERATOR(pg_catalog.=) $2) AS b \
                 FROM _cdp.segment_members WHERE segment_id OPERATOR(pg_catalog.=) ANY (ARRAY[$1, $2]) \
                     AND profile_id OPERATOR(pg_catalog.<>) ALL ($3) GROUP BY profile_id) AS m",
            &[Param::Int4(a), Param::Int4(b), Param::Int8Array(&unsettled.ids)],
        )?
        .first(|row| Ok([row.i64(0)?, row.i64(1)?, row.i64(2)?]))?;
    let [mut only_a, mut only_b, mut both] = stored.unwrap_or_default();
    let in_segment = |wanted: i32| -> HashSet<i64> {
        unsettled.memberships.iter().filter(|(_, id, _)| *id == wanted).map(|(profile_id, ..)| *profile_id).collect()
    };
    let (in_a, in_b) = (in_segment(a), in_segment(b));
    only_a += in_a.difference(&in_b).count() as i64;
    only_b += in_b.difference(&in_a).count() as i64;
    both += in_a.intersection(&in_b).count() as i64;
    Ok([only_a, only_b, both])
}
