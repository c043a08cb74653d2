//! People whose rows this transaction holds, made whole: with what others left pending, and with all that the
//! latest definitions need.

use super::catalog::{self, Catalog, Scope, Touched};
use super::evaluate::{self, Cause, Task};
use super::person::Person;
use super::{backfill, engine, pending};
use crate::error::Result;
use crate::identity::attributes;
use crate::namespaces::Namespace;
use crate::pg::spi::Spi;
use crate::segments::lists;
use cdp_state::Zoned;
use cdp_value::Timestamp;
use std::collections::HashMap;
use std::rc::Rc;

/// What people were brought to.
pub struct Settled {
    pub catalog: Rc<Catalog>,
    pub calendar: Zoned,
    /// People into whom something pending was folded, and the message it is put down to.
    pub absorbed: HashMap<i64, Option<Cause>>,
    /// Definition version of each person before: events already in the table were read for every slot that is
    /// newer.
    pub filled_from: HashMap<i64, i32>,
}

impl Settled {
    /// Whether all of a person's values may be other ones now.
    pub fn has_changed(&self, person: &Person) -> bool {
        self.absorbed.contains_key(&person.profile_id)
            || self.filled_from.get(&person.profile_id).is_some_and(|version| *version < self.catalog.version)
    }
}

/// Folds in what is pending and fills what the definitions need; with `rebuild`, for which it gives the cause,
/// everything from the events alone.
pub fn settle(
    spi: &Spi,
    namespace: &Namespace,
    people: &mut [Person],
    rebuild: Option<&Cause>,
    now: Timestamp,
) -> Result<Settled> {
    let catalog = catalog::covering(spi, namespace, people)?;
    let calendar = catalog.calendar();
    let mut absorbed = pending::absorb(spi, people, now)?;
    let mut filled_from: HashMap<i64, i32> = people.iter().map(|p| (p.profile_id, p.version)).collect();
    loop {
        if let Some(cause) = rebuild {
            people.iter_mut().for_each(engine::reset);
            attributes::rebuild(spi, namespace.id, people, &cause.as_text(), now)?;
        }
        let before: Vec<i32> = people.iter().map(|p| p.version).collect();
        if !backfill::fill(spi, &catalog, &calendar, people, now)? {
            break;
        }
        // Who left something pending while the events were read may have had those events among them or not: those
        // people are read again, now that the rest of it is known.
        people.iter_mut().filter(|person| !person.is_new).for_each(|person| person.may_have_pending = true);
        let late = pending::absorb(spi, people, now)?;
        if late.is_empty() {
            break;
        }
        for (person, version) in
            people.iter_mut().zip(before).filter(|(person, _)| late.contains_key(&person.profile_id))
        {
            person.version = person.version.min(version);
            filled_from.entry(person.profile_id).and_modify(|from| *from = (*from).min(person.version));
        }
        absorbed.extend(late);
    }
    Ok(Settled { catalog, calendar, absorbed, filled_from })
}

/// Which values of people are looked at again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// What time has changed, and all of those who turn out to have changed otherwise.
    Due,
    /// What definitions say that are newer than the person, and all of those who turn out to have changed otherwise.
    Definitions,
    /// Everything of everybody.
    Everything,
    /// As `Everything`, after computing it from the events alone.
    Rebuild,
}

/// Evaluates people whose rows this transaction holds as of now, and writes what changed; returns how many they are.
pub fn refresh(
    spi: &Spi,
    namespace: &Namespace,
    mut people: Vec<Person>,
    look: Look,
    cause: &Cause,
    now: Timestamp,
) -> Result<usize> {
    let people = people.as_mut_slice();
    let rebuild = (look == Look::Rebuild).then_some(cause);
    let settled = settle(spi, namespace, people, rebuild, now)?;
    let (catalog, calendar) = (&settled.catalog, &settled.calendar);
    let mut newer: HashMap<i32, Rc<Scope>> = HashMap::new();
    let mut touched = Touched::default();
    for version in people.iter().filter_map(|person| settled.filled_from.get(&person.profile_id)) {
        if look == Look::Definitions && !newer.contains_key(version) {
            let changed = catalog.changed_since(*version);
            newer.insert(*version, Rc::new(Scope::of(catalog, &changed)));
            touched.extend(&changed);
        }
    }
    let scope_of = |person: &Person| {
        let is_settled = !settled.absorbed.contains_key(&person.profile_id);
        let newer = settled.filled_from.get(&person.profile_id).and_then(|version| newer.get(version));
        newer.filter(|_| is_settled).cloned().unwrap_or_else(|| catalog.everything())
    };
    let is_due = |person: &Person| person.due.is_some_and(|due| due <= now);
    if look == Look::Definitions && settled.absorbed.is_empty() && !people.iter().any(is_due) {
        let touches_segments = !touched.segments.is_empty();
        evaluate::load_needed(spi, catalog, people, catalog.touched_definitions(&touched), touches_segments)?;
    } else {
        evaluate::load_references(spi, catalog, people)?;
    }
    lists::load(spi, catalog, people.iter_mut())?;
    let mut changes = evaluate::advance(spi, catalog, calendar, people, now)?;
    let mut held: Vec<&mut Person> =
        people.iter_mut().filter(|person| look != Look::Due || settled.has_changed(person)).collect();
    // What another transaction left is put down to its message.
    let cause_of = |person: &Person| {
        let absorbed = settled.absorbed.get(&person.profile_id).cloned().flatten();
        absorbed.filter(|_| rebuild.is_none()).unwrap_or_else(|| cause.clone())
    };
    let tasks: Vec<Task> = held
        .iter()
        .map(|person| Task { scope: scope_of(person), at: person.instant(now), cause: cause_of(person) })
        .collect();
    changes.extend(evaluate::evaluate(spi, catalog, calendar, &mut held, &tasks)?);
    engine::finish(spi, catalog, namespace, people, &changes, now)?;
    Ok(people.len())
}
