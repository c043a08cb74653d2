//! The state of one person: what all traits need of their events, in one small value.

use crate::bytes::{put, put_signed, Reader};
use crate::calendar::Calendar;
use crate::edge::{Edge, EdgeEvents};
use crate::query::Query;
use crate::slot::Slot;
use crate::spec::{SlotSpec, Specs};
use crate::StateError;
use cdp_value::{AggregateFunction, Timestamp, Value, Window, DAY};
use std::cell::OnceCell;
use std::ops::Range;

/// The format that is written. Formats are never changed, only added.
const VERSION: u8 = 1;

/// Times are stored as distances from 2020-01-01, which makes recent ones a byte shorter.
const EPOCH: Timestamp = 18_262 * DAY;

/// Which instants follow the version.
mod flag {
    pub(super) const FIRST_SEEN: u8 = 1;
    pub(super) const LAST_SEEN: u8 = 2;
    pub(super) const COMPACTED: u8 = 4;
    pub(super) const ALL: u8 = 7;
}

/// A person's state.
///
/// Slots are decoded when they are first looked at; those that nobody touches are copied as
/// bytes. Two states of the same events, folded in any order and compacted at the same instant,
/// are equal, byte for byte (see the crate's documentation for the exceptions).
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The earliest event of any kind.
    pub first_seen: Option<Timestamp>,
    /// The latest event of any kind.
    pub last_seen: Option<Timestamp>,
    /// Number of events of any kind.
    pub event_count: u64,
    compacted: Option<Timestamp>,
    /// Ascending by id.
    slots: Vec<Entry>,
    /// What the state was decoded from, or [sealed](State::seal) into.
    bytes: Vec<u8>,
}

/// A slot: coded, decoded or both.
#[derive(Debug, Clone)]
struct Entry {
    id: u32,
    /// Its bytes in the state's, unless it was changed.
    coded: Option<Range<usize>>,
    slot: OnceCell<Box<Slot>>,
}

impl Entry {
    fn coded<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let range = self.coded.clone().unwrap_or(0..0);
        bytes.get(range).unwrap_or(&[])
    }

    fn get(&self, bytes: &[u8]) -> Result<&Slot, StateError> {
        if let Some(slot) = self.slot.get() {
            return Ok(slot);
        }
        let slot = Box::new(Slot::decode(self.coded(bytes))?);
        Ok(self.slot.get_or_init(|| slot))
    }

    /// The slot, to be changed.
    fn get_mut(&mut self, bytes: &[u8]) -> Result<&mut Slot, StateError> {
        self.get(bytes)?;
        self.coded = None;
        self.slot
            .get_mut()
            .map(|slot| &mut **slot)
            .ok_or(StateError::Damaged("a slot is missing"))
    }
}

impl State {
    /// The state of a person without events.
    pub fn new() -> State {
        State::default()
    }

    /// Reads what [`State::encode`] wrote, in this release or an earlier one. No bytes at all are
    /// an empty state. Slots are only looked into when they are needed.
    pub fn decode(bytes: &[u8]) -> Result<State, StateError> {
        State::of(bytes.to_vec())
    }

    /// Encodes the state and keeps nothing but the bytes, which are returned. It stays what it was:
    /// slots are decoded again when somebody looks.
    pub fn seal(&mut self) -> Result<&[u8], StateError> {
        *self = State::of(self.encode())?;
        Ok(&self.bytes)
    }

    fn of(bytes: Vec<u8>) -> Result<State, StateError> {
        let mut state = State::default();
        if bytes.is_empty() {
            return Ok(state);
        }
        let mut reader = Reader::new(&bytes);
        match reader.byte()? {
            VERSION => {}
            unknown => return Err(StateError::Version(unknown)),
        }
        let flags = reader.byte()?;
        if flags > flag::ALL {
            return Err(StateError::Damaged("the header has unknown flags"));
        }
        let mut previous = EPOCH;
        for (bit, instant) in [
            (flag::LAST_SEEN, &mut state.last_seen),
            (flag::FIRST_SEEN, &mut state.first_seen),
            (flag::COMPACTED, &mut state.compacted),
        ] {
            if flags & bit != 0 {
                let ts = previous.wrapping_add(reader.signed()?);
                *instant = Some(ts);
                if bit == flag::LAST_SEEN {
                    previous = ts;
                }
            }
        }
        state.event_count = reader.varint()?;
        let count = reader.count(2)?;
        state.slots.reserve_exact(count);
        let (mut id, mut length_of_all) = (0u32, 0usize);
        for i in 0..count {
            let step = u32::try_from(reader.varint()?).map_err(|_| BAD_TABLE)?;
            id = id.checked_add(step).ok_or(BAD_TABLE)?;
            if i > 0 && step == 0 {
                return Err(BAD_TABLE);
            }
            let length = usize::try_from(reader.varint()?).map_err(|_| BAD_TABLE)?;
            let end = length_of_all.checked_add(length).ok_or(BAD_TABLE)?;
            state.slots.push(Entry {
                id,
                coded: Some(length_of_all..end),
                slot: OnceCell::new(),
            });
            length_of_all = end;
        }
        if reader.remaining() != length_of_all {
            return Err(StateError::Damaged("the slots have another length"));
        }
        let header = bytes.len().saturating_sub(length_of_all);
        for coded in state.slots.iter_mut().filter_map(|e| e.coded.as_mut()) {
            *coded = coded.start + header..coded.end + header;
        }
        state.bytes = bytes;
        Ok(state)
    }

    /// The bytes to store. Equal states give equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.bytes.len() + 64);
        let mut table = Vec::with_capacity(4 * self.slots.len());
        let (mut previous, mut count) = (0, 0u64);
        for entry in &self.slots {
            let start = body.len();
            match (&entry.coded, entry.slot.get()) {
                (None, Some(slot)) if slot.is_empty() => continue,
                (None, Some(slot)) => slot.encode(&mut body),
                _ => body.extend_from_slice(entry.coded(&self.bytes)),
            }
            put(&mut table, u64::from(entry.id - previous));
            put(&mut table, (body.len() - start) as u64);
            previous = entry.id;
            count += 1;
        }
        let mut out = Vec::with_capacity(body.len() + table.len() + 40);
        let base = self.last_seen.unwrap_or(EPOCH);
        let instants = [
            (flag::LAST_SEEN, self.last_seen, EPOCH),
            (flag::FIRST_SEEN, self.first_seen, base),
            (flag::COMPACTED, self.compacted, base),
        ];
        out.push(VERSION);
        out.push(0);
        let mut flags = 0;
        for (bit, instant, base) in instants {
            if let Some(ts) = instant {
                flags |= bit;
                put_signed(&mut out, ts.wrapping_sub(base));
            }
        }
        if let Some(byte) = out.get_mut(1) {
            *byte = flags;
        }
        put(&mut out, self.event_count);
        put(&mut out, count);
        out.extend_from_slice(&table);
        out.extend_from_slice(&body);
        out
    }

    /// Looks into every slot: whether all bytes follow the format.
    pub fn verify(&self) -> Result<(), StateError> {
        for entry in &self.slots {
            entry.get(&self.bytes)?;
        }
        Ok(())
    }

    /// The latest instant that the state knows of: its last event or its last compaction. At a
    /// `now` before it, windows are answered from the events alone; where clocks of concurrent
    /// transactions differ a little, evaluate at the later of `now` and this.
    pub fn as_of(&self) -> Option<Timestamp> {
        self.last_seen.max(self.compacted)
    }

    /// Notes an event of any kind.
    pub fn touch(&mut self, ts: Timestamp) {
        self.first_seen = Some(self.first_seen.map_or(ts, |first| first.min(ts)));
        self.last_seen = self.last_seen.max(Some(ts));
        self.event_count = self.event_count.saturating_add(1);
    }

    /// Adds an event to a slot: its time, and its property if the slot has one.
    pub fn fold(
        &mut self,
        spec: &SlotSpec,
        ts: Timestamp,
        value: Option<&Value>,
        calendar: &dyn Calendar,
    ) -> Result<(), StateError> {
        let position = self.position(spec.id());
        if let Some(entry) = self.slots.get_mut(position) {
            entry.get_mut(&self.bytes)?.fold(spec, ts, value, calendar);
        }
        Ok(())
    }

    /// As [`State::fold`], for many events of a slot. The order does not matter, but that of time is the quickest.
    pub fn fold_all<'v>(
        &mut self,
        spec: &SlotSpec,
        events: impl Iterator<Item = (Timestamp, Option<&'v Value>)>,
        calendar: &dyn Calendar,
    ) -> Result<(), StateError> {
        let position = self.position(spec.id());
        if let Some(entry) = self.slots.get_mut(position) {
            let slot = entry.get_mut(&self.bytes)?;
            for (ts, value) in events {
                slot.fold(spec, ts, value, calendar);
            }
        }
        Ok(())
    }

    /// Notes that events before [`SlotSpec::needs_from`] at `now` were left out of a slot: what windows held earlier is
    /// answered from the events alone, as after [`State::compact`].
    pub fn starts_at(&mut self, now: Timestamp) {
        self.compacted = self.compacted.max(Some(now));
    }

    /// The position of a slot, which is made if it is not there.
    fn position(&mut self, id: u32) -> usize {
        match self.slots.binary_search_by_key(&id, |entry| entry.id) {
            Ok(position) => position,
            Err(position) => {
                let entry = Entry {
                    id,
                    coded: None,
                    slot: OnceCell::from(Box::default()),
                };
                self.slots.insert(position, entry);
                position
            }
        }
    }

    fn entry(&self, id: u32) -> Option<&Entry> {
        let position = self.slots.binary_search_by_key(&id, |entry| entry.id);
        position.ok().and_then(|position| self.slots.get(position))
    }

    fn slot(&self, spec: &SlotSpec) -> Result<Option<&Slot>, StateError> {
        self.entry(spec.id())
            .map(|entry| entry.get(&self.bytes))
            .transpose()
    }

    /// Adds the events of another state, none of which this one has. Neither order nor grouping
    /// of merges matters.
    pub fn merge(&mut self, other: &State) -> Result<(), StateError> {
        self.first_seen = match (self.first_seen, other.first_seen) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.last_seen = self.last_seen.max(other.last_seen);
        self.event_count = self.event_count.saturating_add(other.event_count);
        self.compacted = self.compacted.max(other.compacted);
        for entry in &other.slots {
            let slot = entry.get(&other.bytes)?;
            let position = self.position(entry.id);
            if let Some(own) = self.slots.get_mut(position) {
                own.get_mut(&self.bytes)?.merge(slot);
            }
        }
        Ok(())
    }

    /// Replaces one slot by that of another state of the same person: what was computed from all
    /// events for a new or changed definition.
    pub fn adopt(&mut self, id: u32, other: &State) -> Result<(), StateError> {
        let slot = match other.entry(id) {
            Some(entry) => entry.get(&other.bytes)?.clone(),
            None => Slot::default(),
        };
        self.compacted = self.compacted.max(other.compacted);
        let position = self.position(id);
        if let Some(entry) = self.slots.get_mut(position) {
            entry.coded = None;
            entry.slot = OnceCell::from(Box::new(slot));
        }
        Ok(())
    }

    /// Learns from events that were read for the edges of a slot: what lies across an edge is kept
    /// in finer parts from then on, so that the next question needs fewer events or none. It
    /// changes no answer; whoever stores the state anyway should call this before
    /// [`State::compact`]. Returns whether the state has changed.
    pub fn refine(
        &mut self,
        spec: &SlotSpec,
        now: Timestamp,
        edges: &EdgeEvents,
    ) -> Result<bool, StateError> {
        let found = self
            .slots
            .binary_search_by_key(&spec.id(), |entry| entry.id);
        let Some(entry) = found.ok().and_then(|i| self.slots.get_mut(i)) else {
            return Ok(false);
        };
        if edges.is_empty() {
            return Ok(false);
        }
        entry.get(&self.bytes)?;
        let has_changed = entry
            .slot
            .get_mut()
            .is_some_and(|slot| slot.refine(spec, now, edges));
        if has_changed {
            entry.coded = None;
        }
        Ok(has_changed)
    }

    /// Drops the slots that are not in use any more.
    pub fn keep(&mut self, is_used: impl Fn(u32) -> bool) {
        self.slots.retain(|entry| is_used(entry.id));
    }

    /// Drops what no window can need any more at `now`, slots that `specs` does not know
    /// included, and coarsens what is large.
    pub fn compact(
        &mut self,
        specs: &(impl Specs + ?Sized),
        now: Timestamp,
    ) -> Result<(), StateError> {
        self.keep(|id| specs.spec(id).is_some());
        self.compact_where(specs, now, |_| true)
    }

    /// Compacts only the slots that were changed since the state was decoded: the others, which
    /// cost nothing, keep what they do not need for a while.
    pub fn compact_changed(
        &mut self,
        specs: &(impl Specs + ?Sized),
        now: Timestamp,
    ) -> Result<(), StateError> {
        self.slots
            .retain(|entry| entry.coded.is_some() || specs.spec(entry.id).is_some());
        self.compact_where(specs, now, |entry| entry.coded.is_none())
    }

    fn compact_where(
        &mut self,
        specs: &(impl Specs + ?Sized),
        now: Timestamp,
        is_chosen: impl Fn(&Entry) -> bool,
    ) -> Result<(), StateError> {
        for entry in self.slots.iter_mut().filter(|entry| is_chosen(entry)) {
            if let Some(spec) = specs.spec(entry.id) {
                entry.get_mut(&self.bytes)?.compact(spec, now);
            }
        }
        self.slots.retain(|entry| {
            entry.coded.is_some() || entry.slot.get().is_some_and(|slot| !slot.is_empty())
        });
        self.compacted = self.compacted.max(Some(now));
        Ok(())
    }

    /// The ranges of time whose events are needed to evaluate an aggregate at `now`. Usually
    /// there are none: an edge of the window has to lie within something that is only kept as a
    /// whole.
    pub fn edges(
        &self,
        spec: &SlotSpec,
        function: AggregateFunction,
        window: Option<Window>,
        now: Timestamp,
    ) -> Result<Vec<Edge>, StateError> {
        let query = Query::new(function, window, now);
        let slot = self.slot(spec)?;
        Ok(slot.map_or_else(Vec::new, |slot| query.edges(slot, self.compacted)))
    }

    /// The value of an aggregate at `now`. `edges` holds the events of the ranges that
    /// [`State::edges`] gives; without them what lies across an edge counts as a whole.
    pub fn evaluate(
        &self,
        spec: &SlotSpec,
        function: AggregateFunction,
        window: Option<Window>,
        now: Timestamp,
        edges: &EdgeEvents,
        calendar: &dyn Calendar,
    ) -> Result<Value, StateError> {
        let query = Query::new(function, window, now);
        let empty = Slot::default();
        let slot = self.slot(spec)?.unwrap_or(&empty);
        Ok(query.evaluate(slot, self.compacted, edges, calendar))
    }

    /// The earliest instant after `now` at which an aggregate can change without an event, never
    /// later than the truth; None when time alone cannot change it.
    pub fn changes_at(
        &self,
        spec: &SlotSpec,
        function: AggregateFunction,
        window: Option<Window>,
        now: Timestamp,
        edges: &EdgeEvents,
        calendar: &dyn Calendar,
    ) -> Result<Option<Timestamp>, StateError> {
        let query = Query::new(function, window, now);
        let slot = self.slot(spec)?;
        Ok(slot.and_then(|slot| query.changes_at(slot, self.compacted, edges, calendar)))
    }

    /// Whether the value of an aggregate at `now` is an estimate.
    pub fn is_approximate(
        &self,
        spec: &SlotSpec,
        function: AggregateFunction,
        window: Option<Window>,
        now: Timestamp,
        edges: &EdgeEvents,
    ) -> Result<bool, StateError> {
        let query = Query::new(function, window, now);
        let slot = self.slot(spec)?;
        Ok(slot.is_some_and(|slot| query.is_approximate(slot, self.compacted, edges)))
    }

    /// The earliest event of a slot, if the spec has `FirstSeenAgo` without a window.
    pub fn slot_first_seen(&self, spec: &SlotSpec) -> Result<Option<Timestamp>, StateError> {
        Ok(self.slot(spec)?.and_then(|slot| slot.totals.first_seen))
    }

    /// The latest event of a slot; None also when no window reaches it any more.
    pub fn slot_last_seen(&self, spec: &SlotSpec) -> Result<Option<Timestamp>, StateError> {
        Ok(self.slot(spec)?.and_then(|slot| slot.last))
    }
}

const BAD_TABLE: StateError = StateError::Damaged("the table of slots is out of order");
