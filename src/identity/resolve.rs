//! From what a caller calls a person to the profile.

use crate::error::{cut, state, Error, Result};
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_message::normalize_identifier;

/// The profile of any identifier of a person (of one kind, if given), or of a profile id as text.
pub fn find(spi: &Spi, namespace: &Namespace, id: &str, kind: Option<&str>) -> Result<Option<i64>> {
    let email = normalize_identifier("email", id).map_or_else(|| id.to_string(), std::borrow::Cow::into_owned);
    let found = spi
        .query(
            "SELECT i.profile_id FROM _cdp.identifiers AS i JOIN _cdp.identifier_kinds AS k ON k.kind_id OPERATOR(pg_catalog.=) i.kind_id \
             WHERE i.namespace_id OPERATOR(pg_catalog.=) $1 AND i.value OPERATOR(pg_catalog.=) ANY (ARRAY[$2, $3]) \
                   AND ($4::pg_catalog.text IS NULL OR k.name OPERATOR(pg_catalog.=) $4) \
             ORDER BY (i.value OPERATOR(pg_catalog.=) $2) DESC, i.kind_id LIMIT 1",
            &[Param::Int4(namespace.id), Param::Text(id), Param::Text(&email), Param::OptionalText(kind)],
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
