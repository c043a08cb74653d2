//! Reading and writing the variable-length integers that everything stored consists of.
//!
//! Unsigned integers are little-endian groups of seven bits; signed ones are zigzag-coded first,
//! so that small numbers of either sign take one byte.

use crate::StateError;

/// Appends `value`.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed integer.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a signed integer of 128 bits.
pub(crate) fn put_signed_128(out: &mut Vec<u8>, value: i128) {
    let mut rest = ((value << 1) ^ (value >> 127)) as u128;
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// What is still to be read.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, StateError> {
        let (first, rest) = self.rest.split_first().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, StateError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        let mut shift = 7;
        loop {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(StateError::Damaged("an integer is too long"));
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
            if shift > 63 {
                return Err(StateError::Damaged("an integer is too long"));
            }
        }
    }

    pub(crate) fn signed(&mut self) -> Result<i64, StateError> {
        let value = self.varint()?;
        Ok(((value >> 1) as i64) ^ -((value & 1) as i64))
    }

    pub(crate) fn signed_128(&mut self) -> Result<i128, StateError> {
        let mut value = 0u128;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            if shift > 126 || (shift == 126 && bits > 3) {
                return Err(StateError::Damaged("an integer is too long"));
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(((value >> 1) as i128) ^ -((value & 1) as i128));
            }
            shift += 7;
        }
    }

    /// The number of items that follow. Each takes at least `least` bytes (≥ 1), so that a
    /// hostile number cannot make the reader reserve memory that the bytes do not back.
    pub(crate) fn count(&mut self, least: usize) -> Result<usize, StateError> {
        let count = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if count > self.rest.len() / least.max(1) {
            return Err(TRUNCATED);
        }
        Ok(count)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], StateError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(head)
    }

    /// The bytes after a length.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], StateError> {
        let length = self.count(1)?;
        self.take(length)
    }

    /// Refuses bytes after the end.
    pub(crate) fn finish(&self) -> Result<(), StateError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(StateError::Damaged("there are bytes after the end"))
        }
    }
}

const TRUNCATED: StateError = StateError::Damaged("it ends too early");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_round_trip() {
        let cases = [0, 1, -1, 63, 64, -64, -65, 1 << 40, i64::MAX, i64::MIN];
        for value in cases {
            let mut out = Vec::new();
            put(&mut out, value as u64);
            put_signed(&mut out, value);
            put_signed_128(&mut out, i128::from(value) * i128::from(value));
            put_signed_128(&mut out, i128::MIN + i128::from(value).abs());
            let mut reader = Reader::new(&out);
            assert_eq!(reader.varint().unwrap(), value as u64);
            assert_eq!(reader.signed().unwrap(), value);
            assert_eq!(
                reader.signed_128().unwrap(),
                i128::from(value) * i128::from(value)
            );
            assert_eq!(
                reader.signed_128().unwrap(),
                i128::MIN + i128::from(value).abs()
            );
            reader.finish().unwrap();
        }
    }

    #[test]
    fn endless_integers_are_refused() {
        assert!(Reader::new(&[0xff; 30]).varint().is_err());
        assert!(Reader::new(&[0xff; 30]).signed_128().is_err());
        assert!(Reader::new(&[0x80]).varint().is_err());
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0x7f]).count(1).is_err());
    }
}
