//! Stage 10: messages for destinations, committed with what caused them.

use crate::error::Result;
use crate::ingest::partitions;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::pg::wake;
use cdp_delivery::MessageKind;

/// A message for one destination.
pub struct Outgoing {
    pub profile_id: i64,
    pub destination_id: i32,
    /// The route whose mapping and transformation apply; None when there was none.
    pub route_id: Option<i32>,
    pub kind: MessageKind,
    /// Idempotency key of the message; each destination gets its own row, with the same key.
    pub message_id: String,
    /// The message in the spec's camelCase JSON.
    pub payload: String,
    pub replay: bool,
}

/// Appends messages in order and wakes the worker at commit.
pub fn append(spi: &Spi, namespace_id: i32, outgoing: &[Outgoing]) -> Result<()> {
    if outgoing.is_empty() {
        return Ok(());
    }
    let created_at = clock::real();
    partitions::ensure_outbox(spi, created_at)?;
    let profile_ids: Vec<i64> = outgoing.iter().map(|o| o.profile_id).collect();
    let destinations: Vec<i32> = outgoing.iter().map(|o| o.destination_id).collect();
    let route_ids: Vec<Option<i64>> = outgoing.iter().map(|o| o.route_id.map(i64::from)).collect();
    let kinds: Vec<&str> = outgoing.iter().map(|o| o.kind.as_str()).collect();
    let message_ids: Vec<&str> = outgoing.iter().map(|o| o.message_id.as_str()).collect();
    let payloads: Vec<Option<&str>> = outgoing.iter().map(|o| Some(o.payload.as_str())).collect();
    let replays: Vec<bool> = outgoing.iter().map(|o| o.replay).collect();
    spi.execute(
        "WITH messages AS ( \
             INSERT INTO _cdp.outbox (namespace_id, created_at, profile_id, destination_id, kind, message_id, payload, replay, route_id) \
             SELECT $1, $2, t.* FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), \
                 pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9)) AS t \
             RETURNING outbox_id, created_at, profile_id, namespace_id, destination_id) \
         INSERT INTO _cdp.deliveries (outbox_id, created_at, profile_id, namespace_id, destination_id) SELECT * FROM messages",
        &[
            Param::Int4(namespace_id),
            Param::Timestamp(created_at),
            Param::Int8Array(&profile_ids),
            Param::Int4Array(&destinations),
            Param::TextArray(&kinds),
            Param::TextArray(&message_ids),
            Param::JsonbArray(&payloads),
            Param::BoolArray(&replays),
            Param::OptionalInt8Array(&route_ids),
        ],
    )?;
    wake::request();
    Ok(())
}
