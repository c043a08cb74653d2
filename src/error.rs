//! Errors as a caller sees them: SQLSTATE of class CD, what was wrong, and what to do.

use std::borrow::Cow;

/// An error on its way to the client.
#[derive(Debug, Clone)]
pub struct Error {
    /// Five characters; class `CD` unless a standard state says it better.
    pub sqlstate: [u8; 5],
    /// Lower case, no period.
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

pub type Result<T> = std::result::Result<T, Error>;

/// The SQLSTATEs of cdp beside those of `cdp_message` (CD001 …), which are about a message;
/// docs/reference/errors.md lists them all.
pub mod state {
    pub const TOO_MANY_KINDS: &str = "CD032";
    pub const UNKNOWN_NAMESPACE: &str = "CD103";
    pub const UNKNOWN_KEY: &str = "CD104";
    pub const INVALID_DEFINITION: &str = "CD105";
    pub const INVALID_EXPRESSION: &str = "CD106";
    pub const IN_USE: &str = "CD107";
    pub const INVALID_SETTING: &str = "CD108";
    pub const IDENTITY_CONFLICT: &str = "CD109";
    pub const UNKNOWN_PERSON: &str = "CD110";
    pub const CORRUPT_STATE: &str = "CD111";
    pub const SECRET: &str = "CD112";
    pub const ATTACHED_ROW: &str = "CD113";
    pub const NAMESPACE_DENIED: &str = "CD120";
    pub const INTERNAL: &str = "CD999";
}

impl Error {
    pub fn new(sqlstate: &str, message: impl Into<String>) -> Error {
        let mut code = *b"CD999";
        if let Ok(five) = <[u8; 5]>::try_from(sqlstate.as_bytes()) {
            code = five;
        }
        Error { sqlstate: code, message: message.into(), detail: None, hint: None }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Error {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// The SQLSTATE as text.
    pub fn code(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.sqlstate)
    }
}

/// Something that cannot happen unless stored data were damaged or cdp has a defect.
pub fn internal(message: impl Into<String>) -> Error {
    Error::new(state::INTERNAL, message)
        .hint("This is a defect in cdp: please report it with the statement that led to it.")
}

/// `key`, with the closest of `known` as hint, or what there is.
pub fn unknown_key<'a>(what: &str, key: &str, known: impl Iterator<Item = &'a str>) -> Error {
    /// Most names that a hint lists.
    const LISTED: usize = 30;
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    let error = Error::new(state::UNKNOWN_KEY, format!("{what} \"{}\" does not exist", cut(key)));
    error.hint(match closest(key, known.iter().copied()) {
        Some(name) => format!("Did you mean \"{name}\"?"),
        None if known.is_empty() => format!("There is no {what} yet."),
        None => {
            let listed: Vec<&str> = known.iter().copied().take(LISTED).collect();
            let more = if known.len() > LISTED { ", …" } else { "" };
            format!("There are: {}{more}.", listed.join(", "))
        }
    })
}

/// The name most like `key`, when one is close enough to be a typing mistake.
pub fn closest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::jaro_winkler(&key.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// A value cut to a length that an error message can carry.
pub fn cut(value: &str) -> String {
    const LONGEST: usize = 80;
    if value.chars().count() <= LONGEST {
        value.to_string()
    } else {
        let mut short: String = value.chars().take(LONGEST).collect();
        short.push('…');
        short
    }
}
