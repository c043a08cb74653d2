//! What a destination is.

use crate::config::{
    camel_case, schema, validate_fields, Config, ConfigError, Field, Limits, SecretField,
};
use crate::http::{classify, HttpResponse};
use crate::message::{Message, MessageKind};
use crate::outcome::{Outcome, Plan, Reply, Request, RequestPlan, Response};
use crate::secrets::Secrets;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// What kind of system a destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    Generic,
    Analytics,
    CustomerDataPlatform,
    Crm,
    Marketing,
    Communication,
    Database,
}

impl Category {
    /// The name shown in the catalogue.
    pub fn as_str(self) -> &'static str {
        match self {
            Category::Generic => "generic",
            Category::Analytics => "analytics",
            Category::CustomerDataPlatform => "customer data platform",
            Category::Crm => "crm",
            Category::Marketing => "marketing",
            Category::Communication => "communication",
            Category::Database => "database",
        }
    }
}

/// What a second copy of a message does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Duplicates {
    /// The receiver drops it by its idempotency key.
    Dropped,
    /// It writes the same values again.
    Overwrite,
    /// It shows: two posts, two counts.
    Visible,
}

/// A destination as the catalogue shows it.
#[derive(Debug, Clone, Copy)]
pub struct CatalogueEntry {
    /// The name used in `cdp.define_destination`.
    pub kind: &'static str,
    pub name: &'static str,
    pub description: &'static str,
    pub category: Category,
    pub fields: &'static [Field],
    pub secrets: &'static [SecretField],
    /// Kinds of messages that are sent; the others are discarded.
    pub sends: &'static [MessageKind],
    pub duplicates: Duplicates,
    /// Whether replays are taken unless the configuration says otherwise.
    pub replays: bool,
}

impl CatalogueEntry {
    /// JSON Schema of the configuration.
    pub fn schema(&self) -> Value {
        schema(self.fields, self.secrets)
    }

    /// Reads a configuration by this entry's fields.
    pub fn config<'a>(&self, value: &'a Value) -> Config<'a> {
        Config::new(value, self.fields)
    }
}

/// What a destination knows when it makes requests.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub config: Config<'a>,
    pub secrets: &'a Secrets,
    /// Milliseconds since 1970.
    pub now: i64,
    /// What earlier requests to the same destination left, such as an access token.
    pub memory: &'a HashMap<String, String>,
}

impl Context<'_> {
    /// A secret, or the setting of the same name; empty when there is neither.
    pub fn secret(&self, name: &str) -> String {
        self.optional_secret(name).unwrap_or_default()
    }

    /// A secret, or the setting of the same name.
    pub fn optional_secret(&self, name: &str) -> Option<String> {
        self.secrets
            .get(name)
            .map(str::to_string)
            .or_else(|| self.config.text(name))
    }
}

/// An outside system that messages are sent to.
///
/// `requests` and `outcomes` are pure: the same input gives the same output, byte for byte, and
/// nothing is read or sent. That is what makes a destination testable by golden files and lets
/// the framework retry, split, delay and hold back on its own.
pub trait Destination: Send + Sync {
    /// How the catalogue shows it.
    fn catalogue(&self) -> &'static CatalogueEntry;

    /// Adds what the table of fields cannot say.
    fn check(&self, _config: &Config, _errors: &mut Vec<ConfigError>) {}

    /// What it takes and how fast, by its own documentation.
    fn own_limits(&self, config: &Config) -> Limits;

    /// Makes requests for a batch. Every message of the batch is in exactly one request or
    /// settled. See [`crate::batch`] for the usual ways to put messages together.
    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan;

    /// Reads an answer over HTTP. Every message of the request is settled or in a further
    /// request.
    fn http_outcomes(
        &self,
        _context: &Context,
        _batch: &[&Message],
        plan: &RequestPlan,
        response: &HttpResponse,
    ) -> Reply {
        Reply::all(plan, classify(response))
    }

    /// Reads an answer over any transport.
    fn outcomes(
        &self,
        context: &Context,
        batch: &[&Message],
        plan: &RequestPlan,
        response: &Response,
    ) -> Reply {
        match response {
            Response::Http(response) => self.http_outcomes(context, batch, plan, response),
            Response::Sql(_) => Reply::all(plan, Outcome::reject(OTHER_PROTOCOL)),
        }
    }

    /// The cheapest request that shows whether the configuration works; None when there is no
    /// way to find out without leaving a trace.
    fn test_request(&self, _context: &Context) -> Option<Request> {
        None
    }

    /// The request that tells what the answer to the test request leaves open; None when it says enough.
    fn further_test(&self, _context: &Context, _answer: &Response) -> Option<Request> {
        None
    }

    /// What the answer to the test request says: a sentence, as success or as failure.
    fn http_test_outcome(
        &self,
        _context: &Context,
        response: &HttpResponse,
    ) -> Result<String, String> {
        test_outcome(response)
    }

    /// The same over any transport.
    fn test_outcome(&self, context: &Context, response: &Response) -> Result<String, String> {
        match response {
            Response::Http(response) => self.http_test_outcome(context, response),
            Response::Sql(_) => Err(OTHER_PROTOCOL.to_string()),
        }
    }

    /// Checks a configuration.
    fn validate(&self, config: &Value) -> Result<(), Vec<ConfigError>> {
        let entry = self.catalogue();
        let mut errors = validate_fields(config, entry.fields, entry.secrets);
        if errors.is_empty() {
            self.check(&entry.config(config), &mut errors);
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// Checks that the required secrets are there, in the secrets or in the configuration.
    fn validate_secrets(&self, config: &Value, secrets: &Secrets) -> Result<(), Vec<ConfigError>> {
        let entry = self.catalogue();
        let config = entry.config(config);
        let errors: Vec<ConfigError> = entry
            .secrets
            .iter()
            .filter(|field| field.required)
            .filter(|field| secrets.get(field.name).is_none() && config.given(field.name).is_none())
            .map(|field| ConfigError::new(field.name, "this secret is required").hint(field.help))
            .collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// What it takes and how fast, with the configuration's own wishes.
    fn limits(&self, config: &Value) -> Limits {
        let config = self.catalogue().config(config);
        self.own_limits(&config).configured(&config)
    }
}

const OTHER_PROTOCOL: &str = "the answer is of another protocol";

/// What an HTTP answer says about a connection test, by its status.
pub fn test_outcome(response: &HttpResponse) -> Result<String, String> {
    match classify(response) {
        Outcome::Delivered => Ok(response.summary()),
        Outcome::AuthBlocked { reason } => Err(format!("the credentials are refused: {reason}")),
        _ => Err(response.summary()),
    }
}

/// Moves secrets that stand in a configuration out of it, and returns them by name.
pub fn take_secrets(entry: &CatalogueEntry, config: &mut Value) -> Map<String, Value> {
    let mut taken = Map::new();
    let Some(object) = config.as_object_mut() else {
        return taken;
    };
    for secret in entry.secrets {
        for name in [secret.name.to_string(), camel_case(secret.name)] {
            if let Some(value) = object.remove(&name) {
                taken.insert(secret.name.to_string(), value);
            }
        }
    }
    taken
}

/// Whether messages that are sent again by a replay are taken.
pub fn takes_replays(entry: &CatalogueEntry, config: &Config) -> bool {
    let given = config.given("accept_replays").and_then(Value::as_bool);
    given.unwrap_or(entry.replays)
}

/// Why a message is not for this destination: its kind is not sent, or it is a replay that is
/// not wanted.
pub fn refuse(entry: &CatalogueEntry, config: &Config, message: &Message) -> Option<Outcome> {
    if !entry.sends.contains(&message.kind) {
        return Some(Outcome::discard(format!(
            "{} has nothing for a message of kind {}",
            entry.name,
            message.kind.as_str()
        )));
    }
    (message.replay && !takes_replays(entry, config))
        .then(|| Outcome::discard(format!("{} does not take replays", entry.name)))
}
