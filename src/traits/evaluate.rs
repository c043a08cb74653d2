//! From states to what changed: trait values, segments entered and left, and when time changes them next.

use super::catalog::{Catalog, Definition, Touched};
use super::context::PersonContext;
use super::edges;
use super::person::{self, Person};
use crate::error::Result;
use crate::pg::spi::Spi;
use crate::scoring::announce;
use crate::scoring::assess::{self, Assessment};
use cdp_state::Calendar;
use cdp_value::{Timestamp, Value};
use std::collections::BTreeSet;

/// A value that is another one than before.
pub struct Change {
    pub profile_id: i64,
    pub at: Timestamp,
    pub cause: Cause,
    pub what: What,
}

pub enum What {
    Trait { position: usize, old: String, new: String },
    Score { position: usize, change: Box<announce::Change> },
    SegmentEntered { position: usize },
    SegmentExited { position: usize },
}

/// Why something was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A message, by its id.
    Message(String),
    /// Time alone.
    Time,
    /// A definition that was made or changed.
    Definition,
    /// The list of a static segment.
    List,
    /// An identity that was merged or split.
    Identity,
    /// `cdp.rebuild`.
    Rebuild,
}

impl Cause {
    pub fn as_text(&self) -> String {
        match self {
            Cause::Message(id) => format!("message {id}"),
            Cause::Time => "time".to_string(),
            Cause::Definition => "definition".to_string(),
            Cause::List => "list".to_string(),
            Cause::Identity => "identity".to_string(),
            Cause::Rebuild => "rebuild".to_string(),
        }
    }
}

/// Which definitions to look at for one person.
pub enum Scope {
    All,
    Some(Touched),
}

/// What to evaluate for one person, and as of when.
pub struct Task {
    pub scope: Scope,
    pub at: Timestamp,
    pub cause: Cause,
}

/// More steps than this in one go are folded into one: a clock that jumps by years.
const MOST_STEPS: usize = 100;

fn definitions<'a>(catalog: &'a Catalog, scope: &'a Scope) -> Vec<&'a Definition> {
    match scope {
        Scope::All => catalog.stored_definitions().collect(),
        Scope::Some(touched) => catalog.touched_definitions(touched).collect(),
    }
}

/// Evaluates people where they stand; `people` and `tasks` go together.
pub fn evaluate(
    spi: &Spi,
    catalog: &Catalog,
    calendar: &dyn Calendar,
    people: &mut [&mut Person],
    tasks: &[Task],
) -> Result<Vec<Change>> {
    let wanted: Vec<Vec<usize>> = tasks
        .iter()
        .map(|task| {
            let all: BTreeSet<usize> =
                definitions(catalog, &task.scope).iter().flat_map(|d| d.aggregates.iter().copied()).collect();
            all.into_iter().collect()
        })
        .collect();
    let edges = edges::read(
        spi,
        catalog,
        people.iter().zip(tasks).zip(&wanted).map(|((person, task), wanted)| (&**person, task.at, wanted.as_slice())),
    )?;

    let mut changes = Vec::new();
    for ((person, task), wanted) in people.iter_mut().zip(tasks).zip(&wanted) {
        let (values, memberships, scores, due) = {
            let context = PersonContext::new(catalog, person, task.at, calendar, &edges);
            let mut due: Option<Timestamp> = None;
            let mut consider = |definition: &Definition| {
                if let Some(at) = context.changes_at(definition) {
                    due = Some(due.map_or(at, |d| d.min(at)));
                }
            };
            // First, so that traits and segments that refer to scores find them.
            let touched = match &task.scope {
                Scope::All => None,
                Scope::Some(touched) => Some(touched),
            };
            let mut scores = Vec::new();
            for (position, rules) in assess::wanted(catalog, touched) {
                scores.extend(Assessment::of(&context, catalog, position, &rules));
                let score = catalog.scores.get(position);
                rules.iter().filter_map(|rule| score?.rules.get(*rule)).for_each(&mut consider);
            }
            let traits: Vec<usize> = match &task.scope {
                Scope::All => (0..catalog.traits.len()).collect(),
                Scope::Some(touched) => touched.traits.iter().copied().collect(),
            };
            let mut values: Vec<(usize, Value)> = Vec::with_capacity(traits.len());
            for position in traits {
                if let Some(found) = catalog.traits.get(position) {
                    values.push((position, context.value(&found.definition)));
                    if found.is_timely {
                        consider(&found.definition);
                    }
                }
            }
            let segments: Vec<usize> = match &task.scope {
                Scope::All => (0..catalog.segments.len()).collect(),
                Scope::Some(touched) => touched.segments.iter().copied().collect(),
            };
            let mut memberships: Vec<(usize, bool)> = Vec::with_capacity(segments.len());
            for position in segments {
                if let Some(found) = catalog.segments.get(position) {
                    memberships.push((position, context.holds(&found.definition)));
                    consider(&found.definition);
                }
            }
            context.check()?;
            (values, memberships, scores, due)
        };
        let mut changed = |what| {
            changes.push(Change { profile_id: person.profile_id, at: task.at, cause: task.cause.clone(), what });
        };
        for (position, value) in values {
            let Some(found) = catalog.traits.get(position) else { continue };
            if let Some(old) = person.computed.set(found.id, &value, task.at) {
                let new = person.computed.get(found.id).map_or_else(|| "null".to_string(), |e| e.json.clone());
                changed(What::Trait { position, old, new });
            }
        }
        for found in scores {
            if let Some((position, change)) = found.keep(catalog, &mut person.computed, task.at) {
                changed(What::Score { position, change: Box::new(change) });
            }
        }
        for (position, is_member) in memberships {
            let Some(found) = catalog.segments.get(position) else { continue };
            if is_member {
                if let std::collections::hash_map::Entry::Vacant(entry) = person.memberships.entry(found.id) {
                    entry.insert(task.at);
                    changed(What::SegmentEntered { position });
                }
            } else if person.memberships.remove(&found.id).is_some() {
                changed(What::SegmentExited { position });
            }
        }
        person.due = match task.scope {
            Scope::All => due,
            Scope::Some(_) => match (person.due, due) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        };
        // What had to be read is kept in finer parts, so that it need not be read again.
        let slots: BTreeSet<usize> = wanted.iter().filter_map(|i| catalog.aggregates.get(*i)).map(|a| a.slot).collect();
        for slot in slots.into_iter().filter_map(|i| catalog.slots.get(i)) {
            person
                .state
                .refine(&slot.spec, task.at, edges.of(person.profile_id, slot.spec.id()))
                .map_err(|error| person::corrupt(person.profile_id, &error))?;
        }
    }
    Ok(changes)
}

/// Takes people through every instant up to `now` at which time alone changes something, so that each
/// change carries the instant at which it happened, however late it is noticed.
pub fn advance(
    spi: &Spi,
    catalog: &Catalog,
    calendar: &dyn Calendar,
    people: &mut [Person],
    now: Timestamp,
) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for step in 0..=MOST_STEPS {
        let mut due: Vec<&mut Person> =
            people.iter_mut().filter(|person| person.due.is_some_and(|at| at <= now)).collect();
        if due.is_empty() {
            break;
        }
        let tasks: Vec<Task> = due
            .iter()
            .map(|person| Task {
                scope: Scope::All,
                at: if step == MOST_STEPS { now } else { person.due.unwrap_or(now) },
                cause: Cause::Time,
            })
            .collect();
        changes.extend(evaluate(spi, catalog, calendar, &mut due, &tasks)?);
    }
    Ok(changes)
}

/// Loads what the definitions whose values are kept refer to beside the state.
pub fn load_references(spi: &Spi, catalog: &Catalog, people: &mut [Person]) -> Result<()> {
    load_needed(spi, catalog, people, catalog.stored_definitions())
}

/// Loads what some of the definitions, and the filters of routes, refer to beside the state.
pub fn load_needed<'a>(
    spi: &Spi,
    catalog: &Catalog,
    people: &mut [Person],
    definitions: impl Iterator<Item = &'a Definition>,
) -> Result<()> {
    let mut needs_profile = catalog.routes.iter().any(|route| route.needs_profile);
    let mut needs_groups = catalog.routes.iter().any(|route| route.needs_groups);
    for definition in definitions {
        needs_profile |= definition.needs_profile;
        needs_groups |= definition.needs_groups;
    }
    if needs_profile {
        person::load_traits(spi, people)?;
    }
    if needs_groups {
        person::load_groups(spi, people)?;
    }
    if !catalog.segments.is_empty() {
        person::load_memberships(spi, people)?;
    }
    note_lists(catalog, people);
    Ok(())
}

/// Who is in a static segment is on its list, unless the person or the list is another one since. Needs the memberships.
pub fn note_lists(catalog: &Catalog, people: &mut [Person]) {
    if catalog.has_lists() {
        for person in people.iter_mut() {
            let is_listed = |id: &&i32| catalog.segments.iter().any(|s| s.is_static && s.id == **id);
            person.lists = person.memberships.keys().filter(is_listed).copied().collect();
        }
    }
}
