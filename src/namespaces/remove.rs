//! Dropping namespaces: refused while anything is in them, unless everything is to go.

use super::{bindings, by_name, Namespace, DEFAULT};
use crate::error::{state, Error, Result};
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::traits::catalog;

/// What keeps a namespace from being dropped: its name for people, and the query that counts it.
const CONTENTS: [(&str, &str); 8] = [
    ("people", "SELECT pg_catalog.count(*) FROM (SELECT FROM _cdp.profiles WHERE namespace_id OPERATOR(pg_catalog.=) $1 LIMIT 1001) AS c"),
    ("events", "SELECT pg_catalog.count(*) FROM (SELECT FROM _cdp.events WHERE namespace_id OPERATOR(pg_catalog.=) $1 LIMIT 1001) AS c"),
    ("quarantined messages", "SELECT pg_catalog.count(*) FROM (SELECT FROM _cdp.quarantine WHERE namespace_id OPERATOR(pg_catalog.=) $1 LIMIT 1001) AS c"),
    ("traits", "SELECT pg_catalog.count(*) FROM _cdp.traits WHERE namespace_id OPERATOR(pg_catalog.=) $1"),
    ("segments", "SELECT pg_catalog.count(*) FROM _cdp.segments WHERE namespace_id OPERATOR(pg_catalog.=) $1"),
    ("flags", "SELECT pg_catalog.count(*) FROM _cdp.flags WHERE namespace_id OPERATOR(pg_catalog.=) $1"),
    ("destinations", "SELECT pg_catalog.count(*) FROM _cdp.destinations WHERE namespace_id OPERATOR(pg_catalog.=) $1"),
    ("bound roles", "SELECT pg_catalog.count(*) FROM _cdp.role_bindings WHERE namespace_id OPERATOR(pg_catalog.=) $1"),
];

/// Drops a namespace. With `everything`, all that is in it goes, for good; the roles bound to it have to be unbound
/// before, because they would see the others afterwards.
pub fn drop(spi: &Spi, name: &str, everything: bool) -> Result<()> {
    bindings::require_all(spi, "dropping namespaces")?;
    if name == DEFAULT {
        return Err(Error::new(state::IN_USE, "the namespace \"default\" cannot be dropped")
            .hint("It is where everything is that names no namespace."));
    }
    let namespace = by_name(spi, name)?;
    let mut contents = Vec::new();
    for (what, sql) in CONTENTS {
        let count = spi.query(sql, &[Param::Int4(namespace.id)])?.first(|row| row.i64(0))?.unwrap_or(0);
        if count > 0 && (!everything || what == "bound roles") {
            contents.push(if count > 1_000 { format!("more than 1000 {what}") } else { format!("{what}: {count}") });
        }
    }
    if !contents.is_empty() {
        return Err(Error::new(state::IN_USE, format!("cannot drop namespace \"{name}\" because it is in use"))
            .detail(format!("It has {}.", contents.join(", ")))
            .hint(match everything {
                true => "Unbind its roles with cdp.unbind_role: they would see all other namespaces.",
                false => "cdp.drop_namespace(name, everything => true) deletes all of that for good.",
            }));
    }
    delete(spi, &namespace)?;
    catalog::invalidate(spi)
}

/// Deletes the rows of a namespace from every table that has any, the namespace itself last.
fn delete(spi: &Spi, namespace: &Namespace) -> Result<()> {
    spi.execute(
        "DELETE FROM _cdp.destination_statistics AS s USING _cdp.destinations AS d \
         WHERE d.destination_id OPERATOR(pg_catalog.=) s.destination_id AND d.namespace_id OPERATOR(pg_catalog.=) $1",
        &[Param::Int4(namespace.id)],
    )?;
    let tables = spi
        .query(
            "SELECT pg_catalog.format('DELETE FROM %I.%I WHERE namespace_id OPERATOR(pg_catalog.=) $1', s.nspname, c.relname) \
             FROM pg_catalog.pg_class AS c \
             JOIN pg_catalog.pg_namespace AS s ON s.oid OPERATOR(pg_catalog.=) c.relnamespace \
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) c.oid \
             WHERE s.nspname OPERATOR(pg_catalog.=) '_cdp'::pg_catalog.name AND a.attname OPERATOR(pg_catalog.=) 'namespace_id'::pg_catalog.name \
               AND c.relkind::pg_catalog.text OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']) AND NOT c.relispartition \
             ORDER BY c.relname OPERATOR(pg_catalog.=) 'namespaces'::pg_catalog.name, c.relname",
            &[],
        )?
        .map(|row| row.text(0))?;
    for sql in tables {
        spi.query_text(&sql, &[Param::Int4(namespace.id)])?;
    }
    Ok(())
}
