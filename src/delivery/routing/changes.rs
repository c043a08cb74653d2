//! Changes of segments, traits and scores on their way to the destinations that want to hear of them.

use super::messages::iso;
use super::routes::{Route, TRAIT_CHANGED};
use crate::delivery::outbox::{self, Outgoing};
use crate::error::Result;
use crate::governance::gate::{self, Gate};
use crate::governance::suppression;
use crate::ingest::stored;
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::traits::catalog::Catalog;
use crate::traits::context::PersonContext;
use crate::traits::edges;
use crate::traits::evaluate::{Cause, Change, What};
use crate::traits::person::Person;
use cdp_consent::Requirement;
use cdp_delivery::MessageKind;
use cdp_value::{Timestamp, Value};
use serde_json::{json, Map};
use std::collections::{BTreeMap, BTreeSet, HashMap};

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
            for route in catalog.routes.wanting_changes(event) {
                destinations.entry(route.destination_id).or_default().push(route);
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
                Cause::Message(id) => id.to_string(),
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
