//! Whether the workers run and the destinations take what they are sent.

use crate::error::Result;
use crate::guc;
use crate::namespaces::bindings::{self, Bound};
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::guard::warn;
use crate::pg::session;
use crate::pg::shared::{self, Role};
use crate::pg::spi::Spi;
use crate::pg::wake;

/// A worker that was not well for so long has a problem.
const SILENCE_SECONDS: i64 = 60;

/// Counting a backlog stops here.
const COUNTED: i64 = 10_000;

/// A backlog whose oldest message is older than this is one.
const OLD_SECONDS: i64 = 300;

const ADD_LIBRARY: &str = "add cdp to shared_preload_libraries and restart the server";

/// At the end of CREATE EXTENSION: lets the workers start, or says that there are none.
pub fn announce() {
    if shared::shared().is_none() {
        warn(
            "the background workers of cdp do not run, because the library is not in shared_preload_libraries",
            Some("Set shared_preload_libraries = 'cdp' and restart the server, or call cdp.run_due() regularly."),
        );
    } else if !guc::databases().contains(&session::database_name()) {
        warn(
            &format!(
                "the background workers of cdp do not run in this database, because \"{}\" is not in cdp.databases",
                session::database_name()
            ),
            Some("Add it to cdp.databases in postgresql.conf and reload, or call cdp.run_due() regularly."),
        );
    } else {
        wake::request_launcher();
    }
}

/// Component, whether it is well, and why: of the session's own namespaces only if its role is bound. Works on a
/// standby.
pub fn health(spi: &Spi) -> Result<Vec<(String, bool, String)>> {
    let mut rows = vec![preload(), database()];
    rows.extend(Role::ALL.map(worker));
    let bounds = bindings::current(spi)?;
    if bounds.is_none() {
        rows.push(backlog(spi)?);
    }
    rows.extend(destinations(spi, bounds.as_deref())?);
    Ok(rows)
}

fn row(component: &str, ok: bool, detail: impl Into<String>) -> (String, bool, String) {
    (component.to_string(), ok, detail.into())
}

fn preload() -> (String, bool, String) {
    match shared::shared() {
        Some(_) => row("preload", true, "cdp is in shared_preload_libraries"),
        None => row(
            "preload",
            false,
            format!("background workers do not run: {ADD_LIBRARY} (shared_preload_libraries = 'cdp')"),
        ),
    }
}

fn database() -> (String, bool, String) {
    let name = session::database_name();
    if guc::databases().contains(&name) {
        row("database", true, format!("\"{name}\" is in cdp.databases"))
    } else {
        row("database", false, format!("\"{name}\" is not in cdp.databases: add it and reload the configuration"))
    }
}

fn worker(role: Role) -> (String, bool, String) {
    let component = format!("{} worker", role.name());
    if session::in_recovery() {
        return row(&component, true, "waits on this standby for its promotion");
    }
    let Some(seat) = shared::own_place().map(|place| place.seat(role)).filter(|seat| seat.pid().is_some()) else {
        return row(&component, false, "does not run");
    };
    let silent = (clock::real() - seat.beat_at()) / cdp_value::SECOND;
    let failures = seat.failures();
    if failures > 0 {
        row(&component, false, format!("failed {failures} times in a row; the server's log says why"))
    } else if silent > SILENCE_SECONDS {
        row(&component, false, format!("runs, but finished nothing for {silent} s"))
    } else {
        row(&component, true, format!("runs; last well {silent} s ago"))
    }
}

fn backlog(spi: &Spi) -> Result<(String, bool, String)> {
    let found = spi
        .query(
            "SELECT (SELECT pg_catalog.count(*) FROM (SELECT FROM _cdp.deliveries LIMIT 10000) AS d),
                    (SELECT pg_catalog.count(*) FROM (SELECT FROM _cdp.retries LIMIT 10000) AS r),
                    (SELECT pg_catalog.min(o.created_at) FROM _cdp.destinations AS d CROSS JOIN LATERAL (
                         SELECT q.created_at FROM _cdp.deliveries AS q
                         WHERE q.destination_id OPERATOR(pg_catalog.=) d.destination_id ORDER BY q.outbox_id LIMIT 1) AS o
                     WHERE d.enabled AND d.paused_at IS NULL)",
            &[],
        )?
        .first(|row| Ok((row.i64(0)?, row.i64(1)?, row.optional_timestamp(2))))?;
    let (waiting, failing, oldest) = found.unwrap_or((0, 0, None));
    let count = |count: i64| if count >= COUNTED { format!("{COUNTED} or more") } else { count.to_string() };
    let age = oldest.map_or(0, |oldest| (clock::real() - oldest).max(0) / cdp_value::SECOND);
    let since = if oldest.is_some() { format!(", the oldest for {age} s") } else { String::new() };
    let detail = format!("{} waiting{since}; {} to be tried again", count(waiting), count(failing));
    Ok(row("deliveries", age <= OLD_SECONDS, detail))
}

fn destinations(spi: &Spi, bounds: Option<&[Bound]>) -> Result<Vec<(String, bool, String)>> {
    let own: Vec<i32> = bounds.unwrap_or_default().iter().map(|bound| bound.id).collect();
    spi.query(
        "SELECT n.name, d.key, d.enabled, d.paused_at, d.paused_reason, s.last_error, s.last_error_at, s.last_delivered_at
         FROM _cdp.destinations AS d
         JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) d.namespace_id
         LEFT JOIN _cdp.destination_statistics AS s ON s.destination_id OPERATOR(pg_catalog.=) d.destination_id
         WHERE $1 OR d.namespace_id OPERATOR(pg_catalog.=) ANY ($2)
         ORDER BY d.namespace_id, d.key",
        &[Param::Bool(bounds.is_none()), Param::Int4Array(&own)],
    )?
    .map(|found| {
        let (namespace, key) = (found.text(0)?, found.text(1)?);
        let component = match namespace.as_str() {
            crate::namespaces::DEFAULT => format!("destination {key}"),
            _ => format!("destination {namespace}/{key}"),
        };
        if !found.bool(2)? {
            return Ok(row(&component, true, "disabled"));
        }
        if found.optional_timestamp(3).is_some() {
            let reason = found.optional_text(4).unwrap_or_default();
            return Ok(row(&component, false, format!("paused: {reason}")));
        }
        let failed = found.optional_timestamp(6);
        let delivered = found.optional_timestamp(7);
        Ok(match (found.optional_text(5), failed) {
            // The last word counts.
            (Some(error), Some(at)) if delivered.is_none_or(|delivered| delivered < at) => {
                row(&component, false, format!("failing: {error}"))
            }
            _ => row(&component, true, if delivered.is_some() { "delivers" } else { "nothing sent yet" }),
        })
    })
}
