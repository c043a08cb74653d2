//! Which parts of a slot an aggregate looks at, and which events it needs besides.

use crate::edge::{joined, Edge, EdgeEvents};
use crate::ladder::{Block, Ladder};
use crate::partial::Dated;
use crate::periods::Grid;
use crate::property::{Held, Property};
use crate::series::{Bucket, Series, Single};
use crate::slot::Slot;
use crate::units::{DAYS, HOURS};
use cdp_value::{AggregateFunction, Timestamp, Window};

/// `top` and percentiles within a window are computed from all its events as long as there are no
/// more than this (together with some from before, at most a quarter of the window earlier);
/// beyond, they are estimated.
pub const READ_LIMIT: u64 = 512;

/// One aggregate at one instant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query {
    pub(crate) function: AggregateFunction,
    /// Length of the window; None for all time.
    pub(crate) window: Option<i64>,
    pub(crate) now: Timestamp,
}

/// Something within the window of a series.
pub(crate) enum Piece<'a> {
    Single(&'a Single),
    Bucket(&'a Bucket),
    /// An event of a range that was asked for.
    Event(Timestamp, Property<'a>),
}

impl<'a> Piece<'a> {
    /// The property of a single event.
    pub(crate) fn property(self) -> Option<Property<'a>> {
        match self {
            Piece::Single(single) => Some(single.held.property()),
            Piece::Event(_, property) => Some(property),
            Piece::Bucket(_) => None,
        }
    }

    /// Keeps the piece's first value if it is earlier.
    fn keep_first(self, first: &mut Option<Dated>) {
        let dated = match self {
            Piece::Single(single) => Dated::new(single.ts, single.held.clone()),
            Piece::Bucket(bucket) => bucket.partial.as_ref().and_then(|p| p.first.clone()),
            Piece::Event(ts, property) => Dated::new(ts, property.hold()),
        };
        if let Some(dated) = dated {
            Dated::keep_first(first, dated);
        }
    }
}

impl Query {
    pub(crate) fn new(
        function: AggregateFunction,
        window: Option<Window>,
        now: Timestamp,
    ) -> Query {
        let window = window.map(|window| window.length.max(1));
        Query {
            function,
            window,
            now,
        }
    }

    /// The first instant of the window.
    pub(crate) fn from(&self) -> Timestamp {
        self.window
            .map_or(Timestamp::MIN, |length| self.now.saturating_sub(length))
    }

    /// The first instant at which an event at `ts` is no longer within the window.
    pub(crate) fn leaves(&self, ts: Timestamp) -> Option<Timestamp> {
        let at = ts.checked_add(self.window?)?.checked_add(1)?;
        Some(at.max(self.now.saturating_add(1)))
    }

    /// Whether the clock is behind what the slot has seen, so that only the events can tell.
    /// `compacted` is the latest instant for which the state was compacted.
    pub(crate) fn needs_events(&self, slot: &Slot, compacted: Option<Timestamp>) -> bool {
        let is_behind = |known: Option<Timestamp>| known.is_some_and(|ts| self.now < ts);
        let forgets = self.window.is_some()
            || matches!(self.function, AggregateFunction::DecayedCount { .. });
        is_behind(slot.last) || (forgets && is_behind(compacted))
    }

    /// The histogram that the function reads, if it is one that counts by periods.
    pub(crate) fn grid(&self) -> Option<Grid> {
        match self.function {
            AggregateFunction::LimitedCount { most, period } => Some(Grid {
                period,
                most: Some(most),
            }),
            AggregateFunction::DecayedCount { step, most, .. } => Some(Grid { period: step, most }),
            _ => None,
        }
    }

    /// All events of the window.
    pub(crate) fn everything(&self) -> Edge {
        Edge {
            from: self.from(),
            to: self.now,
        }
    }

    /// Whether a window's edge at `from` goes through a bucket.
    pub(crate) fn straddles(bucket: &Bucket, from: Timestamp) -> bool {
        bucket.earliest() < from && from <= bucket.latest()
    }

    /// Whether the answer is an estimate.
    pub(crate) fn is_approximate(
        &self,
        slot: &Slot,
        compacted: Option<Timestamp>,
        edges: &EdgeEvents,
    ) -> bool {
        if self.needs_events(slot, compacted) {
            return false;
        }
        let from = self.from();
        if let Some(series) = self.series(slot) {
            return self.estimates() && !self.reads_all(series);
        }
        match (self.function, self.window) {
            (AggregateFunction::Unique, None) => slot.unique.is_estimate(),
            (AggregateFunction::Unique, Some(_)) => slot.unique.is_estimate_from(from, edges),
            (AggregateFunction::Top, None) => {
                slot.top.as_ref().is_some_and(|top| top.is_estimate())
            }
            (AggregateFunction::Percentile(_), None) => slot.numbers.is_estimate(),
            _ => false,
        }
    }

    /// Whether the function is one whose buckets can only estimate.
    pub(crate) fn estimates(&self) -> bool {
        matches!(
            self.function,
            AggregateFunction::Top | AggregateFunction::Percentile(_)
        )
    }

    /// Whether all events of the window are read, because its blocks hold few.
    pub(crate) fn reads_all(&self, series: &Series) -> bool {
        let Some(window) = self.window.filter(|_| self.estimates()) else {
            return false;
        };
        let start = Block::at(self.from(), Ladder::coarse_level(window)).start;
        let before = series.singles.partition_point(|single| single.ts < start);
        let mut events = (series.singles.len() - before) as u64;
        let buckets = series.buckets.iter().rev();
        for bucket in buckets.take_while(|bucket| bucket.block.start >= start) {
            events = events.saturating_add(bucket.count);
        }
        events <= READ_LIMIT
    }

    /// Whether the columns of a bucket within the window cannot answer, so that its events must.
    fn is_unresolved(&self, bucket: &Bucket) -> bool {
        let Some(partial) = &bucket.partial else {
            return false;
        };
        match self.function {
            AggregateFunction::Sum
            | AggregateFunction::Avg
            | AggregateFunction::Min
            | AggregateFunction::Max => partial.has_large_number,
            AggregateFunction::Sessions(_) => partial.runs.is_none_or(|runs| runs.number == 0),
            _ => false,
        }
    }

    /// The series that answers the query, if it is one.
    pub(crate) fn series<'a>(&self, slot: &'a Slot) -> Option<&'a Series> {
        match self.function {
            AggregateFunction::Sessions(gap) => slot.sessions(gap),
            AggregateFunction::Count
            | AggregateFunction::Sum
            | AggregateFunction::Avg
            | AggregateFunction::Min
            | AggregateFunction::Max
            | AggregateFunction::First
            | AggregateFunction::FirstSeenAgo(_)
                if self.window.is_some() =>
            {
                Some(&slot.series)
            }
            AggregateFunction::Top | AggregateFunction::Percentile(_) if self.window.is_some() => {
                Some(&slot.values)
            }
            _ => None,
        }
    }

    /// The ranges whose events are needed.
    pub(crate) fn edges(&self, slot: &Slot, compacted: Option<Timestamp>) -> Vec<Edge> {
        if self.needs_events(slot, compacted) {
            return vec![self.everything()];
        }
        if let Some(series) = self.series(slot) {
            return self.series_edges(series);
        }
        let from = self.from();
        match (self.function, self.window) {
            (AggregateFunction::First, None) => large_edge(slot.totals.first.as_ref()),
            (AggregateFunction::Last, _) => {
                large_edge(slot.totals.last.as_ref().filter(|last| last.ts >= from))
            }
            (AggregateFunction::UniqueDays, Some(_)) => {
                slot.days.edge(DAYS, from).into_iter().collect()
            }
            (AggregateFunction::UniqueHours, Some(_)) => {
                slot.hours.edge(HOURS, from).into_iter().collect()
            }
            (AggregateFunction::Unique, Some(_)) => slot.unique.edge(from).into_iter().collect(),
            (AggregateFunction::List, Some(_)) => slot.list.edge(from).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn series_edges(&self, series: &Series) -> Vec<Edge> {
        let from = self.from();
        let mut edges = Vec::new();
        let reads_all = self.reads_all(series);
        if self.estimates() && !reads_all {
            return edges;
        }
        for bucket in series.buckets.iter().rev() {
            if bucket.latest() < from {
                break;
            }
            if reads_all || Query::straddles(bucket, from) || self.is_unresolved(bucket) {
                edges.push(Edge {
                    from: bucket.earliest(),
                    to: bucket.latest(),
                });
            }
        }
        let is_numeric = matches!(
            self.function,
            AggregateFunction::Sum
                | AggregateFunction::Avg
                | AggregateFunction::Min
                | AggregateFunction::Max
                | AggregateFunction::Percentile(_)
        );
        if is_numeric {
            let first = series.singles.partition_point(|single| single.ts < from);
            for single in series.singles.get(first..).unwrap_or(&[]) {
                if single.held == Held::LargeNumber {
                    edges.push(at(single.ts));
                }
            }
        }
        if self.function == AggregateFunction::First {
            // The first value, should there be none in what lies across the edge.
            let mut first = None;
            self.visit(series, &EdgeEvents::none(), |piece| match piece {
                Piece::Bucket(bucket) if Query::straddles(bucket, from) => {}
                other => other.keep_first(&mut first),
            });
            edges.extend(large_edge(first.as_ref()));
        }
        joined(edges)
    }

    /// Shows what is within the window, in the order of time.
    pub(crate) fn visit<'a>(
        &self,
        series: &'a Series,
        edges: &'a EdgeEvents,
        mut see: impl FnMut(Piece<'a>),
    ) {
        let from = self.from();
        let first = series.singles.partition_point(|single| single.ts < from);
        let mut singles = series.singles.get(first..).unwrap_or(&[]);
        let reads_all = self.estimates();
        for bucket in &series.buckets {
            let (earliest, latest) = (bucket.earliest(), bucket.latest());
            if latest < from {
                continue;
            }
            let before = singles.partition_point(|single| single.ts < earliest);
            let (head, tail) = singles.split_at_checked(before).unwrap_or((singles, &[]));
            see_singles(head, edges, &mut see);
            singles = tail;
            let asks = reads_all || Query::straddles(bucket, from) || self.is_unresolved(bucket);
            if asks && edges.covers(earliest, latest) {
                see_events(earliest.max(from), latest, edges, &mut see);
            } else {
                see(Piece::Bucket(bucket));
            }
        }
        see_singles(singles, edges, &mut see);
    }

    /// The first value within the window, as far as it is kept.
    pub(crate) fn first(&self, series: &Series, edges: &EdgeEvents) -> Option<Dated> {
        let mut first = None;
        self.visit(series, edges, |piece| piece.keep_first(&mut first));
        first
    }
}

fn see_events<'a>(
    from: Timestamp,
    to: Timestamp,
    edges: &'a EdgeEvents,
    see: &mut impl FnMut(Piece<'a>),
) {
    for (ts, value) in edges.within(from, to) {
        see(Piece::Event(*ts, Property::of(value.as_ref())));
    }
}

fn see_singles<'a>(singles: &'a [Single], edges: &'a EdgeEvents, see: &mut impl FnMut(Piece<'a>)) {
    if edges.is_empty() || !singles.iter().any(|single| single.held.is_large()) {
        for single in singles {
            see(Piece::Single(single));
        }
        return;
    }
    for instant in singles.chunk_by(|a, b| a.ts == b.ts) {
        let is_large = instant.iter().any(|single| single.held.is_large());
        match instant.first() {
            Some(single) if is_large && edges.covers(single.ts, single.ts) => {
                see_events(single.ts, single.ts, edges, see);
            }
            _ => instant.iter().for_each(|single| see(Piece::Single(single))),
        }
    }
}

fn at(ts: Timestamp) -> Edge {
    Edge { from: ts, to: ts }
}

/// The instant of a value that is too long to be kept.
fn large_edge(dated: Option<&Dated>) -> Vec<Edge> {
    dated
        .filter(|dated| dated.held.is_large())
        .map(|dated| at(dated.ts))
        .into_iter()
        .collect()
}
