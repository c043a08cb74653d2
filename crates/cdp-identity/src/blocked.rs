//! Values that identify nobody, although clients send them as identifiers.

use regex::Regex;
use std::collections::HashSet;

/// One rule about values that identify nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockedPattern {
    /// This value, in any letter case, with or without space around it.
    Exact(String),
    /// Every value that the regular expression matches.
    Regex(String),
}

/// A regular expression that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid regular expression \"{pattern}\": {reason}")]
pub struct PatternError {
    pub pattern: String,
    pub reason: String,
}

/// The blocked values of a kind.
#[derive(Debug, Clone, Default)]
pub struct BlockedValues {
    /// In lower case.
    exact: HashSet<String>,
    /// Length in bytes of the longest exact value.
    longest: usize,
    /// Whether zeros and dashes are blocked: by far the most usual pattern, so it has a fast way.
    zeros: bool,
    patterns: Vec<Regex>,
}

/// The pattern for nothing but zeros and dashes, as in an empty UUID.
const ZEROS: &str = "^[0-]*$";

impl BlockedValues {
    /// The values that are blocked for every kind unless the settings say otherwise: nothing but
    /// zeros and dashes, `-1`, and what programs write for "no value".
    pub fn standard() -> Vec<BlockedPattern> {
        let exact = [
            "-1",
            "null",
            "nil",
            "none",
            "undefined",
            "anonymous",
            "unknown",
            "nan",
            "n/a",
            "na",
            "true",
            "false",
            "[object object]",
            "(null)",
            "<null>",
        ];
        std::iter::once(BlockedPattern::Regex(ZEROS.to_owned()))
            .chain(exact.map(|value| BlockedPattern::Exact(value.to_owned())))
            .collect()
    }

    /// Prepares patterns for matching.
    pub fn new(patterns: &[BlockedPattern]) -> Result<BlockedValues, PatternError> {
        let mut blocked = BlockedValues::default();
        for pattern in patterns {
            match pattern {
                BlockedPattern::Exact(value) => {
                    blocked.exact.insert(value.trim().to_lowercase());
                }
                BlockedPattern::Regex(source) if source == ZEROS => blocked.zeros = true,
                BlockedPattern::Regex(source) => {
                    let regex = Regex::new(source).map_err(|error| PatternError {
                        pattern: source.clone(),
                        reason: error.to_string(),
                    })?;
                    blocked.patterns.push(regex);
                }
            }
        }
        blocked.longest = blocked.exact.iter().map(String::len).max().unwrap_or(0);
        Ok(blocked)
    }

    /// Whether the value identifies nobody. Blank values never do.
    pub fn is_blocked(&self, value: &str) -> bool {
        let trimmed = value.trim();
        if trimmed.is_empty() {
            return true;
        }
        if self.zeros && trimmed.bytes().all(|byte| byte == b'0' || byte == b'-') {
            return true;
        }
        // Lower-casing can change the length of a text, though not by more than this factor.
        (trimmed.len() <= self.longest * 3 && self.exact.contains(&trimmed.to_lowercase()))
            || self.patterns.iter().any(|pattern| pattern.is_match(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_values_are_blocked_in_any_case() {
        let blocked = BlockedValues::new(&BlockedValues::standard()).unwrap();
        for value in [
            "",
            " ",
            "0",
            "-",
            "00000000-0000-0000-0000-000000000000",
            "-1",
            "null",
            "NULL",
            " Null ",
            "anonymous",
            "Undefined",
            "[object Object]",
        ] {
            assert!(blocked.is_blocked(value), "{value}");
        }
        for value in ["1", "0a", "user-0", "nullable", "anonymous_1", "-10x"] {
            assert!(!blocked.is_blocked(value), "{value}");
        }
    }

    #[test]
    fn patterns_are_data() {
        let patterns = [
            BlockedPattern::Regex("^test-".to_owned()),
            BlockedPattern::Exact("VOID".to_owned()),
        ];
        let blocked = BlockedValues::new(&patterns).unwrap();
        assert!(blocked.is_blocked("test-7") && blocked.is_blocked("void"));
        assert!(!blocked.is_blocked("null") && !blocked.is_blocked("0"));
        let error = BlockedValues::new(&[BlockedPattern::Regex("(".to_owned())]).unwrap_err();
        assert_eq!(error.pattern, "(");
    }
}
