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

/// What is in the name of a header, or of a parameter of a URL, whose value is never shown, whether it is a known secret
/// or not.
const PRIVATE: &[&str] = &[
    "auth",
    "cookie",
    "token",
    "secret",
    "password",
    "credential",
    "key",
];

/// Whether a header or a parameter of this name looks like a credential.
fn is_private(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    PRIVATE.iter().any(|part| name.contains(part)) && !name.contains("idempotency")
}

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
            let mut text = format!("{} {}\n", http.method.as_str(), masked_url(&http.url));
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

/// A URL without the values of parameters that look like credentials.
fn masked_url(url: &str) -> String {
    let Some((before, query)) = url.split_once('?') else {
        return url.to_string();
    };
    let parts = query.split('&').map(|part| match part.split_once('=') {
        Some((name, _)) if is_private(name) => format!("{name}={MASK}"),
        _ => part.to_string(),
    });
    format!("{before}?{}", parts.collect::<Vec<_>>().join("&"))
}

fn headers(text: &mut String, headers: &[(String, String)]) {
    for (name, value) in headers {
        let value = if is_private(name) { MASK } else { value };
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

#[cfg(test)]
mod tests {
    use super::masked_url;

    #[test]
    fn urls_are_shown_without_credentials() {
        for (url, shown) in [
            ("https://a.example/in", "https://a.example/in"),
            (
                "https://a.example/in?api_key=s3cret&v=2&Token=x",
                "https://a.example/in?api_key=***&v=2&Token=***",
            ),
            ("https://a.example/?key&flag", "https://a.example/?key&flag"),
        ] {
            assert_eq!(masked_url(url), shown);
        }
    }
}
