//! A value of a document, and where it stands in it.

use serde_json::{Map, Value as Json};
use std::fmt;

/// Why a definition was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionError {
    /// Where: `rules[1].split.b`; empty for the whole.
    pub path: String,
    /// What is wrong: lower case, no period.
    pub message: String,
    /// What to do about it: a sentence.
    pub hint: Option<String>,
}

impl DefinitionError {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> DefinitionError {
        DefinitionError {
            path: path.into(),
            message: message.into(),
            hint: None,
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> DefinitionError {
        self.hint = Some(hint.into());
        self
    }

    /// A name that is not among those known, with the closest as hint, else all of them.
    pub fn unknown<'a>(
        path: impl Into<String>,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> DefinitionError {
        let known: Vec<&str> = known.collect();
        let error = DefinitionError::new(path, format!("{what} \"{}\" does not exist", cut(name)));
        let close = known
            .iter()
            .map(|candidate| {
                (
                    strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase()),
                    candidate,
                )
            })
            .filter(|(similarity, _)| *similarity > 0.8)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match close {
            Some((_, candidate)) => error.hint(format!("Did you mean \"{candidate}\"?")),
            None if known.is_empty() || known.len() > 12 => error,
            None => error.hint(format!("One of {}.", known.join(", "))),
        }
    }
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

impl std::error::Error for DefinitionError {}

fn cut(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

pub(crate) type Result<T> = std::result::Result<T, DefinitionError>;

#[derive(Clone)]
pub(crate) struct Place<'a> {
    pub value: &'a Json,
    pub path: String,
}

impl<'a> Place<'a> {
    pub fn root(value: &'a Json) -> Place<'a> {
        Place {
            value,
            path: String::new(),
        }
    }

    pub fn error(&self, message: impl Into<String>) -> DefinitionError {
        DefinitionError::new(self.path.clone(), message)
    }

    /// What is expected here, and what is.
    pub fn expected(&self, what: &str) -> DefinitionError {
        self.error(format!(
            "{what} is expected, not {}",
            cut(&self.value.to_string())
        ))
    }

    fn member(&self, key: &str, value: &'a Json) -> Place<'a> {
        let plain = !key.is_empty()
            && key
                .chars()
                .all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        let path = match (self.path.is_empty(), plain) {
            (true, true) => key.to_string(),
            (false, true) => format!("{}.{key}", self.path),
            (_, false) => format!("{}[{}]", self.path, Json::from(key)),
        };
        Place { value, path }
    }

    pub fn map(&self, what: &str) -> Result<&'a Map<String, Json>> {
        self.value.as_object().ok_or_else(|| self.expected(what))
    }

    /// The members of an object that has no others than these.
    pub fn members(&self, what: &str, known: &[&str]) -> Result<()> {
        match self
            .map(what)?
            .iter()
            .find(|(key, _)| !known.contains(&key.as_str()))
        {
            Some((key, value)) => {
                let place = self.member(key, value);
                Err(DefinitionError::unknown(
                    place.path,
                    "member",
                    key,
                    known.iter().copied(),
                ))
            }
            None => Ok(()),
        }
    }

    /// A member of an object that is there and not null.
    pub fn get(&self, key: &str) -> Option<Place<'a>> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(self.member(key, value))
    }

    /// All members of an object.
    pub fn entries(&self, what: &str) -> Result<Vec<(&'a str, Place<'a>)>> {
        Ok(self
            .map(what)?
            .iter()
            .map(|(key, value)| (key.as_str(), self.member(key, value)))
            .collect())
    }

    pub fn items(&self, what: &str) -> Result<Vec<Place<'a>>> {
        let items = self.value.as_array().ok_or_else(|| self.expected(what))?;
        let place = |(index, value)| Place {
            value,
            path: format!("{}[{index}]", self.path),
        };
        Ok(items.iter().enumerate().map(place).collect())
    }

    pub fn text(&self, what: &str) -> Result<&'a str> {
        match self.value.as_str() {
            Some(text) if !text.trim().is_empty() && text.chars().count() <= 200 => Ok(text),
            _ => Err(self.expected(what)),
        }
    }

    pub fn boolean(&self) -> Result<bool> {
        self.value
            .as_bool()
            .ok_or_else(|| self.expected("true or false"))
    }

    /// A number of percent, in millionths; to four decimal places.
    pub fn percent(&self) -> Result<u32> {
        let number = self.number()?;
        let millionths = number * 10_000.0;
        if !(0.0..=100.0).contains(&number) {
            return Err(self.error(format!(
                "{} is no percentage: 0 to 100",
                cut(&self.value.to_string())
            )));
        }
        if (millionths - millionths.round()).abs() > 1e-6 {
            return Err(self.error(format!(
                "{} has more than four decimal places",
                cut(&self.value.to_string())
            )));
        }
        // 0 to 1,000,000, as was checked.
        Ok(millionths.round() as u32)
    }

    pub fn number(&self) -> Result<f64> {
        let number = self
            .value
            .as_number()
            .and_then(serde_json::Number::as_f64)
            .filter(|number| number.is_finite());
        number.ok_or_else(|| self.expected("a number"))
    }

    pub fn timestamp(&self) -> Result<cdp_value::Timestamp> {
        let expected = || self.expected("a time, such as \"2026-01-31T09:00:00Z\",");
        let text = self.value.as_str().ok_or_else(expected)?;
        cdp_message::parse_timestamp(text).map_err(|_| expected())
    }
}
