//! Leases: which messages are on their way, and until when nobody else may take them.

use super::claim::later;
use crate::error::Result;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use std::time::Duration;

/// Ends the leases of earlier workers, which are dead, and counts the messages that may have arrived
/// already and will be sent again.
pub fn take_over(spi: &Spi) -> Result<()> {
    spi.execute(
        "WITH ended AS (DELETE FROM _cdp.leases RETURNING destination_id, outbox_ids),
         again AS (
             SELECT e.destination_id, pg_catalog.count(*) AS messages
             FROM ended AS e CROSS JOIN LATERAL pg_catalog.unnest(e.outbox_ids) AS m(outbox_id)
             WHERE EXISTS (SELECT FROM _cdp.deliveries AS d
                           WHERE d.destination_id OPERATOR(pg_catalog.=) e.destination_id AND d.outbox_id OPERATOR(pg_catalog.=) m.outbox_id)
             GROUP BY e.destination_id)
         UPDATE _cdp.destination_statistics AS s SET repeated = s.repeated OPERATOR(pg_catalog.+) again.messages
         FROM again WHERE s.destination_id OPERATOR(pg_catalog.=) again.destination_id",
        &[],
    )?;
    Ok(())
}

/// Extends leases from now on.
pub fn renew(spi: &Spi, leases: &[i64], by: Duration) -> Result<()> {
    spi.execute(
        "UPDATE _cdp.leases SET leased_until = $2 WHERE lease_id OPERATOR(pg_catalog.=) ANY ($1)",
        &[Param::Int8Array(leases), Param::Timestamp(later(clock::real(), by))],
    )?;
    Ok(())
}
