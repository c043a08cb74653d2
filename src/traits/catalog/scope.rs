//! Which definitions are looked at together for a person: all that something touches that happened to the person.

use super::{Catalog, Definition, Touched};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// Definitions to look at, by their positions in the catalog, ascending.
#[derive(Default)]
pub struct Scope {
    pub traits: Vec<usize>,
    pub segments: Vec<usize>,
    /// Scores, each with some of its rules.
    pub rules: Vec<(usize, Vec<usize>)>,
    /// What all of them read.
    pub aggregates: Vec<usize>,
    /// The slots of these aggregates.
    pub slots: Vec<usize>,
    /// Whether these are all definitions that there are.
    pub is_everything: bool,
}

impl Scope {
    /// What is touched.
    pub fn of(catalog: &Catalog, touched: &Touched) -> Scope {
        let rules: Vec<(usize, usize)> = touched.rules.iter().copied().collect();
        let scores = rules.chunk_by(|a, b| a.0 == b.0);
        let scope = Scope {
            traits: touched.traits.iter().copied().collect(),
            segments: touched.segments.iter().copied().collect(),
            rules: scores.filter_map(|of| Some((of.first()?.0, of.iter().map(|pair| pair.1).collect()))).collect(),
            ..Scope::default()
        };
        scope.reading(catalog, catalog.touched_definitions(touched))
    }

    fn everything(catalog: &Catalog) -> Scope {
        let scores = catalog.scores.iter().enumerate();
        let scope = Scope {
            traits: (0..catalog.traits.len()).collect(),
            segments: (0..catalog.segments.len()).collect(),
            rules: scores.map(|(position, score)| (position, (0..score.rules.len()).collect())).collect(),
            is_everything: true,
            ..Scope::default()
        };
        scope.reading(catalog, catalog.stored_definitions())
    }

    fn reading<'a>(mut self, catalog: &Catalog, definitions: impl Iterator<Item = &'a Definition>) -> Scope {
        self.aggregates = Definition::aggregates(definitions);
        let slots = self.aggregates.iter().filter_map(|position| Some(catalog.aggregates.get(*position)?.slot));
        let slots: BTreeSet<usize> = slots.collect();
        self.slots = slots.into_iter().collect();
        self
    }
}

/// Something that happened to a person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trigger {
    /// An event of any name.
    AnyEvent,
    /// An event of a name that definitions know, by [`Catalog::event_position`].
    Event(usize),
    /// The person came to be known.
    Existence,
    /// The person was given another identifier.
    Identity,
    /// Traits or groups changed.
    Profile,
    /// Anything may have changed.
    Everything,
}

/// What happened to a person, as a number that stands for the set of it. Most people of a batch share few sets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Happened(usize);

/// More sets than this are not kept from one batch to the next.
const MOST: usize = 1_000;

/// What happened together, and what has to be looked at then, once somebody asked.
#[derive(Default)]
struct Set {
    triggers: BTreeSet<Trigger>,
    scope: Option<Rc<Scope>>,
}

/// Scopes that were asked for.
#[derive(Default)]
pub(super) struct Scopes {
    known: RefCell<Known>,
}

struct Known {
    sets: Vec<Set>,
    positions: FxHashMap<BTreeSet<Trigger>, usize>,
    steps: FxHashMap<(usize, Trigger), usize>,
}

impl Default for Known {
    /// Nothing happened: the set that [`Happened::default`] stands for.
    fn default() -> Known {
        let positions = FxHashMap::from_iter([(BTreeSet::new(), 0)]);
        Known { sets: vec![Set::default()], positions, steps: FxHashMap::default() }
    }
}

impl Catalog {
    /// Forgets the sets of earlier batches when they are many. To be called between batches: what happened before is a
    /// number without meaning afterwards.
    pub fn forget_scopes(&self) {
        let mut known = self.scopes.known.borrow_mut();
        if known.sets.len() > MOST {
            *known = Known::default();
        }
    }

    /// What happened, and one thing more.
    pub fn happened(&self, before: Happened, trigger: Trigger) -> Happened {
        let mut known = self.scopes.known.borrow_mut();
        if let Some(next) = known.steps.get(&(before.0, trigger)) {
            return Happened(*next);
        }
        let mut triggers = known.sets.get(before.0).map(|set| set.triggers.clone()).unwrap_or_default();
        triggers.insert(trigger);
        let next = match known.positions.get(&triggers) {
            Some(position) => *position,
            None => {
                let position = known.sets.len();
                known.positions.insert(triggers.clone(), position);
                known.sets.push(Set { triggers, scope: None });
                position
            }
        };
        known.steps.insert((before.0, trigger), next);
        Happened(next)
    }

    /// What has to be looked at after what happened.
    pub fn scope(&self, happened: Happened) -> Rc<Scope> {
        let mut known = self.scopes.known.borrow_mut();
        let Some(set) = known.sets.get_mut(happened.0) else { return Rc::default() };
        if let Some(scope) = &set.scope {
            return scope.clone();
        }
        let scope = if set.triggers.contains(&Trigger::Everything) {
            self.everything()
        } else {
            let mut touched = Touched::default();
            set.triggers.iter().filter_map(|trigger| self.touched_by(*trigger)).for_each(|by| touched.extend(by));
            Rc::new(Scope::of(self, &touched))
        };
        set.scope = Some(scope.clone());
        scope
    }

    /// All definitions.
    pub fn everything(&self) -> Rc<Scope> {
        self.everything.get_or_init(|| Rc::new(Scope::everything(self))).clone()
    }
}
