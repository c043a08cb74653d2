//! Writes who entered and left which segment, and the history of it.

use crate::error::Result;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::pg::table;
use crate::traits::catalog::Catalog;
use crate::traits::evaluate::{Change, What};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::CStr;

/// A line of somebody's history.
struct Line<'a> {
    change: &'a Change,
    what: &'static str,
    key: &'a str,
    old: Cow<'a, str>,
    new: Cow<'a, str>,
    cause: String,
}

/// Columns of `_cdp.history`, in the order of [`values`].
const COLUMNS: [&CStr; 9] =
    [c"history_id", c"namespace_id", c"profile_id", c"at", c"what", c"key", c"old", c"new", c"cause"];

fn values<'a>(namespace_id: i32, history_id: i64, line: &'a Line) -> [Param<'a>; 9] {
    [
        Param::Int8(history_id),
        Param::Int4(namespace_id),
        Param::Int8(line.change.profile_id),
        Param::Timestamp(line.change.at),
        Param::Text(line.what),
        Param::Text(line.key),
        Param::Jsonb(&line.old),
        Param::Jsonb(&line.new),
        Param::Text(&line.cause),
    ]
}

/// Writes memberships and history for what changed; touches nothing when nothing did.
pub fn write<'a>(spi: &Spi, catalog: &Catalog, changes: impl Iterator<Item = &'a Change>) -> Result<()> {
    let mut memberships: BTreeMap<(i64, i32), Option<i64>> = BTreeMap::new();
    let mut lines = Vec::new();
    for change in changes {
        let (what, key, old, new): (_, _, Cow<str>, Cow<str>) = match &change.what {
            What::Score { position, change } => {
                // Points come with many events: their history is the events.
                let Some(score) = catalog.scores.get(*position).filter(|_| change.changes_grade()) else { continue };
                ("score", score.key.as_str(), change.old.summary().into(), change.new.summary().into())
            }
            What::SegmentEntered { position } | What::SegmentExited { position } => {
                let Some(segment) = catalog.segments.get(*position) else { continue };
                let entered = matches!(change.what, What::SegmentEntered { .. });
                memberships.insert((change.profile_id, segment.id), entered.then_some(change.at));
                let (old, new) = if entered { ("false", "true") } else { ("true", "false") };
                ("segment", segment.key.as_str(), old.into(), new.into())
            }
            What::Trait { position, old, new } => {
                let Some(found) = catalog.traits.get(*position) else { continue };
                if !is_remembered(old, new) {
                    continue;
                }
                ("trait", found.key.as_str(), old.into(), new.into())
            }
        };
        lines.push(Line { change, what, key, old, new, cause: change.cause.as_text() });
    }
    write_memberships(spi, catalog, &memberships)?;
    if lines.is_empty() {
        return Ok(());
    }
    let ids = table::next_values(table::named(c"history_id_seq"), lines.len());
    let rows = || ids.iter().zip(&lines).map(|(id, line)| values(catalog.namespace_id, *id, line));
    let written = table::with(table::named(c"history"), &COLUMNS, |table| table.insert(rows()))?;
    if written.is_none() {
        for row in rows() {
            spi.execute(
                "INSERT INTO _cdp.history (history_id, namespace_id, profile_id, at, what, key, old, new, cause) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                &row,
            )?;
        }
    }
    Ok(())
}

/// Whether the history has a change of a trait from one JSON value to another.
pub fn is_remembered(old: &str, new: &str) -> bool {
    // Numbers and lists change with almost every event: their history is the events. That somebody is not something
    // yet is no news.
    is_state(old) && is_state(new) && (old != "null" || new != "false")
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
