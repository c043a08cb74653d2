//! A circuit breaker: an endpoint that is down is asked rarely, and its messages wait without
//! using up their retry budget.

use std::time::Duration;

/// When a breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it.
    pub failures: u32,
    /// How long it stays open at first; doubled with every failed probe.
    pub open_for: Duration,
    /// Longest time it stays open.
    pub longest: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> BreakerPolicy {
        BreakerPolicy {
            failures: 10,
            open_for: Duration::from_secs(5),
            longest: Duration::from_secs(120),
        }
    }
}

/// What a breaker looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    /// Nothing is sent for this long.
    Open(Duration),
    /// One request is on its way to find out; nothing else is sent.
    HalfOpen,
}

/// A circuit breaker on a clock the caller gives (a duration since any fixed start).
#[derive(Debug, Clone)]
pub struct Breaker {
    policy: BreakerPolicy,
    failures: u32,
    opened: u32,
    open_until: Duration,
    probing: bool,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(policy: BreakerPolicy) -> Breaker {
        Breaker {
            policy,
            failures: 0,
            opened: 0,
            open_until: Duration::ZERO,
            probing: false,
        }
    }

    /// What it looks like now.
    pub fn state(&self, now: Duration) -> BreakerState {
        if self.opened == 0 {
            BreakerState::Closed
        } else if now < self.open_until {
            BreakerState::Open(self.open_until - now)
        } else {
            BreakerState::HalfOpen
        }
    }

    /// Whether a request may be sent; otherwise how long to wait. After the open time exactly
    /// one request is let through as a probe. Every request let through must be reported with
    /// [`Breaker::succeeded`], [`Breaker::failed`] or [`Breaker::abandoned`].
    pub fn admit(&mut self, now: Duration) -> Result<(), Duration> {
        match self.state(now) {
            BreakerState::Closed => Ok(()),
            BreakerState::Open(left) => Err(left),
            BreakerState::HalfOpen if self.probing => Err(self.policy.open_for),
            BreakerState::HalfOpen => {
                self.probing = true;
                Ok(())
            }
        }
    }

    /// The endpoint answered, whatever it said about the message.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.opened = 0;
        self.probing = false;
    }

    /// The endpoint did not answer, or answered that it is broken.
    pub fn failed(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        let probe = std::mem::take(&mut self.probing);
        // Requests that were under way when it opened say nothing new.
        let opens = match self.state(now) {
            BreakerState::Closed => self.failures >= self.policy.failures,
            BreakerState::HalfOpen => probe,
            BreakerState::Open(_) => false,
        };
        if opens {
            let factor = 2u32.saturating_pow(self.opened.min(20));
            self.opened = self.opened.saturating_add(1);
            self.open_until = now + (self.policy.open_for * factor).min(self.policy.longest);
        }
    }

    /// The request let through was never sent, or its end is unknown.
    pub fn abandoned(&mut self) {
        self.probing = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(BreakerPolicy::default());
        for _ in 0..10 {
            assert_eq!(breaker.admit(s(0)), Ok(()));
            breaker.failed(s(0));
        }
        breaker
    }

    #[test]
    fn opens_after_failures_in_a_row() {
        let mut breaker = Breaker::new(BreakerPolicy::default());
        for _ in 0..9 {
            breaker.failed(s(0));
        }
        breaker.succeeded();
        for _ in 0..9 {
            breaker.failed(s(0));
        }
        assert_eq!(breaker.state(s(0)), BreakerState::Closed);
        breaker.failed(s(0));
        assert_eq!(breaker.state(s(0)), BreakerState::Open(s(5)));
        assert_eq!(breaker.admit(s(2)), Err(s(3)));
    }

    #[test]
    fn one_probe_decides() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(s(5)), Ok(()));
        assert_eq!(breaker.admit(s(5)), Err(s(5)));
        breaker.succeeded();
        assert_eq!(breaker.state(s(5)), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_doubles_the_wait_up_to_the_longest() {
        let mut breaker = opened();
        let mut now = s(5);
        for wait in [10, 20, 40, 80, 120, 120] {
            assert_eq!(breaker.admit(now), Ok(()));
            breaker.failed(now);
            assert_eq!(breaker.state(now), BreakerState::Open(s(wait)));
            now += s(wait);
        }
    }

    #[test]
    fn an_abandoned_probe_lets_another_try() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(s(6)), Ok(()));
        breaker.abandoned();
        assert_eq!(breaker.admit(s(6)), Ok(()));
    }

    #[test]
    fn stragglers_do_not_lengthen_the_wait() {
        let mut breaker = opened();
        breaker.failed(s(1));
        assert_eq!(breaker.state(s(1)), BreakerState::Open(s(4)));
    }
}
