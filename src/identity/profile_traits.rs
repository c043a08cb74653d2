//! The traits that identify calls give to people.

use super::attributes::Attributes;
use crate::error::Result;
use crate::ingest::stored;
use crate::pg::datum::Param;
use crate::pg::spi::{Rows, Spi};
use cdp_profile::{changes, Changed, Traits};
use cdp_value::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// Reads the columns of traits and of their times.
pub fn read(row: &Rows, values: usize, times: usize) -> Traits {
    let json = |column| row.optional_jsonb(column).and_then(|text| stored::json(&text)).unwrap_or(Value::Null);
    Traits::from_json(&json(values), &json(times))
}

/// Loads traits with their times. Those who change them hold the lock of the profile's row.
pub fn load(spi: &Spi, profile_ids: &[i64]) -> Result<BTreeMap<i64, Traits>> {
    if profile_ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = spi.query(
        "SELECT profile_id, traits, updated FROM _cdp.profile_traits WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1)",
        &[Param::Int8Array(profile_ids)],
    )?;
    Ok(rows.map(|row| Ok((row.i64(0)?, read(row, 1, 2))))?.into_iter().collect())
}

fn save(spi: &Spi, namespace_id: i32, traits: &BTreeMap<i64, &Traits>) -> Result<()> {
    if traits.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = traits.keys().copied().collect();
    let values: Vec<String> = traits.values().map(|t| t.values().to_string()).collect();
    let times: Vec<String> = traits.values().map(|t| t.times().to_string()).collect();
    let values: Vec<Option<&str>> = values.iter().map(|v| Some(v.as_str())).collect();
    let times: Vec<Option<&str>> = times.iter().map(|t| Some(t.as_str())).collect();
    spi.execute(
        "INSERT INTO _cdp.profile_traits (namespace_id, profile_id, traits, updated) \
         SELECT $1, t.* FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) AS t \
         ON CONFLICT (profile_id) DO UPDATE SET traits = EXCLUDED.traits, updated = EXCLUDED.updated",
        &[Param::Int4(namespace_id), Param::Int8Array(&ids), Param::JsonbArray(&values), Param::JsonbArray(&times)],
    )?;
    Ok(())
}

/// Adds traits to people whose rows this transaction holds; `new` are those that have none yet. Returns whose
/// values changed.
pub fn fold(
    spi: &Spi,
    namespace_id: i32,
    brought: &BTreeMap<i64, Attributes>,
    new: &HashSet<i64>,
    now: Timestamp,
) -> Result<HashSet<i64>> {
    let brought: BTreeMap<i64, &Attributes> =
        brought.iter().filter(|(_, a)| a.traits != Traits::default()).map(|(id, a)| (*id, a)).collect();
    let known: Vec<i64> = brought.keys().copied().filter(|id| !new.contains(id)).collect();
    let before = load(spi, &known)?;
    let mut after = BTreeMap::new();
    for (profile_id, attributes) in &brought {
        let mut traits = before.get(profile_id).cloned().unwrap_or_default();
        traits.follow(&attributes.traits);
        after.insert(*profile_id, traits);
    }
    let cause = |profile_id| brought.get(&profile_id).map_or_else(String::new, |a| format!("message {}", a.message_id));
    replace(spi, namespace_id, &before, &after, cause, now)
}

/// Writes traits where they differ from those before, and the history of it; returns whose values changed.
pub fn replace(
    spi: &Spi,
    namespace_id: i32,
    before: &BTreeMap<i64, Traits>,
    after: &BTreeMap<i64, Traits>,
    cause: impl Fn(i64) -> String,
    now: Timestamp,
) -> Result<HashSet<i64>> {
    let none = Traits::default();
    let mut history: Vec<(i64, Changed)> = Vec::new();
    let mut written = BTreeMap::new();
    for (profile_id, traits) in after {
        let old = before.get(profile_id).unwrap_or(&none);
        if old == traits {
            continue;
        }
        written.insert(*profile_id, traits);
        history.extend(changes(&old.values(), &traits.values()).into_iter().map(|change| (*profile_id, change)));
    }
    save(spi, namespace_id, &written)?;
    write_history(spi, namespace_id, &history, cause, now)?;
    Ok(history.into_iter().map(|(profile_id, _)| profile_id).collect())
}

fn write_history(
    spi: &Spi,
    namespace_id: i32,
    history: &[(i64, Changed)],
    cause: impl Fn(i64) -> String,
    now: Timestamp,
) -> Result<()> {
    if history.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = history.iter().map(|h| h.0).collect();
    let causes: Vec<String> = history.iter().map(|h| cause(h.0)).collect();
    let causes: Vec<&str> = causes.iter().map(String::as_str).collect();
    let keys: Vec<&str> = history.iter().map(|h| h.1.key.as_str()).collect();
    let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
    let old: Vec<Option<String>> = history.iter().map(|h| text(&h.1.old)).collect();
    let new: Vec<Option<String>> = history.iter().map(|h| text(&h.1.new)).collect();
    let old: Vec<Option<&str>> = old.iter().map(Option::as_deref).collect();
    let new: Vec<Option<&str>> = new.iter().map(Option::as_deref).collect();
    spi.execute(
        "INSERT INTO _cdp.history (namespace_id, at, what, profile_id, key, old, new, cause) \
         SELECT $1, $2, 'profile', t.* FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), \
             pg_catalog.unnest($6), pg_catalog.unnest($7)) AS t",
        &[
            Param::Int4(namespace_id),
            Param::Timestamp(now),
            Param::Int8Array(&ids),
            Param::TextArray(&keys),
            Param::JsonbArray(&old),
            Param::JsonbArray(&new),
            Param::TextArray(&causes),
        ],
    )?;
    Ok(())
}

/// The traits of two people that are one: the newest of each wins. The transaction holds both rows.
pub fn merge(spi: &Spi, namespace_id: i32, survivor: i64, absorbed: i64) -> Result<()> {
    let both = load(spi, &[survivor, absorbed])?;
    if let Some(gone) = both.get(&absorbed) {
        let mut whole = both.get(&survivor).cloned().unwrap_or_default();
        whole.merge(gone);
        save(spi, namespace_id, &BTreeMap::from([(survivor, &whole)]))?;
        spi.execute(
            "DELETE FROM _cdp.profile_traits WHERE profile_id OPERATOR(pg_catalog.=) $1",
            &[Param::Int8(absorbed)],
        )?;
    }
    Ok(())
}
