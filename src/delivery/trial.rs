//! Trying a route before it is live: what it makes of a message, and the request that would be sent.

use super::probe;
use super::shaping::{Shape, Shaped};
use super::targets::{self, Definition};
use crate::error::Result;
use crate::pg::spi::Spi;
use cdp_delivery::{Message, MessageKind, Request, Secrets};
use serde_json::Value;
use std::collections::HashMap;

/// What would happen to a message.
pub struct Trial {
    pub outcome: &'static str,
    /// The message as the destination sees it.
    pub message: Option<Value>,
    /// Secrets are masked.
    pub request: Option<String>,
    pub detail: Option<String>,
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
