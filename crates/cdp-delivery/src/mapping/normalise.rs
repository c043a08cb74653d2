//! One form for e-mail addresses, phone numbers and names, and digests of them.

use crate::digest::sha256_hex;
use crate::message::looks_like_email;

/// What kind of value is put in one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Trimmed, lower case.
    Email,
    /// E.164: `+` and digits.
    Phone,
    /// Trimmed, lower case.
    Text,
}

impl Form {
    /// `email`, `phone` or `text`.
    pub fn parse(name: &str) -> Option<Form> {
        match name {
            "email" => Some(Form::Email),
            "phone" => Some(Form::Phone),
            "text" => Some(Form::Text),
            _ => None,
        }
    }

    /// The value in this form; None when it is not of this kind.
    pub fn apply(self, text: &str) -> Option<String> {
        match self {
            Form::Email => normalise_email(text),
            Form::Phone => normalise_phone(text),
            Form::Text => {
                let text = text.trim().to_lowercase();
                (!text.is_empty()).then_some(text)
            }
        }
    }

    /// The digest of the value in this form; a value that is a digest already stays.
    pub fn hash(self, text: &str) -> Option<String> {
        if is_digest(text.trim()) {
            return Some(text.trim().to_lowercase());
        }
        self.apply(text).and_then(|text| hash(&text))
    }
}

/// An e-mail address trimmed and in lower case; None when it is not one.
pub fn normalise_email(text: &str) -> Option<String> {
    let email = text.trim().to_lowercase();
    looks_like_email(&email).then_some(email)
}

/// A phone number as `+` and 8 to 15 digits, from one written with `+` or `00` in front; None
/// for a national number, whose country nobody knows.
pub fn normalise_phone(text: &str) -> Option<String> {
    normalise_phone_of(text, None)
}

/// The same; a national number is taken to be of the country with this calling code.
pub fn normalise_phone_of(text: &str, country: Option<&str>) -> Option<String> {
    let text = text.trim();
    let known = text
        .chars()
        .all(|c| c.is_ascii_digit() || " +-./()\u{a0}".contains(c));
    if !known {
        return None;
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let digits = if text.starts_with('+') {
        // +49 (0) 30 …: the zero is for callers at home.
        match text.find("(0)") {
            Some(at) => {
                let before = text.get(..at)?.chars().filter(char::is_ascii_digit).count();
                let mut digits = digits;
                digits.remove(before);
                digits
            }
            None => digits,
        }
    } else if let Some(rest) = digits.strip_prefix("00") {
        rest.to_string()
    } else {
        let code: String = country?.chars().filter(char::is_ascii_digit).collect();
        let national = digits.strip_prefix('0').unwrap_or(&digits);
        format!("{code}{national}")
    };
    let plausible = (8..=15).contains(&digits.len()) && !digits.starts_with('0');
    plausible.then(|| format!("+{digits}"))
}

/// SHA-256 in lower-case hexadecimal; None for an empty text, whose digest would be everybody's.
pub fn hash(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| sha256_hex(text))
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phones() {
        for (text, expected) in [
            ("+1 (555) 010-0200", Some("+15550100200")),
            ("0049 30 123456", Some("+4930123456")),
            ("+49 (0) 30 123456", Some("+4930123456")),
            ("030 123456", None),
            ("+12", None),
            ("+1234567890123456", None),
            ("+0123456789", None),
            ("call me", None),
            ("", None),
            ("(0)", None),
            ("+(0)", None),
        ] {
            assert_eq!(normalise_phone(text).as_deref(), expected, "{text}");
        }
        assert_eq!(
            normalise_phone_of("030 123456", Some("+49")).as_deref(),
            Some("+4930123456")
        );
    }

    #[test]
    fn hashes() {
        let expected = hash("ann@example.com").unwrap();
        assert_eq!(
            Form::Email.hash(" Ann@Example.COM "),
            Some(expected.clone())
        );
        assert_eq!(Form::Email.hash(&expected), Some(expected.clone()));
        assert_eq!(Form::Email.hash("not an address"), None);
        assert_eq!(Form::Text.hash("   "), None);
        assert_eq!(hash(""), None);
        assert_eq!(
            hash("abc").as_deref(),
            Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        );
    }
}
