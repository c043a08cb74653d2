//! Reading what people did into the slots of their states.

use super::catalog::{Catalog, Slot};
use super::edges;
use super::person::{self, Person};
use super::properties;
use crate::error::Result;
use crate::ingest::names;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::{Rows, Spi};
use cdp_expr::Expr;
use cdp_state::Calendar;
use cdp_value::{Timestamp, Value};
use std::collections::{BTreeSet, HashMap};

/// Rows of events held in memory at a time, where they are fetched by key.
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
    /// Events that no window reaches at this instant or later may be left out, unless somebody lacks everything.
    pub at: Timestamp,
}

/// Slots of one event name.
struct ByEvent<'a> {
    slots: Vec<&'a Slot>,
    /// Earlier events matter to none of them.
    from: Timestamp,
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
    let mut by_event: HashMap<i32, ByEvent> = HashMap::new();
    for slot in slots() {
        if let Some(id) = ids.get(&slot.event) {
            let own = by_event.entry(*id).or_insert_with(|| ByEvent { slots: Vec::new(), from: Timestamp::MAX });
            own.slots.push(slot);
            own.from = own.from.min(slot.spec.needs_from(wanted.at).unwrap_or(Timestamp::MIN)).max(clock::FIRST);
        }
    }
    let first = wanted.owners.keys().min().copied().unwrap_or(0);
    let last = wanted.owners.keys().max().copied().unwrap_or(0);
    let is_dense = last.saturating_sub(first) < SPREAD.saturating_mul(wanted.owners.len() as i64);
    if !wanted.whole && wanted.owners.len() >= MANY && is_dense {
        for (event, of_event) in &by_event {
            read_stretch(spi, calendar, people, &wanted.owners, (first, last), *event, of_event)?;
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
    by_event: &HashMap<i32, ByEvent>,
) -> Result<()> {
    let profile_ids: Vec<i64> = wanted.owners.keys().copied().collect();
    let event_ids: Vec<i32> = by_event.keys().copied().collect();
    let from = by_event.values().map(|of_event| of_event.from).min().unwrap_or(clock::FIRST);
    let sql = if wanted.whole {
        "SELECT e.profile_id, e.event_name_id, e.ts, e.properties, e.name, e.category FROM _cdp.events AS e \
         WHERE e.profile_id OPERATOR(pg_catalog.=) ANY ($1) AND ($2::pg_catalog.int4[] IS NOT NULL) AND ($3::pg_catalog.timestamptz IS NOT NULL) \
               AND e.type OPERATOR(pg_catalog.=) ANY ('{0,2,3}'::pg_catalog.int2[])"
    } else {
        "SELECT e.profile_id, e.event_name_id, e.ts, e.properties, e.name, e.category FROM _cdp.events AS e \
         WHERE e.profile_id OPERATOR(pg_catalog.=) ANY ($1) AND e.event_name_id OPERATOR(pg_catalog.=) ANY ($2) \
               AND e.ts OPERATOR(pg_catalog.>=) $3"
    };
    let parameters = [Param::Int8Array(&profile_ids), Param::Int4Array(&event_ids), Param::Timestamp(from)];
    spi.for_each(sql, &parameters, FETCH, |row| {
        let Some(person) = owner(people, &wanted.owners, row.i64(0)?) else { return Ok(()) };
        let at = row.timestamp(2)?;
        if person.version < 0 {
            person.state.touch(at);
        }
        let Some(of_event) = by_event.get(&row.i32(1)?) else { return Ok(()) };
        let mut properties: Option<Value> = None;
        for slot in of_event.slots.iter().filter(|slot| slot.version > person.version) {
            let properties = properties.get_or_insert_with(|| properties::of_row(row, 3));
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

/// The events of one name of everybody in a stretch of ids, in whatever order they lie, and of their properties only
/// those that are wanted.
fn read_stretch(
    spi: &Spi,
    calendar: &dyn Calendar,
    people: &mut [Person],
    owners: &HashMap<i64, usize>,
    (first, last): (i64, i64),
    event: i32,
    of_event: &ByEvent,
) -> Result<()> {
    let mut gathered = Gathered::new(&of_event.slots);
    let sql = format!(
        "SELECT e.profile_id, e.ts{} FROM _cdp.events AS e WHERE e.profile_id OPERATOR(pg_catalog.>=) $1 \
             AND e.profile_id OPERATOR(pg_catalog.<=) $2 AND e.event_name_id OPERATOR(pg_catalog.=) $3{}",
        gathered.columns(),
        if of_event.from > clock::FIRST { " AND e.ts OPERATOR(pg_catalog.>=) $4" } else { "" },
    );
    let parameters = [Param::Int8(first), Param::Int8(last), Param::Int4(event), Param::Timestamp(of_event.from)];
    let used = if of_event.from > clock::FIRST { 4 } else { 3 };
    let mut positions = vec![None; usize::try_from(last.saturating_sub(first)).unwrap_or(0).saturating_add(1)];
    for (profile_id, position) in owners {
        let place = usize::try_from(profile_id.saturating_sub(first)).ok().and_then(|place| positions.get_mut(place));
        if let Some(place) = place {
            *place = u32::try_from(*position).ok();
        }
    }
    spi.stream_text(&sql, parameters.get(..used).unwrap_or_default(), |row| {
        let place = usize::try_from(row.i64(0)?.saturating_sub(first)).ok();
        let Some(position) = place.and_then(|place| positions.get(place).copied().flatten()) else { return Ok(()) };
        if gathered.add(row, position)? >= GATHERED {
            gathered.fold(calendar, people)?;
        }
        Ok(())
    })?;
    gathered.fold(calendar, people)
}

/// What a slot reads of an event.
enum Reading<'a> {
    /// That it happened.
    Nothing,
    /// The property at a path.
    Path(&'a [String]),
    /// What its filter, and then its property, say of the properties.
    Properties,
}

impl<'a> Reading<'a> {
    fn of(slot: &'a Slot) -> Reading<'a> {
        match (&slot.filter, &slot.property) {
            (None, None) => Reading::Nothing,
            // The name and category of a page stand in for properties.
            (None, Some(path)) if path.first().is_some_and(|name| name != "name" && name != "category") => {
                Reading::Path(path)
            }
            _ => Reading::Properties,
        }
    }
}

/// Events of many people in the order in which they lie in the table: folded person by person, since going back and
/// forth between the states takes longer than sorting.
struct Gathered<'a> {
    slots: Vec<Events<'a>>,
    /// Names of the members that are read of properties, in order; None for all of them.
    members: Option<Vec<String>>,
    count: usize,
}

/// The events of one slot.
struct Events<'a> {
    slot: &'a Slot,
    reading: Reading<'a>,
    /// Positions of the people.
    people: Vec<u32>,
    times: Vec<Timestamp>,
    /// Of the slot's property, if it has one.
    values: Vec<Value>,
}

impl<'a> Gathered<'a> {
    fn new(slots: &[&'a Slot]) -> Gathered<'a> {
        let slots: Vec<Events> = slots
            .iter()
            .map(|slot| Events {
                slot,
                reading: Reading::of(slot),
                people: Vec::new(),
                times: Vec::new(),
                values: Vec::new(),
            })
            .collect();
        let members = slots.iter().filter(|events| matches!(events.reading, Reading::Properties));
        let members = members.map(|events| members_of(events.slot)).collect::<Option<Vec<_>>>();
        let members =
            members.map(|names| names.into_iter().flatten().collect::<BTreeSet<String>>().into_iter().collect());
        Gathered { slots, members, count: 0 }
    }

    /// The columns that are read beside the person and the time.
    fn columns(&self) -> &'static str {
        let reads = |wanted: fn(&Reading) -> bool| self.slots.iter().any(|events| wanted(&events.reading));
        if reads(|reading| matches!(reading, Reading::Properties)) {
            ", e.properties, e.name, e.category"
        } else if reads(|reading| matches!(reading, Reading::Path(_))) {
            ", e.properties"
        } else {
            ""
        }
    }

    /// Takes an event of somebody; returns how much is gathered.
    fn add(&mut self, row: &Rows, position: u32) -> Result<usize> {
        let at = row.timestamp(1)?;
        let mut properties: Option<Value> = None;
        for events in &mut self.slots {
            match events.reading {
                Reading::Nothing => {}
                Reading::Path(path) => events.values.push(properties::at_path(row, 2, path)),
                Reading::Properties => {
                    let properties = properties.get_or_insert_with(|| match &self.members {
                        Some(names) => properties::some_of_row(row, 2, names),
                        None => properties::of_row(row, 2),
                    });
                    match edges::hit(events.slot, properties, at) {
                        None => continue,
                        Some(value) => events.values.extend(value),
                    }
                }
            }
            events.people.push(position);
            events.times.push(at);
            self.count += 1;
        }
        Ok(self.count)
    }

    fn fold(&mut self, calendar: &dyn Calendar, people: &mut [Person]) -> Result<()> {
        for events in &mut self.slots {
            events.fold(calendar, people)?;
        }
        self.count = 0;
        Ok(())
    }
}

impl Events<'_> {
    fn fold(&mut self, calendar: &dyn Calendar, people: &mut [Person]) -> Result<()> {
        let (mut order, ends) = self.by_person(people.len());
        let mut rest = order.as_mut_slice();
        let mut start = 0;
        for (person, end) in people.iter_mut().zip(ends) {
            let own;
            (own, rest) = std::mem::take(&mut rest).split_at_mut((end - start) as usize);
            start = end;
            if own.is_empty() || self.slot.version <= person.version {
                continue;
            }
            let time = |number: &u32| self.times.get(*number as usize).copied().unwrap_or_default();
            if !own.is_sorted_by_key(time) {
                own.sort_unstable_by_key(time);
            }
            let events = own.iter().map(|number| (time(number), self.values.get(*number as usize)));
            person
                .state
                .fold_all(&self.slot.spec, events, calendar)
                .map_err(|error| person::corrupt(person.profile_id, &error))?;
        }
        self.people.clear();
        self.times.clear();
        self.values.clear();
        Ok(())
    }

    /// The numbers of the events person by person, those of each in the order in which they came, and where each
    /// person's end.
    fn by_person(&self, people: usize) -> (Vec<u32>, Vec<u32>) {
        let mut places = vec![0u32; people];
        for position in &self.people {
            if let Some(count) = places.get_mut(*position as usize) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for place in &mut places {
            let count = *place;
            *place = sum;
            sum += count;
        }
        let mut order = vec![0u32; self.people.len()];
        for (number, position) in (0u32..).zip(&self.people) {
            let Some(place) = places.get_mut(*position as usize) else { continue };
            if let Some(free) = order.get_mut(*place as usize) {
                *free = number;
            }
            *place += 1;
        }
        (order, places)
    }
}

/// The members of properties that a slot reads; None when it may be any.
fn members_of(slot: &Slot) -> Option<BTreeSet<String>> {
    let filter = slot.filter.iter().flat_map(Expr::property_references);
    filter.chain(slot.property.as_deref()).map(|path| path.first().cloned()).collect()
}
