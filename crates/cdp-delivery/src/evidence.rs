//! Requests and answers as text for the dead letters, without secrets.

use crate::client::TransportError;
use crate::driver::Evidence;
use crate::outcome::{Request, Response};
use crate::secrets::{Secrets, MASK};
use crate::sql::SqlResponse;
use std::fmt::Write;
use std::time::Duration;

/// Characters of a body that are kept.
const BODY: usize = 4_000;

/// Headers whose value is never shown, whether it is a known secret or not.
const PRIVATE_HEADERS: &[&str] = &[
    "authorization",
    "cookie",
    "set-cookie",
    "api-key",
    "x-api-key",
    "x-api-token",
];

pub(crate) fn evidence(
    secrets: &Secrets,
    request: &Request,
    answer: Result<&Response, &TransportError>,
    duration: Duration,
) -> Evidence {
    let (status, response) = match answer {
        Ok(Response::Http(http)) => (Some(http.status), {
            let mut text = format!("HTTP {}\n", http.status);
            headers(&mut text, &http.headers);
            body(&mut text, &http.body);
            text
        }),
        Ok(Response::Sql(SqlResponse::Done(rows))) => (None, format!("rows: {rows:?}")),
        Ok(Response::Sql(SqlResponse::Failed { sqlstate, message })) => {
            (None, format!("{sqlstate}: {message}"))
        }
        Err(error) => (None, error.message.clone()),
    };
    let request = match request {
        Request::Http(http) => {
            let mut text = format!("{} {}\n", http.method.as_str(), http.url);
            headers(&mut text, &http.headers);
            body(&mut text, &http.body);
            text
        }
        Request::Sql(sql) => {
            let statements: Vec<&str> = sql
                .statements
                .iter()
                .map(|statement| statement.text.as_str())
                .collect();
            format!(
                "{}:{}/{}\n{}",
                sql.host,
                sql.port,
                sql.database,
                statements.join(";\n")
            )
        }
    };
    Evidence {
        request: secrets.mask(&request),
        status,
        response: secrets.mask(&response),
        duration,
    }
}

fn headers(text: &mut String, headers: &[(String, String)]) {
    for (name, value) in headers {
        let private = PRIVATE_HEADERS.contains(&name.to_ascii_lowercase().as_str());
        let value = if private { MASK } else { value };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}: {value}");
    }
}

fn body(text: &mut String, body: &[u8]) {
    if body.is_empty() {
        return;
    }
    let shown = String::from_utf8_lossy(body.get(..BODY * 4).unwrap_or(body));
    text.push('\n');
    text.extend(shown.chars().filter(|c| *c != '\0').take(BODY));
    if body.len() > BODY {
        let _ = write!(text, "… ({} bytes)", body.len());
    }
}
