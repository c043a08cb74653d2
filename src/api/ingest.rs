//! The six calls of the spec, and batches.

use super::namespace;
use crate::error::{Error, Result};
use crate::ingest::quarantine::{self, Reason};
use crate::ingest::{self, inbox, Receipt};
use crate::pg::clock;
use crate::pg::function::{Call, Field, Returned};
use crate::pg::spi::Spi;
use cdp_message::Fields;

fn row(receipt: Receipt) -> Vec<Field> {
    vec![
        Field::optional_text(receipt.message_id),
        Field::optional_int8(receipt.profile_id),
        Field::Text(receipt.status.as_str().to_string()),
        Field::optional_text(receipt.reason),
    ]
}

/// A single call: what is wrong with it is an error, not a quarantined message.
fn single(call: &Call, namespace_index: usize, fields: Fields) -> Result<Returned> {
    let received_at = clock::now()?;
    let message = cdp_message::from_fields(&fields, received_at, &ingest::limits())
        .map_err(|error| Reason::message(&error).error())?;
    let receipts = Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, namespace_index)?;
        ingest::ingest(spi, &namespace, vec![Ok(message)], ingest::Strictness::Raise, received_at)
    })?;
    let receipt = receipts.into_iter().next().ok_or_else(|| crate::error::internal("a call without a receipt"))?;
    Ok(Returned::Row(row(receipt)))
}

/// `cdp.track(user_id, event, properties, anonymous_id, timestamp, context, integrations, message_id, namespace)`
pub fn track(call: &Call) -> Result<Returned> {
    let texts = [0, 1, 3, 7].map(|i| call.text(i));
    let documents = [2, 5, 6].map(|i| call.jsonb(i));
    let [user_id, event, anonymous_id, message_id] = texts.each_ref().map(Option::as_deref);
    let [properties, context, integrations] = documents.each_ref().map(Option::as_deref);
    single(
        call,
        8,
        Fields {
            kind: Some("track"),
            user_id,
            anonymous_id,
            event,
            properties,
            context,
            integrations,
            timestamp: call.timestamp(4),
            message_id,
            ..Fields::default()
        },
    )
}

/// `cdp.identify(user_id, traits, anonymous_id, timestamp, context, integrations, message_id, namespace)`
pub fn identify(call: &Call) -> Result<Returned> {
    let texts = [0, 2, 6].map(|i| call.text(i));
    let documents = [1, 4, 5].map(|i| call.jsonb(i));
    let [user_id, anonymous_id, message_id] = texts.each_ref().map(Option::as_deref);
    let [traits, context, integrations] = documents.each_ref().map(Option::as_deref);
    single(
        call,
        7,
        Fields {
            kind: Some("identify"),
            user_id,
            anonymous_id,
            traits,
            context,
            integrations,
            timestamp: call.timestamp(3),
            message_id,
            ..Fields::default()
        },
    )
}

/// `cdp.page(user_id, name, properties, category, anonymous_id, timestamp, context, integrations, message_id, namespace)`
pub fn page(call: &Call) -> Result<Returned> {
    view(call, "page")
}

/// As `cdp.page`.
pub fn screen(call: &Call) -> Result<Returned> {
    view(call, "screen")
}

fn view(call: &Call, kind: &str) -> Result<Returned> {
    let texts = [0, 1, 3, 4, 8].map(|i| call.text(i));
    let documents = [2, 6, 7].map(|i| call.jsonb(i));
    let [user_id, name, category, anonymous_id, message_id] = texts.each_ref().map(Option::as_deref);
    let [properties, context, integrations] = documents.each_ref().map(Option::as_deref);
    single(
        call,
        9,
        Fields {
            kind: Some(kind),
            user_id,
            anonymous_id,
            name,
            category,
            properties,
            context,
            integrations,
            timestamp: call.timestamp(5),
            message_id,
            ..Fields::default()
        },
    )
}

/// `cdp."group"(user_id, group_id, traits, anonymous_id, timestamp, context, integrations, message_id, namespace)`
pub fn group(call: &Call) -> Result<Returned> {
    let texts = [0, 1, 3, 7].map(|i| call.text(i));
    let documents = [2, 5, 6].map(|i| call.jsonb(i));
    let [user_id, group_id, anonymous_id, message_id] = texts.each_ref().map(Option::as_deref);
    let [traits, context, integrations] = documents.each_ref().map(Option::as_deref);
    single(
        call,
        8,
        Fields {
            kind: Some("group"),
            user_id,
            anonymous_id,
            group_id,
            traits,
            context,
            integrations,
            timestamp: call.timestamp(4),
            message_id,
            ..Fields::default()
        },
    )
}

/// `cdp.alias(user_id, previous_id, timestamp, context, integrations, message_id, namespace)`
pub fn alias(call: &Call) -> Result<Returned> {
    let texts = [0, 1, 5].map(|i| call.text(i));
    let documents = [3, 4].map(|i| call.jsonb(i));
    let [user_id, previous_id, message_id] = texts.each_ref().map(Option::as_deref);
    let [context, integrations] = documents.each_ref().map(Option::as_deref);
    single(
        call,
        6,
        Fields {
            kind: Some("alias"),
            user_id,
            previous_id,
            context,
            integrations,
            timestamp: call.timestamp(2),
            message_id,
            ..Fields::default()
        },
    )
}

/// `cdp.ingest(payload jsonb, namespace)`: one message, an array, or a batch as SDKs send it.
pub fn ingest_jsonb(call: &Call) -> Result<Returned> {
    let payload = call.jsonb(0);
    let is_batch = payload.as_deref().is_some_and(ingest::is_sdk_batch);
    ingest_payload(call, payload, is_batch)
}

/// `cdp.ingest(payload text, namespace)`: the same as JSON or NDJSON text.
pub fn ingest_text(call: &Call) -> Result<Returned> {
    ingest_payload(call, call.text(0), false)
}

fn ingest_payload(call: &Call, payload: Option<String>, batch_limits: bool) -> Result<Returned> {
    let payload = payload.ok_or_else(|| {
        Error::new("22004", "argument payload is null").hint("Give a message, an array of messages, or a batch.")
    })?;
    let received_at = clock::now()?;
    let limits = ingest::limits();
    let items = cdp_message::parse_payload(&payload, received_at, &limits, batch_limits)
        .map_err(|error| Reason::message(&error).error())?;
    let receipts = Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 1)?;
        let mut receipts = Vec::with_capacity(items.len());
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let chunk = items.by_ref().take(crate::guc::chunk_rows()).collect();
            receipts.extend(ingest::ingest(spi, &namespace, chunk, ingest::Strictness::Quarantine, received_at)?);
        }
        Ok(receipts)
    })?;
    Ok(Returned::Rows(receipts.into_iter().map(row).collect()))
}

/// Trigger function for a row of `cdp.inbox`.
pub fn inbox_row(call: &Call) -> Result<Returned> {
    inbox::add(call)?;
    Ok(Returned::TriggerRow)
}

/// Trigger function at the end of a statement on `cdp.inbox`.
pub fn inbox_end(_: &Call) -> Result<Returned> {
    inbox::flush()?;
    Ok(Returned::TriggerNothing)
}

/// `cdp.requeue_quarantine(quarantine_ids, namespace)`: takes quarantined messages again.
pub fn requeue_quarantine(call: &Call) -> Result<Returned> {
    let ids = call.int8_array(0).unwrap_or_default();
    let receipts = Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 1)?;
        let mut receipts = Vec::new();
        for taken in quarantine::take(spi, namespace.id, &ids)? {
            let items = match cdp_message::parse_payload(&taken.original, taken.received_at, &ingest::limits(), false) {
                Ok(items) => items,
                Err(error) => vec![Err(cdp_message::BadItem { error, original: taken.original })],
            };
            let meant = taken.namespace.as_deref().unwrap_or(&namespace.name);
            receipts.extend(ingest::ingest_into(spi, Some(meant), items, taken.received_at)?);
        }
        Ok(receipts)
    })?;
    Ok(Returned::Rows(receipts.into_iter().map(row).collect()))
}
