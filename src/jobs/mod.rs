//! Background jobs: work on all of a namespace, part by part. Each part is a transaction of its own that also stores
//! up to where the job is done, so that whoever goes on after a crash begins there; one run of a job at a time.

pub mod define;
mod kinds;

use crate::error::Result;
use crate::guc;
use crate::namespaces;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::pg::transaction;
use cdp_schedule::Schedule;
use cdp_value::{Timestamp, DAY, SECOND};
use kinds::{Job, Kind, Part};

/// A part that failed so often ends the run.
const MOST_FAILURES: i32 = 5;

/// Queues the jobs that are due by their schedules, then does one part of the run that has waited longest. Tells
/// whether there may be more to do.
pub fn step(spi: &Spi, limit: i64) -> Result<bool> {
    let now = clock::now()?;
    queue_scheduled(spi, now)?;
    let Some(run) = next_run(spi, now)? else { return Ok(false) };
    run.proceed(spi, limit, now)?;
    Ok(true)
}

/// Starts the jobs whose time has come. One that still runs is not started again.
fn queue_scheduled(spi: &Spi, now: Timestamp) -> Result<()> {
    let due = spi
        .query(
            "SELECT job_id, namespace_id, cron, timezone, owner FROM _cdp.jobs WHERE next_run_at OPERATOR(pg_catalog.<=) $1 \
             ORDER BY next_run_at, job_id LIMIT 100 FOR UPDATE SKIP LOCKED",
            &[Param::Timestamp(now)],
        )?
        .map(|row| Ok((row.i32(0)?, row.i32(1)?, row.optional_text(2), row.optional_text(3), row.text(4)?)))?;
    for (job_id, namespace_id, cron, timezone, owner) in due {
        let schedule = Schedule::new(&cron.unwrap_or_default(), &timezone.unwrap_or_default(), now).ok();
        let next = schedule.and_then(|schedule| schedule.next(now));
        spi.execute(
            "UPDATE _cdp.jobs SET next_run_at = $2 WHERE job_id OPERATOR(pg_catalog.=) $1",
            &[Param::Int4(job_id), Param::OptionalTimestamp(next)],
        )?;
        match queue(spi, job_id, &format!("schedule of {owner}"), now)? {
            Queued::New(_) => {}
            Queued::Active(run_id) => {
                log(spi, run_id, namespace_id, now, "warning", "it was due again by its schedule, which was skipped")?;
            }
        }
    }
    Ok(())
}

/// What became of starting a job.
pub enum Queued {
    /// The id of the run.
    New(i64),
    /// It has not come to the end of this run.
    Active(i64),
}

/// Queues a run of a job.
fn queue(spi: &Spi, job_id: i32, started_by: &str, now: Timestamp) -> Result<Queued> {
    let new = spi
        .query(
            "INSERT INTO _cdp.job_runs (job_id, namespace_id, state, parameters, started_by, queued_at) \
             SELECT job_id, namespace_id, 'queued', parameters, $2, $3 FROM _cdp.jobs WHERE job_id OPERATOR(pg_catalog.=) $1 \
             ON CONFLICT (job_id) WHERE state OPERATOR(pg_catalog.=) ANY (ARRAY['queued', 'running']) DO NOTHING RETURNING run_id",
            &[Param::Int4(job_id), Param::Text(started_by), Param::Timestamp(now)],
        )?
        .first(|row| row.i64(0))?;
    if let Some(run_id) = new {
        return Ok(Queued::New(run_id));
    }
    let active = spi
        .query_known(
            "SELECT run_id FROM _cdp.job_runs WHERE job_id OPERATOR(pg_catalog.=) $1 \
                 AND state OPERATOR(pg_catalog.=) ANY (ARRAY['queued', 'running'])",
            &[Param::Int4(job_id)],
        )?
        .first(|row| row.i64(0))?;
    Ok(Queued::Active(active.unwrap_or(0)))
}

/// A run that is taken up.
struct Run {
    id: i64,
    namespace_id: i32,
    is_new: bool,
    position: Option<i64>,
    failures: i32,
    kind: String,
    parameters: String,
    owner: String,
    /// Another process did the part before.
    is_taken_over: bool,
}

fn next_run(spi: &Spi, now: Timestamp) -> Result<Option<Run>> {
    spi.query(
        "SELECT r.run_id, r.namespace_id, r.position IS NULL, r.position, r.failures, j.kind, r.parameters, j.owner, \
                r.pid IS NOT NULL AND r.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() \
         FROM _cdp.job_runs AS r JOIN _cdp.jobs AS j ON j.job_id OPERATOR(pg_catalog.=) r.job_id \
         WHERE r.state OPERATOR(pg_catalog.=) ANY (ARRAY['queued', 'running']) \
           AND (r.not_before IS NULL OR r.not_before OPERATOR(pg_catalog.<=) $1) \
         ORDER BY r.touched_at NULLS FIRST, r.run_id LIMIT 1 FOR UPDATE OF r SKIP LOCKED",
        &[Param::Timestamp(now)],
    )?
    .first(|row| {
        Ok(Run {
            id: row.i64(0)?,
            namespace_id: row.i32(1)?,
            is_new: row.bool(2)?,
            position: row.optional_i64(3),
            failures: row.i32(4)?,
            kind: row.text(5)?,
            parameters: row.optional_jsonb(6).unwrap_or_default(),
            owner: row.text(7)?,
            is_taken_over: row.bool(8)?,
        })
    })
}

impl Run {
    /// Does the next part. What it did, and where it ended, are committed together; an error undoes the part alone.
    fn proceed(&self, spi: &Spi, limit: i64, now: Timestamp) -> Result<()> {
        let part = transaction::attempt(|| {
            let namespace = namespaces::by_id(spi, self.namespace_id)?;
            let kind = Kind::read(&self.kind, &crate::ingest::stored::json(&self.parameters).unwrap_or_default())?;
            let job = Job { namespace: &namespace, owner: &self.owner };
            let begun = if self.is_new { Some(kind.begin(spi, &job)?) } else { None };
            let position = begun.as_ref().map_or(self.position, |begun| Some(begun.position)).unwrap_or(0);
            Ok((begun.map(|begun| begun.total), kind.part(spi, &job, position, limit)?))
        });
        match part {
            Ok((total, part)) => self.went_well(spi, total, &part, now),
            Err(error) => self.failed(spi, &error, now),
        }
    }

    fn went_well(&self, spi: &Spi, total: Option<i64>, part: &Part, now: Timestamp) -> Result<()> {
        if self.is_new {
            self.log(spi, now, "info", &format!("started; {} in all", total.unwrap_or(0)))?;
        } else if self.is_taken_over {
            self.log(spi, now, "info", "goes on where another process left it")?;
        }
        let done = spi
            .query(
                "UPDATE _cdp.job_runs SET state = CASE WHEN $2::pg_catalog.int8 IS NULL THEN 'done' ELSE 'running' END, \
                     position = COALESCE($2, position), done = done OPERATOR(pg_catalog.+) $3, total = COALESCE($4, total), \
                     started_at = COALESCE(started_at, $5), touched_at = $5, failures = 0, not_before = NULL, \
                     pid = pg_catalog.pg_backend_pid(), finished_at = CASE WHEN $2 IS NULL THEN $5 END \
                 WHERE run_id OPERATOR(pg_catalog.=) $1 RETURNING done",
                &[
                    Param::Int8(self.id),
                    Param::OptionalInt8(part.next),
                    Param::Int8(part.done),
                    Param::OptionalInt8(total),
                    Param::Timestamp(now),
                ],
            )?
            .first(|row| row.i64(0))?;
        if part.next.is_none() {
            self.log(spi, now, "info", &format!("done: {}", done.unwrap_or(0)))?;
        }
        Ok(())
    }

    /// Another attempt after 2, 4, 8, … seconds, until it was enough.
    fn failed(&self, spi: &Spi, error: &crate::error::Error, now: Timestamp) -> Result<()> {
        let failures = self.failures.saturating_add(1);
        let is_over = failures >= MOST_FAILURES;
        let wait = SECOND.saturating_mul(1 << failures.clamp(0, 20));
        self.log(spi, now, "error", &format!("{} ({}); attempt {failures}", error.message, error.code()))?;
        spi.execute(
            "UPDATE _cdp.job_runs SET state = CASE WHEN $2 THEN 'failed' ELSE 'running' END, failures = $3, error = $4, \
                 not_before = $5, touched_at = $6, started_at = COALESCE(started_at, $6), pid = pg_catalog.pg_backend_pid(), \
                 finished_at = CASE WHEN $2 THEN $6::pg_catalog.timestamptz END \
             WHERE run_id OPERATOR(pg_catalog.=) $1",
            &[
                Param::Int8(self.id),
                Param::Bool(is_over),
                Param::Int4(failures),
                Param::Text(&error.message),
                Param::Timestamp(now.saturating_add(wait)),
                Param::Timestamp(now),
            ],
        )?;
        if is_over {
            self.log(spi, now, "error", "failed: given up; cdp.start_job begins from the start")?;
        }
        Ok(())
    }

    fn log(&self, spi: &Spi, at: Timestamp, level: &str, message: &str) -> Result<()> {
        log(spi, self.id, self.namespace_id, at, level, message)
    }
}

fn log(spi: &Spi, run_id: i64, namespace_id: i32, at: Timestamp, level: &str, message: &str) -> Result<()> {
    spi.execute(
        "INSERT INTO _cdp.job_log (run_id, namespace_id, at, level, message) VALUES ($1, $2, $3, $4, $5)",
        &[
            Param::Int8(run_id),
            Param::Int4(namespace_id),
            Param::Timestamp(at),
            Param::Text(level),
            Param::Text(message),
        ],
    )?;
    Ok(())
}

/// Forgets runs that ended long ago, with what they said. Tells whether there are more.
pub fn forget_old_runs(spi: &Spi, limit: i64) -> Result<bool> {
    let days = guc::job_history_days();
    if days == 0 {
        return Ok(false);
    }
    let forgotten = spi.execute(
        "WITH gone AS ( \
             DELETE FROM _cdp.job_runs WHERE run_id OPERATOR(pg_catalog.=) ANY (ARRAY( \
                 SELECT run_id FROM _cdp.job_runs WHERE finished_at OPERATOR(pg_catalog.<) $1 ORDER BY run_id LIMIT $2)) \
             RETURNING run_id), \
         silent AS (DELETE FROM _cdp.job_log AS l USING gone WHERE l.run_id OPERATOR(pg_catalog.=) gone.run_id) \
         SELECT run_id FROM gone",
        &[Param::Timestamp(clock::now()?.saturating_sub(days * DAY)), Param::Int8(limit)],
    )?;
    Ok(forgotten as i64 >= limit)
}
