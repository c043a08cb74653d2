//! Reading what people did into the slots of their states.

use super::catalog::{Catalog, Slot};
use super::edges;
use super::person::{self, Person};
use super::properties;
use crate::error::Result;
use crate::ingest::names;
use crate::pg::datum::Param;
use crate::pg::spi::{Rows, Spi};
use cdp_state::Calendar;
use cdp_value::{Decimal, Timestamp, Value};
use std::collections::{BTreeSet, HashMap};

/// Rows of events held in memory at a time.
const FETCH: i64 = 10_000;
/// Events gathered before they are folded, when they come in no order.
const GATHERED: usize = 500_000;
/// From so many people on, whose ids are as close together as this, all events of a stretch of ids are read at once
/// instead of each person's.
const MANY: usize = 200;
const SPREAD: i64 = 4;

/// What is missing in some people's states.
pub struct Wanted {
    /// Positions of the people who lack something, by every profile id that is theirs.
    pub owners: HashMap<i64, usize>,
    /// Indexes of the slots that one of them lacks: those newer than the person.
    pub slots: BTreeSet<usize>,
    /// Somebody lacks everything, when events were seen included.
    pub whole: bool,
}

/// Folds the events of people into the slots they lack.
pub fn read(
    spi: &Spi,
    catalog: &Catalog,
    calendar: &dyn Calendar,
    people: &mut [Person],
    wanted: &Wanted,
) -> Result<()> {
    let slots = || wanted.slots.iter().filter_map(|index| catalog.slots.get(*index));
    let event_names: Vec<&str> = slots().map(|slot| slot.event.as_str()).collect();
    let ids = names::look_up(spi, &event_names)?;
    let mut by_event: HashMap<i32, Vec<&Slot>> = HashMap::new();
    for slot in slots() {
        if let Some(id) = ids.get(&slot.event) {
            by_event.entry(*id).or_default().push(slot);
        }
    }
    let first = wanted.owners.keys().min().copied().unwrap_or(0);
    let last = wanted.owners.keys().max().copied().unwrap_or(0);
    let is_dense = last.saturating_sub(first) < SPREAD.saturating_mul(wanted.owners.len() as i64);
    if !wanted.whole && wanted.owners.len() >= MANY && is_dense {
        for (event, slots) in &by_event {
            read_stretch(spi, calendar, people, &wanted.owners, (first, last), *event, slots)?;
        }
        return Ok(());
    }
    read_by_key(spi, calendar, people, wanted, &by_event)
}

/// Each person's events, by the index.
fn read_by_key(
    spi: &Spi,
    calendar: &dyn Calendar,
    people: &mut [Person],
    wanted: &Wanted,
    by_event: &HashMap<i32, Vec<&Slot>>,
) -> Result<()> {
    let profile_ids: Vec<i64> = wanted.owners.keys().copied().collect();
    let event_ids: Vec<i32> = by_event.keys().copied().collect();
    let sql = if wanted.whole {
        "SELECT e.profile_id, e.event_name_id, e.ts, e.properties, e.name, e.category FROM _cdp.events AS e \
         WHERE e.profile_id OPERATOR(pg_catalog.=) ANY ($1) AND ($2::pg_catalog.int4[] IS NOT NULL) \
               AND e.type OPERATOR(pg_catalog.=) ANY ('{0,2,3}'::pg_catalog.int2[])"
    } else {
        "SELECT e.profile_id, e.event_name_id, e.ts, e.properties, e.name, e.category FROM _cdp.events AS e \
         WHERE e.profile_id OPERATOR(pg_catalog.=) ANY ($1) AND e.event_name_id OPERATOR(pg_catalog.=) ANY ($2)"
    };
    spi.for_each(sql, &[Param::Int8Array(&profile_ids), Param::Int4Array(&event_ids)], FETCH, |row| {
        let Some(person) = owner(people, &wanted.owners, row.i64(0)?) else { return Ok(()) };
        let at = row.timestamp(2)?;
        if person.version < 0 {
            person.state.touch(at);
        }
        let Some(slots) = by_event.get(&row.i32(1)?) else { return Ok(()) };
        let mut properties: Option<Value> = None;
        for slot in slots.iter().filter(|slot| slot.version > person.version) {
            let properties = properties.get_or_insert_with(|| all_properties(row, 3));
            if let Some(value) = edges::hit(slot, properties, at) {
                person
                    .state
                    .fold(&slot.spec, at, value.as_ref(), calendar)
                    .map_err(|error| person::corrupt(person.profile_id, &error))?;
            }
        }
        Ok(())
    })
}

fn owner<'p>(people: &'p mut [Person], owners: &HashMap<i64, usize>, profile_id: i64) -> Option<&'p mut Person> {
    owners.get(&profile_id).and_then(|position| people.get_mut(*position))
}

fn all_properties(row: &Rows, first: usize) -> Value {
    properties::of(
        row.optional_jsonb(first).as_deref(),
        row.optional_text(first + 1).as_deref(),
        row.optional_text(first + 2).as_deref(),
    )
}

/// The events of one name of everybody in a stretch of ids, in whatever order they lie, and of their properties only
/// those that are wanted.
fn read_stretch(
    spi: &Spi,
    calendar: &dyn Calendar,
    people: &mut [Person],
    owners: &HashMap<i64, usize>,
    (first, last): (i64, i64),
    event: i32,
    slots: &[&Slot],
) -> Result<()> {
    let columns = Columns::of(slots);
    let (text, paths): (String, Vec<Vec<&str>>) = match &columns {
        Columns::All => (", e.properties, e.name, e.category".to_string(), Vec::new()),
        Columns::Paths(paths) => {
            let text = (0..paths.len())
                .map(|index| format!(", e.properties OPERATOR(pg_catalog.#>) ${}", index + 4))
                .collect::<String>();
            (text, paths.iter().map(|path| path.iter().map(String::as_str).collect()).collect())
        }
    };
    let sql = format!(
        "SELECT e.profile_id, e.ts{text} FROM _cdp.events AS e WHERE e.profile_id OPERATOR(pg_catalog.>=) $1 \
             AND e.profile_id OPERATOR(pg_catalog.<=) $2 AND e.event_name_id OPERATOR(pg_catalog.=) $3"
    );
    let mut parameters = vec![Param::Int8(first), Param::Int8(last), Param::Int4(event)];
    parameters.extend(paths.iter().map(|path| Param::TextArray(path)));
    let mut gathered = Gathered::new(columns, slots);
    let mut positions = vec![None; usize::try_from(last.saturating_sub(first)).unwrap_or(0).saturating_add(1)];
    for (profile_id, position) in owners {
        let place = usize::try_from(profile_id.saturating_sub(first)).ok().and_then(|place| positions.get_mut(place));
        if let Some(place) = place {
            *place = u32::try_from(*position).ok();
        }
    }
    spi.for_each_text(&sql, &parameters, FETCH, |row| {
        let place = usize::try_from(row.i64(0)?.saturating_sub(first)).ok();
        let Some(position) = place.and_then(|place| positions.get(place).copied().flatten()) else { return Ok(()) };
        gathered.add(row, position)?;
        if gathered.rows.len() >= GATHERED {
            gathered.fold(calendar, people)?;
        }
        Ok(())
    })?;
    gathered.fold(calendar, people)
}

/// Events of many people in the order in which they lie in the table: folded person by person, since going back and
/// forth between the states takes longer than sorting.
struct Gathered<'a> {
    columns: Columns<'a>,
    slots: &'a [&'a Slot],
    /// Which of the paths each slot reads.
    places: Vec<Option<usize>>,
    /// Position of the person, time, and number of the event, whose values are `values[number * width ..]`.
    rows: Vec<(u32, Timestamp, u32)>,
    values: Vec<Value>,
    width: usize,
}

impl<'a> Gathered<'a> {
    fn new(columns: Columns<'a>, slots: &'a [&'a Slot]) -> Gathered<'a> {
        let places = slots.iter().map(|slot| columns.place(slot)).collect();
        let width = match &columns {
            Columns::All => 1,
            Columns::Paths(paths) => paths.len(),
        };
        Gathered { columns, slots, places, rows: Vec::new(), values: Vec::new(), width }
    }

    fn add(&mut self, row: &Rows, position: u32) -> Result<()> {
        self.rows.push((position, row.timestamp(1)?, self.rows.len() as u32));
        match &self.columns {
            Columns::All => self.values.push(all_properties(row, 2)),
            Columns::Paths(paths) => self.values.extend((0..paths.len()).map(|index| value(row, index + 2))),
        }
        Ok(())
    }

    fn fold(&mut self, calendar: &dyn Calendar, people: &mut [Person]) -> Result<()> {
        self.rows.sort_unstable();
        for (position, at, number) in self.rows.drain(..) {
            let Some(person) = people.get_mut(position as usize) else { continue };
            let first = number as usize * self.width;
            for (slot, place) in self.slots.iter().zip(&self.places).filter(|(slot, _)| slot.version > person.version) {
                let hit;
                let value = match &self.columns {
                    Columns::All => {
                        let properties = self.values.get(first);
                        let Some(found) = properties.and_then(|properties| edges::hit(slot, properties, at)) else {
                            continue;
                        };
                        hit = found;
                        hit.as_ref()
                    }
                    Columns::Paths(_) => place.and_then(|place| self.values.get(first + place)),
                };
                person
                    .state
                    .fold(&slot.spec, at, value, calendar)
                    .map_err(|error| person::corrupt(person.profile_id, &error))?;
            }
        }
        self.values.clear();
        Ok(())
    }
}

/// What has to be read of properties.
enum Columns<'a> {
    All,
    Paths(Vec<&'a [String]>),
}

impl<'a> Columns<'a> {
    fn of(slots: &[&'a Slot]) -> Columns<'a> {
        let mut paths: Vec<&[String]> = Vec::new();
        for slot in slots {
            // The name and category of a page stand in for properties, and Postgres reads more texts as the number of
            // an item than the language does.
            let is_plain = |path: &[String]| {
                path.first().is_some_and(|name| name != "name" && name != "category")
                    && !path.iter().any(|part| part.trim().parse::<i64>().is_ok())
            };
            match (&slot.filter, &slot.property) {
                (Some(_), _) => return Columns::All,
                (None, None) => {}
                (None, Some(path)) if is_plain(path) => {
                    if !paths.contains(&path.as_slice()) {
                        paths.push(path);
                    }
                }
                (None, Some(_)) => return Columns::All,
            }
        }
        Columns::Paths(paths)
    }

    /// Which of the paths a slot reads.
    fn place(&self, slot: &Slot) -> Option<usize> {
        match self {
            Columns::All => None,
            Columns::Paths(paths) => {
                paths.iter().position(|path| slot.property.as_deref().is_some_and(|wanted| wanted == *path))
            }
        }
    }
}

/// A column of looked-up values. Most are numbers, which need no JSON parser.
fn value(row: &Rows, column: usize) -> Value {
    let Some(text) = row.optional_jsonb(column) else { return Value::Null };
    if text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Decimal::parse(&text).map_or(Value::Null, Value::Number);
    }
    crate::ingest::stored::json(&text).map_or(Value::Null, |json| Value::from_json(&json))
}
