//! What has to be looked at again for people of an earlier version.

use super::{Catalog, Definition, Touched};

impl Catalog {
    /// The definitions that may say something else to people of `version` than they did then: those that were made or
    /// changed since, those that read slots made since, and those that refer to them.
    pub fn changed_since(&self, version: i32) -> Touched {
        let mut changed = Touched::default();
        loop {
            let is_changed = |definition: &Definition| {
                definition.version > version
                    || self.reads_slots_since(definition, version)
                    || self.refers_to(definition, &changed)
            };
            let traits = self.traits.iter().enumerate().filter(|(_, t)| is_changed(&t.definition));
            let segments = self.segments.iter().enumerate().filter(|(_, s)| is_changed(&s.definition));
            let scores = self.scores.iter().enumerate().filter(|(_, s)| is_changed(&s.definition));
            let found = Touched {
                traits: traits.map(|(index, _)| index).collect(),
                segments: segments.map(|(index, _)| index).collect(),
                rules: scores.flat_map(|(index, s)| (0..s.rules.len()).map(move |rule| (index, rule))).collect(),
                ..Touched::default()
            };
            let count = |touched: &Touched| touched.traits.len() + touched.segments.len() + touched.rules.len();
            if count(&found) == count(&changed) {
                return found;
            }
            changed = found;
        }
    }

    fn reads_slots_since(&self, definition: &Definition, version: i32) -> bool {
        let aggregates = definition.aggregates.iter().filter_map(|index| self.aggregates.get(*index));
        let mut slots = aggregates.filter_map(|aggregate| self.slots.get(aggregate.slot));
        slots.any(|slot| slot.version > version)
    }

    fn refers_to(&self, definition: &Definition, changed: &Touched) -> bool {
        let expression = &definition.expression;
        let is_among = |all: &std::collections::BTreeSet<usize>, position: Option<usize>| {
            position.is_some_and(|position| all.contains(&position))
        };
        let scores = |key: &str| {
            let position = self.score_index.get(key);
            position
                .is_some_and(|position| changed.rules.range((*position, 0)..=(*position, usize::MAX)).next().is_some())
        };
        expression.trait_references().into_iter().any(|key| is_among(&changed.traits, self.trait_position(key)))
            || expression
                .segment_references()
                .into_iter()
                .any(|key| is_among(&changed.segments, self.segment_position(key)))
            || expression.score_references().into_iter().any(scores)
    }
}
