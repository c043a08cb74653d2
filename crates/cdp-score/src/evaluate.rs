//! From values to points, a total and a grade.

use crate::amount::Amount;
use crate::definition::{folded, Activity, Attribute, Score, Source, Tests};
use cdp_value::{Decimal, Value};
use serde_json::{json, Map, Value as Json};

/// Digits after the decimal point that the points of a rule are rounded to, half away from zero.
const DIGITS: i32 = 2;

/// The two halves of a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    Icp,
    Behavior,
}

impl Component {
    /// Its name in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Component::Icp => "icp",
            Component::Behavior => "behavior",
        }
    }
}

/// Why a rule gives what it gives, where that needs saying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The person has none of the traits.
    Missing,
    /// The value is there, but is no amount.
    Unreadable,
    /// The band lies across several ranges, or partly outside of all.
    Spans,
    /// No entry fits.
    NoMatch,
    /// The rule's own cap cut its points.
    Capped,
}

impl Note {
    /// The note in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Note::Missing => "missing",
            Note::Unreadable => "not a number or a known range",
            Note::Spans => "not within one range",
            Note::NoMatch => "no match",
            Note::Capped => "capped",
        }
    }
}

/// What one rule gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleOutcome<'s> {
    pub component: Component,
    pub name: &'s str,
    /// The trait, expression or aggregate that was read; of an attribute that is missing, all of
    /// its places.
    pub input: &'s str,
    /// Null when it is missing. Of an activity, how many events count.
    pub value: Value,
    pub points: Decimal,
    pub note: Option<Note>,
}

/// A score of one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<'s> {
    pub total: Decimal,
    pub icp: Decimal,
    pub behavior: Decimal,
    pub grade: &'s str,
    pub rules: Vec<RuleOutcome<'s>>,
}

impl Score {
    /// The score for the values of [`Score::inputs`], in their order; a value that is not there
    /// counts as null. A value that cannot be used gives no points and is noted.
    pub fn evaluate<'s>(&'s self, values: &[Value]) -> Outcome<'s> {
        const NULL: &Value = &Value::Null;
        let mut values = values.iter();
        let mut rules = Vec::with_capacity(self.attributes.len() + self.activities.len());
        for rule in &self.attributes {
            let sources = rule.sources.iter();
            let given = sources.map(|source| (source, values.next().unwrap_or(NULL)));
            rules.push(rule.outcome(given.collect()));
        }
        for rule in &self.activities {
            rules.push(rule.outcome(values.next().unwrap_or(NULL)));
        }
        let sum = |component, cap: &Option<Decimal>| {
            let points = rules.iter().filter(|rule| rule.component == component);
            let sum = points.fold(Decimal::zero(), |sum, rule| {
                sum.checked_add(&rule.points).unwrap_or(sum)
            });
            match cap {
                Some(cap) if sum > *cap => cap.clone(),
                _ => sum,
            }
        };
        let icp = sum(Component::Icp, &self.icp_cap);
        let behavior = sum(Component::Behavior, &self.behavior_cap);
        let total = icp.checked_add(&behavior).unwrap_or_else(Decimal::zero);
        Outcome {
            grade: self.grades.of(&total),
            total,
            icp,
            behavior,
            rules,
        }
    }
}

impl Attribute {
    fn outcome<'s>(&'s self, given: Vec<(&'s Source, &Value)>) -> RuleOutcome<'s> {
        let outcome = |input: &'s str, value: &Value, points: Option<&Decimal>, note| RuleOutcome {
            component: Component::Icp,
            name: &self.name,
            input,
            value: value.clone(),
            points: points.cloned().unwrap_or_else(Decimal::zero),
            note,
        };
        let mut unreadable = None;
        for (source, value) in given.iter().filter(|(_, value)| is_given(value)) {
            match self.tests.points(value) {
                Ok(points) => return outcome(&source.label, value, Some(points), None),
                Err(Note::Unreadable) => unreadable = unreadable.or(Some((source, value))),
                Err(note) => return outcome(&source.label, value, None, Some(note)),
            }
        }
        if let Some((source, value)) = unreadable {
            return outcome(&source.label, value, None, Some(Note::Unreadable));
        }
        outcome(&self.label, &Value::Null, None, Some(Note::Missing))
    }
}

/// Whether there is a value: an empty text is none.
fn is_given(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Text(text) => !text.trim().is_empty(),
        _ => true,
    }
}

impl Tests {
    fn points(&self, value: &Value) -> Result<&Decimal, Note> {
        match self {
            Tests::Ranges(ranges) => {
                let amount = Amount::read(value).ok_or(Note::Unreadable)?;
                let found = ranges.iter().find(|(interval, _)| interval.holds(&amount));
                found.map(|(_, points)| points).ok_or(match &amount {
                    Amount::Band(band) if ranges.iter().any(|(of, _)| of.overlaps(band)) => {
                        Note::Spans
                    }
                    _ => Note::NoMatch,
                })
            }
            Tests::Values(values) => {
                if matches!(value, Value::Array(_) | Value::Object(_)) {
                    return Err(Note::Unreadable);
                }
                let value = folded(value);
                let found = values.iter().find(|(set, _)| set.contains(&value));
                found.map(|(_, points)| points).ok_or(Note::NoMatch)
            }
        }
    }
}

impl Activity {
    fn outcome(&self, value: &Value) -> RuleOutcome<'_> {
        let count = value.as_number().cloned().unwrap_or_else(Decimal::zero);
        let points = count
            .checked_mul(&self.points)
            .and_then(|points| points.round(DIGITS))
            .unwrap_or_else(Decimal::zero);
        let (points, note) = match &self.cap {
            Some(cap) if points > *cap => (cap.clone(), Some(Note::Capped)),
            _ => (points, None),
        };
        RuleOutcome {
            component: Component::Behavior,
            name: &self.name,
            input: &self.label,
            value: Value::Number(count),
            points,
            note,
        }
    }
}

impl Outcome<'_> {
    /// Whether nothing gives points: such a score need not be kept.
    pub fn is_blank(&self) -> bool {
        self.rules.iter().all(|rule| rule.points.is_zero())
    }

    /// Total, the points of both halves, and the grade.
    pub fn summary(&self) -> Json {
        json!({
            "total": self.total.to_json(),
            "icp": self.icp.to_json(),
            "behavior": self.behavior.to_json(),
            "grade": self.grade,
        })
    }

    /// The points of every attribute and of the activities that give any, and what of the
    /// attributes is missing or cannot be read.
    pub fn meta(&self) -> Json {
        let mut points = Map::new();
        for component in [Component::Icp, Component::Behavior] {
            let rules = self.rules.iter().filter(|rule| rule.component == component);
            let rules = rules.filter(|rule| component == Component::Icp || !rule.points.is_zero());
            let rules = rules.map(|rule| (rule.name.to_string(), rule.points.to_json()));
            points.insert(
                component.as_str().to_string(),
                Json::Object(rules.collect()),
            );
        }
        let missing = self
            .rules
            .iter()
            .filter(|rule| rule.note == Some(Note::Missing));
        points.insert(
            "missing".to_string(),
            missing.map(|rule| json!(rule.name)).collect(),
        );
        let unusable = self
            .rules
            .iter()
            .filter(|rule| matches!(rule.note, Some(Note::Unreadable | Note::Spans)));
        let unusable: Map<String, Json> = unusable
            .map(|rule| (rule.name.to_string(), rule.value.to_json()))
            .collect();
        if !unusable.is_empty() {
            points.insert("unusable".to_string(), Json::Object(unusable));
        }
        Json::Object(points)
    }
}
