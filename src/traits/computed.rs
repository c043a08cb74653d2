//! The values of a person's computed traits and scores as one compact value in the profile's row.
//!
//! Layout: version 1, then for each trait, by id: id, microseconds of the last change since 1970,
//! length and JSON text of the value (of a score: what `scoring::stored` writes). Integers are LEB128.

use crate::error::{state, Error, Result};
use cdp_value::{Timestamp, Value};
use std::fmt::Write;
use std::ops::Range;

const VERSION: u8 = 1;

/// A value as JSON text, and when it last changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    pub updated_at: Timestamp,
    pub json: &'a str,
}

/// What a value was replaced by, as JSON; null where there was none.
pub struct Replaced<'a> {
    pub old: &'a str,
    pub new: &'a str,
}

/// Values by trait id. A trait whose value is blank has no entry, unless it had a value before: what is stored of a
/// person does not grow with the number of definitions that have nothing to do with the person.
#[derive(Clone, Default)]
pub struct Computed {
    /// Ascending by id.
    entries: Vec<Stored>,
    /// The texts of all values, one after the other, and of those that were replaced.
    texts: String,
}

#[derive(Clone)]
struct Stored {
    trait_id: i32,
    updated_at: Timestamp,
    /// Where in `texts` its JSON is.
    json: Range<usize>,
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
    pub fn get(&self, trait_id: i32) -> Option<Entry<'_>> {
        let entry = self.entries.get(self.position(trait_id).ok()?)?;
        Some(Entry { updated_at: entry.updated_at, json: self.text(&entry.json) })
    }

    fn position(&self, trait_id: i32) -> std::result::Result<usize, usize> {
        self.entries.binary_search_by_key(&trait_id, |entry| entry.trait_id)
    }

    fn text(&self, range: &Range<usize>) -> &str {
        self.texts.get(range.clone()).unwrap_or("null")
    }

    /// Notes a value; returns what it replaces when that is another one.
    pub fn set(&mut self, trait_id: i32, value: &Value, at: Timestamp) -> Option<Replaced<'_>> {
        self.set_written(trait_id, is_blank(value), at, |texts| {
            // Writing to a String cannot fail.
            let _ = write!(texts, "{value}");
        })
    }

    /// As [`Computed::set`], for a value that is JSON already, and not blank.
    pub fn set_json(&mut self, trait_id: i32, json: &str, at: Timestamp) -> Option<Replaced<'_>> {
        self.set_written(trait_id, false, at, |texts| texts.push_str(json))
    }

    fn set_written(
        &mut self,
        trait_id: i32,
        is_blank: bool,
        at: Timestamp,
        write: impl FnOnce(&mut String),
    ) -> Option<Replaced<'_>> {
        let position = self.position(trait_id);
        if is_blank && position.is_err() {
            return None;
        }
        let start = self.texts.len();
        write(&mut self.texts);
        let json = start..self.texts.len();
        let old = match position {
            Ok(position) => {
                let known = self.entries.get(position)?.json.clone();
                if self.text(&known) == self.text(&json) {
                    self.texts.truncate(start);
                    return None;
                }
                let entry = self.entries.get_mut(position)?;
                entry.updated_at = at;
                entry.json = json.clone();
                Some(known)
            }
            Err(position) => {
                self.entries.insert(position, Stored { trait_id, updated_at: at, json: json.clone() });
                None
            }
        };
        Some(Replaced { old: old.map_or("null", |old| self.text(&old)), new: self.text(&json) })
    }

    /// Drops the values of traits that no longer exist.
    pub fn keep(&mut self, exists: impl Fn(i32) -> bool) {
        self.entries.retain(|entry| exists(entry.trait_id));
    }

    pub fn encode(&self) -> Vec<u8> {
        if self.entries.is_empty() {
            return Vec::new();
        }
        let mut bytes = Vec::with_capacity(11 * self.entries.len() + self.texts.len() + 1);
        bytes.push(VERSION);
        for entry in &self.entries {
            let json = self.text(&entry.json);
            write_integer(&mut bytes, u64::from(entry.trait_id.unsigned_abs()));
            write_integer(&mut bytes, entry.updated_at.max(0).unsigned_abs());
            write_integer(&mut bytes, json.len() as u64);
            bytes.extend_from_slice(json.as_bytes());
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
        // With room for some values to be replaced.
        computed.texts.reserve(rest.len());
        computed.entries.reserve(rest.len() / 10);
        while !rest.is_empty() {
            let id = read(&mut rest)?;
            let updated_at = read(&mut rest)?;
            let length = usize::try_from(read(&mut rest)?).map_err(|_| corrupt("a bad length"))?;
            let json = rest.get(..length).ok_or_else(|| corrupt("too few bytes"))?;
            rest = &rest[length..];
            let json = std::str::from_utf8(json).map_err(|_| corrupt("text that is not UTF-8"))?;
            let trait_id = i32::try_from(id).map_err(|_| corrupt("a bad id"))?;
            let updated_at = i64::try_from(updated_at).map_err(|_| corrupt("a bad time"))?;
            if computed.entries.last().is_some_and(|last| last.trait_id >= trait_id) {
                return Err(corrupt("ids out of order"));
            }
            let start = computed.texts.len();
            computed.texts.push_str(json);
            computed.entries.push(Stored { trait_id, updated_at, json: start..computed.texts.len() });
        }
        Ok(computed)
    }
}

fn corrupt(what: &str) -> Error {
    Error::new(state::CORRUPT_STATE, format!("the stored trait values of a profile have {what}"))
        .hint("SELECT cdp.rebuild(id) computes them again from the person's events.")
}

fn write_integer(bytes: &mut Vec<u8>, mut value: u64) {
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
