//! From what a caller calls a person to the profile.

use super::kinds;
use crate::error::{cut, state, Error, Result};
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_message::normalize_identifier;

/// The profile of any identifier of a person (of one kind, if given), or of a profile id as text.
pub fn find(spi: &Spi, namespace: &Namespace, id: &str, kind: Option<&str>) -> Result<Option<i64>> {
    let email = normalize_identifier("email", id).map_or_else(|| id.to_string(), std::borrow::Cow::into_owned);
    let kind_id = match kind {
        None => None,
        Some(kind) => match kinds::current(spi, namespace)?.id(kind) {
            // A kind that nobody ever sent has no people.
            None => return Ok(None),
            known => known,
        },
    };
    // Kinds are numbered in the order of trust; the value as it was given goes before its form as an address.
    let found = spi
        .query(
            "SELECT profile_id FROM _cdp.identifiers WHERE namespace_id OPERATOR(pg_catalog.=) $1 \
                 AND value OPERATOR(pg_catalog.=) ANY ($2) AND ($3 IS NULL OR kind_id OPERATOR(pg_catalog.=) $3) \
             ORDER BY (value OPERATOR(pg_catalog.=) $4) DESC, kind_id LIMIT 1",
            &[
                Param::Int4(namespace.id),
                Param::TextArray(&[id, &email]),
                Param::OptionalInt8(kind_id.map(i64::from)),
                Param::Text(id),
            ],
        )?
        .first(|row| row.i64(0))?;
    if found.is_some() || kind.is_some() {
        return Ok(found);
    }
    let Ok(profile_id) = id.parse::<i64>() else { return Ok(None) };
    spi.query(
        "SELECT COALESCE(merged_into, profile_id) FROM _cdp.profiles WHERE profile_id OPERATOR(pg_catalog.=) $1 \
             AND namespace_id OPERATOR(pg_catalog.=) $2",
        &[Param::Int8(profile_id), Param::Int4(namespace.id)],
    )?
    .first(|row| row.i64(0))
}

/// As [`find`], for callers that cannot go on without a person.
pub fn require(spi: &Spi, namespace: &Namespace, id: &str) -> Result<i64> {
    find(spi, namespace, id, None)?.ok_or_else(|| {
        Error::new(state::UNKNOWN_PERSON, format!("nobody is known as \"{}\"", cut(id)))
            .hint("Give any identifier the person was seen with, or a profile id.")
    })
}
