//! `top` and percentiles of windows with too many events to read them.
//!
//! Blocks of at most a quarter of the window are described by samples and histograms. The block
//! across the window's edge counts in proportion to its part within the window, in steps of an
//! eighth of a block. An estimate depends on the events and the instant only.

use crate::ladder::{Block, Ladder};
use crate::property::Held;
use crate::quantile::{Bins, Ranks, BINS_EVER};
use crate::query::Query;
use crate::series::{Bucket, Keep, Series};
use cdp_value::{Timestamp, Value, Window};
use std::collections::HashMap;
use std::sync::Arc;

/// Steps in which a block leaves a window: 2^3.
const STEP_BITS: u8 = 3;

/// The part of a bucket that is within a window that starts at `from`, and the whole.
fn part(bucket: &Bucket, from: Timestamp) -> (u64, u64) {
    let (earliest, latest) = (bucket.earliest(), bucket.latest());
    let start = step(bucket, from).start.clamp(earliest, latest);
    (
        latest.abs_diff(start).saturating_add(1),
        latest.abs_diff(earliest).saturating_add(1),
    )
}

/// The step that contains `from`.
fn step(bucket: &Bucket, from: Timestamp) -> Block {
    Block::at(from, bucket.block.level.saturating_sub(STEP_BITS))
}

impl Query {
    /// The window's events in its own blocks, whatever other windows the series serves.
    fn blocks(&self, series: &Series) -> Series {
        let mut ladder = Ladder::coarse();
        ladder.add(self.window.map(|length| Window { length }));
        let keep = Keep {
            columns: series.columns,
            gap: 0,
        };
        let mut blocks = series.clone();
        blocks.compact(&ladder, keep, self.now);
        blocks
    }

    pub(crate) fn estimate_top(&self, series: &Series) -> Value {
        let (blocks, from) = (self.blocks(series), self.from());
        let mut weights: HashMap<&Value, u128> = HashMap::new();
        let mut add = |value, weight: u128| *weights.entry(value).or_default() += weight;
        let mut numbers = Vec::new();
        for single in blocks.singles.iter().filter(|single| single.ts >= from) {
            match &single.held {
                Held::Number(number) => numbers.push(Value::Number(number.clone())),
                Held::Other(value) => add(value, 1 << 16),
                _ => {}
            }
        }
        for number in &numbers {
            add(number, 1 << 16);
        }
        for bucket in blocks.buckets.iter().filter(|b| b.latest() >= from) {
            let (part, whole) = part(bucket, from);
            let sample = bucket.partial.as_ref().and_then(|p| p.sample.as_ref());
            for (value, weight) in sample.iter().flat_map(|s| s.weights(part, whole)) {
                add(Arc::as_ref(value), weight);
            }
        }
        weights
            .into_iter()
            .max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.total_cmp(a.0)))
            .map_or(Value::Null, |(value, _)| value.clone())
    }

    pub(crate) fn estimate_percentile(&self, series: &Series, percent: u8) -> Value {
        let (blocks, from) = (self.blocks(series), self.from());
        let mut all = Bins::default();
        for single in blocks.singles.iter().filter(|single| single.ts >= from) {
            if let Held::Number(number) = &single.held {
                all.add(number, BINS_EVER);
            }
        }
        for bucket in blocks.buckets.iter().filter(|b| b.latest() >= from) {
            let (part, whole) = part(bucket, from);
            if let Some(bins) = bucket.partial.as_ref().and_then(|p| p.bins.as_ref()) {
                all.merge(&bins.part(part, whole), BINS_EVER);
            }
        }
        let mut ranks = Ranks::default();
        ranks.add_bins(&all);
        ranks.percentile(percent)
    }

    /// An instant no later than the one whose leaving the window changes the estimate next.
    pub(crate) fn estimate_changes(&self, series: &Series) -> Option<Timestamp> {
        let (blocks, from) = (self.blocks(series), self.from());
        let mut buckets = blocks.buckets.iter().filter(|b| b.latest() >= from);
        let single = blocks.singles.iter().find(|single| single.ts >= from);
        let bucket = buckets.next().map(|bucket| {
            if bucket.earliest() < from {
                step(bucket, from).end()
            } else {
                bucket.earliest()
            }
        });
        // With a whole block, the events may become few enough to be read.
        let block = Block::at(from, Ladder::coarse_level(self.window?)).end();
        single
            .map(|single| single.ts)
            .into_iter()
            .chain(bucket)
            .chain([block])
            .min()
    }
}
