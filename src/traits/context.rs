//! One person at one instant, as expressions see them.

use super::catalog::memo::Memo;
use super::catalog::{Catalog, Definition, Slot};
use super::edges::Edges;
use super::person::{self, Person};
use crate::error::Result;
use crate::scoring::Score;
use cdp_expr::{Aggregate, Context};
use cdp_state::{Calendar, StateError};
use cdp_value::{AggregateFunction, AgoUnit, Decimal, Timestamp, Value};
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::cell::RefCell;

pub struct PersonContext<'a> {
    pub catalog: &'a Catalog,
    pub person: &'a Person,
    pub at: Timestamp,
    pub calendar: &'a dyn Calendar,
    pub edges: &'a Edges,
    /// Attributes that came with a question (`context.` in flags).
    pub attributes: Option<&'a Value>,
    /// The message at hand, for filters of routes.
    pub message: Option<&'a Value>,
    memo: RefCell<Memo>,
    /// Totals and grades of scores, by id.
    scores: RefCell<FxHashMap<i32, (Value, Value)>>,
    damage: RefCell<Option<StateError>>,
}

impl<'a> PersonContext<'a> {
    pub fn new(
        catalog: &'a Catalog,
        person: &'a Person,
        at: Timestamp,
        calendar: &'a dyn Calendar,
        edges: &'a Edges,
    ) -> PersonContext<'a> {
        PersonContext {
            catalog,
            person,
            at,
            calendar,
            edges,
            attributes: None,
            message: None,
            memo: RefCell::new(catalog.lend_memo()),
            scores: RefCell::default(),
            damage: RefCell::default(),
        }
    }

    /// The value of a definition's expression.
    pub fn value(&self, definition: &Definition) -> Value {
        cdp_expr::evaluate(&definition.expression, self)
    }

    /// Whether a definition's condition holds.
    pub fn holds(&self, definition: &Definition) -> bool {
        cdp_expr::is_true(&definition.expression, self)
    }

    /// The earliest instant after `at` at which the definition can change by time alone.
    pub fn changes_at(&self, definition: &Definition) -> Option<Timestamp> {
        cdp_expr::next_change(&definition.inlined, self)
    }

    /// A score with the points of each of its rules.
    pub fn outcome<'s>(&self, score: &'s Score) -> cdp_score::Outcome<'s> {
        let rules = (0..score.rules.len()).filter_map(|rule| self.rule_outcome(score, rule)).collect();
        let outcome = cdp_score::Outcome::new(&score.model, rules);
        self.note_score(score, &outcome.totals.total, outcome.totals.grade);
        outcome
    }

    /// What one rule of a score gives.
    pub fn rule_outcome<'s>(&self, score: &'s Score, rule: usize) -> Option<cdp_score::RuleOutcome<'s>> {
        match self.value(score.rules.get(rule)?) {
            Value::Array(values) => score.model.rule(rule, &values),
            _ => None,
        }
    }

    /// Tells expressions what a score is.
    pub fn note_score(&self, score: &Score, total: &Decimal, grade: &str) {
        let known = (Value::Number(total.clone()), Value::Text(grade.to_string()));
        self.scores.borrow_mut().insert(score.id, known);
    }

    fn scored(&self, key: &str) -> (Value, Value) {
        let Some(score) = self.catalog.score_by_key(key) else { return (Value::Null, Value::Null) };
        if let Some(known) = self.scores.borrow().get(&score.id) {
            return known.clone();
        }
        self.outcome(score);
        self.scores.borrow().get(&score.id).cloned().unwrap_or((Value::Null, Value::Null))
    }

    /// Whether everything could be read: an expression cannot fail, so damage is told here.
    pub fn check(&self) -> Result<()> {
        match self.damage.borrow().as_ref() {
            None => Ok(()),
            Some(error) => Err(person::corrupt(self.person.profile_id, error)),
        }
    }

    fn readable<T>(&self, read: std::result::Result<T, StateError>) -> Option<T> {
        read.map_err(|error| self.damage.replace(Some(error))).ok()
    }

    /// Where the catalog has an aggregate.
    fn position(&self, aggregate: &Aggregate) -> Option<usize> {
        aggregate.position.get().or_else(|| self.catalog.aggregate_position(aggregate))
    }

    /// The slot of an aggregate that tells how long ago something was; the same in any of the three units.
    fn slot_of_seen(&self, aggregate: &Aggregate) -> Option<&'a Slot> {
        let position = self.position(aggregate).or_else(|| {
            let units = [AgoUnit::Days, AgoUnit::Hours, AgoUnit::Minutes];
            units.into_iter().find_map(|unit| {
                let function = match aggregate.function {
                    AggregateFunction::FirstSeenAgo(_) => AggregateFunction::FirstSeenAgo(unit),
                    _ => AggregateFunction::LastSeenAgo(unit),
                };
                self.catalog.aggregate_position(&Aggregate { function, ..aggregate.clone() })
            })
        })?;
        self.catalog.slots.get(self.catalog.aggregates.get(position)?.slot)
    }
}

impl Drop for PersonContext<'_> {
    fn drop(&mut self) {
        self.catalog.take_back(self.memo.take());
    }
}

impl Context for PersonContext<'_> {
    fn now(&self) -> Timestamp {
        self.at
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Value {
        let Some(position) = self.position(aggregate) else {
            return Value::Null;
        };
        if let Some(value) = self.memo.borrow().value(position) {
            return value.clone();
        }
        let value = self.catalog.aggregates.get(position).and_then(|bound| self.catalog.slots.get(bound.slot)).map_or(
            Value::Null,
            |slot| {
                self.readable(self.person.state.evaluate(
                    &slot.spec,
                    aggregate.function,
                    aggregate.window,
                    self.at,
                    self.edges.of(self.person.profile_id, slot.spec.id()),
                    self.calendar,
                ))
                .unwrap_or(Value::Null)
            },
        );
        self.memo.borrow_mut().note_value(position, value.clone());
        value
    }

    fn aggregate_changes_at(&self, aggregate: &Aggregate) -> Option<Timestamp> {
        let position = self.position(aggregate)?;
        if let Some(known) = self.memo.borrow().change(position) {
            return known;
        }
        let slot = self.catalog.slots.get(self.catalog.aggregates.get(position)?.slot)?;
        let change = self.readable(self.person.state.changes_at(
            &slot.spec,
            aggregate.function,
            aggregate.window,
            self.at,
            self.edges.of(self.person.profile_id, slot.spec.id()),
            self.calendar,
        ));
        self.memo.borrow_mut().note_change(position, change.flatten());
        change.flatten()
    }

    fn event_first_seen(&self, aggregate: &Aggregate) -> Option<Timestamp> {
        let slot = self.slot_of_seen(aggregate)?;
        self.readable(self.person.state.slot_first_seen(&slot.spec))?
    }

    fn event_last_seen(&self, aggregate: &Aggregate) -> Option<Timestamp> {
        let slot = self.slot_of_seen(aggregate)?;
        self.readable(self.person.state.slot_last_seen(&slot.spec))?
    }

    fn first_seen(&self) -> Option<Timestamp> {
        self.person.state.first_seen
    }

    fn last_seen(&self) -> Option<Timestamp> {
        self.person.state.last_seen
    }

    fn trait_value(&self, key: &str) -> Value {
        self.catalog.trait_by_key(key).map_or(Value::Null, |found| self.value(&found.definition))
    }

    fn segment(&self, key: &str) -> bool {
        self.catalog.segment_by_key(key).is_some_and(|found| match found.is_static {
            true => self.person.lists.contains(&found.id),
            false => self.holds(&found.definition),
        })
    }

    fn score(&self, key: &str) -> Value {
        self.scored(key).0
    }

    fn grade(&self, key: &str) -> Value {
        self.scored(key).1
    }

    fn score_changes_at(&self, key: &str) -> Option<Timestamp> {
        self.changes_at(&self.catalog.score_by_key(key)?.definition)
    }

    fn profile(&self, path: &[String]) -> Value {
        cdp_expr::lookup(&self.person.traits, path).cloned().unwrap_or(Value::Null)
    }

    fn group(&self, path: &[String]) -> Value {
        cdp_expr::lookup(&self.person.group, path).cloned().unwrap_or(Value::Null)
    }

    fn property(&self, path: &[String]) -> Value {
        self.message
            .and_then(|message| cdp_expr::lookup(message, &["properties".to_string()]))
            .and_then(|properties| cdp_expr::lookup(properties, path))
            .cloned()
            .unwrap_or(Value::Null)
    }

    fn message(&self, path: &[String]) -> Value {
        self.message.and_then(|message| cdp_expr::lookup(message, path)).cloned().unwrap_or(Value::Null)
    }

    fn context(&self, path: &[String]) -> Value {
        self.attributes.and_then(|attributes| cdp_expr::lookup(attributes, path)).cloned().unwrap_or(Value::Null)
    }

    fn random_key(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Owned(self.person.profile_id.to_string()))
    }
}

/// The properties of one event, for the filter of an aggregate.
pub struct EventContext<'a> {
    pub properties: &'a Value,
    pub at: Timestamp,
}

impl Context for EventContext<'_> {
    fn now(&self) -> Timestamp {
        self.at
    }

    fn aggregate(&self, _: &Aggregate) -> Value {
        Value::Null
    }

    fn property(&self, path: &[String]) -> Value {
        cdp_expr::lookup(self.properties, path).cloned().unwrap_or(Value::Null)
    }
}
