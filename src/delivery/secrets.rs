//! Secrets of destinations: what is stored is a reference, or sealed with a key from outside the database.

use crate::error::{state, Error, Result};
use crate::guc;
use cdp_delivery::secrets::{is_sealed, SealingKey};
use cdp_delivery::Secrets;
use serde_json::{Map, Value};

/// Environment variables that may be referred to: not every setting of the server is a destination's.
const ENVIRONMENT_PREFIX: &str = "CDP_";

const REFERENCES: &str = "A secret is env:CDP_NAME (the server's environment), file:NAME (an entry of the JSON file \
                          cdp.secrets_file), or a text that is sealed with the key of cdp.secrets_key.";

/// Which destination the secrets belong to: a sealed secret opens at its own place only.
pub struct Place<'a> {
    pub namespace_id: i32,
    pub destination: &'a str,
}

impl Place<'_> {
    fn of(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.namespace_id, self.destination)
    }
}

/// What is stored for the secrets a caller gave: references as they are, texts sealed.
pub fn store(place: &Place, given: &Map<String, Value>) -> Result<Map<String, Value>> {
    let mut stored = Map::new();
    for (name, value) in given {
        let text = match value {
            Value::Null => continue,
            Value::String(text) if is_reference(text) => reference(name, text)?,
            Value::String(text) if is_sealed(text) => {
                sealing_key()?.open(&place.of(name), text).map_err(|error| sealed_wrongly(name, &error.to_string()))?;
                text.clone()
            }
            Value::String(text) => seal(place, name, text)?,
            Value::Object(object) => match object.get("value").and_then(Value::as_str) {
                Some(text) if object.len() == 1 => seal(place, name, text)?,
                _ => return Err(malformed(name)),
            },
            _ => return Err(malformed(name)),
        };
        stored.insert(name.clone(), Value::String(text));
    }
    Ok(stored)
}

/// The secrets in clear, for the time they are needed. The error names what is missing, never a value.
pub fn open(place: &Place, stored: &Map<String, Value>) -> Result<Secrets> {
    let mut secrets = Secrets::new();
    let mut file = None;
    for (name, value) in stored {
        let text = value.as_str().unwrap_or_default();
        let clear = if let Some(variable) = text.strip_prefix("env:") {
            reference(name, text)?;
            std::env::var(variable).map_err(|_| {
                missing(name, format!("the server's environment has no {variable}"))
                    .hint("Set it for the server and restart it; what waits is sent then.")
            })?
        } else if let Some(entry) = text.strip_prefix("file:") {
            if file.is_none() {
                file = Some(read_file()?);
            }
            let found = file.as_ref().and_then(|file| file.get(entry)).and_then(Value::as_str);
            found.map(str::to_string).ok_or_else(|| {
                missing(name, format!("the file of cdp.secrets_file has no text \"{entry}\""))
                    .hint("Add it; what waits is sent within a minute.")
            })?
        } else {
            let key = key()?.ok_or_else(|| {
                Error::new(state::SECRET, format!("secret \"{name}\" is sealed, and there is no key to open it"))
                    .detail("cdp.secrets_key is empty; set it in postgresql.conf to where the key is that it was sealed with (env:NAME or a file), and reload the configuration.")
                    .hint("What waits is sent then.")
            })?;
            key.open(&place.of(name), text).map_err(|error| sealed_wrongly(name, &error.to_string()))?
        };
        secrets.insert(name.as_str(), clear);
    }
    Ok(secrets)
}

fn is_reference(text: &str) -> bool {
    text.starts_with("env:") || text.starts_with("file:")
}

fn reference(name: &str, text: &str) -> Result<String> {
    match text.strip_prefix("env:") {
        Some(variable) if !variable.starts_with(ENVIRONMENT_PREFIX) => Err(Error::new(
            state::SECRET,
            format!("secret \"{name}\" refers to a variable that is not for destinations"),
        )
        .detail(format!("\"{variable}\" does not begin with {ENVIRONMENT_PREFIX}."))
        .hint(REFERENCES)),
        _ => Ok(text.to_string()),
    }
}

fn seal(place: &Place, name: &str, clear: &str) -> Result<String> {
    sealing_key()?.seal(&place.of(name), clear).map_err(|error| {
        Error::new(state::SECRET, format!("secret \"{name}\" could not be sealed")).detail(error.to_string())
    })
}

/// The key, when to store something with it.
fn sealing_key() -> Result<SealingKey> {
    key()?.ok_or_else(|| {
        Error::new(state::SECRET, "a secret in clear needs a key to seal it, and there is none")
            .detail("The setting cdp.secrets_key is empty.")
            .hint("Set cdp.secrets_key in postgresql.conf to env:NAME or to the path of a file with 32 random bytes in base64 (openssl rand -base64 32) and reload the configuration, or refer to the secret: env:CDP_NAME, file:NAME.")
    })
}

/// The key of the configuration; None: none is set.
fn key() -> Result<Option<SealingKey>> {
    let Some(setting) = guc::secrets_key() else { return Ok(None) };
    let text = match setting.strip_prefix("env:") {
        Some(variable) => {
            std::env::var(variable).map_err(|_| unusable(format!("the server's environment has no {variable}")))?
        }
        None => {
            std::fs::read_to_string(&setting).map_err(|error| unusable(format!("the file cannot be read: {error}")))?
        }
    };
    SealingKey::parse(&text).map(Some).map_err(|error| unusable(error.to_string()))
}

fn read_file() -> Result<Map<String, Value>> {
    let path = guc::secrets_file().ok_or_else(|| {
        Error::new(state::SECRET, "a secret refers to a file, and cdp.secrets_file is empty")
            .hint("Set cdp.secrets_file to the path of a JSON file: {\"NAME\": \"secret\", …}.")
    })?;
    let unreadable = |why: String| {
        Error::new(state::SECRET, "the file of cdp.secrets_file cannot be used")
            .detail(why)
            .hint("It must be one JSON object of texts.")
    };
    let text = std::fs::read_to_string(&path).map_err(|error| unreadable(error.to_string()))?;
    // The position is told, the content is not.
    serde_json::from_str(&text).map_err(|error| unreadable(format!("line {}, column {}", error.line(), error.column())))
}

fn unusable(why: String) -> Error {
    Error::new(state::SECRET, "the key of cdp.secrets_key cannot be used")
        .detail(why)
        .hint("cdp.secrets_key is env:NAME, or the path of a file that the server may read; either holds 32 random bytes in base64.")
}

fn missing(name: &str, why: String) -> Error {
    Error::new(state::SECRET, format!("secret \"{name}\" is missing")).detail(why)
}

fn sealed_wrongly(name: &str, why: &str) -> Error {
    Error::new(state::SECRET, format!("secret \"{name}\" cannot be opened"))
        .detail(why.to_string())
        .hint("Give it again with cdp.define_destination.")
}

fn malformed(name: &str) -> Error {
    Error::new(state::SECRET, format!("secret \"{name}\" is neither a text nor a reference")).hint(REFERENCES)
}
