//! Distinct values in alphabetical order, at most the first hundred.

use crate::bytes::{put, Reader};
use crate::edge::{Edge, EdgeEvents, Quantum, Side};
use crate::spec::Reach;
use crate::value_code::{put_dictionary, put_value, take_dictionary, take_value};
use crate::StateError;
use cdp_value::{Timestamp, Value};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// `list` gives at most so many values: the first ones in alphabetical order.
pub const LIST_LIMIT: usize = 100;

/// How exactly the latest event of a value is known: 4.2 s.
const QUANTUM: Quantum = Quantum::new(22);

/// A value and the quantum of its latest event.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    value: Arc<Value>,
    last: i64,
}

/// Values over all time and within windows, both in the order of [`Value::total_cmp`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct List {
    /// The first hundred of all time.
    ever: Vec<Arc<Value>>,
    /// After compaction: values that are among the first hundred of some window.
    lately: Vec<Entry>,
}

impl List {
    pub(crate) fn is_empty(&self) -> bool {
        self.ever.is_empty() && self.lately.is_empty()
    }

    pub(crate) fn fold(&mut self, reach: &Reach, ts: Timestamp, value: &Value) {
        if reach.all_time {
            self.insert_ever(value, || Arc::new(value.clone()));
        }
        if reach.is_windowed() {
            let last = QUANTUM.of(ts);
            self.insert_lately(value, last, || Arc::new(value.clone()));
        }
    }

    fn insert_ever(&mut self, value: &Value, share: impl FnOnce() -> Arc<Value>) {
        if let Err(position) = self.ever.binary_search_by(|known| known.total_cmp(value)) {
            if position < LIST_LIMIT {
                self.ever.insert(position, share());
                self.ever.truncate(LIST_LIMIT);
            }
        }
    }

    fn insert_lately(&mut self, value: &Value, last: i64, share: impl FnOnce() -> Arc<Value>) {
        let found = self
            .lately
            .binary_search_by(|known| known.value.total_cmp(value));
        match found {
            Ok(position) => {
                if let Some(known) = self.lately.get_mut(position) {
                    known.last = known.last.max(last);
                }
            }
            Err(position) => {
                let value = share();
                self.lately.insert(position, Entry { value, last });
            }
        }
    }

    pub(crate) fn merge(&mut self, other: &List) {
        for value in &other.ever {
            self.insert_ever(value, || Arc::clone(value));
        }
        for entry in &other.lately {
            self.insert_lately(&entry.value, entry.last, || Arc::clone(&entry.value));
        }
    }

    /// Drops values that no window reaches, and those before which a hundred values come that
    /// stay as long: they never show.
    pub(crate) fn compact(&mut self, reach: &Reach, now: Timestamp) {
        if !reach.all_time {
            self.ever.clear();
        }
        if !reach.is_windowed() {
            self.lately.clear();
        }
        let floor = QUANTUM.of(reach.floor(now));
        let mut latest = BinaryHeap::new();
        self.lately.retain(|entry| {
            if entry.last < floor {
                return false;
            }
            if latest.len() >= LIST_LIMIT {
                match latest.peek() {
                    Some(Reverse(least)) if *least >= entry.last => return false,
                    _ => latest.pop(),
                };
            }
            latest.push(Reverse(entry.last));
            true
        });
    }

    /// The values of all time.
    pub(crate) fn all(&self) -> Value {
        Value::Array(self.ever.iter().map(|value| (**value).clone()).collect())
    }

    /// The range that decides which values are within a window.
    pub(crate) fn edge(&self, from: Timestamp) -> Option<Edge> {
        let is_unsure = |entry: &&Entry| QUANTUM.side(entry.last, from) == Side::Unsure;
        self.lately.iter().find(is_unsure).map(|entry| Edge {
            from,
            to: QUANTUM.end(entry.last),
        })
    }

    /// An instant no later than that of a value's latest event, if that is within a window.
    fn leaves_at(entry: &Entry, from: Timestamp, edges: &EdgeEvents) -> Option<Timestamp> {
        match QUANTUM.side(entry.last, from) {
            Side::Within => return Some(QUANTUM.start(entry.last)),
            Side::Before => return None,
            Side::Unsure => {}
        }
        let to = QUANTUM.end(entry.last);
        if !edges.covers(from, to) {
            return Some(from);
        }
        let mut events = edges.within(from, to).iter().rev();
        events
            .find(|event| event.1.as_ref() == Some(&*entry.value))
            .map(|event| event.0)
    }

    /// The values within a window.
    pub(crate) fn within(&self, from: Timestamp, edges: &EdgeEvents) -> Value {
        let entries = self.lately.iter();
        let within = entries.filter(|entry| List::leaves_at(entry, from, edges).is_some());
        Value::Array(
            within
                .take(LIST_LIMIT)
                .map(|entry| (*entry.value).clone())
                .collect(),
        )
    }

    /// An instant no later than that of the next value to leave the window.
    pub(crate) fn first_to_leave(&self, from: Timestamp, edges: &EdgeEvents) -> Option<Timestamp> {
        self.lately
            .iter()
            .filter_map(|entry| List::leaves_at(entry, from, edges))
            .min()
    }

    pub(crate) fn encode(&self, last: Timestamp, out: &mut Vec<u8>) {
        put_dictionary(out, &self.ever);
        put(out, self.lately.len() as u64);
        let newest = QUANTUM.of(last);
        for entry in &self.lately {
            put_value(out, &entry.value);
            put(out, newest.wrapping_sub(entry.last) as u64);
        }
    }

    pub(crate) fn decode(last: Timestamp, reader: &mut Reader<'_>) -> Result<List, StateError> {
        let ever = take_dictionary(reader)?;
        let newest = QUANTUM.of(last);
        let mut lately = Vec::new();
        for _ in 0..reader.count(2)? {
            let value = Arc::new(take_value(reader)?);
            let last = newest.wrapping_sub(reader.varint()? as i64);
            lately.push(Entry { value, last });
        }
        Ok(List { ever, lately })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdp_value::{Decimal, DAY, MINUTE};

    const REACH: Reach = Reach {
        all_time: true,
        horizon: 30 * DAY,
        shortest: 7 * DAY,
    };

    /// Many more values than fit: whatever is compacted when, every window shows its first ones.
    #[test]
    fn the_first_hundred_of_every_window_are_kept() {
        let events: Vec<(Timestamp, i64)> = (0..6_000)
            .map(|n: i64| ((n * 7_919) % 6_000 * 9 * MINUTE, (n * 104_729) % 1_300))
            .collect();
        let now = 6_000 * 9 * MINUTE;
        let value = |n: i64| Value::Number(Decimal::from(n));
        let (mut once, mut often) = (List::default(), List::default());
        for (i, (ts, n)) in events.iter().enumerate() {
            once.fold(&REACH, *ts, &value(*n));
            often.fold(&REACH, *ts, &value(*n));
            if i % 170 == 0 {
                often.compact(&REACH, now - (events.len() - i) as i64 * MINUTE);
            }
        }
        once.compact(&REACH, now);
        often.compact(&REACH, now);
        assert_eq!(once, often);
        assert!(once.lately.len() < 600, "{}", once.lately.len());
        let expected = |from: Timestamp| {
            let within = events.iter().filter(|(ts, _)| *ts >= from);
            let mut numbers: Vec<i64> = within.map(|(_, n)| *n).collect();
            numbers.sort();
            numbers.dedup();
            Value::Array(numbers.into_iter().take(LIST_LIMIT).map(value).collect())
        };
        let none = EdgeEvents::none();
        for days in 8..=30 {
            // Between two events, so that no edge is in doubt.
            let from = now - days * DAY - 4 * MINUTE;
            let edges = match once.edge(from) {
                Some(edge) => EdgeEvents::new(vec![edge], Vec::new()),
                None => none.clone(),
            };
            assert_eq!(once.within(from, &edges), expected(from), "{days}");
        }
        assert_eq!(once.all(), expected(Timestamp::MIN));
        let mut out = Vec::new();
        once.encode(now, &mut out);
        let mut reader = Reader::new(&out);
        assert_eq!(List::decode(now, &mut reader).unwrap(), once);
        reader.finish().unwrap();
    }
}
