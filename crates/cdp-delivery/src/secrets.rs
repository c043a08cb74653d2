//! Secrets of a destination: never printed, masked in every text, encrypted at rest.

use base64::Engine;
use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey, CHACHA20_POLY1305, NONCE_LEN};
use std::collections::BTreeMap;
use std::fmt;

/// What a secret is replaced with.
pub const MASK: &str = "***";

/// Shorter values are not masked inside texts: replacing every "1" would only make noise.
const SHORTEST_MASKED: usize = 4;

/// Named secrets in clear, for the time a worker needs them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    values: BTreeMap<String, String>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl Secrets {
    /// No secrets.
    pub fn new() -> Secrets {
        Secrets::default()
    }

    /// Adds or replaces one.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.values.insert(name.into(), value.into());
    }

    /// The secret of this name, when it is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Names only.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The text with every secret replaced, also where it stands percent-encoded, in base64 (as
    /// user name or password of Basic authentication) or as the path of a URL.
    pub fn mask(&self, text: &str) -> String {
        let mut forms: Vec<String> = Vec::new();
        for value in self.values.values().filter(|v| v.len() >= SHORTEST_MASKED) {
            forms.push(value.clone());
            let json = serde_json::Value::String(value.clone()).to_string();
            forms.push(json.trim_matches('"').to_string());
            forms.push(url::form_urlencoded::byte_serialize(value.as_bytes()).collect());
            for pair in [format!("{value}:"), value.clone(), format!(":{value}")] {
                forms.push(base64::engine::general_purpose::STANDARD.encode(&pair));
            }
            for user in self.values.values().filter(|user| *user != value) {
                let pair = format!("{user}:{value}");
                forms.push(base64::engine::general_purpose::STANDARD.encode(pair));
            }
            if let Ok(url) = url::Url::parse(value) {
                forms.push(url.to_string());
                if url.path().len() > SHORTEST_MASKED {
                    forms.push(url.path().to_string());
                }
            }
        }
        // Longest first, so that no form is cut by a shorter one inside it.
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        forms
            .iter()
            .filter(|form| form.len() >= SHORTEST_MASKED)
            .fold(text.to_string(), |text, form| {
                text.replace(form.as_str(), MASK)
            })
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Secrets {
        let mut secrets = Secrets::new();
        for (name, value) in pairs {
            secrets.insert(name, value);
        }
        secrets
    }
}

/// Why a secret cannot be sealed or opened. Says nothing about its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the key must be 32 bytes, as 64 hexadecimal digits or in base64")]
    Key,
    #[error("the sealed secret is damaged, belongs elsewhere, or was sealed with another key")]
    Sealed,
    #[error("the operating system gave no random bytes")]
    Random,
}

/// Version of the sealed form, so that another cipher can follow.
const SEALED_V1: &str = "cdp1:";

/// A key that seals secrets at rest with ChaCha20-Poly1305 (RFC 8439). It is kept outside the
/// database, in a file or in the environment.
pub struct SealingKey(LessSafeKey);

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey")
    }
}

impl SealingKey {
    /// From 32 bytes written as 64 hexadecimal digits or in base64, white space around them
    /// ignored.
    pub fn parse(text: &str) -> Result<SealingKey, SealError> {
        let text = text.trim();
        let bytes = match hex(text) {
            Some(bytes) => bytes,
            None => base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(|_| SealError::Key)?,
        };
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|_| SealError::Key)?;
        Ok(SealingKey(LessSafeKey::new(key)))
    }

    /// Encrypts. `place` (destination and name of the secret) is authenticated, so that a sealed
    /// secret cannot be moved to another destination.
    pub fn seal(&self, place: &str, secret: &str) -> Result<String, SealError> {
        let mut nonce = [0u8; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
        let mut bytes = secret.as_bytes().to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.as_bytes()),
                &mut bytes,
            )
            .map_err(|_| SealError::Sealed)?;
        let mut sealed = nonce.to_vec();
        sealed.append(&mut bytes);
        let text = base64::engine::general_purpose::STANDARD.encode(sealed);
        Ok(format!("{SEALED_V1}{text}"))
    }

    /// Decrypts what [`SealingKey::seal`] made for the same place.
    pub fn open(&self, place: &str, sealed: &str) -> Result<String, SealError> {
        let text = sealed.strip_prefix(SEALED_V1).ok_or(SealError::Sealed)?;
        let mut bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|_| SealError::Sealed)?;
        if bytes.len() < NONCE_LEN {
            return Err(SealError::Sealed);
        }
        let mut cipher = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(|_| SealError::Sealed)?;
        let clear = self
            .0
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut cipher)
            .map_err(|_| SealError::Sealed)?;
        String::from_utf8(clear.to_vec()).map_err(|_| SealError::Sealed)
    }
}

/// True for the form [`SealingKey::seal`] makes.
pub fn is_sealed(text: &str) -> bool {
    text.starts_with(SEALED_V1)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_names_only() {
        let secrets: Secrets = [("token", "s3cr3t-value")].into_iter().collect();
        assert_eq!(format!("{secrets:?}"), "{\"token\"}");
    }

    #[test]
    fn masks_every_form() {
        let secrets: Secrets = [
            ("token", "s3cr3t/va lue"),
            ("url", "https://hooks.example.com/services/T0/B0/abcdef"),
            ("pin", "1"),
        ]
        .into_iter()
        .collect();
        let basic = base64::engine::general_purpose::STANDARD.encode("s3cr3t/va lue:");
        let text = format!(
            "1 s3cr3t/va lue | s3cr3t%2Fva+lue | Basic {basic} | /services/T0/B0/abcdef | \
             https://hooks.example.com/services/T0/B0/abcdef"
        );
        assert_eq!(secrets.mask(&text), "1 *** | *** | Basic *** | *** | ***");
    }

    #[test]
    fn seals_and_opens() {
        let key = SealingKey::parse(&"0f".repeat(32)).unwrap();
        let sealed = key.seal("crm/token", "geheim").unwrap();
        assert!(is_sealed(&sealed) && !sealed.contains("geheim"));
        assert_ne!(sealed, key.seal("crm/token", "geheim").unwrap());
        assert_eq!(key.open("crm/token", &sealed).unwrap(), "geheim");
        assert_eq!(key.open("other/token", &sealed), Err(SealError::Sealed));
        let other = SealingKey::parse(&"10".repeat(32)).unwrap();
        assert_eq!(other.open("crm/token", &sealed), Err(SealError::Sealed));
        for damaged in ["", "cdp1:", "cdp1:AAAA", "cdp1:%%%", "cdp2:AAAA"] {
            assert_eq!(key.open("crm/token", damaged), Err(SealError::Sealed));
        }
    }

    #[test]
    fn keys_have_32_bytes() {
        let text = base64::engine::general_purpose::STANDARD.encode([7u8; 32]);
        assert!(SealingKey::parse(&format!(" {text}\n")).is_ok());
        for bad in ["", "abc", &"0f".repeat(31), &"zz".repeat(32)] {
            assert_eq!(SealingKey::parse(bad).err(), Some(SealError::Key));
        }
    }
}
