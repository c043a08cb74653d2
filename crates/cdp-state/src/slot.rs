//! All that is kept of one slot's events.

use crate::bytes::{put, put_signed, Reader};
use crate::calendar::Calendar;
use crate::distinct::Distinct;
use crate::edge::EdgeEvents;
use crate::frequency::Frequencies;
use crate::list::List;
use crate::periods::{Grid, Periods};
use crate::property::Property;
use crate::quantile::Numbers;
use crate::series::{Keep, Series};
use crate::spec::{column, Parts, SlotSpec};
use crate::totals::Totals;
use crate::units::{Units, DAYS, HOURS};
use crate::StateError;
use cdp_value::{Timestamp, Value, DAY};

/// Times are stored as distances from 2020-01-01, which makes recent ones a byte shorter.
const EPOCH: Timestamp = 18_262 * DAY;

/// Sessions with one gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sessions {
    pub(crate) gap: i64,
    pub(crate) series: Series,
}

impl Sessions {
    fn keep(&self) -> Keep {
        Keep {
            columns: Parts(column::RUNS),
            gap: self.gap,
        }
    }
}

/// What is kept of a slot. Parts that no function needs are empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Slot {
    /// The latest event; None when there was none.
    pub(crate) last: Option<Timestamp>,
    pub(crate) totals: Totals,
    /// For functions of windows whose buckets are small.
    pub(crate) series: Series,
    /// For `top` and percentiles within windows.
    pub(crate) values: Series,
    pub(crate) days: Units,
    pub(crate) hours: Units,
    /// Ascending by gap.
    pub(crate) sessions: Vec<Sessions>,
    pub(crate) unique: Distinct,
    pub(crate) list: List,
    /// Over all time.
    pub(crate) top: Option<Box<Frequencies>>,
    /// Over all time.
    pub(crate) numbers: Numbers,
    /// Ascending by grid.
    pub(crate) periods: Vec<Periods>,
}

/// Bits that say which parts follow.
mod part {
    pub(super) const TOTALS: u64 = 1;
    pub(super) const SERIES: u64 = 2;
    pub(super) const DAYS: u64 = 4;
    pub(super) const HOURS: u64 = 8;
    pub(super) const SESSIONS: u64 = 16;
    pub(super) const UNIQUE: u64 = 32;
    pub(super) const LIST: u64 = 64;
    pub(super) const TOP: u64 = 128;
    pub(super) const NUMBERS: u64 = 256;
    pub(super) const VALUES: u64 = 512;
    pub(super) const PERIODS: u64 = 1024;
    pub(super) const ALL: u64 = 2047;
}

impl Slot {
    /// Whether the slot need not be stored.
    pub(crate) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Adds an event.
    pub(crate) fn fold(
        &mut self,
        spec: &SlotSpec,
        ts: Timestamp,
        value: Option<&Value>,
        calendar: &dyn Calendar,
    ) {
        let property = Property::of(value);
        self.last = self.last.max(Some(ts));
        if spec.totals != Parts::default() {
            self.totals.fold(spec.totals, ts, property);
        }
        if !spec.ladder.is_empty() {
            self.series.fold(spec.keep(), ts, property);
        }
        if !spec.value_ladder.is_empty() {
            self.values.fold(spec.keep_values(), ts, property);
        }
        if spec.days.is_used() {
            let day = i64::from(calendar.day(ts));
            self.days.fold(DAYS, &spec.days, day, ts);
        }
        if spec.hours.is_used() {
            self.hours.fold(HOURS, &spec.hours, calendar.hour(ts), ts);
        }
        for session in &spec.sessions {
            self.change_sessions(session.gap, |series, keep| {
                series.fold(keep, ts, Property::Absent);
            });
        }
        for spec in &spec.grids {
            self.change_periods(spec.grid, |periods| periods.fold(ts, calendar));
        }
        if let Some(value) = value.filter(|value| !value.is_null()) {
            self.fold_value(spec, ts, value, property);
        }
    }

    fn fold_value(
        &mut self,
        spec: &SlotSpec,
        ts: Timestamp,
        value: &Value,
        property: Property<'_>,
    ) {
        let is_listable = matches!(property, Property::Number(_) | Property::Other(_));
        if spec.unique.is_used() {
            self.unique.fold(&spec.unique, ts, value);
        }
        if spec.list.is_used() && is_listable {
            self.list.fold(&spec.list, ts, value);
        }
        if spec.top_all_time && is_listable {
            self.top_mut().add(value, 1);
        }
        if spec.percentile_all_time {
            self.numbers.add(property);
        }
    }

    fn top_mut(&mut self) -> &mut Frequencies {
        self.top.get_or_insert_default()
    }

    /// Applies a change to the sessions with a gap.
    fn change_sessions(&mut self, gap: i64, change: impl FnOnce(&mut Series, Keep)) {
        let position = self.sessions.partition_point(|known| known.gap < gap);
        if self.sessions.get(position).is_none_or(|s| s.gap != gap) {
            let series = Series::default();
            self.sessions.insert(position, Sessions { gap, series });
        }
        if let Some(sessions) = self.sessions.get_mut(position) {
            let keep = sessions.keep();
            change(&mut sessions.series, keep);
        }
    }

    /// Applies a change to the events by the periods of a grid.
    fn change_periods(&mut self, grid: Grid, change: impl FnOnce(&mut Periods)) {
        let position = self.periods.partition_point(|known| known.grid < grid);
        if self.periods.get(position).is_none_or(|p| p.grid != grid) {
            self.periods.insert(position, Periods::new(grid));
        }
        if let Some(periods) = self.periods.get_mut(position) {
            change(periods);
        }
    }

    /// The events by the periods of a grid.
    pub(crate) fn periods(&self, grid: Grid) -> Option<&Periods> {
        self.periods.iter().find(|known| known.grid == grid)
    }

    /// The sessions with a gap.
    pub(crate) fn sessions(&self, gap: i64) -> Option<&Series> {
        let known = self.sessions.iter().find(|known| known.gap == gap);
        known.map(|known| &known.series)
    }

    /// Adds the events of another slot.
    pub(crate) fn merge(&mut self, other: &Slot) {
        self.last = self.last.max(other.last);
        self.totals.merge(&other.totals);
        self.series.merge(&other.series, 0);
        self.values.merge(&other.values, 0);
        self.days.merge(&other.days);
        self.hours.merge(&other.hours);
        for sessions in &other.sessions {
            self.change_sessions(sessions.gap, |series, keep| {
                series.merge(&sessions.series, keep.gap);
            });
        }
        self.unique.merge(&other.unique);
        self.list.merge(&other.list);
        if let Some(top) = &other.top {
            self.top_mut().merge(top);
        }
        self.numbers.merge(&other.numbers);
        for periods in &other.periods {
            self.change_periods(periods.grid, |own| own.merge(periods));
        }
    }

    /// Uses events that were read for edges; returns whether anything changed.
    pub(crate) fn refine(&mut self, spec: &SlotSpec, now: Timestamp, edges: &EdgeEvents) -> bool {
        let mut has_changed = self.series.refine(&spec.ladder, spec.keep(), now, edges);
        for sessions in &mut self.sessions {
            let keep = sessions.keep();
            if let Some(session) = spec.sessions.iter().find(|s| s.gap == sessions.gap) {
                has_changed |= sessions.series.refine(&session.ladder, keep, now, edges);
            }
        }
        has_changed
    }

    /// Drops what nothing needs at `now`, and coarsens what is large.
    pub(crate) fn compact(&mut self, spec: &SlotSpec, now: Timestamp) {
        self.totals.compact(spec, now);
        if spec.ladder.is_empty() {
            self.series = Series::default();
        } else {
            self.series.compact(&spec.ladder, spec.keep(), now);
        }
        if spec.value_ladder.is_empty() {
            self.values = Series::default();
        } else {
            self.values
                .compact(&spec.value_ladder, spec.keep_values(), now);
        }
        self.days.compact(DAYS, &spec.days, now);
        self.hours.compact(HOURS, &spec.hours, now);
        self.sessions.retain_mut(|sessions| {
            let keep = sessions.keep();
            match spec.sessions.iter().find(|s| s.gap == sessions.gap) {
                Some(session) => sessions.series.compact(&session.ladder, keep, now),
                None => return false,
            }
            !sessions.series.is_empty()
        });
        self.unique.compact(&spec.unique, now);
        self.list.compact(&spec.list, now);
        match &mut self.top {
            Some(top) if spec.top_all_time => top.compact(),
            top => *top = None,
        }
        if !spec.percentile_all_time {
            self.numbers = Numbers::default();
        }
        self.periods.retain_mut(|periods| {
            match spec.grids.iter().find(|s| s.grid == periods.grid) {
                Some(spec) => periods.compact(spec, now),
                None => return false,
            }
            !periods.is_empty()
        });
        let floor = now.saturating_sub(spec.horizon().unwrap_or(0));
        let is_reached = spec.all_time() || self.last >= Some(floor);
        if !is_reached && self.has_no_parts() {
            *self = Slot::default();
        }
    }

    fn has_no_parts(&self) -> bool {
        self.totals.is_empty()
            && self.series.is_empty()
            && self.values.is_empty()
            && self.days.is_empty()
            && self.hours.is_empty()
            && self.sessions.is_empty()
            && self.unique.is_empty()
            && self.list.is_empty()
            && self.top.is_none()
            && self.numbers.is_empty()
            && self.periods.is_empty()
    }

    /// Appends the slot.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let Some(last) = self.last else {
            return;
        };
        put_signed(out, last.wrapping_sub(EPOCH));
        let mut parts = 0;
        for (bit, is_empty) in [
            (part::TOTALS, self.totals.is_empty()),
            (part::SERIES, self.series.is_empty()),
            (part::DAYS, self.days.is_empty()),
            (part::HOURS, self.hours.is_empty()),
            (part::SESSIONS, self.sessions.is_empty()),
            (part::UNIQUE, self.unique.is_empty()),
            (part::LIST, self.list.is_empty()),
            (part::TOP, self.top.is_none()),
            (part::NUMBERS, self.numbers.is_empty()),
            (part::VALUES, self.values.is_empty()),
            (part::PERIODS, self.periods.is_empty()),
        ] {
            if !is_empty {
                parts |= bit;
            }
        }
        put(out, parts);
        if parts & part::TOTALS != 0 {
            self.totals.encode(last, out);
        }
        if parts & part::SERIES != 0 {
            self.series.encode(last, out);
        }
        if parts & part::DAYS != 0 {
            self.days.encode(DAYS, out);
        }
        if parts & part::HOURS != 0 {
            self.hours.encode(HOURS, out);
        }
        if parts & part::SESSIONS != 0 {
            put(out, self.sessions.len() as u64);
            for sessions in &self.sessions {
                put_signed(out, sessions.gap);
                sessions.series.encode(last, out);
            }
        }
        if parts & part::UNIQUE != 0 {
            self.unique.encode(last, out);
        }
        if parts & part::LIST != 0 {
            self.list.encode(last, out);
        }
        if let Some(top) = &self.top {
            top.encode(out);
        }
        if parts & part::NUMBERS != 0 {
            self.numbers.encode(out);
        }
        if parts & part::VALUES != 0 {
            self.values.encode(last, out);
        }
        if parts & part::PERIODS != 0 {
            put(out, self.periods.len() as u64);
            for periods in &self.periods {
                periods.encode(out);
            }
        }
    }

    /// Reads what [`Slot::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Slot, StateError> {
        let reader = &mut Reader::new(bytes);
        let mut slot = Slot::default();
        if reader.remaining() == 0 {
            return Ok(slot);
        }
        let last = reader.signed()?.wrapping_add(EPOCH);
        slot.last = Some(last);
        let parts = reader.varint()?;
        if parts > part::ALL {
            return Err(StateError::Damaged("a slot has unknown parts"));
        }
        if parts & part::TOTALS != 0 {
            slot.totals = Totals::decode(last, reader)?;
        }
        if parts & part::SERIES != 0 {
            slot.series = Series::decode(last, reader)?;
        }
        if parts & part::DAYS != 0 {
            slot.days = Units::decode(DAYS, reader)?;
        }
        if parts & part::HOURS != 0 {
            slot.hours = Units::decode(HOURS, reader)?;
        }
        if parts & part::SESSIONS != 0 {
            for _ in 0..reader.count(3)? {
                let gap = reader.signed()?;
                let series = Series::decode(last, reader)?;
                slot.sessions.push(Sessions { gap, series });
            }
            if !slot.sessions.is_sorted_by_key(|sessions| sessions.gap) {
                return Err(StateError::Damaged("sessions are out of order"));
            }
        }
        if parts & part::UNIQUE != 0 {
            slot.unique = Distinct::decode(last, reader)?;
        }
        if parts & part::LIST != 0 {
            slot.list = List::decode(last, reader)?;
        }
        if parts & part::TOP != 0 {
            let top = Frequencies::decode(reader)?;
            slot.top = Some(Box::new(top));
        }
        if parts & part::NUMBERS != 0 {
            slot.numbers = Numbers::decode(reader)?;
        }
        if parts & part::VALUES != 0 {
            slot.values = Series::decode(last, reader)?;
        }
        if parts & part::PERIODS != 0 {
            for _ in 0..reader.count(3)? {
                slot.periods.push(Periods::decode(reader)?);
            }
            if !slot.periods.is_sorted_by_key(|periods| periods.grid) {
                return Err(StateError::Damaged("periods are out of order"));
            }
        }
        reader.finish()?;
        Ok(slot)
    }
}
