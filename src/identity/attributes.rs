//! What identify and group calls bring to people: traits and memberships of groups.
//!
//! Both belong to whoever holds the lock of the profile's row; a transaction that cannot have it leaves what it
//! brings in `_cdp.pending_folds`, beside the events. So nobody waits for somebody else's commit.

use super::{groups, profile_traits};
use crate::error::Result;
use crate::ingest::{append, stored, Accepted};
use crate::pg::datum::Param;
use crate::pg::spi::{Rows, Spi};
use crate::traits::person::Person;
use cdp_message::MessageType;
use cdp_profile::Traits;
use cdp_value::Timestamp;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What one or several messages say about a person. Of two values of one instant the later to arrive stays; else
/// nothing of it depends on the order they come in.
#[derive(Default)]
pub struct Attributes {
    pub traits: Traits,
    /// Groups, and when each was joined last.
    pub groups: BTreeMap<String, Timestamp>,
    /// The message that changes are put down to.
    pub message_id: String,
}

impl Attributes {
    /// Adds what came later.
    pub fn follow(&mut self, other: &Attributes) {
        self.traits.follow(&other.traits);
        for (group_id, at) in &other.groups {
            self.join(group_id, *at);
        }
        if !other.message_id.is_empty() {
            self.message_id.clone_from(&other.message_id);
        }
    }

    /// Notes a membership; the latest counts.
    pub fn join(&mut self, group_id: &str, at: Timestamp) {
        let joined = self.groups.entry(group_id.to_string()).or_insert(at);
        *joined = (*joined).max(at);
    }

    /// The groups as JSON: when each was joined last, in microseconds since 1970.
    pub fn groups_json(&self) -> String {
        let groups: Map<String, Value> = self.groups.iter().map(|(id, at)| (id.clone(), Value::from(*at))).collect();
        Value::Object(groups).to_string()
    }

    /// Reads columns (traits, updated, groups, message_id) of `_cdp.pending_folds`, from `first` on; None when the
    /// row brings events alone.
    pub fn read(row: &Rows, first: usize) -> Option<Attributes> {
        let json = |column| row.optional_jsonb(first + column).and_then(|text| stored::json(&text));
        let (traits, groups) = (json(0), json(2));
        if traits.is_none() && groups.is_none() {
            return None;
        }
        let mut attributes = Attributes {
            traits: Traits::from_json(&traits.unwrap_or(Value::Null), &json(1).unwrap_or(Value::Null)),
            message_id: row.optional_text(first + 3).unwrap_or_default(),
            ..Attributes::default()
        };
        if let Some(Value::Object(groups)) = groups {
            for (group_id, at) in &groups {
                attributes.join(group_id, at.as_i64().unwrap_or(0));
            }
        }
        Some(attributes)
    }
}

/// What the identify and group calls of a batch bring, by person.
pub fn of_batch(batch: &[Accepted]) -> BTreeMap<i64, Attributes> {
    let mut brought: BTreeMap<i64, Attributes> = BTreeMap::new();
    for accepted in batch {
        let message = &accepted.message;
        let of_person = match message.kind {
            MessageType::Identify => match message.traits.as_ref().filter(|traits| !traits.is_empty()) {
                Some(traits) => {
                    let of_person = brought.entry(accepted.profile_id).or_default();
                    of_person.traits.apply(traits.value(), message.timestamp);
                    of_person
                }
                None => continue,
            },
            MessageType::Group => match message.group_id.as_deref() {
                Some(group_id) => {
                    let of_person = brought.entry(accepted.profile_id).or_default();
                    of_person.join(group_id, message.timestamp);
                    of_person
                }
                None => continue,
            },
            _ => continue,
        };
        of_person.message_id.clone_from(&accepted.message_id);
    }
    brought
}

/// Writes what was brought to people whose rows this transaction holds; `new` are those that nothing is known of
/// yet. Returns whom it changed.
pub fn fold(
    spi: &Spi,
    namespace_id: i32,
    brought: &BTreeMap<i64, Attributes>,
    new: &HashSet<i64>,
    now: Timestamp,
) -> Result<HashSet<i64>> {
    if brought.is_empty() {
        return Ok(HashSet::new());
    }
    let mut changed = profile_traits::fold(spi, namespace_id, brought, new, now)?;
    changed.extend(groups::join(spi, namespace_id, brought)?);
    Ok(changed)
}

/// Computes the traits and memberships of people whose rows this transaction holds again, from their events alone.
pub fn rebuild(spi: &Spi, namespace_id: i32, people: &[Person], cause: &str, now: Timestamp) -> Result<()> {
    /// Rows of events held in memory at a time.
    const FETCH: i64 = 10_000;
    let owners: HashMap<i64, i64> = people.iter().flat_map(|p| p.profile_ids().map(|id| (id, p.profile_id))).collect();
    let profile_ids: Vec<i64> = owners.keys().copied().collect();
    let mut brought: BTreeMap<i64, Attributes> = people.iter().map(|p| (p.profile_id, Attributes::default())).collect();
    // These calls have no event name, so the key finds them.
    spi.for_each(
        "SELECT e.profile_id, e.ts, e.type, e.properties, e.group_id FROM _cdp.events AS e \
         WHERE e.profile_id OPERATOR(pg_catalog.=) ANY ($1) AND e.event_name_id OPERATOR(pg_catalog.=) 0 \
               AND e.type OPERATOR(pg_catalog.=) ANY ('{1,4}'::pg_catalog.int2[]) ORDER BY e.event_id",
        &[Param::Int8Array(&profile_ids)],
        FETCH,
        |row| {
            let Some(attributes) = owners.get(&row.i64(0)?).and_then(|id| brought.get_mut(id)) else { return Ok(()) };
            let at = row.timestamp(1)?;
            match append::type_of(row.i16(2)?) {
                MessageType::Identify => {
                    if let Some(traits) = row.optional_jsonb(3).and_then(|text| stored::json(&text)) {
                        attributes.traits.apply(&traits, at);
                    }
                }
                _ => {
                    if let Some(group_id) = row.optional_text(4) {
                        attributes.join(&group_id, at);
                    }
                }
            }
            Ok(())
        },
    )?;
    let ids: Vec<i64> = brought.keys().copied().collect();
    let before = profile_traits::load(spi, &ids)?;
    let after = brought.iter().map(|(id, attributes)| (*id, attributes.traits.clone())).collect();
    profile_traits::replace(spi, namespace_id, &before, &after, |_| cause.to_string(), now)?;
    groups::replace(spi, namespace_id, &brought)
}
