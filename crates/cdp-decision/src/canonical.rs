//! A definition as it is kept.

use crate::allocation::{allocate, sizes, Range};
use crate::flag::{Flag, Outcome, Rule};
use serde_json::Value as Json;

/// The definition as it is kept: with conditions as given in `conditions` (one for each rule), and with who has which
/// buckets where that is not simply in the order of names.
pub fn canonical(definition: &Json, flag: &Flag, conditions: &[Option<String>]) -> Json {
    let mut kept = definition.clone();
    let Some(root) = kept.as_object_mut() else {
        return kept;
    };
    let buckets_of = |rule: &Rule| match &rule.outcome {
        Outcome::Split(ranges) => {
            let wanted = sizes(ranges)
                .into_iter()
                .map(|(name, size)| (name.to_string(), size))
                .collect();
            (allocate(&[], &wanted) != *ranges).then(|| buckets_json(ranges))
        }
        Outcome::Variant(_) => None,
    };
    if let (Some(exclusion), Some(kept)) = (
        &flag.exclusion,
        root.get_mut("exclusive").and_then(Json::as_object_mut),
    ) {
        let buckets = exclusion
            .ranges
            .iter()
            .map(|range| Json::from(vec![range.from, range.to]))
            .collect::<Json>();
        kept.insert("buckets".to_string(), buckets);
    }
    for (index, rule) in flag.rules.iter().enumerate() {
        let condition = conditions.get(index).cloned().flatten().map(Json::from);
        let buckets = buckets_of(rule);
        let in_list = root
            .get_mut("rules")
            .and_then(|rules| rules.get_mut(index))
            .and_then(Json::as_object_mut);
        let (target, condition_key) = match in_list {
            Some(object) => (object, "condition"),
            None => (&mut *root, "rule"),
        };
        if let Some(condition) = condition {
            target.insert(condition_key.to_string(), condition);
        }
        match buckets {
            Some(buckets) => target.insert("buckets".to_string(), buckets),
            None => target.remove("buckets"),
        };
    }
    kept
}

fn buckets_json(ranges: &[Range]) -> Json {
    ranges
        .iter()
        .map(|r| {
            Json::from(vec![
                Json::from(r.from),
                Json::from(r.to),
                Json::from(r.owner.as_str()),
            ])
        })
        .collect()
}
