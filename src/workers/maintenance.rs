//! Partitions made ahead, and data that is old enough to go.

use crate::error::Result;
use crate::guc;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_value::Timestamp;

const DAY: Timestamp = 86_400_000_000;

/// A removal that cannot have its lock by then is tried again later: writers behind it must not wait.
const PATIENCE: &str = "SELECT pg_catalog.set_config('lock_timeout', '100ms', true)";

/// Makes this and next month's partition of events, today's and tomorrow's of the outbox.
pub fn make_partitions(spi: &Spi, _limit: i64) -> Result<bool> {
    let events = clock::now()?;
    for at in [events, events.saturating_add(31 * DAY)] {
        spi.query("SELECT _cdp.create_event_partition($1)", &[Param::Timestamp(at)])?;
    }
    let outbox = clock::real();
    for at in [outbox, outbox.saturating_add(DAY)] {
        spi.query("SELECT _cdp.create_outbox_partition($1)", &[Param::Timestamp(at)])?;
    }
    Ok(false)
}

/// Drops partitions of the outbox that are old and of which nothing is left to deliver.
pub fn drop_outbox_partitions(spi: &Spi, limit: i64) -> Result<bool> {
    let days = guc::outbox_days();
    if days == 0 {
        return Ok(false);
    }
    spi.query(PATIENCE, &[])?;
    let dropped = spi
        .query(
            "SELECT _cdp.drop_outbox_partitions($1, $2)",
            &[Param::Timestamp(clock::real().saturating_sub(days * DAY)), Param::Int8(limit)],
        )?
        .first(|row| row.i64(0))?;
    Ok(dropped.unwrap_or(0) >= limit)
}

/// Forgets message ids older than the deduplication horizon.
pub fn forget_message_ids(spi: &Spi, limit: i64) -> Result<bool> {
    let days = guc::deduplication_days();
    if days == 0 {
        return Ok(false);
    }
    let forgotten = spi.execute(
        "DELETE FROM _cdp.message_ids WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(
             SELECT ctid FROM _cdp.message_ids WHERE received_at OPERATOR(pg_catalog.<) $1 LIMIT $2))",
        &[Param::Timestamp(clock::real().saturating_sub(days * DAY)), Param::Int8(limit)],
    )?;
    Ok(forgotten as i64 >= limit)
}

/// Removes dead letters that nobody looked at in time.
pub fn remove_dead_letters(spi: &Spi, limit: i64) -> Result<bool> {
    let days = guc::dead_letter_days();
    if days == 0 {
        return Ok(false);
    }
    let removed = spi.execute(
        "DELETE FROM _cdp.dead_letters WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(
             SELECT ctid FROM _cdp.dead_letters WHERE failed_at OPERATOR(pg_catalog.<) $1 LIMIT $2))",
        &[Param::Timestamp(clock::real().saturating_sub(days * DAY)), Param::Int8(limit)],
    )?;
    Ok(removed as i64 >= limit)
}

/// Removes quarantined messages that nobody took again in time.
pub fn remove_quarantined(spi: &Spi, limit: i64) -> Result<bool> {
    let days = guc::quarantine_days();
    if days == 0 {
        return Ok(false);
    }
    // The ids follow the time closely, so the oldest are looked at, and no more than are removed at once.
    let removed = spi.execute(
        "DELETE FROM _cdp.quarantine AS q USING (
             SELECT quarantine_id FROM _cdp.quarantine ORDER BY quarantine_id LIMIT $2) AS oldest
         WHERE q.quarantine_id OPERATOR(pg_catalog.=) oldest.quarantine_id AND q.received_at OPERATOR(pg_catalog.<) $1",
        &[Param::Timestamp(clock::real().saturating_sub(days * DAY)), Param::Int8(limit)],
    )?;
    Ok(removed as i64 >= limit)
}

/// Removes dropped routes of which no message can be left.
pub fn remove_dropped_routes(spi: &Spi, _limit: i64) -> Result<bool> {
    let days = guc::outbox_days();
    if days > 0 {
        spi.execute(
            "DELETE FROM _cdp.routes AS r WHERE r.dropped_at OPERATOR(pg_catalog.<) $1
               AND NOT EXISTS (SELECT FROM _cdp.outbox AS o WHERE o.route_id OPERATOR(pg_catalog.=) r.route_id)
               AND NOT EXISTS (SELECT FROM _cdp.dead_letters AS l WHERE l.route_id OPERATOR(pg_catalog.=) r.route_id)",
            &[Param::Timestamp(clock::real().saturating_sub(days * DAY))],
        )?;
    }
    Ok(false)
}

/// Lets messages go that wait behind one that is not there any more, because somebody deleted it.
pub fn release_orphans(spi: &Spi, limit: i64) -> Result<bool> {
    let released = spi.execute(
        "UPDATE _cdp.retries AS r SET next_attempt_at = $1
         FROM (SELECT first.destination_id, first.profile_id, first.outbox_id
               FROM (SELECT DISTINCT ON (destination_id, profile_id) destination_id, profile_id, outbox_id, next_attempt_at
                     FROM _cdp.retries ORDER BY destination_id, profile_id, outbox_id) AS first
               WHERE first.next_attempt_at IS NULL
                 AND NOT EXISTS (SELECT FROM _cdp.leases AS l
                                 WHERE l.destination_id OPERATOR(pg_catalog.=) first.destination_id
                                   AND first.profile_id OPERATOR(pg_catalog.=) ANY (l.profile_ids))
               LIMIT $2) AS orphan
         WHERE r.destination_id OPERATOR(pg_catalog.=) orphan.destination_id
           AND r.profile_id OPERATOR(pg_catalog.=) orphan.profile_id AND r.outbox_id OPERATOR(pg_catalog.=) orphan.outbox_id",
        &[Param::Timestamp(clock::real()), Param::Int8(limit)],
    )?;
    if released > 0 {
        crate::pg::wake::request();
    }
    Ok(released as i64 >= limit)
}

/// Forgets to which namespace roles were bound that are gone.
pub fn forget_dropped_roles(spi: &Spi, _limit: i64) -> Result<bool> {
    crate::namespaces::bindings::forget_dropped_roles(spi)?;
    Ok(false)
}
