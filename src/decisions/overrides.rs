//! Variants that people are given by hand: for trying things out, and for exceptions.
//!
//! They belong to the profile. When two profiles turn out to be one person the survivor's stay, and the other's join
//! them; a split leaves them where they are.

use super::flags::Flag;
use crate::error::{unknown_key, Result};
use crate::identity::resolve;
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::session;
use crate::pg::spi::Spi;
use crate::traits::catalog;
use cdp_value::Timestamp;
use std::collections::HashMap;

/// An override as it was stored.
pub struct Override {
    pub profile_id: i64,
    pub set_at: Timestamp,
    pub set_by: String,
}

/// Gives a person a variant of a flag.
pub fn set(spi: &Spi, namespace: &Namespace, id: &str, key: &str, variant: &str) -> Result<Override> {
    let definitions = catalog::current(spi, namespace)?;
    let flag = definitions.flags.get(key).ok_or_else(|| unknown_key("flag", key, definitions.flags.keys()))?;
    if flag.flag.variant(variant).is_none() {
        let known = flag.flag.variants.iter().map(|v| v.name.as_str());
        let mut error = unknown_key("variant", variant, known);
        error.message = format!("flag \"{key}\" has no variant \"{}\"", crate::error::cut(variant));
        return Err(error);
    }
    let profile_id = resolve::require(spi, namespace, id)?;
    let made = Override { profile_id, set_at: clock::now()?, set_by: session::outer_role() };
    spi.execute(
        "INSERT INTO _cdp.flag_overrides (profile_id, flag_id, namespace_id, variant, set_at, set_by) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (profile_id, flag_id) DO UPDATE SET variant = EXCLUDED.variant, set_at = EXCLUDED.set_at, set_by = EXCLUDED.set_by",
        &[
            Param::Int8(profile_id),
            Param::Int4(flag.id),
            Param::Int4(namespace.id),
            Param::Text(variant),
            Param::Timestamp(made.set_at),
            Param::Text(&made.set_by),
        ],
    )?;
    if !flag.has_overrides {
        // From now on decisions have to look. Others set it at the same time: whoever comes first tells all.
        let told = spi.execute(
            "UPDATE _cdp.flags SET has_overrides = true WHERE flag_id OPERATOR(pg_catalog.=) $1 AND NOT has_overrides",
            &[Param::Int4(flag.id)],
        )?;
        if told > 0 {
            catalog::invalidate(spi)?;
        }
    }
    Ok(made)
}

/// Takes back what a person was given, for one flag or for all; returns how many there were.
pub fn clear(spi: &Spi, namespace: &Namespace, id: &str, key: Option<&str>) -> Result<u64> {
    let definitions = catalog::current(spi, namespace)?;
    let flag = match key {
        None => None,
        Some(key) => {
            Some(definitions.flags.get(key).ok_or_else(|| unknown_key("flag", key, definitions.flags.keys()))?.id)
        }
    };
    let profile_id = resolve::require(spi, namespace, id)?;
    spi.execute(
        "DELETE FROM _cdp.flag_overrides WHERE profile_id OPERATOR(pg_catalog.=) $1 \
             AND ($2::pg_catalog.int4 IS NULL OR flag_id OPERATOR(pg_catalog.=) $2)",
        &[Param::Int8(profile_id), Param::OptionalInt4(flag)],
    )
}

/// What a person was given by hand, by flag; asked only where one of the flags has any.
pub fn of(spi: &Spi, profile_id: i64, flags: &[&Flag]) -> Result<HashMap<i32, String>> {
    if !flags.iter().any(|flag| flag.has_overrides) {
        return Ok(HashMap::new());
    }
    let rows = spi.query(
        "SELECT flag_id, variant FROM _cdp.flag_overrides WHERE profile_id OPERATOR(pg_catalog.=) $1",
        &[Param::Int8(profile_id)],
    )?;
    Ok(rows.map(|row| Ok((row.i32(0)?, row.text(1)?)))?.into_iter().collect())
}
