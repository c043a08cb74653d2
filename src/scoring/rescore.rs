//! Scoring people again from what is known of them, many at a time: for jobs.

use crate::error::{unknown_key, Result};
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::traits::catalog;
use crate::traits::evaluate::Cause;
use crate::traits::person;
use crate::traits::settle::{self, Look};

/// Scores up to `limit` people of a namespace anew, beginning after a profile. Returns the last one; None when there
/// was nobody left.
pub fn chunk(spi: &Spi, namespace: &Namespace, key: &str, after: i64, limit: i64) -> Result<Option<i64>> {
    let known = catalog::current(spi, namespace)?;
    if known.score_by_key(key).is_none() {
        return Err(unknown_key("score", key, known.scores.iter().map(|s| s.key.as_str())));
    }
    let ids = spi
        .query(
            "SELECT profile_id FROM _cdp.profiles WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND profile_id OPERATOR(pg_catalog.>) $2 \
                 AND merged_into IS NULL ORDER BY profile_id LIMIT $3",
            &[Param::Int4(namespace.id), Param::Int8(after), Param::Int8(limit.clamp(1, 10_000))],
        )?
        .map(|row| row.i64(0))?;
    let Some(last) = ids.last() else { return Ok(None) };
    let people = person::lock(spi, &ids)?;
    settle::refresh(spi, namespace, people, Look::Everything, &Cause::Definition, clock::now()?)?;
    Ok(Some(*last))
}
