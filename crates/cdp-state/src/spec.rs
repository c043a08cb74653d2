//! What a slot has to keep, from the functions and windows that its definitions use.

use crate::distinct::Distinct;
use crate::ladder::{Block, Ladder};
use crate::periods::GridSpec;
use crate::series::Keep;
use cdp_value::{AggregateFunction, Timestamp, Window};
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

/// A set of parts of a slot, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Parts(pub(crate) u8);

impl Parts {
    pub(crate) const fn has(self, part: u8) -> bool {
        self.0 & part != 0
    }

    pub(crate) fn insert(&mut self, part: u8) {
        self.0 |= part;
    }
}

/// Parts of the totals over all time.
pub(crate) mod total {
    pub(crate) const COUNT: u8 = 1;
    pub(crate) const SUM: u8 = 2;
    pub(crate) const MINIMUM: u8 = 4;
    pub(crate) const MAXIMUM: u8 = 8;
    pub(crate) const FIRST: u8 = 16;
    pub(crate) const LAST: u8 = 32;
    pub(crate) const FIRST_SEEN: u8 = 64;
}

/// What each bucket of a series keeps besides its number of events.
pub(crate) mod column {
    pub(crate) const SUM: u8 = 1;
    pub(crate) const MINIMUM: u8 = 2;
    pub(crate) const MAXIMUM: u8 = 4;
    pub(crate) const FIRST: u8 = 8;
    /// The exact first and last instant.
    pub(crate) const EXTENT: u8 = 16;
    /// Number of sessions.
    pub(crate) const RUNS: u8 = 32;
    /// Some of the values.
    pub(crate) const SAMPLE: u8 = 64;
    /// A histogram of the numbers.
    pub(crate) const BINS: u8 = 128;

    /// Columns that need the numbers of single events.
    pub(crate) const OF_NUMBERS: u8 = SUM | MINIMUM | MAXIMUM | BINS;
    /// Columns that need the values of single events, whatever their type.
    pub(crate) const OF_VALUES: u8 = FIRST | SAMPLE;
}

/// How far back something is needed: within finite windows, over all time, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) all_time: bool,
    /// Length of the longest finite window; 0 when there is none.
    pub(crate) horizon: i64,
    /// Length of the shortest finite window; 0 when there is none.
    pub(crate) shortest: i64,
}

impl Reach {
    fn add(&mut self, window: Option<Window>) {
        match window {
            None => self.all_time = true,
            Some(Window { length }) => {
                self.horizon = self.horizon.max(length);
                if self.shortest == 0 || length < self.shortest {
                    self.shortest = length;
                }
            }
        }
    }

    pub(crate) fn is_used(&self) -> bool {
        self.all_time || self.horizon > 0
    }

    pub(crate) fn is_windowed(&self) -> bool {
        self.horizon > 0
    }

    /// The earliest instant that a window can still reach at `now`.
    pub(crate) fn floor(&self, now: Timestamp) -> Timestamp {
        now.saturating_sub(self.horizon)
    }
}

/// The sessions with one gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionSpec {
    pub(crate) gap: i64,
    pub(crate) ladder: Ladder,
}

/// What one slot keeps: the union of what all aggregates over its events need.
///
/// A slot is one source of events (an event name, maybe a filter) with at most one property.
/// Whoever compiles definitions gives it an id that is unique within the namespace, and calls
/// [`SlotSpec::add`] for every aggregate. When a spec gains a function or a longer window, the
/// slot has to be filled again from the events (see `State::adopt`); losing one needs nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotSpec {
    id: u32,
    pub(crate) totals: Parts,
    pub(crate) columns: Parts,
    pub(crate) ladder: Ladder,
    /// The series of `top` and percentiles.
    pub(crate) value_columns: Parts,
    pub(crate) value_ladder: Ladder,
    pub(crate) last: Reach,
    pub(crate) days: Reach,
    pub(crate) hours: Reach,
    pub(crate) unique: Reach,
    pub(crate) list: Reach,
    pub(crate) top_all_time: bool,
    pub(crate) percentile_all_time: bool,
    pub(crate) sessions: Vec<SessionSpec>,
    pub(crate) grids: Vec<GridSpec>,
    horizon: Option<i64>,
    all_time: bool,
}

impl SlotSpec {
    /// A slot that nothing needs yet.
    pub fn new(id: u32) -> SlotSpec {
        SlotSpec {
            id,
            totals: Parts::default(),
            columns: Parts::default(),
            ladder: Ladder::fine(),
            value_columns: Parts::default(),
            value_ladder: Ladder::coarse(),
            last: Reach::default(),
            days: Reach::default(),
            hours: Reach::default(),
            unique: Reach::default(),
            list: Reach::default(),
            top_all_time: false,
            percentile_all_time: false,
            sessions: Vec::new(),
            grids: Vec::new(),
            horizon: None,
            all_time: false,
        }
    }

    /// The slot's id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The longest finite window in microseconds; None when no function has one.
    pub fn horizon(&self) -> Option<i64> {
        self.horizon
    }

    /// Whether some function counts events of all time.
    pub fn all_time(&self) -> bool {
        self.all_time
    }

    /// The earliest event that a window reaches at `now` or later, as a state keeps it; None when all events matter.
    /// Without those before, a state that is compacted at `now` is the same.
    pub fn needs_from(&self, now: Timestamp) -> Option<Timestamp> {
        /// Nothing is rounded by more than that: 34 seconds.
        const LEAST_LEVEL: u8 = 25;
        if self.all_time || !self.grids.is_empty() {
            return None;
        }
        let floor = now.saturating_sub(self.horizon?);
        let level = LEAST_LEVEL
            .max(self.value_ladder.widest_level())
            .max(Distinct::level(&self.unique));
        Some(Block::at(floor, level).start)
    }

    /// Makes the slot keep what `function` needs, within `window` or over all time. Windows that
    /// are not positive count as one microsecond.
    pub fn add(&mut self, function: AggregateFunction, window: Option<Window>) {
        let window = window.map(|w| Window {
            length: w.length.max(1),
        });
        match window {
            None => self.all_time = true,
            Some(w) => self.horizon = Some(self.horizon.unwrap_or(0).max(w.length)),
        }
        match function {
            AggregateFunction::Count => self.add_series(total::COUNT, 0, window),
            AggregateFunction::Sum | AggregateFunction::Avg => {
                self.add_series(total::SUM, column::SUM, window);
            }
            AggregateFunction::Min => self.add_series(total::MINIMUM, column::MINIMUM, window),
            AggregateFunction::Max => self.add_series(total::MAXIMUM, column::MAXIMUM, window),
            AggregateFunction::First => self.add_series(total::FIRST, column::FIRST, window),
            AggregateFunction::FirstSeenAgo(_) => {
                self.add_series(total::FIRST_SEEN, column::EXTENT, window);
            }
            AggregateFunction::Last => {
                self.totals.insert(total::LAST);
                self.last.add(window);
            }
            // The latest event of a slot is always known; it only has to be kept long enough.
            AggregateFunction::LastSeenAgo(_) => self.last.add(window),
            AggregateFunction::UniqueDays => self.days.add(window),
            AggregateFunction::UniqueHours => self.hours.add(window),
            AggregateFunction::Unique => self.unique.add(window),
            AggregateFunction::List => self.list.add(window),
            AggregateFunction::Top if window.is_none() => self.top_all_time = true,
            AggregateFunction::Top => self.add_values(column::SAMPLE, window),
            AggregateFunction::Percentile(_) if window.is_none() => self.percentile_all_time = true,
            AggregateFunction::Percentile(_) => self.add_values(column::BINS, window),
            AggregateFunction::Sessions(gap) => self.add_sessions(gap, window),
            AggregateFunction::LimitedCount { most, period } => {
                self.add_grid(GridSpec::limited(most, period));
            }
            AggregateFunction::DecayedCount {
                half_life,
                step,
                most,
            } => self.add_grid(GridSpec::decayed(half_life, step, most)),
        }
    }

    /// What the series keeps of each event.
    pub(crate) fn keep(&self) -> Keep {
        Keep {
            columns: self.columns,
            gap: 0,
        }
    }

    /// What the series of values keeps of each event.
    pub(crate) fn keep_values(&self) -> Keep {
        Keep {
            columns: self.value_columns,
            gap: 0,
        }
    }

    fn add_series(&mut self, total: u8, column: u8, window: Option<Window>) {
        match window {
            None => self.totals.insert(total),
            Some(window) => {
                self.columns.insert(column);
                self.ladder.add(Some(window));
            }
        }
    }

    fn add_values(&mut self, column: u8, window: Option<Window>) {
        self.value_columns.insert(column);
        self.value_ladder.add(window);
    }

    fn add_grid(&mut self, spec: GridSpec) {
        match self.grids.binary_search_by_key(&spec.grid, |s| s.grid) {
            Ok(position) => {
                if let Some(known) = self.grids.get_mut(position) {
                    known.extend(&spec);
                }
            }
            Err(position) => self.grids.insert(position, spec),
        }
    }

    fn add_sessions(&mut self, gap: i64, window: Option<Window>) {
        let position = match self.sessions.binary_search_by_key(&gap, |s| s.gap) {
            Ok(position) => position,
            Err(position) => {
                let ladder = Ladder::fine();
                self.sessions.insert(position, SessionSpec { gap, ladder });
                position
            }
        };
        if let Some(session) = self.sessions.get_mut(position) {
            session.ladder.add(window);
        }
    }
}

/// The slots that are in use, by id.
pub trait Specs {
    /// The spec of a slot; None when no definition needs the slot any more.
    fn spec(&self, id: u32) -> Option<&SlotSpec>;
}

impl Specs for [SlotSpec] {
    fn spec(&self, id: u32) -> Option<&SlotSpec> {
        self.iter().find(|spec| spec.id == id)
    }
}

impl Specs for Vec<SlotSpec> {
    fn spec(&self, id: u32) -> Option<&SlotSpec> {
        self.as_slice().spec(id)
    }
}

impl<S: BuildHasher> Specs for HashMap<u32, SlotSpec, S> {
    fn spec(&self, id: u32) -> Option<&SlotSpec> {
        self.get(&id)
    }
}

impl Specs for BTreeMap<u32, SlotSpec> {
    fn spec(&self, id: u32) -> Option<&SlotSpec> {
        self.get(&id)
    }
}
