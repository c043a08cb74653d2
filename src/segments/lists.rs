//! The lists of static segments. A list holds identifiers as they were given; who is a member follows from whom
//! they belong to, so that merges and splits need no bookkeeping and somebody can be listed before being seen.

use crate::error::{cut, state, unknown_key, Error, Result};
use crate::guc;
use crate::identity::kinds;
use crate::namespaces::{self, Namespace};
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::pg::{clock, session};
use crate::traits::catalog::{self, Catalog};
use crate::traits::evaluate::Cause;
use crate::traits::pending;
use crate::traits::person::{self, Person};
use crate::traits::settle::{self, Look};
use cdp_message::normalize_identifier;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// People looked at together.
const CHUNK: usize = 1_000;

/// Kinds in [`Entry`] that are no kind of identifier.
const ANY_KIND: i32 = 0;
const PROFILE_ID: i32 = -1;

/// A row of a list: value and kind.
type Entry = (String, i32);

/// An id as it was given, the rows that list it, and the person it belongs to.
struct Given {
    entries: Vec<Entry>,
    person: Option<i64>,
}

/// The segment with this key, which has to be a static one; nobody drops it until this transaction ends.
fn segment_id(spi: &Spi, namespace: &Namespace, key: &str) -> Result<i32> {
    let found = spi
        .query(
            "SELECT segment_id, rule IS NULL FROM _cdp.segments WHERE namespace_id OPERATOR(pg_catalog.=) $1 \
                 AND key OPERATOR(pg_catalog.=) $2 FOR SHARE",
            &[Param::Int4(namespace.id), Param::Text(key)],
        )?
        .first(|row| Ok((row.i32(0)?, row.bool(1)?)))?;
    match found {
        Some((id, true)) => Ok(id),
        Some((_, false)) => Err(Error::new(
            state::INVALID_DEFINITION,
            format!("the members of segment \"{}\" follow from its rule", cut(key)),
        )
        .hint("Members are listed in a static segment: SELECT cdp.define_static_segment('key', '{user_1, user_2}');")),
        None => {
            let catalog = catalog::current(spi, namespace)?;
            Err(unknown_key("segment", key, catalog.segments.iter().map(|s| s.key.as_str())))
        }
    }
}

/// Finds what the ids stand for, as `cdp.resolve` does. An id that nobody is known by is listed in every form in
/// which somebody may come to be known by it.
fn look_up(spi: &Spi, namespace: &Namespace, ids: &[String], kind: Option<&str>) -> Result<Vec<Given>> {
    if ids.iter().any(|id| id.trim().is_empty()) {
        return Err(Error::new(state::INVALID_DEFINITION, "the ids contain an empty text")
            .hint("Give any identifier of each person, or the profile id."));
    }
    let kind = match kind {
        None => None,
        Some(name) => {
            let kinds = kinds::current(spi, namespace)?;
            Some(kinds.id(name).ok_or_else(|| {
                unknown_key("kind of identifier", name, std::iter::empty())
                    .hint("cdp.identifiers shows the kinds in use.")
            })?)
        }
    };
    let or_raw = |name: &str, id: &String| normal(name, id).unwrap_or_else(|| id.clone());
    let emails: Vec<String> = ids.iter().map(|id| or_raw("email", id)).collect();
    let phones: Vec<String> = ids.iter().map(|id| or_raw("phone", id)).collect();
    let raw: Vec<&str> = ids.iter().map(String::as_str).collect();
    let email: Vec<&str> = emails.iter().map(String::as_str).collect();
    let phone: Vec<&str> = phones.iter().map(String::as_str).collect();
    let mut rows = spi.query(
        "SELECT t.ordinality::pg_catalog.int8, i.kind_id, i.value, i.profile_id \
         FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) WITH ORDINALITY AS t (id, email, phone, ordinality) \
         CROSS JOIN LATERAL (SELECT i.kind_id, i.value, i.profile_id FROM _cdp.identifiers AS i \
             WHERE i.namespace_id OPERATOR(pg_catalog.=) $1 AND i.value OPERATOR(pg_catalog.=) ANY (ARRAY[t.id, t.email, t.phone]) \
                 AND ($5::pg_catalog.int4 IS NULL OR i.kind_id OPERATOR(pg_catalog.=) $5) \
                 AND (i.value OPERATOR(pg_catalog.=) t.id \
                     OR i.kind_id OPERATOR(pg_catalog.=) CASE WHEN i.value OPERATOR(pg_catalog.=) t.email THEN 2 ELSE 4 END) \
             ORDER BY (i.value OPERATOR(pg_catalog.=) t.id) DESC, i.kind_id LIMIT 1) AS i",
        &[
            Param::Int4(namespace.id),
            Param::TextArray(&raw),
            Param::TextArray(&email),
            Param::TextArray(&phone),
            Param::OptionalInt4(kind),
        ],
    )?;
    let mut found: HashMap<usize, Given> = HashMap::new();
    while rows.advance() {
        let position = usize::try_from(rows.i64(0)? - 1).unwrap_or(usize::MAX);
        let entries = vec![(rows.text(2)?, rows.i32(1)?)];
        found.insert(position, Given { entries, person: Some(rows.i64(3)?) });
    }
    let profiles = match kind {
        None => {
            profiles(spi, namespace, ids.iter().enumerate().filter(|(i, _)| !found.contains_key(i)).map(|(_, id)| id))?
        }
        Some(_) => HashMap::new(),
    };
    Ok(ids
        .iter()
        .enumerate()
        .map(|(position, id)| {
            if let Some(given) = found.remove(&position) {
                return given;
            }
            if let Some((profile_id, owner)) = id.parse().ok().and_then(|number| profiles.get_key_value(&number)) {
                return Given { entries: vec![(profile_id.to_string(), PROFILE_ID)], person: Some(*owner) };
            }
            let mut entries = vec![(id.clone(), kind.unwrap_or(ANY_KIND))];
            for (form, of) in [(normal("email", id), kinds::EMAIL), (normal("phone", id), kinds::PHONE)] {
                match (form, kind) {
                    (Some(value), None) if value != *id => entries.push((value, of)),
                    (Some(value), Some(kind)) if kind == of => entries = vec![(value, of)],
                    _ => {}
                }
            }
            Given { entries, person: None }
        })
        .collect())
}

/// The ids that are profile ids, with the person each belongs to now.
fn profiles<'a>(spi: &Spi, namespace: &Namespace, ids: impl Iterator<Item = &'a String>) -> Result<HashMap<i64, i64>> {
    let numbers: Vec<i64> = ids.filter_map(|id| id.parse().ok()).collect();
    if numbers.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = spi.query(
        "SELECT profile_id, COALESCE(merged_into, profile_id) FROM _cdp.profiles \
         WHERE profile_id OPERATOR(pg_catalog.=) ANY ($2) AND namespace_id OPERATOR(pg_catalog.=) $1",
        &[Param::Int4(namespace.id), Param::Int8Array(&numbers)],
    )?;
    Ok(rows.map(|row| Ok((row.i64(0)?, row.i64(1)?)))?.into_iter().collect())
}

fn normal(kind: &str, id: &str) -> Option<String> {
    normalize_identifier(kind, id).map(std::borrow::Cow::into_owned)
}

fn columns(entries: &BTreeSet<Entry>) -> (Vec<&str>, Vec<i32>) {
    (entries.iter().map(|e| e.0.as_str()).collect(), entries.iter().map(|e| e.1).collect())
}

/// Puts ids on the list of a static segment; returns how many of them were not on it.
pub fn add(spi: &Spi, namespace: &Namespace, key: &str, ids: &[String], kind: Option<&str>) -> Result<i64> {
    let segment_id = segment_id(spi, namespace, key)?;
    let given = look_up(spi, namespace, ids, kind)?;
    let (count, people) = insert(spi, namespace, segment_id, &given)?;
    look_again(spi, namespace, people)?;
    Ok(count)
}

fn insert(spi: &Spi, namespace: &Namespace, segment_id: i32, given: &[Given]) -> Result<(i64, BTreeSet<i64>)> {
    // Sorted, so that two sessions that list the same ids cannot deadlock.
    let entries: BTreeSet<Entry> = given.iter().flat_map(|g| g.entries.iter().cloned()).collect();
    let (values, kinds) = columns(&entries);
    let added: HashSet<Entry> = spi
        .query(
            "INSERT INTO _cdp.segment_lists (namespace_id, value, kind_id, segment_id, added_at) \
             SELECT $1, t.value, t.kind_id, $4, $5 FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS t (value, kind_id) \
             ON CONFLICT DO NOTHING RETURNING value, kind_id",
            &[
                Param::Int4(namespace.id),
                Param::TextArray(&values),
                Param::Int4Array(&kinds),
                Param::Int4(segment_id),
                Param::Timestamp(clock::now()?),
            ],
        )?
        .map(|row| Ok((row.text(0)?, row.i32(1)?)))?
        .into_iter()
        .collect();
    let is_new = |given: &&Given| given.entries.iter().any(|entry| added.contains(entry));
    let new: Vec<&Given> = given.iter().filter(is_new).collect();
    let unknown: BTreeSet<&str> =
        new.iter().filter(|g| g.person.is_none()).flat_map(|g| g.entries.iter().map(|e| e.0.as_str())).collect();
    if !unknown.is_empty() {
        let unknown: Vec<&str> = unknown.into_iter().collect();
        spi.execute(
            "INSERT INTO _cdp.list_changes (namespace_id, \"values\") VALUES ($1, $2)",
            &[Param::Int4(namespace.id), Param::TextArray(&unknown)],
        )?;
    }
    // The same id given twice is one.
    let count = new.iter().map(|g| &g.entries).collect::<BTreeSet<_>>().len();
    Ok((count as i64, new.iter().filter_map(|g| g.person).collect()))
}

/// Takes people off the list of a static segment, by whatever they are listed; returns how many of the ids were on it.
pub fn remove(spi: &Spi, namespace: &Namespace, key: &str, ids: &[String], kind: Option<&str>) -> Result<i64> {
    let segment_id = segment_id(spi, namespace, key)?;
    let mut given = look_up(spi, namespace, ids, kind)?;
    let people: BTreeSet<i64> = given.iter().filter_map(|g| g.person).collect();
    let mut of_people = entries_of(spi, &people)?;
    for given in &mut given {
        given.entries.extend(given.person.and_then(|person| of_people.remove(&person)).unwrap_or_default());
    }
    let entries: BTreeSet<Entry> = given.iter().flat_map(|g| g.entries.iter().cloned()).collect();
    let (values, kinds) = columns(&entries);
    let removed: HashSet<Entry> = spi
        .query(
            "DELETE FROM _cdp.segment_lists AS l USING ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4)) AS t (value, kind_id) \
             WHERE l.namespace_id OPERATOR(pg_catalog.=) $1 AND l.segment_id OPERATOR(pg_catalog.=) $2 \
                 AND l.value OPERATOR(pg_catalog.=) ANY ($3) AND l.value OPERATOR(pg_catalog.=) t.value \
                 AND l.kind_id OPERATOR(pg_catalog.=) ANY (ARRAY[t.kind_id, 0]) RETURNING l.value, t.kind_id",
            &[Param::Int4(namespace.id), Param::Int4(segment_id), Param::TextArray(&values), Param::Int4Array(&kinds)],
        )?
        .map(|row| Ok((row.text(0)?, row.i32(1)?)))?
        .into_iter()
        .collect();
    let was_listed = |given: &&Given| given.entries.iter().any(|entry| removed.iter().any(|r| r.0 == entry.0));
    let count = given.iter().filter(was_listed).map(|g| &g.entries).collect::<BTreeSet<_>>().len();
    look_again(spi, namespace, people)?;
    Ok(count as i64)
}

/// Every row that lists one of these people.
fn entries_of(spi: &Spi, people: &BTreeSet<i64>) -> Result<HashMap<i64, Vec<Entry>>> {
    let ids: Vec<i64> = people.iter().copied().collect();
    let rows = spi.query(
        "SELECT profile_id, value, kind_id FROM _cdp.identifiers WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT COALESCE(merged_into, profile_id), profile_id::pg_catalog.text, -1 FROM _cdp.profiles \
             WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) OR merged_into OPERATOR(pg_catalog.=) ANY ($1)",
        &[Param::Int8Array(&ids)],
    )?;
    let mut entries: HashMap<i64, Vec<Entry>> = HashMap::new();
    for (person, entry) in rows.map(|row| Ok((row.i64(0)?, (row.text(1)?, row.i32(2)?))))? {
        entries.entry(person).or_default().push(entry);
    }
    Ok(entries)
}

/// Makes these ids the whole list of a static segment.
pub fn replace(spi: &Spi, namespace: &Namespace, key: &str, ids: &[String]) -> Result<()> {
    let segment_id = segment_id(spi, namespace, key)?;
    let given = look_up(spi, namespace, ids, None)?;
    let entries: BTreeSet<Entry> = given.iter().flat_map(|g| g.entries.iter().cloned()).collect();
    let (values, kinds) = columns(&entries);
    let gone: BTreeSet<Entry> = spi
        .query(
            "DELETE FROM _cdp.segment_lists AS l WHERE l.namespace_id OPERATOR(pg_catalog.=) $1 AND l.segment_id OPERATOR(pg_catalog.=) $2 \
                 AND NOT EXISTS (SELECT FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4)) AS t (value, kind_id) \
                     WHERE t.value OPERATOR(pg_catalog.=) l.value AND t.kind_id OPERATOR(pg_catalog.=) l.kind_id) \
             RETURNING l.value, l.kind_id",
            &[Param::Int4(namespace.id), Param::Int4(segment_id), Param::TextArray(&values), Param::Int4Array(&kinds)],
        )?
        .map(|row| Ok((row.text(0)?, row.i32(1)?)))?
        .into_iter()
        .collect();
    let (_, mut people) = insert(spi, namespace, segment_id, &given)?;
    people.extend(owners(spi, namespace.id, &gone)?);
    look_again(spi, namespace, people)
}

/// Empties the list of a segment that gets a rule; returns how many entries it had.
pub fn clear(spi: &Spi, segment_id: i32) -> Result<u64> {
    spi.execute("DELETE FROM _cdp.segment_lists WHERE segment_id OPERATOR(pg_catalog.=) $1", &[Param::Int4(segment_id)])
}

/// The people that entries belong to now.
fn owners(spi: &Spi, namespace_id: i32, entries: &BTreeSet<Entry>) -> Result<Vec<i64>> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let (values, kinds) = columns(entries);
    let profiles: Vec<i64> = entries.iter().filter(|e| e.1 == PROFILE_ID).filter_map(|e| e.0.parse().ok()).collect();
    spi.query(
        "SELECT i.profile_id FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS t (value, kind_id) \
         CROSS JOIN LATERAL (SELECT i.profile_id FROM _cdp.identifiers AS i WHERE i.namespace_id OPERATOR(pg_catalog.=) $1 \
             AND i.value OPERATOR(pg_catalog.=) t.value AND t.kind_id OPERATOR(pg_catalog.=) ANY (ARRAY[i.kind_id, 0]) OFFSET 0) AS i \
         UNION SELECT COALESCE(p.merged_into, p.profile_id) FROM _cdp.profiles AS p \
             WHERE p.profile_id OPERATOR(pg_catalog.=) ANY ($4) AND p.namespace_id OPERATOR(pg_catalog.=) $1",
        &[
            Param::Int4(namespace_id),
            Param::TextArray(&values),
            Param::Int4Array(&kinds),
            Param::Int8Array(&profiles),
        ],
    )?
    .map(|row| row.i64(0))
}

/// Evaluates people whose place on a list may have changed: few of them here, those held by others and many in the
/// background. Readers see the list itself.
fn look_again(spi: &Spi, namespace: &Namespace, people: BTreeSet<i64>) -> Result<()> {
    let ids: Vec<i64> = people.into_iter().collect();
    let mut left: BTreeSet<i64> = ids.iter().copied().collect();
    // With one snapshot for the whole transaction, a row changed since would make it fail.
    if ids.len() as i64 <= guc::backfill_in_call() && !session::has_transaction_snapshot() {
        for chunk in ids.chunks(CHUNK) {
            let held = person::lock(spi, chunk)?;
            held.iter().for_each(|person| {
                left.remove(&person.profile_id);
            });
            settle::refresh(spi, namespace, held, Look::Everything, &Cause::List, clock::now()?)?;
        }
    }
    let left: Vec<i64> = left.into_iter().collect();
    pending::note(spi, namespace, &left)
}

/// Notes for people which static segments they are listed in.
pub fn load<'a>(spi: &Spi, catalog: &Catalog, people: impl Iterator<Item = &'a mut Person>) -> Result<()> {
    if !catalog.has_lists() {
        return Ok(());
    }
    let mut by_id: HashMap<i64, &mut Person> = people.map(|person| (person.profile_id, person)).collect();
    let (mut owners, mut profiles) = (vec![], vec![]);
    for person in by_id.values_mut() {
        person.lists.clear();
        for profile_id in person.profile_ids() {
            owners.push(person.profile_id);
            profiles.push(profile_id);
        }
    }
    if owners.is_empty() {
        return Ok(());
    }
    let values: Vec<String> = profiles.iter().map(i64::to_string).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let mut rows = spi.query(
        "SELECT i.profile_id, l.segment_id FROM _cdp.identifiers AS i \
         CROSS JOIN LATERAL (SELECT l.segment_id FROM _cdp.segment_lists AS l WHERE l.namespace_id OPERATOR(pg_catalog.=) i.namespace_id \
             AND l.value OPERATOR(pg_catalog.=) i.value AND l.kind_id OPERATOR(pg_catalog.=) ANY (ARRAY[i.kind_id, 0]) OFFSET 0) AS l \
         WHERE i.profile_id OPERATOR(pg_catalog.=) ANY ($2) \
         UNION ALL SELECT t.owner, l.segment_id FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4)) AS t (owner, value) \
         CROSS JOIN LATERAL (SELECT l.segment_id FROM _cdp.segment_lists AS l WHERE l.namespace_id OPERATOR(pg_catalog.=) $1 \
             AND l.value OPERATOR(pg_catalog.=) t.value AND l.kind_id OPERATOR(pg_catalog.=) -1 OFFSET 0) AS l",
        &[
            Param::Int4(catalog.namespace_id),
            Param::Int8Array(&profiles),
            Param::Int8Array(&owners),
            Param::TextArray(&values),
        ],
    )?;
    while rows.advance() {
        if let Some(person) = by_id.get_mut(&rows.i64(0)?) {
            person.lists.insert(rows.i32(1)?);
        }
    }
    Ok(())
}

/// Identifiers that were put on a list while nobody was known by them, with the people who have them by now.
pub fn unsettled(spi: &Spi, namespace_id: i32) -> Result<Vec<i64>> {
    spi.query(
        "SELECT DISTINCT i.profile_id FROM _cdp.list_changes AS c CROSS JOIN LATERAL pg_catalog.unnest(c.\"values\") AS t (value) \
         CROSS JOIN LATERAL (SELECT i.profile_id FROM _cdp.identifiers AS i WHERE i.namespace_id OPERATOR(pg_catalog.=) $1 \
             AND i.value OPERATOR(pg_catalog.=) t.value OFFSET 0) AS i \
         WHERE c.namespace_id OPERATOR(pg_catalog.=) $1",
        &[Param::Int4(namespace_id)],
    )?
    .map(|row| row.i64(0))
}

/// Has people looked at who were brought by transactions that could not see the list yet, once all of those are
/// over; returns how many changes of lists were dealt with.
pub fn settle_changes(spi: &Spi, limit: usize) -> Result<usize> {
    // A barrier from before a restore is none.
    spi.execute(
        "UPDATE _cdp.list_changes SET barrier = pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) \
         WHERE made_by OPERATOR(pg_catalog.<>) pg_catalog.pg_current_xact_id() AND (barrier IS NULL \
             OR barrier OPERATOR(pg_catalog.>) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()))",
        &[],
    )?;
    let over = spi
        .query(
            "DELETE FROM _cdp.list_changes AS c USING (SELECT namespace_id, change_id FROM _cdp.list_changes \
                 WHERE barrier OPERATOR(pg_catalog.<=) pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) \
                 LIMIT $1 FOR UPDATE SKIP LOCKED) AS o \
             WHERE c.namespace_id OPERATOR(pg_catalog.=) o.namespace_id AND c.change_id OPERATOR(pg_catalog.=) o.change_id \
             RETURNING c.namespace_id, c.\"values\"",
            &[Param::Int8(limit as i64)],
        )?
        .map(|row| Ok((row.i32(0)?, row.text_array(1))))?;
    let mut by_namespace: BTreeMap<i32, BTreeSet<Entry>> = BTreeMap::new();
    for (namespace_id, values) in &over {
        by_namespace.entry(*namespace_id).or_default().extend(values.iter().map(|value| (value.clone(), ANY_KIND)));
    }
    for (namespace_id, entries) in by_namespace {
        let namespace = namespaces::by_id(spi, namespace_id)?;
        let people = owners(spi, namespace_id, &entries)?;
        pending::note(spi, &namespace, &people)?;
    }
    Ok(over.len())
}
