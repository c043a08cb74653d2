//! What a state has to be told when a window's edge lies inside something it keeps as a whole.

use cdp_value::{Timestamp, Value};

/// A range of time whose events are needed; both ends are inclusive. `from` may be
/// `Timestamp::MIN`: from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: Timestamp,
    pub to: Timestamp,
}

/// The events of ranges that were asked for.
///
/// They are all events of one slot (after its filter) within the ranges that have been folded
/// into the state, those of the running transaction included.
#[derive(Debug, Clone, Default)]
pub struct EdgeEvents {
    /// Sorted, not touching.
    ranges: Vec<Edge>,
    /// Sorted by time.
    events: Vec<(Timestamp, Option<Value>)>,
}

impl EdgeEvents {
    /// No range was asked for.
    pub const fn none() -> EdgeEvents {
        EdgeEvents {
            ranges: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The events of ranges: time and property. Several functions' ranges may be put together;
    /// order does not matter.
    pub fn new(ranges: Vec<Edge>, mut events: Vec<(Timestamp, Option<Value>)>) -> EdgeEvents {
        events.sort_by_key(|event| event.0);
        EdgeEvents {
            ranges: joined(ranges),
            events,
        }
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether the events of a range are known.
    pub(crate) fn covers(&self, from: Timestamp, to: Timestamp) -> bool {
        self.ranges
            .iter()
            .any(|range| range.from <= from && to <= range.to)
    }

    /// The events of a range.
    pub(crate) fn within(&self, from: Timestamp, to: Timestamp) -> &[(Timestamp, Option<Value>)] {
        let first = self.events.partition_point(|event| event.0 < from);
        let last = self.events.partition_point(|event| event.0 <= to);
        self.events.get(first..last).unwrap_or(&[])
    }
}

/// Sorts ranges and joins those that overlap or touch.
pub(crate) fn joined(mut ranges: Vec<Edge>) -> Vec<Edge> {
    if ranges.len() < 2 {
        return ranges;
    }
    ranges.sort();
    let mut result: Vec<Edge> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match result.last_mut() {
            Some(last) if range.from <= last.to.saturating_add(1) => {
                last.to = last.to.max(range.to);
            }
            _ => result.push(range),
        }
    }
    result
}

/// Whether something that happened at an inexactly known time is within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    Within,
    Unsure,
}

/// Times rounded down to multiples of 2^bits microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quantum {
    bits: u8,
}

impl Quantum {
    pub(crate) const fn new(bits: u8) -> Quantum {
        Quantum { bits }
    }

    pub(crate) fn of(self, ts: Timestamp) -> i64 {
        ts >> self.bits
    }

    /// The earliest instant of a quantum.
    pub(crate) fn start(self, quantum: i64) -> Timestamp {
        quantum << self.bits
    }

    /// The latest instant of a quantum.
    pub(crate) fn end(self, quantum: i64) -> Timestamp {
        self.start(quantum) | ((1 << self.bits) - 1)
    }

    /// On which side of the start of a window a quantum lies.
    pub(crate) fn side(self, quantum: i64, from: Timestamp) -> Side {
        let edge = self.of(from);
        if quantum > edge || (quantum == edge && self.start(edge) == from) {
            Side::Within
        } else if quantum == edge {
            Side::Unsure
        } else {
            Side::Before
        }
    }
}
