//! Expressions and conditions of a mapping.
//!
//! Functions, each an object with one of these keys:
//!
//! | function | value |
//! | --- | --- |
//! | `{"$path": "$.a.b", "$default": x}` | the value there, or `x` when there is none or it is null |
//! | `{"$value": v}` | `v` itself, without evaluating anything in it |
//! | `{"$template": "…"}` | the template |
//! | `{"$if": condition, "$then": x, "$else": y}` | `x` or `y` (null when left out) |
//! | `{"$first": [x, y, …]}` | the first that is not null |
//! | `{"$lower": x}`, `{"$upper": x}`, `{"$trim": x}` | the text changed |
//! | `{"$number": x}`, `{"$text": x}` | the value as a number or a text, null when it cannot be |
//! | `{"$email": x}`, `{"$phone": x, "$country": "49"}` | in one form, null when it is none |
//! | `{"$hash": x, "$as": "email"}` | SHA-256 in hexadecimal, after putting it in the form `email`, `phone` or `text` |
//!
//! Conditions: `{"$eq": [x, y]}`, `$ne`, `$gt`, `$gte`, `$lt`, `$lte`, `{"$in": [x, [a, b]]}`,
//! `{"$exists": x}`, `{"$matches": [x, "prefix*"]}` (a `*` at either end), `{"$and": […]}`,
//! `{"$or": […]}`, `{"$not": condition}`, or an expression, which holds when it is neither null
//! nor false. Values of different types are not equal and not in order.

use super::normalise::{hash, normalise_email, normalise_phone_of, Form};
use crate::config::{closest, ConfigError};
use crate::message::scalar_text;
use crate::path::Path;
use crate::template::Template;
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// Something that has a value for each message.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    Constant(Value),
    Path(Path),
    Template(Template),
    Array(Vec<Expression>),
    Object(Vec<(String, Expression)>),
    Default(Box<Expression>, Box<Expression>),
    If(Box<Condition>, Box<Expression>, Box<Expression>),
    First(Vec<Expression>),
    Text(TextFunction, Box<Expression>),
    Number(Box<Expression>),
    Phone(Box<Expression>, Option<String>),
    Hash(Box<Expression>, Option<Form>),
}

/// A change of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFunction {
    Lower,
    Upper,
    Trim,
    AsText,
    Email,
}

/// Something that holds for a message or does not.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    Truth(Expression),
    Compare(Comparison, Expression, Expression),
    In(Expression, Expression),
    Exists(Expression),
    Matches(Expression, String),
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
}

/// A comparison of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Expression {
    /// The value for a message.
    pub fn evaluate(&self, message: &Value) -> Value {
        match self {
            Expression::Constant(value) => value.clone(),
            Expression::Path(path) => path.get(message).cloned().unwrap_or(Value::Null),
            Expression::Template(template) => {
                Value::String(template.render(message, str::to_string))
            }
            Expression::Array(items) => items.iter().map(|item| item.evaluate(message)).collect(),
            Expression::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(key, member)| (key.clone(), member.evaluate(message)))
                    .collect(),
            ),
            Expression::Default(value, default) => match value.evaluate(message) {
                Value::Null => default.evaluate(message),
                value => value,
            },
            Expression::If(condition, then, otherwise) => {
                if condition.holds(message) {
                    then.evaluate(message)
                } else {
                    otherwise.evaluate(message)
                }
            }
            Expression::First(items) => items
                .iter()
                .map(|item| item.evaluate(message))
                .find(|value| !value.is_null())
                .unwrap_or(Value::Null),
            Expression::Text(function, value) => text(value, message, |text| match function {
                TextFunction::Lower => Some(text.to_lowercase()),
                TextFunction::Upper => Some(text.to_uppercase()),
                TextFunction::Trim => Some(text.trim().to_string()),
                TextFunction::AsText => Some(text.to_string()),
                TextFunction::Email => normalise_email(text),
            }),
            Expression::Number(value) => match value.evaluate(message) {
                Value::String(text) => text
                    .trim()
                    .parse::<serde_json::Number>()
                    .map_or(Value::Null, Value::Number),
                number @ Value::Number(_) => number,
                _ => Value::Null,
            },
            Expression::Phone(value, country) => text(value, message, |text| {
                normalise_phone_of(text, country.as_deref())
            }),
            Expression::Hash(value, form) => text(value, message, |text| match form {
                Some(form) => form.hash(text),
                None => hash(text),
            }),
        }
    }
}

fn text(
    expression: &Expression,
    message: &Value,
    change: impl Fn(&str) -> Option<String>,
) -> Value {
    scalar_text(&expression.evaluate(message))
        .and_then(|text| change(&text))
        .map_or(Value::Null, Value::String)
}

impl Condition {
    /// Whether it holds for a message.
    pub fn holds(&self, message: &Value) -> bool {
        match self {
            Condition::Truth(expression) => !matches!(
                expression.evaluate(message),
                Value::Null | Value::Bool(false)
            ),
            Condition::Compare(comparison, left, right) => compare(
                *comparison,
                &left.evaluate(message),
                &right.evaluate(message),
            ),
            Condition::In(value, list) => {
                let value = value.evaluate(message);
                list.evaluate(message)
                    .as_array()
                    .is_some_and(|list| list.iter().any(|item| equal(item, &value)))
            }
            Condition::Exists(expression) => !expression.evaluate(message).is_null(),
            Condition::Matches(expression, pattern) => {
                scalar_text(&expression.evaluate(message)).is_some_and(|text| like(&text, pattern))
            }
            Condition::And(conditions) => conditions.iter().all(|c| c.holds(message)),
            Condition::Or(conditions) => conditions.iter().any(|c| c.holds(message)),
            Condition::Not(condition) => !condition.holds(message),
        }
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right
                || left
                    .as_f64()
                    .zip(right.as_f64())
                    .is_some_and(|(a, b)| a == b)
        }
        _ => left == right,
    }
}

fn compare(comparison: Comparison, left: &Value, right: &Value) -> bool {
    let order = match (left, right) {
        (Value::Number(left), Value::Number(right)) => left
            .as_f64()
            .zip(right.as_f64())
            .and_then(|(left, right)| left.partial_cmp(&right)),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    };
    match comparison {
        Comparison::Equal => equal(left, right),
        Comparison::NotEqual => !equal(left, right),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
    }
}

fn like(text: &str, pattern: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(rest), _) => match rest.strip_suffix('*') {
            Some(middle) => text.contains(middle),
            None => text.ends_with(rest),
        },
        (None, Some(start)) => text.starts_with(start),
        (None, None) => text == pattern,
    }
}

const FUNCTIONS: &[&str] = &[
    "$path",
    "$value",
    "$template",
    "$if",
    "$first",
    "$lower",
    "$upper",
    "$trim",
    "$number",
    "$text",
    "$email",
    "$phone",
    "$hash",
];

/// Keys that go with a function.
const COMPANIONS: &[(&str, &[&str])] = &[
    ("$path", &["$default"]),
    ("$if", &["$then", "$else"]),
    ("$phone", &["$country"]),
    ("$hash", &["$as"]),
];

/// Parses an expression at a place of the mapping; None when there were errors.
pub fn expression(value: &Value, at: &str, errors: &mut Vec<ConfigError>) -> Option<Expression> {
    match value {
        Value::String(text) if text == "$" || text.starts_with("$.") || text.starts_with("$[") => {
            path(text, at, errors).map(Expression::Path)
        }
        Value::String(text) if text.contains("{{") => template(text, at, errors),
        Value::Array(items) => list(items, at, errors).map(Expression::Array),
        Value::Object(object) if object.keys().any(|key| key.starts_with('$')) => {
            function(object, at, errors)
        }
        Value::Object(object) => {
            let members: Vec<Option<(String, Expression)>> = object
                .iter()
                .map(|(key, value)| {
                    let member = expression(value, &format!("{at}.{key}"), errors)?;
                    Some((key.clone(), member))
                })
                .collect();
            members
                .into_iter()
                .collect::<Option<Vec<_>>>()
                .map(Expression::Object)
        }
        scalar => Some(Expression::Constant(scalar.clone())),
    }
}

fn list(items: &[Value], at: &str, errors: &mut Vec<ConfigError>) -> Option<Vec<Expression>> {
    let parsed: Vec<Option<Expression>> = items
        .iter()
        .enumerate()
        .map(|(index, item)| expression(item, &format!("{at}[{index}]"), errors))
        .collect();
    parsed.into_iter().collect()
}

fn path(text: &str, at: &str, errors: &mut Vec<ConfigError>) -> Option<Path> {
    Path::parse(text)
        .map_err(|error| errors.push(ConfigError::new(at, error.to_string())))
        .ok()
}

fn template(text: &str, at: &str, errors: &mut Vec<ConfigError>) -> Option<Expression> {
    Template::parse(text)
        .map_err(|error| errors.push(ConfigError::new(at, error.to_string())))
        .ok()
        .map(Expression::Template)
}

fn function(
    object: &Map<String, Value>,
    at: &str,
    errors: &mut Vec<ConfigError>,
) -> Option<Expression> {
    let named = FUNCTIONS
        .iter()
        .find_map(|name| Some((*name, object.get(*name)?)));
    let Some((name, argument)) = named else {
        let key = object.keys().next().map_or("", String::as_str);
        let hint = match closest(key, FUNCTIONS) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => format!(
                "functions are: {}; a literal object is written {{\"$value\": …}}",
                FUNCTIONS.join(", ")
            ),
        };
        errors.push(ConfigError::new(format!("{at}.{key}"), "no such function").hint(hint));
        return None;
    };
    let companions = COMPANIONS
        .iter()
        .find(|(function, _)| *function == name)
        .map_or(&[] as &[&str], |(_, companions)| companions);
    for key in object.keys() {
        if key != name && !companions.contains(&key.as_str()) {
            errors.push(ConfigError::new(
                format!("{at}.{key}"),
                format!("does not go with {name}"),
            ));
        }
    }
    let inside = format!("{at}.{name}");
    let companion = |key: &str, errors: &mut Vec<ConfigError>| match object.get(key) {
        Some(value) => expression(value, &format!("{at}.{key}"), errors),
        None => Some(Expression::Constant(Value::Null)),
    };
    let text_function = |function: TextFunction, errors: &mut Vec<ConfigError>| {
        let argument = expression(argument, &inside, errors)?;
        Some(Expression::Text(function, Box::new(argument)))
    };
    match name {
        "$path" => {
            let Some(text) = argument.as_str() else {
                errors.push(ConfigError::new(inside, "must be a path"));
                return None;
            };
            let value = Box::new(Expression::Path(path(text, &inside, errors)?));
            let default = Box::new(companion("$default", errors)?);
            Some(Expression::Default(value, default))
        }
        "$value" => Some(Expression::Constant(argument.clone())),
        "$template" => match argument.as_str() {
            Some(text) => template(text, &inside, errors),
            None => {
                errors.push(ConfigError::new(inside, "must be a text"));
                None
            }
        },
        "$if" => {
            let condition = condition(argument, &inside, errors)?;
            let then = companion("$then", errors)?;
            let otherwise = companion("$else", errors)?;
            Some(Expression::If(
                Box::new(condition),
                Box::new(then),
                Box::new(otherwise),
            ))
        }
        "$first" => match argument.as_array() {
            Some(items) => list(items, &inside, errors).map(Expression::First),
            None => {
                errors.push(ConfigError::new(inside, "must be a list"));
                None
            }
        },
        "$lower" => text_function(TextFunction::Lower, errors),
        "$upper" => text_function(TextFunction::Upper, errors),
        "$trim" => text_function(TextFunction::Trim, errors),
        "$text" => text_function(TextFunction::AsText, errors),
        "$email" => text_function(TextFunction::Email, errors),
        "$number" => {
            let argument = expression(argument, &inside, errors)?;
            Some(Expression::Number(Box::new(argument)))
        }
        "$phone" => {
            let country = object.get("$country").and_then(scalar_text).filter(|code| {
                code.trim_start_matches('+')
                    .chars()
                    .all(|c| c.is_ascii_digit())
            });
            if object.contains_key("$country") && country.is_none() {
                errors.push(ConfigError::new(
                    format!("{at}.$country"),
                    "must be a calling code such as \"49\"",
                ));
            }
            let argument = expression(argument, &inside, errors)?;
            Some(Expression::Phone(Box::new(argument), country))
        }
        _ => {
            let form = match object.get("$as") {
                None => None,
                Some(value) => {
                    let form = value.as_str().and_then(Form::parse);
                    if form.is_none() {
                        errors.push(ConfigError::new(
                            format!("{at}.$as"),
                            "must be email, phone or text",
                        ));
                    }
                    form
                }
            };
            let argument = expression(argument, &inside, errors)?;
            Some(Expression::Hash(Box::new(argument), form))
        }
    }
}

/// Parses a condition at a place of the mapping; None when there were errors.
pub fn condition(value: &Value, at: &str, errors: &mut Vec<ConfigError>) -> Option<Condition> {
    let single = value
        .as_object()
        .filter(|object| object.len() == 1)
        .and_then(|object| object.iter().next());
    let Some((name, argument)) = single else {
        return expression(value, at, errors).map(Condition::Truth);
    };
    let inside = format!("{at}.{name}");
    let comparison = match name.as_str() {
        "$eq" => Some(Comparison::Equal),
        "$ne" => Some(Comparison::NotEqual),
        "$gt" => Some(Comparison::Greater),
        "$gte" => Some(Comparison::GreaterOrEqual),
        "$lt" => Some(Comparison::Less),
        "$lte" => Some(Comparison::LessOrEqual),
        _ => None,
    };
    if let Some(comparison) = comparison {
        let (left, right) = two(argument, &inside, errors)?;
        return Some(Condition::Compare(comparison, left, right));
    }
    match name.as_str() {
        "$in" => {
            let (value, list) = two(argument, &inside, errors)?;
            Some(Condition::In(value, list))
        }
        "$exists" => expression(argument, &inside, errors).map(Condition::Exists),
        "$matches" => match argument.as_array().map(Vec::as_slice) {
            Some([value, Value::String(pattern)]) => {
                let value = expression(value, &inside, errors)?;
                Some(Condition::Matches(value, pattern.clone()))
            }
            _ => {
                errors.push(ConfigError::new(inside, "must be a value and a pattern"));
                None
            }
        },
        "$and" => many(argument, &inside, errors).map(Condition::And),
        "$or" => many(argument, &inside, errors).map(Condition::Or),
        "$not" => {
            let condition = condition(argument, &inside, errors)?;
            Some(Condition::Not(Box::new(condition)))
        }
        _ => expression(value, at, errors).map(Condition::Truth),
    }
}

fn two(value: &Value, at: &str, errors: &mut Vec<ConfigError>) -> Option<(Expression, Expression)> {
    match value.as_array().map(Vec::as_slice) {
        Some([left, right]) => {
            let left = expression(left, &format!("{at}[0]"), errors);
            let right = expression(right, &format!("{at}[1]"), errors);
            Some((left?, right?))
        }
        _ => {
            errors.push(ConfigError::new(at, "must be a list of two"));
            None
        }
    }
}

fn many(value: &Value, at: &str, errors: &mut Vec<ConfigError>) -> Option<Vec<Condition>> {
    let Some(items) = value.as_array() else {
        errors.push(ConfigError::new(at, "must be a list of conditions"));
        return None;
    };
    let parsed: Vec<Option<Condition>> = items
        .iter()
        .enumerate()
        .map(|(index, item)| condition(item, &format!("{at}[{index}]"), errors))
        .collect();
    parsed.into_iter().collect()
}
