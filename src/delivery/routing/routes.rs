//! Routes: which messages and changes go to which destinations.

use crate::error::{state, unknown_key, Error, Result};
use crate::governance::gate;
use crate::ingest::stored;
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::scoring::announce::{GRADE_CHANGED, SCORE_CHANGED};
use cdp_consent::Requirement;
use cdp_delivery::MessageKind;
use cdp_expr::Expr;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;

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
    /// Whether the filter reads more of a message than its properties; set when the catalog is complete.
    pub needs_message: bool,
    /// Indexes of the aggregates that the filter reads; set likewise.
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
pub(super) const TRAIT_CHANGED: &str = "Trait Changed";

impl Route {
    /// Whether its filter can be asked about a message before this is put together.
    pub(super) fn reads_properties_only(&self) -> bool {
        self.filter.is_some() && !self.needs_message
    }

    /// Whether it takes messages of every name.
    fn wants_everything(&self) -> bool {
        self.events.as_ref().is_none_or(|events| events.iter().any(|event| event == "*"))
    }
}

/// The routes of a namespace, and which of them want what.
#[derive(Default)]
pub struct Routes {
    all: Vec<Route>,
    /// Positions of the routes that want messages of a name, those that want everything among them.
    by_name: FxHashMap<String, Vec<usize>>,
    /// Positions of the routes that want everything.
    of_everything: Vec<usize>,
}

impl Routes {
    fn new(all: Vec<Route>) -> Routes {
        let of = |wants: &dyn Fn(&Route) -> bool| -> Vec<usize> {
            all.iter().enumerate().filter(|(_, route)| wants(route)).map(|(position, _)| position).collect()
        };
        let of_everything = of(&Route::wants_everything);
        let mut by_name: FxHashMap<String, Vec<usize>> = FxHashMap::default();
        for (position, route) in all.iter().enumerate().filter(|(_, route)| !route.wants_everything()) {
            let names: BTreeSet<&String> = route.events.iter().flatten().collect();
            for name in names {
                by_name.entry(name.clone()).or_insert_with(|| of_everything.clone()).push(position);
            }
        }
        by_name.values_mut().for_each(|positions| positions.sort_unstable());
        Routes { all, by_name, of_everything }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.all.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Route> {
        self.all.iter_mut()
    }

    /// The routes that want messages of this name.
    pub fn wanting(&self, name: &str) -> impl Iterator<Item = &Route> {
        let positions = self.by_name.get(name).unwrap_or(&self.of_everything);
        positions.iter().filter_map(|position| self.all.get(*position))
    }

    /// The routes that want changes by this name. A route without names is about what people do; changes have to be
    /// asked for.
    pub fn wanting_changes(&self, name: &str) -> impl Iterator<Item = &Route> {
        self.wanting(name).filter(|route| route.events.is_some())
    }

    /// Whether some route wants to hear of changes of traits.
    pub fn announces_traits(&self) -> bool {
        self.wanting_changes(TRAIT_CHANGED).next().is_some()
    }

    /// Whether some route wants to hear of changes of scores or grades.
    pub fn announces_scores(&self) -> bool {
        [SCORE_CHANGED, GRADE_CHANGED].iter().any(|name| self.wanting_changes(name).next().is_some())
    }
}

/// The routes of a namespace to destinations that are switched on. A paused destination keeps receiving:
/// its messages wait.
pub fn load(spi: &Spi, namespace_id: i32) -> Result<Routes> {
    let all = spi.query_latest(
        "SELECT r.route_id, r.destination_id, d.key, d.kind, r.events, r.filter, d.config, r.consent FROM _cdp.routes AS r \
         JOIN _cdp.destinations AS d ON d.destination_id OPERATOR(pg_catalog.=) r.destination_id \
         WHERE r.namespace_id OPERATOR(pg_catalog.=) $1 AND r.dropped_at IS NULL AND d.enabled ORDER BY r.route_id",
        &[Param::Int4(namespace_id)],
    )?
    .map(|row| {
        let destination = row.text(2)?;
        let filter = match row.optional_text(5) {
            None => None,
            Some(text) => Some(crate::traits::catalog::parse(&text).map_err(|error| {
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
            needs_message: false,
            aggregates: Vec::new(),
            needs_profile: false,
            needs_groups: false,
            attributes: Vec::new(),
        })
    })?;
    Ok(Routes::new(all))
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
            return Err(match known.is_empty() {
                false => error,
                true => error.hint("Define it with cdp.define_destination first."),
            });
        }
    }
    Ok(())
}
