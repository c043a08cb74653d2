//! A score as it is kept with a person: what it was when somebody last looked, rule by rule, so that an event makes
//! only those rules be looked at that it touches.

use cdp_score::{Grades, RuleOutcome, Score};
use cdp_value::Decimal;
use serde_json::json;
use std::fmt::Write;

/// What is kept of a score.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    pub total: Decimal,
    pub icp: Decimal,
    pub behavior: Decimal,
    pub grade: String,
    /// The total that was last announced, for scores that announce larger changes only.
    pub announced: Decimal,
    /// The points of the rules that give any, in the order of their places.
    points: Vec<(usize, Decimal)>,
}

impl Stored {
    /// The score of somebody of whom nothing is known.
    pub fn blank(grades: &Grades) -> Stored {
        let zero = Decimal::zero;
        let grade = grades.of(&zero()).to_string();
        Stored { total: zero(), icp: zero(), behavior: zero(), grade, announced: zero(), points: Vec::new() }
    }

    /// This score after some of its rules were looked at; all others give what they gave.
    pub fn with(&self, score: &Score, rules: &[(usize, RuleOutcome)]) -> Stored {
        let mut points = if rules.len() == score.rule_count() { Vec::new() } else { self.points.clone() };
        for (rule, outcome) in rules {
            let found = points.binary_search_by_key(rule, |(known, _)| *known);
            match (found, outcome.points.is_zero()) {
                (Ok(position), true) => drop(points.remove(position)),
                (Ok(position), false) => points[position].1.clone_from(&outcome.points),
                (Err(_), true) => {}
                (Err(position), false) => points.insert(position, (*rule, outcome.points.clone())),
            }
        }
        let totals = score.totals(points.iter().map(|(rule, points)| (*rule, points)));
        let grade = totals.grade.to_string();
        let (total, icp, behavior) = (totals.total, totals.icp, totals.behavior);
        Stored { total, icp, behavior, grade, announced: self.announced.clone(), points }
    }

    /// The points of the rules that give any.
    pub fn points(&self) -> impl Iterator<Item = (usize, &Decimal)> {
        self.points.iter().map(|(rule, points)| (*rule, points))
    }

    /// Reads what [`Stored::to_text`] wrote.
    pub fn parse(text: &str) -> Option<Stored> {
        let mut parts = text.splitn(6, ' ');
        let mut number = || Decimal::parse(parts.next()?);
        let (total, icp, behavior, announced) = (number()?, number()?, number()?, number()?);
        let mut points = Vec::new();
        for pair in parts.next()?.split(',').filter(|pair| !pair.is_empty()) {
            let (rule, value) = pair.split_once(':')?;
            points.push((rule.parse().ok()?, Decimal::parse(value)?));
        }
        Some(Stored { total, icp, behavior, announced, points, grade: parts.next()?.to_string() })
    }

    /// Total, ICP, behaviour, announced total, `rule:points,…` and the grade, with spaces between.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(32 + 6 * self.points.len());
        for number in [&self.total, &self.icp, &self.behavior, &self.announced] {
            // Writing to a text cannot fail.
            let _ = write!(text, "{number} ");
        }
        for (index, (rule, points)) in self.points.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            let _ = write!(text, "{rule}:{points}");
        }
        text.push(' ');
        text.push_str(&self.grade);
        text
    }

    /// The total and the grade, for the history.
    pub fn summary(&self) -> String {
        json!({ "total": self.total.to_json(), "grade": self.grade }).to_string()
    }
}
