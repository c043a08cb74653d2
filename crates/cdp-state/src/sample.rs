//! Which values are frequent, from a sample of the events.
//!
//! Every event has a priority, a hash of its time and value; a sample is the events with the
//! lowest priorities. It depends neither on the order of events nor on how they were grouped
//! before they were put together.

use crate::bytes::{put, Reader};
use crate::property::Held;
use crate::value_code::{hash, put_held, take_held};
use crate::StateError;
use cdp_value::{Timestamp, Value};
use std::cmp::Ordering;
use std::sync::Arc;

/// Size of a bucket's sample. Blocks with no more events keep those.
pub(crate) const SAMPLE_SIZE: usize = 24;
/// Bits of a priority.
const PRIORITY_BITS: u32 = 24;

/// A drawn event.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Drawn {
    priority: u32,
    value: Arc<Value>,
}

impl Drawn {
    fn order(&self, other: &Drawn) -> Ordering {
        self.priority
            .cmp(&other.priority)
            .then_with(|| self.value.total_cmp(&other.value))
    }
}

/// The values of some events of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sample {
    /// Number of events with a value that counts.
    total: u64,
    /// In the order of priority.
    drawn: Vec<Drawn>,
}

impl Sample {
    pub(crate) fn add(&mut self, ts: Timestamp, value: Arc<Value>) {
        // Any odd constant spreads the times; the value's hash is uniform already.
        let mixed = hash(&value) ^ (ts as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let priority = (mixed >> (64 - PRIORITY_BITS)) as u32;
        self.total = self.total.saturating_add(1);
        self.draw(Drawn { priority, value });
    }

    fn draw(&mut self, drawn: Drawn) {
        let position = self
            .drawn
            .partition_point(|known| known.order(&drawn).is_le());
        if position < SAMPLE_SIZE {
            self.drawn.insert(position, drawn);
            self.drawn.truncate(SAMPLE_SIZE);
        }
    }

    pub(crate) fn merge(&mut self, other: &Sample) {
        self.total = self.total.saturating_add(other.total);
        for drawn in &other.drawn {
            self.draw(drawn.clone());
        }
    }

    /// The drawn values, each with the number of events it stands for, in units of 2^-16, if
    /// `part` of `whole` of the bucket counts.
    pub(crate) fn weights(
        &self,
        part: u64,
        whole: u64,
    ) -> impl Iterator<Item = (&Arc<Value>, u128)> {
        let size = self.drawn.len().max(1) as u128;
        let events = (u128::from(self.total) << 16) * u128::from(part) / u128::from(whole.max(1));
        self.drawn
            .iter()
            .map(move |drawn| (&drawn.value, events / size))
    }

    /// Every value that is kept.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.drawn.iter().map(|drawn| &drawn.value)
    }

    /// Total, number of drawn events, and each with the distance of its priority.
    pub(crate) fn encode(&self, dictionary: &[Arc<Value>], out: &mut Vec<u8>) {
        put(out, self.total);
        put(out, self.drawn.len() as u64);
        let mut previous = 0;
        for drawn in &self.drawn {
            put(out, u64::from(drawn.priority - previous));
            put_held(out, &held(&drawn.value), dictionary);
            previous = drawn.priority;
        }
    }

    pub(crate) fn decode(
        dictionary: &[Arc<Value>],
        reader: &mut Reader<'_>,
    ) -> Result<Sample, StateError> {
        let mut sample = Sample {
            total: reader.varint()?,
            drawn: Vec::new(),
        };
        let mut priority = 0u32;
        for _ in 0..reader.count(2)? {
            let step = u32::try_from(reader.varint()?).unwrap_or(u32::MAX);
            priority = priority
                .checked_add(step)
                .filter(|priority| priority >> PRIORITY_BITS == 0)
                .ok_or(StateError::Damaged("a sample is out of order"))?;
            let value = match take_held(reader, dictionary)? {
                Held::Number(number) => Arc::new(Value::Number(number)),
                Held::Other(value) => value,
                _ => return Err(StateError::Damaged("a sample has no value")),
            };
            sample.drawn.push(Drawn { priority, value });
        }
        Ok(sample)
    }
}

fn held(value: &Arc<Value>) -> Held {
    match &**value {
        Value::Number(number) => Held::Number(number.clone()),
        _ => Held::Other(Arc::clone(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_priorities_are_ordered_by_value() {
        let text = |n: usize| Arc::new(Value::Text(format!("{n:02}")));
        let draw = |numbers: &mut dyn Iterator<Item = usize>| {
            let mut sample = Sample::default();
            for n in numbers {
                let (priority, value) = (7, text(n));
                sample.draw(Drawn { priority, value });
            }
            sample
        };
        let forward = draw(&mut (0..60));
        assert_eq!(forward, draw(&mut (0..60).rev()));
        assert_eq!(forward.drawn.len(), SAMPLE_SIZE);
        assert_eq!(
            forward.drawn.first().map(|drawn| &drawn.value),
            Some(&text(0))
        );
    }
}
