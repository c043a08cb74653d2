//! The timer and maintenance worker of one database: what time changes, what waits to be folded in, what
//! is to be made ahead or cleaned up.

use super::maintenance;
use super::trouble::Trouble;
use crate::decisions::exposure;
use crate::error::Result;
use crate::guc;
use crate::jobs;
use crate::namespaces::usage;
use crate::pg::shared::{Ending, Seat};
use crate::pg::spi::Spi;
use crate::pg::worker::{self, Attempt};
use crate::traits::{backfill, pending, timers};
use std::ffi::CStr;
use std::time::{Duration, Instant};

/// Work of one transaction: at most `limit` items; tells whether there is more.
type Step = fn(&Spi, i64) -> Result<bool>;

/// Something to be done again and again.
struct Task {
    name: &'static str,
    activity: &'static CStr,
    every: fn() -> Duration,
    /// Items of one transaction.
    limit: i64,
    step: Step,
}

const fn task(name: &'static str, activity: &'static CStr, every: fn() -> Duration, limit: i64, step: Step) -> Task {
    Task { name, activity, every, limit, step }
}

const TASKS: &[Task] = &[
    task("folding in what waits", c"cdp: fold in what waits", guc::timer_interval, 1_000, fold_pending),
    task("what time changes", c"cdp: change what time changes", guc::timer_interval, 1_000, run_due),
    task("computing definitions anew", c"cdp: compute definitions anew", guc::timer_interval, 1_000, sweep),
    task("recording exposures", c"cdp: record exposures", guc::timer_interval, 1_000, exposure::record_left),
    task("running jobs", c"cdp: run a job", seconds::<1>, 1_000, jobs::step),
    task("forgetting jobs", c"cdp: forget old jobs", minutes::<10>, 1_000, jobs::forget_old_runs),
    task("storing decisions", c"cdp: store counted decisions", minutes::<1>, 1, usage::store_decisions),
    task("counting usage", c"cdp: count usage", minutes::<10>, 1, usage::close_day),
    task("making partitions", c"cdp: make partitions", minutes::<10>, 1, maintenance::make_partitions),
    task("removing old messages", c"cdp: remove old messages", minutes::<10>, 1, maintenance::drop_outbox_partitions),
    task("forgetting message ids", c"cdp: forget message ids", minutes::<1>, 5_000, maintenance::forget_message_ids),
    task("removing dead letters", c"cdp: remove dead letters", minutes::<10>, 1_000, maintenance::remove_dead_letters),
    task(
        "clearing the quarantine",
        c"cdp: clear the quarantine",
        minutes::<10>,
        1_000,
        maintenance::remove_quarantined,
    ),
    task("removing routes", c"cdp: remove routes", minutes::<60>, 1, maintenance::remove_dropped_routes),
    task("releasing messages", c"cdp: release messages", minutes::<1>, 1_000, maintenance::release_orphans),
    task("forgetting dropped roles", c"cdp: forget dropped roles", minutes::<10>, 1, maintenance::forget_dropped_roles),
];

fn seconds<const N: u64>() -> Duration {
    Duration::from_secs(N)
}

fn minutes<const N: u64>() -> Duration {
    Duration::from_secs(60 * N)
}

fn fold_pending(spi: &Spi, limit: i64) -> Result<bool> {
    Ok(pending::fold_pending(spi, limit as usize)? > 0)
}

fn run_due(spi: &Spi, limit: i64) -> Result<bool> {
    Ok(timers::run_due(spi, limit as usize)? > 0)
}

fn sweep(spi: &Spi, _limit: i64) -> Result<bool> {
    Ok(backfill::sweep(spi)? > 0)
}

struct Due {
    at: Instant,
    trouble: Trouble,
}

/// Runs until the worker is not wanted in the database any more.
pub fn run(seat: &Seat) -> Result<Ending> {
    let mut due: Vec<Due> =
        TASKS.iter().map(|task| Due { at: Instant::now(), trouble: Trouble::new(task.name) }).collect();
    let mut asked_at = Instant::now();
    loop {
        worker::reload();
        if asked_at.elapsed() >= Duration::from_secs(1) {
            asked_at = Instant::now();
            if !worker::may_stay() {
                return Ok(Ending::SteppedAside);
            }
        }
        let mut rest = guc::timer_interval();
        for (task, due) in TASKS.iter().zip(&mut due) {
            let now = Instant::now();
            if now < due.at || due.trouble.is_waiting() {
                rest = rest.min(due.at.saturating_duration_since(now).max(Duration::from_millis(10)));
                continue;
            }
            match worker::transaction(task.activity, |spi| (task.step)(spi, task.limit)) {
                Ok(Attempt::Done(more)) => {
                    due.at = if more { now } else { now + (task.every)() };
                    rest = if more { Duration::ZERO } else { rest };
                    due.trouble.is_over();
                    seat.beat();
                }
                Ok(Attempt::Busy) => due.at = now + Duration::from_millis(500),
                Ok(Attempt::NoExtension) => return Ok(Ending::NoExtension),
                Err(error) => due.trouble.failed(&error, seat),
            }
        }
        worker::wait(rest);
    }
}
