//! Postgres' binary JSON, read where it lies: without printing and parsing it, and only what is asked for.
//!
//! A container is a header, four bytes for each of its items (the type, and the length or for some items the end), and
//! the items one after the other. An object has its keys first, by length and then by their bytes, and then their
//! values. Numbers and inner containers start at multiples of four. Everything is in the machine's byte order.

use crate::{Decimal, Value};
use std::cmp::Ordering;

/// Deeper values are left to others.
const DEPTH: usize = 256;

/// Of a container's header.
mod header {
    pub(super) const COUNT: u32 = 0x0FFF_FFFF;
    pub(super) const IS_SCALAR: u32 = 0x1000_0000;
    pub(super) const IS_OBJECT: u32 = 0x2000_0000;
    pub(super) const IS_ARRAY: u32 = 0x4000_0000;
}

/// Of an item's entry.
mod entry {
    pub(super) const LENGTH: u32 = 0x0FFF_FFFF;
    pub(super) const TYPE: u32 = 0x7000_0000;
    /// The length is that of all items up to the end of this one.
    pub(super) const IS_END: u32 = 0x8000_0000;

    pub(super) const TEXT: u32 = 0x0000_0000;
    pub(super) const NUMBER: u32 = 0x1000_0000;
    pub(super) const FALSE: u32 = 0x2000_0000;
    pub(super) const TRUE: u32 = 0x3000_0000;
    pub(super) const NULL: u32 = 0x4000_0000;
    pub(super) const CONTAINER: u32 = 0x5000_0000;
}

/// A stored jsonb, without its length.
///
/// What is not understood (damage, or nesting without end) is None, never a panic: Postgres itself has to be asked.
#[derive(Debug, Clone, Copy)]
pub struct Jsonb<'a>(pub &'a [u8]);

impl Jsonb<'_> {
    /// All of it.
    pub fn value(self) -> Option<Value> {
        Container::read(self.0)?.value(0)
    }

    /// An object of some members only, which are given in order; what is not an object is given as a whole.
    pub fn members(self, keys: &[String]) -> Option<Value> {
        let container = Container::read(self.0)?;
        if !container.is_object() {
            return container.value(0);
        }
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some(item) = container.member(key)? {
                found.push((key.clone(), item.value(0)?));
            }
        }
        Some(Value::Object(found))
    }

    /// What a path of member names leads to; null when it leads nowhere. None also when it leads through a list.
    pub fn lookup(self, path: &[String]) -> Option<Value> {
        let mut container = Container::read(self.0)?;
        let mut rest = path;
        while let Some((name, further)) = rest.split_first() {
            if !container.is_object() {
                return container.is_scalar().then_some(Value::Null);
            }
            let Some(item) = container.member(name)? else {
                return Some(Value::Null);
            };
            match item.kind {
                _ if further.is_empty() => return item.value(0),
                entry::CONTAINER => container = Container::read(item.aligned()?)?,
                _ => return Some(Value::Null),
            }
            rest = further;
        }
        container.value(0)
    }
}

fn word(bytes: &[u8], position: usize) -> Option<u32> {
    let four = bytes.get(position..position.checked_add(4)?)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

fn half(bytes: &[u8], position: usize) -> Option<u16> {
    let two = bytes.get(position..position.checked_add(2)?)?;
    Some(u16::from_ne_bytes(two.try_into().ok()?))
}

/// An object, a list, or a list of one that stands for a scalar.
struct Container<'a> {
    header: u32,
    entries: &'a [u8],
    items: &'a [u8],
}

/// One item of a container.
struct Item<'a> {
    kind: u32,
    items: &'a [u8],
    start: usize,
    end: usize,
}

impl<'a> Container<'a> {
    fn read(bytes: &'a [u8]) -> Option<Container<'a>> {
        let header = word(bytes, 0)?;
        if header & (header::IS_OBJECT | header::IS_ARRAY) == 0 {
            return None;
        }
        let is_object = header & header::IS_OBJECT != 0;
        let count = (header & header::COUNT) as usize * if is_object { 2 } else { 1 };
        let (entries, items) = bytes.get(4..)?.split_at_checked(count.checked_mul(4)?)?;
        Some(Container {
            header,
            entries,
            items,
        })
    }

    fn is_object(&self) -> bool {
        self.header & header::IS_OBJECT != 0
    }

    fn is_scalar(&self) -> bool {
        self.header & header::IS_SCALAR != 0
    }

    /// Number of members or list items.
    fn count(&self) -> usize {
        (self.header & header::COUNT) as usize
    }

    fn entry(&self, index: usize) -> Option<u32> {
        word(self.entries, index.checked_mul(4)?)
    }

    /// Where an item starts.
    fn start(&self, index: usize) -> Option<usize> {
        let mut start = 0usize;
        for before in (0..index).rev() {
            let entry = self.entry(before)?;
            start = start.checked_add((entry & entry::LENGTH) as usize)?;
            if entry & entry::IS_END != 0 {
                break;
            }
        }
        Some(start)
    }

    /// An item whose start is known.
    fn item_at(&self, index: usize, start: usize) -> Option<Item<'a>> {
        let entry = self.entry(index)?;
        let length = (entry & entry::LENGTH) as usize;
        let end = match entry & entry::IS_END {
            0 => start.checked_add(length)?,
            _ => length,
        };
        Some(Item {
            kind: entry & entry::TYPE,
            items: self.items,
            start,
            end,
        })
    }

    /// The value of a key; None inside when there is none.
    #[allow(clippy::option_option)]
    fn member(&self, key: &str) -> Option<Option<Item<'a>>> {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low + (high - low) / 2;
            let known = self.item_at(middle, self.start(middle)?)?.bytes()?;
            let order = known.len().cmp(&key.len());
            match order.then_with(|| known.cmp(key.as_bytes())) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => {
                    let index = self.count() + middle;
                    return self.item_at(index, self.start(index)?).map(Some);
                }
            }
        }
        Some(None)
    }

    fn value(&self, depth: usize) -> Option<Value> {
        if depth > DEPTH {
            return None;
        }
        let mut start = 0;
        let mut next = |index| {
            let item = self.item_at(index, start)?;
            start = item.end;
            Some(item)
        };
        if !self.is_object() {
            let items = (0..self.count()).map(|index| next(index)?.value(depth + 1));
            let mut items = items.collect::<Option<Vec<Value>>>()?;
            return if self.is_scalar() {
                items.pop()
            } else {
                Some(Value::Array(items))
            };
        }
        let count = self.count();
        let keys = (0..count).map(|index| next(index)?.text());
        let keys = keys.collect::<Option<Vec<String>>>()?;
        let mut members = Vec::with_capacity(count);
        for (index, key) in keys.into_iter().enumerate() {
            members.push((key, next(count + index)?.value(depth + 1)?));
        }
        members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Some(Value::Object(members))
    }
}

impl<'a> Item<'a> {
    fn bytes(&self) -> Option<&'a [u8]> {
        self.items.get(self.start..self.end)
    }

    /// The bytes of a number or a container, without those that fill up to a multiple of four.
    fn aligned(&self) -> Option<&'a [u8]> {
        self.items
            .get(self.start.checked_next_multiple_of(4)?..self.end)
    }

    fn text(&self) -> Option<String> {
        let text = String::from_utf8_lossy(self.bytes()?);
        Some(text.into_owned())
    }

    fn value(&self, depth: usize) -> Option<Value> {
        Some(match self.kind {
            entry::TEXT => Value::Text(self.text()?),
            entry::NUMBER => number(self.aligned()?)?,
            entry::FALSE => Value::Bool(false),
            entry::TRUE => Value::Bool(true),
            entry::NULL => Value::Null,
            entry::CONTAINER => Container::read(self.aligned()?)?.value(depth)?,
            _ => return None,
        })
    }
}

/// A stored numeric with its length. As read from text, a number beyond the range is null.
fn number(bytes: &[u8]) -> Option<Value> {
    const SHORT: u16 = 0x8000;
    const KIND: u16 = 0xC000;
    const LONG_NEGATIVE: u16 = 0x4000;
    /// Beyond it, what was written may be too long to be read as a number.
    const PLAIN_SCALE: u16 = 1000;

    let length_is_short = match cfg!(target_endian = "little") {
        true => bytes.first()? & 1 == 1,
        false => bytes.first()? & 0x80 != 0,
    };
    if length_is_short {
        return None;
    }
    let header = half(bytes, 4)?;
    let (is_negative, scale, weight, first) = match header & KIND {
        SHORT => {
            let low = i64::from(header & 0x3F);
            let weight = if header & 0x40 != 0 { low - 64 } else { low };
            (header & 0x2000 != 0, (header & 0x1F80) >> 7, weight, 6)
        }
        // Not a number, or an infinity.
        KIND => return None,
        sign => {
            let weight = i16::from_ne_bytes(half(bytes, 6)?.to_ne_bytes());
            let scale = header & 0x3FFF;
            (sign == LONG_NEGATIVE, scale, i64::from(weight), 8)
        }
    };
    if scale > PLAIN_SCALE {
        return None;
    }
    let digits = bytes.get(first..)?.chunks_exact(2);
    let digits = digits.map(|two| two.try_into().map_or(0, u16::from_ne_bytes));
    Some(Decimal::from_myriads(is_negative, digits, weight).map_or(Value::Null, Value::Number))
}
