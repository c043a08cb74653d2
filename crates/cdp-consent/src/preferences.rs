//! What a message, or a caller, says about categories.

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// Categories and whether each was agreed to.
pub type Preferences = BTreeMap<String, bool>;

/// More categories than this in one statement are a mistake.
pub const MOST_CATEGORIES: usize = 100;

/// Longest name of a category, in characters.
const LONGEST_CATEGORY: usize = 100;

/// Why an object says nothing about consent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreferencesError {
    /// Not an object.
    NotAnObject,
    TooMany,
    /// The name of a category is blank, too long or has control characters.
    Name(String),
    /// The value of a category is neither true nor false.
    Value(String),
}

impl fmt::Display for PreferencesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PreferencesError::NotAnObject => write!(f, "consent is an object of categories"),
            PreferencesError::TooMany => {
                write!(f, "consent has more than {MOST_CATEGORIES} categories")
            }
            PreferencesError::Name(name) => write!(f, "\"{name}\" is not the name of a category"),
            PreferencesError::Value(name) => {
                write!(f, "consent to \"{name}\" is neither true nor false")
            }
        }
    }
}

impl std::error::Error for PreferencesError {}

/// Reads an object of categories; every value has to be a boolean.
pub fn preferences(value: &Value) -> Result<Preferences, PreferencesError> {
    let object = value.as_object().ok_or(PreferencesError::NotAnObject)?;
    if object.len() > MOST_CATEGORIES {
        return Err(PreferencesError::TooMany);
    }
    object
        .iter()
        .map(|(name, value)| match value {
            Value::Bool(granted) if is_category(name) => Ok((name.clone(), *granted)),
            Value::Bool(_) => Err(PreferencesError::Name(cut(name))),
            _ => Err(PreferencesError::Value(cut(name))),
        })
        .collect()
}

/// Whether a text can be the name of a category.
pub fn is_category(name: &str) -> bool {
    !name.trim().is_empty()
        && name.chars().count() <= LONGEST_CATEGORY
        && !name.chars().any(char::is_control)
}

fn cut(name: &str) -> String {
    name.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_CATEGORY)
        .collect()
}

/// What the context of a message says: `consent.categoryPreferences` of the Segment spec, also in snake_case.
/// Anything but a boolean says nothing; a message is never refused for it.
pub fn of_context(context: &Value) -> Preferences {
    let object: Option<&Map<String, Value>> = context.get("consent").and_then(|consent| {
        consent
            .get("categoryPreferences")
            .or_else(|| consent.get("category_preferences"))?
            .as_object()
    });
    object
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name, value.as_bool()?)))
        .filter(|(name, _)| is_category(name))
        .take(MOST_CATEGORIES)
        .map(|(name, granted)| (name.clone(), granted))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_context_in_either_case() {
        let expected =
            Preferences::from([("ads".to_string(), false), ("analytics".to_string(), true)]);
        let preferences = json!({ "ads": false, "analytics": true, "odd": "yes", "": true });
        for key in ["categoryPreferences", "category_preferences"] {
            let mut consent = Map::new();
            consent.insert(key.to_string(), preferences.clone());
            assert_eq!(of_context(&json!({ "consent": consent })), expected);
        }
    }

    #[test]
    fn a_context_without_consent_says_nothing() {
        for context in [
            json!({}),
            json!({"consent": true}),
            json!({"consent": {"categoryPreferences": [1]}}),
            json!(null),
        ] {
            assert!(of_context(&context).is_empty(), "{context}");
        }
    }

    #[test]
    fn what_a_caller_says_is_checked() {
        assert_eq!(
            preferences(&json!({"ads": true})),
            Ok(Preferences::from([("ads".to_string(), true)]))
        );
        assert_eq!(
            preferences(&json!(["ads"])),
            Err(PreferencesError::NotAnObject)
        );
        assert_eq!(
            preferences(&json!({"ads": "no"})),
            Err(PreferencesError::Value("ads".to_string()))
        );
        assert_eq!(
            preferences(&json!({" ": true})),
            Err(PreferencesError::Name(" ".to_string()))
        );
        let many: Map<String, Value> = (0..=MOST_CATEGORIES)
            .map(|n| (n.to_string(), json!(true)))
            .collect();
        assert_eq!(
            preferences(&Value::Object(many)),
            Err(PreferencesError::TooMany)
        );
    }
}
