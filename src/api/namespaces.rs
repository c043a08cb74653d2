//! Namespaces: making, listing and dropping them, and who may use which.

use super::required;
use crate::error::Result;
use crate::namespaces::{self, bindings, define, remove, routing, statistics};
use crate::pg::datum::Param;
use crate::pg::function::{Call, Field, Returned};
use crate::pg::spi::Spi;
use crate::traits::define::check_key;

/// `cdp.define_namespace(name, keywords, timezone, settings)`
pub fn define_namespace(call: &Call) -> Result<Returned> {
    let name = check_key("namespace", call.text(0).as_deref())?;
    let keywords = call.text_array(1).unwrap_or_default();
    let timezone = call.text(2).unwrap_or_else(|| "UTC".to_string());
    let settings = call.jsonb(3).unwrap_or_else(|| "{}".to_string());
    Spi::connect(false, |spi| {
        define::define(spi, &name, &keywords, &timezone, &settings)?;
        let row = spi
            .query(
                "SELECT name, keywords, timezone, settings, created_at, updated_at FROM _cdp.namespaces WHERE name OPERATOR(pg_catalog.=) $1",
                &[Param::Text(&name)],
            )?
            .first(|row| {
                Ok(vec![
                    Field::Text(row.text(0)?),
                    Field::TextArray(row.text_array(1)),
                    Field::Text(row.text(2)?),
                    Field::optional_jsonb(row.optional_jsonb(3)),
                    Field::Timestamp(row.timestamp(4)?),
                    Field::Timestamp(row.timestamp(5)?),
                ])
            })?;
        row.ok_or_else(|| crate::error::internal("a namespace was not stored"))
    })
    .map(Returned::Row)
}

/// `_cdp.bound_namespaces()`: the ids of the namespaces that the session may use; null: all. Row security asks.
pub fn bound_namespaces(_: &Call) -> Result<Returned> {
    let bounds = Spi::connect(true, bindings::current)?;
    Ok(Returned::Value(match bounds {
        None => Field::Null,
        Some(bounds) => Field::Int4Array(bounds.iter().map(|bound| bound.id).collect()),
    }))
}

/// `cdp.current_namespace(namespace)`: the one that a call with this argument is for.
pub fn current_namespace(call: &Call) -> Result<Returned> {
    let name = Spi::connect(true, |spi| Ok(namespaces::find(spi, call.text(0).as_deref())?.name.clone()))?;
    Ok(Returned::Value(Field::Text(name)))
}

/// `cdp.bind_role(role, namespace)`
pub fn bind_role(call: &Call) -> Result<Returned> {
    let (role, namespace) = (required(call, 0, "role")?, required(call, 1, "namespace")?);
    Spi::connect(false, |spi| bindings::bind(spi, &role, &namespace))?;
    Ok(Returned::Value(Field::Null))
}

/// `cdp.unbind_role(role)`
pub fn unbind_role(call: &Call) -> Result<Returned> {
    let role = required(call, 0, "role")?;
    Spi::connect(false, |spi| bindings::unbind(spi, &role))?;
    Ok(Returned::Value(Field::Null))
}

/// `cdp.drop_namespace(name, everything)`
pub fn drop_namespace(call: &Call) -> Result<Returned> {
    let name = required(call, 0, "name")?;
    Spi::connect(false, |spi| remove::drop(spi, &name, call.bool(1).unwrap_or(false)))?;
    Ok(Returned::Value(Field::Null))
}

/// `cdp.namespace_statistics(namespace)`
pub fn namespace_statistics(call: &Call) -> Result<Returned> {
    let found = Spi::connect(true, |spi| statistics::of(spi, &*super::namespace(spi, call, 0)?))?;
    let rows = found.map(|found| {
        [
            found.people,
            found.events,
            found.traits,
            found.segments,
            found.destinations,
            found.waiting,
            found.delivered,
            found.dead_letters,
            found.storage,
        ]
        .map(Field::Int8)
        .into()
    });
    Ok(Returned::Rows(rows.into_iter().collect()))
}

/// `cdp.route_namespace(campaign_name)`
pub fn route_namespace(call: &Call) -> Result<Returned> {
    let campaign = call.text(0).unwrap_or_default();
    let name = Spi::connect(true, |spi| routing::route(spi, &campaign))?;
    Ok(Returned::Value(Field::Text(name)))
}
