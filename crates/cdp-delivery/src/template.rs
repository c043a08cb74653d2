//! Texts with `{{ path }}` and `{{ path ?? "fallback" }}` in them.

use crate::message::scalar_text;
use crate::path::{Path, PathError};
use serde_json::Value;

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Value {
        path: Path,
        fallback: Option<String>,
    },
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at character {position} of the template")]
pub struct TemplateError {
    pub message: String,
    /// Position in characters, from 1.
    pub position: usize,
}

impl Template {
    /// Parses a template. A text without `{{` is a template of itself.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        let position = |rest: &str| text.chars().count() - rest.chars().count() + 1;
        while let Some((before, inside)) = rest.split_once("{{") {
            if !before.is_empty() {
                parts.push(Part::Text(before.to_string()));
            }
            let at = position(inside);
            let Some((expression, after)) = inside.split_once("}}") else {
                return Err(TemplateError {
                    message: "\"{{\" is not closed by \"}}\"".to_string(),
                    position: at.saturating_sub(2),
                });
            };
            parts.push(parse_value(expression).map_err(|error| TemplateError {
                message: error.message,
                position: at + error.position - 1,
            })?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_string()));
        }
        Ok(Template { parts })
    }

    /// True when the text has no values in it.
    pub fn is_plain(&self) -> bool {
        !self
            .parts
            .iter()
            .any(|part| matches!(part, Part::Value { .. }))
    }

    /// The text with its values, each passed through `escape`. What is missing and has no
    /// fallback is empty; objects and arrays are written as JSON.
    pub fn render(&self, root: &Value, escape: impl Fn(&str) -> String) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Value { path, fallback } => {
                    let found = path.get(root).and_then(|value| match value {
                        Value::Object(_) | Value::Array(_) => Some(value.to_string()),
                        scalar => scalar_text(scalar),
                    });
                    escape(&found.or_else(|| fallback.clone()).unwrap_or_default())
                }
            })
            .collect()
    }

    /// True when a URL made of this template has a fixed scheme and host: its first value comes
    /// after the host, in the path, the query or the fragment.
    pub fn fixes_host(&self) -> bool {
        let start = match self.parts.first() {
            Some(Part::Text(text)) => text.as_str(),
            _ => "",
        };
        start
            .split_once("://")
            .is_some_and(|(_, rest)| rest.contains(['/', '?', '#']) && !rest.contains('\\'))
    }
}

fn parse_value(expression: &str) -> Result<Part, PathError> {
    let (path, fallback) = match expression.split_once("??") {
        Some((path, fallback)) => (path, Some(fallback.trim())),
        None => (expression, None),
    };
    let skipped = path.chars().take_while(|c| c.is_whitespace()).count();
    let path = Path::parse(path.trim()).map_err(|error| PathError {
        position: error.position + skipped,
        ..error
    })?;
    let fallback = match fallback {
        None => None,
        Some(text) => Some(unquote(text).ok_or_else(|| PathError {
            message: "the fallback after ?? is a text in quotes".to_string(),
            position: expression.chars().count(),
        })?),
    };
    Ok(Part::Value { path, fallback })
}

fn unquote(text: &str) -> Option<String> {
    for quote in ['"', '\''] {
        if let Some(inner) = text
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            return Some(inner.to_string());
        }
    }
    None
}

/// Percent-encodes a value for one segment of a path or one value of a query: nothing in it can
/// end the segment, climb out of it or start a query.
pub fn encode_component(text: &str) -> String {
    let encoded: String = text
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'.' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    // "." and ".." would be climbed, however they are written.
    if encoded == "." || encoded == ".." {
        String::new()
    } else {
        encoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn renders() {
        let root = json!({"user": {"name": "Ann"}, "n": 1.5, "list": [1]});
        let template = Template::parse(
            "Hi {{user.name}}, {{ $.n }} {{list}} {{gone ?? \"nothing\"}}{{gone}} { }}",
        )
        .unwrap();
        assert_eq!(
            template.render(&root, str::to_string),
            "Hi Ann, 1.5 [1] nothing { }}"
        );
        assert!(!template.is_plain());
        assert!(Template::parse("plain").unwrap().is_plain());
    }

    #[test]
    fn errors_have_positions() {
        for (text, position) in [
            ("ab{{c", 3),
            ("ab{{ c d }}", 7),
            ("{{}}", 3),
            ("{{a ?? b}}", 8),
        ] {
            assert_eq!(
                Template::parse(text).unwrap_err().position,
                position,
                "{text}"
            );
        }
    }

    #[test]
    fn components_cannot_climb() {
        assert_eq!(encode_component("a/b?c#d e&f"), "a%2Fb%3Fc%23d%20e%26f");
        assert_eq!(encode_component(".."), "");
        assert_eq!(encode_component("ä"), "%C3%A4");
        assert_eq!(encode_component("a@b.co"), "a%40b.co");
    }
}
