//! What each namespace used on each day (of UTC, by the real time), for bills. Nothing is counted on the way of an event: closed days are
//! counted once from what is stored anyway. Decisions write nothing; they are counted in shared memory.

use crate::error::Result;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::shared;
use crate::pg::spi::Spi;
use cdp_value::{Timestamp, DAY};

/// Writes down the decisions counted since the last time.
pub fn store_decisions(spi: &Spi, _limit: i64) -> Result<bool> {
    let counted = Taken(shared::take_decisions());
    if counted.0.is_empty() {
        return Ok(false);
    }
    let namespaces: Vec<i32> = counted.0.iter().map(|(id, _)| *id).collect();
    let counts: Vec<i64> = counted.0.iter().map(|(_, count)| i64::try_from(*count).unwrap_or(i64::MAX)).collect();
    spi.execute(
        "INSERT INTO _cdp.usage AS u (namespace_id, day, decisions) \
         SELECT c.namespace_id, ($3 AT TIME ZONE 'UTC')::pg_catalog.date, c.decisions \
         FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int4[]), pg_catalog.unnest($2::pg_catalog.int8[])) AS c(namespace_id, decisions) \
         ON CONFLICT (namespace_id, day) DO UPDATE SET decisions = u.decisions OPERATOR(pg_catalog.+) EXCLUDED.decisions",
        &[Param::Int4Array(&namespaces), Param::Int8Array(&counts), Param::Timestamp(clock::real())],
    )?;
    counted.are_stored();
    Ok(false)
}

/// Decisions taken out of shared memory: put back when they could not be written.
struct Taken(Vec<(i32, u64)>);

impl Taken {
    fn are_stored(mut self) {
        self.0.clear();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        for (namespace_id, count) in &self.0 {
            shared::count_decisions(*namespace_id, *count);
        }
    }
}

/// Counts the earliest day that is over and was not counted yet. Tells whether there may be another.
pub fn close_day(spi: &Spi, _limit: i64) -> Result<bool> {
    let today = clock::real().div_euclid(DAY).saturating_mul(DAY);
    let open = spi
        .query(
            "SELECT COALESCE((SELECT (pg_catalog.max(day) OPERATOR(pg_catalog.+) 1)::pg_catalog.timestamp AT TIME ZONE 'UTC' FROM _cdp.usage_days), \
                             (SELECT pg_catalog.min(received_at) FROM _cdp.message_ids))",
            &[],
        )?
        .first(|row| Ok(row.optional_timestamp(0)))?
        .flatten();
    let Some(open) = open else { return Ok(false) };
    let begin: Timestamp = open.div_euclid(DAY).saturating_mul(DAY);
    if begin >= today {
        return Ok(false);
    }
    let span = [Param::Timestamp(begin), Param::Timestamp(begin.saturating_add(DAY))];
    spi.execute(
        "INSERT INTO _cdp.usage AS u (namespace_id, day, events, active_people, deliveries) \
         SELECT c.namespace_id, ($1 AT TIME ZONE 'UTC')::pg_catalog.date, pg_catalog.sum(c.events), pg_catalog.sum(c.people), \
                pg_catalog.sum(c.deliveries) \
         FROM (SELECT namespace_id, pg_catalog.count(*) AS events, 0 AS people, 0 AS deliveries FROM _cdp.message_ids \
               WHERE received_at OPERATOR(pg_catalog.>=) $1 AND received_at OPERATOR(pg_catalog.<) $2 GROUP BY namespace_id \
               UNION ALL SELECT e.namespace_id, 0, pg_catalog.count(DISTINCT COALESCE(p.merged_into, e.profile_id)), 0 \
               FROM _cdp.events AS e LEFT JOIN _cdp.profiles AS p ON p.profile_id OPERATOR(pg_catalog.=) e.profile_id \
               WHERE e.ts OPERATOR(pg_catalog.>=) $1 AND e.ts OPERATOR(pg_catalog.<) $2 GROUP BY e.namespace_id \
               UNION ALL SELECT namespace_id, 0, 0, pg_catalog.count(*) FROM _cdp.outbox \
               WHERE created_at OPERATOR(pg_catalog.>=) $1 AND created_at OPERATOR(pg_catalog.<) $2 GROUP BY namespace_id) AS c \
         GROUP BY c.namespace_id \
         ON CONFLICT (namespace_id, day) DO UPDATE SET events = EXCLUDED.events, active_people = EXCLUDED.active_people, \
             deliveries = EXCLUDED.deliveries",
        &span,
    )?;
    spi.execute(
        "INSERT INTO _cdp.usage_days (day) VALUES (($1 AT TIME ZONE 'UTC')::pg_catalog.date) ON CONFLICT DO NOTHING",
        &span[..1],
    )?;
    Ok(true)
}
