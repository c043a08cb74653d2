//! Number of distinct values: exact up to 256, estimated by HyperLogLog above.
//!
//! Over all time: up to 256 hashes, then 1,024 registers (standard error 3.3 %). Within windows:
//! the 257 values that were seen most recently with their latest event, which answers every
//! window with at most 256 values exactly, and for older ones a sketch of 256 registers that
//! remembers when each register had which value (standard error 6.5 %; the start of the window
//! is then rounded down by at most 1/64 of the shortest window). Which of the two answers depends
//! on the window's events alone, not on what was kept when.

use crate::bytes::{put, Reader};
use crate::edge::{Edge, EdgeEvents, Quantum, Side};
use crate::hyperloglog::{estimate, register, HASH_BITS};
use crate::ladder::Block;
use crate::spec::Reach;
use crate::value_code::hash;
use crate::StateError;
use cdp_value::{Timestamp, Value};

/// So many distinct values are counted exactly.
pub const UNIQUE_EXACT: usize = 256;
/// Standard error of an estimated number of distinct values over all time.
pub const UNIQUE_ERROR: f64 = 0.033;
/// Standard error of an estimated number of distinct values within a window.
pub const UNIQUE_WINDOW_ERROR: f64 = 0.065;

/// Bits of a hash that choose the register.
const ALL_TIME_BITS: u32 = 10;
const WINDOW_BITS: u32 = 8;
/// How exactly the latest event of a value is known: 4.2 s.
const QUANTUM: Quantum = Quantum::new(22);
const LEAST_LEVEL: u8 = 22;

fn short_hash(value: &Value) -> u64 {
    hash(value) >> (64 - HASH_BITS)
}

/// Distinct values over all time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Ever {
    /// Ascending; empty once there are registers.
    hashes: Vec<u64>,
    /// Empty, or 1,024.
    registers: Vec<u8>,
}

impl Ever {
    fn is_empty(&self) -> bool {
        self.hashes.is_empty() && self.registers.is_empty()
    }

    fn insert(&mut self, hash: u64) {
        if !self.registers.is_empty() {
            return self.raise(hash);
        }
        if let Err(position) = self.hashes.binary_search(&hash) {
            self.hashes.insert(position, hash);
        }
        if self.hashes.len() > UNIQUE_EXACT {
            self.estimate_from_now_on();
        }
    }

    fn estimate_from_now_on(&mut self) {
        if self.registers.is_empty() {
            self.registers = vec![0; 1 << ALL_TIME_BITS];
        }
        for hash in std::mem::take(&mut self.hashes) {
            self.raise(hash);
        }
    }

    fn raise(&mut self, hash: u64) {
        let (index, rank) = register(hash, ALL_TIME_BITS);
        if let Some(register) = self.registers.get_mut(index) {
            *register = (*register).max(rank);
        }
    }

    fn merge(&mut self, other: &Ever) {
        if !other.registers.is_empty() {
            self.estimate_from_now_on();
            for (own, register) in self.registers.iter_mut().zip(&other.registers) {
                *own = (*own).max(*register);
            }
        }
        for hash in &other.hashes {
            self.insert(*hash);
        }
    }

    fn count(&self) -> u64 {
        if self.registers.is_empty() {
            self.hashes.len() as u64
        } else {
            estimate(&self.registers, ALL_TIME_BITS)
        }
    }

    /// Number of hashes and their distances; or 257 and the registers, six bits each.
    fn encode(&self, out: &mut Vec<u8>) {
        if self.registers.is_empty() {
            put(out, self.hashes.len() as u64);
            let mut previous = 0;
            for hash in &self.hashes {
                put(out, hash - previous);
                previous = *hash;
            }
            return;
        }
        put(out, UNIQUE_EXACT as u64 + 1);
        for four in self.registers.chunks(4) {
            let bits = four
                .iter()
                .rev()
                .fold(0u32, |bits, register| bits << 6 | u32::from(*register));
            out.extend(bits.to_le_bytes().iter().take(3));
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Ever, StateError> {
        let mut ever = Ever::default();
        let count = reader.varint()?;
        if count > UNIQUE_EXACT as u64 {
            let bytes = reader.take((1 << ALL_TIME_BITS) / 4 * 3)?;
            for three in bytes.chunks_exact(3) {
                let bits = three
                    .iter()
                    .rev()
                    .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
                let registers = (0..4).map(|i| ((bits >> (6 * i)) & 63) as u8);
                ever.registers.extend(registers);
            }
            return Ok(ever);
        }
        ever.hashes = take_hashes(reader, count)?;
        Ok(ever)
    }
}

fn take_hashes(reader: &mut Reader<'_>, count: u64) -> Result<Vec<u64>, StateError> {
    let mut hashes = Vec::new();
    let mut previous = 0u64;
    for i in 0..count {
        let step = reader.varint()?;
        previous = previous.saturating_add(step);
        if previous >> HASH_BITS != 0 || (i > 0 && step == 0) {
            return Err(StateError::Damaged("hashes are out of order"));
        }
        hashes.push(previous);
    }
    Ok(hashes)
}

/// A value's hash and the quantum of its latest event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    hash: u64,
    last: i64,
}

/// A register had a rank until the end of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Peak {
    register: u8,
    rank: u8,
    block: i64,
}

/// The sketch's blocks for windows of which this is the shortest.
fn level(shortest: i64) -> u8 {
    let width = (shortest / 64).max(1);
    let level = u8::try_from(width.ilog2()).unwrap_or(LEAST_LEVEL);
    level.max(LEAST_LEVEL)
}

/// Distinct values by their latest event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Lately {
    /// The sketch's blocks are 2^level microseconds.
    level: u8,
    /// The values that were seen most recently, ascending by hash; after compaction at most 257.
    seen: Vec<Seen>,
    /// Sketch of the values that were seen before those: per register ascending ranks, with
    /// blocks descending.
    peaks: Vec<Peak>,
}

impl Lately {
    fn set_level(&mut self, shortest: i64) {
        // Blocks that are already wider stay so.
        self.level = self.level.max(level(shortest));
    }

    fn insert(&mut self, seen: Seen) {
        match self.seen.binary_search_by_key(&seen.hash, |s| s.hash) {
            Ok(position) => {
                if let Some(known) = self.seen.get_mut(position) {
                    known.last = known.last.max(seen.last);
                }
            }
            Err(position) => self.seen.insert(position, seen),
        }
    }

    fn block(&self, quantum: i64) -> i64 {
        QUANTUM.start(quantum) >> self.level
    }

    fn peak(&self, seen: Seen) -> Peak {
        let (register, rank) = register(seen.hash, WINDOW_BITS);
        Peak {
            register: register as u8,
            rank,
            block: self.block(seen.last),
        }
    }

    fn merge(&mut self, other: &Lately) {
        let is_coarser = other.level > self.level;
        let shift = self.level.abs_diff(other.level);
        self.level = self.level.max(other.level);
        if is_coarser {
            for peak in &mut self.peaks {
                peak.block >>= shift;
            }
        }
        for peak in &other.peaks {
            let block = if is_coarser {
                peak.block
            } else {
                peak.block >> shift
            };
            self.peaks.push(Peak { block, ..*peak });
        }
        for seen in &other.seen {
            self.insert(*seen);
        }
        self.prune();
    }

    fn compact(&mut self, reach: &Reach, now: Timestamp) {
        self.set_level(reach.shortest);
        let floor = reach.floor(now) >> self.level;
        let level = self.level;
        self.seen
            .retain(|seen| QUANTUM.start(seen.last) >> level >= floor);
        self.peaks.retain(|peak| peak.block >= floor);
        self.prune();
    }

    /// Moves what is too old to be counted exactly to the sketch, and drops from the sketch what
    /// can no longer matter: lower ranks that were not seen later.
    fn prune(&mut self) {
        if self.seen.len() > UNIQUE_EXACT + 1 {
            let mut order: Vec<(i64, u64)> = self.seen.iter().map(|s| (s.last, s.hash)).collect();
            let kept = UNIQUE_EXACT;
            let (_, limit, _) = order.select_nth_unstable_by(kept, |a, b| b.cmp(a));
            let limit = *limit;
            let mut peaks = std::mem::take(&mut self.peaks);
            for seen in &self.seen {
                if (seen.last, seen.hash) < limit {
                    peaks.push(self.peak(*seen));
                }
            }
            self.peaks = peaks;
            self.seen.retain(|seen| (seen.last, seen.hash) >= limit);
        }
        if self.peaks.is_empty() {
            return;
        }
        // The best peaks per register come first; what the kept values show needs no peak.
        let known = self.seen.iter().map(|seen| (self.peak(*seen), false));
        let mut all: Vec<(Peak, bool)> = self
            .peaks
            .iter()
            .map(|peak| (*peak, true))
            .chain(known)
            .collect();
        all.sort_by_key(|(peak, own)| (peak.register, -i64::from(peak.rank), -peak.block, *own));
        let mut peaks = Vec::new();
        let mut best: Option<Peak> = None;
        for (peak, own) in all {
            let is_better =
                best.is_none_or(|best| best.register != peak.register || best.block < peak.block);
            if is_better {
                best = Some(peak);
                if own {
                    peaks.push(peak);
                }
            }
        }
        peaks.sort();
        self.peaks = peaks;
    }

    /// The latest event of a value within a window, if it is to be found in the edge's events.
    fn latest_at_edge(&self, seen: Seen, from: Timestamp, edges: &EdgeEvents) -> Option<Timestamp> {
        let to = QUANTUM.end(seen.last);
        if !edges.covers(from, to) {
            return Some(from);
        }
        let events = edges.within(from, to).iter().rev();
        let mut values = events.filter_map(|(ts, value)| Some((*ts, value.as_ref()?)));
        values
            .find(|(_, value)| !value.is_null() && short_hash(value) == seen.hash)
            .map(|(ts, _)| ts)
    }

    fn leaves_at(&self, seen: Seen, from: Timestamp, edges: &EdgeEvents) -> Option<Timestamp> {
        match QUANTUM.side(seen.last, from) {
            Side::Within => Some(QUANTUM.start(seen.last)),
            Side::Before => None,
            Side::Unsure => self.latest_at_edge(seen, from, edges),
        }
    }

    /// Number of the values seen most recently that are within a window.
    fn count_seen(&self, from: Timestamp, edges: &EdgeEvents) -> usize {
        self.seen
            .iter()
            .filter(|seen| self.leaves_at(**seen, from, edges).is_some())
            .count()
    }

    fn count(&self, from: Timestamp, edges: &EdgeEvents) -> u64 {
        let count = self.count_seen(from, edges);
        if count <= UNIQUE_EXACT {
            return count as u64;
        }
        let first = from >> self.level;
        let mut registers = vec![0u8; 1 << WINDOW_BITS];
        let seen = self.seen.iter().map(|seen| self.peak(*seen));
        for peak in self.peaks.iter().copied().chain(seen) {
            if let Some(register) = registers.get_mut(usize::from(peak.register)) {
                if peak.block >= first {
                    *register = (*register).max(peak.rank);
                }
            }
        }
        // There are at least as many as are known one by one.
        estimate(&registers, WINDOW_BITS).max(count as u64)
    }

    fn first_to_leave(&self, from: Timestamp, edges: &EdgeEvents) -> Option<Timestamp> {
        let first = self
            .seen
            .iter()
            .filter_map(|seen| self.leaves_at(*seen, from, edges))
            .min();
        if self.count_seen(from, edges) <= UNIQUE_EXACT {
            return first;
        }
        // An estimate changes when the window's start reaches the next block.
        let next = Block::at(from, self.level).end();
        first.map(|first| first.min(next))
    }

    fn encode(&self, last: Timestamp, out: &mut Vec<u8>) {
        put(out, self.seen.len() as u64);
        if self.seen.is_empty() {
            return;
        }
        out.push(self.level);
        let mut previous = 0;
        for seen in &self.seen {
            put(out, seen.hash - previous);
            previous = seen.hash;
        }
        let newest = QUANTUM.of(last);
        for seen in &self.seen {
            put(out, newest.wrapping_sub(seen.last) as u64);
        }
        put(out, self.peaks.len() as u64);
        let (newest, mut register) = (last >> self.level, 0);
        for peak in &self.peaks {
            out.push(peak.register - register);
            let age = newest.wrapping_sub(peak.block) as u64;
            put(out, (age << 6) | u64::from(peak.rank & 63));
            register = peak.register;
        }
    }

    fn decode(last: Timestamp, reader: &mut Reader<'_>) -> Result<Lately, StateError> {
        let mut lately = Lately::default();
        let count = reader.count(2)? as u64;
        if count == 0 {
            return Ok(lately);
        }
        lately.level = reader.byte()?;
        if !(LEAST_LEVEL..63).contains(&lately.level) {
            return Err(StateError::Damaged("a sketch has an unknown width"));
        }
        let hashes = take_hashes(reader, count)?;
        let newest = QUANTUM.of(last);
        for hash in hashes {
            let last = newest.wrapping_sub(reader.varint()? as i64);
            lately.seen.push(Seen { hash, last });
        }
        let newest = last >> lately.level;
        let mut register = 0u8;
        for _ in 0..reader.count(2)? {
            register = register
                .checked_add(reader.byte()?)
                .ok_or(StateError::Damaged("a sketch is out of order"))?;
            let coded = reader.varint()?;
            lately.peaks.push(Peak {
                register,
                rank: (coded & 63) as u8,
                block: newest.wrapping_sub((coded >> 6) as i64),
            });
        }
        Ok(lately)
    }
}

/// Distinct values over all time and within windows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Distinct {
    ever: Ever,
    lately: Lately,
}

impl Distinct {
    /// Windows that start within the same 2^level microseconds may need the same values.
    pub(crate) fn level(reach: &Reach) -> u8 {
        level(reach.shortest)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ever.is_empty() && self.lately.seen.is_empty()
    }

    pub(crate) fn fold(&mut self, reach: &Reach, ts: Timestamp, value: &Value) {
        let hash = short_hash(value);
        if reach.all_time {
            self.ever.insert(hash);
        }
        if reach.is_windowed() {
            self.lately.set_level(reach.shortest);
            let last = QUANTUM.of(ts);
            self.lately.insert(Seen { hash, last });
        }
    }

    pub(crate) fn merge(&mut self, other: &Distinct) {
        self.ever.merge(&other.ever);
        self.lately.merge(&other.lately);
    }

    pub(crate) fn compact(&mut self, reach: &Reach, now: Timestamp) {
        if !reach.all_time {
            self.ever = Ever::default();
        }
        if reach.is_windowed() {
            self.lately.compact(reach, now);
        }
        if !reach.is_windowed() || self.lately.seen.is_empty() {
            self.lately = Lately::default();
        }
    }

    /// Number of values over all time.
    pub(crate) fn count_all(&self) -> u64 {
        self.ever.count()
    }

    /// Whether the number of values over all time is an estimate.
    pub(crate) fn is_estimate(&self) -> bool {
        !self.ever.registers.is_empty()
    }

    /// Whether the number of values within a window is an estimate.
    pub(crate) fn is_estimate_from(&self, from: Timestamp, edges: &EdgeEvents) -> bool {
        self.lately.count_seen(from, edges) > UNIQUE_EXACT
    }

    /// The range that decides which values are within a window.
    pub(crate) fn edge(&self, from: Timestamp) -> Option<Edge> {
        let is_unsure = |seen: &&Seen| QUANTUM.side(seen.last, from) == Side::Unsure;
        self.lately.seen.iter().find(is_unsure).map(|seen| Edge {
            from,
            to: QUANTUM.end(seen.last),
        })
    }

    /// Number of values within a window.
    pub(crate) fn count(&self, from: Timestamp, edges: &EdgeEvents) -> u64 {
        self.lately.count(from, edges)
    }

    /// An instant no later than that of the next value to leave the window.
    pub(crate) fn first_to_leave(&self, from: Timestamp, edges: &EdgeEvents) -> Option<Timestamp> {
        self.lately.first_to_leave(from, edges)
    }

    pub(crate) fn encode(&self, last: Timestamp, out: &mut Vec<u8>) {
        self.ever.encode(out);
        self.lately.encode(last, out);
    }

    pub(crate) fn decode(last: Timestamp, reader: &mut Reader<'_>) -> Result<Distinct, StateError> {
        Ok(Distinct {
            ever: Ever::decode(reader)?,
            lately: Lately::decode(last, reader)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdp_value::{Decimal, DAY, MINUTE};

    fn value(n: i64) -> Value {
        Value::Number(Decimal::from(n))
    }

    const REACH: Reach = Reach {
        all_time: true,
        horizon: 30 * DAY,
        shortest: 7 * DAY,
    };

    #[test]
    fn estimates_are_as_good_as_stated() {
        let none = EdgeEvents::none();
        let (mut ever, mut lately, mut runs) = (0.0, 0.0, 0.0);
        for run in 0..40i64 {
            for size in [300i64, 1_000, 20_000] {
                let mut distinct = Distinct::default();
                for n in 0..size {
                    let ts = n * MINUTE;
                    distinct.fold(&REACH, ts, &value(run * 1_000_000 + n));
                    if n % 5_000 == 4_999 {
                        distinct.compact(&REACH, ts);
                    }
                }
                distinct.compact(&REACH, size * MINUTE);
                let error = |count: u64| (count as f64 / size as f64 - 1.0).powi(2);
                ever += error(distinct.count_all());
                lately += error(distinct.count(0, &none));
                runs += 1.0;
                let mut out = Vec::new();
                distinct.encode(size * MINUTE, &mut out);
                assert!(out.len() < 5_500, "{}", out.len());
            }
        }
        let (ever, lately) = ((ever / runs).sqrt(), (lately / runs).sqrt());
        assert!(ever < UNIQUE_ERROR * 1.1, "{ever}");
        assert!(lately < UNIQUE_WINDOW_ERROR * 1.1, "{lately}");
    }

    /// Whatever is compacted when, the state of the same values is the same.
    #[test]
    fn compaction_has_no_memory() {
        let events: Vec<(Timestamp, i64)> = (0..4_000)
            .map(|n: i64| ((n * 7_919) % 4_000 * 15 * MINUTE, (n * 104_729) % 1_700))
            .collect();
        let now = 4_000 * 15 * MINUTE;
        let (mut once, mut often) = (Distinct::default(), Distinct::default());
        for (i, (ts, n)) in events.iter().enumerate() {
            once.fold(&REACH, *ts, &value(*n));
            often.fold(&REACH, *ts, &value(*n));
            if i % 90 == 0 {
                often.compact(&REACH, now - (events.len() - i) as i64 * MINUTE);
            }
        }
        once.compact(&REACH, now);
        often.compact(&REACH, now);
        assert!(!once.lately.peaks.is_empty());
        assert_eq!(once, often);
        let mut out = Vec::new();
        once.encode(now, &mut out);
        let mut reader = Reader::new(&out);
        assert_eq!(Distinct::decode(now, &mut reader).unwrap(), once);
        reader.finish().unwrap();
    }
}
