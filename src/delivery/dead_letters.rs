//! Dead letters: messages that cannot be delivered, kept with everything needed to see why.

use super::settle::Attempt;
use crate::error::Result;
use crate::ingest::partitions;
use crate::namespaces::bindings;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::pg::wake;
use cdp_value::Timestamp;

/// A message that is given up.
pub struct Letter<'a> {
    pub attempt: &'a Attempt,
    pub attempts: i32,
    pub reason: String,
}

/// Writes dead letters; their messages are still in the outbox.
pub fn insert(spi: &Spi, letters: &[Letter], now: Timestamp) -> Result<()> {
    if letters.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = letters.iter().map(|letter| letter.attempt.row.outbox_id).collect();
    let created: Vec<Timestamp> = letters.iter().map(|letter| letter.attempt.row.created_at).collect();
    let attempts: Vec<i32> = letters.iter().map(|letter| letter.attempts).collect();
    let texts = |of: fn(&Letter) -> Option<String>| -> Vec<Option<String>> {
        letters.iter().map(|letter| of(letter).map(|text| text.replace('\0', ""))).collect()
    };
    let reasons = texts(|letter| Some(letter.reason.clone()));
    let requests = texts(|letter| letter.attempt.evidence.as_ref().map(|evidence| evidence.request.clone()));
    let responses = texts(|letter| letter.attempt.evidence.as_ref().map(|evidence| evidence.response.clone()));
    let statuses: Vec<Option<i64>> =
        letters.iter().map(|letter| letter.attempt.evidence.as_ref()?.status.map(i64::from)).collect();
    fn borrowed(texts: &[Option<String>]) -> Vec<Option<&str>> {
        texts.iter().map(Option::as_deref).collect()
    }
    spi.execute(
        "INSERT INTO _cdp.dead_letters (outbox_id, created_at, failed_at, profile_id, namespace_id, destination_id, attempts,
                                        kind, message_id, payload, reason, request, status, response, replay, route_id)
         SELECT o.outbox_id, o.created_at, $8, o.profile_id, o.namespace_id, o.destination_id, k.attempts,
                o.kind, o.message_id, o.payload, k.reason, k.request, k.status, k.response, o.replay, o.route_id
         FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int8[]), pg_catalog.unnest($2::pg_catalog.timestamptz[]),
                         pg_catalog.unnest($3::pg_catalog.int4[]), pg_catalog.unnest($4::pg_catalog.text[]),
                         pg_catalog.unnest($5::pg_catalog.text[]), pg_catalog.unnest($6::pg_catalog.int8[]),
                         pg_catalog.unnest($7::pg_catalog.text[]))
              AS k(outbox_id, created_at, attempts, reason, request, status, response)
         JOIN _cdp.outbox AS o
           ON o.outbox_id OPERATOR(pg_catalog.=) k.outbox_id AND o.created_at OPERATOR(pg_catalog.=) k.created_at
         ON CONFLICT (outbox_id, profile_id) DO NOTHING",
        &[
            Param::Int8Array(&ids),
            Param::TimestampArray(&created),
            Param::Int4Array(&attempts),
            Param::OptionalTextArray(&borrowed(&reasons)),
            Param::OptionalTextArray(&borrowed(&requests)),
            Param::OptionalInt8Array(&statuses),
            Param::OptionalTextArray(&borrowed(&responses)),
            Param::Timestamp(now),
        ],
    )?;
    Ok(())
}

/// Puts dead letters back in the queue, behind what waits there, with the message ids they had. Returns how many; those
/// of namespaces that the session may not use are not there for it.
pub fn retry(spi: &Spi, delivery_ids: &[i64]) -> Result<i64> {
    if delivery_ids.is_empty() {
        return Ok(0);
    }
    let bounds = bindings::current(spi)?;
    let own: Vec<i32> = bounds.iter().flat_map(|bounds| bounds.iter().map(|bound| bound.id)).collect();
    let now = clock::real();
    partitions::ensure_outbox(spi, now)?;
    let count = spi.execute(
        "WITH gone AS (
             DELETE FROM _cdp.dead_letters AS l USING _cdp.destinations AS d
             WHERE l.outbox_id OPERATOR(pg_catalog.=) ANY ($1) AND d.destination_id OPERATOR(pg_catalog.=) l.destination_id
               AND ($3 OR l.namespace_id OPERATOR(pg_catalog.=) ANY ($4))
             RETURNING l.outbox_id, l.profile_id, l.namespace_id, l.destination_id, l.kind, l.message_id, l.payload, l.replay, l.route_id),
         messages AS (
             INSERT INTO _cdp.outbox (created_at, profile_id, namespace_id, destination_id, kind, message_id, payload, replay, route_id)
             SELECT $2, profile_id, namespace_id, destination_id, kind, message_id, payload, replay, route_id FROM gone ORDER BY outbox_id
             RETURNING outbox_id, created_at, profile_id, namespace_id, destination_id)
         INSERT INTO _cdp.deliveries (outbox_id, created_at, profile_id, namespace_id, destination_id)
         SELECT outbox_id, created_at, profile_id, namespace_id, destination_id FROM messages",
        &[
            Param::Int8Array(delivery_ids),
            Param::Timestamp(now),
            Param::Bool(bounds.is_none()),
            Param::Int4Array(&own),
        ],
    )?;
    wake::request();
    Ok(count as i64)
}
