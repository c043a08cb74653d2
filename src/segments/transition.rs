//! Writes who entered and left which segment, and the history of it.

use crate::error::Result;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::traits::catalog::Catalog;
use crate::traits::evaluate::{Change, What};
use std::collections::BTreeMap;

/// Writes memberships and history for what changed; touches nothing when nothing did.
pub fn write(spi: &Spi, catalog: &Catalog, changes: &[Change]) -> Result<()> {
    let mut memberships: BTreeMap<(i64, i32), Option<i64>> = BTreeMap::new();
    let (mut profile_ids, mut times, mut whats, mut keys, mut old, mut new, mut causes) =
        (vec![], vec![], vec![], vec![], vec![], vec![], vec![]);
    for change in changes {
        let (what, key, before, after) = match &change.what {
            What::SegmentEntered { position } | What::SegmentExited { position } => {
                let Some(segment) = catalog.segments.get(*position) else { continue };
                let entered = matches!(change.what, What::SegmentEntered { .. });
                memberships.insert((change.profile_id, segment.id), entered.then_some(change.at));
                let (before, after) = if entered { ("false", "true") } else { ("true", "false") };
                ("segment", segment.key.as_str(), before, after)
            }
            What::Trait { position, old, new } => {
                let Some(found) = catalog.traits.get(*position) else { continue };
                // Numbers and lists change with almost every event: their history is the events.
                if !is_state(old) || !is_state(new) {
                    continue;
                }
                // That somebody is not something yet is no news.
                if old == "null" && new == "false" {
                    continue;
                }
                ("trait", found.key.as_str(), old.as_str(), new.as_str())
            }
        };
        profile_ids.push(change.profile_id);
        times.push(change.at);
        whats.push(what);
        keys.push(key);
        old.push(Some(before));
        new.push(Some(after));
        causes.push(change.cause.as_text());
    }
    write_memberships(spi, catalog, &memberships)?;
    if profile_ids.is_empty() {
        return Ok(());
    }
    let causes: Vec<&str> = causes.iter().map(String::as_str).collect();
    spi.execute(
        "INSERT INTO _cdp.history (namespace_id, profile_id, at, what, key, old, new, cause) \
         SELECT $1, t.* FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), \
             pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)) AS t",
        &[
            Param::Int4(catalog.namespace_id),
            Param::Int8Array(&profile_ids),
            Param::TimestampArray(&times),
            Param::TextArray(&whats),
            Param::TextArray(&keys),
            Param::JsonbArray(&old),
            Param::JsonbArray(&new),
            Param::TextArray(&causes),
        ],
    )?;
    Ok(())
}

/// Whether a value is a state somebody is in rather than a measurement: true, false or a text.
fn is_state(json: &str) -> bool {
    matches!(json, "true" | "false" | "null") || json.starts_with('"')
}

fn write_memberships(spi: &Spi, catalog: &Catalog, memberships: &BTreeMap<(i64, i32), Option<i64>>) -> Result<()> {
    let (mut entered, mut exited) = ((vec![], vec![], vec![]), (vec![], vec![]));
    for ((profile_id, segment_id), since) in memberships {
        match since {
            Some(since) => {
                entered.0.push(*profile_id);
                entered.1.push(*segment_id);
                entered.2.push(*since);
            }
            None => {
                exited.0.push(*profile_id);
                exited.1.push(*segment_id);
            }
        }
    }
    if !exited.0.is_empty() {
        spi.execute_hashed(
            "DELETE FROM _cdp.segment_members AS m USING ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS t (profile_id, segment_id) \
             WHERE m.profile_id OPERATOR(pg_catalog.=) ANY ($1) AND m.profile_id OPERATOR(pg_catalog.=) t.profile_id AND m.segment_id OPERATOR(pg_catalog.=) t.segment_id",
            &[Param::Int8Array(&exited.0), Param::Int4Array(&exited.1)],
        )?;
    }
    if !entered.0.is_empty() {
        spi.execute(
            "INSERT INTO _cdp.segment_members AS m (namespace_id, profile_id, segment_id, since) \
             SELECT $1, t.* FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) AS t \
             ON CONFLICT (profile_id, segment_id) DO UPDATE SET since = EXCLUDED.since",
            &[
                Param::Int4(catalog.namespace_id),
                Param::Int8Array(&entered.0),
                Param::Int4Array(&entered.1),
                Param::TimestampArray(&entered.2),
            ],
        )?;
    }
    Ok(())
}
