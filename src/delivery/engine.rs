//! What a process that delivers keeps in mind: who is on the way, what came back, where it looked.
//!
//! The caller brings the transactions: one to [`Engine::claim`], one to [`Engine::settle`], none while
//! [`Engine::poll`] runs.

use super::claim::{self, Batch, Claim, Row, Wish};
use super::settle::{self, Attempt};
use super::shaping::Shapes;
use super::statistics::Tallies;
use super::targets::{Target, Targets};
use crate::error::{state, Error, Result};
use crate::guc;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_delivery::breaker::BreakerState;
use cdp_delivery::{Client, ClientOptions, Driver, Job, Outcome};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Payload bytes on their way at once, over all destinations and for one.
const MOST_BYTES: usize = 6 << 20;
const MOST_BYTES_EACH: usize = 2 << 20;

/// So many rounds of requests are taken ahead.
const PREFETCH: usize = 32;

/// A request that could not start for so long gives its messages back.
const START_WITHIN: Duration = Duration::from_secs(30);

/// Looking at the queue from its beginning may take one part in so many of the time.
const FULL_LOOK_SHARE: u32 = 20;

/// The driver counts its jobs from one.
const NO_JOB: u64 = 0;

/// One batch on its way.
struct Flight {
    target: Rc<Target>,
    lease_id: Option<i64>,
    rows: Vec<Row>,
    bytes: usize,
    /// Messages without a settled outcome.
    open: usize,
    /// People of whom an earlier message stays.
    held: HashSet<i64>,
}

/// Where the queue of one destination was looked at.
#[derive(Default)]
struct Lane {
    busy: HashMap<i64, usize>,
    messages: usize,
    bytes: usize,
    scanned: i64,
    passed_over: HashMap<i64, i64>,
    /// The last claim left something.
    more: bool,
}

/// An outcome that is not written down yet.
struct Ended {
    job: u64,
    attempt: Attempt,
}

pub struct Engine {
    driver: Driver,
    allow_hosts: Vec<String>,
    targets: Targets,
    shapes: Shapes,
    lanes: HashMap<i32, Lane>,
    flights: HashMap<u64, Flight>,
    ended: Vec<Ended>,
    tallies: Tallies,
    full_look_at: Instant,
    /// When the next message that failed is due.
    next_due: Option<Instant>,
}

/// What was taken and is not sent yet.
pub struct Claimed(Vec<Claim>);

/// What `settle` wrote down, to be told to [`Engine::settled`] once it is committed.
pub struct Settled {
    count: usize,
    tallies: Tallies,
}

/// The client that sends, with these hosts opened.
pub fn client(allow_hosts: &[String]) -> Result<Client> {
    let options = ClientOptions { allow_hosts: allow_hosts.to_vec(), ..ClientOptions::default() };
    Client::new(options).map_err(|error| {
        Error::new(state::INVALID_SETTING, "the HTTP client cannot be built").detail(error.to_string())
    })
}

impl Engine {
    pub fn new() -> Result<Engine> {
        let allow_hosts = guc::http_allow_hosts();
        let driver = Driver::new(client(&allow_hosts)?).map_err(|error| {
            Error::new("58000", "the runtime for requests cannot be built").detail(error.to_string())
        })?;
        Ok(Engine {
            driver,
            allow_hosts,
            targets: Targets::default(),
            shapes: Shapes::default(),
            lanes: HashMap::new(),
            flights: HashMap::new(),
            ended: Vec::new(),
            tallies: Tallies::default(),
            full_look_at: Instant::now(),
            next_due: None,
        })
    }

    /// Takes over changed settings.
    pub fn reload(&mut self) -> Result<()> {
        let allow_hosts = guc::http_allow_hosts();
        if allow_hosts != self.allow_hosts {
            self.driver.set_client(client(&allow_hosts)?);
            self.allow_hosts = allow_hosts;
        }
        self.targets.forget();
        Ok(())
    }

    /// Takes what can be sent now. `wishes_for` may leave out destinations.
    pub fn claim(&mut self, spi: &Spi, lease: Option<Duration>) -> Result<Claimed> {
        for changed in self.targets.refresh(spi)? {
            // What was learnt about the old definition (refused credentials, a breaker) may be wrong now.
            self.driver.forget(&changed.to_string());
        }
        let full = Instant::now() >= self.full_look_at;
        let mut wishes = Vec::new();
        for target in self.targets.all() {
            match self.wish(Rc::clone(&target), full) {
                Some(wish) => wishes.push(wish),
                None => self.lanes.entry(target.id).or_default().more = true,
            }
        }
        let before = Instant::now();
        let claims = claim::claim(spi, self.targets.relation(), &wishes, lease, &mut self.shapes)?;
        if full {
            self.full_look_at = Instant::now() + before.elapsed() * FULL_LOOK_SHARE;
        }
        let asked: Vec<i32> = wishes.iter().map(|wish| wish.target.id).collect();
        self.next_due = next_due(spi, &asked)?;
        Ok(Claimed(claims))
    }

    fn wish(&self, target: Rc<Target>, full: bool) -> Option<Wish> {
        let lane = self.lanes.get(&target.id);
        let held = lane.map_or(0, |lane| lane.messages);
        let most = self.most(&target, held).min(guc::delivery_batch());
        let room = most.saturating_sub(held);
        let in_all: usize = self.lanes.values().map(|lane| lane.bytes).sum();
        let bytes =
            MOST_BYTES.saturating_sub(in_all).min(MOST_BYTES_EACH.saturating_sub(lane.map_or(0, |lane| lane.bytes)));
        // Small bites while much is on the way would only cost transactions.
        let enough = room > 0 && bytes > 0 && (held == 0 || room >= held / 2);
        enough.then(|| Wish {
            after: if full { 0 } else { lane.map_or(0, |lane| lane.scanned) },
            busy: lane.map(|lane| lane.busy.clone()).unwrap_or_default(),
            target,
            room,
            bytes,
        })
    }

    /// How many messages of a destination may be on their way: enough to keep its requests coming while
    /// earlier ones are written down, no more than can start in time, none while it is known to refuse them.
    fn most(&self, target: &Target, held: usize) -> usize {
        let limits = &target.limits;
        let enough = limits.batch_size.saturating_mul(limits.concurrency).saturating_mul(PREFETCH);
        let in_time = limits.requests_per_second.map_or(usize::MAX, |rate| {
            let requests = (rate * START_WITHIN.as_secs_f64() / 3.0).max(1.0) as usize;
            requests.saturating_mul(limits.batch_size)
        });
        match self.driver.lane_state(&target.lane()) {
            Some(lane) if lane.auth_blocked.is_some() || lane.paused_for.is_some() => 0,
            Some(lane) => match lane.breaker {
                BreakerState::Closed => enough.min(in_time),
                // One message finds out.
                BreakerState::HalfOpen => usize::from(held == 0),
                BreakerState::Open(_) => 0,
            },
            None => enough.min(in_time),
        }
    }

    /// Sends what was taken; call it when the claim is committed.
    pub fn send(&mut self, claimed: Claimed) -> usize {
        let mut sent = 0;
        for claim in claimed.0 {
            let lane = self.lanes.entry(claim.destination_id).or_default();
            lane.scanned = claim.scanned;
            lane.more = claim.more;
            for (profile_id, outbox_id) in claim.passed_over {
                lane.passed_over.entry(profile_id).or_insert(outbox_id);
            }
            if let Some(batch) = claim.batch {
                sent += batch.rows.len();
                self.push(batch);
            }
            let (target, settled) = claim.settled;
            for (row, outcome) in settled {
                let attempt = Attempt { target: Rc::clone(&target), row, outcome, evidence: None, behind: false };
                self.ended.push(Ended { job: NO_JOB, attempt });
            }
        }
        sent
    }

    fn push(&mut self, batch: Batch) {
        let Batch { target, lease_id, rows, messages, bytes } = batch;
        let lane = self.lanes.entry(target.id).or_default();
        lane.messages += rows.len();
        lane.bytes += bytes;
        for row in &rows {
            *lane.busy.entry(row.profile_id).or_default() += 1;
        }
        let job = self.driver.push(Job {
            destination_key: target.lane(),
            generation: target.generation,
            destination: target.destination,
            config: target.config.clone(),
            secrets: target.secrets.clone(),
            batch: messages,
            start_within: START_WITHIN,
        });
        let open = rows.len();
        self.flights.insert(job, Flight { target, lease_id, rows, bytes, open, held: HashSet::new() });
    }

    /// Lets requests advance for up to `longest`, or until something came back.
    pub fn poll(&mut self, longest: Duration) {
        for result in self.driver.poll(longest) {
            let Some(flight) = self.flights.get_mut(&result.job) else { continue };
            for report in result.reports {
                let Some(row) = flight.rows.get(report.index) else { continue };
                let behind = report.outcome.stays() && flight.held.contains(&row.profile_id);
                // What was not sent at all does not hold up anybody: it is taken again in order.
                let untouched =
                    report.evidence.is_none() && matches!(report.outcome, Outcome::Retry { counts: false, .. });
                if report.outcome.stays() && !untouched {
                    flight.held.insert(row.profile_id);
                }
                self.ended.push(Ended {
                    job: result.job,
                    attempt: Attempt {
                        target: Rc::clone(&flight.target),
                        row: row.clone(),
                        outcome: report.outcome,
                        evidence: report.evidence,
                        behind,
                    },
                });
            }
        }
    }

    /// Writes down what came back. The engine remembers it until [`Engine::settled`].
    pub fn settle(&self, spi: &Spi) -> Result<Settled> {
        let count = self.ended.len();
        let attempts: Vec<Attempt> = self.ended.iter().map(|ended| ended.attempt.clone()).collect();
        let mut closing: HashMap<u64, usize> = HashMap::new();
        for ended in &self.ended {
            *closing.entry(ended.job).or_default() += 1;
        }
        let leases: Vec<i64> = closing
            .iter()
            .filter_map(|(job, count)| self.flights.get(job).filter(|flight| flight.open == *count)?.lease_id)
            .collect();
        let tallies = settle::settle(spi, &attempts, &leases, &self.tallies)?;
        Ok(Settled { count, tallies })
    }

    /// Forgets what is written down; call it when the transaction is committed.
    pub fn settled(&mut self, settled: Settled) {
        self.tallies = settled.tallies;
        let done: Vec<Ended> = self.ended.drain(..settled.count.min(self.ended.len())).collect();
        for ended in done {
            self.close(ended.job, &ended.attempt);
        }
    }

    fn close(&mut self, job: u64, attempt: &Attempt) {
        let Some(flight) = self.flights.get_mut(&job) else { return };
        flight.open = flight.open.saturating_sub(1);
        let profile_id = attempt.row.profile_id;
        let lane = self.lanes.entry(flight.target.id).or_default();
        lane.messages = lane.messages.saturating_sub(1);
        let is_last = lane.busy.get_mut(&profile_id).is_none_or(|count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
        if is_last {
            lane.busy.remove(&profile_id);
        }
        let stays = attempt.outcome.stays() && !attempt.row.retry;
        let first_left = [lane.passed_over.remove(&profile_id), stays.then_some(attempt.row.outbox_id)];
        for outbox_id in first_left.into_iter().flatten() {
            lane.scanned = lane.scanned.min(outbox_id - 1);
            lane.more = true;
        }
        if flight.open == 0 {
            lane.bytes = lane.bytes.saturating_sub(flight.bytes);
            self.flights.remove(&job);
        }
    }

    /// Leases of everything on its way.
    pub fn leases(&self) -> Vec<i64> {
        self.flights.values().filter_map(|flight| flight.lease_id).collect()
    }

    /// Outcomes that are not written down.
    pub fn unsettled(&self) -> usize {
        self.ended.len()
    }

    /// Whether requests are on their way.
    pub fn is_flying(&self) -> bool {
        !self.driver.is_idle()
    }

    /// Whether a claim would find room that the last one had not, for messages that it left.
    pub fn wants_more(&self) -> bool {
        self.targets
            .all()
            .into_iter()
            .filter(|target| self.lanes.get(&target.id).is_some_and(|lane| lane.more))
            .any(|target| self.wish(target, false).is_some())
    }

    /// In how long something may be sent that cannot be sent now; None when nothing is known to wait.
    pub fn next_due(&self) -> Option<Duration> {
        let now = Instant::now();
        let blocked = self
            .targets
            .all()
            .into_iter()
            .filter_map(|target| self.driver.readiness(&target.lane())?.blocked_for)
            .min();
        let due = self.next_due.map(|at| at.saturating_duration_since(now));
        blocked.into_iter().chain(due).min()
    }

    /// When the queue may be looked at from its beginning again.
    pub fn next_full_look(&self) -> Duration {
        self.full_look_at.saturating_duration_since(Instant::now())
    }
}

/// When the next message that failed can be tried again; those that could be already were looked at.
fn next_due(spi: &Spi, destinations: &[i32]) -> Result<Option<Instant>> {
    let now = clock::real();
    let due = spi
        .query(
            "SELECT pg_catalog.min(r.next_attempt_at)
             FROM pg_catalog.unnest($1::pg_catalog.int4[]) AS w(destination_id)
             CROSS JOIN LATERAL (
                 SELECT x.next_attempt_at FROM _cdp.retries AS x
                 WHERE x.destination_id OPERATOR(pg_catalog.=) w.destination_id AND x.next_attempt_at OPERATOR(pg_catalog.>) $2
                 ORDER BY x.next_attempt_at LIMIT 1) AS r",
            &[Param::Int4Array(destinations), Param::Timestamp(now)],
        )?
        .first(|row| Ok(row.optional_timestamp(0)))?
        .flatten();
    Ok(due.map(|at| {
        let wait = u64::try_from(at.saturating_sub(now)).unwrap_or(0);
        Instant::now() + Duration::from_micros(wait)
    }))
}
