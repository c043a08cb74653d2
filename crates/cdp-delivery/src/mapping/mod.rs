//! The declarative mapping of a route: how a message is changed before a destination sees it.
//!
//! A mapping is a JSON object of steps, done in this order, each optional:
//!
//! | step | value | what it does |
//! | --- | --- | --- |
//! | `if` | condition | a message that does not meet it is dropped |
//! | `keep` | list of paths | only these stay |
//! | `drop` | list of paths | these go |
//! | `rename` | object: path → path | moves values |
//! | `normalise` | object: path → `email`, `phone` or `text` | puts values in one form |
//! | `hash` | object: path → `email`, `phone`, `text` or `none` | puts values in one form, then their SHA-256 in their place |
//! | `set` | object: path → expression | writes values |
//! | `body` | expression | the whole message anew |
//!
//! Expressions always read the message as it came, whatever the steps before did:
//!
//! - `"$.properties.total"`: the value at a path, null when there is none;
//! - `"Hello {{traits.name ?? \"you\"}}"`: a template;
//! - any other text, number, boolean or null: itself;
//! - an array or object: the same with its members evaluated;
//! - an object with a key that starts with `$`: a function, see [`expression`].

pub mod expression;
mod normalise;

pub use normalise::{hash, normalise_email, normalise_phone, normalise_phone_of, Form};

use crate::config::ConfigError;
use crate::path::Path;
use expression::{Condition, Expression};
use serde_json::{Map, Value};

/// A parsed mapping.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mapping {
    condition: Option<Condition>,
    keep: Option<Vec<Path>>,
    drop: Vec<Path>,
    rename: Vec<(Path, Path)>,
    normalise: Vec<(Path, Form)>,
    hash: Vec<(Path, Option<Form>)>,
    set: Vec<(Path, Expression)>,
    body: Option<Expression>,
}

const STEPS: &[&str] = &[
    "if",
    "keep",
    "drop",
    "rename",
    "normalise",
    "hash",
    "set",
    "body",
];

impl Mapping {
    /// Parses a mapping; all that is wrong with it is reported, each with its place.
    pub fn parse(value: &Value) -> Result<Mapping, Vec<ConfigError>> {
        let Some(object) = value.as_object() else {
            return Err(vec![ConfigError::new("", "a mapping is a JSON object")]);
        };
        let mut errors = Vec::new();
        let mut mapping = Mapping::default();
        for (step, value) in object {
            match step.as_str() {
                "if" => mapping.condition = expression::condition(value, "if", &mut errors),
                "keep" => mapping.keep = Some(paths(value, "keep", &mut errors)),
                "drop" => mapping.drop = paths(value, "drop", &mut errors),
                "rename" => {
                    mapping.rename = pairs(value, "rename", &mut errors, |value, at, errors| {
                        path_of(value, at, errors)
                    });
                }
                "normalise" => {
                    mapping.normalise = pairs(value, "normalise", &mut errors, form);
                }
                "hash" => {
                    mapping.hash = pairs(value, "hash", &mut errors, |value, at, errors| {
                        if value == "none" {
                            Some(None)
                        } else {
                            form(value, at, errors).map(Some)
                        }
                    });
                }
                "set" => {
                    mapping.set = pairs(value, "set", &mut errors, |value, at, errors| {
                        expression::expression(value, at, errors)
                    });
                }
                "body" => mapping.body = expression::expression(value, "body", &mut errors),
                other => {
                    let hint = match crate::config::closest(other, STEPS) {
                        Some(name) => format!("did you mean \"{name}\"?"),
                        None => format!("steps are: {}", STEPS.join(", ")),
                    };
                    errors.push(ConfigError::new(other, "no such step").hint(hint));
                }
            }
        }
        if errors.is_empty() {
            Ok(mapping)
        } else {
            Err(errors)
        }
    }

    /// The changed message; None when it is dropped.
    pub fn apply(&self, message: &Value) -> Option<Value> {
        if let Some(condition) = &self.condition {
            if !condition.holds(message) {
                return None;
            }
        }
        let mut changed = match &self.keep {
            Some(paths) => kept(message, paths),
            None => message.clone(),
        };
        for path in &self.drop {
            path.remove(&mut changed);
        }
        for (from, to) in &self.rename {
            if let Some(value) = from.remove(&mut changed) {
                to.set(&mut changed, value);
            }
        }
        for (path, form) in &self.normalise {
            replace(&mut changed, path, |text| form.apply(text));
        }
        for (path, form) in &self.hash {
            replace(&mut changed, path, |text| match form {
                Some(form) => form.hash(text),
                None => hash(text),
            });
        }
        for (path, expression) in &self.set {
            path.set(&mut changed, expression.evaluate(message));
        }
        match &self.body {
            Some(body) => Some(body.evaluate(message)),
            None => Some(changed),
        }
    }
}

fn kept(message: &Value, paths: &[Path]) -> Value {
    let mut kept = Value::Object(Map::new());
    for path in paths {
        if let Some(value) = path.get(message) {
            path.set(&mut kept, value.clone());
        }
    }
    kept
}

/// Changes the text at a path; what has no such form becomes null rather than stay as it was.
fn replace(root: &mut Value, path: &Path, change: impl Fn(&str) -> Option<String>) {
    let found = match path.get(root) {
        None | Some(Value::Null) => return,
        Some(value) => crate::message::scalar_text(value),
    };
    let new = found
        .and_then(|text| change(&text))
        .map_or(Value::Null, Value::String);
    path.set(root, new);
}

fn paths(value: &Value, at: &str, errors: &mut Vec<ConfigError>) -> Vec<Path> {
    let Some(items) = value.as_array() else {
        errors.push(ConfigError::new(at, "must be a list of paths"));
        return Vec::new();
    };
    items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| path_of(item, &format!("{at}[{index}]"), errors))
        .collect()
}

fn path_of(value: &Value, at: &str, errors: &mut Vec<ConfigError>) -> Option<Path> {
    let Some(text) = value.as_str() else {
        errors.push(ConfigError::new(at, "must be a path"));
        return None;
    };
    match Path::parse(text) {
        Ok(path) => Some(path),
        Err(error) => {
            errors.push(ConfigError::new(at, error.to_string()));
            None
        }
    }
}

fn pairs<T>(
    value: &Value,
    at: &str,
    errors: &mut Vec<ConfigError>,
    read: impl Fn(&Value, &str, &mut Vec<ConfigError>) -> Option<T>,
) -> Vec<(Path, T)> {
    let Some(object) = value.as_object() else {
        errors.push(ConfigError::new(at, "must be an object with paths as keys"));
        return Vec::new();
    };
    object
        .iter()
        .filter_map(|(key, value)| {
            let at = format!("{at}.{key}");
            let path = match Path::parse(key) {
                Ok(path) => path,
                Err(error) => {
                    errors.push(ConfigError::new(at, error.to_string()));
                    return None;
                }
            };
            Some((path, read(value, &at, errors)?))
        })
        .collect()
}

fn form(value: &Value, at: &str, errors: &mut Vec<ConfigError>) -> Option<Form> {
    let form = value.as_str().and_then(Form::parse);
    if form.is_none() {
        errors.push(ConfigError::new(at, "must be email, phone or text"));
    }
    form
}
