//! Buckets change owners only where they must.

use cdp_decision::{allocate, sizes, Range, BUCKETS};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Weights of up to six variants that are a million together.
fn weights() -> impl Strategy<Value = BTreeMap<String, u32>> {
    proptest::collection::btree_map("[a-f]", 0u32..1_000, 1..6).prop_map(|parts| {
        let total: u64 = parts.values().map(|p| u64::from(*p)).sum::<u64>().max(1);
        let mut shares: BTreeMap<String, u32> = parts
            .iter()
            .map(|(name, part)| {
                (
                    name.clone(),
                    (u64::from(*part) * u64::from(BUCKETS) / total) as u32,
                )
            })
            .collect();
        let rest = BUCKETS - shares.values().sum::<u32>();
        if let Some(first) = shares.values_mut().next() {
            *first += rest;
        }
        shares
    })
}

fn owner(ranges: &[Range], bucket: u32) -> Option<&str> {
    ranges
        .iter()
        .find(|range| range.contains(bucket))
        .map(|range| range.owner.as_str())
}

/// Buckets with another owner, counted between all bounds.
fn moved(before: &[Range], after: &[Range]) -> u32 {
    let mut bounds: Vec<u32> = before
        .iter()
        .chain(after)
        .flat_map(|range| [range.from, range.to])
        .collect();
    bounds.sort_unstable();
    bounds
        .windows(2)
        .filter(|pair| owner(before, pair[0]) != owner(after, pair[0]))
        .map(|pair| pair[1] - pair[0])
        .sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn everybody_gets_what_they_want_and_no_more_move_than_must(chain in proptest::collection::vec(weights(), 1..6)) {
        let mut before: Vec<Range> = Vec::new();
        for wanted in chain {
            let after = allocate(&before, &wanted);
            let mut at = 0;
            for range in &after {
                prop_assert_eq!(range.from, at);
                prop_assert!(range.to > range.from);
                at = range.to;
            }
            prop_assert_eq!(at, BUCKETS);
            let had = sizes(&before);
            let has = sizes(&after);
            for (name, share) in &wanted {
                prop_assert_eq!(has.get(name.as_str()).copied().unwrap_or(0), *share);
            }
            if !before.is_empty() {
                // The fewest that can move: all that shrinking owners lose.
                let lost: u32 = had.iter().map(|(name, had)| had.saturating_sub(has.get(name).copied().unwrap_or(0))).sum();
                prop_assert_eq!(moved(&before, &after), lost);
            }
            prop_assert_eq!(&allocate(&after, &wanted), &after);
            before = after;
        }
    }

    #[test]
    fn nothing_of_what_others_have_is_touched(
        taken in proptest::collection::vec((0u32..BUCKETS, 1u32..100_000), 0..8), share in 0u32..200_000
    ) {
        let mut others: Vec<Range> = Vec::new();
        for (from, length) in taken {
            let to = (from + length).min(BUCKETS);
            if others.iter().all(|other| to <= other.from || other.to <= from) {
                others.push(Range { from, to, owner: "others".to_string() });
            }
        }
        let had: u32 = sizes(&others).values().sum();
        let share = share.min(BUCKETS - had);
        let wanted = BTreeMap::from([("others".to_string(), had), ("we".to_string(), share)]);
        let after = allocate(&others, &wanted);
        prop_assert_eq!(sizes(&after).get("we").copied().unwrap_or(0), share);
        for other in &others {
            for bucket in [other.from, other.to - 1] {
                prop_assert_eq!(owner(&after, bucket), Some("others"));
            }
        }
    }
}
