//! `cdp.attach`, `cdp.detach`, and the triggers of attached tables.

use super::namespace;
use crate::error::{internal, Error, Result};
use crate::ingest::attached::{backfill, define, rows};
use crate::pg::datum::Param;
use crate::pg::function::{Call, Field, Returned};
use crate::pg::spi::Spi;

/// `cdp.attach(source, event, user_id, timestamp, properties, traits, message_id, filter, backfill, namespace,
/// anonymous_id, on)`
pub fn attach(call: &Call) -> Result<Returned> {
    let request = define::Request {
        source: source(call)?,
        event: call.text(1),
        user_id: call.text(2),
        timestamp: call.text(3),
        properties: call.text_array(4),
        traits: call.text_array(5),
        message_id: call.text(6),
        filter: call.text(7),
        anonymous_id: call.text(10),
        on: call.text_array(11).unwrap_or_default(),
    };
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 9)?;
        let attachment_id = define::attach(spi, &namespace, &request)?;
        if call.bool(8).unwrap_or(false) {
            backfill::backfill(spi, &namespace, request.source, attachment_id)?;
        }
        attachment_row(spi, request.source, attachment_id)
    })
    .map(Returned::Row)
}

/// `cdp.detach(source, event, namespace)`
pub fn detach(call: &Call) -> Result<Returned> {
    let source = source(call)?;
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 2)?;
        define::detach(spi, &namespace, source, call.text(1).as_deref())
    })
    .map(|count| Returned::Value(Field::Int4(count)))
}

/// Trigger function for the rows that a statement inserted into an attached table.
pub fn attached_insert(call: &Call) -> Result<Returned> {
    rows::take(call, rows::Change::Insert)?;
    Ok(Returned::TriggerNothing)
}

/// Trigger function for the rows that a statement changed in an attached table.
pub fn attached_update(call: &Call) -> Result<Returned> {
    rows::take(call, rows::Change::Update)?;
    Ok(Returned::TriggerNothing)
}

fn source(call: &Call) -> Result<u32> {
    call.oid(0).ok_or_else(|| Error::new("22004", "argument source is null").hint("Give the name of a table."))
}

/// The row of `cdp.attachments`, in the order of its columns.
fn attachment_row(spi: &Spi, source: u32, attachment_id: i32) -> Result<Vec<Field>> {
    let texts = |row: &crate::pg::spi::Rows, column| {
        if row.is_null(column) {
            Field::Null
        } else {
            Field::TextArray(row.text_array(column))
        }
    };
    spi.query(
        "SELECT n.name, a.event, a.user_id, a.anonymous_id, a.\"timestamp\", a.properties, a.traits, a.message_id, a.filter, \
             a.\"on\", a.attached_at \
         FROM _cdp.attachments AS a JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) a.namespace_id \
         WHERE a.attachment_id OPERATOR(pg_catalog.=) $1",
        &[Param::Int4(attachment_id)],
    )?
    .first(|row| {
        let text = |column| Field::optional_text(row.optional_text(column));
        Ok(vec![
            Field::Text(row.text(0)?),
            Field::Oid(source),
            text(1),
            text(2),
            text(3),
            text(4),
            texts(row, 5),
            texts(row, 6),
            text(7),
            text(8),
            texts(row, 9),
            Field::Timestamp(row.timestamp(10)?),
        ])
    })?
    .ok_or_else(|| internal("an attachment was not stored"))
}
