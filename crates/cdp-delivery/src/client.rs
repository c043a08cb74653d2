//! Sends requests, safely.
//!
//! TLS is rustls with the Mozilla roots that are compiled in, and any further roots the options
//! name; certificates are always verified. There are no redirects, no proxies from the
//! environment, no cookies and no decompression, and no threads.

use crate::http::{HttpRequest, HttpResponse, Method};
use crate::outcome::{Request, Response};
use crate::resolver::{HttpResolver, ResolveError, Resolver};
use crate::sql_transport::SqlTransport;
use crate::ssrf::{check_url, AllowList};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How the client behaves.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// `cdp.http_allow_hosts`: hosts that may be reached over plain http and on private
    /// addresses. See [`AllowList::parse`].
    pub allow_hosts: Vec<String>,
    pub connect_timeout: Duration,
    /// From the name lookup to the last byte of the answer, unless a destination says otherwise.
    pub total_timeout: Duration,
    /// More of an answer than this is not read.
    pub max_response_bytes: usize,
    pub user_agent: String,
    /// Certificates of further authorities, PEM.
    pub extra_roots: Option<String>,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            allow_hosts: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(30),
            max_response_bytes: 1024 * 1024,
            user_agent: concat!("cdp/", env!("CARGO_PKG_VERSION")).to_string(),
            extra_roots: None,
        }
    }
}

/// Why the client cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    AllowList(#[from] crate::ssrf::AllowListError),
    #[error("the additional certificates cannot be used: {0}")]
    Roots(String),
    #[error("the HTTP client cannot be built: {0}")]
    Build(String),
}

/// What kind of transport failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportErrorKind {
    /// The guard refused the URL or the address. Nothing was sent.
    Blocked,
    /// The request itself cannot be sent (a header with a line break). Nothing was sent.
    Invalid,
    /// The name could not be resolved. Nothing was sent.
    Dns,
    /// No connection. Nothing was sent.
    Connect,
    /// The certificate or the handshake failed. Nothing was sent.
    Tls,
    /// No complete answer in time; the request may have arrived.
    Timeout,
    /// The connection broke; the request may have arrived.
    Reset,
    /// The answer is not HTTP; the request may have arrived.
    Protocol,
}

/// A request without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    pub kind: TransportErrorKind,
    pub message: String,
    /// The request may have been processed all the same.
    pub maybe_processed: bool,
}

impl TransportError {
    /// An error of this kind; timeouts before a connection are told apart by the caller.
    pub fn new(kind: TransportErrorKind, message: impl Into<String>) -> TransportError {
        use TransportErrorKind::{Protocol, Reset, Timeout};
        TransportError {
            kind,
            message: message.into(),
            maybe_processed: matches!(kind, Timeout | Reset | Protocol),
        }
    }
}

/// Sends requests. Built once per worker, inside it (never before a fork).
pub struct Client {
    guarded: reqwest::Client,
    opened: reqwest::Client,
    sql: SqlTransport,
    allow: Arc<AllowList>,
    options: ClientOptions,
}

impl Client {
    /// Builds the client; reads `/etc/resolv.conf` and `/etc/hosts` once.
    pub fn new(options: ClientOptions) -> Result<Client, ClientError> {
        let allow = Arc::new(AllowList::parse(&options.allow_hosts)?);
        let tls = tls_config(options.extra_roots.as_deref())?;
        let resolver = Resolver::from_system();
        let build = |opened: bool| {
            reqwest::Client::builder()
                .use_preconfigured_tls(tls.clone())
                .https_only(!opened)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .referer(false)
                .connect_timeout(options.connect_timeout)
                .timeout(options.total_timeout)
                .pool_idle_timeout(Duration::from_secs(60))
                .pool_max_idle_per_host(16)
                .user_agent(options.user_agent.clone())
                .dns_resolver(Arc::new(HttpResolver {
                    resolver: resolver.clone(),
                    allow: Arc::clone(&allow),
                    opened,
                }))
                .build()
                .map_err(|error| ClientError::Build(error.to_string()))
        };
        Ok(Client {
            guarded: build(false)?,
            opened: build(true)?,
            sql: SqlTransport::new(resolver, Arc::clone(&allow), tls, options.connect_timeout),
            allow,
            options,
        })
    }

    /// Sends a request over its transport. `timeout` replaces the client's own when given.
    pub async fn send(
        &self,
        request: &Request,
        timeout: Option<Duration>,
    ) -> Result<Response, TransportError> {
        match request {
            Request::Http(request) => self.send_http(request, timeout).await.map(Response::Http),
            Request::Sql(request) => {
                let timeout = timeout.unwrap_or(self.options.total_timeout);
                self.sql.send(request, timeout).await.map(Response::Sql)
            }
        }
    }

    /// Sends an HTTP request.
    pub async fn send_http(
        &self,
        request: &HttpRequest,
        timeout: Option<Duration>,
    ) -> Result<HttpResponse, TransportError> {
        let checked = check_url(&request.url, &self.allow)
            .map_err(|error| TransportError::new(TransportErrorKind::Blocked, error.to_string()))?;
        let client = if checked.opened {
            &self.opened
        } else {
            &self.guarded
        };
        let timeout = timeout.unwrap_or(self.options.total_timeout);
        let mut builder = client
            .request(method(request.method), checked.url)
            .timeout(timeout);
        for (name, value) in &request.headers {
            let name = reqwest::header::HeaderName::from_bytes(name.as_bytes());
            let value = reqwest::header::HeaderValue::from_str(value);
            match (name, value) {
                (Ok(name), Ok(value)) => builder = builder.header(name, value),
                _ => {
                    return Err(TransportError::new(
                        TransportErrorKind::Invalid,
                        "a header has a character that headers cannot have",
                    ))
                }
            }
        }
        if !request.body.is_empty() || !matches!(request.method, Method::Get | Method::Head) {
            builder = builder.body(request.body.clone());
        }
        let mut answer = builder.send().await.map_err(|e| explain(&e, timeout))?;
        let status = answer.status().as_u16();
        let headers = answer
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_string(), value)
            })
            .collect();
        let mut body = Vec::new();
        let mut truncated = false;
        while let Some(chunk) = answer.chunk().await.map_err(|e| explain(&e, timeout))? {
            let room = self.options.max_response_bytes.saturating_sub(body.len());
            body.extend(chunk.iter().take(room));
            if chunk.len() > room {
                truncated = true;
                break;
            }
        }
        Ok(HttpResponse {
            status,
            headers,
            body,
            truncated,
            at: now_millis(),
        })
    }
}

/// Milliseconds since 1970, by the machine's clock.
pub fn now_millis() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_millis()).ok())
        .unwrap_or(0)
}

fn method(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Head => reqwest::Method::HEAD,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    }
}

fn tls_config(extra_roots: Option<&str>) -> Result<rustls::ClientConfig, ClientError> {
    use rustls::pki_types::{pem::PemObject, CertificateDer};
    let mut roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(pem) = extra_roots {
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            certificate
                .map_err(|error| error.to_string())
                .and_then(|der| roots.add(der).map_err(|error| error.to_string()))
                .map_err(ClientError::Roots)?;
        }
    }
    // The provider is named: a process-wide default may be set by someone else, or by nobody.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Build(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Sorts an error of the HTTP stack into a kind. The URL is left out: it may hold a secret.
fn explain(error: &reqwest::Error, timeout: Duration) -> TransportError {
    use TransportErrorKind::{Blocked, Connect, Dns, Invalid, Protocol, Reset, Timeout, Tls};
    let mut connecting = error.is_connect();
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    let mut deepest = String::new();
    let mut broken = false;
    while let Some(cause) = source {
        if let Some(resolve) = cause.downcast_ref::<ResolveError>() {
            let kind = match resolve {
                ResolveError::Blocked { .. } => Blocked,
                ResolveError::NotFound { .. } => Dns,
            };
            return TransportError::new(kind, resolve.to_string());
        }
        if let Some(tls) = find_tls(cause) {
            return TransportError::new(Tls, format!("TLS failed: {tls}"));
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            broken |= !matches!(io.kind(), std::io::ErrorKind::TimedOut);
        }
        deepest = cause.to_string();
        connecting |= deepest.contains("tcp connect error");
        source = cause.source();
    }
    if error.is_timeout() {
        let mut found = TransportError::new(
            Timeout,
            if connecting {
                "no connection in time".to_string()
            } else {
                format!("no complete answer within {} ms", timeout.as_millis())
            },
        );
        found.maybe_processed = !connecting;
        return found;
    }
    if error.is_builder() {
        return TransportError::new(Invalid, format!("the request cannot be sent: {deepest}"));
    }
    if connecting {
        return TransportError::new(Connect, format!("no connection: {deepest}"));
    }
    if broken || deepest.contains("connection closed") || error.is_body() || error.is_decode() {
        return TransportError::new(Reset, format!("the connection broke: {deepest}"));
    }
    TransportError::new(Protocol, format!("no HTTP answer: {deepest}"))
}

/// The TLS error inside an error; I/O errors wrap each other without being a source.
fn find_tls<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    match cause.downcast_ref::<std::io::Error>() {
        Some(io) => find_tls(io.get_ref()?),
        None => cause.downcast_ref::<rustls::Error>(),
    }
}
