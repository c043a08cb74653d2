//! The coding of values, and their hash.

use crate::bytes::{put, put_signed_128, Reader};
use crate::property::Held;
use crate::StateError;
use bigdecimal::num_bigint::BigInt;
use cdp_value::{Decimal, Value};
use std::sync::{Arc, LazyLock};

/// How deep a stored value may be nested; those that are kept are less deep.
const DEPTH_LIMIT: usize = 200;

/// Where coded bytes go: a buffer, a counter or a hash.
trait Sink {
    fn byte(&mut self, byte: u8);
    fn integer(&mut self, value: u64);
    fn wide_integer(&mut self, value: i128);
    fn slice(&mut self, bytes: &[u8]);
    /// Whether more bytes would change nothing any more.
    fn is_full(&self) -> bool {
        false
    }
}

impl Sink for Vec<u8> {
    fn byte(&mut self, byte: u8) {
        self.push(byte);
    }

    fn integer(&mut self, value: u64) {
        put(self, value);
    }

    fn wide_integer(&mut self, value: i128) {
        put_signed_128(self, value);
    }

    fn slice(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

struct Limited {
    length: usize,
    limit: usize,
}

impl Sink for Limited {
    fn byte(&mut self, _: u8) {
        self.length += 1;
    }

    fn integer(&mut self, value: u64) {
        self.length += (70 - value.leading_zeros() as usize) / 7;
    }

    fn wide_integer(&mut self, value: i128) {
        self.length += (134 - value.unsigned_abs().leading_zeros() as usize) / 7;
    }

    fn slice(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
    }

    fn is_full(&self) -> bool {
        self.length > self.limit
    }
}

const TAG_NULL: u8 = 0;
const TAG_FALSE: u8 = 1;
const TAG_TRUE: u8 = 2;
const TAG_INTEGER: u8 = 3;
const TAG_DECIMAL: u8 = 4;
const TAG_WIDE_NUMBER: u8 = 5;
const TAG_TEXT: u8 = 6;
const TAG_ARRAY: u8 = 7;
const TAG_OBJECT: u8 = 8;
const TAG_LARGE_NUMBER: u8 = 9;
const TAG_LARGE_OTHER: u8 = 10;
/// A value of the slot's dictionary.
const TAG_REFERENCE: u8 = 11;
/// Numbers with one and two digits after the point: prices.
const TAG_TENTHS: u8 = 12;
const TAG_HUNDREDTHS: u8 = 13;
/// The first values of the dictionary, in the tag itself.
const TAG_SMALL_REFERENCE: u8 = 32;
const SMALL_REFERENCES: u8 = TAG_SMALL_INTEGER - TAG_SMALL_REFERENCE;
/// Whole numbers from 0 on, in the tag itself.
const TAG_SMALL_INTEGER: u8 = 64;
const SMALL_INTEGERS: i64 = 256 - 64;

fn write_number(out: &mut impl Sink, number: &Decimal) {
    if let Some(whole) = number.to_i64() {
        match u8::try_from(whole) {
            Ok(small) if whole < SMALL_INTEGERS => out.byte(TAG_SMALL_INTEGER + small),
            _ => {
                out.byte(TAG_INTEGER);
                out.integer(((whole << 1) ^ (whole >> 63)) as u64);
            }
        }
        return;
    }
    let (digits, scale) = number.to_parts();
    match i128::try_from(&digits) {
        Ok(small) => {
            match scale {
                1 => out.byte(TAG_TENTHS),
                2 => out.byte(TAG_HUNDREDTHS),
                _ => {
                    out.byte(TAG_DECIMAL);
                    out.integer(scale.unsigned_abs());
                }
            }
            out.wide_integer(small);
        }
        Err(_) => {
            out.byte(TAG_WIDE_NUMBER);
            out.integer(scale.unsigned_abs());
            let bytes = digits.to_signed_bytes_le();
            out.integer(bytes.len() as u64);
            out.slice(&bytes);
        }
    }
}

fn write_value(out: &mut impl Sink, value: &Value) {
    match value {
        Value::Null => out.byte(TAG_NULL),
        Value::Bool(false) => out.byte(TAG_FALSE),
        Value::Bool(true) => out.byte(TAG_TRUE),
        Value::Number(number) => write_number(out, number),
        Value::Text(text) => {
            out.byte(TAG_TEXT);
            out.integer(text.len() as u64);
            out.slice(text.as_bytes());
        }
        Value::Array(items) => {
            out.byte(TAG_ARRAY);
            out.integer(items.len() as u64);
            for item in items {
                if out.is_full() {
                    return;
                }
                write_value(out, item);
            }
        }
        Value::Object(members) => {
            out.byte(TAG_OBJECT);
            out.integer(members.len() as u64);
            for (key, item) in members {
                if out.is_full() {
                    return;
                }
                out.integer(key.len() as u64);
                out.slice(key.as_bytes());
                write_value(out, item);
            }
        }
    }
}

/// Length of a value's coding, or some length above `limit`.
pub(crate) fn coded_length(value: &Value, limit: usize) -> usize {
    let mut sink = Limited { length: 0, limit };
    write_value(&mut sink, value);
    sink.length
}

/// Appends a number.
pub(crate) fn put_number(out: &mut Vec<u8>, number: &Decimal) {
    write_number(out, number);
}

/// Appends a value.
pub(crate) fn put_value(out: &mut Vec<u8>, value: &Value) {
    write_value(out, value);
}

/// Appends a kept property. Values of the dictionary (sorted by [`Value::total_cmp`]) are written
/// as a reference to it.
pub(crate) fn put_held(out: &mut Vec<u8>, held: &Held, dictionary: &[Arc<Value>]) {
    match held {
        Held::Absent => out.push(TAG_NULL),
        Held::Number(number) => put_number(out, number),
        Held::Other(value) => match dictionary.binary_search_by(|known| known.total_cmp(value)) {
            Ok(index) => match u8::try_from(index) {
                Ok(index) if index < SMALL_REFERENCES => out.push(TAG_SMALL_REFERENCE + index),
                _ => {
                    out.push(TAG_REFERENCE);
                    put(out, index as u64);
                }
            },
            Err(_) => put_value(out, value),
        },
        Held::LargeNumber => out.push(TAG_LARGE_NUMBER),
        Held::LargeOther => out.push(TAG_LARGE_OTHER),
    }
}

/// Reads what [`put_held`] wrote.
pub(crate) fn take_held(
    reader: &mut Reader<'_>,
    dictionary: &[Arc<Value>],
) -> Result<Held, StateError> {
    let tag = reader.byte()?;
    Ok(match tag {
        TAG_NULL => Held::Absent,
        TAG_LARGE_NUMBER => Held::LargeNumber,
        TAG_LARGE_OTHER => Held::LargeOther,
        TAG_REFERENCE => {
            let index = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
            referred(dictionary, index)?
        }
        TAG_SMALL_REFERENCE..TAG_SMALL_INTEGER => {
            referred(dictionary, usize::from(tag - TAG_SMALL_REFERENCE))?
        }
        _ => match take_tagged(reader, tag, 0)? {
            Value::Number(number) => Held::Number(number),
            other => Held::Other(Arc::new(other)),
        },
    })
}

fn referred(dictionary: &[Arc<Value>], index: usize) -> Result<Held, StateError> {
    let value = dictionary
        .get(index)
        .ok_or(StateError::Damaged("a value is not in the dictionary"))?;
    Ok(Held::Other(Arc::clone(value)))
}

/// Reads a number.
pub(crate) fn take_number(reader: &mut Reader<'_>) -> Result<Decimal, StateError> {
    match take_value(reader)? {
        Value::Number(number) => Ok(number),
        _ => Err(StateError::Damaged("a value is not a number")),
    }
}

/// Reads a value.
pub(crate) fn take_value(reader: &mut Reader<'_>) -> Result<Value, StateError> {
    let tag = reader.byte()?;
    take_tagged(reader, tag, 0)
}

fn take_tagged(reader: &mut Reader<'_>, tag: u8, depth: usize) -> Result<Value, StateError> {
    if depth > DEPTH_LIMIT {
        return Err(StateError::Damaged("a value is nested too deeply"));
    }
    Ok(match tag {
        TAG_NULL => Value::Null,
        TAG_FALSE => Value::Bool(false),
        TAG_TRUE => Value::Bool(true),
        TAG_INTEGER => Value::Number(Decimal::from(reader.signed()?)),
        TAG_TENTHS => Value::Number(price(reader.signed_128()?, 1, &TENTH)?),
        TAG_HUNDREDTHS => Value::Number(price(reader.signed_128()?, 2, &HUNDREDTH)?),
        TAG_DECIMAL => {
            let scale = reader.varint()?;
            Value::Number(decimal(BigInt::from(reader.signed_128()?), scale)?)
        }
        TAG_WIDE_NUMBER => {
            let scale = reader.varint()?;
            let bytes = reader.bytes()?;
            Value::Number(decimal(BigInt::from_signed_bytes_le(bytes), scale)?)
        }
        TAG_TEXT => Value::Text(take_text(reader)?),
        TAG_ARRAY => {
            let count = reader.count(1)?;
            let mut items = Vec::with_capacity(count.min(DEPTH_LIMIT));
            for _ in 0..count {
                let tag = reader.byte()?;
                items.push(take_tagged(reader, tag, depth + 1)?);
            }
            Value::Array(items)
        }
        TAG_OBJECT => {
            let count = reader.count(2)?;
            let mut members = Vec::with_capacity(count.min(DEPTH_LIMIT));
            for _ in 0..count {
                let key = take_text(reader)?;
                let tag = reader.byte()?;
                members.push((key, take_tagged(reader, tag, depth + 1)?));
            }
            Value::Object(members)
        }
        TAG_SMALL_INTEGER.. => Value::Number(Decimal::from(i64::from(tag - TAG_SMALL_INTEGER))),
        _ => return Err(StateError::Damaged("a value has an unknown type")),
    })
}

fn take_text(reader: &mut Reader<'_>) -> Result<String, StateError> {
    std::str::from_utf8(reader.bytes()?)
        .map(str::to_owned)
        .map_err(|_| StateError::Damaged("a text is not UTF-8"))
}

static TENTH: LazyLock<Option<Decimal>> = LazyLock::new(|| Decimal::parse("0.1"));
static HUNDREDTH: LazyLock<Option<Decimal>> = LazyLock::new(|| Decimal::parse("0.01"));

/// A number with few digits after the point, without the detour over big integers if possible.
fn price(digits: i128, scale: u64, unit: &Option<Decimal>) -> Result<Decimal, StateError> {
    let small = i64::try_from(digits).ok().map(Decimal::from);
    let product = small.and_then(|small| small.checked_mul(unit.as_ref()?));
    product.map_or_else(|| decimal(BigInt::from(digits), scale), Ok)
}

fn decimal(digits: BigInt, scale: u64) -> Result<Decimal, StateError> {
    i64::try_from(scale)
        .ok()
        .and_then(|scale| Decimal::from_parts(digits, scale))
        .ok_or(StateError::Damaged("a number is out of range"))
}

/// A hash that is the same in every build and on every machine: it is stored.
struct Hash {
    state: u64,
}

impl Hash {
    fn mix(&mut self, word: u64) {
        // Odd constant: the fractional digits of the golden ratio.
        let product = (self.state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.state = product ^ (product >> 29);
    }
}

impl Sink for Hash {
    fn byte(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    fn integer(&mut self, value: u64) {
        self.mix(value);
    }

    fn wide_integer(&mut self, value: i128) {
        self.mix(value as u64);
        self.mix((value >> 64) as u64);
    }

    fn slice(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.mix(u64::from_le_bytes(word));
        }
    }
}

/// Hash of a value: equal values have equal hashes.
pub(crate) fn hash(value: &Value) -> u64 {
    let mut hash = Hash { state: 0x5eed };
    write_value(&mut hash, value);
    // The finishing steps of MurmurHash3: every bit of the state reaches every bit of the result.
    let mut state = hash.state;
    state ^= state >> 33;
    state = state.wrapping_mul(0xff51_afd7_ed55_8ccd);
    state ^= state >> 33;
    state = state.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    state ^ (state >> 33)
}

/// Appends a list of values, each once and in order: a dictionary.
pub(crate) fn put_dictionary(out: &mut Vec<u8>, dictionary: &[Arc<Value>]) {
    put(out, dictionary.len() as u64);
    for value in dictionary {
        put_value(out, value);
    }
}

/// Reads what [`put_dictionary`] wrote.
pub(crate) fn take_dictionary(reader: &mut Reader<'_>) -> Result<Vec<Arc<Value>>, StateError> {
    let count = reader.count(1)?;
    let mut dictionary = Vec::with_capacity(count);
    for _ in 0..count {
        dictionary.push(Arc::new(take_value(reader)?));
    }
    Ok(dictionary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Value {
        Value::Number(Decimal::parse(text).unwrap())
    }

    fn samples() -> Vec<Value> {
        let mut values = vec![
            Value::Null,
            Value::Bool(true),
            Value::Bool(false),
            Value::Text(String::new()),
            Value::Text("Bücher".to_owned()),
            Value::Array(vec![number("1"), Value::Null]),
            Value::Object(vec![("a".to_owned(), Value::Array(vec![]))]),
        ];
        for text in [
            "0",
            "191",
            "192",
            "-1",
            "19.99",
            "0.5",
            "-0.125",
            "9223372036854775807",
            "1e38",
            "1e39",
            "-1e39",
            "1e-60",
            "33.333333333333336",
        ] {
            values.push(number(text));
        }
        values
    }

    #[test]
    fn values_round_trip() {
        for value in samples() {
            let mut out = Vec::new();
            put_value(&mut out, &value);
            let mut reader = Reader::new(&out);
            assert_eq!(take_value(&mut reader).unwrap(), value);
            reader.finish().unwrap();
        }
    }

    #[test]
    fn common_numbers_are_short() {
        for (text, length) in [("5", 1), ("500", 3), ("0.5", 2), ("19.99", 3), ("100", 1)] {
            let mut out = Vec::new();
            put_value(&mut out, &number(text));
            assert_eq!(out.len(), length, "{text}");
        }
    }

    #[test]
    fn hashes_do_not_change() {
        // Stored states depend on these.
        assert_eq!(hash(&Value::Text("shoes".to_owned())), HASH_OF_SHOES);
        assert_eq!(hash(&number("1.0")), hash(&number("1")));
        let hashes: std::collections::HashSet<u64> = samples().iter().map(hash).collect();
        assert_eq!(hashes.len(), samples().len());
    }

    const HASH_OF_SHOES: u64 = 9_227_804_196_061_193_772;

    #[test]
    fn hostile_values_are_refused() {
        let deep = [TAG_ARRAY, 1].repeat(10_000);
        assert!(take_value(&mut Reader::new(&deep)).is_err());
        assert!(take_value(&mut Reader::new(&[TAG_ARRAY, 0xff, 0xff, 3])).is_err());
        assert!(take_value(&mut Reader::new(&[TAG_TEXT, 1, 0xff])).is_err());
        assert!(take_value(&mut Reader::new(&[TAG_DECIMAL, 0xff, 0xff, 3, 1])).is_err());
    }
}
