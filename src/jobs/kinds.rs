//! What jobs do. Each kind says where it begins, how much there is, and does the part after a position.

use crate::delivery::replay;
use crate::error::{cut, state, unknown_key, Error, Result};
use crate::namespaces::{retention, Namespace};
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::sandbox;
use crate::pg::spi::Spi;
use crate::scoring::rescore;
use crate::traits::backfill;
use crate::traits::catalog;
use crate::traits::evaluate::Cause;
use crate::traits::person;
use cdp_value::{Timestamp, DAY};
use serde_json::Value;
use std::time::Duration;

pub const NAMES: [&str; 4] = ["rebuild", "score", "replay", "retention"];

/// Longest that the SQL of a part of a replay may take.
const LONGEST: Duration = Duration::from_secs(600);

/// For whom a part is done.
pub struct Job<'a> {
    pub namespace: &'a Namespace,
    pub owner: &'a str,
}

/// Where a run begins, and how much there is.
pub struct Beginning {
    pub position: i64,
    pub total: i64,
}

/// A part that was done.
pub struct Part {
    /// Where the next one begins; None: that was all.
    pub next: Option<i64>,
    pub done: i64,
}

/// A kind of job with its parameters.
pub enum Kind {
    /// Computes everybody from the events again.
    Rebuild,
    /// Brings a score of everybody up to now.
    Score { key: String },
    /// Sends past events again, a day of them at a time.
    Replay { filter: Option<String>, destination: Option<String>, since: Option<Timestamp>, until: Option<Timestamp> },
    /// Deletes events that are older than the namespace keeps them.
    Retention,
}

impl Kind {
    /// Reads the parameters of a job of a kind.
    pub fn read(kind: &str, parameters: &Value) -> Result<Kind> {
        let known: &[&str] = match kind {
            "rebuild" | "retention" => &[],
            "score" => &["score"],
            "replay" => &["filter", "destination", "since", "until"],
            other => return Err(unknown_key("kind of job", other, NAMES.into_iter())),
        };
        let members = parameters
            .as_object()
            .ok_or_else(|| wrong("the parameters of a job are a JSON object").hint("For example '{}'."))?;
        if let Some(name) = members.keys().find(|name| !known.contains(&name.as_str())) {
            let error = wrong(format!("a job of kind {kind} has no parameter \"{}\"", cut(name)));
            return Err(match known {
                [] => error.hint("It takes none."),
                _ => error.hint(format!("There are: {}.", known.join(", "))),
            });
        }
        let text = |name: &str| match members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(wrong(format!("the parameter \"{name}\" has to be a text"))),
        };
        let time = |name: &str| {
            text(name)?
                .map(|value| {
                    chrono::DateTime::parse_from_rfc3339(&value).map(|at| at.timestamp_micros()).map_err(|_| {
                        wrong(format!("the parameter \"{name}\" is no time: \"{}\"", cut(&value)))
                            .hint("For example 2024-01-31T00:00:00Z.")
                    })
                })
                .transpose()
        };
        Ok(match kind {
            "rebuild" => Kind::Rebuild,
            "score" => Kind::Score { key: text("score")?.unwrap_or_else(|| "lead".to_string()) },
            "replay" => Kind::Replay {
                filter: text("filter")?,
                destination: text("destination")?,
                since: time("since")?,
                until: time("until")?,
            },
            _ => Kind::Retention,
        })
    }

    /// Refuses what could only fail when it runs: a score or a destination that is not there, a time that is none, a
    /// filter that is no condition.
    pub fn check(&self, spi: &Spi, job: &Job) -> Result<()> {
        match self {
            Kind::Rebuild | Kind::Retention => Ok(()),
            Kind::Score { key } => {
                let catalog = catalog::current(spi, job.namespace)?;
                if catalog.score_by_key(key).is_some() {
                    return Ok(());
                }
                let known: Vec<&str> = catalog.scores.iter().map(|score| score.key.as_str()).collect();
                Err(unknown_key("score", key, known.into_iter()))
            }
            Kind::Replay { filter, destination, since, until } => {
                if let (Some(since), Some(until)) = (since, until) {
                    if until <= since {
                        return Err(wrong("\"until\" is not after \"since\"")
                            .hint("No event can be in that time: give them the other way round."));
                    }
                }
                if let Some(key) = destination {
                    replay::find(spi, job.namespace, key)?;
                }
                let Some(filter) = filter else { return Ok(()) };
                sandbox::as_role(job.owner, LONGEST, || {
                    spi.query_text("SELECT cdp.check_filter('cdp.events', $1)", &[Param::Text(filter)]).map(|_| ())
                })
            }
        }
    }

    pub fn begin(&self, spi: &Spi, job: &Job) -> Result<Beginning> {
        let id = Param::Int4(job.namespace.id);
        match self {
            Kind::Rebuild | Kind::Score { .. } => {
                let total = spi
                    .query(
                        "SELECT pg_catalog.count(*) FROM _cdp.profiles WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND merged_into IS NULL",
                        &[id],
                    )?
                    .first(|row| row.i64(0))?;
                Ok(Beginning { position: 0, total: total.unwrap_or(0) })
            }
            Kind::Replay { since, until, .. } => {
                let (first, last) = match (since, until) {
                    (Some(since), Some(until)) => (Some(*since), Some(*until)),
                    _ => spi
                        .query(
                            "SELECT pg_catalog.min(ts), pg_catalog.max(ts) FROM _cdp.events WHERE namespace_id OPERATOR(pg_catalog.=) $1",
                            &[id],
                        )?
                        .first(|row| Ok((row.optional_timestamp(0), row.optional_timestamp(1))))?
                        .map_or((None, None), |(first, last)| {
                            (since.or(first), until.or(last.map(|last| last.saturating_add(1))))
                        }),
                };
                let (Some(first), Some(last)) = (first, last) else { return Ok(Beginning { position: 0, total: 0 }) };
                let days = last.saturating_sub(first).max(0).saturating_add(DAY - 1) / DAY;
                Ok(Beginning { position: first, total: days })
            }
            Kind::Retention => {
                let total = match before(spi, job)? {
                    None => None,
                    Some(before) => spi
                        .query(
                            "SELECT pg_catalog.count(*) FROM _cdp.events WHERE namespace_id OPERATOR(pg_catalog.=) $1 \
                                 AND ts OPERATOR(pg_catalog.<) $2",
                            &[id, Param::Timestamp(before)],
                        )?
                        .first(|row| row.i64(0))?,
                };
                Ok(Beginning { position: 0, total: total.unwrap_or(0) })
            }
        }
    }

    /// Does the part after a position.
    pub fn part(&self, spi: &Spi, job: &Job, position: i64, limit: i64) -> Result<Part> {
        match self {
            Kind::Rebuild => {
                let ids = person::next_ids(spi, job.namespace.id, position, limit)?;
                backfill::rebuild_people(spi, job.namespace, &ids, &Cause::Rebuild)?;
                Ok(Part { next: ids.last().copied(), done: ids.len() as i64 })
            }
            Kind::Score { key } => {
                let last = rescore::chunk(spi, job.namespace, key, position, limit)?;
                let done = match last {
                    None => 0,
                    Some(last) => people_between(spi, job, position, last)?,
                };
                Ok(Part { next: last, done })
            }
            Kind::Replay { filter, destination, until, .. } => {
                send_again(spi, job, filter.as_deref(), destination.as_deref(), *until, position)
            }
            Kind::Retention => {
                let Some(before) = before(spi, job)? else { return Ok(Part { next: None, done: 0 }) };
                let deleted = spi.execute(
                    "DELETE FROM _cdp.events AS e USING ( \
                         SELECT o.tableoid, o.ctid FROM _cdp.events AS o WHERE o.namespace_id OPERATOR(pg_catalog.=) $1 \
                             AND o.ts OPERATOR(pg_catalog.<) $2 LIMIT $3) AS old \
                     WHERE e.tableoid OPERATOR(pg_catalog.=) old.tableoid AND e.ctid OPERATOR(pg_catalog.=) old.ctid \
                       AND e.ts OPERATOR(pg_catalog.<) $2",
                    &[Param::Int4(job.namespace.id), Param::Timestamp(before), Param::Int8(limit)],
                )? as i64;
                Ok(Part { next: (deleted >= limit).then_some(0), done: deleted })
            }
        }
    }
}

fn people_between(spi: &Spi, job: &Job, after: i64, last: i64) -> Result<i64> {
    let count = spi
        .query(
            "SELECT pg_catalog.count(*) FROM _cdp.profiles WHERE namespace_id OPERATOR(pg_catalog.=) $1 \
                 AND profile_id OPERATOR(pg_catalog.>) $2 AND profile_id OPERATOR(pg_catalog.<=) $3 AND merged_into IS NULL",
            &[Param::Int4(job.namespace.id), Param::Int8(after), Param::Int8(last)],
        )?
        .first(|row| row.i64(0))?;
    Ok(count.unwrap_or(0))
}

/// Sends a day's events again, with the rights of the job's owner: the filter is SQL.
fn send_again(
    spi: &Spi,
    job: &Job,
    filter: Option<&str>,
    destination: Option<&str>,
    until: Option<Timestamp>,
    since: Timestamp,
) -> Result<Part> {
    let end = match until {
        Some(until) => Some(until),
        None => spi
            .query(
                "SELECT pg_catalog.max(ts) FROM _cdp.events WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND ts OPERATOR(pg_catalog.>=) $2",
                &[Param::Int4(job.namespace.id), Param::Timestamp(since)],
            )?
            .first(|row| Ok(row.optional_timestamp(0)))?
            .flatten()
            .map(|last| last.saturating_add(1)),
    };
    let Some(end) = end.filter(|end| *end > since) else { return Ok(Part { next: None, done: 0 }) };
    let day_end = since.saturating_add(DAY).min(end);
    sandbox::as_role(job.owner, LONGEST, || {
        spi.query_text(
            "SELECT cdp.replay($1, $2, $3, $4, $5)",
            &[
                Param::Text(filter.unwrap_or("true")),
                Param::OptionalText(destination),
                Param::Timestamp(since),
                Param::Timestamp(day_end),
                Param::Text(&job.namespace.name),
            ],
        )?;
        Ok(())
    })?;
    Ok(Part { next: (day_end < end).then_some(day_end), done: 1 })
}

/// Events before this instant may go; None: the namespace keeps all.
fn before(spi: &Spi, job: &Job) -> Result<Option<Timestamp>> {
    let days = retention::event_days(spi, job.namespace)?;
    let now = clock::now()?;
    Ok(days.map(|days| now.saturating_sub(days.saturating_mul(DAY))))
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(state::INVALID_DEFINITION, message)
}
