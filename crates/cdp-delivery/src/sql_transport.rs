//! Sends statements to another Postgres, past the same guard as HTTP requests.

use crate::client::{TransportError, TransportErrorKind};
use crate::resolver::{ResolveError, Resolver};
use crate::sql::{SqlRequest, SqlResponse, TlsMode};
use crate::ssrf::AllowList;
use rustls::pki_types::ServerName;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::tls::{ChannelBinding, TlsConnect};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config};
use tokio_rustls::TlsConnector;

/// Idle connections that are kept for one database.
const IDLE: usize = 4;

/// Connections to databases, kept between requests.
pub(crate) struct SqlTransport {
    resolver: Resolver,
    allow: Arc<AllowList>,
    tls: Arc<rustls::ClientConfig>,
    connect_timeout: Duration,
    idle: Mutex<HashMap<String, Vec<Client>>>,
}

impl SqlTransport {
    pub fn new(
        resolver: Resolver,
        allow: Arc<AllowList>,
        tls: rustls::ClientConfig,
        connect_timeout: Duration,
    ) -> SqlTransport {
        SqlTransport {
            resolver,
            allow,
            tls: Arc::new(tls),
            connect_timeout,
            idle: Mutex::new(HashMap::new()),
        }
    }

    /// Runs the statements in one transaction.
    pub async fn send(
        &self,
        request: &SqlRequest,
        timeout: Duration,
    ) -> Result<SqlResponse, TransportError> {
        let client = match self.take(request) {
            Some(client) => client,
            None => {
                let connecting = self.connect(request);
                tokio::time::timeout(self.connect_timeout.min(timeout), connecting)
                    .await
                    .unwrap_or_else(|_| {
                        Err(Failure::NotSent(TransportError::new(
                            TransportErrorKind::Connect,
                            "no connection in time",
                        )))
                    })
                    .or_else(Failure::answer)
            }?,
        };
        match client {
            Connected::Refused(response) => Ok(response),
            Connected::Ready(mut client) => {
                let run = run(&mut client, request, timeout);
                let response = tokio::time::timeout(timeout, run).await.map_err(|_| {
                    TransportError::new(
                        TransportErrorKind::Timeout,
                        format!("no answer within {} ms", timeout.as_millis()),
                    )
                })??;
                self.keep(request, client);
                Ok(response)
            }
        }
    }

    fn take(&self, request: &SqlRequest) -> Option<Connected> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let clients = idle.get_mut(&key(request))?;
        while let Some(client) = clients.pop() {
            if !client.is_closed() {
                return Some(Connected::Ready(client));
            }
        }
        None
    }

    fn keep(&self, request: &SqlRequest, client: Client) {
        if client.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // A change of password leaves the old connections behind; drop them all then.
        if idle.len() > 100 {
            idle.clear();
        }
        let clients = idle.entry(key(request)).or_default();
        if clients.len() < IDLE {
            clients.push(client);
        }
    }

    async fn connect(&self, request: &SqlRequest) -> Result<Connected, Failure> {
        let opened = self.allow.opens_host(&request.host, request.port);
        if request.tls == TlsMode::Disable && !opened {
            return Err(Failure::NotSent(TransportError::new(
                TransportErrorKind::Blocked,
                "a connection in clear is only allowed to hosts in cdp.http_allow_hosts",
            )));
        }
        let found = if opened {
            self.resolver.lookup(&request.host).await
        } else {
            self.resolver
                .lookup_public(&request.host, &self.allow)
                .await
        };
        let addresses = found.map_err(|error| {
            let kind = match error {
                ResolveError::Blocked { .. } => TransportErrorKind::Blocked,
                ResolveError::NotFound { .. } => TransportErrorKind::Dns,
            };
            Failure::NotSent(TransportError::new(kind, error.to_string()))
        })?;
        let mut last = io::Error::other("the host has no address");
        let mut stream = None;
        for address in addresses {
            match TcpStream::connect((address, request.port)).await {
                Ok(connected) => {
                    stream = Some(connected);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let stream = stream.ok_or_else(|| {
            Failure::NotSent(TransportError::new(
                TransportErrorKind::Connect,
                format!("no connection: {last}"),
            ))
        })?;
        // Small messages go back and forth: waiting to fill packets only delays them.
        let _ = stream.set_nodelay(true);
        let mut config = Config::new();
        config
            .dbname(&request.database)
            .user(&request.user)
            .password(&request.password)
            .application_name("cdp");
        let client = match request.tls {
            TlsMode::VerifyFull => {
                config.ssl_mode(tokio_postgres::config::SslMode::Require);
                let name = ServerName::try_from(request.host.clone()).map_err(|_| {
                    Failure::NotSent(TransportError::new(
                        TransportErrorKind::Tls,
                        "the host is not a name a certificate can have",
                    ))
                })?;
                let tls = Tls {
                    connector: TlsConnector::from(Arc::clone(&self.tls)),
                    name,
                };
                let (client, connection) = config.connect_raw(stream, tls).await?;
                tokio::spawn(connection);
                client
            }
            TlsMode::Disable => {
                config.ssl_mode(tokio_postgres::config::SslMode::Disable);
                let (client, connection) =
                    config.connect_raw(stream, tokio_postgres::NoTls).await?;
                tokio::spawn(connection);
                client
            }
        };
        Ok(Connected::Ready(client))
    }
}

enum Connected {
    Ready(Client),
    /// The server answered with an error, such as a refused password.
    Refused(SqlResponse),
}

enum Failure {
    NotSent(TransportError),
    Server(SqlResponse),
}

impl Failure {
    fn answer(self) -> Result<Connected, TransportError> {
        match self {
            Failure::NotSent(error) => Err(error),
            Failure::Server(response) => Ok(Connected::Refused(response)),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        if let Some(response) = of_server(&error) {
            return Failure::Server(response);
        }
        let text = deepest(&error);
        let tls =
            text.contains("certificate") || text.contains("TLS") || text.contains("handshake");
        let kind = if tls {
            TransportErrorKind::Tls
        } else {
            TransportErrorKind::Connect
        };
        Failure::NotSent(TransportError::new(kind, format!("no connection: {text}")))
    }
}

fn of_server(error: &tokio_postgres::Error) -> Option<SqlResponse> {
    error.as_db_error().map(|error| SqlResponse::Failed {
        sqlstate: error.code().code().to_string(),
        message: error.message().to_string(),
    })
}

fn deepest(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    text
}

fn key(request: &SqlRequest) -> String {
    // The password too: another one is another connection.
    let digest = crate::digest::sha256_hex(&request.password);
    format!(
        "{}:{}/{}/{}/{:?}/{digest}",
        request.host, request.port, request.database, request.user, request.tls
    )
}

async fn run(
    client: &mut Client,
    request: &SqlRequest,
    timeout: Duration,
) -> Result<SqlResponse, TransportError> {
    let outcome = transaction(client, request, timeout).await;
    match outcome {
        Ok(rows) => Ok(SqlResponse::Done(rows)),
        Err(error) => of_server(&error).ok_or_else(|| {
            TransportError::new(
                TransportErrorKind::Reset,
                format!("the connection broke: {}", deepest(&error)),
            )
        }),
    }
}

async fn transaction(
    client: &mut Client,
    request: &SqlRequest,
    timeout: Duration,
) -> Result<Vec<u64>, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    // So that the other server gives up when we do.
    let limit = format!("SET LOCAL statement_timeout = {}", timeout.as_millis());
    transaction.batch_execute(&limit).await?;
    let mut rows = Vec::with_capacity(request.statements.len());
    for statement in &request.statements {
        if statement.parameters.is_empty() {
            transaction.batch_execute(&statement.text).await?;
            rows.push(0);
            continue;
        }
        let parameters: Vec<&(dyn ToSql + Sync)> = statement
            .parameters
            .iter()
            .map(|column| column as &(dyn ToSql + Sync))
            .collect();
        rows.push(transaction.execute(&statement.text, &parameters).await?);
    }
    transaction.commit().await?;
    Ok(rows)
}

/// TLS by rustls as tokio-postgres wants it.
struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl TlsConnect<TcpStream> for Tls {
    type Stream = TlsStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TlsStream>> + Send>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move {
            let stream = self.connector.connect(self.name, stream).await?;
            Ok(TlsStream(Box::new(stream)))
        })
    }
}

struct TlsStream(Box<tokio_rustls::client::TlsStream<TcpStream>>);

impl tokio_postgres::tls::TlsStream for TlsStream {
    fn channel_binding(&self) -> ChannelBinding {
        // The certificate is verified, which is what binding would add.
        ChannelBinding::none()
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
