//! Requests per second: a token bucket on a clock the caller gives.

use std::time::Duration;

/// A token bucket. Time is a duration since any fixed start, and must not go backwards (if it
/// does, it is taken to stand still).
#[derive(Debug, Clone)]
pub struct TokenBucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Duration,
    paused_until: Duration,
}

impl TokenBucket {
    /// A full bucket of `burst` tokens (at least one) that gains `per_second`. In any span of
    /// `t` seconds at most `burst + per_second × t` tokens are given.
    pub fn new(per_second: f64, burst: f64, now: Duration) -> TokenBucket {
        let burst = burst.max(1.0);
        TokenBucket {
            per_second: per_second.max(1e-6),
            burst,
            tokens: burst,
            at: now,
            paused_until: Duration::ZERO,
        }
    }

    /// Takes a token, or says how long until one can be had.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let now = now.max(self.at);
        if now < self.paused_until {
            return Err(self.paused_until - now);
        }
        let gained = (now - self.at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.at = now;
        // A hair below one is one: waiting exactly as long as told must be enough.
        if self.tokens >= 1.0 - 1e-6 {
            self.tokens -= 1.0;
            Ok(())
        } else {
            let wait = (1.0 - self.tokens) / self.per_second;
            Err(Duration::from_secs_f64(wait.min(86_400.0)))
        }
    }

    /// Gives nothing until then, because the destination asked to slow down.
    pub fn pause_until(&mut self, until: Duration) {
        self.paused_until = self.paused_until.max(until);
    }

    /// How long the pause still lasts.
    pub fn paused_for(&self, now: Duration) -> Option<Duration> {
        self.paused_until
            .checked_sub(now)
            .filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(value: f64) -> Duration {
        Duration::from_secs_f64(value)
    }

    #[test]
    fn spaces_requests() {
        let mut bucket = TokenBucket::new(2.0, 1.0, Duration::ZERO);
        assert_eq!(bucket.take(seconds(0.0)), Ok(()));
        assert_eq!(bucket.take(seconds(0.0)), Err(seconds(0.5)));
        assert_eq!(bucket.take(seconds(0.5)), Ok(()));
        assert!(bucket.take(seconds(0.9)).is_err());
    }

    #[test]
    fn pauses() {
        let mut bucket = TokenBucket::new(100.0, 10.0, Duration::ZERO);
        bucket.pause_until(seconds(3.0));
        bucket.pause_until(seconds(2.0));
        assert_eq!(bucket.paused_for(seconds(1.0)), Some(seconds(2.0)));
        assert_eq!(bucket.take(seconds(1.0)), Err(seconds(2.0)));
        assert_eq!(bucket.take(seconds(3.0)), Ok(()));
        assert_eq!(bucket.paused_for(seconds(3.0)), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

        /// Never more than the burst and the rate allow, and waiting as told is enough.
        #[test]
        fn never_exceeds_the_rate(rate in 0.1f64..100.0, burst in 1.0f64..20.0, steps in prop::collection::vec(0u64..2000, 1..200)) {
            let mut bucket = TokenBucket::new(rate, burst, Duration::ZERO);
            let mut now = Duration::ZERO;
            let mut given = 0u32;
            for step in steps {
                now += Duration::from_millis(step);
                match bucket.take(now) {
                    Ok(()) => given += 1,
                    Err(wait) => {
                        now += wait + Duration::from_nanos(1);
                        prop_assert_eq!(bucket.take(now), Ok(()));
                        given += 1;
                    }
                }
                prop_assert!(f64::from(given) <= burst + rate * now.as_secs_f64() + 1e-3);
            }
        }
    }
}
