//! Sending past events again, where routes want them now; marked, so that channels that people read can
//! refuse them.

use super::destinations;
use super::routing::messages::{send_messages, Occasion};
use super::targets::Definition;
use crate::error::{state, Error, Result};
use crate::ingest::Accepted;
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::traits::catalog;
use cdp_message::{Document, Limits, Message, MessageType};
use cdp_value::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Sends events, given as rows of `cdp.events` in JSON, to one destination or to all that want them.
/// Returns how many messages go out.
pub fn replay(spi: &Spi, namespace: &Namespace, rows: &[Value], destination: Option<&str>) -> Result<usize> {
    let destination_id = destination.map(|key| find(spi, namespace, key)).transpose()?.map(|found| found.id);
    let catalog = catalog::current(spi, namespace)?;
    let calendar = catalog.calendar();
    let batch = rows.iter().map(accepted).collect::<Result<Vec<Accepted>>>()?;
    refuse_foreign(spi, namespace, &batch)?;
    let occasion = Occasion::Replay { destination_id };
    send_messages(spi, &catalog, &calendar, namespace, &batch, &[], clock::now()?, occasion)
}

/// The destination of this key, which has to take replays.
pub fn find(spi: &Spi, namespace: &Namespace, key: &str) -> Result<Definition> {
    let found = destinations::find(spi, namespace, key)?;
    let entry = cdp_delivery::destination(&found.kind).map(|destination| destination.catalogue());
    if entry.is_some_and(|entry| !cdp_delivery::takes_replays(entry, &entry.config(&found.config))) {
        return Err(Error::new(state::INVALID_DEFINITION, format!("destination \"{key}\" does not take replays"))
            .detail("Channels that people read refuse them by default.")
            .hint("To send them all the same, define it with \"accept_replays\": true in its configuration."));
    }
    Ok(found)
}

/// The rows come from the caller, and the people they name are looked up: they have to be of the namespace.
fn refuse_foreign(spi: &Spi, namespace: &Namespace, batch: &[Accepted]) -> Result<()> {
    let profile_ids: Vec<i64> = batch.iter().map(|accepted| accepted.profile_id).collect();
    let known: BTreeSet<i64> = spi
        .query(
            "SELECT profile_id FROM _cdp.profiles WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) \
                 AND namespace_id OPERATOR(pg_catalog.=) $2",
            &[Param::Int8Array(&profile_ids), Param::Int4(namespace.id)],
        )?
        .map(|row| row.i64(0))?
        .into_iter()
        .collect();
    match profile_ids.iter().find(|id| !known.contains(id)) {
        Some(id) => Err(crate::identity::resolve::nobody(&id.to_string())),
        None => Ok(()),
    }
}

fn accepted(row: &Value) -> Result<Accepted> {
    let row = row.as_object().ok_or_else(|| malformed("a row that is no object"))?;
    let kind = match text(row, "type").as_deref() {
        Some("identify") => MessageType::Identify,
        Some("page") => MessageType::Page,
        Some("screen") => MessageType::Screen,
        Some("group") => MessageType::Group,
        Some("alias") => MessageType::Alias,
        _ => MessageType::Track,
    };
    let timestamp = time(row, "timestamp").ok_or_else(|| malformed("a row without \"timestamp\""))?;
    let message = Message {
        kind,
        message_id: text(row, "message_id"),
        user_id: text(row, "user_id"),
        anonymous_id: text(row, "anonymous_id"),
        previous_ids: text(row, "previous_id").into_iter().collect(),
        group_id: text(row, "group_id"),
        other_ids: Vec::new(),
        event: text(row, "event").filter(|_| kind == MessageType::Track),
        name: text(row, "name"),
        category: text(row, "category"),
        properties: document(row, "properties"),
        traits: document(row, "traits"),
        context: document(row, "context"),
        integrations: document(row, "integrations"),
        timestamp,
        original_timestamp: time(row, "original_timestamp"),
        sent_at: time(row, "sent_at"),
        received_at: time(row, "received_at").unwrap_or(timestamp),
    };
    let message_id = message.message_id.clone().ok_or_else(|| malformed("a row without \"message_id\""))?;
    let profile_id =
        row.get("profile_id").and_then(Value::as_i64).ok_or_else(|| malformed("a row without \"profile_id\""))?;
    Ok(Accepted { message, message_id, profile_id })
}

fn malformed(what: &str) -> Error {
    Error::new("22023", format!("{what} cannot be sent again")).hint("Give rows of cdp.events: to_jsonb(e).")
}

fn text(row: &Map<String, Value>, key: &str) -> Option<String> {
    row.get(key)?.as_str().map(str::to_string)
}

fn time(row: &Map<String, Value>, key: &str) -> Option<Timestamp> {
    chrono::DateTime::parse_from_rfc3339(row.get(key)?.as_str()?).ok().map(|at| at.timestamp_micros())
}

fn document(row: &Map<String, Value>, key: &str) -> Option<Document> {
    let value = row.get(key).filter(|value| value.is_object())?;
    let limits = Limits { nesting: Limits::MAX_NESTING, ..Limits::default() };
    Document::parse(&value.to_string(), "stored", &limits).ok()
}
