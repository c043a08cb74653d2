//! HTTP requests and answers as plain values, and what a status code means by default.

use crate::outcome::Outcome;
use crate::retry_after::retry_after;
use serde_json::Value;

/// Methods a destination may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }

    /// The inverse of [`Method::as_str`].
    pub fn parse(text: &str) -> Option<Method> {
        [
            Method::Get,
            Method::Head,
            Method::Post,
            Method::Put,
            Method::Patch,
            Method::Delete,
        ]
        .into_iter()
        .find(|method| method.as_str() == text)
    }
}

/// A request to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRequest {
    pub method: Method,
    pub url: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// A request without headers and body.
    pub fn new(method: Method, url: impl Into<String>) -> HttpRequest {
        HttpRequest {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A POST of JSON.
    pub fn post_json(url: impl Into<String>, body: &Value) -> HttpRequest {
        HttpRequest::new(Method::Post, url).json(body)
    }

    /// With a JSON body.
    pub fn json(self, body: &Value) -> HttpRequest {
        let body = body.to_string().into_bytes();
        self.header("content-type", "application/json").body(body)
    }

    /// With a form body.
    pub fn form(self, pairs: &[(&str, &str)]) -> HttpRequest {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(pairs);
        let body = form.finish().into_bytes();
        self.header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    }

    /// With one more header; the name is put in lower case.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> HttpRequest {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// With this body.
    pub fn body(mut self, body: Vec<u8>) -> HttpRequest {
        self.body = body;
        self
    }

    /// With `Authorization: Bearer`.
    pub fn bearer(self, token: &str) -> HttpRequest {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// With `Authorization: Basic`.
    pub fn basic(self, user: &str, password: &str) -> HttpRequest {
        use base64::Engine;
        let token = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        self.header("authorization", format!("Basic {token}"))
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HttpResponse {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// At most the client's cap of bytes.
    pub body: Vec<u8>,
    /// True when the answer was longer than the cap and the rest was not read.
    pub truncated: bool,
    /// When it came, in milliseconds since 1970.
    pub at: i64,
}

impl HttpResponse {
    /// First value of a header; the name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON, null when it is not.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// True for 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// `HTTP 503: the start of the body`, on one line.
    pub fn summary(&self) -> String {
        let text = self.text();
        let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let short: String = line.chars().take(300).collect();
        if short.is_empty() {
            format!("HTTP {}", self.status)
        } else {
            format!("HTTP {}: {short}", self.status)
        }
    }
}

/// What an answer means unless the destination knows better:
///
/// | status | meaning |
/// | --- | --- |
/// | 2xx | delivered |
/// | 429 | retry, without using up the budget |
/// | 408, 425, 5xx | retry |
/// | 3xx | retry: a redirect is never followed, and a moved endpoint is not the message's fault |
/// | 401, 403 | credentials refused |
/// | 413 | split the batch |
/// | other | permanent |
pub fn classify(response: &HttpResponse) -> Outcome {
    let after = || retry_after(&response.headers, &response.body, response.at);
    match response.status {
        200..=299 => Outcome::Delivered,
        429 => Outcome::Retry {
            reason: response.summary(),
            after: after(),
            counts: false,
        },
        300..=399 => Outcome::retry(format!(
            "HTTP {}: a redirect is not followed",
            response.status
        )),
        408 | 425 | 500..=599 => Outcome::Retry {
            reason: response.summary(),
            after: after(),
            counts: true,
        },
        401 | 403 => Outcome::auth_blocked(response.summary()),
        413 => Outcome::SplitBatch,
        _ => Outcome::reject(response.summary()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn outcome(status: u16) -> Outcome {
        classify(&HttpResponse {
            status,
            ..HttpResponse::default()
        })
    }

    #[test]
    fn default_classes() {
        for status in [200, 201, 202, 204, 207, 299] {
            assert_eq!(outcome(status), Outcome::Delivered);
        }
        for status in [301, 302, 307, 408, 425, 500, 502, 503, 504, 520, 529, 599] {
            assert!(
                matches!(outcome(status), Outcome::Retry { counts: true, .. }),
                "{status}"
            );
        }
        assert!(matches!(outcome(429), Outcome::Retry { counts: false, .. }));
        for status in [401, 403] {
            assert!(matches!(outcome(status), Outcome::AuthBlocked { .. }));
        }
        assert_eq!(outcome(413), Outcome::SplitBatch);
        for status in [400, 404, 409, 410, 422, 451, 199, 600] {
            assert!(
                matches!(outcome(status), Outcome::Reject { .. }),
                "{status}"
            );
        }
    }

    #[test]
    fn retry_after_is_read() {
        let response = HttpResponse {
            status: 503,
            headers: vec![("Retry-After".into(), "7".into())],
            ..HttpResponse::default()
        };
        assert!(matches!(
            classify(&response),
            Outcome::Retry { after: Some(after), counts: true, .. } if after == Duration::from_secs(7)
        ));
    }
}
