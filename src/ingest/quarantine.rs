//! Messages that cannot be taken: kept as they came, with the reason.

use crate::error::{cut, state, Error, Result};
use crate::identity::kinds::MOST_KINDS;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_identity::IdentityError;
use cdp_message::MessageError;
use cdp_value::Timestamp;

/// Why a message cannot be taken.
#[derive(Clone)]
pub struct Reason {
    /// Stable snake_case name.
    pub code: &'static str,
    pub sqlstate: &'static str,
    pub field: String,
    /// The refused value, cut.
    pub value: String,
    pub message: String,
    pub hint: &'static str,
}

impl Reason {
    pub fn message(error: &MessageError) -> Reason {
        Reason {
            code: error.code.name(),
            sqlstate: error.code.sqlstate(),
            field: error.field.to_string(),
            value: error.value.clone(),
            message: error.message.clone(),
            hint: error.hint,
        }
    }

    pub fn identity(error: &IdentityError) -> Reason {
        Reason {
            code: error.name(),
            sqlstate: error.sqlstate(),
            field: "user_id".to_string(),
            value: String::new(),
            message: error.to_string(),
            hint: error.hint(),
        }
    }

    /// The message has an identifier of a kind for which there is no room.
    pub fn too_many_kinds(identifier: &cdp_message::Identifier) -> Reason {
        Reason {
            code: "too_many_kinds",
            sqlstate: state::TOO_MANY_KINDS,
            field: identifier.source.path().into_owned(),
            value: cut(&identifier.kind),
            message: format!("there are {MOST_KINDS} kinds of identifiers already; \"{}\" would be one more", cut(&identifier.kind)),
            hint: "The type of an external id names what sort of id it is, such as loyalty_card; it is the same for everybody.",
        }
    }

    /// As an error of the call.
    pub fn error(&self) -> Error {
        let raised = Error::new(self.sqlstate, self.message.clone()).hint(self.hint);
        match (self.field.is_empty(), self.value.is_empty()) {
            (true, _) => raised,
            (false, true) => raised.detail(format!("Field: {}.", self.field)),
            (false, false) => raised.detail(format!("Field: {}; value: {}", self.field, self.value)),
        }
    }
}

/// A message and what is wrong with it.
pub struct Rejected {
    pub reason: Reason,
    pub original: String,
}

/// Puts messages into quarantine.
pub fn store(spi: &Spi, namespace_id: i32, received_at: Timestamp, rejected: &[&Rejected]) -> Result<()> {
    if rejected.is_empty() {
        return Ok(());
    }
    let codes: Vec<&str> = rejected.iter().map(|r| r.reason.code).collect();
    let fields: Vec<Option<&str>> =
        rejected.iter().map(|r| Some(r.reason.field.as_str()).filter(|f| !f.is_empty())).collect();
    let reasons: Vec<&str> = rejected.iter().map(|r| r.reason.message.as_str()).collect();
    // Postgres stores no NUL character; the reason says that there was one.
    let originals: Vec<String> = rejected.iter().map(|r| r.original.replace('\0', "\\u0000")).collect();
    let originals: Vec<&str> = originals.iter().map(String::as_str).collect();
    spi.execute(
        "INSERT INTO _cdp.quarantine (namespace_id, received_at, code, field, reason, original) \
         SELECT $1, $2, c, f, r, o FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6)) AS t (c, f, r, o)",
        &[
            Param::Int4(namespace_id),
            Param::Timestamp(received_at),
            Param::TextArray(&codes),
            Param::OptionalTextArray(&fields),
            Param::TextArray(&reasons),
            Param::TextArray(&originals),
        ],
    )?;
    Ok(())
}

/// Takes messages out of quarantine, oldest first: each as it came, and when.
pub fn take(spi: &Spi, namespace_id: i32, quarantine_ids: &[i64]) -> Result<Vec<(String, Timestamp)>> {
    spi.query(
        "WITH taken AS (DELETE FROM _cdp.quarantine WHERE quarantine_id OPERATOR(pg_catalog.=) ANY (ARRAY( \
             SELECT q.quarantine_id FROM _cdp.quarantine AS q \
             WHERE q.namespace_id OPERATOR(pg_catalog.=) $1 AND q.quarantine_id OPERATOR(pg_catalog.=) ANY ($2) \
             ORDER BY q.quarantine_id FOR UPDATE SKIP LOCKED)) \
         RETURNING quarantine_id, original, received_at) \
         SELECT original, received_at FROM taken ORDER BY quarantine_id",
        &[Param::Int4(namespace_id), Param::Int8Array(quarantine_ids)],
    )?
    .map(|row| Ok((row.text(0)?, row.timestamp(1)?)))
}
