//! JSON objects, read with the path of what is wrong.

use cdp_value::{Decimal, Value};
use serde_json::{Map, Value as Json};
use std::fmt;

/// Why a definition was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreError {
    /// JSON pointer to what is wrong (RFC 6901); the root is the empty text.
    pub path: String,
    /// What is wrong: lower case, no period.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for ScoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.message, self.path)
    }
}

impl std::error::Error for ScoreError {}

impl ScoreError {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> ScoreError {
        ScoreError {
            path: path.into(),
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> ScoreError {
        self.hint = Some(hint.into());
        self
    }
}

/// Longest name, grade or text of a definition, in characters.
const LONGEST: usize = 200;
/// Greatest number of points, caps and bounds, either way.
const LARGEST: i64 = 1_000_000_000_000_000;

/// An object of the definition, and where it stands.
pub(crate) struct Members<'j> {
    pub(crate) path: String,
    members: &'j Map<String, Json>,
}

impl<'j> Members<'j> {
    /// The object at `path`, which has no members but `known`.
    pub(crate) fn of(json: &'j Json, path: &str, known: &[&str]) -> Result<Self, ScoreError> {
        let Json::Object(members) = json else {
            return Err(
                ScoreError::new(path, format!("{} is no object", described(json)))
                    .hint(format!("Its members are {}.", known.join(", "))),
            );
        };
        if let Some(name) = members.keys().find(|name| !known.contains(&name.as_str())) {
            let close = known.iter().max_by(|a, b| {
                strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b))
            });
            let error = ScoreError::new(
                pointer(path, name),
                format!("there is no member \"{}\" here", cut(name)),
            );
            return Err(match close {
                Some(close) if strsim::jaro_winkler(name, close) > 0.8 => {
                    error.hint(format!("Did you mean \"{close}\"?"))
                }
                _ => error.hint(format!("The members here are {}.", known.join(", "))),
            });
        }
        Ok(Members {
            path: path.to_string(),
            members,
        })
    }

    pub(crate) fn path(&self, name: &str) -> String {
        pointer(&self.path, name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A member; null counts as missing.
    pub(crate) fn get(&self, name: &str) -> Option<&'j Json> {
        self.members.get(name).filter(|json| !json.is_null())
    }

    pub(crate) fn error(&self, name: &str, message: impl Into<String>) -> ScoreError {
        ScoreError::new(self.path(name), message)
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'j str>, ScoreError> {
        self.get(name)
            .map(|json| text(json, &self.path(name)))
            .transpose()
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<Decimal>, ScoreError> {
        self.get(name)
            .map(|json| number(json, &self.path(name)))
            .transpose()
    }

    /// A number that must be there.
    pub(crate) fn points(&self) -> Result<Decimal, ScoreError> {
        self.number("points")?.ok_or_else(|| {
            ScoreError::new(self.path.clone(), "points are missing")
                .hint("Say how many: \"points\": 10.")
        })
    }

    /// An upper limit of points, which is not negative.
    pub(crate) fn cap(&self) -> Result<Option<Decimal>, ScoreError> {
        let cap = self.number("cap")?;
        if cap.as_ref().is_some_and(Decimal::is_negative) {
            return Err(self
                .error("cap", "a cap cannot be negative")
                .hint("Leave the cap out for no limit."));
        }
        Ok(cap)
    }

    /// The items of an array, each with its path; none when it is not there.
    pub(crate) fn items(&self, name: &str) -> Result<Vec<(String, &'j Json)>, ScoreError> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Json::Array(items)) => {
                let path = self.path(name);
                let place = |(index, item)| (format!("{path}/{index}"), item);
                Ok(items.iter().enumerate().map(place).collect())
            }
            Some(other) => Err(self.error(name, format!("{} is no array", described(other)))),
        }
    }
}

pub(crate) fn text<'j>(json: &'j Json, path: &str) -> Result<&'j str, ScoreError> {
    match json {
        Json::String(text) if text.trim().is_empty() => {
            Err(ScoreError::new(path, "this text is empty"))
        }
        Json::String(text) if text.contains('\0') => {
            Err(ScoreError::new(path, "this text has a null character"))
        }
        Json::String(text) => Ok(text),
        other => Err(ScoreError::new(
            path,
            format!("{} is no text", described(other)),
        )),
    }
}

/// A text that is a name: short.
pub(crate) fn name<'j>(json: &'j Json, path: &str) -> Result<&'j str, ScoreError> {
    let name = text(json, path)?.trim();
    if name.chars().count() > LONGEST {
        return Err(ScoreError::new(
            path,
            format!("this name has more than {LONGEST} characters"),
        ));
    }
    Ok(name)
}

fn number(json: &Json, path: &str) -> Result<Decimal, ScoreError> {
    let Value::Number(number) = Value::from_json(json) else {
        return Err(ScoreError::new(
            path,
            format!("{} is no number", described(json)),
        ));
    };
    if number.abs() > Decimal::from(LARGEST) {
        return Err(ScoreError::new(
            path,
            format!("{} is too large", described(json)),
        ));
    }
    Ok(number)
}

fn pointer(path: &str, name: &str) -> String {
    format!(
        "{path}/{}",
        cut(&name.replace('~', "~0").replace('/', "~1"))
    )
}

/// A value in an error message: cut.
fn described(json: &Json) -> String {
    cut(&json.to_string())
}

pub(crate) fn cut(text: &str) -> String {
    const MOST: usize = 60;
    let mut short: String = text.chars().take(MOST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
