//! What is wrong with an expression, in words for the person who wrote it.

use std::fmt;

/// Why an expression was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExprError {
    /// What is wrong: lower case, no period.
    pub message: String,
    /// Where: the 1-based character of the text.
    pub position: usize,
    /// What could have stood there instead, in the words of the documentation. May be empty.
    pub expected: Vec<String>,
    /// What to write instead. Never empty.
    pub hint: String,
}

impl ExprError {
    pub(crate) fn new(
        position: usize,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> ExprError {
        ExprError {
            message: message.into(),
            position,
            expected: Vec::new(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at position {}", self.message, self.position)?;
        if !self.expected.is_empty() {
            write!(f, ", expected {}", list_of(&self.expected))?;
        }
        Ok(())
    }
}

impl std::error::Error for ExprError {}

/// `a, b or c`.
pub(crate) fn list_of(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} or {last}", init.join(", ")),
    }
}

/// The known name most like a misspelt one, if any is close enough to be what was meant.
pub(crate) fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing two long names costs their product; nobody misspells a name this long.
    const LONGEST: usize = 200;
    if name.len() > LONGEST {
        return None;
    }
    let wanted = name.to_lowercase();
    let allowed = (wanted.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(b.1)))
        .map(|(_, candidate)| candidate)
}

/// `did you mean "x"?`, when some known name is close.
pub(crate) fn did_you_mean<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    closest(name, known).map(|candidate| format!("did you mean {candidate}?"))
}
