//! A score as it is kept with a person: what it was when somebody last looked.

use cdp_score::{Grades, Outcome};
use cdp_value::{Decimal, Value};
use serde_json::{json, Value as Json};

/// What is kept of a score.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    pub total: Decimal,
    pub icp: Decimal,
    pub behavior: Decimal,
    pub grade: String,
    /// The total that was last announced, for scores that announce larger changes only.
    pub announced: Decimal,
}

impl Stored {
    /// The score of somebody of whom nothing is known.
    pub fn blank(grades: &Grades) -> Stored {
        let zero = Decimal::zero;
        let grade = grades.of(&zero()).to_string();
        Stored { total: zero(), icp: zero(), behavior: zero(), grade, announced: zero() }
    }

    /// The score as it is now, announced as it is.
    pub fn of(outcome: &Outcome) -> Stored {
        Stored {
            total: outcome.total.clone(),
            icp: outcome.icp.clone(),
            behavior: outcome.behavior.clone(),
            grade: outcome.grade.to_string(),
            announced: outcome.total.clone(),
        }
    }

    /// Reads what [`Stored::to_json`] wrote.
    pub fn parse(text: &str) -> Option<Stored> {
        let json: Json = serde_json::from_str(text).ok()?;
        let number = |index: usize| match Value::from_json(json.get(index)?) {
            Value::Number(number) => Some(number),
            _ => None,
        };
        let total = number(0)?;
        Some(Stored {
            icp: number(1)?,
            behavior: number(2)?,
            grade: json.get(3)?.as_str()?.to_string(),
            announced: number(4).unwrap_or_else(|| total.clone()),
            total,
        })
    }

    /// `[total, icp, behavior, grade]`, and the announced total where it is another one.
    pub fn to_json(&self) -> String {
        let mut parts =
            vec![self.total.to_json(), self.icp.to_json(), self.behavior.to_json(), json!(self.grade.as_str())];
        if self.announced != self.total {
            parts.push(self.announced.to_json());
        }
        Json::Array(parts).to_string()
    }

    /// The total and the grade, for the history.
    pub fn summary(&self) -> String {
        json!({ "total": self.total.to_json(), "grade": self.grade }).to_string()
    }
}
