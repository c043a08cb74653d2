//! `cdp.metrics()`: counters and gauges in the text format of Prometheus.

use crate::error::Result;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::function::{Call, Field, Returned};
use crate::pg::spi::{Rows, Spi};
use std::fmt::Write;

/// A family of samples: name, type, help, the names of its labels, and a query of (labels …, value).
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    sql: &'static str,
}

/// Every query reads an index or a small table; what would need a scan is the planner's estimate.
const FAMILIES: &[Family] = &[
    Family {
        name: "cdp_events_estimate",
        kind: "gauge",
        help: "Events stored, as estimated by the planner.",
        labels: &[],
        sql: "SELECT COALESCE(pg_catalog.sum(GREATEST(c.reltuples, 0)), 0)::pg_catalog.int8 FROM pg_catalog.pg_inherits AS i \
              JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid \
              WHERE i.inhparent OPERATOR(pg_catalog.=) '_cdp.events'::pg_catalog.regclass",
    },
    Family {
        name: "cdp_people_estimate",
        kind: "gauge",
        help: "Profiles stored, as estimated by the planner.",
        labels: &[],
        sql: "SELECT GREATEST(reltuples, 0)::pg_catalog.int8 FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) '_cdp.profiles'::pg_catalog.regclass",
    },
    Family {
        name: "cdp_segment_members",
        kind: "gauge",
        help: "People in each segment.",
        labels: &["namespace", "segment"],
        sql: "SELECT namespace, key, members FROM cdp.segment_definitions ORDER BY namespace, key",
    },
    Family {
        name: "cdp_quarantined_messages",
        kind: "gauge",
        help: "Messages in quarantine.",
        labels: &["namespace"],
        sql: "SELECT namespace, pg_catalog.count(*) FROM cdp.quarantine GROUP BY namespace ORDER BY namespace",
    },
    Family {
        name: "cdp_pending_folds",
        kind: "gauge",
        help: "Batches of events that wait to be folded into a person others held.",
        labels: &[],
        sql: "SELECT pg_catalog.count(*) FROM _cdp.pending_folds",
    },
    Family {
        name: "cdp_people_behind_definitions",
        kind: "gauge",
        help: "People that the background work has yet to bring to the latest definitions.",
        labels: &["namespace"],
        sql: "SELECT namespace, total OPERATOR(pg_catalog.-) done FROM cdp.progress WHERE job OPERATOR(pg_catalog.=) 'definitions' ORDER BY namespace",
    },
    Family {
        name: "cdp_deliveries_total",
        kind: "counter",
        help: "Messages by what became of them.",
        labels: &["namespace", "destination", "outcome"],
        sql: "SELECT d.namespace, d.key, o.outcome, o.count FROM cdp.destinations AS d CROSS JOIN LATERAL (VALUES \
                  ('delivered', d.delivered), ('discarded', d.discarded), ('retried', d.retried), ('rejected', d.rejected), ('repeated', d.repeated)) AS o (outcome, count) \
              ORDER BY 1, 2, 3",
    },
    Family {
        name: "cdp_destination_paused",
        kind: "gauge",
        help: "1 while a destination is paused.",
        labels: &["namespace", "destination"],
        sql: "SELECT namespace, key, (paused_at IS NOT NULL)::pg_catalog.int4::pg_catalog.int8 FROM cdp.destinations ORDER BY 1, 2",
    },
    Family {
        name: "cdp_deliveries_waiting",
        kind: "gauge",
        help: "Messages not delivered yet.",
        labels: &["namespace", "destination"],
        sql: "SELECT n.name, d.key, \
                  (SELECT pg_catalog.count(*) FROM _cdp.deliveries AS w WHERE w.destination_id OPERATOR(pg_catalog.=) d.destination_id) \
                  OPERATOR(pg_catalog.+) (SELECT pg_catalog.count(*) FROM _cdp.retries AS r WHERE r.destination_id OPERATOR(pg_catalog.=) d.destination_id) \
              FROM _cdp.destinations AS d JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) d.namespace_id ORDER BY 1, 2",
    },
];

/// `cdp.metrics()`
pub fn metrics(_: &Call) -> Result<Returned> {
    let text = Spi::connect(true, |spi| {
        crate::namespaces::bindings::require_all(spi, "cdp.metrics()")?;
        let mut text = String::new();
        for family in FAMILIES {
            let samples = spi.query(family.sql, &[])?.map(|row| sample(family, row))?;
            append(&mut text, family.name, family.kind, family.help, &samples);
        }
        let overdue = spi
            .query(
                "SELECT pg_catalog.min(due) FROM _cdp.timers WHERE due OPERATOR(pg_catalog.<=) $1",
                &[Param::Timestamp(clock::now()?)],
            )?
            .first(|row| Ok(row.optional_timestamp(0)))?
            .flatten();
        let lag = overdue.map_or(0, |due| (clock::now().unwrap_or(due) - due).max(0) / cdp_value::SECOND);
        append(
            &mut text,
            "cdp_timer_lag_seconds",
            "gauge",
            "How late the earliest change by time alone is.",
            &[(String::new(), lag)],
        );
        Ok(text)
    })?;
    Ok(Returned::Value(Field::Text(text)))
}

fn sample(family: &Family, row: &Rows) -> Result<(String, i64)> {
    let mut labels = String::new();
    for (column, name) in family.labels.iter().enumerate() {
        let separator = if column == 0 { "{" } else { "," };
        let value = row.text(column)?.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(labels, "{separator}{name}=\"{value}\"");
    }
    if !labels.is_empty() {
        labels.push('}');
    }
    Ok((labels, row.i64(family.labels.len())?))
}

fn append(text: &mut String, name: &str, kind: &str, help: &str, samples: &[(String, i64)]) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in samples {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}
