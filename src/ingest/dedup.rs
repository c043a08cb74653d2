//! Stage 3: each message id is taken once per namespace, whatever the path and however many sessions.

use crate::error::Result;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::session;
use crate::pg::spi::Spi;
use crate::pg::table;
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// The first 128 bits of SHA-256 of a message id: fixed size, whatever the client sends.
fn hash(message_id: &str) -> [u8; 16] {
    let digest = Sha256::digest(message_id.as_bytes());
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    first
}

/// For each message id, whether it is new. Taking it commits or rolls back with the transaction;
/// a session that brings the same id meanwhile waits for that. The horizon is one of real time, whatever
/// `cdp.clock` says: a simulation must not make anything be taken twice.
pub fn take(spi: &Spi, namespace_id: i32, message_ids: &[&str]) -> Result<Vec<bool>> {
    let hashes: Vec<[u8; 16]> = message_ids.iter().map(|id| hash(id)).collect();
    let mut sorted: Vec<[u8; 16]> = hashes.clone();
    // One order for all sessions, so that two batches with the same messages cannot deadlock.
    sorted.sort_unstable();
    sorted.dedup();
    if session::has_transaction_snapshot() {
        // Those taken since the snapshot are known to be taken, instead of making the transaction fail.
        let taken: HashSet<[u8; 16]> = spi
            .query_latest(
                "SELECT pg_catalog.uuid_send(message_hash) FROM _cdp.message_ids \
                 WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND message_hash OPERATOR(pg_catalog.=) ANY ($2)",
                &[Param::Int4(namespace_id), Param::UuidArray(&sorted)],
            )?
            .map(|row| row.bytes(0))?
            .into_iter()
            .filter_map(|bytes| <[u8; 16]>::try_from(bytes.as_slice()).ok())
            .collect();
        sorted.retain(|hash| !taken.contains(hash));
    }
    // Nearly all ids are new: they are written without looking first. From the first one on that is not, or that
    // somebody else is just taking, Postgres looks, and waits where it has to.
    let at = clock::real();
    let columns = [c"namespace_id", c"message_hash", c"received_at"];
    let written = table::with(table::named(c"message_ids"), &columns, |table| {
        table.insert_until_taken(
            sorted.iter().map(|hash| [Param::Int4(namespace_id), Param::Uuid(hash), Param::Timestamp(at)]),
        )
    })?;
    let in_doubt = sorted.split_off(written.unwrap_or(0));
    let mut new: HashSet<[u8; 16]> = sorted.into_iter().collect();
    if !in_doubt.is_empty() {
        let rows = spi.query(
            "INSERT INTO _cdp.message_ids (namespace_id, message_hash, received_at) \
             SELECT $1, h, $3 FROM pg_catalog.unnest($2) AS h \
             ON CONFLICT DO NOTHING RETURNING pg_catalog.uuid_send(message_hash)",
            &[Param::Int4(namespace_id), Param::UuidArray(&in_doubt), Param::Timestamp(at)],
        )?;
        let taken = rows.map(|row| row.bytes(0))?;
        new.extend(taken.iter().filter_map(|bytes| <[u8; 16]>::try_from(bytes.as_slice()).ok()));
    }
    // The first of several with one id in this batch is the genuine one.
    Ok(hashes.iter().map(|hash| new.remove(hash)).collect())
}

/// Forgets ids that this transaction took for messages it could not accept, so that they can come again.
pub fn give_back(spi: &Spi, namespace_id: i32, message_ids: &[String]) -> Result<()> {
    if message_ids.is_empty() {
        return Ok(());
    }
    let hashes: Vec<[u8; 16]> = message_ids.iter().map(|id| hash(id)).collect();
    spi.execute(
        "DELETE FROM _cdp.message_ids WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND message_hash OPERATOR(pg_catalog.=) ANY ($2)",
        &[Param::Int4(namespace_id), Param::UuidArray(&hashes)],
    )?;
    Ok(())
}
