//! From what a caller calls a person to the profile.

use crate::error::{cut, state, Error, Result};
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_message::normalize_identifier;

/// An identifier that a text may stand for.
#[derive(Clone)]
pub struct Match {
    pub kind: i32,
    pub value: String,
    pub profile_id: i64,
}

/// The identifiers (of one kind, if given) that a text may stand for, the likeliest first.
pub fn matches(spi: &Spi, namespace: &Namespace, id: &str, kind: Option<&str>) -> Result<Vec<Match>> {
    let normal = |kind| normalize_identifier(kind, id).map_or_else(|| id.to_string(), std::borrow::Cow::into_owned);
    let (email, phone) = (normal("email"), normal("phone"));
    spi.query(
        "SELECT i.kind_id, i.value, i.profile_id FROM _cdp.identifiers AS i \
         JOIN _cdp.identifier_kinds AS k ON k.kind_id OPERATOR(pg_catalog.=) i.kind_id \
         WHERE i.namespace_id OPERATOR(pg_catalog.=) $1 AND i.value OPERATOR(pg_catalog.=) ANY (ARRAY[$2, $3, $4]) \
               AND ($5::pg_catalog.text IS NULL OR k.name OPERATOR(pg_catalog.=) $5) \
               AND (i.value OPERATOR(pg_catalog.=) $2 OR k.name OPERATOR(pg_catalog.=) \
                   (CASE WHEN i.value OPERATOR(pg_catalog.=) $3 THEN 'email' ELSE 'phone' END)::pg_catalog.text) \
         ORDER BY (i.value OPERATOR(pg_catalog.=) $2) DESC, i.kind_id",
        &[
            Param::Int4(namespace.id),
            Param::Text(id),
            Param::Text(&email),
            Param::Text(&phone),
            Param::OptionalText(kind),
        ],
    )?
    .map(|row| Ok(Match { kind: row.i32(0)?, value: row.text(1)?, profile_id: row.i64(2)? }))
}

/// A profile given by its id as text, and the one that it was merged into or is itself.
pub fn profile(spi: &Spi, namespace: &Namespace, id: &str) -> Result<Option<(i64, i64)>> {
    let Ok(profile_id) = id.parse::<i64>() else { return Ok(None) };
    spi.query(
        "SELECT profile_id, COALESCE(merged_into, profile_id) FROM _cdp.profiles WHERE profile_id OPERATOR(pg_catalog.=) $1 \
             AND namespace_id OPERATOR(pg_catalog.=) $2",
        &[Param::Int8(profile_id), Param::Int4(namespace.id)],
    )?
    .first(|row| Ok((row.i64(0)?, row.i64(1)?)))
}

/// The profile of any identifier of a person (of one kind, if given), or of a profile id as text.
pub fn find(spi: &Spi, namespace: &Namespace, id: &str, kind: Option<&str>) -> Result<Option<i64>> {
    if let Some(found) = matches(spi, namespace, id, kind)?.first() {
        return Ok(Some(found.profile_id));
    }
    if kind.is_some() {
        return Ok(None);
    }
    Ok(profile(spi, namespace, id)?.map(|(_, owner)| owner))
}

/// As [`find`], for callers that cannot go on without a person.
pub fn require(spi: &Spi, namespace: &Namespace, id: &str) -> Result<i64> {
    find(spi, namespace, id, None)?.ok_or_else(|| nobody(id))
}

/// Nobody has this identifier.
pub fn nobody(id: &str) -> Error {
    Error::new(state::UNKNOWN_PERSON, format!("nobody is known as \"{}\"", cut(id)))
        .hint("Give any identifier the person was seen with, or a profile id.")
}
