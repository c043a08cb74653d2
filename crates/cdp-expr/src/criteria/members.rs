//! The members of a condition, and where they stand.

use super::CriteriaError;
use crate::ast::{Comparison, Expr, TextTest};
use crate::error::did_you_mean;
use cdp_value::Value;
use serde_json::{Map, Value as Json};

/// Where in the criteria the reader is.
pub(super) struct Place {
    pub(super) path: String,
    pub(super) depth: usize,
}

impl Place {
    pub(super) fn root() -> Place {
        Place {
            path: String::new(),
            depth: 0,
        }
    }

    pub(super) fn member(&self, name: &str) -> Place {
        let path = if self.path.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.path)
        };
        Place {
            path,
            depth: self.depth,
        }
    }

    pub(super) fn item(&self, index: usize) -> Place {
        Place {
            path: format!("{}[{index}]", self.path),
            depth: self.depth + 1,
        }
    }

    pub(super) fn error(
        &self,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> CriteriaError {
        CriteriaError {
            path: self.path.clone(),
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// The members of a condition under their snake_case names.
pub(super) struct Members<'j>(pub(super) Vec<(String, &'j Json)>);

impl<'j> Members<'j> {
    pub(super) fn new(
        members: &'j Map<String, Json>,
        place: &Place,
    ) -> Result<Members<'j>, CriteriaError> {
        let mut named: Vec<(String, &Json)> = Vec::new();
        for (name, value) in members {
            let name = snake_case(name);
            if named.iter().any(|(known, _)| *known == name) {
                return Err(place.error(
                    format!("{name} is given twice"),
                    "leave one of them out; camelCase and snake_case are the same member",
                ));
            }
            named.push((name, value));
        }
        Ok(Members(named))
    }

    pub(super) fn get(&self, name: &str) -> Option<&'j Json> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| *value)
    }

    pub(super) fn text(&self, name: &str, place: &Place) -> Result<&'j str, CriteriaError> {
        match self.get(name) {
            Some(json) => text(json, &place.member(name)),
            None => Err(place.error(format!("{name} is missing"), format!("add \"{name}\""))),
        }
    }

    /// Refuses members that this kind of condition does not know.
    pub(super) fn only(&self, known: &[&str], place: &Place) -> Result<(), CriteriaError> {
        match self
            .0
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()))
        {
            None => Ok(()),
            Some((name, _)) => Err(place.error(
                format!("unknown member {name}"),
                did_you_mean(name, known.iter().copied())
                    .unwrap_or_else(|| format!("known here: {}", known.join(", "))),
            )),
        }
    }

    pub(super) fn operator(&self, place: &Place) -> Result<Option<Operator>, CriteriaError> {
        let Some(json) = self.get("operator") else {
            return Ok(None);
        };
        let place = place.member("operator");
        let name = text(json, &place)?;
        operator(name).map(Some).ok_or_else(|| {
            let words = OPERATORS
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
            let hint = did_you_mean(&snake_case(name), words).unwrap_or_else(|| {
                "use == != > >= < <= in not_in contains starts_with ends_with matches exists \
                 not_exists between"
                    .to_string()
            });
            place.error(format!("unknown operator {name}"), hint)
        })
    }
}

pub(super) fn text<'j>(json: &'j Json, place: &Place) -> Result<&'j str, CriteriaError> {
    match json {
        Json::String(text) if !text.is_empty() && !text.contains('\0') => Ok(text),
        Json::String(_) => Err(place.error("this text is empty", "write a name")),
        _ => Err(place.error("this must be a text", "write it in double quotes")),
    }
}

pub(super) fn number(json: &Json, place: &Place) -> Result<Expr, CriteriaError> {
    match Value::from_json(json) {
        value @ Value::Number(_) => Ok(Expr::Literal(value)),
        _ => Err(place.error("this must be a number", "write it without quotes: 3")),
    }
}

/// `lastSeen` and `last-seen` become `last_seen`.
pub(super) fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut after_lower = false;
    for character in name.chars() {
        if character == '-' || character == ' ' {
            snake.push('_');
            after_lower = false;
        } else if character.is_ascii_uppercase() {
            if after_lower {
                snake.push('_');
            }
            snake.push(character.to_ascii_lowercase());
            after_lower = false;
        } else {
            snake.push(character);
            after_lower = character.is_ascii_lowercase() || character.is_ascii_digit();
        }
    }
    snake
}

#[derive(Clone, Copy)]
pub(super) enum Operator {
    Compare(Comparison),
    In(bool),
    Test(TextTest, bool),
    Matches,
    Exists(bool),
    Between,
}

/// Operators under their names in snake_case.
const OPERATORS: [(&str, Operator); 36] = {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    use Operator as O;
    [
        ("==", O::Compare(Equal)),
        ("=", O::Compare(Equal)),
        ("===", O::Compare(Equal)),
        ("eq", O::Compare(Equal)),
        ("equals", O::Compare(Equal)),
        ("is", O::Compare(Equal)),
        ("!=", O::Compare(NotEqual)),
        ("!==", O::Compare(NotEqual)),
        ("<>", O::Compare(NotEqual)),
        ("ne", O::Compare(NotEqual)),
        ("not_equals", O::Compare(NotEqual)),
        ("is_not", O::Compare(NotEqual)),
        (">", O::Compare(Greater)),
        ("gt", O::Compare(Greater)),
        ("greater_than", O::Compare(Greater)),
        (">=", O::Compare(GreaterOrEqual)),
        ("gte", O::Compare(GreaterOrEqual)),
        ("greater_than_or_equal", O::Compare(GreaterOrEqual)),
        ("<", O::Compare(Less)),
        ("lt", O::Compare(Less)),
        ("less_than", O::Compare(Less)),
        ("<=", O::Compare(LessOrEqual)),
        ("lte", O::Compare(LessOrEqual)),
        ("less_than_or_equal", O::Compare(LessOrEqual)),
        ("in", O::In(true)),
        ("not_in", O::In(false)),
        ("contains", O::Test(TextTest::Contains, true)),
        ("not_contains", O::Test(TextTest::Contains, false)),
        ("starts_with", O::Test(TextTest::StartsWith, true)),
        ("ends_with", O::Test(TextTest::EndsWith, true)),
        ("matches", O::Matches),
        ("exists", O::Exists(true)),
        ("is_set", O::Exists(true)),
        ("not_exists", O::Exists(false)),
        ("is_not_set", O::Exists(false)),
        ("between", O::Between),
    ]
};

fn operator(name: &str) -> Option<Operator> {
    let name = snake_case(name.trim());
    OPERATORS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, operator)| *operator)
}
