//! Destinations, routes, dead letters.

use super::{namespace, required};
use crate::delivery::{dead_letters, destinations, probe, replay, route_definitions, shaping, trial};
use crate::error::{internal, Error, Result};
use crate::ingest::stored;
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::function::{Call, Field, Returned};
use crate::pg::session;
use crate::pg::spi::{Rows, Spi};
use crate::traits::define::check_key;
use cdp_delivery::Duplicates;
use serde_json::{Map, Value};

fn json(call: &Call, index: usize, name: &str) -> Result<Value> {
    super::document(call, index, name)?.ok_or_else(|| {
        Error::new("22004", format!("argument {name} is null")).hint("Give a JSON object, {} if it is empty.")
    })
}

/// `cdp.define_destination(key, kind, config, secrets, enabled, namespace)`
pub fn define_destination(call: &Call) -> Result<Returned> {
    let key = check_key("destination", call.text(0).as_deref())?;
    let kind = required(call, 1, "kind")?;
    let config = json(call, 2, "config")?;
    let secrets = match call.jsonb(3) {
        None => Map::new(),
        Some(_) => match json(call, 3, "secrets")? {
            Value::Object(object) => object,
            _ => {
                return Err(Error::new(crate::error::state::SECRET, "secrets are a JSON object")
                    .hint("For example: secrets => '{\"signing_secret\": \"env:CDP_HOOK_SECRET\"}'."))
            }
        },
    };
    let enabled = call.bool(4).unwrap_or(true);
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 5)?;
        let request = destinations::Request { key: &key, kind: &kind, config, secrets, enabled };
        destinations::define(spi, &namespace, request)?;
        destination_row(spi, &namespace, &key)
    })
    .map(Returned::Row)
}

/// `cdp.drop_destination(key, namespace)`
pub fn drop_destination(call: &Call) -> Result<Returned> {
    let key = required(call, 0, "key")?;
    Spi::connect(false, |spi| destinations::drop(spi, &*namespace(spi, call, 1)?, &key))?;
    Ok(Returned::Value(Field::Null))
}

/// `cdp.pause_destination(key, reason, namespace)`
pub fn pause_destination(call: &Call) -> Result<Returned> {
    let key = required(call, 0, "key")?;
    let reason = call.text(1);
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 2)?;
        destinations::pause(spi, &namespace, &key, reason.as_deref())?;
        destination_row(spi, &namespace, &key)
    })
    .map(Returned::Row)
}

/// `cdp.resume_destination(key, namespace)`
pub fn resume_destination(call: &Call) -> Result<Returned> {
    let key = required(call, 0, "key")?;
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 1)?;
        destinations::resume(spi, &namespace, &key)?;
        destination_row(spi, &namespace, &key)
    })
    .map(Returned::Row)
}

/// `cdp.test_destination(key, namespace)`
pub fn test_destination(call: &Call) -> Result<Returned> {
    let key = required(call, 0, "key")?;
    let definition = Spi::connect(false, |spi| destinations::find(spi, &*namespace(spi, call, 1)?, &key))?;
    let row = match probe::test(&definition)? {
        Ok(detail) => vec![Field::Bool(true), Field::Text(detail)],
        Err(detail) => vec![Field::Bool(false), Field::Text(detail)],
    };
    Ok(Returned::Rows(vec![row]))
}

/// `cdp.destination_kinds()`
pub fn destination_kinds(_: &Call) -> Result<Returned> {
    let rows = cdp_delivery::catalogue().iter().map(|entry| {
        let duplicates = match entry.duplicates {
            Duplicates::Dropped => "dropped",
            Duplicates::Overwrite => "overwrite",
            Duplicates::Visible => "visible",
        };
        vec![
            Field::Text(entry.kind.to_string()),
            Field::Text(entry.name.to_string()),
            Field::Text(entry.category.as_str().to_string()),
            Field::Text(entry.description.to_string()),
            Field::Text(duplicates.to_string()),
            Field::Jsonb(entry.schema().to_string()),
        ]
    });
    Ok(Returned::Rows(rows.collect()))
}

/// `cdp.define_route(destination, events, filter, mapping, transform, namespace, consent)`
pub fn define_route(call: &Call) -> Result<Returned> {
    let (mapping, transform) = (call.jsonb(3), call.text(4));
    let destination = required(call, 0, "destination")?;
    let filter = call.text(2);
    let request = route_definitions::Request {
        destination: &destination,
        events: call.text_array(1),
        filter: filter.as_deref(),
        mapping: mapping.as_deref(),
        transform: transform.as_deref(),
        consent: call.text_array(6).unwrap_or_default(),
    };
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 5)?;
        let id = route_definitions::define(spi, &namespace, &request)?;
        route_row(spi, &namespace, id)
    })
    .map(Returned::Row)
}

/// `cdp.drop_route(destination, events, filter, namespace)`
pub fn drop_route(call: &Call) -> Result<Returned> {
    let destination = required(call, 0, "destination")?;
    let filter = call.text(2);
    let request = route_definitions::Request {
        destination: &destination,
        events: call.text_array(1),
        filter: filter.as_deref(),
        mapping: None,
        transform: None,
        consent: Vec::new(),
    };
    Spi::connect(false, |spi| route_definitions::drop(spi, &*namespace(spi, call, 3)?, &request))?;
    Ok(Returned::Value(Field::Null))
}

/// `cdp.try_route(destination, message, mapping, transform, namespace)`
pub fn try_route(call: &Call) -> Result<Returned> {
    let destination = required(call, 0, "destination")?;
    let message = json(call, 1, "message")?;
    let (mapping, transform) = (call.jsonb(2), call.text(3));
    let trial = Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 4)?;
        let definition = destinations::find(spi, &namespace, &destination)?;
        if mapping.is_none() && transform.is_none() {
            return trial::run_own(spi, &namespace, &definition, message);
        }
        let shape = shaping::Shape {
            consent: Vec::new(),
            mapping: mapping.as_deref().map(shaping::parse_mapping).transpose()?,
            transform: match &transform {
                None => None,
                Some(name) => Some(shaping::Transform {
                    function: route_definitions::transform(spi, name)?,
                    owner: session::outer_role(),
                }),
            },
        };
        trial::run(spi, &definition, &shape, trial::checked(message)?)
    })?;
    Ok(Returned::Rows(vec![vec![
        Field::Text(trial.outcome.to_string()),
        Field::optional_jsonb(trial.message.map(|message| message.to_string())),
        Field::optional_text(trial.request),
        Field::optional_text(trial.detail),
    ]]))
}

/// `cdp.replay_events(events, destination, namespace)`
pub fn replay_events(call: &Call) -> Result<Returned> {
    let events = call.jsonb_array(0).unwrap_or_default();
    let events: Vec<Value> = events.iter().filter_map(|text| stored::json(text)).collect();
    let destination = call.text(1);
    let count = Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 2)?;
        replay::replay(spi, &namespace, &events, destination.as_deref())
    })?;
    Ok(Returned::Value(Field::Int8(count as i64)))
}

/// `cdp.retry_dead_letters(delivery_ids)`
pub fn retry_dead_letters(call: &Call) -> Result<Returned> {
    let ids = call.int8_array(0).unwrap_or_default();
    let count = Spi::connect(false, |spi| dead_letters::retry(spi, &ids))?;
    Ok(Returned::Value(Field::Int8(count)))
}

/// `_cdp.announce_workers()`: called at the end of CREATE EXTENSION.
pub fn announce_workers(_: &Call) -> Result<Returned> {
    crate::workers::announce();
    Ok(Returned::Value(Field::Null))
}

/// The row of `cdp.destinations`, in the order of its columns.
fn destination_row(spi: &Spi, namespace: &Namespace, key: &str) -> Result<Vec<Field>> {
    let optional_int8 = |row: &Rows, column| Field::optional_int8(row.optional_i64(column));
    spi.query(
        "SELECT namespace, key, kind, config, secrets, enabled, paused_at, paused_reason,
                delivered, discarded, retried, rejected, repeated,
                latency_p50_ms, latency_p95_ms, latency_p99_ms, lag_p50_ms, lag_p95_ms, lag_p99_ms,
                last_delivered_at, last_error, last_error_at, created_at, updated_at
         FROM cdp.destinations WHERE namespace OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
        &[Param::Text(&namespace.name), Param::Text(key)],
    )?
    .first(|row| {
        let mut fields = vec![
            Field::Text(row.text(0)?),
            Field::Text(row.text(1)?),
            Field::Text(row.text(2)?),
            Field::optional_jsonb(row.optional_jsonb(3)),
            Field::optional_jsonb(row.optional_jsonb(4)),
            Field::Bool(row.bool(5)?),
            Field::optional_timestamp(row.optional_timestamp(6)),
            Field::optional_text(row.optional_text(7)),
        ];
        fields.extend((8..19).map(|column| optional_int8(row, column)));
        fields.extend([
            Field::optional_timestamp(row.optional_timestamp(19)),
            Field::optional_text(row.optional_text(20)),
            Field::optional_timestamp(row.optional_timestamp(21)),
            Field::Timestamp(row.timestamp(22)?),
            Field::Timestamp(row.timestamp(23)?),
        ]);
        Ok(fields)
    })?
    .ok_or_else(|| internal("a destination was not stored"))
}

/// The row of `cdp.routes`, in the order of its columns.
fn route_row(spi: &Spi, namespace: &Namespace, route_id: i32) -> Result<Vec<Field>> {
    spi.query(
        "SELECT d.key, r.events, r.filter, r.mapping, r.transform, r.consent, r.owner, r.created_at, r.updated_at
         FROM _cdp.routes AS r JOIN _cdp.destinations AS d ON d.destination_id OPERATOR(pg_catalog.=) r.destination_id
         WHERE r.route_id OPERATOR(pg_catalog.=) $1",
        &[Param::Int4(route_id)],
    )?
    .first(|row| {
        Ok(vec![
            Field::Text(namespace.name.clone()),
            Field::Text(row.text(0)?),
            if row.is_null(1) { Field::Null } else { Field::TextArray(row.text_array(1)) },
            Field::optional_text(row.optional_text(2)),
            Field::optional_jsonb(row.optional_jsonb(3)),
            Field::optional_text(row.optional_text(4)),
            Field::TextArray(row.text_array(5)),
            Field::Text(row.text(6)?),
            Field::Timestamp(row.timestamp(7)?),
            Field::Timestamp(row.timestamp(8)?),
        ])
    })?
    .ok_or_else(|| internal("a route was not stored"))
}
