//! The definitions of a namespace, compiled: what each event touches, and nothing else.

mod bind;
mod changed;
mod extended;
mod load;
pub mod memo;
mod names;
mod parsed;
mod remembered;
mod scope;

pub use names::Names;
pub use parsed::parse;
pub use remembered::{covering, current, forget, invalidate, next_version, watch_definitions};
pub use scope::{Happened, Scope, Trigger};

use crate::decisions::flags::Flags;
use crate::delivery::routing::routes::Routes;
use crate::namespaces;
use crate::scoring::Score;
use cdp_expr::{Aggregate, Expr};
use cdp_state::{SlotSpec, Zoned};
use memo::Memo;
use rustc_hash::FxHashMap;
use scope::Scopes;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

/// A computed trait.
pub struct Trait {
    pub id: i32,
    pub key: String,
    /// Whether a change by time alone is acted upon: of what somebody is, or what a route wants to hear. Any other
    /// number or list is computed when it is read.
    pub is_timely: bool,
    pub definition: Definition,
}

/// A segment. A static one has no rule: its members are listed (`segments::lists`), and its expression is itself.
pub struct Segment {
    pub id: i32,
    pub key: String,
    pub name: String,
    pub sync_to: Vec<String>,
    pub is_static: bool,
    pub definition: Definition,
}

/// An expression with what its evaluation needs.
pub struct Definition {
    /// Definition version at which it was made or last changed.
    pub version: i32,
    /// As it was defined; may leave open whether a name is a computed trait.
    pub written: Expr,
    /// With every such name settled: what is evaluated and explained.
    pub expression: Expr,
    /// Traits and segments replaced by their expressions: decides when time alone changes it.
    pub inlined: Expr,
    /// Indexes into [`Catalog::aggregates`], through all traits and segments it refers to.
    pub aggregates: Vec<usize>,
    pub needs_profile: bool,
    pub needs_groups: bool,
    /// Whether the lists of static segments decide it.
    pub needs_lists: bool,
    /// Whether it reads when the person was first or last seen.
    pub needs_seen: bool,
}

impl Definition {
    /// What the given definitions need, each aggregate once.
    pub fn aggregates<'a>(definitions: impl Iterator<Item = &'a Definition>) -> Vec<usize> {
        let all: BTreeSet<usize> = definitions.flat_map(|definition| definition.aggregates.iter().copied()).collect();
        all.into_iter().collect()
    }
}

/// One event source and property in the state of a profile.
pub struct Slot {
    pub spec: SlotSpec,
    pub version: i32,
    pub event: String,
    pub filter: Option<Expr>,
    pub property: Option<Vec<String>>,
    /// Canonical texts of the aggregates it answers.
    pub answers: BTreeSet<String>,
}

/// An aggregate and the slot that answers it.
pub struct BoundAggregate {
    pub aggregate: Aggregate,
    pub slot: usize,
}

/// What an event with some name touches; indexes into the catalog's lists.
#[derive(Default, Clone)]
pub struct Touched {
    pub slots: Vec<usize>,
    /// What the slots read of an event's properties: the first parts of their paths.
    pub properties: BTreeSet<String>,
    pub traits: BTreeSet<usize>,
    pub segments: BTreeSet<usize>,
    /// Scores, each with one of its rules.
    pub rules: BTreeSet<(usize, usize)>,
}

impl Touched {
    /// Touches what the other touches, its slots and what these read aside.
    pub fn extend(&mut self, other: &Touched) {
        self.traits.extend(&other.traits);
        self.segments.extend(&other.segments);
        self.rules.extend(&other.rules);
    }

    /// Touches what something else touches, too.
    pub fn extend_by(&mut self, catalog: &Catalog, trigger: Trigger) {
        if let Some(touched) = catalog.touched_by(trigger) {
            self.extend(touched);
        }
    }
}

pub struct Catalog {
    pub namespace_id: i32,
    pub version: i32,
    /// Calendar days and hours are counted in this time zone.
    timezone: String,
    pub traits: Vec<Trait>,
    pub segments: Vec<Segment>,
    pub scores: Vec<Score>,
    pub flags: Flags,
    pub slots: Vec<Slot>,
    pub aggregates: Vec<BoundAggregate>,
    pub routes: Routes,
    /// Positions in `by_event`, by the name of the event.
    event_index: FxHashMap<String, usize>,
    by_event: Vec<Touched>,
    /// Touched by every event: what depends on when a person was first or last seen.
    by_any_event: Touched,
    /// Touched by identify and group calls.
    by_profile: Touched,
    /// Touched by the mere existence of a person.
    by_existence: Touched,
    /// Touched by an identifier that a person comes to have.
    by_identity: Touched,
    trait_index: FxHashMap<String, usize>,
    segment_index: FxHashMap<String, usize>,
    score_index: FxHashMap<String, usize>,
    aggregate_index: FxHashMap<Aggregate, usize>,
    /// Positions of slots, by their ids.
    slot_index: FxHashMap<u32, usize>,
    scopes: Scopes,
    everything: OnceCell<Rc<Scope>>,
    /// Lent to whoever looks at a person.
    memo: RefCell<Memo>,
}

impl Catalog {
    /// One without definitions.
    fn empty(namespace_id: i32, version: i32, timezone: String) -> Catalog {
        Catalog {
            namespace_id,
            version,
            timezone,
            traits: Vec::new(),
            segments: Vec::new(),
            scores: Vec::new(),
            flags: Flags::default(),
            slots: Vec::new(),
            aggregates: Vec::new(),
            routes: Routes::default(),
            event_index: FxHashMap::default(),
            by_event: Vec::new(),
            by_any_event: Touched::default(),
            by_profile: Touched::default(),
            by_existence: Touched::default(),
            by_identity: Touched::default(),
            trait_index: FxHashMap::default(),
            segment_index: FxHashMap::default(),
            score_index: FxHashMap::default(),
            aggregate_index: FxHashMap::default(),
            slot_index: FxHashMap::default(),
            scopes: Scopes::default(),
            everything: OnceCell::new(),
            memo: RefCell::default(),
        }
    }

    /// The calendar by which days and hours are counted.
    pub fn calendar(&self) -> Zoned {
        namespaces::calendar(&self.timezone)
    }

    /// Where what events of this name touch is found.
    pub fn event_position(&self, name: &str) -> Option<usize> {
        self.event_index.get(name).copied()
    }

    /// What events of this name touch beside what every event does.
    pub fn event(&self, name: &str) -> Option<&Touched> {
        self.touched_by(Trigger::Event(self.event_position(name)?))
    }

    /// What something touches; None for what touches nothing or everything.
    pub fn touched_by(&self, trigger: Trigger) -> Option<&Touched> {
        match trigger {
            Trigger::AnyEvent => Some(&self.by_any_event),
            Trigger::Event(position) => self.by_event.get(position),
            // That an event never happened says something of a person of whom nothing is known, for instance.
            Trigger::Existence => Some(&self.by_existence),
            Trigger::Identity => Some(&self.by_identity),
            Trigger::Profile => Some(&self.by_profile),
            Trigger::Everything => None,
        }
    }

    fn touched_by_event(&mut self, name: &str) -> Option<&mut Touched> {
        let position = match self.event_index.get(name) {
            Some(position) => *position,
            None => {
                self.event_index.insert(name.to_string(), self.by_event.len());
                self.by_event.push(Touched::default());
                self.by_event.len() - 1
            }
        };
        self.by_event.get_mut(position)
    }

    /// Whether there are static segments.
    pub fn has_lists(&self) -> bool {
        self.segments.iter().any(|segment| segment.is_static)
    }

    pub fn trait_by_key(&self, key: &str) -> Option<&Trait> {
        self.trait_index.get(key).and_then(|i| self.traits.get(*i))
    }

    pub fn trait_position(&self, key: &str) -> Option<usize> {
        self.trait_index.get(key).copied()
    }

    pub fn segment_by_key(&self, key: &str) -> Option<&Segment> {
        self.segment_index.get(key).and_then(|i| self.segments.get(*i))
    }

    pub fn segment_position(&self, key: &str) -> Option<usize> {
        self.segment_index.get(key).copied()
    }

    pub fn score_by_key(&self, key: &str) -> Option<&Score> {
        self.score_index.get(key).and_then(|i| self.scores.get(*i))
    }

    /// The definitions whose values are kept with people.
    pub fn stored_definitions(&self) -> impl Iterator<Item = &Definition> {
        let traits = self.traits.iter().map(|t| &t.definition);
        let segments = self.segments.iter().map(|s| &s.definition);
        traits.chain(segments).chain(self.scores.iter().map(|s| &s.definition))
    }

    /// Those of them that something touches.
    pub fn touched_definitions<'a>(&'a self, touched: &'a Touched) -> impl Iterator<Item = &'a Definition> {
        let traits = touched.traits.iter().filter_map(|i| self.traits.get(*i).map(|t| &t.definition));
        let segments = touched.segments.iter().filter_map(|i| self.segments.get(*i).map(|s| &s.definition));
        let rules = touched.rules.iter().filter_map(|(score, rule)| self.scores.get(*score)?.rules.get(*rule));
        traits.chain(segments).chain(rules)
    }

    /// Every expression with what it belongs to and its key; a flag has as many as it has conditions.
    pub fn definitions(&self) -> impl Iterator<Item = (&'static str, &str, &Definition)> {
        self.traits
            .iter()
            .map(|t| ("trait", t.key.as_str(), &t.definition))
            .chain(self.segments.iter().map(|s| ("segment", s.key.as_str(), &s.definition)))
            .chain(self.scores.iter().map(|s| ("score", s.key.as_str(), &s.definition)))
            .chain(self.flags.conditions().map(|(key, condition)| ("flag", key, condition)))
    }

    /// A memo for somebody to look at.
    pub fn lend_memo(&self) -> Memo {
        let mut memo = self.memo.take();
        memo.turn(self.aggregates.len());
        memo
    }

    /// Keeps a memo for the next who needs one.
    pub fn take_back(&self, memo: Memo) {
        self.memo.replace(memo);
    }

    pub fn aggregate_position(&self, aggregate: &Aggregate) -> Option<usize> {
        self.aggregate_index.get(aggregate).copied()
    }

    /// The names of all definitions, for checking a new one.
    pub fn names(&self, events: Vec<String>) -> Names {
        Names {
            traits: self.traits.iter().map(|t| (t.key.clone(), t.definition.written.clone())).collect(),
            segments: self
                .segments
                .iter()
                .map(|s| (s.key.clone(), (!s.is_static).then(|| s.definition.written.clone())))
                .collect(),
            scores: self.scores.iter().map(|s| (s.key.clone(), s.definition.written.clone())).collect(),
            events,
            profile: Vec::new(),
        }
    }
}

impl cdp_state::Specs for Catalog {
    fn spec(&self, slot: u32) -> Option<&SlotSpec> {
        Some(&self.slots.get(*self.slot_index.get(&slot)?)?.spec)
    }
}
