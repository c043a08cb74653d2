//! Requests to another Postgres, as plain values.

/// Whether the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// TLS with a verified certificate.
    VerifyFull,
    /// In clear: only for hosts in the allow list.
    Disable,
}

/// Statements to run in one transaction on another Postgres.
#[derive(Clone, PartialEq)]
pub struct SqlRequest {
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    pub password: String,
    pub tls: TlsMode,
    pub statements: Vec<SqlStatement>,
}

impl std::fmt::Debug for SqlRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlRequest")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("statements", &self.statements)
            .finish_non_exhaustive()
    }
}

/// One statement. All its parameters are of type `text[]`, all of one length, so that one
/// statement carries a batch: `… FROM unnest($1::text[], $2::text[])`.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlStatement {
    pub text: String,
    pub parameters: Vec<Vec<Option<String>>>,
}

/// What became of the transaction.
#[derive(Debug, Clone, PartialEq)]
pub enum SqlResponse {
    /// Committed; rows affected by each statement.
    Done(Vec<u64>),
    /// Rolled back.
    Failed {
        /// Five characters.
        sqlstate: String,
        message: String,
    },
}
