//! What a destination or route requires of whoever a message is about.

use crate::{Preferences, Standing};

/// What is meant by silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    /// Who said nothing did not agree.
    #[default]
    Withhold,
    /// Who said nothing did not object.
    Send,
}

/// Categories that have to be agreed to, all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requirement {
    pub categories: Vec<String>,
    pub unknown: Unknown,
}

/// Why a message is withheld.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The person, or the message itself, says no.
    Denied(String),
    /// Nobody said anything.
    Missing(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Denied(category) => write!(f, "consent to \"{category}\" is denied"),
            Refusal::Missing(category) => write!(f, "there is no consent to \"{category}\""),
        }
    }
}

impl Requirement {
    /// Whether every message passes.
    pub fn is_empty(&self) -> bool {
        self.categories.is_empty()
    }

    /// This and further categories.
    pub fn with(&self, more: &[String]) -> Requirement {
        let mut categories = self.categories.clone();
        for category in more {
            if !categories.contains(category) {
                categories.push(category.clone());
            }
        }
        Requirement {
            categories,
            unknown: self.unknown,
        }
    }

    /// Why a message may not go; None when it may. `own` is what the message itself says, as of when it was made;
    /// a no there or of the person is enough.
    pub fn refuses(&self, person: Option<&Standing>, own: &Preferences) -> Option<Refusal> {
        self.categories.iter().find_map(|category| {
            let said = person
                .and_then(|standing| standing.get(category))
                .map(|verdict| verdict.granted);
            match (said, own.get(category)) {
                (Some(false), _) | (_, Some(false)) => Some(Refusal::Denied(category.clone())),
                (None, None) if self.unknown == Unknown::Withhold => {
                    Some(Refusal::Missing(category.clone()))
                }
                _ => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;

    fn standing(granted: Option<bool>) -> Standing {
        granted
            .map(|granted| {
                (
                    "ads".to_string(),
                    Verdict {
                        granted,
                        since: 0,
                        statement: 0,
                    },
                )
            })
            .into_iter()
            .collect()
    }

    fn own(granted: Option<bool>) -> Preferences {
        granted
            .map(|granted| ("ads".to_string(), granted))
            .into_iter()
            .collect()
    }

    #[test]
    fn a_no_from_anywhere_is_enough_and_silence_is_a_setting() {
        let required = Requirement {
            categories: vec!["ads".to_string()],
            unknown: Unknown::Withhold,
        };
        let lenient = Requirement {
            unknown: Unknown::Send,
            ..required.clone()
        };
        for person in [None, Some(false), Some(true)] {
            for message in [None, Some(false), Some(true)] {
                let denied = person == Some(false) || message == Some(false);
                let silent = person.is_none() && message.is_none();
                let refused = |requirement: &Requirement| {
                    requirement.refuses(Some(&standing(person)), &own(message))
                };
                assert_eq!(
                    refused(&required).is_some(),
                    denied || silent,
                    "{person:?} {message:?}"
                );
                assert_eq!(
                    refused(&lenient).is_some(),
                    denied,
                    "{person:?} {message:?}"
                );
            }
        }
    }

    #[test]
    fn all_categories_are_needed() {
        let one = Requirement {
            categories: vec!["ads".to_string()],
            unknown: Unknown::Withhold,
        };
        let both = one.with(&["analytics".to_string(), "ads".to_string()]);
        assert_eq!(both.categories, ["ads", "analytics"]);
        let refusal = both.refuses(Some(&standing(Some(true))), &Preferences::new());
        assert_eq!(refusal, Some(Refusal::Missing("analytics".to_string())));
        assert!(Requirement::default()
            .refuses(None, &own(Some(false)))
            .is_none());
    }
}
