//! Which messages and changes go to which destinations.

use super::outbox::{self, Outgoing};
use crate::error::{state, unknown_key, Error, Result};
use crate::governance::gate::{self, Gate};
use crate::governance::suppression;
use crate::ingest::{stored, Accepted};
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::scoring::announce::{GRADE_CHANGED, SCORE_CHANGED};
use crate::traits::catalog::Catalog;
use crate::traits::context::PersonContext;
use crate::traits::edges;
use crate::traits::evaluate::{Cause, Change, What};
use crate::traits::person::Person;
use cdp_consent::Requirement;
use cdp_delivery::MessageKind;
use cdp_expr::Expr;
use cdp_state::Calendar;
use cdp_value::{Timestamp, Value};
use chrono::{DateTime, SecondsFormat};
use serde_json::{json, Map};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A route, ready to be asked.
pub struct Route {
    pub id: i32,
    pub destination_id: i32,
    /// Key of the destination.
    pub destination: String,
    /// Kind of the destination, by which a message's `integrations` may name it.
    pub kind: String,
    /// Names of events; None: every message.
    pub events: Option<Vec<String>>,
    pub filter: Option<Expr>,
    /// Indexes of the aggregates that the filter reads; set when the catalog is complete.
    pub aggregates: Vec<usize>,
    /// What people have to have agreed to, for the route or its destination.
    pub requirement: Requirement,
    /// Whether the filter reads traits of the person, or of the person's group; set likewise.
    pub needs_profile: bool,
    pub needs_groups: bool,
    /// Kinds of messages that the destination takes when they are sent again.
    pub replays: &'static [MessageKind],
    /// Names of which the filter leaves open whether they are computed traits; set likewise.
    pub attributes: Vec<String>,
}

/// The event by which a route hears that a trait has another value.
const TRAIT_CHANGED: &str = "Trait Changed";

impl Route {
    /// Whether changes of traits go this way. A route without names is about what people do; changes have to be asked
    /// for.
    pub fn announces_traits(&self) -> bool {
        self.events.is_some() && self.wants(TRAIT_CHANGED)
    }

    /// Whether changes of scores or grades go this way.
    pub fn announces_scores(&self) -> bool {
        self.events.is_some() && (self.wants(SCORE_CHANGED) || self.wants(GRADE_CHANGED))
    }

    fn wants(&self, event: &str) -> bool {
        match &self.events {
            None => true,
            Some(events) => events.iter().any(|wanted| wanted == event || wanted == "*"),
        }
    }
}

/// The routes of a namespace to destinations that are switched on. A paused destination keeps receiving:
/// its messages wait.
pub fn load(spi: &Spi, namespace_id: i32) -> Result<Vec<Route>> {
    spi.query_latest(
        "SELECT r.route_id, r.destination_id, d.key, d.kind, r.events, r.filter, d.config, r.consent FROM _cdp.routes AS r \
         JOIN _cdp.destinations AS d ON d.destination_id OPERATOR(pg_catalog.=) r.destination_id \
         WHERE r.namespace_id OPERATOR(pg_catalog.=) $1 AND r.dropped_at IS NULL AND d.enabled ORDER BY r.route_id",
        &[Param::Int4(namespace_id)],
    )?
    .map(|row| {
        let destination = row.text(2)?;
        let filter = match row.optional_text(5) {
            None => None,
            Some(text) => Some(cdp_expr::parse(&text).map_err(|error| {
                Error::new(
                    state::INVALID_EXPRESSION,
                    format!("the filter of a route to \"{destination}\" cannot be read: {}", error.message),
                )
                .hint("It was stored by another version of cdp; define the route again.")
            })?),
        };
        let kind = row.text(3)?;
        let config = row.optional_jsonb(6).and_then(|text| stored::json(&text)).unwrap_or_default();
        Ok(Route {
            id: row.i32(0)?,
            destination_id: row.i32(1)?,
            destination,
            requirement: gate::requirement(&kind, &config).with(&row.text_array(7)),
            replays: replays(&kind, &config),
            kind,
            events: (!row.is_null(4)).then(|| row.text_array(4)),
            filter,
            aggregates: Vec::new(),
            needs_profile: false,
            needs_groups: false,
            attributes: Vec::new(),
        })
    })
}

/// Kinds of messages that a destination takes when they are sent again.
fn replays(kind: &str, config: &serde_json::Value) -> &'static [MessageKind] {
    match cdp_delivery::destination(kind).map(|destination| destination.catalogue()) {
        Some(entry) if cdp_delivery::takes_replays(entry, &entry.config(config)) => entry.sends,
        _ => &[],
    }
}

/// Refuses keys of destinations that do not exist.
pub fn check_destinations(spi: &Spi, namespace: &Namespace, keys: &[String]) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let known = spi
        .query(
            "SELECT key FROM _cdp.destinations WHERE namespace_id OPERATOR(pg_catalog.=) $1",
            &[Param::Int4(namespace.id)],
        )?
        .map(|row| row.text(0))?;
    for key in keys {
        if !known.contains(key) {
            let error = unknown_key("destination", key, known.iter().map(String::as_str));
            return Err(match error.hint {
                Some(_) => error,
                None => error.hint("Define it with cdp.define_destination first."),
            });
        }
    }
    Ok(())
}

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

/// Calls `each` with the messages of a batch that routes want, in the order of the batch, each with its body and a route that
/// does.
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
        let integrations = accepted.message.integrations.as_ref().map(cdp_message::Document::value);
        for route in &catalog.routes {
            // What no route names goes only to those that ask for everything; changes have their own way.
            let is_meant = match occasion {
                Occasion::Arrival => true,
                Occasion::Replay { destination_id } => {
                    destination_id.is_none_or(|id| id == route.destination_id)
                        && route.replays.contains(&kind_of(&accepted.message))
                }
            };
            if is_meant && route.wants(name) && is_allowed(integrations, route) {
                wanted.push((accepted, route));
            }
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut by_id: HashMap<i64, &Person> = people.iter().map(|p| (p.profile_id, p)).collect();
    // People whose rows others hold are read as they are, for filters that ask about the person.
    let missing: BTreeSet<i64> = wanted
        .iter()
        .filter(|(accepted, route)| route.filter.is_some() && !by_id.contains_key(&accepted.profile_id))
        .map(|(accepted, _)| accepted.profile_id)
        .collect();
    let missing: Vec<i64> = missing.into_iter().collect();
    let others =
        if missing.is_empty() { Vec::new() } else { crate::traits::backfill::read_people(spi, namespace, &missing)?.1 };
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
    // A message is put together once, however many routes want it.
    for meant in wanted.chunk_by(|one, next| std::ptr::eq(one.0, next.0)) {
        let Some((accepted, _)) = meant.first() else { continue };
        let mut body = payload(accepted);
        if occasion != Occasion::Arrival {
            mark_as_replay(&mut body);
        }
        let is_filtered = meant.iter().any(|(_, route)| route.filter.is_some());
        let message = is_filtered.then(|| Value::from_json(&body));
        let person = by_id.get(&accepted.profile_id).copied().unwrap_or(&nobody);
        let mut context = PersonContext::new(catalog, person, person.instant(now), calendar, &edges);
        context.message = message.as_ref();
        for (accepted, route) in meant {
            if gate.refuses(accepted.profile_id, &route.requirement, &body).is_some() {
                continue;
            }
            if route.filter.as_ref().is_some_and(|filter| !cdp_expr::is_true(filter, &context)) {
                continue;
            }
            each(accepted, route, &body);
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

/// The ids by which the outside world knows a person: the first of each kind.
#[derive(Default, Clone)]
struct OutsideIds {
    user_id: Option<String>,
    email: Option<String>,
    anonymous_id: Option<String>,
}

/// The outside ids of people.
fn outside_ids(spi: &Spi, profile_ids: &[i64]) -> Result<HashMap<i64, OutsideIds>> {
    let mut ids: HashMap<i64, OutsideIds> = HashMap::new();
    let mut rows = spi.query(
        "SELECT profile_id, kind_id, value FROM _cdp.identifiers WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) \
             AND kind_id OPERATOR(pg_catalog.=) ANY ('{1,2,5}'::pg_catalog.int4[]) ORDER BY linked_at, value",
        &[Param::Int8Array(profile_ids)],
    )?;
    while rows.advance() {
        let entry = ids.entry(rows.i64(0)?).or_default();
        let place = match rows.i32(1)? {
            1 => &mut entry.user_id,
            2 => &mut entry.email,
            _ => &mut entry.anonymous_id,
        };
        if place.is_none() {
            *place = rows.optional_text(2);
        }
    }
    Ok(ids)
}

/// Sends changes of segments, traits and scores where routes and `sync_to` want them.
pub fn send_changes(
    spi: &Spi,
    catalog: &Catalog,
    namespace: &Namespace,
    people: &[Person],
    changes: &[Change],
    now: Timestamp,
) -> Result<()> {
    struct Wanted<'a> {
        change: &'a Change,
        event: &'static str,
        kind: MessageKind,
        key: &'a str,
        name: &'a str,
        destinations: BTreeMap<i32, Vec<&'a Route>>,
        /// Destinations that the segment itself names, and what they require.
        synced: BTreeMap<i32, &'a Requirement>,
    }
    let mut wanted: Vec<Wanted> = Vec::new();
    let destinations_by_key: HashMap<String, (i32, Requirement)> = {
        let needs = changes.iter().any(|c| {
            matches!(&c.what, What::SegmentEntered { position } | What::SegmentExited { position }
            if catalog.segments.get(*position).is_some_and(|s| !s.sync_to.is_empty()))
        });
        if needs {
            destinations(spi, namespace)?
        } else {
            HashMap::new()
        }
    };
    for change in changes {
        let (events, kind, key, name, sync_to): (Vec<&'static str>, _, _, _, &[String]) = match &change.what {
            What::SegmentEntered { position } | What::SegmentExited { position } => {
                let Some(segment) = catalog.segments.get(*position) else { continue };
                if matches!(change.what, What::SegmentEntered { .. }) {
                    (
                        vec!["Segment Entered"],
                        MessageKind::AudienceEntered,
                        segment.key.as_str(),
                        segment.name.as_str(),
                        &segment.sync_to,
                    )
                } else {
                    (
                        vec!["Segment Exited"],
                        MessageKind::AudienceExited,
                        segment.key.as_str(),
                        segment.name.as_str(),
                        &segment.sync_to,
                    )
                }
            }
            What::Trait { position, .. } => {
                let Some(found) = catalog.traits.get(*position) else { continue };
                (vec![TRAIT_CHANGED], MessageKind::TraitChanged, found.key.as_str(), found.key.as_str(), &[])
            }
            What::Score { position, change } => {
                let Some(found) = catalog.scores.get(*position) else { continue };
                let events = change.events(found).collect();
                (events, MessageKind::ScoreChanged, found.key.as_str(), found.key.as_str(), &[])
            }
        };
        for event in events {
            let mut destinations: BTreeMap<i32, Vec<&Route>> = BTreeMap::new();
            for route in &catalog.routes {
                // A route without names is about what people do; changes have to be asked for.
                if route.events.is_some() && route.wants(event) {
                    destinations.entry(route.destination_id).or_default().push(route);
                }
            }
            let mut synced = BTreeMap::new();
            for key in sync_to {
                if let Some((id, requirement)) = destinations_by_key.get(key) {
                    destinations.insert(*id, Vec::new());
                    synced.insert(*id, requirement);
                }
            }
            if !destinations.is_empty() {
                wanted.push(Wanted { change, event, kind, key, name, destinations, synced });
            }
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let profile_ids: BTreeSet<i64> = wanted.iter().map(|w| w.change.profile_id).collect();
    let requires = wanted.iter().any(|wanted| {
        let routes = wanted.destinations.values().flatten().map(|route| &route.requirement);
        routes.chain(wanted.synced.values().copied()).any(|requirement| !requirement.is_empty())
    });
    let gate = if requires || suppression::any(spi, namespace.id)? {
        Gate::open(spi, namespace.id, &profile_ids, requires)?
    } else {
        Gate::default()
    };
    let ids = outside_ids(spi, &profile_ids.into_iter().collect::<Vec<_>>())?;
    let by_id: HashMap<i64, &Person> = people.iter().map(|p| (p.profile_id, p)).collect();
    let none = edges::Edges::default();
    let calendar = catalog.calendar();
    let mut outgoing = Vec::new();
    for wanted in wanted {
        let change = wanted.change;
        let OutsideIds { user_id, email, anonymous_id } = ids.get(&change.profile_id).cloned().unwrap_or_default();
        let mut properties = Map::new();
        match &change.what {
            What::SegmentEntered { .. } | What::SegmentExited { .. } => {
                properties.insert("segment".into(), json!(wanted.key));
                properties.insert("audience_key".into(), json!(wanted.key));
                properties.insert("segment_name".into(), json!(wanted.name));
                properties.insert(wanted.key.into(), json!(matches!(change.what, What::SegmentEntered { .. })));
            }
            What::Trait { old, new, .. } => {
                let value = |json: &str| serde_json::from_str(json).unwrap_or(serde_json::Value::Null);
                properties.insert("trait".into(), json!(wanted.key));
                properties.insert("old".into(), value(old));
                properties.insert("new".into(), value(new));
            }
            What::Score { change, .. } => properties = change.properties(wanted.key),
        }
        properties.insert("profile_id".into(), json!(change.profile_id));
        properties.insert(
            "cause".into(),
            json!(match &change.cause {
                Cause::Message(id) => id.clone(),
                other => other.as_text(),
            }),
        );
        let mut body = Map::new();
        let mut traits = match &change.what {
            What::Score { change, .. } => change.traits(wanted.key),
            What::Trait { .. } => {
                let new = properties.get("new").cloned().unwrap_or_default();
                Map::from_iter([(wanted.key.to_string(), new)])
            }
            _ => Map::new(),
        };
        let is_identify = !traits.is_empty();
        let message_id = uuid::Uuid::now_v7().to_string();
        body.insert("type".into(), json!(if is_identify { "identify" } else { "track" }));
        body.insert("event".into(), json!(wanted.event));
        body.insert("messageId".into(), json!(message_id));
        if let Some(user_id) = user_id {
            body.insert("userId".into(), json!(user_id));
        }
        if let Some(anonymous_id) = anonymous_id {
            body.insert("anonymousId".into(), json!(anonymous_id));
        }
        if is_identify {
            if let (MessageKind::ScoreChanged, Some(email)) = (wanted.kind, &email) {
                traits.insert("email".into(), json!(email));
            }
            body.insert("traits".into(), serde_json::Value::Object(traits));
        }
        body.insert("properties".into(), serde_json::Value::Object(properties));
        let traits = email.map_or_else(|| json!({}), |email| json!({ "email": email }));
        body.insert(
            "context".into(),
            json!({ "traits": traits, "library": { "name": "cdp", "version": env!("CARGO_PKG_VERSION") } }),
        );
        body.insert("timestamp".into(), json!(iso(change.at)));
        let body = serde_json::Value::Object(body);
        let value = Value::from_json(&body);
        for (destination_id, routes) in wanted.destinations {
            let agreed = |requirement| gate.refuses(change.profile_id, requirement, &body).is_none();
            let synced = wanted.synced.get(&destination_id).is_some_and(|requirement| agreed(requirement));
            let passing = routes.iter().filter(|route| agreed(&route.requirement)).find(|route| {
                route.filter.as_ref().is_none_or(|filter| {
                    by_id.get(&change.profile_id).is_some_and(|person| {
                        let mut context = PersonContext::new(catalog, person, change.at.max(now), &calendar, &none);
                        context.message = Some(&value);
                        cdp_expr::is_true(filter, &context)
                    })
                })
            });
            if synced || passing.is_some() {
                outgoing.push(Outgoing {
                    profile_id: change.profile_id,
                    destination_id,
                    route_id: passing.map(|route| route.id),
                    kind: wanted.kind,
                    message_id: message_id.clone(),
                    payload: body.to_string(),
                    replay: false,
                });
            }
        }
    }
    outbox::append(spi, namespace.id, &outgoing)
}

/// The destinations that are switched on, by key, and what each requires.
fn destinations(spi: &Spi, namespace: &Namespace) -> Result<HashMap<String, (i32, Requirement)>> {
    Ok(spi
        .query(
            "SELECT key, destination_id, kind, config FROM _cdp.destinations WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND enabled",
            &[Param::Int4(namespace.id)],
        )?
        .map(|row| {
            let config = row.optional_jsonb(3).and_then(|text| stored::json(&text)).unwrap_or_default();
            Ok((row.text(0)?, (row.i32(1)?, gate::requirement(&row.text(2)?, &config))))
        })?
        .into_iter()
        .collect())
}
