//! `cdp.inbox`: rows of INSERT and COPY are gathered and go through the pipeline in chunks, within the
//! statement that brings them.

use super::{ingest_into, limits, Incoming};
use crate::error::Result;
use crate::guc;
use crate::pg::function::Call;
use crate::pg::spi::Spi;
use crate::pg::{clock, transaction};
use cdp_message::{BadItem, Fields};
use serde_json::{json, Map};
use std::cell::RefCell;

struct Row {
    /// The subtransaction that brought the row; if it rolls back, the row is gone.
    subtransaction: u32,
    namespace: Option<String>,
    incoming: Incoming,
}

thread_local! {
    static ROWS: RefCell<Vec<Row>> = const { RefCell::new(Vec::new()) };
}

/// Drops the rows that a subtransaction, or one within it, brought; 0 stands for all.
pub fn forget(subtransaction: u32) {
    // Called when a transaction ends: must not fail.
    let _ = ROWS.try_with(|rows| {
        if let Ok(mut rows) = rows.try_borrow_mut() {
            rows.retain(|row| row.subtransaction < subtransaction);
        }
    });
}

/// Takes a row of the view.
pub fn add(call: &Call) -> Result<()> {
    let row = call.trigger_row()?;
    let received_at = clock::now()?;
    let texts = [0, 1, 2, 3, 4, 5, 10, 11, 14].map(|column| row.text(column));
    let documents = [6, 7, 8, 9].map(|column| row.jsonb(column));
    let [kind, user_id, anonymous_id, event, name, category, group_id, previous_id, message_id] =
        texts.each_ref().map(Option::as_deref);
    let [properties, traits, context, integrations] = documents.each_ref().map(Option::as_deref);
    let fields = Fields {
        kind: Some(kind.unwrap_or("track")),
        user_id,
        anonymous_id,
        previous_id,
        group_id,
        event,
        name,
        category,
        properties,
        traits,
        context,
        integrations,
        timestamp: row.timestamp(12),
        original_timestamp: None,
        sent_at: row.timestamp(13),
        message_id,
    };
    let incoming = cdp_message::from_fields(&fields, received_at, &limits())
        .map_err(|error| BadItem { error, original: original(&fields) });
    let gathered = ROWS.with_borrow_mut(|rows| {
        rows.push(Row { subtransaction: transaction::subtransaction(), namespace: row.text(15), incoming });
        rows.len()
    });
    if gathered >= guc::chunk_rows() {
        flush()?;
    }
    Ok(())
}

/// Sends what was gathered through the pipeline.
pub fn flush() -> Result<()> {
    let rows = ROWS.take();
    if rows.is_empty() {
        return Ok(());
    }
    let received_at = clock::now()?;
    Spi::connect(false, |spi| {
        let mut rows = rows.into_iter().peekable();
        while let Some(first) = rows.next() {
            let namespace_name = first.namespace;
            let mut batch = vec![first.incoming];
            while let Some(row) = rows.next_if(|row| row.namespace == namespace_name) {
                batch.push(row.incoming);
            }
            ingest_into(spi, namespace_name.as_deref(), batch, received_at)?;
        }
        Ok(())
    })
}

/// A refused row as the message it was meant to be.
fn original(fields: &Fields) -> String {
    let mut body = Map::new();
    let texts = [
        ("type", fields.kind),
        ("userId", fields.user_id),
        ("anonymousId", fields.anonymous_id),
        ("previousId", fields.previous_id),
        ("groupId", fields.group_id),
        ("event", fields.event),
        ("name", fields.name),
        ("category", fields.category),
        ("messageId", fields.message_id),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            body.insert(key.to_string(), json!(text));
        }
    }
    let documents = [
        ("properties", fields.properties),
        ("traits", fields.traits),
        ("context", fields.context),
        ("integrations", fields.integrations),
    ];
    for (key, text) in documents {
        if let Some(value) = text.and_then(|t| serde_json::from_str::<serde_json::Value>(t).ok()) {
            body.insert(key.to_string(), value);
        }
    }
    for (key, at) in [("timestamp", fields.timestamp), ("sentAt", fields.sent_at)] {
        if let Some(at) = at {
            body.insert(key.to_string(), json!(crate::delivery::routing::messages::iso(at)));
        }
    }
    serde_json::Value::Object(body).to_string()
}
