//! Trying a route before it is live: what it makes of a message, and the request that would be sent.

use super::probe;
use super::routing::messages::{self, Occasion};
use super::shaping::{Shape, Shaped, Shapes};
use super::targets::{self, Definition};
use crate::error::{Error, Result};
use crate::identity::resolve;
use crate::ingest::quarantine::Reason;
use crate::ingest::{self, Accepted};
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::spi::Spi;
use crate::traits::catalog;
use cdp_delivery::{Message, MessageKind, Request, Secrets};
use cdp_message::ErrorCode;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::rc::Rc;

/// What would happen to a message.
pub struct Trial {
    pub outcome: &'static str,
    /// The message as the destination sees it.
    pub message: Option<Value>,
    /// Secrets are masked.
    pub request: Option<String>,
    pub detail: Option<String>,
}

/// What a destination's own routes make of a message.
pub enum Own {
    /// The first that wants it has this shape.
    Wanted(Rc<Shape>),
    /// None of them wants it.
    Unwanted,
    /// There are none.
    NoRoutes,
}

/// Shapes a message as the destination's own routes do, and makes its requests; sends nothing.
pub fn run_own(spi: &Spi, namespace: &Namespace, definition: &Definition, message: Value) -> Result<Trial> {
    let message = checked(message)?;
    match own(spi, namespace, definition, &message)? {
        Own::Wanted(shape) => run(spi, definition, &shape, message),
        Own::NoRoutes => {
            let mut trial = run(spi, definition, &Shape::default(), message)?;
            let note = "it has no route yet: this is the message as it is";
            trial.detail = trial.detail.or_else(|| Some(note.to_string()));
            Ok(trial)
        }
        Own::Unwanted => {
            let reason = format!("no route to \"{}\" wants this message", definition.key);
            Ok(Trial::without_request("unwanted", Some(message), reason))
        }
    }
}

/// The message, when it is one that could have been sent to cdp, or of a kind that cdp makes itself. Who it is about may be
/// left out.
pub fn checked(message: Value) -> Result<Value> {
    arrived(&message)?;
    Ok(message)
}

/// The message as it arrives; None for one that cdp makes itself.
fn arrived(message: &Value) -> Result<Option<cdp_message::Message>> {
    let Value::Object(mut members) = message.clone() else {
        return Err(Error::new("22023", "the message is not an object")
            .hint("For example {\"type\": \"track\", \"event\": \"Order Completed\", \"userId\": \"ada\"}."));
    };
    let kind = members.get("type").and_then(Value::as_str);
    if kind.is_some_and(|kind| MessageKind::parse(kind).is_some() && cdp_message::MessageType::parse(kind).is_none()) {
        return Ok(None);
    }
    members.entry("type").or_insert_with(|| "track".into());
    let now = clock::now()?;
    let read = |members: &Map<String, Value>| {
        let text = Value::Object(members.clone()).to_string();
        let items = cdp_message::parse_payload(&text, now, &ingest::limits(), false)?;
        items.into_iter().next().transpose().map_err(|bad| bad.error)
    };
    let message = match read(&members) {
        Err(error) if error.code == ErrorCode::MissingIdentifier => {
            members.insert("anonymousId".into(), "trial".into());
            read(&members)
        }
        other => other,
    };
    message.map_err(|error| Reason::message(&error).error())
}

fn own(spi: &Spi, namespace: &Namespace, definition: &Definition, message: &Value) -> Result<Own> {
    let catalog = catalog::current(spi, namespace)?;
    if !catalog.routes.iter().any(|route| route.destination_id == definition.id) {
        return Ok(Own::NoRoutes);
    }
    // What cdp makes itself has routes by other names, and goes out as it is unless they say otherwise.
    let Some(arrived) = arrived(message)? else { return Ok(Own::NoRoutes) };
    let mut profile_id = None;
    for id in [&arrived.user_id, &arrived.anonymous_id].into_iter().flatten() {
        profile_id = profile_id.or(resolve::find(spi, namespace, id, None)?);
    }
    let message_id = arrived.message_id.clone().unwrap_or_else(|| "trial".to_string());
    let batch = [Accepted { message: arrived, message_id, profile_id: profile_id.unwrap_or(0) }];
    let calendar = catalog.calendar();
    let now = clock::now()?;
    let mut first = None;
    messages::each_wanted(spi, &catalog, &calendar, namespace, &batch, &[], now, Occasion::Arrival, |_, route, _| {
        if route.destination_id == definition.id && first.is_none() {
            first = Some(route.id);
        }
    })?;
    match first {
        None => Ok(Own::Unwanted),
        Some(route_id) => Ok(Own::Wanted(Shapes::default().of_route(spi, route_id)?)),
    }
}

/// Shapes a message and makes its requests; sends nothing.
pub fn run(spi: &Spi, definition: &Definition, shape: &Shape, message: Value) -> Result<Trial> {
    let body = match shape.apply(spi, vec![message])?.pop() {
        Some(Shaped::Message(body)) => body,
        Some(Shaped::Failed(reason)) => return Ok(Trial::without_request("failed", None, reason)),
        Some(Shaped::Dropped(by)) => return Ok(Trial::without_request("dropped", None, format!("the {by} drops it"))),
        None => return Ok(Trial::without_request("dropped", None, String::new())),
    };
    let target = match targets::target(definition) {
        Ok(target) => target,
        Err(error) => return Ok(Trial::without_request("shaped", Some(body), probe::sentence(&error))),
    };
    let kind = body.get("type").and_then(Value::as_str).and_then(MessageKind::parse).unwrap_or(MessageKind::Track);
    let trial = Message {
        id: body.get("messageId").and_then(Value::as_str).unwrap_or("trial").to_string(),
        profile_id: 0,
        kind,
        body: body.clone(),
        replay: false,
        attempt: 1,
    };
    let memory = HashMap::new();
    let context = target.context(&memory);
    let plan = target.destination.requests(&context, &[&trial]);
    if let Some((_, outcome)) = plan.settled.first() {
        let reason = target.secrets.mask(outcome.reason().unwrap_or_default());
        return Ok(Trial::without_request(outcome.name(), Some(body), reason));
    }
    let requests: Vec<String> = plan.requests.iter().map(|plan| describe(&plan.request, &target.secrets)).collect();
    Ok(Trial { outcome: "sent", message: Some(body), request: Some(requests.join("\n\n")), detail: None })
}

impl Trial {
    fn without_request(outcome: &'static str, message: Option<Value>, detail: String) -> Trial {
        Trial { outcome, message, request: None, detail: Some(detail).filter(|detail| !detail.is_empty()) }
    }
}

fn describe(request: &Request, secrets: &Secrets) -> String {
    let text = match request {
        Request::Http(http) => {
            format!("{} {}\n\n{}", http.method.as_str(), http.url, String::from_utf8_lossy(&http.body))
        }
        Request::Sql(sql) => {
            sql.statements.iter().map(|statement| statement.text.as_str()).collect::<Vec<_>>().join(";\n")
        }
    };
    secrets.mask(&text)
}
