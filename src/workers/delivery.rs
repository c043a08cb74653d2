//! The delivery worker of one database.

use super::trouble::Trouble;
use crate::delivery::engine::Engine;
use crate::delivery::leases;
use crate::error::Result;
use crate::guc;
use crate::pg::shared::{Ending, Seat};
use crate::pg::worker::{self, Attempt};
use std::time::{Duration, Instant};

/// While requests are on their way the worker looks up so often: for new work, and for Postgres.
const TICK: Duration = Duration::from_millis(20);

/// Outcomes are gathered for so long, or until there are so many, before they are written down.
const GATHER: Duration = Duration::from_millis(20);
const GATHERED: usize = 1_000;

/// How often the worker asks whether it may stay in its database.
const COURTESY: Duration = Duration::from_secs(1);

/// How long it waits for somebody who may be dropping the extension.
const BUSY: Duration = Duration::from_millis(500);

struct Worker<'a> {
    seat: &'a Seat,
    engine: Engine,
    claiming: Trouble,
    settling: Trouble,
    /// When to look for work that nobody woke the worker for.
    look_at: Instant,
    first_ended: Option<Instant>,
    renew_at: Instant,
    asked_at: Instant,
}

/// Runs until the worker is not wanted in the database any more.
pub fn run(seat: &Seat) -> Result<Ending> {
    if !worker::may_stay() {
        return Ok(Ending::SteppedAside);
    }
    let engine = Engine::new()?;
    // Nobody else has leases: this process has the only seat for them.
    loop {
        match worker::transaction(c"cdp: take over", leases::take_over)? {
            Attempt::NoExtension => return Ok(Ending::NoExtension),
            Attempt::Busy => {
                worker::wait(BUSY);
            }
            Attempt::Done(()) => break,
        }
    }
    seat.beat();
    let now = Instant::now();
    let mut worker = Worker {
        seat,
        engine,
        claiming: Trouble::new("taking messages for delivery"),
        settling: Trouble::new("writing down deliveries"),
        look_at: now,
        first_ended: None,
        renew_at: now + guc::delivery_lease() / 3,
        asked_at: now,
    };
    loop {
        if let Some(ending) = worker.cycle()? {
            return Ok(ending);
        }
    }
}

impl Worker<'_> {
    fn cycle(&mut self) -> Result<Option<Ending>> {
        if worker::reload() {
            if let Err(error) = self.engine.reload() {
                let detail = error.detail.unwrap_or_default();
                pgrx::warning!("cdp: the old settings for requests stay in force: {} ({detail})", error.message);
            }
            self.look_at = Instant::now();
        }
        if self.asked_at.elapsed() >= COURTESY {
            self.asked_at = Instant::now();
            if !worker::may_stay() {
                return Ok(Some(Ending::SteppedAside));
            }
        }
        if let Some(ending) = self.settle() {
            return Ok(Some(ending));
        }
        if let Some(ending) = self.claim() {
            return Ok(Some(ending));
        }
        if let Some(ending) = self.renew() {
            return Ok(Some(ending));
        }
        if self.engine.is_flying() {
            self.engine.poll(TICK);
            if self.engine.unsettled() > 0 && self.first_ended.is_none() {
                self.first_ended = Some(Instant::now());
            }
            worker::wait(Duration::ZERO);
        } else if self.engine.unsettled() == 0 || self.settling.is_waiting() {
            worker::wait(self.rest());
        }
        Ok(None)
    }

    /// How long there is nothing to do, as far as is known.
    fn rest(&self) -> Duration {
        let look = self.look_at.saturating_duration_since(Instant::now());
        let due = self.engine.next_due().unwrap_or(look);
        look.min(due).max(Duration::from_millis(1))
    }

    fn settle(&mut self) -> Option<Ending> {
        let count = self.engine.unsettled();
        let gathered = count >= GATHERED
            || !self.engine.is_flying()
            || self.first_ended.is_some_and(|first| first.elapsed() >= GATHER);
        if count == 0 || !gathered || self.settling.is_waiting() {
            return None;
        }
        match worker::transaction(c"cdp: write down deliveries", |spi| self.engine.settle(spi)) {
            Ok(Attempt::Done(settled)) => {
                self.engine.settled(settled);
                self.first_ended = None;
                self.settling.is_over();
            }
            Ok(Attempt::Busy) => {
                worker::wait(BUSY);
            }
            Ok(Attempt::NoExtension) => return Some(Ending::NoExtension),
            Err(error) => self.settling.failed(&error, self.seat),
        }
        None
    }

    fn claim(&mut self) -> Option<Ending> {
        let now = Instant::now();
        let woken = self.seat.take_wake();
        let due = now >= self.look_at || self.engine.next_due().is_some_and(|due| due.is_zero());
        if !(woken || due || self.engine.wants_more()) || self.settling.is_waiting() {
            return None;
        }
        if self.claiming.is_waiting() {
            self.look_at = self.look_at.max(now + BUSY);
            return None;
        }
        let lease = guc::delivery_lease();
        let engine = &mut self.engine;
        let claimed = worker::transaction(c"cdp: take messages", |spi| {
            // Losing a lease in a crash loses nothing else: whoever comes next starts without leases.
            spi.query("SELECT pg_catalog.set_config('synchronous_commit', 'off', true)", &[])?;
            engine.claim(spi, Some(lease))
        });
        self.look_at = now + guc::delivery_interval();
        match claimed {
            Ok(Attempt::Done(claimed)) => {
                self.engine.send(claimed);
                self.claiming.is_over();
                self.seat.beat();
                if woken {
                    // What committed while the queue was not looked at from its beginning.
                    self.look_at = self.look_at.min(now + self.engine.next_full_look());
                }
            }
            Ok(Attempt::Busy) => self.look_at = now + BUSY,
            Ok(Attempt::NoExtension) => return Some(Ending::NoExtension),
            Err(error) => self.claiming.failed(&error, self.seat),
        }
        None
    }

    /// Requests may take longer than their lease: it is extended in time.
    fn renew(&mut self) -> Option<Ending> {
        let leases = self.engine.leases();
        let now = Instant::now();
        if leases.is_empty() {
            self.renew_at = now + guc::delivery_lease() / 3;
        }
        if now < self.renew_at {
            return None;
        }
        self.renew_at = now + guc::delivery_lease() / 3;
        let lease = guc::delivery_lease();
        match worker::transaction(c"cdp: extend leases", |spi| leases::renew(spi, &leases, lease)) {
            Ok(Attempt::NoExtension) => Some(Ending::NoExtension),
            Ok(_) => None,
            Err(error) => {
                self.settling.failed(&error, self.seat);
                None
            }
        }
    }
}
