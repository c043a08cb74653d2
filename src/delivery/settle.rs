//! Settling: what an attempt means for a message, and for those of the same person behind it.

use super::claim::{later, Row};
use super::dead_letters::{self, Letter};
use super::statistics::Tallies;
use super::targets::{self, Target};
use crate::error::Result;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_delivery::retry::{self, Failure, Next};
use cdp_delivery::{Evidence, Outcome};
use cdp_value::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// So many messages of a person that waited behind another are let go at once.
const RELEASED: i64 = 100;

/// Longest error kept with a waiting message, in characters.
const LONGEST_ERROR: usize = 1_000;

/// An attempt that ended.
#[derive(Clone)]
pub struct Attempt {
    pub target: Rc<Target>,
    pub row: Row,
    pub outcome: Outcome,
    pub evidence: Option<Arc<Evidence>>,
    /// An earlier message of the same person stays, so this one has to wait for it.
    pub behind: bool,
}

#[derive(Default)]
struct Changes<'a> {
    done: Vec<&'a Attempt>,
    later: Vec<Later<'a>>,
    /// People and messages that wait again behind another message, by destination.
    behind: BTreeMap<i32, Vec<(i64, i64)>>,
    dead: Vec<Letter<'a>>,
    /// Destinations to pause, and why.
    refused: BTreeMap<i32, (&'a str, &'a str)>,
}

struct Later<'a> {
    attempt: &'a Attempt,
    attempts: i32,
    failures: i32,
    first_failed_at: Option<Timestamp>,
    next_attempt_at: Timestamp,
    error: String,
}

/// Writes down how attempts ended. Returns the counters that are not written yet.
pub fn settle(spi: &Spi, attempts: &[Attempt], finished_leases: &[i64], pending: &Tallies) -> Result<Tallies> {
    let now = clock::real();
    let mut tallies = pending.clone();
    let changes = decide(attempts, now, &mut tallies);

    let mut removed: BTreeMap<i32, Vec<Row>> = BTreeMap::new();
    for attempt in changes.done.iter().copied().chain(changes.dead.iter().map(|letter| letter.attempt)) {
        removed.entry(attempt.target.id).or_default().push(attempt.row.clone());
    }
    dead_letters::insert(spi, &changes.dead, now)?;
    for (destination_id, rows) in &removed {
        remove(spi, *destination_id, rows)?;
    }
    postpone(spi, &changes.later)?;
    for (destination_id, messages) in &changes.behind {
        put_behind(spi, *destination_id, messages)?;
    }
    release(spi, &removed, now)?;
    for (destination_id, (key, reason)) in &changes.refused {
        let reason = format!("the credentials are refused: {reason}");
        if targets::pause(spi, *destination_id, &reason, false)? {
            pgrx::warning!("cdp: destination \"{key}\" is paused: {reason}");
        }
    }
    if !finished_leases.is_empty() {
        spi.execute(
            "DELETE FROM _cdp.leases WHERE lease_id OPERATOR(pg_catalog.=) ANY ($1)",
            &[Param::Int8Array(finished_leases)],
        )?;
    }
    tallies.write(spi)
}

fn decide<'a>(attempts: &'a [Attempt], now: Timestamp, tallies: &mut Tallies) -> Changes<'a> {
    let mut changes = Changes::default();
    for attempt in attempts {
        let row = &attempt.row;
        let tried = i32::from(attempt.evidence.is_some());
        let tally = tallies.of(attempt.target.id);
        match &attempt.outcome {
            Outcome::Delivered => {
                let lag = Duration::from_micros(u64::try_from(now.saturating_sub(row.created_at)).unwrap_or(0));
                tally.deliver(now, attempt.evidence.as_ref().map(|evidence| evidence.duration), lag);
                changes.done.push(attempt);
            }
            Outcome::Discarded { .. } => {
                tally.discarded += 1;
                changes.done.push(attempt);
            }
            Outcome::Reject { reason } => {
                tally.rejected += 1;
                tally.fail(now, reason);
                let attempts = row.attempts.saturating_add(tried);
                changes.dead.push(Letter { attempt, attempts, reason: reason.clone() });
            }
            Outcome::AuthBlocked { reason } => {
                tally.fail(now, reason);
                changes.refused.insert(attempt.target.id, (&attempt.target.key, reason));
            }
            Outcome::Retry { .. } if attempt.behind => {
                if row.retry {
                    changes.behind.entry(attempt.target.id).or_default().push((row.profile_id, row.outbox_id));
                }
            }
            // Nothing was sent, by no fault of the message: it stays where it is.
            Outcome::Retry { counts: false, .. } if tried == 0 => {}
            Outcome::Retry { reason, after, counts } => {
                tally.retried += 1;
                tally.fail(now, reason);
                let failures = row.failures.saturating_add(i32::from(*counts));
                let first_failed_at = row.first_failed_at.or(counts.then_some(now));
                let attempts = row.attempts.saturating_add(tried);
                let failure = Failure {
                    failures: u32::try_from(failures).unwrap_or(0),
                    failing_for: first_failed_at
                        .map(|first| Duration::from_micros(u64::try_from(now.saturating_sub(first)).unwrap_or(0))),
                    after: *after,
                    counts: *counts,
                };
                match attempt.target.policy.next(&failure, retry::random()) {
                    Next::After(delay) => changes.later.push(Later {
                        attempt,
                        attempts,
                        failures,
                        first_failed_at,
                        next_attempt_at: later(now, delay),
                        error: reason.chars().take(LONGEST_ERROR).collect(),
                    }),
                    Next::Exhausted => {
                        tally.rejected += 1;
                        let reason = format!("not delivered in time; the last failure: {reason}");
                        changes.dead.push(Letter { attempt, attempts, reason });
                    }
                }
            }
            // The driver resolves splits itself.
            Outcome::SplitBatch => {}
        }
    }
    changes
}

/// Takes messages out of the queue.
pub fn remove(spi: &Spi, destination_id: i32, rows: &[Row]) -> Result<()> {
    let fresh: Vec<i64> = rows.iter().filter(|row| !row.retry).map(|row| row.outbox_id).collect();
    if !fresh.is_empty() {
        spi.execute(
            "DELETE FROM _cdp.deliveries
             WHERE destination_id OPERATOR(pg_catalog.=) $1 AND outbox_id OPERATOR(pg_catalog.=) ANY ($2)",
            &[Param::Int4(destination_id), Param::Int8Array(&fresh)],
        )?;
    }
    let (profiles, retries): (Vec<i64>, Vec<i64>) =
        rows.iter().filter(|row| row.retry).map(|row| (row.profile_id, row.outbox_id)).unzip();
    if !retries.is_empty() {
        spi.execute_hashed(
            "DELETE FROM _cdp.retries AS r
             USING ROWS FROM (pg_catalog.unnest($2::pg_catalog.int8[]), pg_catalog.unnest($3::pg_catalog.int8[]))
                   AS k(profile_id, outbox_id)
             WHERE r.destination_id OPERATOR(pg_catalog.=) $1 AND r.profile_id OPERATOR(pg_catalog.=) ANY ($2)
               AND r.profile_id OPERATOR(pg_catalog.=) k.profile_id AND r.outbox_id OPERATOR(pg_catalog.=) k.outbox_id",
            &[Param::Int4(destination_id), Param::Int8Array(&profiles), Param::Int8Array(&retries)],
        )?;
    }
    Ok(())
}

/// Sets the next attempt of messages that failed.
fn postpone(spi: &Spi, all: &[Later]) -> Result<()> {
    for retry in [false, true] {
        let group: Vec<&Later> = all.iter().filter(|later| later.attempt.row.retry == retry).collect();
        if group.is_empty() {
            continue;
        }
        let destinations: Vec<i32> = group.iter().map(|later| later.attempt.target.id).collect();
        let profiles: Vec<i64> = group.iter().map(|later| later.attempt.row.profile_id).collect();
        let ids: Vec<i64> = group.iter().map(|later| later.attempt.row.outbox_id).collect();
        let attempts: Vec<i32> = group.iter().map(|later| later.attempts).collect();
        let failures: Vec<i32> = group.iter().map(|later| later.failures).collect();
        let first: Vec<Option<Timestamp>> = group.iter().map(|later| later.first_failed_at).collect();
        let next: Vec<Timestamp> = group.iter().map(|later| later.next_attempt_at).collect();
        let errors: Vec<String> = group.iter().map(|later| later.error.replace('\0', "")).collect();
        let errors: Vec<&str> = errors.iter().map(String::as_str).collect();
        let params = [
            Param::Int4Array(&destinations),
            Param::Int8Array(&profiles),
            Param::Int8Array(&ids),
            Param::Int4Array(&attempts),
            Param::Int4Array(&failures),
            Param::OptionalTimestampArray(&first),
            Param::TimestampArray(&next),
            Param::TextArray(&errors),
        ];
        if retry {
            spi.execute_hashed(
                "UPDATE _cdp.retries AS r SET attempts = k.attempts, failures = k.failures, first_failed_at = k.first_failed_at,
                        next_attempt_at = k.next_attempt_at, last_error = k.last_error
                 FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int4[]), pg_catalog.unnest($2::pg_catalog.int8[]),
                                 pg_catalog.unnest($3::pg_catalog.int8[]), pg_catalog.unnest($4::pg_catalog.int4[]),
                                 pg_catalog.unnest($5::pg_catalog.int4[]), pg_catalog.unnest($6::pg_catalog.timestamptz[]),
                                 pg_catalog.unnest($7::pg_catalog.timestamptz[]), pg_catalog.unnest($8::pg_catalog.text[]))
                      AS k(destination_id, profile_id, outbox_id, attempts, failures, first_failed_at, next_attempt_at, last_error)
                 WHERE r.destination_id OPERATOR(pg_catalog.=) ANY ($1) AND r.profile_id OPERATOR(pg_catalog.=) ANY ($2)
                   AND r.destination_id OPERATOR(pg_catalog.=) k.destination_id AND r.profile_id OPERATOR(pg_catalog.=) k.profile_id AND r.outbox_id OPERATOR(pg_catalog.=) k.outbox_id",
                &params,
            )?;
        } else {
            spi.execute_hashed(
                "WITH failed AS (
                     SELECT * FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int4[]), pg_catalog.unnest($2::pg_catalog.int8[]),
                                 pg_catalog.unnest($3::pg_catalog.int8[]), pg_catalog.unnest($4::pg_catalog.int4[]),
                                 pg_catalog.unnest($5::pg_catalog.int4[]), pg_catalog.unnest($6::pg_catalog.timestamptz[]),
                                 pg_catalog.unnest($7::pg_catalog.timestamptz[]), pg_catalog.unnest($8::pg_catalog.text[]))
                         AS k(destination_id, profile_id, outbox_id, attempts, failures, first_failed_at, next_attempt_at, last_error)),
                 moved AS (
                     DELETE FROM _cdp.deliveries AS d USING failed AS k
                     WHERE d.destination_id OPERATOR(pg_catalog.=) ANY ($1) AND d.outbox_id OPERATOR(pg_catalog.=) ANY ($3)
                       AND d.destination_id OPERATOR(pg_catalog.=) k.destination_id AND d.outbox_id OPERATOR(pg_catalog.=) k.outbox_id AND d.profile_id OPERATOR(pg_catalog.=) k.profile_id
                     RETURNING d.outbox_id, d.created_at, d.profile_id, d.namespace_id, d.destination_id,
                               k.attempts, k.failures, k.first_failed_at, k.next_attempt_at, k.last_error)
                 INSERT INTO _cdp.retries (outbox_id, created_at, profile_id, namespace_id, destination_id,
                                           attempts, failures, first_failed_at, next_attempt_at, last_error)
                 SELECT outbox_id, created_at, profile_id, namespace_id, destination_id,
                        attempts, failures, first_failed_at, next_attempt_at, last_error FROM moved",
                &params,
            )?;
        }
    }
    Ok(())
}

/// Messages that were let go wait again behind an earlier one of their person.
pub fn put_behind(spi: &Spi, destination_id: i32, messages: &[(i64, i64)]) -> Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    let (profiles, ids): (Vec<i64>, Vec<i64>) = messages.iter().copied().unzip();
    spi.execute_hashed(
        "UPDATE _cdp.retries AS r SET next_attempt_at = NULL
         FROM ROWS FROM (pg_catalog.unnest($2::pg_catalog.int8[]), pg_catalog.unnest($3::pg_catalog.int8[]))
              AS k(profile_id, outbox_id)
         WHERE r.destination_id OPERATOR(pg_catalog.=) $1 AND r.profile_id OPERATOR(pg_catalog.=) ANY ($2)
           AND r.profile_id OPERATOR(pg_catalog.=) k.profile_id AND r.outbox_id OPERATOR(pg_catalog.=) k.outbox_id",
        &[Param::Int4(destination_id), Param::Int8Array(&profiles), Param::Int8Array(&ids)],
    )?;
    Ok(())
}

/// Lets the messages go that waited behind those that are settled, if nothing else is before them.
fn release(spi: &Spi, removed: &BTreeMap<i32, Vec<Row>>, now: Timestamp) -> Result<()> {
    let people: BTreeSet<(i32, i64)> =
        removed.iter().flat_map(|(id, rows)| rows.iter().map(|row| (*id, row.profile_id))).collect();
    if people.is_empty() || spi.query("SELECT FROM _cdp.retries LIMIT 1", &[])?.processed == 0 {
        return Ok(());
    }
    let (destinations, profiles): (Vec<i32>, Vec<i64>) = people.into_iter().unzip();
    spi.execute(
        "UPDATE _cdp.retries AS r SET next_attempt_at = $3
         FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int4[]), pg_catalog.unnest($2::pg_catalog.int8[]))
              AS p(destination_id, profile_id)
         CROSS JOIN LATERAL (
             SELECT f.next_attempt_at FROM _cdp.retries AS f
             WHERE f.destination_id OPERATOR(pg_catalog.=) p.destination_id AND f.profile_id OPERATOR(pg_catalog.=) p.profile_id
             ORDER BY f.outbox_id LIMIT 1) AS first
         CROSS JOIN LATERAL (
             SELECT h.outbox_id FROM _cdp.retries AS h
             WHERE h.destination_id OPERATOR(pg_catalog.=) p.destination_id AND h.profile_id OPERATOR(pg_catalog.=) p.profile_id
             ORDER BY h.outbox_id LIMIT $4) AS held
         WHERE first.next_attempt_at IS NULL AND r.next_attempt_at IS NULL
           AND r.destination_id OPERATOR(pg_catalog.=) ANY ($1) AND r.profile_id OPERATOR(pg_catalog.=) ANY ($2)
           AND r.destination_id OPERATOR(pg_catalog.=) p.destination_id
           AND r.profile_id OPERATOR(pg_catalog.=) p.profile_id AND r.outbox_id OPERATOR(pg_catalog.=) held.outbox_id",
        &[Param::Int4Array(&destinations), Param::Int8Array(&profiles), Param::Timestamp(now), Param::Int8(RELEASED)],
    )?;
    Ok(())
}
