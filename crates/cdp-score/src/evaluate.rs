//! From values to points, a total and a grade.

use crate::amount::Amount;
use crate::definition::{folded, Activity, Attribute, Score, Source, Tests};
use cdp_expr::Expr;
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

/// A score of one person, with what each rule gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<'s> {
    pub totals: Totals<'s>,
    pub rules: Vec<RuleOutcome<'s>>,
}

/// The sums of a score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals<'s> {
    pub total: Decimal,
    pub icp: Decimal,
    pub behavior: Decimal,
    pub grade: &'s str,
}

impl Score {
    /// Number of rules: the attributes, then the activities.
    pub fn rule_count(&self) -> usize {
        self.attributes.len() + self.activities.len()
    }

    /// What a rule reads of a person.
    pub fn rule_inputs(&self, rule: usize) -> Vec<&Expr> {
        match (self.attributes.get(rule), self.activity(rule)) {
            (Some(attribute), _) => attribute.sources.iter().map(|s| &s.expr).collect(),
            (None, Some(activity)) => vec![&activity.expr],
            (None, None) => Vec::new(),
        }
    }

    /// What a rule gives for the values of its inputs; None when there is no such rule. A value
    /// that is not there counts as null; one that cannot be used gives no points and is noted.
    pub fn rule<'s>(&'s self, rule: usize, values: &[Value]) -> Option<RuleOutcome<'s>> {
        const NULL: &Value = &Value::Null;
        let mut values = values.iter();
        let mut next = || values.next().unwrap_or(NULL);
        match self.attributes.get(rule) {
            Some(attribute) => {
                let sources = attribute.sources.iter();
                Some(attribute.outcome(sources.map(|source| (source, next())).collect()))
            }
            None => Some(self.activity(rule)?.outcome(next())),
        }
    }

    fn activity(&self, rule: usize) -> Option<&Activity> {
        let position = rule.checked_sub(self.attributes.len())?;
        self.activities.get(position)
    }

    /// The sums for the points of the rules, in their order; those that are not there are 0.
    pub fn totals<'p>(&self, mut points: impl Iterator<Item = (usize, &'p Decimal)>) -> Totals<'_> {
        let (mut icp, mut behavior) = (Decimal::zero(), Decimal::zero());
        points.try_for_each(|(rule, points)| {
            let sum = if self.is_icp(rule) {
                &mut icp
            } else {
                &mut behavior
            };
            *sum = sum.checked_add(points)?;
            Some(())
        });
        self.capped(icp, behavior)
    }

    /// Whether a rule belongs to the ICP half.
    pub fn is_icp(&self, rule: usize) -> bool {
        rule < self.attributes.len()
    }

    /// The sums of both halves with the caps applied.
    pub fn capped(&self, mut icp: Decimal, mut behavior: Decimal) -> Totals<'_> {
        for (sum, cap) in [
            (&mut icp, &self.icp_cap),
            (&mut behavior, &self.behavior_cap),
        ] {
            if let Some(cap) = cap.as_ref().filter(|cap| *sum > **cap) {
                sum.clone_from(cap);
            }
        }
        let total = icp.checked_add(&behavior).unwrap_or_else(Decimal::zero);
        Totals {
            grade: self.grades.of(&total),
            total,
            icp,
            behavior,
        }
    }

    /// The score for the values of [`Score::inputs`], in their order.
    pub fn evaluate<'s>(&'s self, values: &[Value]) -> Outcome<'s> {
        let mut rest = values;
        let mut rules = Vec::with_capacity(self.rule_count());
        for rule in 0..self.rule_count() {
            let (own, others) = rest
                .split_at_checked(self.rule_inputs(rule).len())
                .unwrap_or((rest, &[]));
            rules.extend(self.rule(rule, own));
            rest = others;
        }
        Outcome::new(self, rules)
    }

    /// The points of every attribute and of the activities that give any, and what of the given
    /// attributes is missing or cannot be used.
    pub fn meta<'p>(
        &self,
        points: impl Iterator<Item = (usize, &'p Decimal)>,
        attributes: &[RuleOutcome<'_>],
    ) -> Json {
        let mut icp: Map<String, Json> = Map::new();
        let mut behavior: Map<String, Json> = Map::new();
        for attribute in &self.attributes {
            icp.insert(attribute.name.clone(), json!(0));
        }
        for (rule, points) in points.filter(|(_, points)| !points.is_zero()) {
            if let Some(attribute) = self.attributes.get(rule) {
                icp.insert(attribute.name.clone(), points.to_json());
            } else if let Some(activity) = self.activity(rule) {
                behavior.insert(activity.name.clone(), points.to_json());
            }
        }
        let noted = |wanted: &[Note]| {
            let wanted = wanted.to_vec();
            let noted =
                move |rule: &&RuleOutcome<'_>| rule.note.is_some_and(|n| wanted.contains(&n));
            attributes.iter().filter(noted)
        };
        let missing: Vec<&str> = noted(&[Note::Missing]).map(|rule| rule.name).collect();
        let unusable: Map<String, Json> = noted(&[Note::Unreadable, Note::Spans])
            .map(|rule| (rule.name.to_string(), rule.value.to_json()))
            .collect();
        let mut meta = json!({"icp": icp, "behavior": behavior, "missing": missing});
        if let Some(meta) = meta.as_object_mut().filter(|_| !unusable.is_empty()) {
            meta.insert("unusable".to_string(), Json::Object(unusable));
        }
        meta
    }
}

impl<'s> Outcome<'s> {
    /// The outcome of all rules, in their order.
    pub fn new(score: &'s Score, rules: Vec<RuleOutcome<'s>>) -> Outcome<'s> {
        let points = rules.iter().map(|rule| &rule.points).enumerate();
        Outcome {
            totals: score.totals(points),
            rules,
        }
    }

    /// Whether nothing gives points: such a score need not be kept.
    pub fn is_blank(&self) -> bool {
        self.rules.iter().all(|rule| rule.points.is_zero())
    }

    /// See [`Score::meta`].
    pub fn meta(&self, score: &Score) -> Json {
        let points = self.rules.iter().map(|rule| &rule.points).enumerate();
        score.meta(points, &self.rules)
    }
}

impl Totals<'_> {
    /// Total, the points of both halves, and the grade.
    pub fn summary(&self) -> Json {
        json!({
            "total": self.total.to_json(),
            "icp": self.icp.to_json(),
            "behavior": self.behavior.to_json(),
            "grade": self.grade,
        })
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
