//! Counters of each destination.

use crate::error::Result;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_value::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Buckets of the histograms: up to 1, 2, 4, … milliseconds; the last, about six days, takes the rest.
const BUCKETS: usize = 30;

/// What happened to the messages of one destination since it was last written down.
#[derive(Default, Clone)]
pub struct Tally {
    pub delivered: i64,
    pub discarded: i64,
    pub retried: i64,
    pub rejected: i64,
    latency: Vec<i64>,
    lag: Vec<i64>,
    last_delivered_at: Option<Timestamp>,
    last_error: Option<String>,
    last_error_at: Option<Timestamp>,
}

fn count(histogram: &mut Vec<i64>, milliseconds: u128) {
    let bucket = (u128::BITS - milliseconds.saturating_sub(1).leading_zeros()) as usize;
    histogram.resize(BUCKETS, 0);
    histogram[bucket.min(BUCKETS - 1)] += 1;
}

impl Tally {
    /// A message arrived, `lag` after it was made.
    pub fn deliver(&mut self, now: Timestamp, latency: Option<Duration>, lag: Duration) {
        self.delivered += 1;
        self.last_delivered_at = Some(now);
        if let Some(latency) = latency {
            count(&mut self.latency, latency.as_millis());
        }
        count(&mut self.lag, lag.as_millis());
    }

    /// A message did not arrive.
    pub fn fail(&mut self, now: Timestamp, error: &str) {
        self.last_error = Some(error.to_string());
        self.last_error_at = Some(now);
    }

    fn add(&mut self, other: &Tally) {
        self.delivered += other.delivered;
        self.discarded += other.discarded;
        self.retried += other.retried;
        self.rejected += other.rejected;
        for (mine, theirs) in [(&mut self.latency, &other.latency), (&mut self.lag, &other.lag)] {
            mine.resize(mine.len().max(theirs.len()), 0);
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        }
        self.last_delivered_at = other.last_delivered_at.or(self.last_delivered_at);
        if other.last_error.is_some() {
            self.last_error.clone_from(&other.last_error);
            self.last_error_at = other.last_error_at;
        }
    }
}

/// Tallies by destination.
#[derive(Default, Clone)]
pub struct Tallies(BTreeMap<i32, Tally>);

impl Tallies {
    pub fn of(&mut self, destination_id: i32) -> &mut Tally {
        self.0.entry(destination_id).or_default()
    }

    /// Writes down what it can and returns the rest: counters that another transaction holds are not
    /// waited for.
    pub fn write(&self, spi: &Spi) -> Result<Tallies> {
        let mut left = Tallies::default();
        for (id, tally) in &self.0 {
            let written = spi.execute(
                "UPDATE _cdp.destination_statistics AS s SET
                     delivered = s.delivered OPERATOR(pg_catalog.+) $2,
                     discarded = s.discarded OPERATOR(pg_catalog.+) $3,
                     retried = s.retried OPERATOR(pg_catalog.+) $4,
                     rejected = s.rejected OPERATOR(pg_catalog.+) $5,
                     latency = (SELECT COALESCE(pg_catalog.array_agg(COALESCE(a.a, 0) OPERATOR(pg_catalog.+) COALESCE(a.b, 0) ORDER BY a.n), '{}')
                                FROM ROWS FROM (pg_catalog.unnest(s.latency), pg_catalog.unnest($6::pg_catalog.int8[])) WITH ORDINALITY AS a(a, b, n)),
                     lag = (SELECT COALESCE(pg_catalog.array_agg(COALESCE(a.a, 0) OPERATOR(pg_catalog.+) COALESCE(a.b, 0) ORDER BY a.n), '{}')
                            FROM ROWS FROM (pg_catalog.unnest(s.lag), pg_catalog.unnest($7::pg_catalog.int8[])) WITH ORDINALITY AS a(a, b, n)),
                     last_delivered_at = COALESCE($8, s.last_delivered_at),
                     last_error = COALESCE($9, s.last_error),
                     last_error_at = COALESCE($10, s.last_error_at)
                 FROM (SELECT destination_id FROM _cdp.destination_statistics
                       WHERE destination_id OPERATOR(pg_catalog.=) $1 FOR UPDATE SKIP LOCKED) AS free
                 WHERE s.destination_id OPERATOR(pg_catalog.=) free.destination_id",
                &[
                    Param::Int4(*id),
                    Param::Int8(tally.delivered),
                    Param::Int8(tally.discarded),
                    Param::Int8(tally.retried),
                    Param::Int8(tally.rejected),
                    Param::Int8Array(&tally.latency),
                    Param::Int8Array(&tally.lag),
                    Param::OptionalTimestamp(tally.last_delivered_at),
                    Param::OptionalText(tally.last_error.as_deref()),
                    Param::OptionalTimestamp(tally.last_error_at),
                ],
            )?;
            let gone = written == 0
                && spi
                    .query(
                        "SELECT FROM _cdp.destination_statistics WHERE destination_id OPERATOR(pg_catalog.=) $1",
                        &[Param::Int4(*id)],
                    )?
                    .processed
                    == 0;
            if written == 0 && !gone {
                left.of(*id).add(tally);
            }
        }
        Ok(left)
    }
}
