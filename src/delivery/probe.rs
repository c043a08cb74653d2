//! Testing a destination: its cheapest request, sent from the caller's session.

use super::engine;
use super::targets::{self, Definition};
use crate::error::{Error, Result};
use crate::guc;
use crate::pg::session;
use cdp_delivery::Request;
use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

/// How often a waiting test lets Postgres cancel it.
const TICK: Duration = Duration::from_millis(100);

/// Whether the destination works, and a sentence about it. Secrets are masked.
pub fn test(definition: &Definition) -> Result<std::result::Result<String, String>> {
    let target = match targets::target(definition) {
        Ok(target) => target,
        Err(error) => return Ok(Err(sentence(&error))),
    };
    let memory = HashMap::new();
    let context = target.context(&memory);
    let Some(request) = target.destination.test_request(&context) else {
        return Ok(Ok("the configuration is valid; whether it works shows with the first message".to_string()));
    };
    let client = engine::client(&guc::http_allow_hosts())?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(|error| {
            Error::new("58000", "the runtime for requests cannot be built").detail(error.to_string())
        })?;
    let send = |request: &Request| {
        let mut sending = pin!(client.send(request, Some(target.limits.timeout)));
        loop {
            match runtime.block_on(async { tokio::time::timeout(TICK, sending.as_mut()).await }) {
                Ok(answer) => break answer,
                Err(_) => session::check_for_interrupts(),
            }
        }
    };
    let mut answer = send(&request);
    let further = answer.as_ref().ok().and_then(|response| target.destination.further_test(&context, response));
    if let Some(request) = further {
        answer = send(&request);
    }
    let outcome = match answer {
        Ok(response) => target.destination.test_outcome(&context, &response),
        Err(error) => Err(error.message),
    };
    let mask = |text: String| target.secrets.mask(&text);
    Ok(outcome.map(mask).map_err(mask))
}

/// An error in one line.
pub fn sentence(error: &Error) -> String {
    match &error.detail {
        Some(detail) => format!("{}: {detail}", error.message),
        None => error.message.clone(),
    }
}
