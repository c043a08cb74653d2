//! Application tables whose rows become messages, in the application's own transaction.
//!
//! The arguments of `cdp.attach` are columns or SQL over a row. They are compiled once, into SQL that makes the
//! JSON of a message from a row, and run with the rights of the table's owner, never with those of cdp.

pub mod backfill;
pub mod define;
pub mod rows;
mod template;

use super::{limits, Incoming, Strictness};
use crate::error::Result;
use crate::guc;
use crate::namespaces::Namespace;
use crate::pg::spi::Spi;
use cdp_message::BadItem;
use cdp_value::Timestamp;

/// Sends messages through the pipeline, in chunks.
fn ingest(
    spi: &Spi,
    namespace: &Namespace,
    messages: &[String],
    strictness: Strictness,
    received_at: Timestamp,
) -> Result<()> {
    for chunk in messages.chunks(guc::chunk_rows()) {
        let mut batch: Vec<Incoming> = Vec::with_capacity(chunk.len());
        for text in chunk {
            match cdp_message::parse_payload(text, received_at, &limits(), false) {
                Ok(items) => batch.extend(items),
                Err(error) => batch.push(Err(BadItem { error, original: text.clone() })),
            }
        }
        if strictness == Strictness::Raise {
            if let Some(bad) = batch.iter().find_map(|item| item.as_ref().err()) {
                return Err(super::quarantine::Reason::message(&bad.error).error());
            }
        }
        super::ingest(spi, namespace, batch, strictness, received_at)?;
    }
    Ok(())
}
