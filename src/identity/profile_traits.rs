//! The traits that identify calls give to people.

use crate::error::Result;
use crate::ingest::Accepted;
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::{Rows, Spi};
use cdp_message::{Document, MessageType};
use cdp_profile::{changes, Changed, Traits};
use cdp_value::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

fn read(row: &Rows, values: usize, times: usize) -> Traits {
    let json = |column| {
        row.optional_jsonb(column).and_then(|text| serde_json::from_str::<Value>(&text).ok()).unwrap_or(Value::Null)
    };
    Traits::from_json(&json(values), &json(times))
}

/// Loads traits for a change, locked in key order.
fn lock(spi: &Spi, profile_ids: &[i64]) -> Result<BTreeMap<i64, Traits>> {
    let rows = spi.query(
        "SELECT profile_id, traits, updated FROM _cdp.profile_traits WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) \
         ORDER BY profile_id FOR UPDATE",
        &[Param::Int8Array(profile_ids)],
    )?;
    Ok(rows.map(|row| Ok((row.i64(0)?, read(row, 1, 2))))?.into_iter().collect())
}

fn save(spi: &Spi, namespace: &Namespace, traits: &BTreeMap<i64, &Traits>) -> Result<()> {
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
        &[Param::Int4(namespace.id), Param::Int8Array(&ids), Param::JsonbArray(&values), Param::JsonbArray(&times)],
    )?;
    Ok(())
}

/// Applies the identify calls of a batch; returns the people whose traits changed.
pub fn apply(spi: &Spi, namespace: &Namespace, batch: &[Accepted], now: Timestamp) -> Result<HashSet<i64>> {
    let identifies: Vec<(&Accepted, &Document)> = batch
        .iter()
        .filter(|a| a.message.kind == MessageType::Identify)
        .filter_map(|a| a.message.traits.as_ref().filter(|t| !t.is_empty()).map(|t| (a, t)))
        .collect();
    if identifies.is_empty() {
        return Ok(HashSet::new());
    }
    let mut ids: Vec<i64> = identifies.iter().map(|(a, _)| a.profile_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let before = lock(spi, &ids)?;
    let mut after = before.clone();
    let mut causes: BTreeMap<i64, &str> = BTreeMap::new();
    for (accepted, traits) in identifies {
        after.entry(accepted.profile_id).or_default().apply(traits.value(), accepted.message.timestamp);
        causes.insert(accepted.profile_id, &accepted.message_id);
    }
    let none = Traits::default();
    let mut history: Vec<(i64, &str, Changed)> = Vec::new();
    let mut changed = HashSet::new();
    let mut written = BTreeMap::new();
    for (profile_id, traits) in &after {
        let old = before.get(profile_id).unwrap_or(&none);
        if old == traits {
            continue;
        }
        written.insert(*profile_id, traits);
        for change in changes(&old.values(), &traits.values()) {
            changed.insert(*profile_id);
            history.push((*profile_id, causes.get(profile_id).copied().unwrap_or(""), change));
        }
    }
    save(spi, namespace, &written)?;
    write_history(spi, namespace, &history, now)?;
    Ok(changed)
}

fn write_history(spi: &Spi, namespace: &Namespace, history: &[(i64, &str, Changed)], now: Timestamp) -> Result<()> {
    if history.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = history.iter().map(|h| h.0).collect();
    let causes: Vec<String> = history.iter().map(|h| format!("message {}", h.1)).collect();
    let causes: Vec<&str> = causes.iter().map(String::as_str).collect();
    let keys: Vec<&str> = history.iter().map(|h| h.2.key.as_str()).collect();
    let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
    let old: Vec<Option<String>> = history.iter().map(|h| text(&h.2.old)).collect();
    let new: Vec<Option<String>> = history.iter().map(|h| text(&h.2.new)).collect();
    let old: Vec<Option<&str>> = old.iter().map(Option::as_deref).collect();
    let new: Vec<Option<&str>> = new.iter().map(Option::as_deref).collect();
    spi.execute(
        "INSERT INTO _cdp.history (namespace_id, at, what, profile_id, key, old, new, cause) \
         SELECT $1, $2, 'profile', t.* FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), \
             pg_catalog.unnest($6), pg_catalog.unnest($7)) AS t",
        &[
            Param::Int4(namespace.id),
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

/// The traits of two people that are one: the newest of each wins.
pub fn merge(spi: &Spi, namespace: &Namespace, survivor: i64, absorbed: i64) -> Result<()> {
    let both = lock(spi, &[survivor.min(absorbed), survivor.max(absorbed)])?;
    if let Some(gone) = both.get(&absorbed) {
        let mut whole = both.get(&survivor).cloned().unwrap_or_default();
        whole.merge(gone);
        save(spi, namespace, &BTreeMap::from([(survivor, &whole)]))?;
        spi.execute(
            "DELETE FROM _cdp.profile_traits WHERE profile_id OPERATOR(pg_catalog.=) $1",
            &[Param::Int8(absorbed)],
        )?;
    }
    Ok(())
}
