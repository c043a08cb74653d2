//! When a failed message is tried again.

use crate::config::Config;
use std::time::Duration;

/// Exponential backoff with full jitter, inside a window of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Ceiling of the first delay.
    pub initial: Duration,
    /// Ceiling of every delay.
    pub max_delay: Duration,
    /// How much the ceiling grows with each failure.
    pub factor: f64,
    /// How long after its first counted failure a message is still tried.
    pub window: Duration,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            initial: Duration::from_secs(2),
            max_delay: Duration::from_secs(3600),
            factor: 2.0,
            window: Duration::from_secs(3 * 24 * 3600),
        }
    }
}

/// What to do with a message that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again after this delay.
    After(Duration),
    /// The window is over: to the dead letters.
    Exhausted,
}

/// A failed attempt, as [`Policy::next`] looks at it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Failure {
    /// Failures so far that count, this one included if it does.
    pub failures: u32,
    /// Time since the first failure that counts; None when none has.
    pub failing_for: Option<Duration>,
    /// What the destination asked for.
    pub after: Option<Duration>,
    /// Whether this failure uses up the budget.
    pub counts: bool,
}

impl Policy {
    /// What a configuration says about retrying.
    pub fn configured(config: &Config) -> Policy {
        let default = Policy::default();
        let time = |name: &str, unit: f64, default: Duration| {
            config
                .number(name)
                .and_then(|value| Duration::try_from_secs_f64(value * unit).ok())
                .unwrap_or(default)
        };
        Policy {
            initial: time("retry_first_seconds", 1.0, default.initial),
            max_delay: time("retry_longest_seconds", 1.0, default.max_delay),
            window: time("retry_hours", 3600.0, default.window),
            ..default
        }
    }

    /// When to try again; `random` is uniform in 0 … 1.
    ///
    /// Full jitter: uniform between nothing and `min(max_delay, initial × factor^(failures-1))`.
    /// When the destination named a time the delay is that and up to a tenth more (at most five
    /// seconds), so that waiting messages do not come back in one instant. The last try is at the
    /// end of the window, not before. A failure that does not count never exhausts.
    pub fn next(&self, failure: &Failure, random: f64) -> Next {
        let random = random.clamp(0.0, 1.0);
        let delay = match failure.after {
            Some(after) => {
                let spread = after.div_f64(10.0).min(Duration::from_secs(5));
                after + spread.mul_f64(random)
            }
            None => self.ceiling(failure.failures).mul_f64(random),
        };
        if !failure.counts {
            return Next::After(delay);
        }
        let left = self
            .window
            .saturating_sub(failure.failing_for.unwrap_or_default());
        if left.is_zero() {
            Next::Exhausted
        } else {
            Next::After(delay.min(left))
        }
    }

    /// Upper bound of the delay after so many failures.
    pub fn ceiling(&self, failures: u32) -> Duration {
        let power = self
            .factor
            .max(1.0)
            .powi(failures.clamp(1, 1000) as i32 - 1);
        let seconds = self.initial.as_secs_f64() * power;
        if seconds < self.max_delay.as_secs_f64() {
            Duration::from_secs_f64(seconds)
        } else {
            self.max_delay
        }
    }
}

/// A uniform number in 0 … 1 from the operating system. The middle if it has none.
pub fn random() -> f64 {
    match getrandom::u64() {
        Ok(bits) => (bits >> 11) as f64 / (1u64 << 53) as f64,
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_sets_the_window_and_the_waits() {
        let config = serde_json::json!({"retry_hours": 0.5, "retryFirstSeconds": 1, "retry_longest_seconds": 60});
        let policy = Policy::configured(&Config::new(&config, &[]));
        assert_eq!(policy.window, Duration::from_secs(1800));
        assert_eq!(policy.initial, Duration::from_secs(1));
        assert_eq!(policy.max_delay, Duration::from_secs(60));
        let silent = serde_json::json!({});
        assert_eq!(
            Policy::configured(&Config::new(&silent, &[])),
            Policy::default()
        );
    }

    fn failure(failures: u32, failing_for: u64) -> Failure {
        Failure {
            failures,
            failing_for: Some(Duration::from_secs(failing_for)),
            after: None,
            counts: true,
        }
    }

    #[test]
    fn ceilings_double_up_to_the_maximum() {
        let policy = Policy::default();
        let ceilings: Vec<u64> = (1..=13).map(|n| policy.ceiling(n).as_secs()).collect();
        assert_eq!(
            ceilings,
            [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600]
        );
        assert_eq!(policy.ceiling(u32::MAX), policy.max_delay);
    }

    #[test]
    fn jitter_is_full() {
        let policy = Policy::default();
        assert_eq!(
            policy.next(&failure(3, 0), 0.0),
            Next::After(Duration::ZERO)
        );
        assert_eq!(
            policy.next(&failure(3, 0), 0.5),
            Next::After(Duration::from_secs(4))
        );
    }

    #[test]
    fn the_window_ends() {
        let policy = Policy::default();
        let window = policy.window.as_secs();
        assert_eq!(
            policy.next(&failure(50, window - 1), 1.0),
            Next::After(Duration::from_secs(1))
        );
        assert_eq!(policy.next(&failure(50, window), 1.0), Next::Exhausted);
    }

    #[test]
    fn being_asked_to_slow_down_never_exhausts() {
        let policy = Policy::default();
        let asked = Failure {
            after: Some(Duration::from_secs(10)),
            counts: false,
            ..failure(0, policy.window.as_secs() * 9)
        };
        assert_eq!(
            policy.next(&asked, 1.0),
            Next::After(Duration::from_secs(11))
        );
        assert_eq!(
            policy.next(&asked, 0.0),
            Next::After(Duration::from_secs(10))
        );
    }

    #[test]
    fn random_is_in_range() {
        for _ in 0..1000 {
            assert!((0.0..1.0).contains(&random()));
        }
    }
}
