//! Experiments: defining and reporting.

use super::{namespace, required};
use crate::decisions::experiments::report::Line;
use crate::decisions::experiments::{define, report};
use crate::error::{internal, Error, Result};
use crate::pg::datum::Param;
use crate::pg::function::{Call, Field, Returned};
use crate::pg::spi::Spi;
use crate::traits::define::check_key;

/// `cdp.define_experiment(key, definition, description, namespace)`
pub fn define_experiment(call: &Call) -> Result<Returned> {
    let key = check_key("experiment", call.text(0).as_deref())?;
    let definition = super::document(call, 1, "definition")?.ok_or_else(|| {
        Error::new("22004", "argument definition is null")
            .hint("For example: '{\"flag\": \"paywall\", \"control\": \"off\", \"primary\": \"events.order.count\"}'.")
    })?;
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 3)?;
        define::define_experiment(spi, &namespace, &key, &definition, call.text(2).as_deref())?;
        spi.query(
            "SELECT flag, definition, description, created_at, updated_at FROM _cdp.experiments \
             WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
            &[Param::Int4(namespace.id), Param::Text(&key)],
        )?
        .first(|row| {
            Ok(vec![
                Field::Text(namespace.name.clone()),
                Field::Text(key.clone()),
                Field::Text(row.text(0)?),
                Field::optional_jsonb(row.optional_jsonb(1)),
                Field::optional_text(row.optional_text(2)),
                Field::Timestamp(row.timestamp(3)?),
                Field::Timestamp(row.timestamp(4)?),
            ])
        })?
        .ok_or_else(|| internal("an experiment was not stored"))
    })
    .map(Returned::Row)
}

/// `cdp.drop_experiment(key, namespace)`
pub fn drop_experiment(call: &Call) -> Result<Returned> {
    let key = required(call, 0, "key")?;
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 1)?;
        define::drop_experiment(spi, &namespace, &key)
    })?;
    Ok(Returned::Value(Field::Null))
}

/// `cdp.experiment_report(key, namespace)`
pub fn experiment_report(call: &Call) -> Result<Returned> {
    let key = required(call, 0, "key")?;
    let lines = Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 1)?;
        report::report(spi, &namespace, &key)
    })?;
    Ok(Returned::Rows(lines.into_iter().map(row).collect()))
}

fn row(line: Line) -> Vec<Field> {
    let double = |value: Option<f64>| value.map_or(Field::Null, Field::Double);
    let comparison = line.comparison;
    let difference = comparison.map(|c| c.difference);
    let lift = comparison.and_then(|c| c.lift);
    vec![
        Field::Text(line.metric),
        Field::Text(if line.is_primary { "primary" } else { "guardrail" }.to_string()),
        Field::Text(line.variant),
        Field::Int8(line.exposures),
        Field::Int8(line.people),
        double(line.mean),
        double(line.adjusted_mean),
        double(difference.map(|d| d.value)),
        double(difference.map(|d| d.low)),
        double(difference.map(|d| d.high)),
        double(lift.map(|l| l.value)),
        double(lift.map(|l| l.low)),
        double(lift.map(|l| l.high)),
        double(comparison.map(|c| c.p_value)),
        double(comparison.map(|c| c.sequential_p_value)),
        double(comparison.map(|c| c.sequential.0)),
        double(comparison.map(|c| c.sequential.1)),
        double(line.sample_ratio),
        Field::Int8(line.mixed),
        Field::Text(line.verdict.to_string()),
    ]
}
