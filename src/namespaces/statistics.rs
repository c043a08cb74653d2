//! How much is in a namespace.

use super::Namespace;
use crate::error::Result;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;

/// What is in a namespace, counted now.
pub struct Statistics {
    pub people: i64,
    pub events: i64,
    pub traits: i64,
    pub segments: i64,
    pub destinations: i64,
    /// Messages that wait to be delivered.
    pub waiting: i64,
    /// Messages delivered so far.
    pub delivered: i64,
    pub dead_letters: i64,
    /// Its share of the space that tables and indexes take on disk, by its share of their rows.
    pub storage: i64,
}

/// Counts what is in a namespace. Reads the tables as a whole.
pub fn of(spi: &Spi, namespace: &Namespace) -> Result<Option<Statistics>> {
    spi.query(
        "WITH sizes AS ( \
             SELECT r.oid::pg_catalog.oid AS relation, pg_catalog.sum(pg_catalog.pg_total_relation_size(t.relid)) AS bytes \
             FROM (VALUES ('_cdp.events'::pg_catalog.regclass), ('_cdp.profiles'::pg_catalog.regclass), \
                          ('_cdp.identifiers'::pg_catalog.regclass), ('_cdp.outbox'::pg_catalog.regclass), \
                          ('_cdp.dead_letters'::pg_catalog.regclass)) AS r(oid) \
             CROSS JOIN LATERAL (SELECT p.relid FROM pg_catalog.pg_partition_tree(r.oid) AS p UNION SELECT r.oid) AS t GROUP BY r.oid), \
         others AS ( \
             SELECT COALESCE(pg_catalog.sum(pg_catalog.pg_total_relation_size(t.oid::pg_catalog.regclass)), 0) AS bytes \
             FROM (VALUES ('_cdp.profile_traits'::pg_catalog.regclass), ('_cdp.history'::pg_catalog.regclass), \
                          ('_cdp.segment_members'::pg_catalog.regclass), ('_cdp.timers'::pg_catalog.regclass)) AS t(oid)), \
         rows AS ( \
             SELECT '_cdp.events'::pg_catalog.regclass::pg_catalog.oid AS relation, pg_catalog.count(*) AS total, \
                    pg_catalog.count(*) FILTER (WHERE namespace_id OPERATOR(pg_catalog.=) $1) AS own FROM _cdp.events \
             UNION ALL SELECT '_cdp.profiles'::pg_catalog.regclass, pg_catalog.count(*), \
                    pg_catalog.count(*) FILTER (WHERE namespace_id OPERATOR(pg_catalog.=) $1) FROM _cdp.profiles \
             UNION ALL SELECT '_cdp.identifiers'::pg_catalog.regclass, pg_catalog.count(*), \
                    pg_catalog.count(*) FILTER (WHERE namespace_id OPERATOR(pg_catalog.=) $1) FROM _cdp.identifiers \
             UNION ALL SELECT '_cdp.outbox'::pg_catalog.regclass, pg_catalog.count(*), \
                    pg_catalog.count(*) FILTER (WHERE namespace_id OPERATOR(pg_catalog.=) $1) FROM _cdp.outbox \
             UNION ALL SELECT '_cdp.dead_letters'::pg_catalog.regclass, pg_catalog.count(*), \
                    pg_catalog.count(*) FILTER (WHERE namespace_id OPERATOR(pg_catalog.=) $1) FROM _cdp.dead_letters), \
         shares AS ( \
             SELECT r.relation, r.own, s.bytes OPERATOR(pg_catalog.*) r.own OPERATOR(pg_catalog./) GREATEST(r.total, 1) AS bytes, \
                    r.own::pg_catalog.numeric OPERATOR(pg_catalog./) GREATEST(r.total, 1) AS share \
             FROM rows AS r JOIN sizes AS s ON s.relation OPERATOR(pg_catalog.=) r.relation) \
         SELECT (SELECT pg_catalog.count(*) FROM _cdp.profiles WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND merged_into IS NULL), \
                (SELECT own FROM shares WHERE relation OPERATOR(pg_catalog.=) '_cdp.events'::pg_catalog.regclass::pg_catalog.oid), \
                (SELECT pg_catalog.count(*) FROM _cdp.traits WHERE namespace_id OPERATOR(pg_catalog.=) $1), \
                (SELECT pg_catalog.count(*) FROM _cdp.segments WHERE namespace_id OPERATOR(pg_catalog.=) $1), \
                (SELECT pg_catalog.count(*) FROM _cdp.destinations WHERE namespace_id OPERATOR(pg_catalog.=) $1), \
                (SELECT pg_catalog.count(*) FROM _cdp.deliveries WHERE namespace_id OPERATOR(pg_catalog.=) $1) \
                    OPERATOR(pg_catalog.+) (SELECT pg_catalog.count(*) FROM _cdp.retries WHERE namespace_id OPERATOR(pg_catalog.=) $1), \
                (SELECT COALESCE(pg_catalog.sum(s.delivered), 0)::pg_catalog.int8 FROM _cdp.destination_statistics AS s \
                 JOIN _cdp.destinations AS d ON d.destination_id OPERATOR(pg_catalog.=) s.destination_id \
                 WHERE d.namespace_id OPERATOR(pg_catalog.=) $1), \
                (SELECT own FROM shares WHERE relation OPERATOR(pg_catalog.=) '_cdp.dead_letters'::pg_catalog.regclass::pg_catalog.oid), \
                ((SELECT pg_catalog.sum(bytes) FROM shares) OPERATOR(pg_catalog.+) (SELECT bytes FROM others) OPERATOR(pg_catalog.*) \
                 (SELECT share FROM shares WHERE relation OPERATOR(pg_catalog.=) '_cdp.profiles'::pg_catalog.regclass::pg_catalog.oid))::pg_catalog.int8",
        &[Param::Int4(namespace.id)],
    )?
    .first(|row| {
        Ok(Statistics {
            people: row.i64(0)?,
            events: row.i64(1)?,
            traits: row.i64(2)?,
            segments: row.i64(3)?,
            destinations: row.i64(4)?,
            waiting: row.i64(5)?,
            delivered: row.i64(6)?,
            dead_letters: row.i64(7)?,
            storage: row.i64(8)?,
        })
    })
}
