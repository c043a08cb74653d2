//! Messages that cannot be taken: kept as they came, with the reason.

use super::{Accepted, Incoming, Receipt, Status};
use crate::delivery::routing::messages;
use crate::error::{cut, state, Error, Result};
use crate::identity::kinds::MOST_KINDS;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_identity::IdentityError;
use cdp_message::MessageError;
use cdp_value::Timestamp;
use serde_json::Value;
use uuid::Uuid;

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
            message: format!("the namespace has {MOST_KINDS} kinds of identifiers already; \"{}\" would be one more", cut(&identifier.kind)),
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

/// The code of messages for a namespace that does not exist.
const UNKNOWN_NAMESPACE: &str = "unknown_namespace";

/// Quarantines messages for a namespace that does not exist; they keep its name.
pub fn misplaced(
    spi: &Spi,
    namespace_id: i32,
    name: &str,
    batch: Vec<Incoming>,
    received_at: Timestamp,
) -> Result<Vec<Receipt>> {
    let reason = Reason {
        code: UNKNOWN_NAMESPACE,
        sqlstate: state::UNKNOWN_NAMESPACE,
        field: "namespace".to_string(),
        value: cut(name),
        message: format!("namespace \"{}\" does not exist", cut(name)),
        hint: "Make it with cdp.define_namespace; then cdp.requeue_quarantine() takes the message.",
    };
    let receipt = |message_id| Receipt {
        message_id,
        profile_id: None,
        status: Status::Quarantined,
        reason: Some(reason.message.clone()),
    };
    let mut receipts = Vec::with_capacity(batch.len());
    let mut rejected = Vec::with_capacity(batch.len());
    for item in batch {
        let (message_id, original) = match item {
            Ok(message) => {
                let message_id = message.message_id.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
                let original = Accepted { message, message_id: message_id.clone(), profile_id: 0 };
                (Some(message_id), messages::payload(&original))
            }
            Err(bad) => (None, super::stored::json(&bad.original).unwrap_or(Value::String(bad.original))),
        };
        let mut original = original;
        if let Value::Object(members) = &mut original {
            members.insert("namespace".to_string(), Value::from(name));
        }
        receipts.push(receipt(message_id));
        rejected.push(Rejected { reason: reason.clone(), original: original.to_string() });
    }
    store(spi, namespace_id, received_at, &rejected.iter().collect::<Vec<_>>())?;
    Ok(receipts)
}

/// A message that was taken out of quarantine.
pub struct Taken {
    /// As it came.
    pub original: String,
    pub received_at: Timestamp,
    /// The namespace that it is meant for, where that is not the one of the quarantine.
    pub namespace: Option<String>,
}

/// Takes messages out of quarantine, oldest first.
pub fn take(spi: &Spi, namespace_id: i32, quarantine_ids: &[i64]) -> Result<Vec<Taken>> {
    spi.query(
        "WITH taken AS (DELETE FROM _cdp.quarantine WHERE quarantine_id OPERATOR(pg_catalog.=) ANY (ARRAY( \
             SELECT q.quarantine_id FROM _cdp.quarantine AS q \
             WHERE q.namespace_id OPERATOR(pg_catalog.=) $1 AND q.quarantine_id OPERATOR(pg_catalog.=) ANY ($2) \
             ORDER BY q.quarantine_id FOR UPDATE SKIP LOCKED)) \
         RETURNING quarantine_id, original, received_at, code) \
         SELECT original, received_at, code FROM taken ORDER BY quarantine_id",
        &[Param::Int4(namespace_id), Param::Int8Array(quarantine_ids)],
    )?
    .map(|row| {
        let original = row.text(0)?;
        let meant = (row.text(2)? == UNKNOWN_NAMESPACE).then(|| super::stored::json(&original)).flatten();
        let namespace = meant.and_then(|json| Some(json.get("namespace")?.as_str()?.to_string()));
        Ok(Taken { original, received_at: row.timestamp(1)?, namespace })
    })
}
