//! A flag takes the place of an earlier one, or joins others: as few people as possible change sides.

use crate::allocation::{allocate, sizes, Range};
use crate::bucket::BUCKETS;
use crate::flag::{Flag, Outcome, Rule};
use crate::place::DefinitionError;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

impl Flag {
    /// Divides people as `before` did, but for those who have to move because weights changed. A rule continues the
    /// one of its name, or, without a name, the one of its position. What the definition itself says of buckets stays.
    pub fn continue_from(&mut self, before: &Flag, definition: &Json) {
        if before.salt != self.salt {
            return;
        }
        let rules_given = definition
            .get("rules")
            .and_then(Json::as_array)
            .map_or(0, Vec::len);
        for (index, rule) in self.rules.iter_mut().enumerate() {
            let own = definition
                .get("rules")
                .and_then(|rules| rules.get(index))
                .filter(|_| index < rules_given);
            if own
                .unwrap_or(definition)
                .get("buckets")
                .is_some_and(|buckets| !buckets.is_null())
            {
                continue;
            }
            let Outcome::Split(ranges) = &mut rule.outcome else {
                continue;
            };
            let earlier = match &rule.name {
                Some(name) => before
                    .rules
                    .iter()
                    .find(|earlier| earlier.name.as_ref() == Some(name)),
                None => before
                    .rules
                    .get(index)
                    .filter(|earlier| earlier.name.is_none()),
            };
            if let Some(Rule {
                outcome: Outcome::Split(earlier),
                ..
            }) = earlier
            {
                let wanted = sizes(ranges)
                    .into_iter()
                    .map(|(name, size)| (name.to_string(), size))
                    .collect();
                *ranges = allocate(earlier, &wanted);
            }
        }
    }

    /// Takes this flag's share of its group, beside the other flags and, as far as it can, where `before` had it.
    pub fn join_group<'f>(
        &mut self,
        before: Option<&Flag>,
        others: impl Iterator<Item = &'f Flag>,
    ) -> Result<(), DefinitionError> {
        let Some(exclusion) = &mut self.exclusion else {
            return Ok(());
        };
        let mut taken: Vec<Range> = Vec::new();
        let mut wanted: BTreeMap<String, u32> = BTreeMap::new();
        for other in others.filter(|other| other.key != self.key) {
            let Some(theirs) = other
                .exclusion
                .as_ref()
                .filter(|theirs| theirs.group == exclusion.group)
            else {
                continue;
            };
            wanted.insert(other.key.clone(), theirs.share);
            taken.extend(theirs.ranges.iter().map(|range| Range {
                owner: other.key.clone(),
                ..range.clone()
            }));
        }
        let left = BUCKETS.saturating_sub(wanted.values().sum());
        if exclusion.share > left {
            return Err(DefinitionError::new(
                "exclusive.share",
                format!(
                    "group \"{}\" has only {} % left",
                    exclusion.group,
                    f64::from(left) / 10_000.0
                ),
            )
            .hint(format!(
                "Others in it: {}.",
                wanted.keys().cloned().collect::<Vec<_>>().join(", ")
            )));
        }
        if exclusion.ranges.is_empty() {
            let same = before
                .and_then(|flag| flag.exclusion.as_ref())
                .filter(|had| had.group == exclusion.group);
            for range in same.iter().flat_map(|had| &had.ranges) {
                taken.push(Range {
                    owner: self.key.clone(),
                    ..range.clone()
                });
            }
            wanted.insert(self.key.clone(), exclusion.share);
            exclusion.ranges = allocate(&taken, &wanted)
                .into_iter()
                .filter(|range| range.owner == self.key)
                .collect();
        } else if let Some(range) = exclusion.ranges.iter().find(|own| {
            taken
                .iter()
                .any(|theirs| own.from < theirs.to && theirs.from < own.to)
        }) {
            return Err(DefinitionError::new(
                "exclusive.buckets",
                format!(
                    "another flag of the group has part of {} to {}",
                    range.from, range.to
                ),
            ));
        }
        Ok(())
    }

    /// Checks what the definition says of other flags: that they and their variants exist, and that none of them
    /// waits for this one.
    pub fn check_prerequisites(
        &self,
        others: &BTreeMap<&str, &Flag>,
    ) -> Result<(), DefinitionError> {
        for (index, prerequisite) in self.prerequisites.iter().enumerate() {
            let path = format!("prerequisites[{index}]");
            let Some(other) = others.get(prerequisite.flag.as_str()) else {
                return Err(DefinitionError::unknown(
                    path,
                    "flag",
                    &prerequisite.flag,
                    others.keys().copied(),
                ));
            };
            if let Some(name) = prerequisite
                .variants
                .iter()
                .find(|name| other.variant(name).is_none())
            {
                let known = other.variants.iter().map(|variant| variant.name.as_str());
                let mut error = DefinitionError::unknown(path, "variant", name, known);
                error.message = format!("flag \"{}\" has no variant \"{name}\"", other.key);
                return Err(error);
            }
            let mut way = vec![self.key.clone()];
            if leads_to(other, &self.key, others, &mut way, &mut BTreeSet::new()) {
                way.push(self.key.clone());
                return Err(DefinitionError::new(
                    path,
                    format!("these flags wait for each other: {}", way.join(" → ")),
                ));
            }
        }
        Ok(())
    }
}

/// Whether a flag waits for `key`, over whatever others; `way` is then the way there.
fn leads_to<'f>(
    flag: &'f Flag,
    key: &str,
    others: &BTreeMap<&str, &'f Flag>,
    way: &mut Vec<String>,
    seen: &mut BTreeSet<&'f str>,
) -> bool {
    if flag.key == key {
        return true;
    }
    if !seen.insert(&flag.key) {
        return false;
    }
    way.push(flag.key.clone());
    for prerequisite in &flag.prerequisites {
        if prerequisite.flag == key {
            return true;
        }
        if let Some(next) = others.get(prerequisite.flag.as_str()) {
            if leads_to(next, key, others, way, seen) {
                return true;
            }
        }
    }
    way.pop();
    false
}
