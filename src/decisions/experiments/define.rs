//! Making, changing and dropping experiments.

use crate::decisions::flags::definition_error;
use crate::error::{state, unknown_key, Error, Result};
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::traits::catalog::Catalog;
use crate::traits::define::{self, check, Defined};
use cdp_decision::{Condition, Experiment, Flag};
use cdp_expr::{Expr, Type};
use serde_json::Value as Json;

/// An experiment as it is stored.
pub struct Stored {
    pub key: String,
    pub experiment: Experiment,
    /// Of the metrics, in their order.
    pub expressions: Vec<Expr>,
    pub covariate: Option<Expr>,
}

/// Stores an experiment.
pub fn define_experiment(
    spi: &Spi,
    namespace: &Namespace,
    key: &str,
    definition: &Json,
    description: Option<&str>,
) -> Result<()> {
    let catalog = define::lock(spi, namespace)?;
    let experiment = parse(&catalog, definition)?;
    let canonical = |condition: &Condition, path: &str| -> Result<String> {
        let Condition::Text(text) = condition else { return Ok(String::new()) };
        let checked = check(spi, &catalog, Defined::Trait, None, text).map_err(|error| {
            let raised = Error::from(error);
            let detail = raised.detail.clone().unwrap_or_default();
            raised.detail(format!("In {path}. {detail}").trim_end().to_string())
        })?;
        define::tell_warnings(&checked);
        if !matches!(checked.result_type, Type::Number | Type::Boolean | Type::Any) {
            return Err(Error::new(
                state::INVALID_DEFINITION,
                format!("what is measured has to be a number or a condition, not a {}", checked.result_type),
            )
            .detail(format!("At {path}."))
            .hint("For example: events.\"Order Completed\".sum(total)"));
        }
        Ok(cdp_expr::print(&checked.expr))
    };
    let metrics = experiment.metrics.iter().map(|m| canonical(&m.expression, &m.path)).collect::<Result<Vec<_>>>()?;
    let covariate = experiment.covariate.as_ref().map(|c| canonical(c, "covariate")).transpose()?;
    let kept = experiment.canonical(definition, &metrics, covariate.as_deref()).to_string();
    spi.execute(
        "INSERT INTO _cdp.experiments (namespace_id, key, flag, definition, description, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $6) \
         ON CONFLICT (namespace_id, key) DO UPDATE SET flag = EXCLUDED.flag, definition = EXCLUDED.definition, \
             description = EXCLUDED.description, updated_at = EXCLUDED.updated_at",
        &[
            Param::Int4(namespace.id),
            Param::Text(key),
            Param::Text(&experiment.flag),
            Param::Jsonb(&kept),
            Param::OptionalText(description),
            Param::Timestamp(clock::real()),
        ],
    )?;
    Ok(())
}

fn parse(catalog: &Catalog, definition: &Json) -> Result<Experiment> {
    let keys: Vec<&str> = catalog.flags.keys().collect();
    let flag = |key: &str| catalog.flags.get(key).map(|flag| &flag.flag);
    Experiment::parse(definition, flag, &keys).map_err(definition_error)
}

/// Drops an experiment; the exposures stay, they are events.
pub fn drop_experiment(spi: &Spi, namespace: &Namespace, key: &str) -> Result<()> {
    define::lock(spi, namespace)?;
    let gone = spi.execute(
        "DELETE FROM _cdp.experiments WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
        &[Param::Int4(namespace.id), Param::Text(key)],
    )?;
    if gone == 0 {
        return Err(unknown(spi, namespace, key)?);
    }
    Ok(())
}

fn unknown(spi: &Spi, namespace: &Namespace, key: &str) -> Result<Error> {
    let rows = definitions(spi, namespace)?;
    Ok(unknown_key("experiment", key, rows.iter().map(|(key, _)| key.as_str())))
}

fn definitions(spi: &Spi, namespace: &Namespace) -> Result<Vec<(String, Json)>> {
    let rows = spi.query(
        "SELECT key, definition FROM _cdp.experiments WHERE namespace_id OPERATOR(pg_catalog.=) $1 ORDER BY key",
        &[Param::Int4(namespace.id)],
    )?;
    rows.map(|row| {
        let definition = row.optional_jsonb(1).and_then(|text| crate::ingest::stored::json(&text));
        Ok((row.text(0)?, definition.unwrap_or_default()))
    })
}

fn stored(catalog: &Catalog, key: String, definition: &Json) -> Result<Stored> {
    let experiment = parse(catalog, definition)?;
    let expression = |condition: &Condition| match condition {
        Condition::Criteria(expression) => Ok(expression.clone()),
        Condition::Text(text) => cdp_expr::parse(text).map_err(|error| {
            Error::new(state::INVALID_EXPRESSION, format!("experiment \"{key}\" cannot be read: {}", error.message))
                .hint("It was stored by another version of cdp; define it again.")
        }),
    };
    let expressions = experiment.metrics.iter().map(|metric| expression(&metric.expression)).collect::<Result<_>>()?;
    let covariate = experiment.covariate.as_ref().map(expression).transpose()?;
    Ok(Stored { key, experiment, expressions, covariate })
}

/// The experiment with this key.
pub fn find(spi: &Spi, namespace: &Namespace, catalog: &Catalog, key: &str) -> Result<Stored> {
    match definitions(spi, namespace)?.into_iter().find(|(known, _)| known == key) {
        Some((key, definition)) => stored(catalog, key, &definition),
        None => Err(unknown(spi, namespace, key)?),
    }
}

/// Who uses a trait, a segment or a flag: `experiment "x"`.
pub fn users(spi: &Spi, namespace: &Namespace, catalog: &Catalog, what: Defined, key: &str) -> Result<Vec<String>> {
    let mut users = Vec::new();
    for (name, definition) in definitions(spi, namespace)? {
        let stored = stored(catalog, name, &definition)?;
        let uses = |expression: &Expr| match what {
            Defined::Trait => {
                expression.trait_references().contains(&key) || expression.attribute_references().contains(&key)
            }
            Defined::Segment => expression.segment_references().contains(&key),
            Defined::Score => expression.score_references().contains(&key),
            Defined::Flag => false,
        };
        let is_flag = what == Defined::Flag && stored.experiment.flag == key;
        if is_flag || stored.expressions.iter().chain(&stored.covariate).any(uses) {
            users.push(format!("experiment \"{}\"", stored.key));
        }
    }
    Ok(users)
}

/// Refuses a change of a flag that takes away a variant that an experiment compares.
pub fn check_variants(spi: &Spi, namespace: &Namespace, catalog: &Catalog, flag: &Flag) -> Result<()> {
    for (name, definition) in definitions(spi, namespace)? {
        let stored = stored(catalog, name, &definition)?;
        let gone = stored.experiment.variants.iter().find(|variant| flag.variant(variant).is_none());
        if let Some(gone) = gone.filter(|_| stored.experiment.flag == flag.key) {
            return Err(Error::new(
                state::IN_USE,
                format!("variant \"{gone}\" of flag \"{}\" cannot go because others use it", flag.key),
            )
            .detail(format!("Used by experiment \"{}\".", stored.key))
            .hint("Change or drop that first."));
        }
    }
    Ok(())
}
