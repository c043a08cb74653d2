//! The events at the edges of windows, read where a profile's state holds only a coarser sum.

use super::catalog::{Catalog, Slot};
use super::context::EventContext;
use super::person::{self, Person};
use super::properties;
use crate::error::Result;
use crate::ingest::names;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_state::{Edge, EdgeEvents};
use cdp_value::{Timestamp, Value};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, HashMap};

/// Edge events by profile and slot.
#[derive(Default)]
pub struct Edges {
    events: FxHashMap<(i64, u32), EdgeEvents>,
}

static NONE: EdgeEvents = EdgeEvents::none();

impl Edges {
    pub fn of(&self, profile_id: i64, slot: u32) -> &EdgeEvents {
        self.events.get(&(profile_id, slot)).unwrap_or(&NONE)
    }
}

impl Edges {
    /// Takes edge events that are known already.
    pub fn insert(&mut self, profile_id: i64, slot: u32, events: EdgeEvents) {
        self.events.insert((profile_id, slot), events);
    }
}

/// Whether an event counts for a slot, and with which value.
pub fn hit(slot: &Slot, properties: &Value, at: Timestamp) -> Option<Option<Value>> {
    if let Some(filter) = &slot.filter {
        if !cdp_expr::is_true(filter, &EventContext { properties, at }) {
            return None;
        }
    }
    Some(slot.property.as_ref().map(|path| cdp_expr::lookup(properties, path).cloned().unwrap_or(Value::Null)))
}

/// Reads what the given aggregates (indexes into the catalog) need for each person, in one statement.
pub fn read<'a>(
    spi: &Spi,
    catalog: &Catalog,
    wanted: impl Iterator<Item = (&'a Person, Timestamp, &'a [usize])>,
) -> Result<Edges> {
    struct Request {
        person: i64,
        slot: usize,
        from: Timestamp,
        to: Timestamp,
        profiles: Vec<i64>,
    }
    let mut requests = BTreeMap::new();
    for (person, at, aggregates) in wanted {
        for position in aggregates {
            let Some(bound) = catalog.aggregates.get(*position) else { continue };
            let Some(slot) = catalog.slots.get(bound.slot) else { continue };
            let needed = person
                .state
                .edges(&slot.spec, bound.aggregate.function, bound.aggregate.window, at)
                .map_err(|error| person::corrupt(person.profile_id, &error))?;
            for edge in needed {
                requests.entry((person.profile_id, bound.slot, edge.from, edge.to)).or_insert_with(|| Request {
                    person: person.profile_id,
                    slot: bound.slot,
                    from: edge.from,
                    to: edge.to,
                    profiles: person.profile_ids().collect(),
                });
            }
        }
    }
    if requests.is_empty() {
        return Ok(Edges::default());
    }
    let requests: Vec<Request> = requests.into_values().collect();
    let event_names: Vec<&str> =
        requests.iter().filter_map(|r| catalog.slots.get(r.slot)).map(|s| s.event.as_str()).collect();
    let ids = names::look_up(spi, &event_names)?;
    let (mut positions, mut profiles, mut events, mut from, mut to) = (vec![], vec![], vec![], vec![], vec![]);
    for (position, request) in requests.iter().enumerate() {
        let Some(event) = catalog.slots.get(request.slot).and_then(|slot| ids.get(&slot.event)) else { continue };
        for profile in &request.profiles {
            positions.push(position as i32);
            profiles.push(*profile);
            events.push(*event);
            from.push(request.from);
            to.push(request.to);
        }
    }
    let mut rows = spi.query(
        "SELECT r.position, e.ts, e.properties, e.name, e.category \
         FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)) \
              AS r (position, profile_id, event_name_id, from_ts, to_ts) \
         CROSS JOIN LATERAL (SELECT e.ts, e.properties, e.name, e.category FROM _cdp.events AS e \
              WHERE e.profile_id OPERATOR(pg_catalog.=) r.profile_id AND e.event_name_id OPERATOR(pg_catalog.=) r.event_name_id \
              AND e.ts OPERATOR(pg_catalog.>=) r.from_ts AND e.ts OPERATOR(pg_catalog.<=) r.to_ts OFFSET 0) AS e",
        &[
            Param::Int4Array(&positions),
            Param::Int8Array(&profiles),
            Param::Int4Array(&events),
            Param::TimestampArray(&from),
            Param::TimestampArray(&to),
        ],
    )?;
    type Found = HashMap<(i64, u32), (Vec<Edge>, Vec<(Timestamp, Option<Value>)>)>;
    let mut found = Found::new();
    for request in &requests {
        if let Some(slot) = catalog.slots.get(request.slot) {
            let range = Edge { from: request.from, to: request.to };
            found.entry((request.person, slot.spec.id())).or_default().0.push(range);
        }
    }
    while rows.advance() {
        let Some(request) = usize::try_from(rows.i32(0)?).ok().and_then(|p| requests.get(p)) else { continue };
        let Some(slot) = catalog.slots.get(request.slot) else { continue };
        let at = rows.timestamp(1)?;
        let properties = properties::of_row(&rows, 2);
        if let Some(value) = hit(slot, &properties, at) {
            found.entry((request.person, slot.spec.id())).or_default().1.push((at, value));
        }
    }
    let known = found.into_iter().map(|(key, (ranges, events))| (key, EdgeEvents::new(ranges, events)));
    Ok(Edges { events: known.collect() })
}
