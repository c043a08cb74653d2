//! How much a destination takes at once, and how fast.

use crate::config::Config;
use std::time::Duration;

/// What a destination takes and how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Most messages in a request.
    pub batch_size: usize,
    /// Most bytes in the body of a request.
    pub batch_bytes: usize,
    /// Most requests started in a second; None is no limit.
    pub requests_per_second: Option<f64>,
    /// How many requests may start at once before the rate holds.
    pub burst: f64,
    /// Most requests under way at once.
    pub concurrency: usize,
    /// For one request.
    pub timeout: Duration,
}

impl Limits {
    /// One message in a request, without a rate.
    pub const fn single() -> Limits {
        Limits::batch(1, 1_000_000)
    }

    /// So many messages and bytes in a request, without a rate.
    pub const fn batch(batch_size: usize, batch_bytes: usize) -> Limits {
        Limits {
            batch_size,
            batch_bytes,
            requests_per_second: None,
            burst: 1.0,
            concurrency: 8,
            timeout: Duration::from_secs(30),
        }
    }

    /// The same with a rate of requests.
    pub const fn rate(self, requests_per_second: f64, burst: f64) -> Limits {
        Limits {
            requests_per_second: Some(requests_per_second),
            burst,
            ..self
        }
    }

    /// The same with so many requests under way at once.
    pub const fn concurrency(self, concurrency: usize) -> Limits {
        Limits {
            concurrency,
            ..self
        }
    }

    /// What the configuration says about the common fields, never above what the destination
    /// takes in a request.
    pub fn configured(self, config: &Config) -> Limits {
        let size = |name: &str, most: usize| {
            config
                .integer(name)
                .and_then(|value| usize::try_from(value).ok())
                .map_or(most, |value| value.clamp(1, most))
        };
        Limits {
            batch_size: size("batch_size", self.batch_size),
            batch_bytes: size("batch_bytes", self.batch_bytes),
            requests_per_second: config
                .number("requests_per_second")
                .or(self.requests_per_second),
            concurrency: config
                .integer("concurrency")
                .and_then(|value| usize::try_from(value).ok())
                .map_or(self.concurrency, |value| value.max(1)),
            timeout: config
                .integer("timeout_ms")
                .and_then(|value| u64::try_from(value).ok())
                .map_or(self.timeout, Duration::from_millis),
            ..self
        }
    }
}
