//! Messages on their way to the destinations that routes name.

use super::routes::Route;
use crate::delivery::outbox::{self, Outgoing};
use crate::error::Result;
use crate::governance::gate::Gate;
use crate::ingest::Accepted;
use crate::namespaces::Namespace;
use crate::pg::spi::Spi;
use crate::traits::backfill;
use crate::traits::catalog::Catalog;
use crate::traits::context::PersonContext;
use crate::traits::edges;
use crate::traits::person::Person;
use cdp_delivery::MessageKind;
use cdp_message::Document;
use cdp_state::Calendar;
use cdp_value::{Timestamp, Value};
use chrono::{DateTime, SecondsFormat};
use rustc_hash::FxHashMap;
use serde_json::{json, Map};
use std::collections::BTreeSet;

/// The times of the spec: ISO 8601, UTC, milliseconds or finer where there is something finer.
pub fn iso(at: Timestamp) -> String {
    let format = if at % 1_000 == 0 { SecondsFormat::Millis } else { SecondsFormat::Micros };
    DateTime::from_timestamp_micros(at).unwrap_or(DateTime::UNIX_EPOCH).to_rfc3339_opts(format, true)
}

/// A message in the spec's camelCase JSON.
pub fn payload(accepted: &Accepted) -> serde_json::Value {
    let message = &accepted.message;
    let mut body = Map::new();
    body.insert("type".into(), json!(message.kind.as_str()));
    body.insert("messageId".into(), json!(accepted.message_id));
    let texts = [
        ("userId", message.user_id.as_deref()),
        ("anonymousId", message.anonymous_id.as_deref()),
        ("previousId", message.previous_id()),
        ("groupId", message.group_id.as_deref()),
        ("event", message.event.as_deref()),
        ("name", message.name.as_deref()),
        ("category", message.category.as_deref()),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            body.insert(key.into(), json!(text));
        }
    }
    let documents = [
        ("properties", &message.properties),
        ("traits", &message.traits),
        ("context", &message.context),
        ("integrations", &message.integrations),
    ];
    for (key, document) in documents {
        if let Some(document) = document {
            body.insert(key.into(), document.value().clone());
        }
    }
    body.insert("timestamp".into(), json!(iso(message.timestamp)));
    if let Some(at) = message.original_timestamp {
        body.insert("originalTimestamp".into(), json!(iso(at)));
    }
    if let Some(at) = message.sent_at {
        body.insert("sentAt".into(), json!(iso(at)));
    }
    body.insert("receivedAt".into(), json!(iso(message.received_at)));
    serde_json::Value::Object(body)
}

/// A message of which only the properties are there.
fn properties(accepted: &Accepted) -> Value {
    let properties = accepted.message.properties.as_ref().map(|document| Value::from_json(document.value()));
    Value::Object(properties.map(|properties| ("properties".to_string(), properties)).into_iter().collect())
}

/// Says in the context that a message is sent again, so that its receiver can tell.
fn mark_as_replay(body: &mut serde_json::Value) {
    if let Some(body) = body.as_object_mut() {
        let context = body.entry("context").or_insert_with(|| json!({}));
        if let Some(context) = context.as_object_mut() {
            context.insert("replay".into(), json!(true));
        }
    }
}

fn kind_of(message: &cdp_message::Message) -> MessageKind {
    match message.kind {
        cdp_message::MessageType::Track => MessageKind::Track,
        cdp_message::MessageType::Identify => MessageKind::Identify,
        cdp_message::MessageType::Page => MessageKind::Page,
        cdp_message::MessageType::Screen => MessageKind::Screen,
        cdp_message::MessageType::Group => MessageKind::Group,
        cdp_message::MessageType::Alias => MessageKind::Alias,
    }
}

/// The name by which routes ask for a message: an event's own, else that of the call.
fn route_name(message: &cdp_message::Message) -> &str {
    match message.kind {
        cdp_message::MessageType::Identify => "identify",
        cdp_message::MessageType::Group => "group",
        cdp_message::MessageType::Alias => "alias",
        _ => message.event_name().unwrap_or(""),
    }
}

/// Whether the message's `integrations` let it go to a destination: `All` is true unless said otherwise, and
/// the destination may be named by its key or its kind.
fn is_allowed(integrations: Option<&serde_json::Value>, route: &Route) -> bool {
    let Some(serde_json::Value::Object(flags)) = integrations else { return true };
    let is_on = |value: &serde_json::Value| !matches!(value, serde_json::Value::Bool(false));
    let named = flags.iter().find(|(name, _)| **name == route.destination || name.eq_ignore_ascii_case(&route.kind));
    match named {
        Some((_, value)) => is_on(value),
        None => flags.iter().find(|(name, _)| name.eq_ignore_ascii_case("all")).is_none_or(|(_, value)| is_on(value)),
    }
}

/// Why messages are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// They just came in.
    Arrival,
    /// Somebody wants them sent again, perhaps to one destination only.
    Replay { destination_id: Option<i32> },
}

/// Calls `each` with the messages of a batch that routes want, in the order of the batch, each with its body and a
/// route that does.
#[allow(clippy::too_many_arguments)]
pub fn each_wanted<'b>(
    spi: &Spi,
    catalog: &'b Catalog,
    calendar: &dyn Calendar,
    namespace: &Namespace,
    batch: &'b [Accepted],
    people: &[Person],
    now: Timestamp,
    occasion: Occasion,
    mut each: impl FnMut(&'b Accepted, &'b Route, &serde_json::Value),
) -> Result<()> {
    let mut wanted: Vec<(&Accepted, &Route)> = Vec::new();
    for accepted in batch {
        let name = route_name(&accepted.message);
        let integrations = accepted.message.integrations.as_ref().map(Document::value);
        for route in catalog.routes.wanting(name) {
            let is_meant = match occasion {
                Occasion::Arrival => true,
                Occasion::Replay { destination_id } => {
                    destination_id.is_none_or(|id| id == route.destination_id)
                        && route.replays.contains(&kind_of(&accepted.message))
                }
            };
            if is_meant && is_allowed(integrations, route) {
                wanted.push((accepted, route));
            }
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut by_id: FxHashMap<i64, &Person> = people.iter().map(|p| (p.profile_id, p)).collect();
    // People whose rows others hold are read as they are, for filters that ask about the person.
    let missing: BTreeSet<i64> = wanted
        .iter()
        .filter(|(accepted, route)| route.filter.is_some() && !by_id.contains_key(&accepted.profile_id))
        .map(|(accepted, _)| accepted.profile_id)
        .collect();
    let missing: Vec<i64> = missing.into_iter().collect();
    let others = if missing.is_empty() { Vec::new() } else { backfill::read_people(spi, namespace, &missing)?.1 };
    by_id.extend(others.iter().map(|p| (p.profile_id, p)));
    let filters = wanted.iter().filter(|(_, route)| !route.aggregates.is_empty());
    let edges = edges::read(
        spi,
        catalog,
        filters.filter_map(|(accepted, route)| {
            let person = *by_id.get(&accepted.profile_id)?;
            Some((person, person.instant(now), route.aggregates.as_slice()))
        }),
    )?;
    // Messages that arrive are not of suppressed people; those of a replay may be.
    let requires = wanted.iter().any(|(_, route)| !route.requirement.is_empty());
    let gate = if requires || occasion != Occasion::Arrival {
        let about = wanted.iter().map(|(accepted, _)| accepted.profile_id).collect();
        Gate::open(spi, namespace.id, &about, requires)?
    } else {
        Gate::default()
    };
    let nobody = Person::new(0, namespace.id, now, catalog.version);
    // A message is put together once, however many routes want it, and only if it passes the filters that read nothing
    // but properties: most do not.
    for meant in wanted.chunk_by(|one, next| std::ptr::eq(one.0, next.0)) {
        let Some((accepted, _)) = meant.first() else { continue };
        let person = by_id.get(&accepted.profile_id).copied().unwrap_or(&nobody);
        let passes = |route: &Route, message: &Value| {
            route.filter.as_ref().is_none_or(|filter| {
                let mut context = PersonContext::new(catalog, person, person.instant(now), calendar, &edges);
                context.message = Some(message);
                cdp_expr::is_true(filter, &context)
            })
        };
        let lean = if meant.iter().any(|(_, route)| route.reads_properties_only()) {
            properties(accepted)
        } else {
            Value::Null
        };
        let mut open = meant.iter().filter(|(_, route)| route.needs_message || passes(route, &lean)).peekable();
        if open.peek().is_none() {
            continue;
        }
        let mut body = payload(accepted);
        if occasion != Occasion::Arrival {
            mark_as_replay(&mut body);
        }
        let whole =
            if meant.iter().any(|(_, route)| route.needs_message) { Value::from_json(&body) } else { Value::Null };
        for (accepted, route) in open {
            let is_refused = gate.refuses(accepted.profile_id, &route.requirement, &body).is_some();
            if !is_refused && (!route.needs_message || passes(route, &whole)) {
                each(accepted, route, &body);
            }
        }
    }
    Ok(())
}

/// Sends the messages of a batch where routes want them. Returns how many go out.
#[allow(clippy::too_many_arguments)]
pub fn send_messages(
    spi: &Spi,
    catalog: &Catalog,
    calendar: &dyn Calendar,
    namespace: &Namespace,
    batch: &[Accepted],
    people: &[Person],
    now: Timestamp,
    occasion: Occasion,
) -> Result<usize> {
    if catalog.routes.is_empty() {
        return Ok(0);
    }
    let mut outgoing = Vec::new();
    let mut sent: BTreeSet<(&str, i32)> = BTreeSet::new();
    each_wanted(spi, catalog, calendar, namespace, batch, people, now, occasion, |accepted, route, body| {
        // Two routes to one destination that both want a message send it once.
        if sent.insert((accepted.message_id.as_str(), route.destination_id)) {
            outgoing.push(Outgoing {
                profile_id: accepted.profile_id,
                destination_id: route.destination_id,
                route_id: Some(route.id),
                kind: kind_of(&accepted.message),
                message_id: accepted.message_id.clone(),
                payload: body.to_string(),
                replay: occasion != Occasion::Arrival,
            });
        }
    })?;
    outbox::append(spi, namespace.id, &outgoing)?;
    Ok(outgoing.len())
}
