//! Making, changing and dropping routes. Destination, events and filter tell routes apart.

use super::destinations;
use super::shaping;
use crate::error::{cut, state, Error, Result};
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::session;
use crate::pg::spi::Spi;
use crate::pg::transaction;
use crate::traits::{catalog, define};
use cdp_expr::{Expr, Kind};

/// A route as it was asked for.
pub struct Request<'a> {
    pub destination: &'a str,
    pub events: Option<Vec<String>>,
    pub filter: Option<&'a str>,
    pub mapping: Option<&'a str>,
    pub transform: Option<&'a str>,
    /// Categories that people have to have agreed to.
    pub consent: Vec<String>,
}

/// What tells a route apart from others.
struct Key {
    destination_id: i32,
    events: Option<Vec<String>>,
    filter: Option<String>,
}

/// Events in one order, each once.
fn events(given: Option<Vec<String>>) -> Result<Option<Vec<String>>> {
    let Some(given) = given else { return Ok(None) };
    let mut events: Vec<String> =
        given.iter().map(|event| event.trim().to_string()).filter(|e| !e.is_empty()).collect();
    events.sort();
    events.dedup();
    if events.is_empty() {
        return Err(Error::new(state::INVALID_DEFINITION, "a route names no events")
            .hint("Leave events out to send every event, or name them: ARRAY['Order Completed']."));
    }
    Ok(Some(events))
}

/// Categories of consent in one order, each once.
fn consent(given: &[String]) -> Result<Vec<&str>> {
    let mut categories: Vec<&str> = given.iter().map(String::as_str).collect();
    categories.sort_unstable();
    categories.dedup();
    match categories.iter().find(|category| !cdp_consent::is_category(category)) {
        Some(wrong) => Err(Error::new(
            state::INVALID_DEFINITION,
            format!("\"{}\" is not the name of a category of consent", cut(wrong)),
        )
        .hint("For example: consent => ARRAY['marketing'].")),
        None => Ok(categories),
    }
}

fn parse(text: &str) -> Result<Expr> {
    cdp_expr::parse(text).map_err(|error| define::expression_error(&error))
}

impl Key {
    fn of(spi: &Spi, namespace: &Namespace, request: &Request) -> Result<Key> {
        let destination = destinations::find(spi, namespace, request.destination)?;
        let filter = request.filter.map(|text| Ok::<_, Error>(cdp_expr::print(&parse(text)?))).transpose()?;
        Ok(Key { destination_id: destination.id, events: events(request.events.clone())?, filter })
    }

    /// The route with this key; one that was dropped only when `dropped` ones count.
    fn find(&self, spi: &Spi, dropped: bool) -> Result<Option<i32>> {
        let events: Option<Vec<&str>> = self.events.as_ref().map(|events| events.iter().map(String::as_str).collect());
        spi.query(
            "SELECT route_id FROM _cdp.routes WHERE destination_id OPERATOR(pg_catalog.=) $1
               AND (events OPERATOR(pg_catalog.=) $2 OR (events IS NULL AND $4))
               AND (filter OPERATOR(pg_catalog.=) $3 OR (filter IS NULL AND $3 IS NULL))
               AND ($5 OR dropped_at IS NULL)",
            &[
                Param::Int4(self.destination_id),
                Param::TextArray(events.as_deref().unwrap_or_default()),
                Param::OptionalText(self.filter.as_deref()),
                Param::Bool(events.is_none()),
                Param::Bool(dropped),
            ],
        )?
        .first(|row| row.i32(0))
    }
}

/// Makes a route, or changes its mapping and transformation. Returns its id.
pub fn define(spi: &Spi, namespace: &Namespace, request: &Request) -> Result<i32> {
    let known = define::lock(spi, namespace)?;
    let announced_traits = known.routes.announces_traits();
    let mut key = Key::of(spi, namespace, request)?;
    let names = define::known_names(spi, &known)?;
    let checked = match request.filter {
        Some(text) => Some(
            cdp_expr::check(text, Kind::RouteFilter, None, &names).map_err(|error| define::expression_error(&error))?,
        ),
        None => None,
    };
    if let Some(checked) = &checked {
        define::tell_warnings(checked);
        key.filter = Some(cdp_expr::print(&checked.expr));
    }
    request.mapping.map(shaping::parse_mapping).transpose()?;
    let transform = request.transform.map(|name| transform(spi, name)).transpose()?;
    let consent = consent(&request.consent)?;
    let owner = session::outer_role();
    let now = Param::Timestamp(clock::real());
    let id = match key.find(spi, true)? {
        Some(id) => {
            spi.execute(
                "UPDATE _cdp.routes SET mapping = $2, transform = $3, owner = $4, updated_at = $5, consent = $6, dropped_at = NULL
                 WHERE route_id OPERATOR(pg_catalog.=) $1",
                &[
                    Param::Int4(id),
                    Param::OptionalJsonb(request.mapping),
                    Param::OptionalText(transform.as_deref()),
                    Param::Text(&owner),
                    now,
                    Param::TextArray(&consent),
                ],
            )?;
            Some(id)
        }
        None => {
            let events: Option<Vec<&str>> =
                key.events.as_ref().map(|events| events.iter().map(String::as_str).collect());
            spi.query(
                "INSERT INTO _cdp.routes (namespace_id, destination_id, events, filter, mapping, transform, owner, created_at, updated_at, consent)
                 VALUES ($1, $2, CASE WHEN $9 THEN NULL ELSE $3 END, $4, $5, $6, $7, $8, $8, $10) RETURNING route_id",
                &[
                    Param::Int4(namespace.id),
                    Param::Int4(key.destination_id),
                    Param::TextArray(events.as_deref().unwrap_or_default()),
                    Param::OptionalText(key.filter.as_deref()),
                    Param::OptionalJsonb(request.mapping),
                    Param::OptionalText(transform.as_deref()),
                    Param::Text(&owner),
                    now,
                    Param::Bool(events.is_none()),
                    Param::TextArray(&consent),
                ],
            )?
            .first(|row| row.i32(0))?
        }
    };
    let id = id.ok_or_else(|| crate::error::internal("a route was not stored"))?;
    refresh(spi, namespace, checked.as_ref().map(|checked| &checked.expr))?;
    define::notice_routes(spi, namespace, announced_traits)?;
    Ok(id)
}

/// Drops the route with this destination, these events and this filter.
pub fn drop(spi: &Spi, namespace: &Namespace, request: &Request) -> Result<()> {
    let known = define::lock(spi, namespace)?;
    let mut key = Key::of(spi, namespace, request)?;
    if let Some(text) = request.filter {
        // Stored with every name resolved, where that still works.
        let names = known.names(Vec::new());
        if let Ok(checked) = cdp_expr::check(text, Kind::RouteFilter, None, &names) {
            key.filter = Some(cdp_expr::print(&checked.expr));
        }
    }
    let Some(id) = key.find(spi, false)? else {
        return Err(not_found(spi, &key, request.destination)?);
    };
    // Messages that it wanted may still wait, and are shaped by it when they are sent.
    spi.execute(
        "UPDATE _cdp.routes SET dropped_at = $2 WHERE route_id OPERATOR(pg_catalog.=) $1",
        &[Param::Int4(id), Param::Timestamp(clock::real())],
    )?;
    catalog::invalidate(spi)
}

/// Makes everybody see the change, and gives the filter's aggregates their place in the state.
fn refresh(spi: &Spi, namespace: &Namespace, filter: Option<&Expr>) -> Result<()> {
    catalog::invalidate(spi)?;
    let Some(filter) = filter else { return Ok(()) };
    let fresh = catalog::current(spi, namespace)?;
    if filter.inline(&fresh.names(Vec::new())).aggregates().is_empty() {
        return Ok(());
    }
    define::change(spi, namespace, &fresh, None, None, |_| Ok(()))
}

fn not_found(spi: &Spi, key: &Key, destination: &str) -> Result<Error> {
    let routes = spi
        .query(
            "SELECT COALESCE(pg_catalog.array_to_string(events, ', '), 'every event'), filter
             FROM _cdp.routes WHERE destination_id OPERATOR(pg_catalog.=) $1 AND dropped_at IS NULL ORDER BY route_id",
            &[Param::Int4(key.destination_id)],
        )?
        .map(|row| {
            let filter = row.optional_text(1).map(|filter| format!(" where {}", cut(&filter))).unwrap_or_default();
            Ok(format!("{}{filter}", row.text(0)?))
        })?;
    let error = Error::new(state::UNKNOWN_KEY, format!("there is no such route to \"{destination}\""));
    Ok(if routes.is_empty() {
        error.detail("There is no route to it at all.")
    } else {
        error
            .detail(format!("Its routes are: {}.", routes.join("; ")))
            .hint("Name the route's events and filter as they were defined.")
    })
}

/// The qualified name of a function from jsonb to jsonb that the caller may call.
pub fn transform(spi: &Spi, name: &str) -> Result<String> {
    const SHAPE: &str = "A transformation is a function of a schema that takes one jsonb and returns jsonb: \
                         transform => 'my_schema.my_function'.";
    let role = session::outer_role();
    let name = name.trim();
    let name = name.strip_suffix("returns jsonb").map_or(name, str::trim_end).trim_end_matches("(jsonb)");
    // A text that is no name is told like one of no function.
    let found = transaction::attempt(|| {
        spi.query(
            "SELECT pg_catalog.format('%I.%I', n.nspname, p.proname),
                    p.prokind OPERATOR(pg_catalog.=) 'f' AND NOT p.proretset
                        AND p.prorettype OPERATOR(pg_catalog.=) 'pg_catalog.jsonb'::pg_catalog.regtype,
                    pg_catalog.has_function_privilege($2, p.oid, 'EXECUTE') AND pg_catalog.has_schema_privilege($2, n.oid, 'USAGE')
             FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
             WHERE p.oid OPERATOR(pg_catalog.=) pg_catalog.to_regprocedure($1)::pg_catalog.oid",
            &[Param::Text(&format!("{name}(pg_catalog.jsonb)")), Param::Text(&role)],
        )?
        .first(|row| Ok((row.text(0)?, row.bool(1)?, row.bool(2)?)))
    });
    match found.unwrap_or(None) {
        None => {
            Err(Error::new(state::INVALID_DEFINITION, format!("function {}(jsonb) does not exist", cut(name)))
                .hint(SHAPE))
        }
        Some((name, false, _)) => {
            Err(Error::new(state::INVALID_DEFINITION, format!("{name}(jsonb) cannot transform messages"))
                .detail("It does not return one jsonb.")
                .hint(SHAPE))
        }
        Some((name, _, false)) => Err(Error::new("42501", format!("permission denied for function {name}(jsonb)"))
            .detail(format!("Role \"{role}\" may not call it."))),
        Some((name, true, true)) => Ok(name),
    }
}
