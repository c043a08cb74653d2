//! Roles that are bound to a namespace: they see and write that one and no other
//! (docs/decisions/0020-row-security.md).

use super::{by_name, DEFAULT};
use crate::error::{closest, cut, state, unknown_key, Error, Result};
use crate::guc;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::pg::{cache, session};
use crate::traits::catalog;
use std::cell::RefCell;
use std::rc::Rc;

/// A namespace that a role is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    pub id: i32,
    pub name: String,
}

/// The namespaces that the session may use; None: all.
pub type Bounds = Option<Rc<[Bound]>>;

struct Remembered {
    generation: u64,
    roles: [u32; 3],
    bounds: Bounds,
}

thread_local! {
    static REMEMBERED: RefCell<Option<Remembered>> = const { RefCell::new(None) };
}

/// Forgets; an aborted transaction may have made part of it.
pub fn forget() {
    // Called when a transaction ends: must not fail.
    let _ = REMEMBERED.try_with(|remembered| remembered.try_borrow_mut().map(|mut remembered| *remembered = None));
}

/// What the session may use. It may act for several roles at a time ([`session::roles`]): what each of them may.
pub fn current(spi: &Spi) -> Result<Bounds> {
    let roles = session::roles();
    let generation = cache::generation();
    let known = REMEMBERED.with_borrow(|remembered| {
        let remembered = remembered.as_ref()?;
        (remembered.generation == generation && remembered.roles == roles).then(|| remembered.bounds.clone())
    });
    if let Some(bounds) = known {
        return Ok(bounds);
    }
    const BINDINGS: &str = "SELECT b.role::pg_catalog.oid::pg_catalog.int8, n.namespace_id, n.name \
         FROM _cdp.role_bindings AS b JOIN _cdp.namespaces AS n ON n.namespace_id OPERATOR(pg_catalog.=) b.namespace_id \
         UNION ALL SELECT b.role::pg_catalog.oid::pg_catalog.int8, 1, 'default' FROM _cdp.role_bindings AS b \
         WHERE b.namespace_id OPERATOR(pg_catalog.=) 1 \
           AND NOT EXISTS (SELECT FROM _cdp.namespaces AS n WHERE n.namespace_id OPERATOR(pg_catalog.=) 1) \
         ORDER BY 2, 1";
    // No other snapshot can be taken in a parallel plan. What was read with the caller's may be out of date: it is
    // not remembered.
    let is_parallel = session::is_in_parallel_mode();
    let rows = if is_parallel {
        spi.query(BINDINGS, &[])?
    } else {
        catalog::watch_definitions(spi)?;
        spi.query_latest(BINDINGS, &[])?
    };
    let generation = cache::generation();
    let bindings = rows.map(|row| Ok((row.i64(0)? as u32, Bound { id: row.i32(1)?, name: row.text(2)? })))?;
    let bounds = roles
        .iter()
        .filter_map(|role| bounds_of(*role, &bindings))
        .reduce(|all, those| all.into_iter().filter(|bound| those.contains(bound)).collect())
        .map(Rc::from);
    if !is_parallel {
        REMEMBERED.set(Some(Remembered { generation, roles, bounds: bounds.clone() }));
    }
    Ok(bounds)
}

/// What one role is bound to: its own binding, else those of the roles it inherits from.
fn bounds_of(role: u32, bindings: &[(u32, Bound)]) -> Option<Vec<Bound>> {
    if role == 0 || bindings.is_empty() || session::is_superuser(role) {
        return None;
    }
    if let Some((_, own)) = bindings.iter().find(|(bound_role, _)| *bound_role == role) {
        return Some(vec![own.clone()]);
    }
    let mut inherited: Vec<Bound> = Vec::new();
    for (bound_role, bound) in bindings {
        if !inherited.contains(bound) && session::has_rights_of(role, *bound_role) {
            inherited.push(bound.clone());
        }
    }
    (!inherited.is_empty()).then_some(inherited)
}

/// The name of the namespace a call is for. What is refused says nothing of other namespaces, not even whether
/// they exist.
pub fn choose(spi: &Spi, argument: Option<&str>) -> Result<String> {
    let named = argument.map(str::to_string).or_else(guc::namespace);
    let Some(bounds) = current(spi)? else {
        return Ok(named.unwrap_or_else(|| DEFAULT.to_string()));
    };
    let names = || bounds.iter().map(|bound| bound.name.as_str()).collect::<Vec<_>>().join(", ");
    match (named, &*bounds) {
        (Some(name), _) if bounds.iter().any(|bound| bound.name == name) => Ok(name),
        (Some(name), _) => {
            Err(Error::new(state::NAMESPACE_DENIED, format!("permission denied for namespace \"{}\"", cut(&name)))
                .hint(match bounds.is_empty() {
                    true => "The roles of this session are bound to different namespaces.".to_string(),
                    false => format!("The role is bound to: {}.", names()),
                }))
        }
        (None, [only]) => Ok(only.name.clone()),
        (None, _) => Err(Error::new(state::NAMESPACE_DENIED, "permission denied: the call names no namespace").hint(
            match bounds.is_empty() {
                true => "The roles of this session are bound to different namespaces.".to_string(),
                false => format!("Name one of these, or set cdp.namespace: {}.", names()),
            },
        )),
    }
}

/// Refuses what concerns all namespaces to a session that may use some only.
pub fn require_all(spi: &Spi, what: &str) -> Result<()> {
    match current(spi)? {
        None => Ok(()),
        Some(_) => Err(Error::new(
            state::NAMESPACE_DENIED,
            format!("permission denied: {what} is about all namespaces, and the role is bound"),
        )
        .hint("Call it with a role that is not bound to a namespace.")),
    }
}

/// Binds a role to a namespace, in place of the one it was bound to.
pub fn bind(spi: &Spi, role: &str, namespace: &str) -> Result<()> {
    require_all(spi, "binding roles")?;
    let role_id = role_id(spi, role)?;
    if session::is_superuser(role_id) {
        return Err(refused(role, "is a superuser, whom nothing restricts").hint("Bind a role that is no superuser."));
    }
    if role.starts_with("pg_") || ["cdp_reader", "cdp_writer", "cdp_admin", "cdp_view_owner"].contains(&role) {
        return Err(refused(role, "is there for all namespaces")
            .hint("Bind a role of your own, and grant it cdp_reader, cdp_writer or cdp_admin."));
    }
    let namespace = by_name(spi, namespace)?;
    spi.execute(
        "INSERT INTO _cdp.role_bindings (role, namespace_id) VALUES ($1::pg_catalog.oid::pg_catalog.regrole, $2) \
         ON CONFLICT (role) DO UPDATE SET namespace_id = EXCLUDED.namespace_id, bound_at = pg_catalog.now()",
        &[Param::Int8(i64::from(role_id)), Param::Int4(namespace.id)],
    )?;
    changed(spi)
}

/// Lets a role use all namespaces again.
pub fn unbind(spi: &Spi, role: &str) -> Result<()> {
    require_all(spi, "binding roles")?;
    let role_id = role_id(spi, role)?;
    let unbound = spi.execute(
        "DELETE FROM _cdp.role_bindings WHERE role OPERATOR(pg_catalog.=) $1::pg_catalog.oid::pg_catalog.regrole",
        &[Param::Int8(i64::from(role_id))],
    )?;
    if unbound == 0 {
        return Err(Error::new(state::UNKNOWN_KEY, format!("role \"{}\" is not bound", cut(role)))
            .hint("cdp.role_bindings lists those that are."));
    }
    changed(spi)
}

/// Removes the bindings of roles that are gone. A binding does not keep a role from being dropped.
pub fn forget_dropped_roles(spi: &Spi) -> Result<()> {
    let removed = spi.execute(
        "DELETE FROM _cdp.role_bindings AS b WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r \
             WHERE r.oid OPERATOR(pg_catalog.=) b.role::pg_catalog.oid)",
        &[],
    )?;
    if removed > 0 {
        changed(spi)?;
    }
    Ok(())
}

fn changed(spi: &Spi) -> Result<()> {
    forget();
    catalog::invalidate(spi)
}

fn role_id(spi: &Spi, role: &str) -> Result<u32> {
    let found = spi
        .query(
            "SELECT oid::pg_catalog.int8 FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) $1::pg_catalog.name",
            &[Param::Text(role)],
        )?
        .first(|row| row.i64(0))?;
    if let Some(id) = found {
        return Ok(id as u32);
    }
    let names = spi
        .query("SELECT rolname::pg_catalog.text FROM pg_catalog.pg_roles WHERE rolname::pg_catalog.text OPERATOR(pg_catalog.!~) '^pg_'", &[])?
        .map(|row| row.text(0))?;
    let names = || names.iter().map(String::as_str);
    let error = unknown_key("role", role, names());
    Err(match closest(role, names()) {
        Some(_) => error,
        None => error.hint("Make it with CREATE ROLE first."),
    })
}

fn refused(role: &str, why: &str) -> Error {
    Error::new(state::INVALID_DEFINITION, format!("role \"{}\" cannot be bound: it {why}", cut(role)))
}
