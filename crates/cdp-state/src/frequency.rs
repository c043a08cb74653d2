//! How often each value came: exact for few distinct values, a sketch for many.
//!
//! The sketch is a count-min sketch (G. Cormode and S. Muthukrishnan, An improved data stream
//! summary, 2005): an estimate is never too low, and does not depend on the order of events.
//! Besides, it keeps the values that may be frequent. A value with at least the stated share of
//! all events is always among them: at its last event its estimate was at least its number of
//! events, and there were not more events than in the end.

use crate::bytes::{put, Reader};
use crate::property::{hash, put_held, take_held, Held};
use crate::StateError;
use cdp_value::Value;
use std::sync::Arc;

/// The size of a sketch, and when it is needed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// So many distinct values are counted exactly.
    distinct: usize,
    rows: usize,
    width: usize,
    /// A value is kept while its estimate is at least a `share`-th of all events.
    share: u64,
}

/// Over all time.
pub(crate) static EVER: Limits = Limits {
    distinct: TOP_EXACT,
    rows: 4,
    width: 64,
    share: 64,
};

/// In one bucket of a series.
pub(crate) static BUCKET: Limits = Limits {
    distinct: 16,
    rows: 2,
    width: 32,
    share: 16,
};

/// `top` over all time is exact up to so many distinct values.
pub const TOP_EXACT: usize = 128;

/// How often each value came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frequencies {
    limits: &'static Limits,
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
    fn new(limits: &Limits) -> Sketch {
        Sketch {
            total: 0,
            counters: vec![0; limits.rows * limits.width],
            frequent: Vec::new(),
        }
    }

    /// The positions of a value's counters.
    fn positions(limits: &'static Limits, value: &Value) -> impl Iterator<Item = usize> {
        let hash = hash(value);
        (0..limits.rows).map(move |row| {
            let bits = (hash >> (16 * row)) as usize & 0xffff;
            row * limits.width + bits % limits.width
        })
    }

    fn estimate(&self, limits: &'static Limits, value: &Value) -> u64 {
        Sketch::positions(limits, value)
            .filter_map(|position| self.counters.get(position).copied())
            .min()
            .unwrap_or(0)
    }

    fn add(&mut self, limits: &'static Limits, value: &Arc<Value>, count: u64) {
        self.total = self.total.saturating_add(count);
        for position in Sketch::positions(limits, value) {
            if let Some(counter) = self.counters.get_mut(position) {
                *counter = counter.saturating_add(count);
            }
        }
        self.note(limits, value);
    }

    /// Keeps a value if it may be frequent.
    fn note(&mut self, limits: &'static Limits, value: &Arc<Value>) {
        let estimate = self.estimate(limits, value);
        if estimate.saturating_mul(limits.share) < self.total {
            return;
        }
        let found = self
            .frequent
            .binary_search_by(|known| known.total_cmp(value));
        if let Err(position) = found {
            self.frequent.insert(position, Arc::clone(value));
        }
        // In each row at most `share` counters reach a share: the rest came and went.
        if self.frequent.len() as u64 > 4 * limits.share {
            self.forget_rare(limits);
        }
    }

    fn forget_rare(&mut self, limits: &'static Limits) {
        let mut frequent = std::mem::take(&mut self.frequent);
        frequent.retain(|value| {
            self.estimate(limits, value).saturating_mul(limits.share) >= self.total
        });
        self.frequent = frequent;
    }

    fn merge(&mut self, limits: &'static Limits, other: &Sketch) {
        self.total = self.total.saturating_add(other.total);
        for (own, counter) in self.counters.iter_mut().zip(&other.counters) {
            *own = own.saturating_add(*counter);
        }
        for value in &other.frequent {
            self.note(limits, value);
        }
        self.forget_rare(limits);
    }
}

impl Frequencies {
    pub(crate) fn new(limits: &'static Limits) -> Frequencies {
        Frequencies {
            limits,
            counts: Vec::new(),
            sketch: None,
        }
    }

    /// Whether there were too many distinct values to count them exactly.
    pub(crate) fn is_estimate(&self) -> bool {
        self.sketch.is_some()
    }

    /// Every value that is kept.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<Value>> {
        let frequent = self.sketch.iter().flat_map(|sketch| &sketch.frequent);
        self.counts.iter().map(|(value, _)| value).chain(frequent)
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

    pub(crate) fn add_shared(&mut self, value: &Arc<Value>, count: u64) {
        if let Some(sketch) = &mut self.sketch {
            return sketch.add(self.limits, value, count);
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
        if self.counts.len() > self.limits.distinct {
            self.estimate_from_now_on();
        }
    }

    fn estimate_from_now_on(&mut self) -> &mut Sketch {
        let limits = self.limits;
        let counts = std::mem::take(&mut self.counts);
        let sketch = self.sketch.get_or_insert_with(|| Sketch::new(limits));
        for (value, count) in counts {
            sketch.add(limits, &value, count);
        }
        sketch
    }

    pub(crate) fn merge(&mut self, other: &Frequencies) {
        if let Some(sketch) = &other.sketch {
            let limits = self.limits;
            self.estimate_from_now_on().merge(limits, sketch);
        }
        for (value, count) in &other.counts {
            self.add_shared(value, *count);
        }
    }

    pub(crate) fn compact(&mut self) {
        if let Some(sketch) = &mut self.sketch {
            sketch.forget_rare(self.limits);
        }
    }

    /// The most frequent value, the alphabetically first of several; null when there is none. An
    /// estimate is null, too, when no value seems to have twice the share that is always kept.
    pub(crate) fn top(&self) -> Value {
        let limits = self.limits;
        let mut best: Option<(&Arc<Value>, u64)> = None;
        let exact = self.counts.iter().map(|(value, count)| (value, *count));
        let sketched = self.sketch.iter().flat_map(|sketch| {
            let estimates = sketch
                .frequent
                .iter()
                .map(|value| (value, sketch.estimate(limits, value)));
            estimates.filter(|(_, count)| {
                count.saturating_mul(limits.share) >= sketch.total.saturating_mul(2)
            })
        });
        for (value, count) in exact.chain(sketched) {
            // Values come in order, so the first of several wins.
            if best.is_none_or(|(_, most)| count > most) {
                best = Some((value, count));
            }
        }
        best.map_or(Value::Null, |(value, _)| (**value).clone())
    }

    /// Twice the number of counts, or 1 and the sketch; values by [`put_held`].
    pub(crate) fn encode(&self, dictionary: &[Arc<Value>], out: &mut Vec<u8>) {
        let put_shared = |out: &mut Vec<u8>, value: &Arc<Value>| {
            let held = match &**value {
                Value::Number(number) => Held::Number(number.clone()),
                _ => Held::Other(Arc::clone(value)),
            };
            put_held(out, &held, dictionary);
        };
        let Some(sketch) = &self.sketch else {
            put(out, (self.counts.len() as u64) << 1);
            for (value, count) in &self.counts {
                put_shared(out, value);
                put(out, *count);
            }
            return;
        };
        put(out, 1);
        put(out, sketch.total);
        for counter in &sketch.counters {
            put(out, *counter);
        }
        put(out, sketch.frequent.len() as u64);
        for value in &sketch.frequent {
            put_shared(out, value);
        }
    }

    pub(crate) fn decode(
        limits: &'static Limits,
        dictionary: &[Arc<Value>],
        reader: &mut Reader<'_>,
    ) -> Result<Frequencies, StateError> {
        let take_shared = |reader: &mut Reader<'_>| {
            Ok(match take_held(reader, dictionary)? {
                Held::Number(number) => Arc::new(Value::Number(number)),
                Held::Other(value) => value,
                _ => return Err(StateError::Damaged("a frequent value is missing")),
            })
        };
        let mut frequencies = Frequencies::new(limits);
        let header = reader.varint()?;
        if header & 1 == 0 {
            for _ in 0..header >> 1 {
                let value = take_shared(reader)?;
                frequencies.counts.push((value, reader.varint()?));
            }
            return Ok(frequencies);
        }
        let mut sketch = Sketch::new(limits);
        sketch.total = reader.varint()?;
        for counter in &mut sketch.counters {
            *counter = reader.varint()?;
        }
        for _ in 0..reader.count(1)? {
            sketch.frequent.push(take_shared(reader)?);
        }
        frequencies.sketch = Some(sketch);
        Ok(frequencies)
    }
}

/// Puts frequencies of several buckets together.
///
/// As soon as one of them is a sketch, all are counted in one. A value with the share that is
/// always kept has it in some part, too, so it is among the values that the parts know.
pub(crate) struct Combination {
    exact: Frequencies,
    sketch: Option<Sketch>,
    candidates: Vec<Arc<Value>>,
}

/// A combination may have many more values than one bucket.
static COMBINED: Limits = Limits {
    distinct: usize::MAX,
    rows: BUCKET.rows,
    width: BUCKET.width,
    share: BUCKET.share,
};

impl Combination {
    pub(crate) fn new() -> Combination {
        Combination {
            exact: Frequencies::new(&COMBINED),
            sketch: None,
            candidates: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, value: &Value) {
        self.exact.add(value, 1);
    }

    pub(crate) fn merge(&mut self, part: &Frequencies) {
        for (value, count) in &part.counts {
            self.exact.add_shared(value, *count);
        }
        if let Some(sketch) = &part.sketch {
            let sum = self.sketch.get_or_insert_with(|| Sketch::new(&COMBINED));
            sum.merge(&COMBINED, sketch);
            self.candidates.extend(sketch.frequent.iter().cloned());
        }
    }

    pub(crate) fn top(mut self) -> Value {
        let Some(mut sketch) = self.sketch.take() else {
            return self.exact.top();
        };
        for (value, count) in &self.exact.counts {
            sketch.add(&COMBINED, value, *count);
            self.candidates.push(Arc::clone(value));
        }
        for value in &self.candidates {
            sketch.note(&COMBINED, value);
        }
        self.exact.counts.clear();
        self.exact.sketch = Some(sketch);
        self.exact.top()
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
        let mut forward = Frequencies::new(&EVER);
        stream.iter().for_each(|value| forward.add(value, 1));
        stream.reverse();
        let mut backward = Frequencies::new(&EVER);
        stream.iter().for_each(|value| backward.add(value, 1));
        let (left, right) = stream.split_at(6_000);
        let mut halves = Frequencies::new(&EVER);
        let mut half = Frequencies::new(&EVER);
        left.iter().for_each(|value| halves.add(value, 1));
        right.iter().for_each(|value| half.add(value, 1));
        halves.merge(&half);
        for mut frequencies in [forward, backward, halves] {
            assert!(frequencies.is_estimate());
            assert_eq!(frequencies.top(), value(7));
            frequencies.compact();
            let mut out = Vec::new();
            frequencies.encode(&[], &mut out);
            assert!(out.len() < 1_000, "{}", out.len());
            let mut reader = Reader::new(&out);
            let decoded = Frequencies::decode(&EVER, &[], &mut reader).unwrap();
            assert_eq!(decoded, frequencies);
        }
    }

    #[test]
    fn nothing_stands_out_among_many() {
        let mut flat = Frequencies::new(&EVER);
        (0..5_000).for_each(|n| flat.add(&value(n), 1));
        assert_eq!(flat.top(), Value::Null);
    }

    #[test]
    fn buckets_combine() {
        let stream = stream();
        let mut combination = Combination::new();
        for part in stream.chunks(1_900) {
            let mut bucket = Frequencies::new(&BUCKET);
            part.iter().for_each(|value| bucket.add(value, 1));
            combination.merge(&bucket);
        }
        combination.add(&value(7));
        assert_eq!(combination.top(), value(7));
    }
}
