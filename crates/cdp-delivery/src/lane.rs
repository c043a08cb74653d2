//! What the driver knows about one destination: how fast, whether it is up, what it told us.

use crate::breaker::{Breaker, BreakerPolicy, BreakerState};
use crate::config::Limits;
use crate::driver::Readiness;
use crate::outcome::{Outcome, Remember};
use crate::rate::TokenBucket;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Entries of [`Lane`]'s memory; beyond that it is emptied, since it only saves requests.
const MEMORY_ENTRIES: usize = 10_000;

/// Pause after a 429 that does not say for how long.
const DEFAULT_PAUSE: Duration = Duration::from_secs(1);

/// How a destination does, for health and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneState {
    pub breaker: BreakerState,
    /// How long a pause that the destination asked for still lasts.
    pub paused_for: Option<Duration>,
    /// Why the credentials are refused.
    pub auth_blocked: Option<String>,
    /// Requests sent.
    pub requests: u64,
    /// Requests without an answer.
    pub transport_failures: u64,
    /// Answers other than success.
    pub error_answers: u64,
}

pub(crate) struct Lane {
    pub generation: i64,
    started: Instant,
    permits: Arc<Semaphore>,
    /// Messages worth holding at once.
    room: usize,
    inner: Mutex<Inner>,
}

struct Inner {
    bucket: TokenBucket,
    breaker: Breaker,
    memory: HashMap<String, (String, Instant)>,
    held: usize,
    auth_blocked: Option<String>,
    requests: u64,
    transport_failures: u64,
    error_answers: u64,
}

/// Leave to send one request; what came of it must be told to the lane.
pub(crate) struct Pass {
    _permit: OwnedSemaphorePermit,
}

/// What a request said about the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// It answered.
    Up,
    /// It answered with an error that is about the message.
    Refused,
    /// It answered that it is broken.
    Broken,
    /// It did not answer.
    Unreachable,
    /// Nothing was sent.
    Unknown,
}

impl Lane {
    pub fn new(generation: i64, limits: &Limits) -> Lane {
        let rate = limits.requests_per_second.unwrap_or(1e9);
        let burst = if limits.requests_per_second.is_some() {
            limits.burst
        } else {
            1e9
        };
        Lane {
            generation,
            started: Instant::now(),
            permits: Arc::new(Semaphore::new(limits.concurrency.max(1))),
            room: limits.batch_size.max(1) * limits.concurrency.max(1) * 2,
            inner: Mutex::new(Inner {
                bucket: TokenBucket::new(rate, burst, Duration::ZERO),
                breaker: Breaker::new(BreakerPolicy::default()),
                memory: HashMap::new(),
                held: 0,
                auth_blocked: None,
                requests: 0,
                transport_failures: 0,
                error_answers: 0,
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves counters, not broken invariants.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits for concurrency and rate. When that would last beyond the deadline, or the
    /// destination is known to be down or to refuse us, says what becomes of the messages.
    pub async fn enter(&self, deadline: Instant) -> Result<Pass, Outcome> {
        self.check(deadline)?;
        let acquire = Arc::clone(&self.permits).acquire_owned();
        let permit = match tokio::time::timeout_at(deadline, acquire).await {
            Ok(Ok(permit)) => permit,
            _ => return Err(not_started(None)),
        };
        loop {
            self.check(deadline)?;
            let wait = {
                let mut inner = self.inner();
                match inner.bucket.take(self.now()) {
                    Ok(()) => break,
                    Err(wait) => wait,
                }
            };
            if Instant::now() + wait > deadline {
                return Err(not_started(Some(wait)));
            }
            tokio::time::sleep(wait).await;
        }
        let mut inner = self.inner();
        inner
            .breaker
            .admit(self.now())
            .map_err(|wait| Outcome::wait("the destination is down", Some(wait)))?;
        Ok(Pass { _permit: permit })
    }

    fn check(&self, deadline: Instant) -> Result<(), Outcome> {
        let inner = self.inner();
        if let Some(reason) = &inner.auth_blocked {
            return Err(Outcome::auth_blocked(reason.clone()));
        }
        if let BreakerState::Open(left) = inner.breaker.state(self.now()) {
            return Err(Outcome::wait("the destination is down", Some(left)));
        }
        if Instant::now() >= deadline {
            return Err(not_started(inner.bucket.paused_for(self.now())));
        }
        Ok(())
    }

    /// Records what a request said about the endpoint.
    pub fn leave(&self, _pass: Pass, health: Health) {
        let now = self.now();
        let mut inner = self.inner();
        inner.requests += u64::from(health != Health::Unknown);
        match health {
            Health::Up => inner.breaker.succeeded(),
            Health::Refused => {
                inner.error_answers += 1;
                inner.breaker.succeeded();
            }
            Health::Broken => {
                inner.error_answers += 1;
                inner.breaker.failed(now);
            }
            Health::Unreachable => {
                inner.transport_failures += 1;
                inner.breaker.failed(now);
            }
            Health::Unknown => inner.breaker.abandoned(),
        }
    }

    /// Sends nothing for as long as the destination asked.
    pub fn pause(&self, wait: Option<Duration>) {
        let until = self.now() + wait.unwrap_or(DEFAULT_PAUSE);
        self.inner().bucket.pause_until(until);
    }

    /// Sends nothing until the destination is resumed.
    pub fn block(&self, reason: &str) {
        self.inner().auth_blocked = Some(reason.to_string());
    }

    pub fn remember(&self, entries: Vec<Remember>) {
        let now = Instant::now();
        let mut inner = self.inner();
        for entry in entries {
            match entry.value {
                Some(value) => {
                    if inner.memory.len() >= MEMORY_ENTRIES {
                        inner.memory.clear();
                    }
                    inner
                        .memory
                        .insert(entry.key, (value, now + entry.for_time));
                }
                None => {
                    inner.memory.remove(&entry.key);
                }
            }
        }
    }

    pub fn memory(&self) -> HashMap<String, String> {
        let now = Instant::now();
        let mut inner = self.inner();
        inner.memory.retain(|_, (_, until)| *until > now);
        inner
            .memory
            .iter()
            .map(|(key, (value, _))| (key.clone(), value.clone()))
            .collect()
    }

    /// Counts messages taken (positive) or reported (negative).
    pub fn held(&self, change: isize) {
        let mut inner = self.inner();
        inner.held = inner.held.saturating_add_signed(change);
    }

    pub fn readiness(&self) -> Readiness {
        let now = self.now();
        let inner = self.inner();
        let blocked_for = match inner.breaker.state(now) {
            BreakerState::Open(left) => Some(left),
            BreakerState::Closed | BreakerState::HalfOpen => inner.bucket.paused_for(now),
        };
        let blocked = blocked_for.is_some() || inner.auth_blocked.is_some();
        let room = match inner.breaker.state(now) {
            // One probe decides; more would only come back.
            BreakerState::HalfOpen => usize::from(inner.held == 0),
            _ => self.room.saturating_sub(inner.held),
        };
        Readiness {
            messages: if blocked { 0 } else { room },
            blocked_for,
        }
    }

    pub fn state(&self) -> LaneState {
        let now = self.now();
        let inner = self.inner();
        LaneState {
            breaker: inner.breaker.state(now),
            paused_for: inner.bucket.paused_for(now),
            auth_blocked: inner.auth_blocked.clone(),
            requests: inner.requests,
            transport_failures: inner.transport_failures,
            error_answers: inner.error_answers,
        }
    }
}

fn not_started(after: Option<Duration>) -> Outcome {
    Outcome::wait("no request was started in time", after)
}
