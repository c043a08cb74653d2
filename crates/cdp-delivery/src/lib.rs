//! Delivery of messages to outside systems.
//!
//! A destination is a value that implements [`Destination`]: pure functions from a batch of
//! messages to requests, and from an answer to outcomes. Everything else is the framework's:
//! [`Client`] sends requests past the SSRF guard, [`Driver`] runs batches side by side in the
//! order each person's messages need, [`retry`], [`rate`] and [`breaker`] say when, [`signing`]
//! and [`secrets`] keep it safe. Nothing here knows of Postgres' internals, and nothing starts
//! a thread.

pub mod batch;
pub mod breaker;
mod client;
pub mod config;
mod destination;
mod destinations;
mod digest;
mod driver;
mod evidence;
pub mod http;
mod lane;
mod limits;
pub mod mapping;
mod message;
mod outcome;
pub mod path;
pub mod rate;
pub mod resolver;
pub mod retry;
mod retry_after;
mod run;
pub mod secrets;
pub mod signing;
pub mod sql;
mod sql_transport;
pub mod ssrf;
pub mod template;

pub use client::{
    now_millis, Client, ClientError, ClientOptions, TransportError, TransportErrorKind,
};
pub use config::{ConfigError, Limits};
pub use destination::{
    take_secrets, takes_replays, test_outcome, CatalogueEntry, Category, Context, Destination,
    Duplicates,
};
pub use destinations::{catalogue, destination};
pub use driver::{Driver, Evidence, Job, JobResult, Readiness, Report};
pub use lane::LaneState;
pub use message::{looks_like_email, millis_text, scalar_text, time_value, Message, MessageKind};
pub use outcome::{Outcome, Plan, Remember, Reply, Request, RequestPlan, Response};
pub use retry_after::retry_after;
pub use secrets::Secrets;
