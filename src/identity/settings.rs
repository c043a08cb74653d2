//! Identity settings of a namespace: `settings -> 'identity'`, in the shape of the published test vectors.
//!
//! ```json
//! {"kinds": [{"kind": "email", "priority": 2, "limit": 5, "window_days": 365, "blocked": ["test@example.com", "/@qa\\./"]}],
//!  "keys":  [{"kind": "loyalty_id", "trait": "loyalty.number", "property": "loyalty_number"}],
//!  "device": true}
//! ```

use crate::error::{cut, state, unknown_key, Error, Result};
use cdp_identity::{BlockedPattern, BlockedValues, KindId, KindRule};
use cdp_message::{ExtractionRules, KeyRule};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;

const DAY: i64 = cdp_value::DAY;
/// Longest name of a kind, in characters.
const KIND_CHARS: usize = 63;
/// Most entries of a list of settings.
const MOST: usize = 1_000;

/// How identifiers of one kind differ from the standard.
#[derive(Default)]
struct KindSettings {
    priority: Option<u32>,
    limit: Option<u32>,
    window: Option<i64>,
    blocked: Option<BlockedValues>,
}

/// What a namespace has set.
#[derive(Default)]
pub struct Settings {
    kinds: HashMap<String, KindSettings>,
    keys: Vec<KeyRule>,
    device: Option<bool>,
}

impl Settings {
    /// Reads the settings of a namespace; an error names the place as a JSON path.
    pub fn read(settings: &Value) -> Result<Settings> {
        let mut read = Settings::default();
        let Some(identity) = settings.get("identity").filter(|identity| !identity.is_null()) else {
            return Ok(read);
        };
        let identity = object(identity, "identity")?;
        known(identity, "identity", &["kinds", "keys", "device"])?;
        for (place, entry) in list(identity, "identity", "kinds")? {
            let (kind, settings) = kind_settings(entry, &place)?;
            if read.kinds.insert(kind.clone(), settings).is_some() {
                return Err(wrong(&format!("{place}.kind"), &format!("names \"{}\" a second time", cut(&kind))));
            }
        }
        for (place, entry) in list(identity, "identity", "keys")? {
            read.keys.push(key_rule(entry, &place)?);
        }
        if let Some(device) = identity.get("device").filter(|device| !device.is_null()) {
            read.device = Some(device.as_bool().ok_or_else(|| wrong("identity.device", "has to be true or false"))?);
        }
        Ok(read)
    }

    /// The rule of a kind.
    pub fn rule(&self, kind_id: KindId, name: &str) -> KindRule {
        let mut rule = KindRule::standard(kind_id, name);
        if let Some(settings) = self.kinds.get(name) {
            rule.priority = settings.priority.or(rule.priority);
            rule.limit = settings.limit.unwrap_or(rule.limit);
            rule.limit_window = settings.window;
            if let Some(blocked) = &settings.blocked {
                rule.blocked = blocked.clone();
            }
        }
        rule
    }

    /// Where identifiers are found.
    pub fn extraction(&self) -> ExtractionRules {
        let mut rules = ExtractionRules::default();
        rules.keys.extend(self.keys.iter().cloned());
        rules.device = self.device.unwrap_or(rules.device);
        rules
    }
}

fn wrong(path: &str, problem: &str) -> Error {
    Error::new(state::INVALID_DEFINITION, format!("settings: {path} {problem}"))
        .hint("docs: \"Identity\" lists what can be set, with examples.")
}

fn object<'a>(value: &'a Value, path: &str) -> Result<&'a Map<String, Value>> {
    value.as_object().ok_or_else(|| wrong(path, "has to be an object"))
}

/// Refuses members that mean nothing: most likely a typing mistake.
pub(crate) fn known(object: &Map<String, Value>, path: &str, names: &[&str]) -> Result<()> {
    for name in object.keys() {
        if !names.contains(&name.as_str()) {
            let error = unknown_key("setting", name, names.iter().copied());
            let refused = wrong(&format!("{path}.{}", cut(name)), "is no setting");
            return Err(refused.hint(error.hint.unwrap_or_default()));
        }
    }
    Ok(())
}

/// The entries of a list, each with its path.
fn list<'a>(object: &'a Map<String, Value>, path: &str, name: &str) -> Result<Vec<(String, &'a Value)>> {
    let path = format!("{path}.{name}");
    match object.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(entries)) if entries.len() <= MOST => {
            Ok(entries.iter().enumerate().map(|(i, entry)| (format!("{path}[{i}]"), entry)).collect())
        }
        Some(Value::Array(_)) => Err(wrong(&path, &format!("has more than {MOST} entries"))),
        Some(_) => Err(wrong(&path, "has to be an array")),
    }
}

fn text(object: &Map<String, Value>, path: &str, name: &str) -> Result<Option<String>> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(wrong(&format!("{path}.{name}"), "has to be a text that is not blank")),
    }
}

fn whole(object: &Map<String, Value>, path: &str, name: &str, least: i64, most: i64) -> Result<Option<i64>> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_i64().filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(&format!("{path}.{name}"), &format!("has to be a whole number from {least} to {most}"))),
        },
    }
}

fn kind_name(object: &Map<String, Value>, path: &str) -> Result<String> {
    let kind = text(object, path, "kind")?.ok_or_else(|| wrong(&format!("{path}.kind"), "is missing"))?;
    if kind.chars().count() > KIND_CHARS {
        return Err(wrong(&format!("{path}.kind"), &format!("is longer than {KIND_CHARS} characters")));
    }
    Ok(kind)
}

fn kind_settings(entry: &Value, path: &str) -> Result<(String, KindSettings)> {
    let entry = object(entry, path)?;
    known(entry, path, &["kind", "priority", "limit", "window_days", "blocked"])?;
    let kind = kind_name(entry, path)?;
    let number = |name, least, most| {
        Ok::<_, Error>(whole(entry, path, name, least, most)?.and_then(|number| u32::try_from(number).ok()))
    };
    let mut settings = KindSettings {
        priority: number("priority", 1, 1_000_000)?,
        limit: number("limit", 0, 1_000_000)?,
        window: whole(entry, path, "window_days", 1, 36_500)?.map(|days| days * DAY),
        blocked: None,
    };
    if entry.get("blocked").is_some_and(|blocked| !blocked.is_null()) {
        let mut patterns = Vec::new();
        for (place, value) in list(entry, path, "blocked")? {
            let value = value.as_str().ok_or_else(|| wrong(&place, "has to be a text"))?;
            let pattern = match value.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
                Some(expression) => BlockedPattern::Regex(expression.to_string()),
                None => BlockedPattern::Exact(value.to_string()),
            };
            BlockedValues::new(std::slice::from_ref(&pattern))
                .map_err(|error| wrong(&place, &format!("is no regular expression: {}", error.reason)))?;
            patterns.push(pattern);
        }
        settings.blocked = BlockedValues::new(&patterns).ok();
    }
    Ok((kind, settings))
}

fn key_rule(entry: &Value, path: &str) -> Result<KeyRule> {
    let entry = object(entry, path)?;
    known(entry, path, &["kind", "trait", "property"])?;
    let rule = KeyRule {
        kind: Cow::Owned(kind_name(entry, path)?),
        trait_path: text(entry, path, "trait")?,
        property_path: text(entry, path, "property")?,
    };
    if rule.trait_path.is_none() && rule.property_path.is_none() {
        return Err(wrong(path, "names neither a trait nor a property"));
    }
    Ok(rule)
}
