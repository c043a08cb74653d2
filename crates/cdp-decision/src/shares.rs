//! The parts of a definition that say how people are divided, and for how long.

use crate::allocation::{allocate, sizes, Range};
use crate::bucket::BUCKETS;
use crate::flag::{Exclusion, Flag, Outcome, Rollout};
use crate::place::{Place, Result};
use cdp_value::{DAY, HOUR, MINUTE};
use std::collections::BTreeMap;

/// A share in percent, or one that rises: `{"from": 0, "to": 100, "start": …, "end": …}`.
pub(crate) fn rollout(place: &Place) -> Result<Rollout> {
    if !place.value.is_object() {
        return Ok(Rollout::Fixed(place.percent()?));
    }
    place.members("a rollout", &["from", "to", "start", "end"])?;
    let from = place.get("from").map_or(Ok(0), |share| share.percent())?;
    let to = place
        .get("to")
        .map_or(Ok(BUCKETS), |share| share.percent())?;
    let time = |key: &str| {
        place
            .get(key)
            .ok_or_else(|| place.error(format!("a rollout that rises needs a {key}")))?
            .timestamp()
    };
    let (start, end) = (time("start")?, time("end")?);
    if end <= start {
        return Err(place.error("the end is not after the start"));
    }
    if to < from {
        return Err(place.error("a rollout rises: \"to\" is less than \"from\""));
    }
    Ok(Rollout::Rising {
        from,
        to,
        start,
        end,
    })
}

/// `{"a": 50, "b": 50}` or `[{"variant": "a", "weight": 50}, …]`, which are 100 together, or 1. `buckets` says who
/// has which; without them variants follow each other by name.
pub(crate) fn split_outcome(place: &Place, buckets: Option<Place>, flag: &Flag) -> Result<Outcome> {
    let mut weights: Vec<(&str, Place)> = Vec::new();
    if place.value.is_object() {
        weights = place.entries("")?;
    } else {
        for item in place.items("a split, as an object of variants and weights or as an array,")? {
            item.members("a part of a split as an object", &["variant", "weight"])?;
            let part = |key| {
                item.get(key)
                    .ok_or_else(|| item.error(format!("a part of a split needs a {key}")))
            };
            weights.push((
                part("variant")?.text("the name of a variant")?,
                part("weight")?,
            ));
        }
    }
    let total: f64 = weights
        .iter()
        .map(|(_, weight)| weight.number())
        .sum::<Result<f64>>()?;
    let are_fractions = (total - 1.0).abs() < 1e-9;
    let mut wanted: BTreeMap<String, u32> = BTreeMap::new();
    for (name, weight) in &weights {
        flag.named(name)
            .ok_or_else(|| flag.unknown_variant(&weight.path, name))?;
        let share = if are_fractions {
            let millionths = weight.number()? * f64::from(BUCKETS);
            if millionths < 0.0 || (millionths - millionths.round()).abs() > 1e-6 {
                return Err(weight.error("a fraction is 0 to 1, to six decimal places"));
            }
            millionths.round() as u32
        } else {
            weight.percent()?
        };
        if wanted.insert((*name).to_string(), share).is_some() {
            return Err(weight.error(format!("variant \"{name}\" is there twice")));
        }
    }
    if wanted.values().map(|share| u64::from(*share)).sum::<u64>() != u64::from(BUCKETS) {
        return Err(place
            .error(format!(
                "the weights are {} together, not 100",
                (total * 1e6).round() / 1e6 + 0.0
            ))
            .hint("Give weights in percent; they may have four decimal places."));
    }
    let ranges = match buckets {
        None => allocate(&[], &wanted),
        Some(buckets) => {
            let ranges = ranges(&buckets)?;
            let given = sizes(&ranges);
            if wanted
                .iter()
                .any(|(name, share)| given.get(name.as_str()).copied().unwrap_or(0) != *share)
                || given.keys().any(|name| !wanted.contains_key(*name))
            {
                return Err(buckets
                    .error("the buckets are not divided as the weights say")
                    .hint("Leave the buckets out: cdp gives them out by the weights."));
            }
            ranges
        }
    };
    Ok(Outcome::Split(ranges))
}

/// `[[from, to, "variant"], …]`, from 0 to a million without gaps or overlaps.
fn ranges(place: &Place) -> Result<Vec<Range>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    for item in place.items("ranges of buckets as an array")? {
        let parts = item.items("[from, to, \"variant\"]")?;
        let [from, to, owner] = parts.as_slice() else {
            return Err(item.expected("[from, to, \"variant\"]"));
        };
        let bound = |place: &Place| {
            let number = place
                .value
                .as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .filter(|n| *n <= BUCKETS);
            number.ok_or_else(|| place.expected("a bucket, 0 to 1000000,"))
        };
        let range = Range {
            from: bound(from)?,
            to: bound(to)?,
            owner: owner.text("a variant")?.to_string(),
        };
        if range.from != at || range.to <= range.from {
            return Err(item.error(format!("a range from {at} on is expected here")));
        }
        at = range.to;
        ranges.push(range);
    }
    if at != BUCKETS {
        return Err(place.error(format!("the ranges end at {at}, not at {BUCKETS}")));
    }
    Ok(ranges)
}

/// `{"group": "checkout", "share": 30}`; `buckets` says which of the group's.
pub(crate) fn exclusion(place: &Place) -> Result<Exclusion> {
    place.members(
        "a group and a share, as an object,",
        &["group", "share", "buckets"],
    )?;
    let needed = |key: &str| {
        place
            .get(key)
            .ok_or_else(|| place.error(format!("a {key} is needed")))
    };
    let group = needed("group")?.text("the name of a group")?.to_string();
    let share = needed("share")?.percent()?;
    let mut ranges: Vec<Range> = Vec::new();
    if let Some(buckets) = place.get("buckets") {
        for item in buckets.items("ranges of buckets as an array")? {
            let bounds: Option<Vec<u32>> = item.value.as_array().and_then(|parts| {
                parts
                    .iter()
                    .map(|part| part.as_u64().and_then(|n| u32::try_from(n).ok()))
                    .collect()
            });
            let lowest = ranges.last().map_or(0, |range| range.to);
            match bounds.as_deref() {
                Some(&[from, to]) if lowest <= from && from < to && to <= BUCKETS => {
                    ranges.push(Range {
                        from,
                        to,
                        owner: String::new(),
                    });
                }
                _ => return Err(item.expected("[from, to]")),
            }
        }
        if sizes(&ranges).values().sum::<u32>() != share {
            return Err(buckets
                .error("the buckets are not as many as the share says")
                .hint("Leave the buckets out: cdp gives them out by the share."));
        }
    }
    Ok(Exclusion {
        group,
        share,
        ranges,
    })
}

/// `30m`, `12h`, `7d`, `1w`.
pub(crate) fn period(place: &Place) -> Result<i64> {
    let expected = || place.expected("a period, such as \"12h\" or \"7d\",");
    let text = place.value.as_str().ok_or_else(expected)?;
    let unit = match text.chars().last() {
        Some('m') => MINUTE,
        Some('h') => HOUR,
        Some('d') => DAY,
        Some('w') => 7 * DAY,
        _ => return Err(expected()),
    };
    let count: i64 = text
        .get(..text.len() - 1)
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(expected)?;
    if !(1..=100_000).contains(&count) {
        return Err(expected());
    }
    Ok(count * unit)
}
