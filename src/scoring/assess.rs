//! Looking at a person's score again: at the rules that something touches.

use super::announce::Change;
use super::stored::Stored;
use super::Score;
use crate::traits::catalog::Catalog;
use crate::traits::computed::Computed;
use crate::traits::context::PersonContext;
use cdp_score::RuleOutcome;
use cdp_value::Timestamp;

/// What somebody found.
pub struct Assessment<'s> {
    /// Place of the score in the catalog.
    position: usize,
    score: &'s Score,
    rules: Vec<(usize, RuleOutcome<'s>)>,
    old: Option<Stored>,
    new: Stored,
}

impl<'s> Assessment<'s> {
    /// Looks at some rules of a score. The person's other rules are as they were when somebody last looked: no event
    /// has touched them since, and time had not changed them before the person was due.
    pub fn of(
        context: &PersonContext,
        catalog: &'s Catalog,
        position: usize,
        rules: &[usize],
    ) -> Option<Assessment<'s>> {
        let score = catalog.scores.get(position)?;
        let old = context.person.computed.get(score.id).and_then(|entry| Stored::parse(entry.json));
        let rules = rules.iter().filter_map(|rule| Some((*rule, context.rule_outcome(score, *rule)?)));
        let rules: Vec<(usize, RuleOutcome)> = rules.collect();
        let new = match &old {
            Some(old) => old.with(&score.model, &rules),
            None => Stored::blank(&score.model.grades).with(&score.model, &rules),
        };
        context.note_score(score, &new.total, &new.grade);
        Some(Assessment { position, score, rules, old, new })
    }

    /// Keeps what was found. Returns where in the catalog the score is and what changed, if it did.
    pub fn keep(mut self, catalog: &Catalog, computed: &mut Computed, at: Timestamp) -> Option<(usize, Change)> {
        let old = self.old.unwrap_or_else(|| Stored::blank(&self.score.model.grades));
        if self.new == old {
            return None;
        }
        let is_announced = Change::is_announced(self.score, &old, &self.new);
        if is_announced {
            self.new.announced = self.new.total.clone();
        }
        computed.set_json(self.score.id, &self.new.to_text(), at);
        let sums = |stored: &Stored| (stored.total.clone(), stored.icp.clone(), stored.behavior.clone());
        if sums(&old) == sums(&self.new) && old.grade == self.new.grade {
            return None;
        }
        // Nobody reads it unless a route announces scores, and then all attributes were looked at.
        let meta = if catalog.routes.announces_scores() {
            let is_attribute = |rule: usize| rule < self.score.model.attributes.len();
            let attributes = self.rules.into_iter().filter(|(rule, _)| is_attribute(*rule));
            let attributes: Vec<RuleOutcome> = attributes.map(|(_, outcome)| outcome).collect();
            let points = self.new.points();
            self.score.model.meta(points.iter().map(|(rule, points)| (*rule, points)), &attributes)
        } else {
            serde_json::Value::Null
        };
        Some((self.position, Change { old, new: self.new, meta, is_announced }))
    }
}
