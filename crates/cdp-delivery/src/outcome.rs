//! What became of a message, and the requests that carry messages.

use crate::http::{HttpRequest, HttpResponse};
use crate::sql::{SqlRequest, SqlResponse};
use serde_json::Value;
use std::time::Duration;

/// What became of one message.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The destination has it.
    Delivered,
    /// Nothing was to be sent, by the destination's nature or by its configuration. Not a
    /// failure: the delivery is settled and counted as discarded.
    Discarded { reason: String },
    /// To be tried again, not before `after` when it is given.
    Retry {
        reason: String,
        after: Option<Duration>,
        /// False when the attempt does not use up the retry budget: the destination asked us to
        /// slow down, or nothing was sent at all.
        counts: bool,
    },
    /// Will never succeed as it is: goes to the dead letters.
    Reject { reason: String },
    /// The credentials are refused: the destination is to be paused, the message kept.
    AuthBlocked { reason: String },
    /// The request was too large: its messages are sent again in halves. The driver resolves
    /// this, so a worker never sees it.
    SplitBatch,
}

impl Outcome {
    /// A failed attempt that uses up the retry budget.
    pub fn retry(reason: impl Into<String>) -> Outcome {
        Outcome::Retry {
            reason: reason.into(),
            after: None,
            counts: true,
        }
    }

    /// To be tried again without using up the retry budget.
    pub fn wait(reason: impl Into<String>, after: Option<Duration>) -> Outcome {
        Outcome::Retry {
            reason: reason.into(),
            after,
            counts: false,
        }
    }

    /// A permanent failure.
    pub fn reject(reason: impl Into<String>) -> Outcome {
        Outcome::Reject {
            reason: reason.into(),
        }
    }

    /// Nothing was to be sent.
    pub fn discard(reason: impl Into<String>) -> Outcome {
        Outcome::Discarded {
            reason: reason.into(),
        }
    }

    /// The credentials are refused.
    pub fn auth_blocked(reason: impl Into<String>) -> Outcome {
        Outcome::AuthBlocked {
            reason: reason.into(),
        }
    }

    /// The name used in the database and in tests.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Discarded { .. } => "discarded",
            Outcome::Retry { .. } => "retry",
            Outcome::Reject { .. } => "reject",
            Outcome::AuthBlocked { .. } => "auth_blocked",
            Outcome::SplitBatch => "split_batch",
        }
    }

    /// Why, when there is a reason.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Outcome::Delivered | Outcome::SplitBatch => None,
            Outcome::Discarded { reason }
            | Outcome::Retry { reason, .. }
            | Outcome::Reject { reason }
            | Outcome::AuthBlocked { reason } => Some(reason),
        }
    }

    /// The same outcome with its reason rewritten.
    pub fn map_reason(self, change: impl Fn(&str) -> String) -> Outcome {
        match self {
            Outcome::Delivered | Outcome::SplitBatch => self,
            Outcome::Discarded { reason } => Outcome::Discarded {
                reason: change(&reason),
            },
            Outcome::Retry {
                reason,
                after,
                counts,
            } => Outcome::Retry {
                reason: change(&reason),
                after,
                counts,
            },
            Outcome::Reject { reason } => Outcome::Reject {
                reason: change(&reason),
            },
            Outcome::AuthBlocked { reason } => Outcome::AuthBlocked {
                reason: change(&reason),
            },
        }
    }

    /// True when the message stays in the outbox, so that later messages of the same person
    /// have to wait for it.
    pub fn stays(&self) -> bool {
        matches!(self, Outcome::Retry { .. } | Outcome::AuthBlocked { .. })
    }
}

/// A request over any transport.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    Http(HttpRequest),
    Sql(SqlRequest),
}

/// The answer to a [`Request`], over the same transport.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    Http(HttpResponse),
    Sql(SqlResponse),
}

impl Response {
    /// The HTTP answer; None for another transport.
    pub fn http(&self) -> Option<&HttpResponse> {
        match self {
            Response::Http(response) => Some(response),
            Response::Sql(_) => None,
        }
    }
}

/// One request and the messages it carries.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestPlan {
    pub request: Request,
    /// Indices into the batch the plan was made from.
    pub messages: Vec<usize>,
    /// Whatever the destination needs to read the answer (which step of several this is, which
    /// item of the body is which message); null when nothing.
    pub step: Value,
}

impl RequestPlan {
    /// A plan over HTTP without a step.
    pub fn http(request: HttpRequest, messages: Vec<usize>) -> RequestPlan {
        RequestPlan {
            request: Request::Http(request),
            messages,
            step: Value::Null,
        }
    }

    /// The same with a step.
    pub fn with_step(mut self, step: Value) -> RequestPlan {
        self.step = step;
        self
    }
}

/// What is to be done with a batch: every message is in exactly one request or settled.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// In order: of two requests with messages of the same person the first is answered before
    /// the second starts. The others run side by side.
    pub requests: Vec<RequestPlan>,
    /// What needs no request.
    pub settled: Vec<(usize, Outcome)>,
}

/// What an answer means: every message of the request is settled or in one of `next`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reply {
    pub settled: Vec<(usize, Outcome)>,
    /// Further requests for messages of this one (search, then create; the rest of a batch
    /// without its bad items).
    pub next: Vec<RequestPlan>,
    /// What to keep for later requests to this destination, such as an access token.
    pub remember: Vec<Remember>,
}

impl Reply {
    /// The same outcome for every message of the request.
    pub fn all(plan: &RequestPlan, outcome: Outcome) -> Reply {
        Reply {
            settled: plan
                .messages
                .iter()
                .map(|index| (*index, outcome.clone()))
                .collect(),
            ..Reply::default()
        }
    }

    /// A further request and nothing settled yet.
    pub fn next(plan: RequestPlan) -> Reply {
        Reply {
            next: vec![plan],
            ..Reply::default()
        }
    }
}

/// A value to keep between requests to one destination. It is kept in the worker's memory only.
#[derive(Debug, Clone, PartialEq)]
pub struct Remember {
    pub key: String,
    /// None forgets the key.
    pub value: Option<String>,
    /// How long it is good for.
    pub for_time: Duration,
}
