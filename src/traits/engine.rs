//! Folds a batch of events into the people they belong to, and everything that follows from it.

use super::catalog::{Catalog, Happened, Touched, Trigger};
use super::edges;
use super::evaluate::{self, Cause, Change, Task};
use super::person::{self, Person};
use super::settle::{self, Settled};
use super::{pending, properties, timers};
use crate::delivery::routing::changes::send_changes;
use crate::delivery::routing::messages::{send_messages, Occasion};
use crate::error::Result;
use crate::identity::attributes::{self, Attributes};
use crate::identity::IdentityChanges;
use crate::ingest::Accepted;
use crate::namespaces::Namespace;
use crate::pg::session;
use crate::pg::spi::Spi;
use crate::segments::{lists, transition};
use cdp_message::MessageType;
use cdp_state::Calendar;
use cdp_value::{Timestamp, Value};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// An event on its way into states.
pub struct Event<'a> {
    pub profile_id: i64,
    pub name: &'a str,
    pub at: Timestamp,
    /// Those that the slots of the event read.
    pub properties: Value,
}

/// Whether a call counts as an event of the person: track, page and screen do.
pub fn is_event(kind: MessageType) -> bool {
    matches!(kind, MessageType::Track | MessageType::Page | MessageType::Screen)
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
    let happened = Happening::of(&people, batch);

    // Some people at a time, so that what is worked on stays in the processor's cache.
    let (mut by_time, mut changes) = (Vec::new(), Vec::new());
    let mut held = std::mem::take(&mut people.held);
    for (number, some) in held.chunks_mut(PEOPLE_AT_A_TIME).enumerate() {
        by_time.extend(evaluate::advance(spi, &catalog, &calendar, some, now)?);
        let tasks =
            fold(&calendar, &people, some, happened.of_people(number * PEOPLE_AT_A_TIME, some.len()), batch, now)?;
        let mut all: Vec<&mut Person> = some.iter_mut().collect();
        changes.extend(evaluate::evaluate(spi, &catalog, &calendar, &mut all, &tasks)?);
        for person in some {
            person.make_ready(&catalog, now)?;
        }
    }
    people.held = held;
    keep(spi, &catalog, &mut people.held, by_time.iter().chain(&changes), now)?;
    pending::append(spi, namespace, &catalog, &calendar, &people.left(&catalog, batch))?;
    // Destinations hear of a message before what came of it, and after what time alone did before.
    send_changes(spi, &catalog, namespace, &people.held, &by_time, now)?;
    send_messages(spi, &catalog, &calendar, namespace, batch, &people.held, now, Occasion::Arrival)?;
    send_changes(spi, &catalog, namespace, &people.held, &changes, now)
}

/// How many people are folded, evaluated and encoded before the next.
const PEOPLE_AT_A_TIME: usize = 512;

/// An event of a message, if it is one.
fn event<'a>(catalog: &Catalog, accepted: &'a Accepted) -> Option<Event<'a>> {
    let message = &accepted.message;
    let name = message.event_name().filter(|_| is_event(message.kind))?;
    let properties = catalog.event(name).map_or(Value::Null, |touched| {
        let (name, category) = (message.name.as_deref(), message.category.as_deref());
        properties::some(&touched.properties, message.properties.as_ref(), name, category)
    });
    Some(Event { profile_id: accepted.profile_id, name, at: message.timestamp, properties })
}

/// The messages of a batch by the people who are held, in the order of these, and of each in the order they came.
struct Happening {
    /// Positions of person and message.
    messages: Vec<(usize, usize)>,
}

impl Happening {
    fn of(people: &People, batch: &[Accepted]) -> Happening {
        let positions: FxHashMap<i64, usize> = people.held.iter().enumerate().map(|(i, p)| (p.profile_id, i)).collect();
        let messages = batch.iter().enumerate();
        let mut messages: Vec<(usize, usize)> =
            messages.filter_map(|(message, accepted)| Some((*positions.get(&accepted.profile_id)?, message))).collect();
        messages.sort_unstable();
        Happening { messages }
    }

    /// Those of some people, with positions among these.
    fn of_people(&self, first: usize, people: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let from = self.messages.partition_point(|(person, _)| *person < first);
        let of_them = self.messages.get(from..).unwrap_or(&[]).iter();
        of_them
            .take_while(move |(person, _)| *person < first + people)
            .map(move |(person, message)| (person - first, *message))
    }
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

impl People {
    /// What happened to somebody beside events.
    fn happened_to(&self, person: &Person) -> Happened {
        let catalog = &self.settled.catalog;
        let all = [
            (Trigger::Everything, self.merged.contains(&person.profile_id) || self.settled.has_changed(person)),
            (Trigger::Existence, self.created.contains(&person.profile_id)),
            (Trigger::Identity, self.linked.contains(&person.profile_id)),
            (Trigger::Profile, self.attributes_changed.contains(&person.profile_id)),
        ];
        let happened = all.into_iter().filter(|(_, has_happened)| *has_happened);
        happened.fold(Happened::default(), |before, (trigger, _)| catalog.happened(before, trigger))
    }

    /// What the batch leaves for the people that others hold.
    fn left<'a>(&'a self, catalog: &Catalog, batch: &'a [Accepted]) -> pending::Left<'a> {
        let of_others = batch.iter().filter(|accepted| self.others.contains(&accepted.profile_id));
        pending::Left {
            people: &self.others,
            message_ids: of_others.clone().map(|a| (a.profile_id, a.message_id.as_str())).collect(),
            events: of_others.filter_map(|accepted| event(catalog, accepted)).collect(),
            attributes: &self.brought_to_others,
        }
    }
}

/// What the events of a batch touch.
fn touched_by(catalog: &Catalog, batch: &[Accepted]) -> Touched {
    let events = batch.iter().filter(|accepted| is_event(accepted.message.kind));
    let names: BTreeSet<&str> = events.filter_map(|accepted| accepted.message.event_name()).collect();
    let mut touched = Touched::default();
    if !names.is_empty() {
        touched.extend_by(catalog, Trigger::AnyEvent);
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
    catalog.forget_scopes();
    let is_wholly_new = |person: &Person| settled.has_changed(person) || person.due.is_some_and(|due| due <= now);
    if !identity.merged.is_empty() || held.iter().any(is_wholly_new) {
        evaluate::load_references(spi, catalog, &mut held)?;
    } else {
        let mut touched = touched_by(catalog, batch);
        for (happens, by) in [
            (!created.is_empty(), Trigger::Existence),
            (!identity.linked.is_empty(), Trigger::Identity),
            (!attributes_changed.is_empty(), Trigger::Profile),
        ] {
            if happens {
                touched.extend_by(catalog, by);
            }
        }
        let touches_segments = !touched.segments.is_empty();
        evaluate::load_needed(spi, catalog, &mut held, catalog.touched_definitions(&touched), touches_segments)?;
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

/// Adds what happened to the states of some people, and says what has to be evaluated.
fn fold(
    calendar: &dyn Calendar,
    people: &People,
    held: &mut [Person],
    happened: impl Iterator<Item = (usize, usize)>,
    batch: &[Accepted],
    now: Timestamp,
) -> Result<Vec<Task>> {
    let catalog = &*people.settled.catalog;
    let mut touched: Vec<(Happened, Option<&Accepted>)> =
        held.iter().map(|person| (people.happened_to(person), None)).collect();
    for (position, message) in happened {
        let (Some(person), Some((happened, last)), Some(accepted)) =
            (held.get_mut(position), touched.get_mut(position), batch.get(message))
        else {
            continue;
        };
        *last = Some(accepted);
        let Some(event) = event(catalog, accepted) else { continue };
        person.state.touch(event.at);
        *happened = catalog.happened(*happened, Trigger::AnyEvent);
        let Some(known) = catalog.event_position(event.name) else { continue };
        *happened = catalog.happened(*happened, Trigger::Event(known));
        let filled_from = people.settled.filled_from.get(&person.profile_id).copied().unwrap_or(person.version);
        let slots = catalog.touched_by(Trigger::Event(known)).map_or(&[][..], |touched| &touched.slots);
        for slot in slots.iter().filter_map(|i| catalog.slots.get(*i)) {
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
    let task = |(person, (happened, last)): (&Person, (Happened, Option<&Accepted>))| Task {
        scope: catalog.scope(happened),
        at: person.instant(now),
        cause: last.map_or(Cause::Time, |accepted| Cause::Message(accepted.message_id.as_str().into())),
    };
    Ok(held.iter().zip(touched).map(task).collect())
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
    keep(spi, catalog, people, changes.iter(), now)?;
    send_changes(spi, catalog, namespace, people, changes, now)
}

/// Writes people and what changed of them.
fn keep<'a>(
    spi: &Spi,
    catalog: &Catalog,
    people: &mut [Person],
    changes: impl Iterator<Item = &'a Change>,
    now: Timestamp,
) -> Result<()> {
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
