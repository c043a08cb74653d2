//! Making and changing flags and holdouts.

use super::flags::definition_error;
use crate::error::{state, unknown_key, Error, Result};
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::traits::catalog;
use crate::traits::define::{self, check, check_expression, Defined, ExprOrError, New};
use cdp_decision::{Condition, DefinitionError, Flag};
use cdp_expr::Checked;
use std::collections::BTreeMap;

/// What a flag is to be.
pub enum Request<'a> {
    Rule(&'a str),
    Definition(&'a serde_json::Value),
}

/// Stores a flag.
pub fn define_flag(
    spi: &Spi,
    namespace: &Namespace,
    key: &str,
    request: &Request,
    description: Option<&str>,
) -> Result<()> {
    let catalog = define::lock(spi, namespace)?;
    let before = catalog.flags.get(key);
    let mut flag = match request {
        Request::Rule(rule) => Flag::of_rule(key, rule),
        Request::Definition(definition) => Flag::parse(key, definition).map_err(definition_error)?,
    };
    if let Request::Definition(definition) = request {
        let others: BTreeMap<&str, &Flag> =
            catalog.flags.iter().filter(|f| f.key() != key).map(|f| (f.key(), &f.flag)).collect();
        flag.check_prerequisites(&others).map_err(definition_error)?;
        if let Some(holdout) = flag.holdout.as_ref().filter(|h| catalog.flags.holdout(h).is_none()) {
            let known = catalog.flags.holdout_keys();
            return Err(definition_error(DefinitionError::unknown("holdout", "holdout", holdout, known)));
        }
        if let Some(before) = before {
            flag.continue_from(&before.flag, definition);
        }
        flag.join_group(before.map(|b| &b.flag), others.values().copied()).map_err(definition_error)?;
    }
    let mut conditions: Vec<Option<Checked>> = Vec::with_capacity(flag.rules.len());
    for (index, rule) in flag.rules.iter().enumerate() {
        let checked = match &rule.condition {
            None => None,
            Some(Condition::Text(text)) => Some(check(spi, &catalog, Defined::Flag, Some(key), text)),
            Some(Condition::Criteria(expr)) => Some(check_expression(spi, &catalog, Defined::Flag, Some(key), expr)),
        };
        let checked = checked.transpose().map_err(|error| condition_error(error, request, index))?;
        if let Some(checked) = &checked {
            define::tell_warnings(checked);
        }
        conditions.push(checked);
    }
    check_variants_in_use(&catalog.flags, &flag)?;
    super::experiments::define::check_variants(spi, namespace, &catalog, &flag)?;

    let texts: Vec<Option<String>> =
        conditions.iter().map(|checked| checked.as_ref().map(|c| cdp_expr::print(&c.expr))).collect();
    let expressions: Vec<cdp_expr::Expr> = conditions.into_iter().flatten().map(|checked| checked.expr).collect();
    let (rule, definition) = match request {
        Request::Rule(_) => (texts.into_iter().flatten().next(), None),
        Request::Definition(json) => (None, Some(cdp_decision::canonical(json, &flag, &texts).to_string())),
    };
    let now = clock::real();
    let new = New { what: Defined::Flag, key, expressions: &expressions };
    define::change(spi, namespace, &catalog, Some(new), None, |version| {
        spi.execute(
            "INSERT INTO _cdp.flags (namespace_id, key, rule, definition, description, version, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7) \
             ON CONFLICT (namespace_id, key) DO UPDATE SET rule = EXCLUDED.rule, definition = EXCLUDED.definition, \
                 description = EXCLUDED.description, version = EXCLUDED.version, updated_at = EXCLUDED.updated_at",
            &[
                Param::Int4(namespace.id),
                Param::Text(key),
                Param::OptionalText(rule.as_deref()),
                Param::OptionalJsonb(definition.as_deref()),
                Param::OptionalText(description),
                Param::Int4(version),
                Param::Timestamp(now),
            ],
        )
        .map(|_| ())
    })
}

/// An error of a condition says which it is, where there can be several.
fn condition_error(error: ExprOrError, request: &Request, index: usize) -> Error {
    let raised = Error::from(error);
    let Request::Definition(definition) = request else { return raised };
    let is_listed = definition.get("rules").is_some();
    let path = if is_listed { format!("rules[{index}].condition") } else { "rule".to_string() };
    let detail = raised.detail.clone().unwrap_or_default();
    raised.detail(format!("In {path}. {detail}").trim_end().to_string())
}

/// Other flags may wait for a variant of this one.
fn check_variants_in_use(flags: &super::flags::Flags, flag: &Flag) -> Result<()> {
    for user in flags.waiting_for(&flag.key) {
        let Some(user) = flags.get(user) else { continue };
        let named = user.flag.prerequisites.iter().filter(|p| p.flag == flag.key).flat_map(|p| &p.variants);
        if let Some(gone) = named.into_iter().find(|name| flag.variant(name).is_none()) {
            return Err(Error::new(
                state::IN_USE,
                format!("variant \"{gone}\" of flag \"{}\" cannot go because others use it", flag.key),
            )
            .detail(format!("Used by flag \"{}\" as a prerequisite.", user.key()))
            .hint("Change that one first."));
        }
    }
    Ok(())
}

/// Stores a holdout; `share` in millionths.
pub fn define_holdout(
    spi: &Spi,
    namespace: &Namespace,
    key: &str,
    share: u32,
    description: Option<&str>,
) -> Result<()> {
    define::lock(spi, namespace)?;
    catalog::next_version(spi, namespace)?;
    spi.execute(
        "INSERT INTO _cdp.holdouts (namespace_id, key, share, description, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5) \
         ON CONFLICT (namespace_id, key) DO UPDATE SET share = EXCLUDED.share, description = EXCLUDED.description, \
             updated_at = EXCLUDED.updated_at",
        &[
            Param::Int4(namespace.id),
            Param::Text(key),
            Param::Int4(i32::try_from(share).unwrap_or(i32::MAX)),
            Param::OptionalText(description),
            Param::Timestamp(clock::real()),
        ],
    )?;
    catalog::invalidate(spi)
}

/// Drops a holdout that no flag names.
pub fn drop_holdout(spi: &Spi, namespace: &Namespace, key: &str) -> Result<()> {
    let catalog = define::lock(spi, namespace)?;
    if catalog.flags.holdout(key).is_none() {
        return Err(unknown_key("holdout", key, catalog.flags.holdout_keys()));
    }
    let users: Vec<String> = catalog
        .flags
        .iter()
        .filter(|flag| flag.flag.holdout.as_deref() == Some(key))
        .map(|flag| format!("flag \"{}\"", flag.key()))
        .collect();
    if !users.is_empty() {
        return Err(Error::new(state::IN_USE, format!("cannot drop holdout \"{key}\" because others use it"))
            .detail(format!("Used by {}.", users.join(", ")))
            .hint("Change or drop those first."));
    }
    catalog::next_version(spi, namespace)?;
    spi.execute(
        "DELETE FROM _cdp.holdouts WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
        &[Param::Int4(namespace.id), Param::Text(key)],
    )?;
    catalog::invalidate(spi)
}
