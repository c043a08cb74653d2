//! What routes hear of scores.

use super::stored::Stored;
use super::Score;
use serde_json::{json, Map, Value as Json};

/// The event by which a route hears that a score has another value.
pub const SCORE_CHANGED: &str = "Score Changed";
/// The event by which a route hears that a score has another grade.
pub const GRADE_CHANGED: &str = "Grade Changed";

/// A change of somebody's score.
pub struct Change {
    pub old: Stored,
    pub new: Stored,
    /// The points of each rule (`cdp_score::Score::meta`); null where no route announces scores.
    pub meta: Json,
    /// Whether the change is large enough to be announced.
    pub is_announced: bool,
}

impl Change {
    /// Whether the total moved far enough from what was announced last.
    pub fn is_announced(score: &Score, old: &Stored, new: &Stored) -> bool {
        score.model.announcements.score_by.as_ref().is_some_and(|least| {
            let moved = new.total.checked_sub(&old.announced).map(|by| by.abs());
            moved.is_none_or(|by| by >= *least)
        })
    }

    /// Whether the grade is another one.
    pub fn changes_grade(&self) -> bool {
        self.old.grade != self.new.grade
    }

    /// The events that announce the change.
    pub fn events(&self, score: &Score) -> impl Iterator<Item = &'static str> {
        let grade = score.model.announcements.grade && self.changes_grade();
        [self.is_announced.then_some(SCORE_CHANGED), grade.then_some(GRADE_CHANGED)].into_iter().flatten()
    }

    /// The properties of such an event.
    pub fn properties(&self, key: &str) -> Map<String, Json> {
        let mut properties = Map::new();
        for (name, value) in [
            ("score", json!(key)),
            ("old", self.old.total.to_json()),
            ("new", self.new.total.to_json()),
            ("icp", self.new.icp.to_json()),
            ("behavior", self.new.behavior.to_json()),
            ("old_grade", json!(self.old.grade)),
            ("grade", json!(self.new.grade)),
        ] {
            properties.insert(name.to_string(), value);
        }
        properties
    }

    /// The score as traits of the person, by the names that sales tools know.
    pub fn traits(&self, key: &str) -> Map<String, Json> {
        let mut traits = Map::new();
        traits.insert(format!("{key}_score"), self.new.total.to_json());
        if key != super::load::LEAD_KEY {
            traits.insert(format!("{key}_grade"), json!(self.new.grade));
            return traits;
        }
        traits.insert("icp_score".to_string(), self.new.icp.to_json());
        traits.insert("behaviour_score".to_string(), self.new.behavior.to_json());
        traits.insert("icp".to_string(), json!(self.new.grade));
        traits.insert("scoring_meta".to_string(), self.meta.clone());
        traits
    }
}
