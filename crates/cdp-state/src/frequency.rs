//! How often each value came, over all time: exact for few distinct values, a sketch for many.
//!
//! The sketch is a count-min sketch (G. Cormode and S. Muthukrishnan, An improved data stream
//! summary, 2005): an estimate is never too low, and does not depend on the order of events.
//! Besides, it keeps the values that may be frequent. A value with at least a 32nd of all events
//! is always among them: at its last event its estimate was at least its number of events, and
//! there were not more events than in the end. Only values whose estimate is at least twice that
//! share are given as an answer, so that the answer does not depend on order, either.

use crate::bytes::{put, Reader};
use crate::value_code::{hash, put_dictionary, put_value, take_dictionary, take_value};
use crate::StateError;
use cdp_value::Value;
use std::sync::Arc;

/// `top` over all time is exact up to so many distinct values.
pub const TOP_EXACT: usize = 128;

/// The sketch's counters, and the bits of a hash that choose one of a row.
const ROWS: usize = 3;
const WIDTH: usize = 128;
const ROW_BITS: usize = 16;
/// A value is kept while its estimate is at least this part of all events.
const SHARE: u64 = 32;

/// How often each value came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Frequencies {
    /// Exact numbers, in the order of [`Value::total_cmp`]; empty once there is a sketch.
    counts: Vec<(Arc<Value>, u64)>,
    sketch: Option<Sketch>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sketch {
    total: u64,
    /// Row by row.
    counters: Vec<u64>,
    /// In the order of [`Value::total_cmp`].
    frequent: Vec<Arc<Value>>,
}

impl Sketch {
    fn new() -> Sketch {
        Sketch {
            total: 0,
            counters: vec![0; ROWS * WIDTH],
            frequent: Vec::new(),
        }
    }

    /// The positions of a value's counters.
    fn positions(value: &Value) -> impl Iterator<Item = usize> {
        let hash = hash(value);
        (0..ROWS).map(move |row| row * WIDTH + (hash >> (ROW_BITS * row)) as usize % WIDTH)
    }

    fn estimate(&self, value: &Value) -> u64 {
        Sketch::positions(value)
            .filter_map(|position| self.counters.get(position).copied())
            .min()
            .unwrap_or(0)
    }

    fn add(&mut self, value: &Arc<Value>, count: u64) {
        self.total = self.total.saturating_add(count);
        for position in Sketch::positions(value) {
            if let Some(counter) = self.counters.get_mut(position) {
                *counter = counter.saturating_add(count);
            }
        }
        self.note(value);
    }

    /// Keeps a value if it may be frequent.
    fn note(&mut self, value: &Arc<Value>) {
        let estimate = self.estimate(value);
        if estimate.saturating_mul(SHARE) < self.total {
            return;
        }
        let found = self
            .frequent
            .binary_search_by(|known| known.total_cmp(value));
        if let Err(position) = found {
            self.frequent.insert(position, Arc::clone(value));
        }
        // In each row at most so many counters reach a share: the other values came and went.
        if self.frequent.len() as u64 > 4 * SHARE {
            self.forget_rare();
        }
    }

    fn forget_rare(&mut self) {
        let mut frequent = std::mem::take(&mut self.frequent);
        frequent.retain(|value| self.estimate(value).saturating_mul(SHARE) >= self.total);
        self.frequent = frequent;
    }

    fn merge(&mut self, other: &Sketch) {
        self.total = self.total.saturating_add(other.total);
        for (own, counter) in self.counters.iter_mut().zip(&other.counters) {
            *own = own.saturating_add(*counter);
        }
        for value in &other.frequent {
            self.note(value);
        }
        self.forget_rare();
    }
}

impl Frequencies {
    /// Whether there were too many distinct values to count them exactly.
    pub(crate) fn is_estimate(&self) -> bool {
        self.sketch.is_some()
    }

    pub(crate) fn add(&mut self, value: &Value, count: u64) {
        if self.sketch.is_none() {
            let found = self
                .counts
                .binary_search_by(|(known, _)| known.total_cmp(value));
            if let Some(known) = found.ok().and_then(|i| self.counts.get_mut(i)) {
                known.1 = known.1.saturating_add(count);
                return;
            }
        }
        self.add_shared(&Arc::new(value.clone()), count);
    }

    fn add_shared(&mut self, value: &Arc<Value>, count: u64) {
        if let Some(sketch) = &mut self.sketch {
            return sketch.add(value, count);
        }
        let found = self
            .counts
            .binary_search_by(|(known, _)| known.total_cmp(value));
        match found {
            Ok(position) => {
                if let Some(known) = self.counts.get_mut(position) {
                    known.1 = known.1.saturating_add(count);
                }
            }
            Err(position) => self.counts.insert(position, (Arc::clone(value), count)),
        }
        if self.counts.len() > TOP_EXACT {
            self.estimate_from_now_on();
        }
    }

    fn estimate_from_now_on(&mut self) -> &mut Sketch {
        let counts = std::mem::take(&mut self.counts);
        let sketch = self.sketch.get_or_insert_with(Sketch::new);
        for (value, count) in counts {
            sketch.add(&value, count);
        }
        sketch
    }

    pub(crate) fn merge(&mut self, other: &Frequencies) {
        if let Some(sketch) = &other.sketch {
            self.estimate_from_now_on().merge(sketch);
        }
        for (value, count) in &other.counts {
            self.add_shared(value, *count);
        }
    }

    pub(crate) fn compact(&mut self) {
        if let Some(sketch) = &mut self.sketch {
            sketch.forget_rare();
        }
    }

    /// The most frequent value, the alphabetically first of several; null when there is none. An
    /// estimate is null, too, when no value seems to have twice the share that is always kept.
    pub(crate) fn top(&self) -> Value {
        let mut best: Option<(&Arc<Value>, u64)> = None;
        let exact = self.counts.iter().map(|(value, count)| (value, *count));
        let sketched = self.sketch.iter().flat_map(|sketch| {
            let estimates = sketch
                .frequent
                .iter()
                .map(|value| (value, sketch.estimate(value)));
            estimates
                .filter(|(_, count)| count.saturating_mul(SHARE) >= sketch.total.saturating_mul(2))
        });
        for (value, count) in exact.chain(sketched) {
            // Values come in order, so the first of several wins.
            if best.is_none_or(|(_, most)| count > most) {
                best = Some((value, count));
            }
        }
        best.map_or(Value::Null, |(value, _)| (**value).clone())
    }

    /// Twice the number of counts and the counts, or 1 and the sketch.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let Some(sketch) = &self.sketch else {
            put(out, (self.counts.len() as u64) << 1);
            for (value, count) in &self.counts {
                put_value(out, value);
                put(out, *count);
            }
            return;
        };
        put(out, 1);
        put(out, sketch.total);
        for counter in &sketch.counters {
            put(out, *counter);
        }
        put_dictionary(out, &sketch.frequent);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Frequencies, StateError> {
        let mut frequencies = Frequencies::default();
        let header = reader.varint()?;
        if header & 1 == 0 {
            for _ in 0..header >> 1 {
                let value = Arc::new(take_value(reader)?);
                frequencies.counts.push((value, reader.varint()?));
            }
            return Ok(frequencies);
        }
        let mut sketch = Sketch::new();
        sketch.total = reader.varint()?;
        for counter in &mut sketch.counters {
            *counter = reader.varint()?;
        }
        sketch.frequent = take_dictionary(reader)?;
        frequencies.sketch = Some(sketch);
        Ok(frequencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdp_value::Decimal;

    fn value(n: i64) -> Value {
        Value::Number(Decimal::from(n))
    }

    /// Number 7 comes every fifth time, the others are spread over 5,000 values.
    fn stream() -> Vec<Value> {
        (0..20_000i64)
            .map(|n| {
                if n % 5 == 0 {
                    value(7)
                } else {
                    value((n * 7_919) % 5_000)
                }
            })
            .collect()
    }

    #[test]
    fn the_most_frequent_of_many_is_found_in_any_order() {
        let mut stream = stream();
        let mut forward = Frequencies::default();
        stream.iter().for_each(|value| forward.add(value, 1));
        stream.reverse();
        let mut backward = Frequencies::default();
        stream.iter().for_each(|value| backward.add(value, 1));
        let (left, right) = stream.split_at(6_000);
        let mut halves = Frequencies::default();
        let mut half = Frequencies::default();
        left.iter().for_each(|value| halves.add(value, 1));
        right.iter().for_each(|value| half.add(value, 1));
        halves.merge(&half);
        for mut frequencies in [forward, backward, halves] {
            assert!(frequencies.is_estimate());
            assert_eq!(frequencies.top(), value(7));
            frequencies.compact();
            let mut out = Vec::new();
            frequencies.encode(&mut out);
            assert!(out.len() < 1_000, "{}", out.len());
            let mut reader = Reader::new(&out);
            let decoded = Frequencies::decode(&mut reader).unwrap();
            assert_eq!(decoded, frequencies);
        }
    }

    #[test]
    fn nothing_stands_out_among_many() {
        let mut flat = Frequencies::default();
        (0..5_000).for_each(|n| flat.add(&value(n), 1));
        assert_eq!(flat.top(), Value::Null);
    }
}
