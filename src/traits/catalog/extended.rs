//! Answering an expression that nobody stored.

use super::bind::SlotDefinition;
use super::{Catalog, Definition, Segment, Trait};
use crate::error::Result;
use crate::scoring::Score;
use cdp_expr::Expr;

/// A catalog that also answers an expression nobody stored.
pub struct Extended {
    pub catalog: Catalog,
    pub definition: Definition,
}

impl Catalog {
    /// Adds slots for an expression; people fill them from their events, as for any newer definition.
    pub fn with_expression(&self, expression: &Expr) -> Result<Extended> {
        let names = self.names(Vec::new());
        let version = self.version.saturating_add(1);
        let mut catalog = Catalog {
            trait_index: self.trait_index.clone(),
            segment_index: self.segment_index.clone(),
            score_index: self.score_index.clone(),
            ..Catalog::empty(self.namespace_id, version, self.timezone.clone())
        };
        for slot in &self.slots {
            let aggregates = self
                .aggregates
                .iter()
                .filter(|a| self.slots.get(a.slot).is_some_and(|s| s.spec.id() == slot.spec.id()));
            catalog.add_slot(slot.clone_definition(), aggregates.map(|a| a.aggregate.clone()));
        }
        let mut next_slot = self.slots.iter().map(|s| s.spec.id()).max().unwrap_or(0);
        for aggregate in expression.inline(&names).aggregates() {
            if catalog.aggregate_index.contains_key(aggregate) {
                continue;
            }
            next_slot += 1;
            let slot = SlotDefinition::of(next_slot, version, aggregate);
            catalog.add_slot(slot, std::iter::once(aggregate.clone()));
        }
        for found in &self.traits {
            let definition = catalog.bind(&names, found.definition.version, found.definition.written.clone())?;
            let (id, key) = (found.id, found.key.clone());
            catalog.traits.push(Trait { id, key, is_timely: found.is_timely, definition });
        }
        for found in &self.segments {
            let definition = catalog.bind(&names, found.definition.version, found.definition.written.clone())?;
            catalog.segments.push(Segment {
                id: found.id,
                key: found.key.clone(),
                name: found.name.clone(),
                sync_to: Vec::new(),
                is_static: found.is_static,
                definition,
            });
        }
        for found in &self.scores {
            let definition = catalog.bind(&names, found.definition.version, found.definition.written.clone())?;
            let (id, key, model) = (found.id, found.key.clone(), found.model.clone());
            let rules = catalog.bind_rules(&names, found.definition.version, &model)?;
            catalog.scores.push(Score { id, key, model, rules, definition });
        }
        let definition = catalog.bind(&names, version, expression.clone())?;
        Ok(Extended { catalog, definition })
    }
}
