//! The events behind a value, for explanations.

use super::context::EventContext;
use super::person::Person;
use super::properties;
use crate::error::Result;
use crate::ingest::names;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_expr::Aggregate;
use cdp_value::Timestamp;
use serde_json::{json, Value as Json};

/// So many events are shown, the latest that count, of so many that are looked at.
const SHOWN: usize = 10;
const LOOKED_AT: i64 = 1_000;

/// The latest events that count for an aggregate at an instant, as a JSON list: time, message, and the value of the
/// property it reads.
pub fn that_count(spi: &Spi, person: &Person, aggregate: &Aggregate, at: Timestamp) -> Result<Json> {
    let ids = names::look_up(spi, &[&aggregate.source.event])?;
    let Some(event) = ids.get(&aggregate.source.event) else { return Ok(json!([])) };
    let from = aggregate.window.map_or(Timestamp::MIN, |window| at.saturating_sub(window.length));
    let profiles: Vec<i64> = person.profile_ids().collect();
    let rows = spi.query(
        "SELECT e.ts, e.message_id, e.properties, e.name, e.category FROM _cdp.events AS e \
         WHERE e.profile_id OPERATOR(pg_catalog.=) ANY ($1) AND e.event_name_id OPERATOR(pg_catalog.=) $2 \
             AND e.ts OPERATOR(pg_catalog.>=) $3 AND e.ts OPERATOR(pg_catalog.<=) $4 \
         ORDER BY e.ts DESC, e.event_id DESC LIMIT $5",
        &[
            Param::Int8Array(&profiles),
            Param::Int4(*event),
            Param::Timestamp(from.max(clock::FIRST)),
            Param::Timestamp(at),
            Param::Int8(LOOKED_AT),
        ],
    )?;
    let found = rows.map(|row| {
        let properties = properties::of_row(row, 2);
        let at = row.timestamp(0)?;
        let filter = aggregate.source.filter.as_deref();
        if filter.is_some_and(|filter| !cdp_expr::is_true(filter, &EventContext { properties: &properties, at })) {
            return Ok(None);
        }
        let mut event = json!({ "timestamp": cdp_expr::format_instant(at), "message_id": row.text(1)? });
        if let (Some(path), Some(members)) = (&aggregate.property, event.as_object_mut()) {
            match cdp_expr::lookup(&properties, path).filter(|value| !value.is_null()) {
                Some(value) => members.insert("value".to_string(), value.to_json()),
                None => return Ok(None),
            };
        }
        Ok(Some(event))
    })?;
    Ok(Json::Array(found.into_iter().flatten().take(SHOWN).collect()))
}
