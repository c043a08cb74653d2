//! A score as it is kept with a person: what it was when somebody last looked, rule by rule, so that an event makes
//! only those rules be looked at that it touches.

use cdp_score::{Grades, RuleOutcome, Score};
use cdp_value::Decimal;
use serde_json::json;
use std::cmp::Ordering;
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
    /// Both halves without their caps.
    sums: [Decimal; 2],
    /// `rule:points` of the rules that give any, in their order, each with a comma after it. It stays text: an event changes one rule
    /// of many.
    points: String,
}

/// Written for a number that is the one it usually is.
const USUAL: &str = "=";

impl Stored {
    /// The score of somebody of whom nothing is known.
    pub fn blank(grades: &Grades) -> Stored {
        let zero = Decimal::zero;
        Stored {
            total: zero(),
            icp: zero(),
            behavior: zero(),
            grade: grades.of(&zero()).to_string(),
            announced: zero(),
            sums: [zero(), zero()],
            points: String::new(),
        }
    }

    /// This score after some of its rules were looked at; all others give what they gave.
    pub fn with(&self, score: &Score, rules: &[(usize, RuleOutcome)]) -> Stored {
        let (mut sums, mut points) = if rules.len() == score.rule_count() {
            ([Decimal::zero(), Decimal::zero()], String::new())
        } else {
            (self.sums.clone(), self.points.clone())
        };
        for (rule, outcome) in rules {
            let before = replace(&mut points, *rule, &outcome.points);
            let [icp, behavior] = &mut sums;
            let sum = if score.is_icp(*rule) { icp } else { behavior };
            let moved = sum.checked_sub(&before).and_then(|rest| rest.checked_add(&outcome.points));
            *sum = moved.unwrap_or_else(Decimal::zero);
        }
        let [icp, behavior] = sums.clone();
        let totals = score.capped(icp, behavior);
        let grade = totals.grade.to_string();
        let (total, icp, behavior) = (totals.total, totals.icp, totals.behavior);
        Stored { total, icp, behavior, grade, announced: self.announced.clone(), sums, points }
    }

    /// The points of the rules that give any.
    pub fn points(&self) -> Vec<(usize, Decimal)> {
        let pairs = self.points.split(',').filter_map(|pair| pair.split_once(':'));
        pairs.filter_map(|(rule, points)| Some((rule.parse().ok()?, Decimal::parse(points)?))).collect()
    }

    /// Reads what [`Stored::to_text`] wrote.
    pub fn parse(text: &str) -> Option<Stored> {
        let mut parts = text.splitn(7, ' ');
        let mut number = |usual: Option<&Decimal>| match parts.next()? {
            USUAL => usual.cloned(),
            digits => Decimal::parse(digits),
        };
        let (icp, behavior) = (number(None)?, number(None)?);
        let total = icp.checked_add(&behavior)?;
        let announced = number(Some(&total))?;
        let sums = [number(Some(&icp))?, number(Some(&behavior))?];
        let points = parts.next()?.to_string();
        Some(Stored { total, icp, behavior, announced, sums, points, grade: parts.next()?.to_string() })
    }

    /// ICP, behaviour, announced total, both sums without caps, the points of the rules and the grade, with spaces
    /// between.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(self.points.len() + 40);
        let [icp, behavior] = &self.sums;
        for (number, usual) in [
            (&self.icp, None),
            (&self.behavior, None),
            (&self.announced, Some(&self.total)),
            (icp, Some(&self.icp)),
            (behavior, Some(&self.behavior)),
        ] {
            // Writing to a text cannot fail.
            let _ = if usual == Some(number) { write!(text, "{USUAL} ") } else { write!(text, "{number} ") };
        }
        text.push_str(&self.points);
        text.push(' ');
        text.push_str(&self.grade);
        text
    }

    /// The total and the grade, for the history.
    pub fn summary(&self) -> String {
        json!({ "total": self.total.to_json(), "grade": self.grade }).to_string()
    }
}

/// Sets the points of a rule, in the order of the rules; returns those it had.
fn replace(points: &mut String, rule: usize, new: &Decimal) -> Decimal {
    let mut range = points.len()..points.len();
    let mut before = None;
    let mut start = 0;
    for pair in points.split_inclusive(',') {
        let end = start + pair.len();
        let (place, digits) = pair.trim_end_matches(',').split_once(':').unwrap_or(("", ""));
        match place.parse::<usize>().map(|place| place.cmp(&rule)) {
            Ok(Ordering::Equal) => {
                range = start..end;
                before = Decimal::parse(digits);
                break;
            }
            Ok(Ordering::Greater) => {
                range = start..start;
                break;
            }
            _ => start = end,
        }
    }
    let written = if new.is_zero() { String::new() } else { format!("{rule}:{new},") };
    points.replace_range(range, &written);
    before.unwrap_or_else(Decimal::zero)
}
