//! Grades: a scale without holes and overlaps.

use crate::members::{name, Members, ScoreError};
use cdp_value::Decimal;
use serde_json::Value as Json;

/// A scale of grades, from the best to the lowest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grades {
    /// Descending by the least total; the lowest reaches down without end.
    steps: Vec<(Option<Decimal>, String)>,
}

/// As it is written: a grade, its least total and perhaps its greatest.
struct Step {
    path: String,
    grade: String,
    from: Option<Decimal>,
    to: Option<Decimal>,
    below: Option<Decimal>,
}

impl Grades {
    /// Reads an array of `{"grade": "A", "from": 80}`, in any order. Each grade reaches up to the
    /// next one; the lowest begins at 0 or below, or has no `from`. An end may be written as well,
    /// `to` for the last whole total or `below` for the first total that is too much, and has to
    /// meet the next grade.
    pub(crate) fn read(items: Vec<(String, &Json)>, path: &str) -> Result<Grades, ScoreError> {
        let mut steps = Vec::new();
        for (place, item) in items {
            let members = Members::of(item, &place, &["grade", "from", "to", "below"])?;
            let grade = members
                .get("grade")
                .ok_or_else(|| ScoreError::new(place.clone(), "a grade needs a name"))?;
            let step = Step {
                grade: name(grade, &members.path("grade"))?.to_string(),
                from: members.number("from")?,
                to: members.number("to")?,
                below: members.number("below")?,
                path: place,
            };
            if step.to.is_some() && step.below.is_some() {
                return Err(members.error("below", "give either to or below, not both"));
            }
            steps.push(step);
        }
        // None, the lowest, is last.
        steps.sort_by(|a, b| b.from.cmp(&a.from));
        let Some(lowest) = steps.last() else {
            return Err(ScoreError::new(path, "the grade scale is empty")
                .hint("Give the grades from the best: [{\"grade\": \"A\", \"from\": 80}, {\"grade\": \"F\"}]."));
        };
        if let Some(from) = lowest.from.as_ref().filter(|from| !at_most_zero(from)) {
            return Err(ScoreError::new(
                lowest.path.clone(),
                format!("the grade scale has a hole below {}", from.to_json()),
            )
            .hint("Leave from out of the lowest grade."));
        }
        for (index, step) in steps.iter().enumerate() {
            let Some(above) = index.checked_sub(1).and_then(|i| steps.get(i)) else {
                if let Some(end) = step.to.as_ref().or(step.below.as_ref()) {
                    return Err(ScoreError::new(
                        step.path.clone(),
                        format!("the grade scale has a hole above {}", end.to_json()),
                    )
                    .hint("Leave to and below out of the best grade."));
                }
                continue;
            };
            step.meets(above)?;
            if steps
                .iter()
                .take(index)
                .any(|other| other.grade == step.grade)
            {
                return Err(ScoreError::new(
                    step.path.clone(),
                    format!("grade \"{}\" is there twice", step.grade),
                ));
            }
        }
        let last = steps.len().saturating_sub(1);
        let steps = steps.into_iter().enumerate();
        Ok(Grades {
            steps: steps
                .map(|(index, step)| (step.from.filter(|_| index < last), step.grade))
                .collect(),
        })
    }

    /// The grade of a total.
    pub fn of(&self, total: &Decimal) -> &str {
        let found = self
            .steps
            .iter()
            .find(|(from, _)| from.as_ref().is_none_or(|from| total >= from));
        found.map_or("", |(_, grade)| grade.as_str())
    }

    /// The grades from the best to the lowest, with the least total of each; None for the lowest.
    pub fn steps(&self) -> impl Iterator<Item = (Option<&Decimal>, &str)> {
        self.steps
            .iter()
            .map(|(from, grade)| (from.as_ref(), grade.as_str()))
    }
}

fn at_most_zero(number: &Decimal) -> bool {
    number.is_negative() || number.is_zero()
}

impl Step {
    /// Whether this grade ends where the one above it begins.
    fn meets(&self, above: &Step) -> Result<(), ScoreError> {
        let next = match &above.from {
            Some(next) if self.from.as_ref() != Some(next) => next,
            _ => {
                return Err(ScoreError::new(
                    self.path.clone(),
                    format!(
                        "grades \"{}\" and \"{}\" begin at the same total",
                        above.grade, self.grade
                    ),
                ))
            }
        };
        // 80 to 89 is up to 90, exclusive: totals are mostly whole.
        let end = match (&self.to, &self.below) {
            (Some(to), _) if to.is_integer() => to.checked_add(&Decimal::from(1)),
            (Some(to), _) => Some(to.clone()),
            (None, below) => below.clone(),
        };
        let Some(end) = end else { return Ok(()) };
        let wrong = match end.cmp(next) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Less => format!(
                "the grade scale has a hole between \"{}\" and \"{}\"",
                self.grade, above.grade
            ),
            std::cmp::Ordering::Greater => {
                format!("grades \"{}\" and \"{}\" overlap", self.grade, above.grade)
            }
        };
        Err(ScoreError::new(self.path.clone(), wrong).hint(format!(
            "\"{}\" begins at {}: leave out the end of \"{}\".",
            above.grade,
            next.to_json(),
            self.grade
        )))
    }
}

/// The scale of the score `lead`, which is also that of a definition without grades.
impl Default for Grades {
    fn default() -> Grades {
        let steps = [
            (90, "A+"),
            (80, "A"),
            (70, "B+"),
            (60, "B"),
            (50, "C+"),
            (40, "C"),
            (20, "D"),
        ];
        let steps = steps
            .into_iter()
            .map(|(from, grade)| (Some(Decimal::from(from)), grade.to_string()))
            .chain(std::iter::once((None, "F".to_string())));
        Grades {
            steps: steps.collect(),
        }
    }
}
