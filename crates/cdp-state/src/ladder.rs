//! How wide the buckets of a series are, by age.
//!
//! Buckets are blocks of 2^level microseconds, aligned to multiples of their width, so a block
//! of one level lies in exactly one block of every higher level. Which block an event belongs to
//! at an instant `now` depends on its time and on the windows alone, never on the order of
//! arrival or on earlier compactions:
//!
//! - An event that has yet to reach the edge of window `w`, and has passed those of all shorter
//!   windows, belongs to a block of at most a sixteenth of `w`.
//! - Near an edge blocks get finer: a block that contains the edge is split into four, again and
//!   again, so that few events share the last block with the edge.
//! - For `top` and percentiles, whose buckets are large, a quarter replaces the sixteenth, no
//!   block is split, and more events have to share a block before they become a bucket.
//! - What must be kept over all time is treated as if there were windows of 4, 16, 64, … days.

use crate::sample::SAMPLE_SIZE;
use cdp_value::{Timestamp, Window, DAY};

/// A window is covered by at least so many blocks.
const BLOCKS_PER_WINDOW: i64 = 16;
/// The same when buckets are large.
const COARSE_BLOCKS_PER_WINDOW: i64 = 4;
/// A block with more events than this becomes a bucket.
const SINGLE_EVENTS: u64 = 4;
/// The same for the coarser blocks beyond the longest window.
const BLOCKS_BEYOND: i64 = 8;
/// The finest blocks: 65.5 ms.
const LEAST_LEVEL: u8 = 16;
/// Splitting makes four of a block.
const SPLIT: u8 = 2;

/// An aligned stretch of time of 2^level microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) level: u8,
    pub(crate) start: Timestamp,
}

impl Block {
    /// The block of a level (< 63) that contains `ts`.
    pub(crate) fn at(ts: Timestamp, level: u8) -> Block {
        let start = (ts >> level) << level;
        Block { level, start }
    }

    /// The last microsecond of the block.
    pub(crate) fn end(self) -> Timestamp {
        self.start | ((1 << self.level) - 1)
    }

    pub(crate) fn contains(self, ts: Timestamp) -> bool {
        Block::at(ts, self.level).start == self.start
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Zone {
    /// Events of at most this age belong to the zone, if no earlier zone has them.
    reach: i64,
    level: u8,
}

impl Zone {
    fn new(reach: i64, blocks: i64) -> Zone {
        let width = (reach / blocks).max(1);
        let level = u8::try_from(width.ilog2()).unwrap_or(LEAST_LEVEL);
        Zone {
            reach,
            level: level.max(LEAST_LEVEL),
        }
    }
}

/// The widths of blocks for a set of windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ladder {
    blocks_per_window: i64,
    single_events: u64,
    /// Whether blocks at the edges of windows are split.
    splits: bool,
    /// Lengths of the finite windows, ascending.
    windows: Vec<i64>,
    /// Nothing is ever dropped.
    unlimited: bool,
    /// Ascending; the windows' zones, then those beyond.
    zones: Vec<Zone>,
}

impl Ladder {
    /// For buckets that are small.
    pub(crate) fn fine() -> Ladder {
        Ladder {
            blocks_per_window: BLOCKS_PER_WINDOW,
            single_events: SINGLE_EVENTS,
            splits: true,
            windows: Vec::new(),
            unlimited: false,
            zones: Vec::new(),
        }
    }

    /// For buckets that are large.
    pub(crate) fn coarse() -> Ladder {
        Ladder {
            blocks_per_window: COARSE_BLOCKS_PER_WINDOW,
            single_events: SAMPLE_SIZE as u64,
            splits: false,
            ..Ladder::fine()
        }
    }

    /// Adds a window, or all time.
    pub(crate) fn add(&mut self, window: Option<Window>) {
        match window {
            None => self.unlimited = true,
            Some(Window { length }) => {
                if let Err(position) = self.windows.binary_search(&length) {
                    self.windows.insert(position, length);
                }
            }
        }
        self.zones = self
            .windows
            .iter()
            .map(|reach| Zone::new(*reach, self.blocks_per_window))
            .collect();
        if self.unlimited {
            let mut reach = self.horizon().max(DAY);
            while let Some(further) = reach.checked_mul(4) {
                self.zones.push(Zone::new(further, BLOCKS_BEYOND));
                reach = further;
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }

    fn horizon(&self) -> i64 {
        self.windows.last().copied().unwrap_or(0)
    }

    /// The level of the widest blocks; 0 when there are none.
    pub(crate) fn widest_level(&self) -> u8 {
        self.zones.last().map_or(0, |zone| zone.level)
    }

    /// A block with more events than this becomes a bucket.
    pub(crate) fn single_events(&self) -> u64 {
        self.single_events
    }

    /// The level of the blocks that an estimate for a window looks at.
    pub(crate) fn coarse_level(window: i64) -> u8 {
        Zone::new(window, COARSE_BLOCKS_PER_WINDOW).level
    }

    /// Whether no window needs a block any more.
    pub(crate) fn drops(&self, block: Block, now: Timestamp) -> bool {
        let widest = match self.zones.last() {
            // An estimate needs all of a block that a window's edge goes through.
            Some(zone) if !self.splits => Block::at(block.start, zone.level.max(block.level)),
            _ => block,
        };
        !self.unlimited && widest.end() < now.saturating_sub(self.horizon())
    }

    /// The block that an event at `ts` belongs to at `now`.
    pub(crate) fn block(&self, ts: Timestamp, now: Timestamp) -> Block {
        let mut level = self.zones.first().map_or(LEAST_LEVEL, |zone| zone.level);
        for pair in self.zones.windows(2) {
            let [nearer, further] = pair else { break };
            // A wide block is formed when all of it has passed the nearer window's edge.
            if Block::at(ts, further.level).end() >= now.saturating_sub(nearer.reach) {
                break;
            }
            level = further.level;
        }
        loop {
            let block = Block::at(ts, level);
            let splits = self.splits
                && level > LEAST_LEVEL
                && self
                    .windows
                    .iter()
                    .any(|window| block.contains(now.saturating_sub(*window)));
            if !splits {
                return block;
            }
            level = (level - SPLIT).max(LEAST_LEVEL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ladder(windows: &[i64], unlimited: bool) -> Ladder {
        let mut ladder = Ladder::fine();
        for length in windows {
            ladder.add(Some(Window { length: *length }));
        }
        if unlimited {
            ladder.add(None);
        }
        ladder
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

        /// Blocks are a partition of time, and become coarser as time passes.
        #[test]
        fn blocks_are_a_partition(
            windows in prop::collection::vec(1..120 * DAY, 1..4),
            unlimited: bool,
            now in 0..1000 * DAY,
            age in 0..200 * DAY,
            offset in -DAY..DAY,
            passed in 0..10 * DAY,
        ) {
            let ladder = ladder(&windows, unlimited);
            let (ts, other) = (now - age, now - age + offset);
            let (a, b) = (ladder.block(ts, now), ladder.block(other, now));
            prop_assert!(a.contains(ts) && a.start <= ts && ts <= a.end());
            prop_assert_eq!(a == b, a.contains(other));
            let edge = windows.iter().any(|w| {
                let edge = now + passed - w;
                (edge - ts).abs() < 200 * DAY / BLOCKS_PER_WINDOW
            });
            let later = ladder.block(ts, now + passed);
            prop_assert!(edge || later.level >= a.level);
        }
    }

    #[test]
    fn blocks_are_few() {
        let now = 20_000 * DAY + 12_345_678;
        for windows in [&[7 * DAY][..], &[DAY, 7 * DAY, 30 * DAY], &[90 * DAY]] {
            let ladder = ladder(windows, false);
            let mut ts = now;
            let mut blocks = 0;
            while !ladder.drops(ladder.block(ts, now), now) {
                ts = ladder.block(ts, now).start - 1;
                blocks += 1;
            }
            assert!(blocks < 64 * windows.len(), "{blocks} for {windows:?}");
        }
    }
}
