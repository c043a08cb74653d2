//! Tying expressions to the slots that answer them, and events to the definitions that they touch.

use super::{BoundAggregate, Catalog, Definition, Names, Slot, Touched};
use crate::error::{internal, Result};
use cdp_expr::{Aggregate, Catalog as _, Expr};
use cdp_state::SlotSpec;
use std::collections::BTreeSet;

impl Catalog {
    /// Finds what the evaluation of an expression needs.
    pub(super) fn bind(&self, names: &Names, version: i32, written: Expr) -> Result<Definition> {
        let mut expression = written.settled(names);
        let mut inlined = written.inline(names);
        let position = |aggregate: &Aggregate| self.aggregate_index.get(aggregate).copied();
        expression.locate(&position);
        inlined.locate(&position);
        let parts = names.with_scores(&inlined);
        let mut aggregates = Vec::new();
        for aggregate in parts.iter().flat_map(Expr::aggregates) {
            let index = self.aggregate_index.get(aggregate).ok_or_else(|| {
                internal(format!("no slot answers {}", cdp_expr::print(&Expr::Aggregate(aggregate.clone()))))
            })?;
            if !aggregates.contains(index) {
                aggregates.push(*index);
            }
        }
        let needs_profile = parts.iter().any(|part| !part.profile_references().is_empty());
        let needs_groups = parts.iter().any(Expr::uses_group);
        let mut segments = parts.iter().flat_map(Expr::segment_references);
        let needs_lists = segments.any(|key| names.is_static_segment(key));
        let needs_seen = parts.iter().any(Expr::uses_first_or_last_seen);
        Ok(Definition {
            version,
            written,
            expression,
            inlined,
            aggregates,
            needs_profile,
            needs_groups,
            needs_lists,
            needs_seen,
        })
    }

    /// The rules of a score, each with what it reads.
    pub(super) fn bind_rules(&self, names: &Names, version: i32, model: &cdp_score::Score) -> Result<Vec<Definition>> {
        let inputs = (0..model.rule_count()).map(|rule| model.rule_inputs(rule));
        inputs.map(|inputs| self.bind(names, version, Expr::List(inputs.into_iter().cloned().collect()))).collect()
    }

    /// Notes what touches a definition.
    pub(super) fn register(&mut self, definition: &Definition, insert: impl Fn(&mut Touched)) {
        for index in &definition.aggregates {
            let event = self.aggregates.get(*index).and_then(|a| self.slots.get(a.slot)).map(|slot| slot.event.clone());
            if let Some(touched) = event.and_then(|event| self.touched_by_event(&event)) {
                insert(touched);
            }
        }
        if definition.needs_seen {
            insert(&mut self.by_any_event);
        }
        if definition.needs_profile || definition.needs_groups {
            insert(&mut self.by_profile);
        }
        if definition.needs_lists {
            insert(&mut self.by_identity);
        }
    }

    pub(super) fn add_slot(&mut self, slot: SlotDefinition, aggregates: impl Iterator<Item = Aggregate>) {
        let index = self.slots.len();
        let mut spec = SlotSpec::new(slot.id);
        let mut answers = BTreeSet::new();
        for aggregate in aggregates {
            spec.add(aggregate.function, aggregate.window);
            answers.insert(cdp_expr::print(&Expr::Aggregate(aggregate.clone())));
            self.aggregate_index.insert(aggregate.clone(), self.aggregates.len());
            self.aggregates.push(BoundAggregate { aggregate, slot: index });
        }
        if let Some(touched) = self.touched_by_event(&slot.event) {
            touched.slots.push(index);
            touched.properties.extend(slot.property.iter().filter_map(|path| path.first().cloned()));
            let filter = slot.filter.iter().flat_map(Expr::property_references);
            touched.properties.extend(filter.filter_map(|path| path.first().cloned()));
        }
        self.slot_index.insert(slot.id, index);
        let SlotDefinition { version, event, filter, property, .. } = slot;
        self.slots.push(Slot { spec, version, event, filter, property, answers });
    }
}

/// A slot before its aggregates are known.
pub(super) struct SlotDefinition {
    pub id: u32,
    pub version: i32,
    pub event: String,
    pub filter: Option<Expr>,
    pub property: Option<Vec<String>>,
}

impl SlotDefinition {
    pub fn of(id: u32, version: i32, aggregate: &Aggregate) -> SlotDefinition {
        SlotDefinition {
            id,
            version,
            event: aggregate.source.event.clone(),
            filter: aggregate.source.filter.as_deref().cloned(),
            property: aggregate.property.clone(),
        }
    }
}

impl Slot {
    pub(super) fn clone_definition(&self) -> SlotDefinition {
        SlotDefinition {
            id: self.spec.id(),
            version: self.version,
            event: self.event.clone(),
            filter: self.filter.clone(),
            property: self.property.clone(),
        }
    }
}
