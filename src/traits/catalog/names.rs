//! The names of a namespace's definitions, as expressions see them.

use cdp_expr::Expr;
use std::collections::{BTreeSet, HashMap};

/// The names that expressions may use.
pub struct Names {
    pub traits: HashMap<String, Expr>,
    /// None for the rule of a static segment.
    pub segments: HashMap<String, Option<Expr>>,
    /// What each score reads, as one list.
    pub scores: HashMap<String, Expr>,
    pub events: Vec<String>,
    /// Traits that applications sent, or some of them.
    pub profile: Vec<String>,
}

impl cdp_expr::Catalog for Names {
    fn trait_expression(&self, key: &str) -> Option<&Expr> {
        self.traits.get(key)
    }

    fn segment_rule(&self, key: &str) -> Option<&Expr> {
        self.segments.get(key).and_then(Option::as_ref)
    }

    fn is_static_segment(&self, key: &str) -> bool {
        matches!(self.segments.get(key), Some(None))
    }

    fn trait_names(&self) -> Vec<String> {
        self.traits.keys().cloned().collect()
    }

    fn segment_names(&self) -> Vec<String> {
        self.segments.keys().cloned().collect()
    }

    fn event_names(&self) -> Vec<String> {
        self.events.clone()
    }

    fn profile_names(&self) -> Vec<String> {
        self.profile.clone()
    }

    fn score_names(&self) -> Vec<String> {
        self.scores.keys().cloned().collect()
    }

    fn score_inputs(&self, key: &str) -> Option<&Expr> {
        self.scores.get(key)
    }
}

impl Names {
    /// An inlined expression, and what the scores that it refers to read, however far away.
    pub(super) fn with_scores(&self, inlined: &Expr) -> Vec<Expr> {
        let mut all = vec![inlined.clone()];
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut next = 0;
        while let Some(expression) = all.get(next) {
            next += 1;
            let keys: Vec<String> = expression.score_references().into_iter().map(str::to_string).collect();
            for key in keys {
                if let Some(inputs) = self.scores.get(&key).filter(|_| seen.insert(key.clone())) {
                    all.push(inputs.inline(self));
                }
            }
        }
        all
    }
}
