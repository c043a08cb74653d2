//! Flags: defining, answering, overriding.

use super::define::drop;
use super::{namespace, required};
use crate::decisions::define::{self, Request};
use crate::decisions::{self, overrides, Answer};
use crate::error::{internal, state, Error, Result};
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::function::{Call, Field, Returned};
use crate::pg::session;
use crate::pg::spi::Spi;
use crate::traits::define::{check_key, Defined};

/// `cdp.define_flag(key, rule, definition, description, namespace)`
pub fn define_flag(call: &Call) -> Result<Returned> {
    let key = check_key("flag", call.text(0).as_deref())?;
    let (rule, definition) = (call.text(1), super::document(call, 2, "definition")?);
    // `{"rule": "…"}` is a rule, written otherwise.
    let only_rule = definition.as_ref().and_then(serde_json::Value::as_object).filter(|members| members.len() == 1);
    let only_rule = only_rule.and_then(|members| members.get("rule")).and_then(serde_json::Value::as_str);
    let request = match (&rule, &definition) {
        (Some(rule), None) => Request::Rule(rule),
        (None, Some(definition)) => only_rule.map_or(Request::Definition(definition), Request::Rule),
        (Some(_), Some(_)) => {
            return Err(Error::new(state::INVALID_DEFINITION, "a flag has a rule or a definition, not both")
                .hint("Give rule => '…' or definition => '{…}'."))
        }
        (None, None) => {
            return Err(Error::new(state::INVALID_DEFINITION, "a flag needs a rule")
                .hint("For example: SELECT cdp.define_flag('paywall', 'segment(\"vip\")');"))
        }
    };
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 4)?;
        define::define_flag(spi, &namespace, &key, &request, call.text(3).as_deref())?;
        flag_row(spi, &namespace, &key)
    })
    .map(Returned::Row)
}

/// A row of `cdp.flags`.
fn flag_row(spi: &Spi, namespace: &Namespace, key: &str) -> Result<Vec<Field>> {
    spi.query(
        "SELECT rule, definition, description, created_at, updated_at FROM _cdp.flags \
         WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
        &[Param::Int4(namespace.id), Param::Text(key)],
    )?
    .first(|row| {
        Ok(vec![
            Field::Text(namespace.name.clone()),
            Field::Text(key.to_string()),
            Field::optional_text(row.optional_text(0)),
            Field::optional_jsonb(row.optional_jsonb(1)),
            Field::optional_text(row.optional_text(2)),
            Field::Timestamp(row.timestamp(3)?),
            Field::Timestamp(row.timestamp(4)?),
        ])
    })?
    .ok_or_else(|| internal("a flag was not stored"))
}

/// `cdp.drop_flag(key, namespace)`
pub fn drop_flag(call: &Call) -> Result<Returned> {
    drop(call, Defined::Flag)
}

/// `cdp.define_holdout(key, percent, description, namespace)`
pub fn define_holdout(call: &Call) -> Result<Returned> {
    let key = check_key("holdout", call.text(0).as_deref())?;
    let percent = call.f64(1).filter(|percent| (0.0..=100.0).contains(percent)).ok_or_else(|| {
        Error::new(state::INVALID_DEFINITION, "a holdout takes a percentage of people, 0 to 100")
            .hint("For example: SELECT cdp.define_holdout('q3', 5);")
    })?;
    // 0 to 1,000,000, as was checked.
    let share = (percent * 10_000.0).round() as u32;
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 3)?;
        define::define_holdout(spi, &namespace, &key, share, call.text(2).as_deref())?;
        let row = spi.query(
            "SELECT namespace, percent, description, created_at, updated_at FROM cdp.holdouts \
             WHERE namespace OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
            &[Param::Text(&namespace.name), Param::Text(&key)],
        )?;
        row.first(|row| {
            Ok(vec![
                Field::Text(row.text(0)?),
                Field::Text(key.clone()),
                Field::Double(row.f64(1)?),
                Field::optional_text(row.optional_text(2)),
                Field::Timestamp(row.timestamp(3)?),
                Field::Timestamp(row.timestamp(4)?),
            ])
        })?
        .ok_or_else(|| internal("a holdout was not stored"))
    })
    .map(Returned::Row)
}

/// `cdp.drop_holdout(key, namespace)`
pub fn drop_holdout(call: &Call) -> Result<Returned> {
    let key = required(call, 0, "key")?;
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 1)?;
        define::drop_holdout(spi, &namespace, &key)
    })?;
    Ok(Returned::Value(Field::Null))
}

/// `cdp.set_override(id, flag, variant, namespace)`
pub fn set_override(call: &Call) -> Result<Returned> {
    let (id, flag, variant) = (required(call, 0, "id")?, required(call, 1, "flag")?, required(call, 2, "variant")?);
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 3)?;
        let made = overrides::set(spi, &namespace, &id, &flag, &variant)?;
        Ok(Returned::Row(vec![
            Field::Text(namespace.name.clone()),
            Field::Text(flag.clone()),
            Field::Int8(made.profile_id),
            Field::Text(variant.clone()),
            Field::Timestamp(made.set_at),
            Field::Text(made.set_by),
        ]))
    })
}

/// `cdp.clear_override(id, flag, namespace)`
pub fn clear_override(call: &Call) -> Result<Returned> {
    let id = required(call, 0, "id")?;
    let cleared = Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 2)?;
        overrides::clear(spi, &namespace, &id, call.text(1).as_deref())
    })?;
    Ok(Returned::Value(Field::Int8(i64::try_from(cleared).unwrap_or(i64::MAX))))
}

fn decision(answer: Answer) -> Vec<Field> {
    vec![
        Field::Bool(answer.allow),
        Field::Text(answer.variant),
        Field::Jsonb(answer.value),
        Field::Text(answer.reason.to_string()),
        Field::TextArray(answer.reasons),
    ]
}

/// What a call says of the person for itself alone.
fn attributes(call: &Call, index: usize) -> Result<cdp_value::Value> {
    match super::document(call, index, "context")? {
        None => Ok(cdp_value::Value::Object(Vec::new())),
        Some(json @ serde_json::Value::Object(_)) => Ok(cdp_value::Value::from_json(&json)),
        Some(_) => Err(Error::new(state::INVALID_DEFINITION, "argument context must be an object")
            .hint("For example '{\"country\": \"fr\"}', which conditions read as context.country.")),
    }
}

/// `cdp.decide(id, flag, context, namespace)`
pub fn decide(call: &Call) -> Result<Returned> {
    let (id, flag) = (required(call, 0, "id")?, required(call, 1, "flag")?);
    let attributes = attributes(call, 2)?;
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 3)?;
        decisions::decide(spi, &namespace, &id, &flag, &attributes)
    })
    .map(|answer| Returned::Row(decision(answer)))
}

/// `cdp.expose(id, flag, context, namespace)`
pub fn expose(call: &Call) -> Result<Returned> {
    let (id, flag) = (required(call, 0, "id")?, required(call, 1, "flag")?);
    let attributes = attributes(call, 2)?;
    Spi::connect(session::is_read_only(), |spi| {
        let namespace = namespace(spi, call, 3)?;
        decisions::exposure::expose(spi, &namespace, &id, &flag, &attributes)
    })
    .map(|answer| Returned::Row(decision(answer)))
}

/// `cdp.decide_all(id, context, namespace)`
pub fn decide_all(call: &Call) -> Result<Returned> {
    let id = required(call, 0, "id")?;
    let attributes = attributes(call, 1)?;
    let answers = Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 2)?;
        decisions::decide_all(spi, &namespace, &id, &attributes)
    })?;
    let row = |answer: Answer| {
        let mut row = vec![Field::Text(answer.flag.clone())];
        row.extend(decision(answer));
        row
    };
    Ok(Returned::Rows(answers.into_iter().map(row).collect()))
}

/// `cdp.explain_decision(id, flag, context, namespace)`
pub fn explain_decision(call: &Call) -> Result<Returned> {
    let (id, flag) = (required(call, 0, "id")?, required(call, 1, "flag")?);
    let attributes = attributes(call, 2)?;
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 3)?;
        decisions::explain::explain(spi, &namespace, &id, &flag, &attributes)
    })
    .map(Returned::Rows)
}
