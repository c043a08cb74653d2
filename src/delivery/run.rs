//! Delivering from a session, for servers without workers: `cdp.run_due()`.
//!
//! The caller's transaction is open while requests are on their way, which the workers never allow
//! themselves. Until it commits, the worker leaves alone the destinations that were dealt with; if it is
//! rolled back, what was sent is sent again. So it should be called in a transaction of its own.

use super::engine::Engine;
use crate::error::Result;
use crate::pg::session;
use crate::pg::spi::Spi;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(20);

/// Sends what is due. After `deadline` nothing more is taken, and what is on its way is waited for.
/// Returns how many messages were settled.
pub fn run_due(spi: &Spi, deadline: Option<Instant>) -> Result<usize> {
    let mut engine = Engine::new()?;
    let mut settled = 0;
    loop {
        session::check_for_interrupts();
        let in_time = deadline.is_none_or(|deadline| Instant::now() < deadline);
        let taken = if in_time {
            let claimed = engine.claim(spi, None)?;
            engine.send(claimed)
        } else {
            0
        };
        if taken == 0 && !engine.is_flying() && engine.unsettled() == 0 {
            return Ok(settled);
        }
        if engine.is_flying() {
            engine.poll(TICK);
        }
        if engine.unsettled() > 0 {
            settled += engine.unsettled();
            let done = engine.settle(spi)?;
            engine.settled(done);
        }
    }
}
