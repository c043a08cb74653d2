//! Folds a batch of events into the people they belong to, and everything that follows from it.

use super::catalog::{Catalog, Touched};
use super::edges::{self, properties_value};
use super::evaluate::{self, Cause, Change, Scope, Task};
use super::person::{self, Person};
use super::settle::{self, Settled};
use super::{pending, timers};
use crate::delivery::routes::{self, Occasion};
use crate::error::Result;
use crate::identity::attributes::{self, Attributes};
use crate::identity::IdentityChanges;
use crate::ingest::Accepted;
use crate::namespaces::Namespace;
use crate::pg::session;
use crate::pg::spi::Spi;
use crate::segments::{lists, transition};
use cdp_message::{Document, MessageType};
use cdp_state::Calendar;
use cdp_value::{Timestamp, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// An event on its way into states.
pub struct Event<'a> {
    pub profile_id: i64,
    pub name: &'a str,
    pub at: Timestamp,
    pub properties: Value,
}

/// Whether a call counts as an event of the person: track, page and screen do.
pub fn is_event(kind: MessageType) -> bool {
    matches!(kind, MessageType::Track | MessageType::Page | MessageType::Screen)
}

/// What expressions see as the properties of a message: those it came with, and a page's or screen's
/// name and category where the properties do not have their own.
pub fn properties_of(properties: Option<&str>, name: Option<&str>, category: Option<&str>) -> Value {
    let mut value = properties_value(properties);
    if let Value::Object(members) = &mut value {
        for (key, text) in [("name", name), ("category", category)] {
            if let (Some(text), Err(at)) = (text, members.binary_search_by(|m| m.0.as_str().cmp(key))) {
                members.insert(at, (key.to_string(), Value::Text(text.to_string())));
            }
        }
    }
    value
}

/// Stages 7 to 10 for a batch that was just appended to `_cdp.events`.
pub fn fold_batch(
    spi: &Spi,
    namespace: &Namespace,
    batch: &[Accepted],
    identity: &IdentityChanges,
    now: Timestamp,
) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let mut people = take(spi, namespace, batch, identity, now)?;
    let (catalog, calendar) = (people.settled.catalog.clone(), people.settled.calendar.clone());

    let mut causes: BTreeMap<i64, Cause> = BTreeMap::new();
    let mut events = Vec::new();
    for accepted in batch {
        let message = &accepted.message;
        causes.insert(accepted.profile_id, Cause::Message(accepted.message_id.clone()));
        if let (true, Some(name)) = (is_event(message.kind), message.event_name()) {
            let wanted = catalog.event(name).is_some_and(|touched| !touched.slots.is_empty());
            let properties = if wanted {
                properties_of(
                    message.properties.as_ref().map(Document::text),
                    message.name.as_deref(),
                    message.category.as_deref(),
                )
            } else {
                Value::Null
            };
            events.push(Event { profile_id: accepted.profile_id, name, at: message.timestamp, properties });
        }
    }

    let mut changes = evaluate::advance(spi, &catalog, &calendar, &mut people.held, now)?;
    let by_time = changes.len();
    let tasks = fold(&catalog, &calendar, &mut people, &events, &causes, now)?;
    {
        let mut held: Vec<&mut Person> = people.held.iter_mut().collect();
        changes.extend(evaluate::evaluate(spi, &catalog, &calendar, &mut held, &tasks)?);
    }
    keep(spi, &catalog, &mut people.held, &changes, now)?;
    let left = pending::Left {
        people: &people.others,
        events: &events,
        attributes: &people.brought_to_others,
        causes: &causes,
    };
    pending::append(spi, namespace, &catalog, &calendar, &left)?;
    // Destinations hear of a message before what came of it, and after what time alone did before.
    let (earlier, later) = changes.split_at(by_time.min(changes.len()));
    routes::send_changes(spi, &catalog, namespace, &people.held, earlier, now)?;
    routes::send_messages(spi, &catalog, &calendar, namespace, batch, &people.held, now, Occasion::Arrival)?;
    routes::send_changes(spi, &catalog, namespace, &people.held, later, now)
}

/// The people of a batch: those whose rows this transaction holds, and those held by others.
struct People {
    held: Vec<Person>,
    others: HashSet<i64>,
    /// Traits and groups of the others.
    brought_to_others: BTreeMap<i64, Attributes>,
    /// Held people whose traits or groups changed.
    attributes_changed: HashSet<i64>,
    /// What the held people were brought to.
    settled: Settled,
    /// People that nothing was known of before.
    created: HashSet<i64>,
    /// People that others were merged into.
    merged: HashSet<i64>,
    /// People that were given another identifier.
    linked: HashSet<i64>,
}

/// What the events of a batch touch.
fn touched_by(catalog: &Catalog, batch: &[Accepted]) -> Touched {
    let events = batch.iter().filter(|accepted| is_event(accepted.message.kind));
    let names: BTreeSet<&str> = events.filter_map(|accepted| accepted.message.event_name()).collect();
    let mut touched = Touched::default();
    if !names.is_empty() {
        touched.extend(catalog.any_event());
    }
    names.into_iter().filter_map(|name| catalog.event(name)).for_each(|by| touched.extend(by));
    touched
}

fn take(
    spi: &Spi,
    namespace: &Namespace,
    batch: &[Accepted],
    identity: &IdentityChanges,
    now: Timestamp,
) -> Result<People> {
    let wanted: BTreeSet<i64> = batch.iter().map(|a| a.profile_id).collect();
    let existing: Vec<i64> = wanted.iter().copied().filter(|id| !identity.created.contains(id)).collect();
    // With one snapshot for the whole transaction, a row changed since would make it fail: the events
    // wait in the pending table instead.
    let mut held = if existing.is_empty() || session::has_transaction_snapshot() {
        Vec::new()
    } else {
        person::lock(spi, &existing)?
    };
    let locked: HashSet<i64> = held.iter().map(|p| p.profile_id).collect();
    let others: HashSet<i64> = existing.into_iter().filter(|id| !locked.contains(id)).collect();
    let settled = settle::settle(spi, namespace, &mut held, None, now)?;
    let created: HashSet<i64> = wanted.into_iter().filter(|id| identity.created.contains(id)).collect();
    let mut new: Vec<i64> = created.iter().copied().collect();
    new.sort_unstable();
    held.extend(new.into_iter().map(|id| Person::new(id, namespace.id, now, settled.catalog.version)));
    let (brought_to_others, brought) = attributes::of_batch(batch).into_iter().partition(|(id, _)| others.contains(id));
    let attributes_changed = attributes::fold(spi, namespace.id, &brought, &created, now)?;
    let catalog = &settled.catalog;
    let is_wholly_new = |person: &Person| settled.has_changed(person) || person.due.is_some_and(|due| due <= now);
    if !identity.merged.is_empty() || held.iter().any(is_wholly_new) {
        evaluate::load_needed(spi, catalog, &mut held, catalog.stored_definitions())?;
    } else {
        let mut touched = touched_by(catalog, batch);
        for (happens, by) in [
            (!created.is_empty(), catalog.existence()),
            (!identity.linked.is_empty(), catalog.identity_change()),
            (!attributes_changed.is_empty(), catalog.profile_change()),
        ] {
            if happens {
                touched.extend(by);
            }
        }
        evaluate::load_needed(spi, catalog, &mut held, catalog.touched_definitions(&touched))?;
    }
    let is_other =
        |id: &i64| identity.created.contains(id) || identity.linked.contains(id) || identity.merged.contains(id);
    lists::load(
        spi,
        &settled.catalog,
        held.iter_mut().filter(|person| is_other(&person.profile_id) || settled.has_changed(person)),
    )?;
    Ok(People {
        held,
        others,
        brought_to_others,
        attributes_changed,
        settled,
        created,
        merged: identity.merged.clone(),
        linked: identity.linked.clone(),
    })
}

/// Adds the events to the states of the people held, and says what has to be evaluated.
fn fold(
    catalog: &Catalog,
    calendar: &dyn Calendar,
    people: &mut People,
    events: &[Event],
    causes: &BTreeMap<i64, Cause>,
    now: Timestamp,
) -> Result<Vec<Task>> {
    let positions: HashMap<i64, usize> = people.held.iter().enumerate().map(|(i, p)| (p.profile_id, i)).collect();
    let mut tasks: Vec<Task> = people
        .held
        .iter()
        .map(|person| Task {
            scope: if people.merged.contains(&person.profile_id) || people.settled.has_changed(person) {
                Scope::All
            } else {
                Scope::Some(Touched::default())
            },
            at: person.instant(now),
            cause: causes.get(&person.profile_id).cloned().unwrap_or(Cause::Time),
        })
        .collect();
    let widen = |task: &mut Task, touched: &Touched| {
        if let Scope::Some(known) = &mut task.scope {
            known.extend(touched);
        }
    };
    for (person, task) in people.held.iter().zip(&mut tasks) {
        if people.created.contains(&person.profile_id) {
            widen(task, catalog.existence());
        }
        if people.linked.contains(&person.profile_id) {
            widen(task, catalog.identity_change());
        }
    }
    // What events of a name touch is noted once for each person.
    let mut noted: HashSet<(usize, &str)> = HashSet::new();
    for event in events {
        let Some(position) = positions.get(&event.profile_id) else { continue };
        let (Some(person), Some(task)) = (people.held.get_mut(*position), tasks.get_mut(*position)) else { continue };
        person.state.touch(event.at);
        let is_first = noted.insert((*position, event.name));
        if is_first {
            widen(task, catalog.any_event());
        }
        let Some(touched) = catalog.event(event.name) else { continue };
        if is_first {
            widen(task, touched);
        }
        let filled_from = people.settled.filled_from.get(&event.profile_id).copied().unwrap_or(person.version);
        for slot in touched.slots.iter().filter_map(|i| catalog.slots.get(*i)) {
            // A slot newer than the person was just filled from the events table, this event included.
            if slot.version > filled_from {
                continue;
            }
            if let Some(value) = edges::hit(slot, &event.properties, event.at) {
                person
                    .state
                    .fold(&slot.spec, event.at, value.as_ref(), calendar)
                    .map_err(|error| person::corrupt(event.profile_id, &error))?;
            }
        }
    }
    for (person, task) in people.held.iter().zip(tasks.iter_mut()) {
        if people.attributes_changed.contains(&person.profile_id) {
            widen(task, catalog.profile_change());
        }
    }
    Ok(tasks)
}

/// Writes people and what changed for them.
pub fn finish(
    spi: &Spi,
    catalog: &Catalog,
    namespace: &Namespace,
    people: &mut [Person],
    changes: &[Change],
    now: Timestamp,
) -> Result<()> {
    keep(spi, catalog, people, changes, now)?;
    routes::send_changes(spi, catalog, namespace, people, changes, now)
}

/// Writes people and what changed of them.
fn keep(spi: &Spi, catalog: &Catalog, people: &mut [Person], changes: &[Change], now: Timestamp) -> Result<()> {
    timers::set(spi, people, now)?;
    person::save(spi, catalog, people, now)?;
    transition::write(spi, catalog, changes)
}

/// Makes a person be computed from the events alone. Values and memberships stay, so that only real differences
/// count as changes.
pub fn reset(person: &mut Person) {
    person.version = -1;
    person.state = cdp_state::State::default();
    person.due = None;
}
