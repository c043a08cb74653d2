//! Distinct local days or hours.

use crate::bytes::{put, put_signed, Reader};
use crate::edge::{Edge, EdgeEvents, Quantum, Side};
use crate::spec::Reach;
use crate::StateError;
use cdp_value::{Timestamp, DAY, HOUR};

/// Days or hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Length of a unit, but for changes of daylight saving time.
    length: i64,
    /// How exactly the latest event of a unit is known: 4.2 s of a day, 34 s of an hour.
    quantum: Quantum,
}

pub(crate) const DAYS: Unit = Unit {
    length: DAY,
    quantum: Quantum::new(22),
};

pub(crate) const HOURS: Unit = Unit {
    length: HOUR,
    quantum: Quantum::new(25),
};

/// A unit and the quantum of its latest event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Recent {
    number: i64,
    last: i64,
}

/// The units in which events happened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Units {
    /// Units of all time.
    all: IntegerSet,
    /// Units that a window can reach, ascending.
    recent: Vec<Recent>,
}

impl Units {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.runs.is_empty() && self.recent.is_empty()
    }

    /// Adds the unit of an event at `ts`.
    pub(crate) fn fold(&mut self, unit: Unit, reach: &Reach, number: i64, ts: Timestamp) {
        if reach.all_time {
            self.all.insert(number, 1);
        }
        if reach.is_windowed() {
            let last = unit.quantum.of(ts);
            self.add_recent(Recent { number, last });
        }
    }

    fn add_recent(&mut self, recent: Recent) {
        let position = match self.recent.last() {
            Some(last) if last.number >= recent.number => self
                .recent
                .partition_point(|known| known.number < recent.number),
            _ => self.recent.len(),
        };
        match self.recent.get_mut(position) {
            Some(known) if known.number == recent.number => {
                known.last = known.last.max(recent.last);
            }
            _ => self.recent.insert(position, recent),
        }
    }

    pub(crate) fn merge(&mut self, other: &Units) {
        for (start, length) in &other.all.runs {
            self.all.insert(*start, *length);
        }
        for recent in &other.recent {
            self.add_recent(*recent);
        }
    }

    /// Drops what no window reaches any more.
    pub(crate) fn compact(&mut self, unit: Unit, reach: &Reach, now: Timestamp) {
        if !reach.all_time {
            self.all.runs.clear();
        }
        let floor = unit.quantum.of(reach.floor(now));
        if reach.is_windowed() {
            self.recent.retain(|known| known.last >= floor);
        } else {
            self.recent.clear();
        }
    }

    /// Number of units of all time.
    pub(crate) fn count_all(&self) -> u64 {
        self.all.len()
    }

    fn unsure(&self, unit: Unit, from: Timestamp) -> impl Iterator<Item = &Recent> {
        self.recent
            .iter()
            .filter(move |known| unit.quantum.side(known.last, from) == Side::Unsure)
    }

    /// The range that decides which units are within a window that starts at `from`.
    pub(crate) fn edge(&self, unit: Unit, from: Timestamp) -> Option<Edge> {
        self.unsure(unit, from).next().map(|known| Edge {
            from,
            to: unit.quantum.end(known.last),
        })
    }

    /// The latest event of a unit within a window, if it is to be found in the edge's events.
    fn latest_at_edge(
        &self,
        unit: Unit,
        recent: &Recent,
        from: Timestamp,
        edges: &EdgeEvents,
        number: impl Fn(Timestamp) -> i64,
    ) -> Option<Timestamp> {
        let to = unit.quantum.end(recent.last);
        if !edges.covers(from, to) {
            // Nobody asked: the unit counts, and may leave at any time.
            return Some(from);
        }
        edges
            .within(from, to)
            .iter()
            .map(|event| event.0)
            .filter(|ts| number(*ts) == recent.number)
            .max()
    }

    /// Number of units with an event from `from` on.
    pub(crate) fn count(
        &self,
        unit: Unit,
        from: Timestamp,
        edges: &EdgeEvents,
        number: impl Fn(Timestamp) -> i64,
    ) -> u64 {
        let mut count = 0;
        for known in &self.recent {
            let within = match unit.quantum.side(known.last, from) {
                Side::Within => true,
                Side::Before => false,
                Side::Unsure => self
                    .latest_at_edge(unit, known, from, edges, &number)
                    .is_some(),
            };
            count += u64::from(within);
        }
        count
    }

    /// An instant no later than the earliest at which a unit that is within the window has its
    /// latest event.
    pub(crate) fn first_to_leave(
        &self,
        unit: Unit,
        from: Timestamp,
        edges: &EdgeEvents,
        number: impl Fn(Timestamp) -> i64,
    ) -> Option<Timestamp> {
        self.recent
            .iter()
            .filter_map(|known| match unit.quantum.side(known.last, from) {
                Side::Within => Some(unit.quantum.start(known.last)),
                Side::Before => None,
                Side::Unsure => self.latest_at_edge(unit, known, from, edges, &number),
            })
            .min()
    }

    pub(crate) fn encode(&self, unit: Unit, out: &mut Vec<u8>) {
        self.all.encode(out);
        let mut numbers = IntegerSet::default();
        for known in &self.recent {
            numbers.insert(known.number, 1);
        }
        numbers.encode(out);
        if self.recent.is_empty() {
            return;
        }
        let offset = |known: &Recent| known.last.wrapping_sub(unit.nominal(known.number));
        let least = self.recent.iter().map(offset).min().unwrap_or(0);
        let most = self.recent.iter().map(offset).max().unwrap_or(0);
        let range = most.wrapping_sub(least) as u64;
        let width = match range {
            0..=0xff => 1,
            0x100..=0xffff => 2,
            _ => 8,
        };
        out.push(width as u8);
        put_signed(out, least);
        for known in &self.recent {
            let above = offset(known).wrapping_sub(least) as u64;
            out.extend(above.to_le_bytes().iter().take(width));
        }
    }

    pub(crate) fn decode(unit: Unit, reader: &mut Reader<'_>) -> Result<Units, StateError> {
        let all = IntegerSet::decode(reader)?;
        let numbers = IntegerSet::decode(reader)?;
        let mut recent = Vec::new();
        if !numbers.runs.is_empty() {
            let width = usize::from(reader.byte()?);
            if !matches!(width, 1 | 2 | 8) {
                return Err(StateError::Damaged("the width of a calendar is unknown"));
            }
            let least = reader.signed()?;
            if numbers.len() > (reader.remaining() / width) as u64 {
                return Err(StateError::Damaged("a calendar ends too early"));
            }
            for (start, length) in numbers.runs {
                for number in start..start.saturating_add_unsigned(length) {
                    let mut above = [0; 8];
                    for (to, from) in above.iter_mut().zip(reader.take(width)?) {
                        *to = *from;
                    }
                    let above = u64::from_le_bytes(above) as i64;
                    let last = unit.nominal(number).wrapping_add(least).wrapping_add(above);
                    recent.push(Recent { number, last });
                }
            }
        }
        Ok(Units { all, recent })
    }
}

impl Unit {
    /// The quantum in which a unit starts at Greenwich.
    fn nominal(self, number: i64) -> i64 {
        self.quantum.of(number.wrapping_mul(self.length))
    }
}

/// A set of integers as ascending runs of neighbours: start and length.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct IntegerSet {
    runs: Vec<(i64, u64)>,
}

impl IntegerSet {
    fn len(&self) -> u64 {
        self.runs
            .iter()
            .fold(0, |sum, (_, length)| sum.saturating_add(*length))
    }

    fn end(run: (i64, u64)) -> i64 {
        run.0.saturating_add_unsigned(run.1)
    }

    /// Adds `length` neighbours.
    fn insert(&mut self, start: i64, length: u64) {
        let end = IntegerSet::end((start, length));
        // IntegerSet that overlap or touch the new one.
        let from = self
            .runs
            .partition_point(|run| IntegerSet::end(*run) < start);
        let to = self.runs.partition_point(|run| run.0 <= end);
        let touching = self.runs.get(from..to).unwrap_or(&[]);
        match touching {
            [] => self.runs.insert(from, (start, length)),
            [run] if run.0 <= start && IntegerSet::end(*run) >= end => {}
            [first, ..] => {
                let low = first.0.min(start);
                let high = touching
                    .last()
                    .map_or(end, |run| IntegerSet::end(*run).max(end));
                self.runs.splice(from..to, [(low, high.abs_diff(low))]);
            }
        }
    }

    /// Writes runs or a bitmap, whichever is shorter.
    fn encode(&self, out: &mut Vec<u8>) {
        let (Some(first), Some(last)) = (self.runs.first(), self.runs.last()) else {
            out.push(0);
            return;
        };
        let mark = out.len();
        put(out, (self.runs.len() as u64) << 1);
        put_signed(out, first.0);
        put(out, first.1);
        for pair in self.runs.windows(2) {
            if let [previous, next] = pair {
                put(out, next.0.abs_diff(IntegerSet::end(*previous)));
                put(out, next.1);
            }
        }
        let span = IntegerSet::end(*last).abs_diff(first.0);
        if span.div_ceil(8) >= (out.len() - mark) as u64 {
            return;
        }
        let mut bitmap = vec![0u8; usize::try_from(span.div_ceil(8)).unwrap_or(0)];
        for (start, length) in &self.runs {
            let offset = start.abs_diff(first.0);
            for bit in offset..offset + length {
                if let Some(byte) = bitmap.get_mut(usize::try_from(bit / 8).unwrap_or(0)) {
                    *byte |= 1 << (bit % 8);
                }
            }
        }
        let mut coded = Vec::with_capacity(bitmap.len() + 12);
        put(&mut coded, ((bitmap.len() as u64) << 1) | 1);
        put_signed(&mut coded, first.0);
        coded.extend_from_slice(&bitmap);
        if coded.len() < out.len() - mark {
            out.truncate(mark);
            out.extend_from_slice(&coded);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<IntegerSet, StateError> {
        let header = reader.varint()?;
        let mut set = IntegerSet::default();
        if header == 0 {
            return Ok(set);
        }
        let size = usize::try_from(header >> 1).unwrap_or(usize::MAX);
        let start = reader.signed()?;
        if header & 1 == 1 {
            for (i, byte) in reader.take(size)?.iter().enumerate() {
                for bit in 0..8u64 {
                    if byte & (1 << bit) != 0 {
                        set.push(start.saturating_add_unsigned(i as u64 * 8 + bit), 1);
                    }
                }
            }
            return Ok(set);
        }
        let mut next = start;
        for i in 0..size {
            if i > 0 {
                next = next.saturating_add_unsigned(reader.varint()?);
            }
            let length = reader.varint()?;
            set.push(next, length);
            next = next.saturating_add_unsigned(length);
            if next == i64::MAX {
                return Err(StateError::Damaged("a calendar is too long"));
            }
        }
        Ok(set)
    }

    /// Adds a run after all others.
    fn push(&mut self, start: i64, length: u64) {
        match self.runs.last_mut() {
            Some(last) if IntegerSet::end(*last) == start => last.1 = last.1.saturating_add(length),
            _ => self.runs.push((start, length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(2), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn runs_are_a_set(
            numbers in prop::collection::vec((-40i64..200, 1u64..6), 0..60),
            far: Option<i64>,
        ) {
            let (mut runs, mut model) = (IntegerSet::default(), BTreeSet::new());
            let far = far.map(|far| (far / 2, 1));
            for (start, length) in numbers.into_iter().chain(far) {
                runs.insert(start, length);
                model.extend(start..start + length as i64);
            }
            let listed: Vec<i64> = runs.runs.iter().flat_map(|r| r.0..IntegerSet::end(*r)).collect();
            prop_assert_eq!(&listed, &model.into_iter().collect::<Vec<_>>());
            let mut out = Vec::new();
            runs.encode(&mut out);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(IntegerSet::decode(&mut reader).unwrap(), runs);
            prop_assert!(reader.finish().is_ok());
        }
    }

    #[test]
    fn a_year_of_days_is_short() {
        let reach = Reach {
            all_time: true,
            horizon: 14 * DAY,
            shortest: DAY,
        };
        let mut units = Units::default();
        let now = 20_000 * DAY + 9 * HOUR;
        for back in (0..365).rev().filter(|back| back % 7 < 4) {
            let ts = now - back * DAY;
            units.fold(DAYS, &reach, ts.div_euclid(DAY), ts);
        }
        units.compact(DAYS, &reach, now);
        let mut out = Vec::new();
        units.encode(DAYS, &mut out);
        assert!(out.len() < 80, "{}", out.len());
        let mut reader = Reader::new(&out);
        assert_eq!(Units::decode(DAYS, &mut reader).unwrap(), units);
        let edges = EdgeEvents::none();
        let day = |ts: Timestamp| ts.div_euclid(DAY);
        assert_eq!(units.count(DAYS, now - 14 * DAY, &edges, day), 9);
        assert_eq!(units.count_all(), 209);
    }
}
