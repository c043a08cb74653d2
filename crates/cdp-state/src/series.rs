//! Events over time: single ones while there are few of them in a block, buckets otherwise.

use crate::edge::EdgeEvents;
use crate::ladder::{Block, Ladder};
use crate::partial::Partial;
use crate::property::{Held, Property};
use crate::spec::{column, Parts};
use cdp_value::Timestamp;

/// A bucket knows the first and the last 1/256 of its block in which events happened.
const EXTENT_BITS: u8 = 8;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Single {
    pub(crate) ts: Timestamp,
    pub(crate) held: Held,
}

/// The events of one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) block: Block,
    /// The parts of the block in which the first and the last event happened.
    pub(crate) first_part: u8,
    pub(crate) last_part: u8,
    pub(crate) count: u64,
    /// Absent when only events are counted.
    pub(crate) partial: Option<Box<Partial>>,
}

impl Bucket {
    fn new(block: Block) -> Bucket {
        Bucket {
            block,
            first_part: u8::MAX,
            last_part: 0,
            count: 0,
            partial: None,
        }
    }

    fn part(block: Block, ts: Timestamp) -> u8 {
        let offset = ts.wrapping_sub(block.start) as u64;
        (offset >> (block.level.saturating_sub(EXTENT_BITS))) as u8
    }

    /// No event of the bucket is earlier.
    pub(crate) fn earliest(&self) -> Timestamp {
        let part = i64::from(self.first_part);
        self.block.start + (part << (self.block.level.saturating_sub(EXTENT_BITS)))
    }

    /// No event of the bucket is later.
    pub(crate) fn latest(&self) -> Timestamp {
        let shift = self.block.level.saturating_sub(EXTENT_BITS);
        self.block.start + (i64::from(self.last_part) << shift) + ((1 << shift) - 1)
    }

    fn has_unknown_runs(&self) -> bool {
        let runs = self.partial.as_ref().and_then(|partial| partial.runs);
        runs.is_some_and(|runs| runs.number == 0)
    }

    fn widen(&mut self, from: Timestamp, to: Timestamp) {
        self.first_part = self.first_part.min(Bucket::part(self.block, from));
        self.last_part = self.last_part.max(Bucket::part(self.block, to));
    }

    fn add(&mut self, keep: Keep, ts: Timestamp, held: &Held) {
        self.widen(ts, ts);
        self.count = self.count.saturating_add(1);
        if keep.columns != Parts::default() {
            self.partial
                .get_or_insert_default()
                .add(keep.columns, keep.gap, ts, held);
        }
    }

    /// Adds a bucket whose block lies within this one's.
    fn merge(&mut self, other: &Bucket, gap: i64) {
        self.widen(other.earliest(), other.latest());
        self.count = self.count.saturating_add(other.count);
        if let Some(partial) = &other.partial {
            self.partial.get_or_insert_default().merge(partial, gap);
        }
    }
}

/// What a series keeps of each event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keep {
    pub(crate) columns: Parts,
    /// The gap between sessions, for [`column::RUNS`].
    pub(crate) gap: i64,
}

impl Keep {
    pub(crate) fn hold(self, property: Property<'_>) -> Held {
        if self.columns.has(column::OF_VALUES) {
            property.hold()
        } else if self.columns.has(column::OF_NUMBERS) {
            property.hold_number()
        } else {
            Held::Absent
        }
    }
}

/// Single events and buckets, each sorted by time. No event lies in the block of a bucket and no
/// block in another one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Series {
    pub(crate) columns: Parts,
    pub(crate) singles: Vec<Single>,
    pub(crate) buckets: Vec<Bucket>,
}

/// Neighbours that belong to one block, and what becomes of them.
struct Group {
    singles: usize,
    buckets: usize,
    fate: Fate,
}

#[derive(PartialEq, Eq)]
enum Fate {
    Stay,
    Drop,
    Join(Block),
}

impl Series {
    pub(crate) fn is_empty(&self) -> bool {
        self.singles.is_empty() && self.buckets.is_empty()
    }

    /// Adds an event.
    pub(crate) fn fold(&mut self, keep: Keep, ts: Timestamp, property: Property<'_>) {
        self.columns = keep.columns;
        self.insert(keep, ts, keep.hold(property));
    }

    fn insert(&mut self, keep: Keep, ts: Timestamp, held: Held) {
        let after = self.buckets.partition_point(|b| b.block.start <= ts);
        if let Some(bucket) = after.checked_sub(1).and_then(|i| self.buckets.get_mut(i)) {
            if bucket.block.contains(ts) {
                bucket.add(keep, ts, &held);
                return;
            }
        }
        let position = match self.singles.last() {
            Some(last) if last.ts >= ts => self.singles.partition_point(|single| {
                single.ts < ts || (single.ts == ts && single.held.total_cmp(&held).is_le())
            }),
            _ => self.singles.len(),
        };
        self.singles.insert(position, Single { ts, held });
    }

    /// Adds the events of another series.
    pub(crate) fn merge(&mut self, other: &Series, gap: i64) {
        self.columns.insert(other.columns.0);
        let keep = Keep {
            columns: self.columns,
            gap,
        };
        for bucket in &other.buckets {
            self.insert_bucket(bucket, keep);
        }
        for single in &other.singles {
            self.insert(keep, single.ts, single.held.clone());
        }
    }

    /// Adds a bucket, which swallows what lies in its block or is swallowed itself.
    fn insert_bucket(&mut self, bucket: &Bucket, keep: Keep) {
        let block = bucket.block;
        let after = self
            .buckets
            .partition_point(|b| b.block.start <= block.start);
        if let Some(known) = after.checked_sub(1).and_then(|i| self.buckets.get_mut(i)) {
            if known.block.level >= block.level && known.block.contains(block.start) {
                known.merge(bucket, keep.gap);
                return;
            }
        }
        let from = self
            .buckets
            .partition_point(|b| b.block.start < block.start);
        let to = self
            .buckets
            .partition_point(|b| b.block.start <= block.end());
        let mut joined = bucket.clone();
        for inner in self.buckets.drain(from..to) {
            joined.merge(&inner, keep.gap);
        }
        let first = self.singles.partition_point(|s| s.ts < block.start);
        let last = self.singles.partition_point(|s| s.ts <= block.end());
        for single in self.singles.drain(first..last) {
            joined.add(keep, single.ts, &single.held);
        }
        self.buckets.insert(from, joined);
    }

    /// Drops what no window reaches any more, and joins the events of crowded blocks.
    pub(crate) fn compact(&mut self, ladder: &Ladder, keep: Keep, now: Timestamp) {
        self.columns = keep.columns;
        let (mut singles, mut buckets) = (0, 0);
        while let Some(group) = self.group(singles, buckets, ladder, now) {
            if group.fate != Fate::Stay {
                return self.rebuild(ladder, keep, now);
            }
            singles += group.singles;
            buckets += group.buckets;
        }
    }

    /// The next group of neighbours after so many singles and buckets.
    fn group(
        &self,
        singles: usize,
        buckets: usize,
        ladder: &Ladder,
        now: Timestamp,
    ) -> Option<Group> {
        let rest = self.singles.get(singles..).unwrap_or(&[]);
        let rest_buckets = self.buckets.get(buckets..).unwrap_or(&[]);
        let single_ts = rest.first().map(|s| s.ts);
        let bucket = rest_buckets.first().map(|b| b.block);
        let start = match (single_ts, bucket) {
            (Some(ts), Some(block)) => ts.min(block.start),
            (Some(ts), None) => ts,
            (None, Some(block)) => block.start,
            (None, None) => return None,
        };
        let mut block = ladder.block(start, now);
        let mut is_coarse = false;
        if let Some(known) = bucket {
            if known.start == start && known.level >= block.level {
                (block, is_coarse) = (known, true);
            }
        }
        let end = block.end();
        let members = rest.iter().take_while(|s| s.ts <= end).count();
        let (mut inner, mut count) = (0, members as u64);
        for bucket in rest_buckets.iter().take_while(|b| b.block.start <= end) {
            inner += 1;
            count = count.saturating_add(bucket.count);
        }
        let fate = if ladder.drops(block, now) {
            Fate::Drop
        } else if is_coarse || count <= ladder.single_events() {
            Fate::Stay
        } else {
            Fate::Join(block)
        };
        Some(Group {
            singles: members,
            buckets: inner,
            fate,
        })
    }

    fn rebuild(&mut self, ladder: &Ladder, keep: Keep, now: Timestamp) {
        let mut groups = Vec::new();
        let (mut i, mut j) = (0, 0);
        while let Some(group) = self.group(i, j, ladder, now) {
            i += group.singles;
            j += group.buckets;
            groups.push(group);
        }
        let mut singles = std::mem::take(&mut self.singles).into_iter();
        let mut buckets = std::mem::take(&mut self.buckets).into_iter();
        for group in groups {
            let own_singles = singles.by_ref().take(group.singles);
            let own_buckets = buckets.by_ref().take(group.buckets);
            match group.fate {
                Fate::Drop => drop((own_singles.count(), own_buckets.count())),
                Fate::Stay => {
                    self.singles.extend(own_singles);
                    self.buckets.extend(own_buckets);
                }
                Fate::Join(block) => {
                    let bucket = join(block, own_singles, own_buckets, keep);
                    self.buckets.push(bucket);
                }
            }
        }
    }

    /// Uses events that were read for an edge: a bucket that the edge splits is replaced by finer
    /// blocks, and sessions that were not known are counted. Returns whether anything changed.
    pub(crate) fn refine(
        &mut self,
        ladder: &Ladder,
        keep: Keep,
        now: Timestamp,
        edges: &EdgeEvents,
    ) -> bool {
        let mut has_changed = false;
        for position in (0..self.buckets.len()).rev() {
            let Some(bucket) = self.buckets.get(position) else {
                continue;
            };
            let block = bucket.block;
            let splits = ladder.block(block.start, now).level < block.level;
            let (earliest, latest) = (bucket.earliest(), bucket.latest());
            if !(splits || bucket.has_unknown_runs()) || !edges.covers(earliest, latest) {
                continue;
            }
            let events = edges.within(earliest, latest);
            if events.len() as u64 != bucket.count {
                // The table knows other events than the state: better keep what was folded.
                continue;
            }
            let mut finer = Series::default();
            for (ts, value) in events {
                finer.fold(keep, *ts, Property::of(value.as_ref()));
            }
            if splits {
                finer.compact(ladder, keep, now);
            } else {
                let singles = std::mem::take(&mut finer.singles);
                let bucket = join(block, singles.into_iter(), std::iter::empty(), keep);
                finer.buckets.push(bucket);
            }
            self.buckets.splice(position..=position, finer.buckets);
            let before = self.singles.partition_point(|s| s.ts < block.start);
            self.singles.splice(before..before, finer.singles);
            has_changed = true;
        }
        has_changed
    }
}

/// Joins neighbours in the order of time.
fn join(
    block: Block,
    singles: impl Iterator<Item = Single>,
    buckets: impl Iterator<Item = Bucket>,
    keep: Keep,
) -> Bucket {
    let mut joined = Bucket::new(block);
    let mut singles = singles.peekable();
    for bucket in buckets {
        while let Some(single) = singles.next_if(|s| s.ts < bucket.block.start) {
            joined.add(keep, single.ts, &single.held);
        }
        joined.merge(&bucket, keep.gap);
    }
    for single in singles {
        joined.add(keep, single.ts, &single.held);
    }
    joined
}
