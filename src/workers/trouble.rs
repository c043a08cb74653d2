//! What a worker says when something goes wrong again and again: each thing once, and when it is over.

use crate::error::Error;
use crate::pg::shared::Seat;
use std::time::{Duration, Instant};

const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// Failures of one task of a worker.
pub struct Trouble {
    task: &'static str,
    said: Option<String>,
    delay: Duration,
    wait_until: Option<Instant>,
}

impl Trouble {
    pub fn new(task: &'static str) -> Trouble {
        Trouble { task, said: None, delay: FIRST_DELAY, wait_until: None }
    }

    /// Whether the task should be left alone for now.
    pub fn is_waiting(&self) -> bool {
        self.wait_until.is_some_and(|until| Instant::now() < until)
    }

    /// The task failed: it waits, longer each time.
    pub fn failed(&mut self, error: &Error, seat: &Seat) {
        seat.failed();
        self.wait_until = Some(Instant::now() + self.delay);
        self.delay = (self.delay * 2).min(LONGEST_DELAY);
        if self.said.as_ref() != Some(&error.message) {
            let detail = error.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
            pgrx::warning!("cdp: {} failed: {}{detail} [{}]", self.task, error.message, error.code());
            self.said = Some(error.message.clone());
        }
    }

    /// The task went well.
    pub fn is_over(&mut self) {
        self.wait_until = None;
        self.delay = FIRST_DELAY;
        if self.said.take().is_some() {
            pgrx::log!("cdp: {} works again", self.task);
        }
    }
}
