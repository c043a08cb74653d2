//! How a person came to be one: every identifier, merge, split and refusal, with its cause.

use crate::error::Result;
use crate::pg::datum::Param;
use crate::pg::function::Field;
use crate::pg::spi::Spi;

/// Rows (at, what, kind, value, profile_id, rule, message_id, detail), oldest first.
pub fn explain(spi: &Spi, profile_id: i64) -> Result<Vec<Vec<Field>>> {
    spi.query(
        "SELECT * FROM ( \
             SELECT i.linked_at AS at, 'identifier' AS what, k.name AS kind, i.value, i.profile_id, i.rule, i.message_id, NULL::pg_catalog.text AS detail \
             FROM _cdp.identifiers AS i JOIN _cdp.identifier_kinds AS k ON k.kind_id OPERATOR(pg_catalog.=) i.kind_id \
             WHERE i.profile_id OPERATOR(pg_catalog.=) $1 \
             UNION ALL \
             SELECT m.merged_at, 'merge', NULL, NULL, m.absorbed_id, m.rule, m.message_id, \
                    pg_catalog.format('profile %s was merged into %s', m.absorbed_id, m.survivor_id) \
             FROM _cdp.profile_merges AS m WHERE m.survivor_id OPERATOR(pg_catalog.=) $1 OR m.survivor_id OPERATOR(pg_catalog.=) ANY ( \
                 SELECT pg_catalog.unnest(p.absorbed) FROM _cdp.profiles AS p WHERE p.profile_id OPERATOR(pg_catalog.=) $1) \
             UNION ALL \
             SELECT d.at, 'demotion', k.name, d.value, d.profile_id, 'demote', d.message_id, d.reason \
             FROM _cdp.identity_demotions AS d JOIN _cdp.identifier_kinds AS k ON k.kind_id OPERATOR(pg_catalog.=) d.kind_id \
             WHERE d.profile_id OPERATOR(pg_catalog.=) $1 \
             UNION ALL \
             SELECT s.split_at, 'split', k.name, s.value, s.profile_id, 'unmerge', NULL, \
                    pg_catalog.format('kept apart from profile %s', s.profile_id) \
             FROM _cdp.profile_splits AS own JOIN _cdp.profile_splits AS s \
                 ON s.profile_id OPERATOR(pg_catalog.=) own.other_profile_id AND s.other_profile_id OPERATOR(pg_catalog.=) own.profile_id \
             LEFT JOIN _cdp.identifier_kinds AS k ON k.kind_id OPERATOR(pg_catalog.=) s.kind_id \
             WHERE own.profile_id OPERATOR(pg_catalog.=) $1 \
         ) AS t ORDER BY t.at, t.what, t.kind, t.value",
        &[Param::Int8(profile_id)],
    )?
    .map(|row| {
        Ok(vec![
            Field::Timestamp(row.timestamp(0)?),
            Field::Text(row.text(1)?),
            Field::optional_text(row.optional_text(2)),
            Field::optional_text(row.optional_text(3)),
            Field::Int8(row.i64(4)?),
            Field::Text(row.text(5)?),
            Field::optional_text(row.optional_text(6)),
            Field::optional_text(row.optional_text(7)),
        ])
    })
}
