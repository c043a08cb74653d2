//! Stage 6: messages become rows of `_cdp.events`.

use super::{names, partitions, stored, Accepted};
use crate::error::Result;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::pg::{cache, table};
use cdp_message::{Document, MessageType};
use std::collections::BTreeMap;
use std::ffi::CStr;

/// The number by which `_cdp.events.type` stands for a call.
pub fn type_code(kind: MessageType) -> i16 {
    match kind {
        MessageType::Track => 0,
        MessageType::Identify => 1,
        MessageType::Page => 2,
        MessageType::Screen => 3,
        MessageType::Group => 4,
        MessageType::Alias => 5,
    }
}

/// The call for which a number of `_cdp.events.type` stands.
pub fn type_of(code: i16) -> MessageType {
    match code {
        1 => MessageType::Identify,
        2 => MessageType::Page,
        3 => MessageType::Screen,
        4 => MessageType::Group,
        5 => MessageType::Alias,
        _ => MessageType::Track,
    }
}

/// Columns of `_cdp.events`, in the order of [`values`].
const COLUMNS: [&CStr; 20] = [
    c"event_id",
    c"namespace_id",
    c"profile_id",
    c"ts",
    c"received_at",
    c"event_name_id",
    c"type",
    c"message_id",
    c"user_id",
    c"anonymous_id",
    c"name",
    c"category",
    c"group_id",
    c"previous_id",
    c"properties",
    c"context",
    c"integrations",
    c"original_timestamp",
    c"sent_at",
    c"other_ids",
];

/// A message on its way into the table.
struct Row<'a> {
    accepted: &'a Accepted,
    event_id: i64,
    event_name_id: i32,
    other_ids: Option<String>,
}

fn values<'a>(namespace_id: i32, row: &'a Row) -> [Param<'a>; 20] {
    let message = &row.accepted.message;
    let text = |document: &'a Option<Document>| document.as_ref().map(Document::text);
    [
        Param::Int8(row.event_id),
        Param::Int4(namespace_id),
        Param::Int8(row.accepted.profile_id),
        Param::Timestamp(message.timestamp),
        Param::Timestamp(message.received_at),
        Param::Int4(row.event_name_id),
        Param::Int2(type_code(message.kind)),
        Param::Text(&row.accepted.message_id),
        Param::OptionalText(message.user_id.as_deref()),
        Param::OptionalText(message.anonymous_id.as_deref()),
        Param::OptionalText(message.name.as_deref()),
        Param::OptionalText(message.category.as_deref()),
        Param::OptionalText(message.group_id.as_deref()),
        Param::OptionalText(message.previous_id()),
        // The traits of identify and group calls stand where other calls have properties.
        Param::OptionalJsonb(match message.kind {
            MessageType::Identify | MessageType::Group => text(&message.traits),
            _ => text(&message.properties),
        }),
        Param::OptionalJsonb(text(&message.context)),
        Param::OptionalJsonb(text(&message.integrations)),
        Param::OptionalTimestamp(message.original_timestamp),
        Param::OptionalTimestamp(message.sent_at),
        Param::OptionalJsonb(row.other_ids.as_deref()),
    ]
}

/// Appends the batch: straight to the partitions where they are plain tables, else in statements.
pub fn append(spi: &Spi, namespace_id: i32, batch: &[Accepted]) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    partitions::ensure_events(spi, batch.iter().map(|a| a.message.timestamp))?;
    let ids = names::ids(spi, namespace_id, batch.iter().filter_map(|a| a.message.event_name()))?;
    let event_ids = table::next_values(table::named(c"event_id_seq"), batch.len());
    let mut by_partition: BTreeMap<Option<(u32, u64)>, Vec<Row>> = BTreeMap::new();
    for (accepted, event_id) in batch.iter().zip(event_ids) {
        let message = &accepted.message;
        by_partition.entry(partitions::of_event(message.timestamp)).or_default().push(Row {
            accepted,
            event_id,
            event_name_id: message.event_name().and_then(|name| ids.get(name)).copied().unwrap_or(0),
            other_ids: stored::other_ids(message),
        });
    }
    for (partition, mut rows) in by_partition {
        // In the order of the key, which finds neighbours where it just was, and keeps a person's events together.
        rows.sort_unstable_by_key(|row| {
            (row.accepted.profile_id, row.event_name_id, row.accepted.message.timestamp, row.event_id)
        });
        let is_written = match partition {
            None => false,
            Some((oid, generation)) => table::with(oid, &COLUMNS, |table| {
                // Opening it brings the news of partitions that went.
                let is_there = cache::generation() == generation;
                if is_there {
                    table.insert(rows.iter().map(|row| values(namespace_id, row)))?;
                }
                Ok(is_there)
            })?
            .unwrap_or(false),
        };
        if !is_written {
            rows.iter().try_for_each(|row| insert(spi, namespace_id, row))?;
        }
    }
    Ok(())
}

/// Appends one message by a statement, which finds out itself where it belongs and does whatever else is to be done.
fn insert(spi: &Spi, namespace_id: i32, row: &Row) -> Result<()> {
    spi.execute(
        "INSERT INTO _cdp.events (event_id, namespace_id, profile_id, ts, received_at, event_name_id, type, message_id, user_id, \
             anonymous_id, name, category, group_id, previous_id, properties, context, integrations, original_timestamp, sent_at, other_ids) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
        &values(namespace_id, row),
    )?;
    Ok(())
}
