//! The values of a person's computed traits and scores as one compact value in the profile's row.
//!
//! Layout: version 1, then for each trait, by id: id, microseconds of the last change since 1970,
//! length and JSON text of the value (of a score: what `scoring::stored` writes). Integers are LEB128.

use crate::error::{state, Error, Result};
use cdp_value::{Timestamp, Value};
use std::collections::BTreeMap;

const VERSION: u8 = 1;

/// A value as JSON text, and when it last changed.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    pub updated_at: Timestamp,
    pub json: String,
}

/// Values by trait id. A trait whose value is blank has no entry, unless it had a value before: what is stored of a
/// person does not grow with the number of definitions that have nothing to do with the person.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Computed {
    entries: BTreeMap<i32, Entry>,
}

/// Whether a value says that there is nothing: null, false, 0 or an empty list.
pub fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.is_zero(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

impl Computed {
    pub fn get(&self, trait_id: i32) -> Option<&Entry> {
        self.entries.get(&trait_id)
    }

    /// Notes a value; returns the JSON of the one before when it is another one.
    pub fn set(&mut self, trait_id: i32, value: &Value, at: Timestamp) -> Option<String> {
        self.set_json(trait_id, value.to_json().to_string(), is_blank(value), at)
    }

    /// As [`Computed::set`], for a value that is JSON already.
    pub fn set_json(&mut self, trait_id: i32, json: String, is_blank: bool, at: Timestamp) -> Option<String> {
        match self.entries.get_mut(&trait_id) {
            Some(entry) if entry.json == json => None,
            Some(entry) => {
                entry.updated_at = at;
                Some(std::mem::replace(&mut entry.json, json))
            }
            None if is_blank => None,
            None => {
                self.entries.insert(trait_id, Entry { updated_at: at, json });
                Some("null".to_string())
            }
        }
    }

    /// Drops the values of traits that no longer exist.
    pub fn keep(&mut self, exists: impl Fn(i32) -> bool) {
        self.entries.retain(|id, _| exists(*id));
    }

    pub fn encode(&self) -> Vec<u8> {
        if self.entries.is_empty() {
            return Vec::new();
        }
        let mut bytes = Vec::with_capacity(16 * self.entries.len() + 1);
        bytes.push(VERSION);
        for (id, entry) in &self.entries {
            write(&mut bytes, u64::from(id.unsigned_abs()));
            write(&mut bytes, entry.updated_at.max(0).unsigned_abs());
            write(&mut bytes, entry.json.len() as u64);
            bytes.extend_from_slice(entry.json.as_bytes());
        }
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Computed> {
        let mut computed = Computed::default();
        let Some((version, mut rest)) = bytes.split_first() else {
            return Ok(computed);
        };
        if *version != VERSION {
            return Err(corrupt("an unknown version"));
        }
        while !rest.is_empty() {
            let id = read(&mut rest)?;
            let updated_at = read(&mut rest)?;
            let length = usize::try_from(read(&mut rest)?).map_err(|_| corrupt("a bad length"))?;
            let json = rest.get(..length).ok_or_else(|| corrupt("too few bytes"))?;
            rest = &rest[length..];
            let json = std::str::from_utf8(json).map_err(|_| corrupt("text that is not UTF-8"))?;
            let id = i32::try_from(id).map_err(|_| corrupt("a bad id"))?;
            let updated_at = i64::try_from(updated_at).map_err(|_| corrupt("a bad time"))?;
            computed.entries.insert(id, Entry { updated_at, json: json.to_string() });
        }
        Ok(computed)
    }
}

fn corrupt(what: &str) -> Error {
    Error::new(state::CORRUPT_STATE, format!("the stored trait values of a profile have {what}"))
        .hint("SELECT cdp.rebuild(id) computes them again from the person's events.")
}

fn write(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value as u8) | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn read(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or_else(|| corrupt("too few bytes"))?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(corrupt("a number that is too long"))
}
