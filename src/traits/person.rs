//! People in memory: loaded together, worked on, saved together.

use super::catalog::Catalog;
use super::computed::Computed;
use crate::error::{state, Error, Result};
use crate::identity::attributes::Attributes;
use crate::identity::{groups, profile_traits};
use crate::ingest::stored;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::{Rows, Spi};
use crate::pg::table::{self, Tid};
use crate::segments::held::Memberships;
use cdp_profile::Traits;
use cdp_state::{State, StateError};
use cdp_value::{Timestamp, Value};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::CStr;

/// The stored state of a profile is damaged.
pub fn corrupt(profile_id: i64, error: &StateError) -> Error {
    Error::new(state::CORRUPT_STATE, format!("the stored state of profile {profile_id} cannot be read: {error}"))
        .hint("SELECT cdp.rebuild(id) computes it again from the person's events.")
}

/// One person with all that evaluation needs.
pub struct Person {
    pub profile_id: i64,
    pub namespace_id: i32,
    pub created_at: Timestamp,
    /// Profiles that were merged into this one; their events are this person's.
    pub absorbed: Vec<i64>,
    /// Definition version that `state` and `computed` cover.
    pub version: i32,
    pub state: State,
    pub computed: Computed,
    /// No value changes by time alone before this instant.
    pub due: Option<Timestamp>,
    /// What `due` was when the person was loaded, which is what the timer is set to.
    pub timer: Option<Timestamp>,
    /// Segments the person is in.
    pub memberships: Memberships,
    /// Static segments whose lists the person is on, by id.
    pub lists: HashSet<i32>,
    /// Traits of identify calls; loaded where something refers to them.
    pub traits: Value,
    /// Traits of the group joined last; loaded where something refers to them.
    pub group: Value,
    /// Traits and groups that wait to be folded in; for readers.
    pub pending: Attributes,
    /// Whether others may have left something to be folded in.
    pub may_have_pending: bool,
    /// Whether the row has yet to be made.
    pub is_new: bool,
    /// What is to be stored as the state, once it is [ready](Person::make_ready).
    encoded: Option<Vec<u8>>,
    /// Where the row is, if this transaction has locked it.
    tid: Option<Tid>,
}

impl Person {
    /// Somebody nothing is known of yet.
    pub fn new(profile_id: i64, namespace_id: i32, created_at: Timestamp, version: i32) -> Person {
        Person {
            profile_id,
            namespace_id,
            created_at,
            absorbed: Vec::new(),
            version,
            state: State::default(),
            computed: Computed::default(),
            due: None,
            timer: None,
            memberships: Memberships::default(),
            lists: HashSet::new(),
            traits: Value::Object(Vec::new()),
            group: Value::Null,
            pending: Attributes::default(),
            may_have_pending: false,
            is_new: true,
            encoded: None,
            tid: None,
        }
    }

    /// The profiles under which this person's events are stored.
    pub fn profile_ids(&self) -> impl Iterator<Item = i64> + '_ {
        std::iter::once(self.profile_id).chain(self.absorbed.iter().copied())
    }

    /// The instant at which to look at the person: `now`, or a little later where a concurrent session with a later
    /// clock was here first. A fixed clock stays what it is.
    pub fn instant(&self, now: Timestamp) -> Timestamp {
        match self.state.as_of() {
            Some(known) if !clock::is_fixed() => now.max(known),
            _ => now,
        }
    }

    /// Drops what no window can need any more, and keeps the state only as it will be stored: a batch of thousands of
    /// people is worked on some people at a time, and the memory of all of them at once would fit no cache.
    pub fn make_ready(&mut self, catalog: &Catalog, now: Timestamp) -> Result<()> {
        let compacted = self.state.compact_changed(catalog, now);
        let sealed = compacted.and_then(|()| self.state.seal().map(<[u8]>::to_vec));
        self.encoded = Some(sealed.map_err(|error| corrupt(self.profile_id, &error))?);
        Ok(())
    }

    fn read(row: &Rows) -> Result<Person> {
        let profile_id = row.i64(0)?;
        let state = State::decode(&row.bytes(3)?).map_err(|error| corrupt(profile_id, &error))?;
        Person::with(row, state, Computed::decode(&row.bytes(4)?)?)
    }

    fn read_locked(row: &Rows) -> Result<Person> {
        Ok(Person { tid: Some(row.tid(8)?), ..Person::read(row)? })
    }

    fn with(row: &Rows, state: State, computed: Computed) -> Result<Person> {
        let profile_id = row.i64(0)?;
        Ok(Person {
            profile_id,
            namespace_id: row.i32(1)?,
            version: row.i32(2)?,
            state,
            computed,
            due: row.optional_timestamp(5),
            timer: row.optional_timestamp(5),
            created_at: row.timestamp(6)?,
            absorbed: row.int8_array(7),
            memberships: Memberships::default(),
            lists: HashSet::new(),
            traits: Value::Object(Vec::new()),
            group: Value::Null,
            pending: Attributes::default(),
            may_have_pending: true,
            is_new: false,
            encoded: None,
            tid: None,
        })
    }
}

/// Loads people for reading. Profiles that do not exist or were merged away are left out.
pub fn load(spi: &Spi, profile_ids: &[i64]) -> Result<Vec<Person>> {
    spi.query(
        "SELECT profile_id, namespace_id, version, state, computed, due, created_at, absorbed FROM _cdp.profiles \
         WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) AND merged_into IS NULL ORDER BY profile_id",
        &[Param::Int8Array(profile_ids)],
    )?
    .map(Person::read)
}

/// The person with exactly this identifier, for reading, in one statement; and whether something is pending that a
/// reader has to add.
pub fn find(spi: &Spi, namespace_id: i32, id: &str) -> Result<Option<(Person, bool)>> {
    spi.query(
        "SELECT p.profile_id, p.namespace_id, p.version, p.state, p.computed, p.due, p.created_at, p.absorbed, \
             EXISTS (SELECT FROM _cdp.pending_folds AS f \
                 WHERE f.profile_id OPERATOR(pg_catalog.=) ANY (pg_catalog.array_append(p.absorbed, p.profile_id))) \
         FROM _cdp.identifiers AS i JOIN _cdp.profiles AS p ON p.profile_id OPERATOR(pg_catalog.=) i.profile_id \
         WHERE i.namespace_id OPERATOR(pg_catalog.=) $1 AND i.value OPERATOR(pg_catalog.=) $2 AND p.merged_into IS NULL \
         ORDER BY i.kind_id LIMIT 1",
        &[Param::Int4(namespace_id), Param::Text(id)],
    )?
    .first(|row| Ok((Person::read(row)?, row.bool(8)?)))
}

/// The ids of the next people of a namespace after a profile, in order.
pub fn next_ids(spi: &Spi, namespace_id: i32, after: i64, limit: i64) -> Result<Vec<i64>> {
    spi.query(
        "SELECT profile_id FROM _cdp.profiles WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND profile_id OPERATOR(pg_catalog.>) $2 \
             AND merged_into IS NULL ORDER BY profile_id LIMIT $3",
        &[Param::Int4(namespace_id), Param::Int8(after), Param::Int8(limit)],
    )?
    .map(|row| row.i64(0))
}

/// Locks and loads those people that no other transaction holds, in key order. The rows of the others
/// are not waited for: their events go to `_cdp.pending_folds`.
pub fn lock(spi: &Spi, profile_ids: &[i64]) -> Result<Vec<Person>> {
    spi.query(
        "SELECT p.profile_id, p.namespace_id, p.version, p.state, p.computed, p.due, p.created_at, p.absorbed, p.ctid, \
             EXISTS (SELECT FROM _cdp.pending_folds AS f \
                 WHERE f.profile_id OPERATOR(pg_catalog.=) ANY (pg_catalog.array_append(p.absorbed, p.profile_id))) \
         FROM _cdp.profiles AS p WHERE p.profile_id OPERATOR(pg_catalog.=) ANY ($1) AND p.merged_into IS NULL \
         ORDER BY p.profile_id FOR NO KEY UPDATE OF p SKIP LOCKED",
        &[Param::Int8Array(profile_ids)],
    )?
    .map(|row| Ok(Person { may_have_pending: row.bool(9)?, ..Person::read_locked(row)? }))
}

/// As [`lock`], for the people of a namespace in a stretch of ids who are of an earlier definition version.
pub fn lock_stretch(spi: &Spi, namespace_id: i32, (first, last): (i64, i64), version: i32) -> Result<Vec<Person>> {
    let mut people = Vec::new();
    spi.stream(
        "SELECT profile_id, namespace_id, version, state, computed, due, created_at, absorbed, ctid FROM _cdp.profiles \
         WHERE profile_id OPERATOR(pg_catalog.>=) $1 AND profile_id OPERATOR(pg_catalog.<=) $2 AND namespace_id OPERATOR(pg_catalog.=) $3 \
             AND version OPERATOR(pg_catalog.<) $4 AND merged_into IS NULL ORDER BY profile_id FOR NO KEY UPDATE SKIP LOCKED",
        &[Param::Int8(first), Param::Int8(last), Param::Int4(namespace_id), Param::Int4(version)],
        |row| {
            people.push(Person::read_locked(row)?);
            Ok(())
        },
    )?;
    Ok(people)
}

/// Locks and loads people, waiting for whoever holds them or gives them identifiers, in key order.
pub fn lock_waiting(spi: &Spi, profile_ids: &[i64]) -> Result<Vec<Person>> {
    spi.query(
        "SELECT profile_id, namespace_id, version, state, computed, due, created_at, absorbed, ctid FROM _cdp.profiles \
         WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) AND merged_into IS NULL ORDER BY profile_id FOR UPDATE",
        &[Param::Int8Array(profile_ids)],
    )?
    .map(Person::read_locked)
}

/// As [`lock_waiting`], for a rebuild, which does without the state: one that cannot be read is left out.
pub fn lock_whatever_state(spi: &Spi, profile_ids: &[i64]) -> Result<Vec<Person>> {
    spi.query(
        "SELECT profile_id, namespace_id, version, state, computed, due, created_at, absorbed, ctid FROM _cdp.profiles \
         WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) AND merged_into IS NULL ORDER BY profile_id FOR NO KEY UPDATE",
        &[Param::Int8Array(profile_ids)],
    )?
    .map(|row| {
        let state = State::decode(&row.bytes(3)?).unwrap_or_default();
        let person = Person::with(row, state, Computed::decode(&row.bytes(4)?).unwrap_or_default())?;
        Ok(Person { tid: Some(row.tid(8)?), ..person })
    })
}

/// Adds the segments people are in.
pub fn load_memberships(spi: &Spi, people: &mut [Person]) -> Result<()> {
    let ids: Vec<i64> = people.iter().filter(|p| !p.is_new).map(|p| p.profile_id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let mut rows = spi.query(
        "SELECT profile_id, segment_id, since FROM _cdp.segment_members WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1)",
        &[Param::Int8Array(&ids)],
    )?;
    let positions: HashMap<i64, usize> = people.iter().enumerate().map(|(i, p)| (p.profile_id, i)).collect();
    while rows.advance() {
        if let Some(person) = positions.get(&rows.i64(0)?).and_then(|i| people.get_mut(*i)) {
            person.memberships.enter(rows.i32(1)?, rows.timestamp(2)?);
        }
    }
    Ok(())
}

/// Adds the traits of identify calls, with those that are pending.
pub fn load_traits(spi: &Spi, people: &mut [Person]) -> Result<()> {
    let ids: Vec<i64> = people.iter().map(|p| p.profile_id).collect();
    let mut rows = spi.query(
        "SELECT profile_id, traits FROM _cdp.profile_traits WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1)",
        &[Param::Int8Array(&ids)],
    )?;
    let positions: HashMap<i64, usize> = people.iter().enumerate().map(|(i, p)| (p.profile_id, i)).collect();
    while rows.advance() {
        if let Some(person) = positions.get(&rows.i64(0)?).and_then(|i| people.get_mut(*i)) {
            person.traits = stored::value(&rows, 1).unwrap_or(Value::Null);
        }
    }
    let waiting: Vec<i64> =
        people.iter().filter(|p| p.pending.traits != Traits::default()).map(|p| p.profile_id).collect();
    let mut stored = profile_traits::load(spi, &waiting)?;
    for person in people.iter_mut().filter(|p| p.pending.traits != Traits::default()) {
        let mut traits = stored.remove(&person.profile_id).unwrap_or_default();
        traits.follow(&person.pending.traits);
        person.traits = Value::from_json(&traits.values());
    }
    Ok(())
}

/// Adds the traits of the group each person joined last, with what is pending.
pub fn load_groups(spi: &Spi, people: &mut [Person]) -> Result<()> {
    let ids: Vec<i64> = people.iter().map(|p| p.profile_id).collect();
    let rows = spi.query(
        "SELECT DISTINCT ON (m.profile_id) m.profile_id, m.group_id, m.joined_at FROM _cdp.group_members AS m \
         WHERE m.profile_id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY m.profile_id, m.joined_at DESC, m.group_id",
        &[Param::Int8Array(&ids)],
    )?;
    let mut last: HashMap<i64, (Reverse<Timestamp>, String)> =
        rows.map(|row| Ok((row.i64(0)?, (Reverse(row.timestamp(2)?), row.text(1)?))))?.into_iter().collect();
    for person in people.iter() {
        let pending = person.pending.groups.iter().map(|(group_id, at)| (Reverse(*at), group_id.clone()));
        if let Some(first) = pending.chain(last.remove(&person.profile_id)).min() {
            last.insert(person.profile_id, first);
        }
    }
    let mut by_namespace: BTreeMap<i32, BTreeSet<&str>> = BTreeMap::new();
    for person in people.iter() {
        if let Some((_, group_id)) = last.get(&person.profile_id) {
            by_namespace.entry(person.namespace_id).or_default().insert(group_id);
        }
    }
    for (namespace_id, group_ids) in by_namespace {
        let traits = groups::traits_of(spi, namespace_id, &group_ids.into_iter().collect::<Vec<_>>())?;
        for person in people.iter_mut().filter(|p| p.namespace_id == namespace_id) {
            let group = last.get(&person.profile_id).and_then(|(_, group_id)| traits.get(group_id));
            person.group = group.map_or(Value::Null, Value::from_json);
        }
    }
    Ok(())
}

/// Columns of `_cdp.profiles` that a save writes, in the order of [`values`].
const COLUMNS: [&CStr; 10] = [
    c"profile_id",
    c"namespace_id",
    c"version",
    c"due",
    c"created_at",
    c"first_seen",
    c"last_seen",
    c"event_count",
    c"state",
    c"computed",
];

fn values<'a>(person: &Person, state: &'a [u8], computed: &'a [u8]) -> [Param<'a>; 10] {
    [
        Param::Int8(person.profile_id),
        Param::Int4(person.namespace_id),
        Param::Int4(person.version),
        Param::OptionalTimestamp(person.due),
        Param::Timestamp(person.created_at),
        Param::OptionalTimestamp(person.state.first_seen),
        Param::OptionalTimestamp(person.state.last_seen),
        Param::Int8(person.state.event_count as i64),
        Param::Bytes(state),
        Param::Bytes(computed),
    ]
}

/// Writes people back: one row each, whatever the number of their traits. Straight to the table where that is a plain
/// one and the rows are where they were locked, else in statements.
pub fn save(spi: &Spi, catalog: &Catalog, people: &mut [Person], now: Timestamp) -> Result<()> {
    if people.is_empty() {
        return Ok(());
    }
    let mut encoded = Vec::with_capacity(people.len());
    for person in people.iter_mut() {
        if person.encoded.is_none() {
            person.make_ready(catalog, now)?;
        }
        encoded.push((person.encoded.take().unwrap_or_default(), person.computed.encode()));
    }
    let mut written = vec![false; people.len()];
    table::with(table::named(c"profiles"), &COLUMNS, |table| {
        let each = people.iter().zip(&encoded);
        table.insert(each.filter(|(p, _)| p.is_new).map(|(p, (state, computed))| values(p, state, computed)))?;
        for ((person, (state, computed)), written) in people.iter_mut().zip(&encoded).zip(&mut written) {
            *written = person.is_new;
            if let (false, Some(tid)) = (person.is_new, person.tid) {
                person.tid = table.update(tid, &values(person, state, computed))?;
                *written = person.tid.is_some();
            }
        }
        Ok(())
    })?;
    for ((person, (state, computed)), _) in people.iter().zip(&encoded).zip(&written).filter(|(_, written)| !**written)
    {
        let statement = if person.is_new {
            "INSERT INTO _cdp.profiles (profile_id, namespace_id, version, due, created_at, first_seen, last_seen, event_count, state, computed) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        } else {
            "UPDATE _cdp.profiles SET version = $3, due = $4, first_seen = $6, last_seen = $7, event_count = $8, state = $9, computed = $10 \
             WHERE profile_id OPERATOR(pg_catalog.=) $1"
        };
        spi.execute(statement, &values(person, state, computed))?;
    }
    for person in people.iter_mut() {
        person.is_new = false;
        person.timer = person.due;
    }
    Ok(())
}
