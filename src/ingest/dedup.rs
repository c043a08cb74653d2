//! Stage 3: each message id is taken once per namespace, whatever the path and however many sessions.

use crate::error::Result;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::session;
use crate::pg::spi::Spi;
use crate::pg::{table, transaction};
use cdp_value::Timestamp;
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
    let at = clock::real();
    let mut new: HashSet<[u8; 16]> = if sorted.len() >= MANY && take_at_once(namespace_id, &sorted, at)? {
        sorted.into_iter().collect()
    } else {
        let rows = spi.query(
            "INSERT INTO _cdp.message_ids (namespace_id, message_hash, received_at) \
             SELECT $1, h, $3 FROM pg_catalog.unnest($2) AS h \
             ON CONFLICT DO NOTHING RETURNING pg_catalog.uuid_send(message_hash)",
            &[Param::Int4(namespace_id), Param::UuidArray(&sorted), Param::Timestamp(at)],
        )?;
        if rows.processed as usize == sorted.len() {
            sorted.into_iter().collect()
        } else {
            let taken = rows.map(|row| row.bytes(0))?;
            taken.iter().filter_map(|bytes| <[u8; 16]>::try_from(bytes.as_slice()).ok()).collect()
        }
    };
    // The first of several with one id in this batch is the genuine one.
    Ok(hashes.iter().map(|hash| new.remove(hash)).collect())
}

/// From this many ids on, trying to take all of them at once is worth a subtransaction.
const MANY: usize = 100;

/// Takes ids that are nearly always all new, without looking each one up first and waiting for nobody; false, having
/// done nothing, when one of them is taken.
fn take_at_once(namespace_id: i32, hashes: &[[u8; 16]], at: Timestamp) -> Result<bool> {
    let columns = [c"namespace_id", c"message_hash", c"received_at"];
    let taken = transaction::nested_data(|| {
        let is_done = table::with(table::named(c"message_ids"), &columns, |table| {
            table.insert_unless_taken(
                hashes.iter().map(|hash| [Param::Int4(namespace_id), Param::Uuid(hash), Param::Timestamp(at)]),
            )
        })?;
        Ok(is_done.filter(|is_done| *is_done))
    })?;
    Ok(taken.is_some())
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
