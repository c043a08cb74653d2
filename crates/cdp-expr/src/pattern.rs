//! Regular expressions of `matches`.

use regex::{Regex, RegexBuilder};
use std::hash::{Hash, Hasher};

/// How a pattern is written.
pub(crate) const HELP: &str =
    "write it as for the Rust crate regex; in quotes a backslash is written twice: \"^a\\\\.b$\"";

/// Memory a compiled pattern may take, so that `a{1000}{1000}` is refused.
const SIZE_LIMIT: usize = 256 * 1024;

/// A regular expression that was compiled when it was parsed. Matching takes time linear in the
/// text, whatever the pattern.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern; the error is a short reason.
    pub fn new(text: &str) -> Result<Pattern, String> {
        RegexBuilder::new(text)
            .size_limit(SIZE_LIMIT)
            .dfa_size_limit(SIZE_LIMIT)
            .nest_limit(50)
            .build()
            .map(Pattern)
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => "the pattern is too large".to_string(),
                // The library draws a multi-line picture; its last line is the reason.
                other => {
                    let text = other.to_string();
                    let reason = text.lines().last().unwrap_or_default();
                    reason.trim_start_matches("error: ").to_string()
                }
            })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether the pattern occurs anywhere in the text.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}
