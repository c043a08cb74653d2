//! What people did in a stretch of time, by any expressions.
//!
//! The state of a profile knows all that a person ever did; a metric counts from the person's exposure on, and a
//! covariate only what was before. So both are computed from events, as a definition that is newer than a person is.

use crate::error::Result;
use crate::ingest::names;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::traits::catalog::Catalog;
use crate::traits::context::PersonContext;
use crate::traits::edges::{self, Edges};
use crate::traits::person::{self, Person};
use crate::traits::properties;
use cdp_expr::Expr;
use cdp_state::{Edge, EdgeEvents, State};
use cdp_value::{Timestamp, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Rows of events held in memory at a time.
const FETCH: i64 = 10_000;

/// What happened, by position of the person and of the slot.
type Hits = HashMap<(usize, usize), Vec<(Timestamp, Option<Value>)>>;

/// A person's events that count, and the instant as of which to evaluate.
#[derive(Clone, Copy)]
pub struct Stretch {
    pub from: Timestamp,
    /// The first instant that does not count any more.
    pub before: Timestamp,
    pub at: Timestamp,
}

/// The values of expressions for people, each over a stretch of time; those who are gone are left out.
pub fn measure(
    spi: &Spi,
    catalog: &Catalog,
    expressions: &[Expr],
    stretches: &BTreeMap<i64, Stretch>,
) -> Result<HashMap<i64, Vec<Value>>> {
    let together = Expr::And(expressions.to_vec());
    let extended = catalog.with_expression(&together)?;
    let (catalog, definition) = (&extended.catalog, &extended.definition);
    let calendar = catalog.calendar();
    let ids: Vec<i64> = stretches.keys().copied().collect();
    let mut people = person::load(spi, &ids)?;
    for person in &mut people {
        person.state = State::new();
    }
    if definition.needs_profile {
        person::load_traits(spi, &mut people)?;
    }
    if definition.needs_groups {
        person::load_groups(spi, &mut people)?;
    }
    if definition.needs_lists {
        person::load_memberships(spi, &mut people)?;
        crate::traits::evaluate::note_lists(catalog, &mut people);
    }

    let slots: BTreeSet<usize> =
        definition.aggregates.iter().filter_map(|i| catalog.aggregates.get(*i)).map(|bound| bound.slot).collect();
    let event_names: Vec<&str> = slots.iter().filter_map(|i| catalog.slots.get(*i)).map(|s| s.event.as_str()).collect();
    let event_ids = names::look_up(spi, &event_names)?;
    let mut by_event: HashMap<i32, Vec<usize>> = HashMap::new();
    for slot in &slots {
        if let Some(id) = catalog.slots.get(*slot).and_then(|slot| event_ids.get(&slot.event)) {
            by_event.entry(*id).or_default().push(*slot);
        }
    }
    let owners: HashMap<i64, usize> =
        people.iter().enumerate().flat_map(|(i, p)| p.profile_ids().map(move |id| (id, i))).collect();
    let profile_ids: Vec<i64> = owners.keys().copied().collect();
    let event_ids: Vec<i32> = by_event.keys().copied().collect();
    let from = stretches.values().map(|stretch| stretch.from).min().unwrap_or(0);
    let before = stretches.values().map(|stretch| stretch.before).max().unwrap_or(0);
    // What happened in each slot, for the edges of windows.
    let mut hits = Hits::new();
    spi.for_each(
        "SELECT e.profile_id, e.event_name_id, e.ts, e.properties, e.name, e.category FROM _cdp.events AS e \
         WHERE e.profile_id OPERATOR(pg_catalog.=) ANY ($1) AND e.event_name_id OPERATOR(pg_catalog.=) ANY ($2) \
               AND e.ts OPERATOR(pg_catalog.>=) $3 AND e.ts OPERATOR(pg_catalog.<) $4",
        &[
            Param::Int8Array(&profile_ids),
            Param::Int4Array(&event_ids),
            Param::Timestamp(from),
            Param::Timestamp(before),
        ],
        FETCH,
        |row| {
            let Some(position) = owners.get(&row.i64(0)?) else { return Ok(()) };
            let Some(person) = people.get_mut(*position) else { return Ok(()) };
            let (at, stretch) = (row.timestamp(2)?, stretches.get(&person.profile_id));
            if !stretch.is_some_and(|stretch| stretch.from <= at && at < stretch.before) {
                return Ok(());
            }
            let Some(slots) = by_event.get(&row.i32(1)?) else { return Ok(()) };
            let properties = properties::of_row(row, 3);
            person.state.touch(at);
            for index in slots {
                let Some(slot) = catalog.slots.get(*index) else { continue };
                if let Some(value) = edges::hit(slot, &properties, at) {
                    person
                        .state
                        .fold(&slot.spec, at, value.as_ref(), &calendar)
                        .map_err(|error| person::corrupt(person.profile_id, &error))?;
                    hits.entry((*position, *index)).or_default().push((at, value));
                }
            }
            Ok(())
        },
    )?;

    let mut values = HashMap::with_capacity(people.len());
    for (position, person) in people.iter().enumerate() {
        let Some(stretch) = stretches.get(&person.profile_id) else { continue };
        let edges = edges_of(catalog, person, position, &definition.aggregates, stretch.at, &hits)?;
        let context = PersonContext::new(catalog, person, stretch.at, &calendar, &edges);
        let each = expressions.iter().map(|expression| cdp_expr::evaluate(expression, &context)).collect();
        context.check()?;
        values.insert(person.profile_id, each);
    }
    Ok(values)
}

/// The events at the edges of a person's windows, out of those that were read.
fn edges_of(
    catalog: &Catalog,
    person: &Person,
    position: usize,
    aggregates: &[usize],
    at: Timestamp,
    hits: &Hits,
) -> Result<Edges> {
    let mut ranges: BTreeMap<usize, Vec<Edge>> = BTreeMap::new();
    for bound in aggregates.iter().filter_map(|index| catalog.aggregates.get(*index)) {
        let Some(slot) = catalog.slots.get(bound.slot) else { continue };
        let needed = person
            .state
            .edges(&slot.spec, bound.aggregate.function, bound.aggregate.window, at)
            .map_err(|error| person::corrupt(person.profile_id, &error))?;
        ranges.entry(bound.slot).or_default().extend(needed);
    }
    let mut edges = Edges::default();
    for (index, ranges) in ranges {
        let Some(slot) = catalog.slots.get(index).filter(|_| !ranges.is_empty()) else { continue };
        let inside = |at: Timestamp| ranges.iter().any(|range| range.from <= at && at <= range.to);
        let events =
            hits.get(&(position, index)).into_iter().flatten().filter(|(at, _)| inside(*at)).cloned().collect();
        edges.insert(person.profile_id, slot.spec.id(), EdgeEvents::new(ranges, events));
    }
    Ok(edges)
}
