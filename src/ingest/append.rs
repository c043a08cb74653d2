//! Stage 6: messages become rows of `_cdp.events`.

use super::{names, partitions, stored, Accepted};
use crate::error::Result;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_message::{Document, MessageType};

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

/// Appends the batch, in one statement.
pub fn append(spi: &Spi, namespace_id: i32, batch: &[Accepted]) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    partitions::ensure_events(spi, batch.iter().map(|a| a.message.timestamp))?;
    let ids = names::ids(spi, batch.iter().filter_map(|a| a.message.event_name()))?;
    let each = batch.iter();
    let profile_ids: Vec<i64> = each.clone().map(|a| a.profile_id).collect();
    let times: Vec<i64> = each.clone().map(|a| a.message.timestamp).collect();
    let received: Vec<i64> = each.clone().map(|a| a.message.received_at).collect();
    let event_names: Vec<i32> =
        each.clone().map(|a| a.message.event_name().and_then(|n| ids.get(n)).copied().unwrap_or(0)).collect();
    let types: Vec<i16> = each.clone().map(|a| type_code(a.message.kind)).collect();
    let message_ids: Vec<&str> = each.clone().map(|a| a.message_id.as_str()).collect();
    let text = |read: fn(&Accepted) -> Option<&str>| batch.iter().map(read).collect::<Vec<_>>();
    let user_ids = text(|a| a.message.user_id.as_deref());
    let anonymous_ids = text(|a| a.message.anonymous_id.as_deref());
    let names = text(|a| a.message.name.as_deref());
    let categories = text(|a| a.message.category.as_deref());
    let group_ids = text(|a| a.message.group_id.as_deref());
    let previous_ids = text(|a| a.message.previous_id());
    // The traits of identify and group calls stand where other calls have properties.
    let properties = text(|a| match a.message.kind {
        MessageType::Identify | MessageType::Group => a.message.traits.as_ref().map(Document::text),
        _ => a.message.properties.as_ref().map(Document::text),
    });
    let contexts = text(|a| a.message.context.as_ref().map(Document::text));
    let integrations = text(|a| a.message.integrations.as_ref().map(Document::text));
    let other_ids: Vec<Option<String>> = batch.iter().map(|a| stored::other_ids(&a.message)).collect();
    let other_ids: Vec<Option<&str>> = other_ids.iter().map(Option::as_deref).collect();
    let original: Vec<Option<i64>> = each.clone().map(|a| a.message.original_timestamp).collect();
    let sent: Vec<Option<i64>> = each.map(|a| a.message.sent_at).collect();
    spi.execute(
        "INSERT INTO _cdp.events (namespace_id, profile_id, ts, received_at, event_name_id, type, message_id, user_id, anonymous_id, \
             name, category, group_id, previous_id, properties, context, integrations, original_timestamp, sent_at, other_ids) \
         SELECT $1, t.* FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), \
             pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10), \
             pg_catalog.unnest($11), pg_catalog.unnest($12), pg_catalog.unnest($13), pg_catalog.unnest($14), pg_catalog.unnest($15), \
             pg_catalog.unnest($16), pg_catalog.unnest($17), pg_catalog.unnest($18), \
             pg_catalog.unnest($19)) AS t",
        &[
            Param::Int4(namespace_id),
            Param::Int8Array(&profile_ids),
            Param::TimestampArray(&times),
            Param::TimestampArray(&received),
            Param::Int4Array(&event_names),
            Param::Int2Array(&types),
            Param::TextArray(&message_ids),
            Param::OptionalTextArray(&user_ids),
            Param::OptionalTextArray(&anonymous_ids),
            Param::OptionalTextArray(&names),
            Param::OptionalTextArray(&categories),
            Param::OptionalTextArray(&group_ids),
            Param::OptionalTextArray(&previous_ids),
            Param::JsonbArray(&properties),
            Param::JsonbArray(&contexts),
            Param::JsonbArray(&integrations),
            Param::OptionalTimestampArray(&original),
            Param::OptionalTimestampArray(&sent),
            Param::JsonbArray(&other_ids),
        ],
    )?;
    Ok(())
}
