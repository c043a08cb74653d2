//! Who owns which buckets.
//!
//! When shares change, buckets go from owners that shrink to owners that grow and all others stay: no fewer
//! people can move, since as many as a shrinking owner loses have to.

use crate::bucket::BUCKETS;
use std::collections::BTreeMap;

/// Buckets `from..to` and whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub from: u32,
    pub to: u32,
    pub owner: String,
}

impl Range {
    pub fn contains(&self, bucket: u32) -> bool {
        (self.from..self.to).contains(&bucket)
    }

    fn len(&self) -> u32 {
        self.to.saturating_sub(self.from)
    }
}

/// How many buckets each owner has.
pub fn sizes(ranges: &[Range]) -> BTreeMap<&str, u32> {
    let mut sizes = BTreeMap::new();
    for range in ranges {
        *sizes.entry(range.owner.as_str()).or_default() += range.len();
    }
    sizes
}

/// Gives every owner the number of buckets it wants (at most [`BUCKETS`] together), starting from what was.
/// Without anything before: in the order of the owners' names, from bucket 0 on.
pub fn allocate(before: &[Range], wanted: &BTreeMap<String, u32>) -> Vec<Range> {
    let mut before: Vec<&Range> = before.iter().filter(|range| range.len() > 0).collect();
    before.sort_by_key(|range| range.from);
    let mut missing = wanted.clone();
    let mut kept: Vec<Range> = Vec::new();
    let mut end = 0;
    for range in before {
        let Some(left) = missing.get_mut(&range.owner) else {
            continue;
        };
        let from = range.from.max(end);
        let to = range.to.min(BUCKETS).min(from.saturating_add(*left));
        if from < to {
            *left -= to - from;
            end = to;
            kept.push(Range {
                from,
                to,
                owner: range.owner.clone(),
            });
        }
    }
    let mut free: Vec<(u32, u32)> = Vec::new();
    let mut at = 0;
    for range in &kept {
        if at < range.from {
            free.push((at, range.from));
        }
        at = range.to;
    }
    if at < BUCKETS {
        free.push((at, BUCKETS));
    }
    let mut free = free.into_iter();
    let mut gap = free.next();
    for (owner, left) in &mut missing {
        while *left > 0 {
            let Some((from, to)) = gap else { break };
            let taken = (*left).min(to - from);
            kept.push(Range {
                from,
                to: from + taken,
                owner: owner.clone(),
            });
            *left -= taken;
            gap = if from + taken < to {
                Some((from + taken, to))
            } else {
                free.next()
            };
        }
    }
    join(kept)
}

fn join(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_by_key(|range| range.from);
    let mut joined: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.to == range.from && last.owner == range.owner => last.to = range.to,
            _ => joined.push(range),
        }
    }
    joined
}
