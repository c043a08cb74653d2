//! What the channels that people read have in common: which messages are worth a post, how the
//! post reads, and that there are not too many.

use crate::config::{check_url_text, Config, ConfigError, Field, FieldKind, Limits};
use crate::message::{scalar_text, Message, MessageKind};
use crate::outcome::Outcome;
use crate::path;
use crate::template::{encode_component, Template};
use serde_json::Value;

pub const EVENTS: Field = Field::new(
    "events",
    FieldKind::TextList,
    "Only these: names of events (a * at the end stands for any rest) or kinds such as audience_entered. Without it every message.",
);

pub const THRESHOLDS: Field = Field::new(
    "thresholds",
    FieldKind::NumberMap,
    "Least values: \"payment.amount\": 1000 keeps back events named payment or payment.… whose property amount is lower or missing, and any event whose property payment.amount is.",
);

pub const TEMPLATE: Field = Field::new(
    "template",
    FieldKind::Text,
    "Text of a post, with {{path}} templates over the message. Without it a summary of the message.",
);

pub const TEMPLATES: Field = Field::new(
    "templates",
    FieldKind::TextMap,
    "Texts by event name or kind; they win over \"template\".",
);

pub const PER_MINUTE: Field = Field::new(
    "per_minute",
    FieldKind::Integer { min: 1, max: 6000 },
    "At most so many posts in any minute; further ones wait.",
);

/// Kinds of messages that are worth a post.
pub const SENDS: &[MessageKind] = &[
    MessageKind::Track,
    MessageKind::Identify,
    MessageKind::Page,
    MessageKind::Screen,
    MessageKind::Group,
    MessageKind::AudienceEntered,
    MessageKind::AudienceExited,
    MessageKind::TraitChanged,
    MessageKind::ScoreChanged,
];

/// How a channel writes.
pub struct Style {
    pub bold: fn(&str) -> String,
    pub escape: fn(&str) -> String,
    /// Most characters of a post.
    pub longest: usize,
}

/// Checks the templates.
pub fn check(config: &Config, errors: &mut Vec<ConfigError>) {
    let mut check = |path: String, text: &str| {
        if let Err(error) = Template::parse(text) {
            errors.push(ConfigError::new(path, error.to_string()));
        }
    };
    if let Some(text) = config.text("template") {
        check("template".to_string(), &text);
    }
    for (name, text) in config.object("templates") {
        check(format!("templates.{name}"), text.as_str().unwrap_or(""));
    }
}

/// The limits of a channel that takes `per_second` posts, slowed down by `per_minute`.
pub fn limits(config: &Config, per_second: f64) -> Limits {
    let rate = config
        .integer("per_minute")
        .map_or(per_second, |posts| (posts as f64 / 60.0).min(per_second));
    // Without a burst, posts are spaced evenly and no minute has more than its share.
    Limits::single().rate(rate, 1.0).concurrency(1)
}

/// Why a message is not worth a post.
fn unwanted(config: &Config, message: &Message) -> Option<Outcome> {
    let event = message.event().unwrap_or_default();
    if let Some(wanted) = config.list("events") {
        let listed = wanted
            .iter()
            .any(|pattern| matches(pattern, &event) || pattern == message.kind.as_str());
        if !listed {
            return Some(Outcome::discard("not among the events of the destination"));
        }
    }
    for (key, least) in config.object("thresholds") {
        let least = least.as_f64().unwrap_or(f64::MIN);
        if below(message, &event, &key, least) {
            return Some(Outcome::discard(format!("below the threshold of {key}")));
        }
    }
    None
}

fn matches(pattern: &str, event: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => event.starts_with(start),
        None => pattern == event,
    }
}

/// Whether a threshold is for this message, and the message does not reach it.
fn below(message: &Message, event: &str, key: &str, least: f64) -> bool {
    let properties = message.at(&["properties"]).unwrap_or(&Value::Null);
    let parts: Vec<&str> = key.split('.').collect();
    let reaches = |value: &Value| number(value).is_some_and(|number| number >= least);
    if let Some(value) = path::keys(properties, &parts) {
        return !reaches(value);
    }
    match key.rsplit_once('.') {
        Some((name, property)) => {
            let concerned = event == name
                || event
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['.', ' ', '_', ':']));
            concerned && !path::keys(properties, &[property]).is_some_and(reaches)
        }
        None => false,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The text of the post for a message, or why there is none.
pub fn post(config: &Config, message: &Message, style: &Style) -> Result<String, Outcome> {
    if let Some(outcome) = unwanted(config, message) {
        return Err(outcome);
    }
    let text = text(config, message, style).map_err(Outcome::reject)?;
    if text.trim().is_empty() {
        return Err(Outcome::reject("the text of the post is empty"));
    }
    Ok(text)
}

/// An address for a button; its templates cannot change the host.
pub fn link(template: &str, body: &Value) -> Result<String, String> {
    let parsed = Template::parse(template).map_err(|error| error.to_string())?;
    if !parsed.is_plain() && !parsed.fixes_host() {
        return Err("a template cannot change scheme, host or port".to_string());
    }
    let url = parsed.render(body, encode_component);
    check_url_text(&url).map(|()| url)
}

fn text(config: &Config, message: &Message, style: &Style) -> Result<String, String> {
    let event = message.event().unwrap_or_default();
    let templates = config.object("templates");
    let chosen = templates
        .get(&event)
        .or_else(|| templates.get(message.kind.as_str()))
        .and_then(Value::as_str)
        .map(str::to_string)
        .or_else(|| config.text("template"));
    let text = match chosen {
        Some(template) => Template::parse(&template)
            .map_err(|error| error.to_string())?
            .render(&message.body, style.escape),
        None => summary(message, &event, style),
    };
    Ok(shorten(&text, style.longest))
}

fn summary(message: &Message, event: &str, style: &Style) -> String {
    let audience = message.audience_key().unwrap_or_default();
    let headline = match message.kind {
        MessageKind::Track => event.to_string(),
        MessageKind::Page => format!("Page {event}"),
        MessageKind::Screen => format!("Screen {event}"),
        MessageKind::Identify => "Identified".to_string(),
        MessageKind::Group => "Joined a group".to_string(),
        MessageKind::AudienceEntered => format!("Entered {audience}"),
        MessageKind::AudienceExited => format!("Left {audience}"),
        MessageKind::TraitChanged => "Trait changed".to_string(),
        MessageKind::ScoreChanged => "Score changed".to_string(),
        MessageKind::Alias => "Alias".to_string(),
        MessageKind::Delete => "Deleted".to_string(),
    };
    let headline = match headline.trim() {
        "" => message.kind.as_str(),
        text => text,
    };
    let mut lines = vec![(style.bold)(&(style.escape)(headline))];
    if let Some(who) = message.email().or_else(|| message.person_id()) {
        lines.push((style.escape)(&who));
    }
    let details = match message.kind {
        MessageKind::AudienceEntered | MessageKind::AudienceExited => Default::default(),
        MessageKind::Track | MessageKind::Page | MessageKind::Screen => message.properties(),
        _ => message.traits(),
    };
    for (key, value) in details.iter().take(20) {
        if let Some(value) = scalar_text(value) {
            let value = shorten(&value, 300);
            lines.push(format!(
                "• {}: {}",
                (style.escape)(key),
                (style.escape)(&value)
            ));
        }
    }
    lines.join("\n")
}

/// At most so many characters, with an ellipsis when something is left out.
fn shorten(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_string();
    }
    let mut short: String = text.chars().take(longest.saturating_sub(1)).collect();
    short.push('…');
    short
}
