//! Groups (companies, accounts): their traits, and who belongs to them.

use crate::error::Result;
use crate::ingest::Accepted;
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_message::MessageType;
use cdp_profile::Traits;
use cdp_value::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// Applies the group calls of a batch; returns the people whose group or whose group's traits changed.
pub fn apply(spi: &Spi, namespace: &Namespace, batch: &[Accepted], now: Timestamp) -> Result<HashSet<i64>> {
    let mut by_group: BTreeMap<&str, Vec<&Accepted>> = BTreeMap::new();
    for accepted in batch.iter().filter(|a| a.message.kind == MessageType::Group) {
        if let Some(group_id) = accepted.message.group_id.as_deref() {
            by_group.entry(group_id).or_default().push(accepted);
        }
    }
    if by_group.is_empty() {
        return Ok(HashSet::new());
    }
    let group_ids: Vec<&str> = by_group.keys().copied().collect();
    let parameters = [Param::Int4(namespace.id), Param::TextArray(&group_ids), Param::Timestamp(now)];
    spi.execute(
        "INSERT INTO _cdp.groups (namespace_id, group_id, created_at) SELECT $1, g, $3 FROM pg_catalog.unnest($2) AS g ON CONFLICT DO NOTHING",
        &parameters,
    )?;
    let rows = spi.query(
        "SELECT group_id, traits, updated FROM _cdp.groups WHERE namespace_id OPERATOR(pg_catalog.=) $1 \
             AND group_id OPERATOR(pg_catalog.=) ANY ($2) ORDER BY group_id FOR UPDATE",
        &parameters[..2],
    )?;
    let json = |text: Option<String>| {
        text.and_then(|text| serde_json::from_str::<Value>(&text).ok()).unwrap_or(Value::Null)
    };
    let groups = rows.map(|row| {
        Ok((row.text(0)?, Traits::from_json(&json(row.optional_jsonb(1)), &json(row.optional_jsonb(2)))))
    })?;
    let mut changed = HashSet::new();
    for (group_id, before) in groups {
        let mut after = before.clone();
        for accepted in by_group.get(group_id.as_str()).into_iter().flatten() {
            changed.insert(accepted.profile_id);
            if let Some(traits) = &accepted.message.traits {
                after.apply(traits.value(), accepted.message.timestamp);
            }
        }
        if after != before {
            spi.execute(
                "UPDATE _cdp.groups SET traits = $3, updated = $4 WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND group_id OPERATOR(pg_catalog.=) $2",
                &[
                    Param::Int4(namespace.id),
                    Param::Text(&group_id),
                    Param::Jsonb(&after.values().to_string()),
                    Param::Jsonb(&after.times().to_string()),
                ],
            )?;
            // The traits of a group are those of all its members.
            let members = spi
                .query(
                    "SELECT profile_id FROM _cdp.group_members WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND group_id OPERATOR(pg_catalog.=) $2",
                    &[Param::Int4(namespace.id), Param::Text(&group_id)],
                )?
                .map(|row| row.i64(0))?;
            changed.extend(members);
        }
    }
    let mut members: BTreeMap<(i64, &str), Timestamp> = BTreeMap::new();
    for (group_id, calls) in &by_group {
        for accepted in calls {
            let at = members.entry((accepted.profile_id, group_id)).or_insert(accepted.message.timestamp);
            *at = (*at).max(accepted.message.timestamp);
        }
    }
    let profile_ids: Vec<i64> = members.keys().map(|m| m.0).collect();
    let member_groups: Vec<&str> = members.keys().map(|m| m.1).collect();
    let joined: Vec<i64> = members.values().copied().collect();
    spi.execute(
        "INSERT INTO _cdp.group_members AS m (namespace_id, profile_id, group_id, joined_at) \
         SELECT $1, t.* FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) AS t \
         ON CONFLICT (profile_id, group_id) DO UPDATE SET joined_at = GREATEST(m.joined_at, EXCLUDED.joined_at)",
        &[
            Param::Int4(namespace.id),
            Param::Int8Array(&profile_ids),
            Param::TextArray(&member_groups),
            Param::TimestampArray(&joined),
        ],
    )?;
    Ok(changed)
}
