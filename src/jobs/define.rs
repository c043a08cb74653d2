//! Starting, stopping and scheduling jobs.

use super::kinds::{self, Job, Kind};
use super::{log, queue, Queued};
use crate::error::{cut, state, unknown_key, Error, Result};
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::session;
use crate::pg::spi::Spi;
use crate::traits::define::check_key;
use cdp_schedule::{Schedule, ScheduleError};
use cdp_value::Timestamp;

/// What a call says about a job; what it does not say stays as it was.
pub struct Request<'a> {
    pub name: &'a str,
    pub kind: Option<&'a str>,
    pub parameters: Option<&'a str>,
}

/// A job as it is stored or offered.
struct Found {
    id: Option<i32>,
    kind: String,
    parameters: String,
    cron: Option<String>,
    timezone: Option<String>,
}

/// Starts a job. Returns the id of the run.
pub fn start(spi: &Spi, namespace: &Namespace, request: &Request) -> Result<i64> {
    let now = clock::now()?;
    let found = completed(spi, namespace, request)?;
    let job_id = store(spi, namespace, request.name, &found, None, now)?;
    match queue(spi, job_id, &session::outer_role(), now)? {
        Queued::New(run_id) => Ok(run_id),
        Queued::Active(run_id) => Err(Error::new(state::IN_USE, format!("job \"{}\" has not ended yet", request.name))
            .detail(format!("Its run {run_id} waits or runs."))
            .hint("cdp.jobs says how far it is; cdp.stop_job cancels it.")),
    }
}

/// Cancels the run of a job that waits or runs, between two parts. False when there is none.
pub fn stop(spi: &Spi, namespace: &Namespace, name: &str) -> Result<bool> {
    let now = clock::now()?;
    let Found { id: Some(job_id), .. } = existing(spi, namespace, name)? else { return Ok(false) };
    let cancelled = spi
        .query(
            "UPDATE _cdp.job_runs SET state = 'cancelled', finished_at = $2 WHERE job_id OPERATOR(pg_catalog.=) $1 \
                 AND state OPERATOR(pg_catalog.=) ANY (ARRAY['queued', 'running']) RETURNING run_id",
            &[Param::Int4(job_id), Param::Timestamp(now)],
        )?
        .first(|row| row.i64(0))?;
    let Some(run_id) = cancelled else { return Ok(false) };
    log(spi, run_id, namespace.id, now, "info", &format!("cancelled by {}", session::outer_role()))?;
    Ok(true)
}

/// Runs a job by a schedule. Returns when that is first.
pub fn schedule(
    spi: &Spi,
    namespace: &Namespace,
    request: &Request,
    cron: Option<&str>,
    timezone: Option<&str>,
) -> Result<Timestamp> {
    let now = clock::now()?;
    let found = completed(spi, namespace, request)?;
    let Some(cron) = cron.or(found.cron.as_deref()) else {
        return Err(Error::new(state::INVALID_DEFINITION, format!("job \"{}\" has no schedule yet", request.name))
            .hint("Give a cron expression, for example '0 3 * * *'."));
    };
    let timezone = timezone.or(found.timezone.as_deref()).unwrap_or(&namespace.timezone);
    let schedule = Schedule::new(cron, timezone, now).map_err(|error| schedule_error(cron, error))?;
    let next = schedule.next(now).ok_or_else(|| schedule_error(cron, ScheduleError::Never))?;
    store(spi, namespace, request.name, &found, Some((cron, timezone, next)), now)?;
    Ok(next)
}

/// Takes a job's schedule away. False when it has none.
pub fn unschedule(spi: &Spi, namespace: &Namespace, name: &str) -> Result<bool> {
    let Found { id: Some(job_id), .. } = existing(spi, namespace, name)? else { return Ok(false) };
    let changed = spi.execute(
        "UPDATE _cdp.jobs SET next_run_at = NULL, updated_at = $2 WHERE job_id OPERATOR(pg_catalog.=) $1 AND next_run_at IS NOT NULL",
        &[Param::Int4(job_id), Param::Timestamp(clock::now()?)],
    )?;
    Ok(changed > 0)
}

fn schedule_error(cron: &str, error: ScheduleError) -> Error {
    let message = match error {
        ScheduleError::Expression(why) => format!("\"{}\" is no cron expression: {why}", cut(cron)),
        ScheduleError::Zone(zone) => {
            return Error::new(state::INVALID_DEFINITION, format!("\"{}\" is no time zone", cut(&zone)))
                .hint("Use a name of the IANA database, for example Europe/Berlin.")
        }
        ScheduleError::Never => format!("\"{}\" never comes", cut(cron)),
    };
    Error::new(state::INVALID_DEFINITION, message)
        .hint("Minute, hour, day of month, month and day of week: '0 3 * * *' is every day at three.")
}

/// A job of this name, stored or offered.
fn find(spi: &Spi, namespace: &Namespace, name: &str) -> Result<Option<Found>> {
    spi.query(
        "SELECT job_id, kind, parameters, cron, timezone FROM _cdp.jobs \
         WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND name OPERATOR(pg_catalog.=) $2 \
         UNION ALL SELECT NULL, kind, parameters, cron, NULL FROM _cdp.default_jobs WHERE name OPERATOR(pg_catalog.=) $2",
        &[Param::Int4(namespace.id), Param::Text(name)],
    )?
    .first(|row| {
        Ok(Found {
            id: row.optional_i32(0),
            kind: row.text(1)?,
            parameters: row.optional_jsonb(2).unwrap_or_else(|| "{}".to_string()),
            cron: row.optional_text(3),
            timezone: row.optional_text(4),
        })
    })
}

fn existing(spi: &Spi, namespace: &Namespace, name: &str) -> Result<Found> {
    if let Some(found) = find(spi, namespace, name)? {
        return Ok(found);
    }
    let names = spi
        .query(
            "SELECT name FROM _cdp.jobs WHERE namespace_id OPERATOR(pg_catalog.=) $1 UNION SELECT name FROM _cdp.default_jobs",
            &[Param::Int4(namespace.id)],
        )?
        .map(|row| row.text(0))?;
    Err(unknown_key("job", name, names.iter().map(String::as_str)))
}

/// The job a call means, with what the call changes, checked.
fn completed(spi: &Spi, namespace: &Namespace, request: &Request) -> Result<Found> {
    check_key("job", Some(request.name))?;
    let mut found = match (find(spi, namespace, request.name)?, request.kind) {
        (Some(found), None) => found,
        (Some(found), Some(kind)) if found.kind == kind => found,
        (Some(found), Some(kind)) => {
            return Err(Error::new(
                state::INVALID_DEFINITION,
                format!("job \"{}\" is of kind {}, not {}", request.name, found.kind, cut(kind)),
            )
            .hint("Give a job of another kind another name."))
        }
        (None, None) if !kinds::NAMES.contains(&request.name) => {
            return match existing(spi, namespace, request.name) {
                Err(error) if !error.hint.as_deref().unwrap_or_default().starts_with("Did you mean") => {
                    Err(error.hint("Give the kind of a new job: rebuild, score, replay or retention."))
                }
                other => other,
            }
        }
        (None, kind) => Found {
            id: None,
            kind: kind.unwrap_or(request.name).to_string(),
            parameters: "{}".to_string(),
            cron: None,
            timezone: None,
        },
    };
    if let Some(parameters) = request.parameters {
        found.parameters = parameters.to_string();
    }
    let kind = Kind::read(&found.kind, &crate::ingest::stored::json(&found.parameters).unwrap_or_default())?;
    kind.check(spi, &Job { namespace, owner: &session::outer_role() })?;
    Ok(found)
}

/// Stores a job; its schedule stays as it is unless a new one is given.
fn store(
    spi: &Spi,
    namespace: &Namespace,
    name: &str,
    job: &Found,
    schedule: Option<(&str, &str, Timestamp)>,
    now: Timestamp,
) -> Result<i32> {
    let (cron, timezone, next) = match schedule {
        Some((cron, timezone, next)) => (Some(cron), Some(timezone), Some(next)),
        None => (job.cron.as_deref(), job.timezone.as_deref(), None),
    };
    spi.query(
        "INSERT INTO _cdp.jobs AS j (namespace_id, name, kind, parameters, cron, timezone, next_run_at, owner, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) \
         ON CONFLICT (namespace_id, name) DO UPDATE SET parameters = EXCLUDED.parameters, cron = EXCLUDED.cron, \
             timezone = EXCLUDED.timezone, next_run_at = COALESCE(EXCLUDED.next_run_at, j.next_run_at), \
             owner = EXCLUDED.owner, updated_at = EXCLUDED.updated_at RETURNING job_id",
        &[
            Param::Int4(namespace.id),
            Param::Text(name),
            Param::Text(&job.kind),
            Param::Jsonb(&job.parameters),
            Param::OptionalText(cron),
            Param::OptionalText(timezone),
            Param::OptionalTimestamp(next),
            Param::Text(&session::outer_role()),
            Param::Timestamp(now),
        ],
    )?
    .first(|row| row.i32(0))?
    .ok_or_else(|| crate::error::internal("a job was not stored"))
}
