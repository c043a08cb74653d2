//! Configurations of destinations: one table of fields gives validation, defaults and a schema.

use crate::http::HttpRequest;
use serde_json::{json, Map, Value};

pub use crate::limits::Limits;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldKind {
    Text,
    /// An absolute https (or http) URL without credentials.
    Url,
    Integer {
        min: i64,
        max: i64,
    },
    Number {
        min: f64,
        max: f64,
    },
    Flag,
    Choice(&'static [&'static str]),
    TextList,
    /// An object whose values are texts.
    TextMap,
    /// An object whose values are numbers.
    NumberMap,
    /// Any object.
    Object,
}

/// One field of a configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field {
    /// In snake_case; camelCase is read too.
    pub name: &'static str,
    pub kind: FieldKind,
    pub required: bool,
    /// As JSON.
    pub default: Option<&'static str>,
    pub help: &'static str,
}

impl Field {
    /// An optional field without a default.
    pub const fn new(name: &'static str, kind: FieldKind, help: &'static str) -> Field {
        Field {
            name,
            kind,
            required: false,
            default: None,
            help,
        }
    }

    /// The same, required.
    pub const fn required(self) -> Field {
        Field {
            required: true,
            ..self
        }
    }

    /// The same with a default, as JSON.
    pub const fn default(self, json: &'static str) -> Field {
        Field {
            default: Some(json),
            ..self
        }
    }
}

/// A secret of a destination. It may also stand in the configuration under the same name, from
/// where `define_destination` moves it to the secrets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SecretField {
    pub name: &'static str,
    pub required: bool,
    pub help: &'static str,
}

/// Fields that every destination has.
pub const COMMON_FIELDS: &[Field] = &[
    Field::new(
        "timeout_ms",
        FieldKind::Integer {
            min: 100,
            max: 300_000,
        },
        "Time for one request, from the name lookup to the last byte of the answer, in milliseconds.",
    ),
    Field::new(
        "requests_per_second",
        FieldKind::Number {
            min: 0.001,
            max: 100_000.0,
        },
        "At most so many requests are started in a second.",
    ),
    Field::new(
        "concurrency",
        FieldKind::Integer { min: 1, max: 256 },
        "At most so many requests are under way at once.",
    ),
    Field::new(
        "batch_size",
        FieldKind::Integer { min: 1, max: 10_000 },
        "At most so many messages in a request, within what the destination takes.",
    ),
    Field::new(
        "batch_bytes",
        FieldKind::Integer {
            min: 1_000,
            max: 50_000_000,
        },
        "At most so many bytes in a request, within what the destination takes.",
    ),
    Field::new(
        "after_ambiguous_failure",
        FieldKind::Choice(&["retry", "reject"]),
        "When no answer came and the request may have been processed: send it again (at least once), or put the message to the dead letters (at most once).",
    )
    .default("\"retry\""),
    Field::new(
        "accept_replays",
        FieldKind::Flag,
        "Whether messages that are sent again by a replay are taken. Channels that people read refuse them by default.",
    ),
    Field::new(
        "consent",
        FieldKind::TextList,
        "Categories of consent: a message goes only when the person agreed to all of them.",
    ),
    Field::new(
        "without_consent",
        FieldKind::Choice(&["withhold", "send"]),
        "What becomes of messages about people who said neither yes nor no to a category.",
    )
    .default("\"withhold\""),
    Field::new(
        "retry_hours",
        FieldKind::Number {
            min: 0.0,
            max: 8_760.0,
        },
        "For so long after its first failure a message is tried again; then it is a dead letter. 0: it is tried once.",
    )
    .default("72"),
    Field::new(
        "retry_first_seconds",
        FieldKind::Number {
            min: 0.01,
            max: 86_400.0,
        },
        "Longest wait before the second attempt; each further failure doubles it, and the wait is a random part of it.",
    )
    .default("2"),
    Field::new(
        "retry_longest_seconds",
        FieldKind::Number {
            min: 0.01,
            max: 86_400.0,
        },
        "No wait between attempts is longer, unless the receiver asks for it.",
    )
    .default("3600"),
];

/// One thing wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct ConfigError {
    /// Where: `url`, `headers.X-Key`.
    pub path: String,
    pub message: String,
    /// What would be right, when that is known.
    pub hint: Option<String>,
}

impl ConfigError {
    /// An error without a hint.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError {
            path: path.into(),
            message: message.into(),
            hint: None,
        }
    }

    /// The same with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> ConfigError {
        self.hint = Some(hint.into());
        self
    }
}

/// A configuration, read through its table of fields.
#[derive(Debug, Clone, Copy)]
pub struct Config<'a> {
    value: &'a Value,
    fields: &'static [Field],
}

impl<'a> Config<'a> {
    /// Reads `value` by `fields`.
    pub fn new(value: &'a Value, fields: &'static [Field]) -> Config<'a> {
        Config { value, fields }
    }

    /// The value of a field as written, in snake_case or camelCase; not the default.
    pub fn given(&self, name: &str) -> Option<&'a Value> {
        given(self.value, name)
    }

    fn or_default(&self, name: &str) -> Option<Value> {
        self.given(name).cloned().or_else(|| {
            let field = self
                .fields
                .iter()
                .chain(COMMON_FIELDS)
                .find(|field| field.name == name)?;
            serde_json::from_str(field.default?).ok()
        })
    }

    /// A text, when there is one and it is not empty.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.or_default(name)? {
            Value::String(text) if !text.is_empty() => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// A text, empty when there is none: for fields that are required or have a default.
    pub fn required(&self, name: &str) -> String {
        self.text(name).unwrap_or_default()
    }

    /// A whole number.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.or_default(name)?.as_i64()
    }

    /// A number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.or_default(name)?.as_f64()
    }

    /// A flag; false when it is not there.
    pub fn flag(&self, name: &str) -> bool {
        self.or_default(name)
            .and_then(|value| value.as_bool())
            .unwrap_or(false)
    }

    /// A list of texts; None when it is not there.
    pub fn list(&self, name: &str) -> Option<Vec<String>> {
        let value = self.or_default(name)?;
        Some(
            value
                .as_array()?
                .iter()
                .filter_map(|item| item.as_str().map(str::to_string))
                .collect(),
        )
    }

    /// An object, empty when it is not there.
    pub fn object(&self, name: &str) -> Map<String, Value> {
        match self.or_default(name) {
            Some(Value::Object(object)) => object,
            _ => Map::new(),
        }
    }
}

fn given<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    object
        .get(name)
        .or_else(|| object.get(&camel_case(name)))
        .filter(|value| !value.is_null())
}

/// `webhook_url` → `webhookUrl`.
pub(crate) fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if upper {
            camel.extend(c.to_uppercase());
            upper = false;
        } else {
            camel.push(c);
        }
    }
    camel
}

/// Checks a configuration against its table: unknown keys, missing ones, wrong kinds.
pub fn validate_fields(
    config: &Value,
    fields: &'static [Field],
    secrets: &'static [SecretField],
) -> Vec<ConfigError> {
    let Some(object) = config.as_object() else {
        return vec![ConfigError::new("", "a configuration is a JSON object")];
    };
    let mut errors = Vec::new();
    let known: Vec<&Field> = fields.iter().chain(COMMON_FIELDS).collect();
    let names: Vec<&str> = known
        .iter()
        .map(|field| field.name)
        .chain(secrets.iter().map(|secret| secret.name))
        .collect();
    for key in object.keys() {
        if !names
            .iter()
            .any(|name| *name == key || camel_case(name) == *key)
        {
            let mut error = ConfigError::new(key.as_str(), "no such setting");
            error.hint = Some(match closest(key, &names) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!("settings are: {}", names.join(", ")),
            });
            errors.push(error);
        }
    }
    for field in known {
        match given(config, field.name) {
            None if field.required => errors
                .push(ConfigError::new(field.name, "is required").hint(field.help.to_string())),
            None => {}
            Some(value) => check(field, value, &mut errors),
        }
    }
    for secret in secrets {
        match given(config, secret.name) {
            None | Some(Value::String(_)) => {}
            Some(_) => errors.push(ConfigError::new(secret.name, "must be a text")),
        }
    }
    errors
}

fn check(field: &Field, value: &Value, errors: &mut Vec<ConfigError>) {
    let mut fail = |message: String| errors.push(ConfigError::new(field.name, message));
    match field.kind {
        FieldKind::Text => match value {
            Value::String(text) if text.is_empty() => fail("must not be empty".to_string()),
            Value::String(text) if text.chars().any(char::is_control) => {
                fail("must not have control characters".to_string());
            }
            Value::String(_) | Value::Number(_) => {}
            _ => fail("must be a text".to_string()),
        },
        FieldKind::Url => match value.as_str() {
            Some(text) => {
                if let Err(message) = check_url_text(text) {
                    fail(message);
                }
            }
            None => fail("must be a URL".to_string()),
        },
        FieldKind::Integer { min, max } => match value.as_i64() {
            Some(number) if (min..=max).contains(&number) => {}
            _ => fail(format!("must be a whole number from {min} to {max}")),
        },
        FieldKind::Number { min, max } => match value.as_f64() {
            Some(number) if (min..=max).contains(&number) => {}
            _ => fail(format!("must be a number from {min} to {max}")),
        },
        FieldKind::Flag => {
            if !value.is_boolean() {
                fail("must be true or false".to_string());
            }
        }
        FieldKind::Choice(choices) => {
            if !value.as_str().is_some_and(|text| choices.contains(&text)) {
                fail(format!("must be one of: {}", choices.join(", ")));
            }
        }
        FieldKind::TextList => {
            if !value
                .as_array()
                .is_some_and(|items| items.iter().all(Value::is_string))
            {
                fail("must be a list of texts".to_string());
            }
        }
        FieldKind::TextMap => check_map(field, value, "a text", Value::is_string, errors),
        FieldKind::NumberMap => check_map(field, value, "a number", Value::is_number, errors),
        FieldKind::Object => {
            if !value.is_object() {
                fail("must be an object".to_string());
            }
        }
    }
}

fn check_map(
    field: &Field,
    value: &Value,
    what: &str,
    fits: impl Fn(&Value) -> bool,
    errors: &mut Vec<ConfigError>,
) {
    match value.as_object() {
        None => errors.push(ConfigError::new(field.name, "must be an object")),
        Some(object) => errors.extend(object.iter().filter(|(_, value)| !fits(value)).map(
            |(key, _)| ConfigError::new(format!("{}.{key}", field.name), format!("must be {what}")),
        )),
    }
}

/// Checks the form of a URL without asking who it points to: that is the guard's, at send time.
pub fn check_url_text(text: &str) -> Result<(), String> {
    let url = url::Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must start with https://".to_string());
    }
    if !url.has_host() {
        return Err("has no host".to_string());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not carry a user name or password; use the secrets".to_string());
    }
    Ok(())
}

/// Checks header names and values that a user gives: well-formed, and none of those that the
/// framework sets itself.
pub fn check_headers(path: &str, headers: &Map<String, Value>, errors: &mut Vec<ConfigError>) {
    const RESERVED: &[&str] = &[
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "proxy-authorization",
        "keep-alive",
    ];
    for (name, value) in headers {
        let at = format!("{path}.{name}");
        let lower = name.to_ascii_lowercase();
        if reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
            errors.push(ConfigError::new(at, "is not the name of a header"));
        } else if RESERVED.contains(&lower.as_str()) || lower.starts_with("webhook-") {
            errors.push(ConfigError::new(at, "is set by cdp and cannot be changed"));
        } else if value
            .as_str()
            .is_some_and(|text| reqwest::header::HeaderValue::from_str(text).is_err())
        {
            errors.push(ConfigError::new(
                at,
                "has a character that headers cannot have",
            ));
        }
    }
}

/// Adds headers that a user gives; one that is already there is replaced.
pub fn add_headers(request: &mut HttpRequest, headers: &Map<String, Value>) {
    for (name, value) in headers {
        if let Some(value) = value.as_str() {
            let name = name.to_ascii_lowercase();
            request.headers.retain(|(key, _)| *key != name);
            request.headers.push((name, value.to_string()));
        }
    }
}

/// JSON Schema (draft 2020-12) of a configuration.
pub fn schema(fields: &'static [Field], secrets: &'static [SecretField]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in fields.iter().chain(COMMON_FIELDS) {
        let mut property = match field.kind {
            FieldKind::Text => json!({"type": "string", "minLength": 1}),
            FieldKind::Url => json!({"type": "string", "format": "uri"}),
            FieldKind::Integer { min, max } => {
                json!({"type": "integer", "minimum": min, "maximum": max})
            }
            FieldKind::Number { min, max } => {
                json!({"type": "number", "minimum": min, "maximum": max})
            }
            FieldKind::Flag => json!({"type": "boolean"}),
            FieldKind::Choice(choices) => json!({"type": "string", "enum": choices}),
            FieldKind::TextList => json!({"type": "array", "items": {"type": "string"}}),
            FieldKind::TextMap => {
                json!({"type": "object", "additionalProperties": {"type": "string"}})
            }
            FieldKind::NumberMap => {
                json!({"type": "object", "additionalProperties": {"type": "number"}})
            }
            FieldKind::Object => json!({"type": "object"}),
        };
        if let Some(object) = property.as_object_mut() {
            object.insert("description".to_string(), json!(field.help));
            let default = field
                .default
                .and_then(|text| serde_json::from_str::<Value>(text).ok());
            if let Some(default) = default {
                object.insert("default".to_string(), default);
            }
        }
        properties.insert(field.name.to_string(), property);
        if field.required {
            required.push(field.name);
        }
    }
    for secret in secrets {
        properties.insert(
            secret.name.to_string(),
            json!({"type": "string", "writeOnly": true, "description": secret.help}),
        );
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// The name nearest to a misspelt one, when it is near enough to be meant.
pub(crate) fn closest<'a>(text: &str, names: &[&'a str]) -> Option<&'a str> {
    let lower = text.to_ascii_lowercase();
    names
        .iter()
        .map(|name| (distance(&lower, name), *name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .map(|(_, name)| name)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (cb, above) in b.iter().zip(row.iter().skip(1)) {
            let best = (diagonal + usize::from(ca != *cb))
                .min(left + 1)
                .min(above + 1);
            diagonal = *above;
            left = best;
            next.push(best);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field] = &[
        Field::new("url", FieldKind::Url, "Where.").required(),
        Field::new("max_age", FieldKind::Integer { min: 1, max: 9 }, "Age.").default("3"),
        Field::new("names", FieldKind::TextList, "Names."),
    ];

    fn messages(config: Value) -> Vec<String> {
        validate_fields(&config, FIELDS, &[])
            .into_iter()
            .map(|error| format!("{error} {}", error.hint.clone().unwrap_or_default()))
            .collect()
    }

    #[test]
    fn validation_names_the_place_and_the_remedy() {
        assert!(messages(json!({"url": "https://x.example", "maxAge": 2})).is_empty());
        assert_eq!(
            messages(json!({"url": "https://x.example", "max_agee": 2})),
            ["max_agee: no such setting did you mean \"max_age\"?"]
        );
        assert_eq!(messages(json!({})), ["url: is required Where."]);
        assert_eq!(messages(json!([])).len(), 1);
        assert_eq!(
            messages(json!({"url": "https://a:b@x.example", "max_age": 10, "names": [1]})).len(),
            3
        );
        for url in ["x", "ftp://x.example", "javascript:alert(1)", "https://"] {
            assert_eq!(messages(json!({ "url": url })).len(), 1, "{url}");
        }
    }

    #[test]
    fn reading_uses_defaults_and_both_cases() {
        let value = json!({"timeoutMs": 5000, "concurrency": 2});
        let config = Config::new(&value, FIELDS);
        assert_eq!(config.integer("max_age"), Some(3));
        assert_eq!(
            config.text("after_ambiguous_failure").as_deref(),
            Some("retry")
        );
        let limits = Limits::batch(100, 1000).configured(&config);
        assert_eq!(limits.timeout, std::time::Duration::from_secs(5));
        assert_eq!((limits.concurrency, limits.batch_size), (2, 100));
    }

    #[test]
    fn headers_cannot_be_smuggled() {
        let mut errors = Vec::new();
        let headers = json!({
            "X-Fine": "yes",
            "Host": "evil",
            "webhook-id": "1",
            "Bad Name": "x",
            "X-Split": "a\r\nX-Evil: b",
        });
        check_headers("headers", headers.as_object().unwrap(), &mut errors);
        let mut paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(
            paths,
            [
                "headers.Bad Name",
                "headers.Host",
                "headers.X-Split",
                "headers.webhook-id"
            ]
        );
    }

    #[test]
    fn edit_distance() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(
            closest("weebhook_url", &["channel", "webhook_url"]),
            Some("webhook_url")
        );
        assert_eq!(closest("zzz", &["channel"]), None);
    }
}
