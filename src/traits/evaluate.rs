//! From states to what changed: trait values, segments entered and left, and when time changes them next.

use super::catalog::{Catalog, Definition, Scope};
use super::computed::Replaced;
use super::context::PersonContext;
use super::edges;
use super::person::{self, Person};
use crate::error::Result;
use crate::pg::spi::Spi;
use crate::scoring::announce;
use crate::scoring::assess::Assessment;
use crate::segments::transition;
use cdp_state::Calendar;
use cdp_value::Timestamp;
use std::rc::Rc;

/// What is another than before. Of traits only what somebody hears of or what is remembered: most numbers change with
/// every event.
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
    Message(Rc<str>),
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

/// What to evaluate for one person, and as of when.
pub struct Task {
    pub scope: Rc<Scope>,
    pub at: Timestamp,
    pub cause: Cause,
}

/// More steps than this in one go are folded into one: a clock that jumps by years.
const MOST_STEPS: usize = 100;

/// Evaluates people where they stand; `people` and `tasks` go together.
pub fn evaluate(
    spi: &Spi,
    catalog: &Catalog,
    calendar: &dyn Calendar,
    people: &mut [&mut Person],
    tasks: &[Task],
) -> Result<Vec<Change>> {
    let wanted = people.iter().zip(tasks);
    let edges =
        edges::read(spi, catalog, wanted.map(|(person, task)| (&**person, task.at, task.scope.aggregates.as_slice())))?;
    let announces_traits = catalog.routes.announces_traits();
    let mut changes = Vec::new();
    let (mut values, mut memberships) = (Vec::new(), Vec::new());
    for (person, task) in people.iter_mut().zip(tasks) {
        let scope = &*task.scope;
        let (scores, due) = {
            let context = PersonContext::new(catalog, person, task.at, calendar, &edges);
            let mut due: Option<Timestamp> = None;
            let mut consider = |definition: &Definition| {
                if let Some(at) = context.changes_at(definition) {
                    due = Some(due.map_or(at, |d| d.min(at)));
                }
            };
            // First, so that traits and segments that refer to scores find them.
            let mut scores = Vec::new();
            for (position, rules) in &scope.rules {
                scores.extend(Assessment::of(&context, catalog, *position, rules));
                let score = catalog.scores.get(*position);
                rules.iter().filter_map(|rule| score?.rules.get(*rule)).for_each(&mut consider);
            }
            for found in scope.traits.iter().filter_map(|position| catalog.traits.get(*position)) {
                values.push(context.value(&found.definition));
                if found.is_timely {
                    consider(&found.definition);
                }
            }
            for found in scope.segments.iter().filter_map(|position| catalog.segments.get(*position)) {
                memberships.push(context.holds(&found.definition));
                consider(&found.definition);
            }
            context.check()?;
            (scores, due)
        };
        let mut changed = |what| {
            changes.push(Change { profile_id: person.profile_id, at: task.at, cause: task.cause.clone(), what });
        };
        for (position, value) in scope.traits.iter().zip(values.drain(..)) {
            let Some(found) = catalog.traits.get(*position) else { continue };
            if let Some(Replaced { old, new }) = person.computed.set(found.id, &value, task.at) {
                if announces_traits || transition::is_remembered(old, new) {
                    changed(What::Trait { position: *position, old: old.to_string(), new: new.to_string() });
                }
            }
        }
        for found in scores {
            if let Some((position, change)) = found.keep(catalog, &mut person.computed, task.at) {
                changed(What::Score { position, change: Box::new(change) });
            }
        }
        for (position, is_member) in scope.segments.iter().zip(memberships.drain(..)) {
            let Some(found) = catalog.segments.get(*position) else { continue };
            if is_member {
                if person.memberships.enter(found.id, task.at) {
                    changed(What::SegmentEntered { position: *position });
                }
            } else if person.memberships.exit(found.id) {
                changed(What::SegmentExited { position: *position });
            }
        }
        person.due = match (scope.is_everything, person.due, due) {
            (false, Some(a), Some(b)) => Some(a.min(b)),
            (false, a, b) => a.or(b),
            (true, _, due) => due,
        };
        // What had to be read is kept in finer parts, so that it need not be read again.
        for slot in scope.slots.iter().filter_map(|i| catalog.slots.get(*i)) {
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
                scope: catalog.everything(),
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
    load_needed(spi, catalog, people, catalog.stored_definitions(), !catalog.segments.is_empty())
}

/// Loads what some of the definitions, and the filters of routes, refer to beside the state; with the segments people are
/// in, if these may change.
pub fn load_needed<'a>(
    spi: &Spi,
    catalog: &Catalog,
    people: &mut [Person],
    definitions: impl Iterator<Item = &'a Definition>,
    needs_memberships: bool,
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
    if needs_memberships || catalog.has_lists() {
        person::load_memberships(spi, people)?;
    }
    note_lists(catalog, people);
    Ok(())
}

/// Who is in a static segment is on its list, unless the person or the list is another one since. Needs the memberships.
pub fn note_lists(catalog: &Catalog, people: &mut [Person]) {
    if catalog.has_lists() {
        for person in people.iter_mut() {
            let is_listed = |id: &i32| catalog.segments.iter().any(|s| s.is_static && s.id == *id);
            person.lists = person.memberships.ids().filter(is_listed).collect();
        }
    }
}
