//! The rows that were in a table before it was attached.

use super::template::{messages, Template};
use crate::error::{internal, Result};
use crate::guc;
use crate::ingest::Strictness;
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::pg::{clock, sandbox};

/// Sends the rows of the table through the pipeline, oldest first where the attachment tells their time. Rows that
/// were taken before, by the attachment or by an earlier backfill, count once: their message ids say so.
pub fn backfill(spi: &Spi, namespace: &Namespace, source: u32, attachment_id: i32) -> Result<()> {
    let template =
        Template::read(spi, source, attachment_id)?.ok_or_else(|| internal("an attachment was not stored"))?;
    let owner = spi
        .query(
            "SELECT relowner::pg_catalog.int8 FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) $1::pg_catalog.int8::pg_catalog.oid",
            &[Param::Int8(i64::from(source))],
        )?
        .first(|row| row.i64(0))?
        .and_then(|owner| u32::try_from(owner).ok())
        .ok_or_else(|| internal("a table without an owner"))?;
    let sql = template.stored();
    let cursor = sandbox::as_role_with_id(owner, || spi.open_text(&sql))?;
    loop {
        let part = sandbox::as_role_with_id(owner, || {
            let rows = cursor.fetch(guc::chunk_rows());
            match rows.processed {
                0 => Ok(None),
                _ => messages(rows).map(Some),
            }
        })?;
        let Some(messages) = part else { break };
        super::ingest(spi, namespace, &messages, Strictness::Quarantine, clock::now()?)?;
    }
    cursor.close();
    Ok(())
}
