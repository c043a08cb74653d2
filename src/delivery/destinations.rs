//! Making, changing, pausing and dropping destinations.

use super::secrets::{self, Place};
use super::targets::{self, Definition};
use crate::error::{state, unknown_key, Error, Result};
use crate::guc;
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::guard::warn;
use crate::pg::spi::Spi;
use crate::pg::{session, wake};
use crate::traits::{catalog, define};
use cdp_delivery::config::FieldKind;
use cdp_delivery::ssrf::{check_url, AllowList};
use cdp_delivery::{take_secrets, CatalogueEntry, ConfigError, Destination, Secrets};
use serde_json::{Map, Value};

/// A destination as it was asked for.
pub struct Request<'a> {
    pub key: &'a str,
    pub kind: &'a str,
    pub config: Value,
    pub secrets: Map<String, Value>,
    pub enabled: bool,
}

/// The code of a kind of destination.
fn code(kind: &str) -> Result<&'static dyn Destination> {
    cdp_delivery::destination(kind).ok_or_else(|| {
        let kinds: Vec<&str> = cdp_delivery::catalogue().iter().map(|entry| entry.kind).collect();
        unknown_key("kind of destination", kind, kinds.into_iter())
    })
}

fn invalid(key: &str, errors: &[ConfigError]) -> Error {
    let meant = |error: &ConfigError| error.hint.clone().filter(|hint| hint.starts_with("did you mean"));
    let several = errors.iter().filter(|error| meant(error).is_some()).count() > 1;
    let told = |error: &ConfigError| match meant(error).filter(|_| several) {
        // The hint of the whole can only be about one of them.
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    };
    let detail: Vec<String> = errors.iter().map(told).collect();
    let error =
        Error::new(state::INVALID_DEFINITION, format!("the configuration of destination \"{key}\" is not valid"))
            .detail(detail.join("; "));
    match errors.iter().find_map(|error| error.hint.clone()) {
        Some(hint) => error.hint(sentence(&hint)),
        None => error.hint("cdp.destination_kinds() shows what a configuration holds."),
    }
}

/// With a capital first letter and an end.
pub fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    let end = if text.ends_with(['.', '?', '!']) { "" } else { "." };
    format!("{first}{}{end}", characters.as_str())
}

fn check_secret_names(entry: &CatalogueEntry, given: &Map<String, Value>) -> Result<()> {
    let known = || entry.secrets.iter().map(|field| field.name);
    match given.keys().find(|name| known().all(|k| k != name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let error = unknown_key(&format!("a secret of {} named", entry.name), name, known());
            Err(if entry.secrets.is_empty() { error.hint("It has no secrets.") } else { error })
        }
    }
}

/// Makes or changes a destination.
pub fn define(spi: &Spi, namespace: &Namespace, request: Request) -> Result<()> {
    let Request { key, kind, mut config, secrets: given, enabled } = request;
    let announced_traits = catalog::current(spi, namespace)?.routes.announces_traits();
    let code = code(kind)?;
    let entry = code.catalogue();
    // Secrets may stand in the configuration, as vendors show it; they are not kept there.
    let mut all = if config.is_object() { take_secrets(entry, &mut config) } else { Map::new() };
    all.extend(given);
    check_secret_names(entry, &all)?;
    code.validate(&config).map_err(|errors| invalid(key, &errors))?;
    let place = Place { namespace_id: namespace.id, destination: key };
    let stored = secrets::store(&place, &all)?;
    let present: Secrets = stored.keys().map(|name| (name.as_str(), "present")).collect();
    code.validate_secrets(&config, &present).map_err(|errors| invalid(key, &errors))?;

    refuse_other_kind(spi, namespace, key, kind)?;
    let now = clock::real();
    let secrets_text = Value::Object(stored.clone()).to_string();
    let id = spi
        .query(
            "INSERT INTO _cdp.destinations AS d (namespace_id, key, kind, config, secrets, enabled, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
             ON CONFLICT (namespace_id, key) DO UPDATE SET kind = EXCLUDED.kind, config = EXCLUDED.config,
                 secrets = EXCLUDED.secrets, enabled = EXCLUDED.enabled, updated_at = EXCLUDED.updated_at,
                 paused_at = CASE WHEN d.paused_by IS NULL THEN NULL ELSE d.paused_at END,
                 paused_reason = CASE WHEN d.paused_by IS NULL THEN NULL ELSE d.paused_reason END, lacks = NULL
             RETURNING destination_id",
            &[
                Param::Int4(namespace.id),
                Param::Text(key),
                Param::Text(kind),
                Param::Jsonb(&config.to_string()),
                Param::Jsonb(&secrets_text),
                Param::Bool(enabled),
                Param::Timestamp(now),
            ],
        )?
        .first(|row| row.i32(0))?
        .ok_or_else(|| crate::error::internal("a destination was not stored"))?;
    spi.execute(
        "INSERT INTO _cdp.destination_statistics (destination_id) VALUES ($1) ON CONFLICT (destination_id) DO NOTHING",
        &[Param::Int4(id)],
    )?;
    if let Err(error) = secrets::open(&place, &stored) {
        let detail = error.detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        warn(
            &format!("{}{detail}; nothing is sent to \"{key}\" until it is there", error.message),
            error.hint.as_deref(),
        );
    }
    warn_of_refused_urls(entry, &config, key);
    warn_of_credentials(entry, &config);
    catalog::invalidate(spi)?;
    define::notice_routes(spi, namespace, announced_traits)?;
    wake::request();
    Ok(())
}

/// What waits was meant for a system of the kind that it was: it must not go to another.
fn refuse_other_kind(spi: &Spi, namespace: &Namespace, key: &str, kind: &str) -> Result<()> {
    let before = spi
        .query(
            "SELECT destination_id, kind FROM _cdp.destinations WHERE namespace_id OPERATOR(pg_catalog.=) $1 \
                 AND key OPERATOR(pg_catalog.=) $2 FOR UPDATE",
            &[Param::Int4(namespace.id), Param::Text(key)],
        )?
        .first(|row| Ok((row.i32(0)?, row.text(1)?)))?;
    let Some((id, before)) = before.filter(|(_, before)| before != kind) else { return Ok(()) };
    let waiting = spi
        .query(
            "SELECT (SELECT pg_catalog.count(*) FROM _cdp.deliveries WHERE destination_id OPERATOR(pg_catalog.=) $1) \
                 OPERATOR(pg_catalog.+) (SELECT pg_catalog.count(*) FROM _cdp.retries WHERE destination_id OPERATOR(pg_catalog.=) $1)",
            &[Param::Int4(id)],
        )?
        .first(|row| row.i64(0))?
        .unwrap_or(0);
    if waiting == 0 {
        return Ok(());
    }
    Err(Error::new(state::IN_USE, format!("destination \"{key}\" is of kind {before}, and messages wait for it"))
        .detail(format!("Messages that wait: {waiting}."))
        .hint(format!(
            "Give the {kind} another key. Or change this one when they are sent (cdp.deliveries shows them), or drop it with them."
        )))
}

/// Says at once what would otherwise show in the dead letters.
fn warn_of_refused_urls(entry: &CatalogueEntry, config: &Value, key: &str) {
    let Ok(allowed) = AllowList::parse(&guc::http_allow_hosts()) else { return };
    let fields = entry.fields.iter().filter(|field| field.kind == FieldKind::Url);
    for url in fields.filter_map(|field| entry.config(config).text(field.name)) {
        if let Err(error) = check_url(&url, &allowed) {
            warn(
                &format!("requests to \"{key}\" will be refused: {error}"),
                Some("A superuser can open hosts with cdp.http_allow_hosts in postgresql.conf."),
            );
        }
    }
}

/// A header that could be a secret is kept in clear.
fn warn_of_credentials(entry: &CatalogueEntry, config: &Value) {
    let headers = config.get("headers").and_then(Value::as_object);
    for name in headers.into_iter().flat_map(Map::keys) {
        if let Some(secret) = entry.secrets.iter().find(|secret| name.eq_ignore_ascii_case(secret.name)) {
            warn(
                &format!("the header {name} is kept in clear"),
                Some(&format!("Give it as a secret instead: secrets => '{{\"{}\": \"env:CDP_NAME\"}}'.", secret.name)),
            );
        }
    }
}

/// The definition of this key.
pub fn find(spi: &Spi, namespace: &Namespace, key: &str) -> Result<Definition> {
    let id = spi
        .query(
            "SELECT destination_id FROM _cdp.destinations WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
            &[Param::Int4(namespace.id), Param::Text(key)],
        )?
        .first(|row| row.i32(0))?;
    match id {
        Some(id) => targets::definitions(spi, &[id])?
            .into_iter()
            .next()
            .ok_or_else(|| crate::error::internal("a destination went away")),
        None => Err(unknown(spi, namespace, key)),
    }
}

fn unknown(spi: &Spi, namespace: &Namespace, key: &str) -> Error {
    match super::routing::routes::check_destinations(spi, namespace, &[key.to_string()]) {
        Err(error) => error,
        Ok(()) => unknown_key("destination", key, std::iter::empty()),
    }
}

/// Stops sending to a destination until it is resumed.
pub fn pause(spi: &Spi, namespace: &Namespace, key: &str, reason: Option<&str>) -> Result<()> {
    let definition = find(spi, namespace, key)?;
    let role = session::outer_role();
    let reason = reason.map_or_else(|| format!("paused by {role}"), str::to_string);
    spi.execute(
        "UPDATE _cdp.destinations SET paused_at = COALESCE(paused_at, $2), paused_reason = $3, paused_by = $4
         WHERE destination_id OPERATOR(pg_catalog.=) $1",
        &[Param::Int4(definition.id), Param::Timestamp(clock::real()), Param::Text(&reason), Param::Text(&role)],
    )?;
    Ok(())
}

/// Sends to a destination again. What was learnt about it before (breaker, tokens) is forgotten.
pub fn resume(spi: &Spi, namespace: &Namespace, key: &str) -> Result<()> {
    let definition = find(spi, namespace, key)?;
    spi.execute(
        "UPDATE _cdp.destinations SET paused_at = NULL, paused_reason = NULL, paused_by = NULL, lacks = NULL, updated_at = $2
         WHERE destination_id OPERATOR(pg_catalog.=) $1",
        &[Param::Int4(definition.id), Param::Timestamp(clock::real())],
    )?;
    wake::request();
    Ok(())
}

/// Drops a destination that nothing refers to, and what waits for it. Dead letters stay.
pub fn drop(spi: &Spi, namespace: &Namespace, key: &str) -> Result<()> {
    define::lock(spi, namespace)?;
    let definition = find(spi, namespace, key)?;
    let id = [Param::Int4(definition.id)];
    let routes = spi
        .query(
            "SELECT pg_catalog.count(*) FROM _cdp.routes
                WHERE destination_id OPERATOR(pg_catalog.=) $1 AND dropped_at IS NULL",
            &id,
        )?
        .first(|row| row.i64(0))?
        .unwrap_or(0);
    let mut users = Vec::new();
    if routes > 0 {
        users.push(if routes == 1 { "a route".to_string() } else { format!("{routes} routes") });
    }
    users.extend(
        spi.query(
            "SELECT key FROM _cdp.segments WHERE namespace_id OPERATOR(pg_catalog.=) $1
             AND $2 OPERATOR(pg_catalog.=) ANY (sync_to) ORDER BY key",
            &[Param::Int4(namespace.id), Param::Text(key)],
        )?
        .map(|row| Ok(format!("segment \"{}\"", row.text(0)?)))?,
    );
    if !users.is_empty() {
        return Err(Error::new(state::IN_USE, format!("cannot drop destination \"{key}\" because others use it"))
            .detail(format!("Used by {}.", users.join(", ")))
            .hint("Drop the routes with cdp.drop_route and take it out of the segments first."));
    }
    let waiting = spi.execute("DELETE FROM _cdp.deliveries WHERE destination_id OPERATOR(pg_catalog.=) $1", &id)?
        + spi.execute("DELETE FROM _cdp.retries WHERE destination_id OPERATOR(pg_catalog.=) $1", &id)?;
    spi.execute("DELETE FROM _cdp.routes WHERE destination_id OPERATOR(pg_catalog.=) $1", &id)?;
    spi.execute("DELETE FROM _cdp.destination_statistics WHERE destination_id OPERATOR(pg_catalog.=) $1", &id)?;
    spi.execute("DELETE FROM _cdp.destinations WHERE destination_id OPERATOR(pg_catalog.=) $1", &id)?;
    if waiting > 0 {
        warn(&format!("{waiting} messages that waited for \"{key}\" are not sent any more"), None);
    }
    catalog::invalidate(spi)
}
