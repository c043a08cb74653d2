//! Definitions: traits, segments, audiences, namespaces.

use super::{namespace, required};
use crate::error::{state, Error, Result};
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::function::{Call, Field, Returned};
use crate::pg::spi::Spi;
use crate::traits::define::{self, check_key, Defined, SegmentRequest, SegmentRule};
use cdp_expr::Kind;

/// `cdp.define_trait(key, expression, description, namespace)`
pub fn define_trait(call: &Call) -> Result<Returned> {
    let key = check_key("trait", call.text(0).as_deref())?;
    let expression = required(call, 1, "expression")?;
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 3)?;
        define::define_trait(spi, &namespace, &key, &expression, call.text(2).as_deref())?;
        trait_row(spi, &namespace, &key)
    })
    .map(Returned::Row)
}

/// `cdp.define_segment(key, rule, description, sync_to, namespace)`
pub fn define_segment(call: &Call) -> Result<Returned> {
    let key = check_key("segment", call.text(0).as_deref())?;
    let rule = required(call, 1, "rule")?;
    let description = call.text(2);
    let sync_to = call.text_array(3).unwrap_or_default();
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 4)?;
        define::define_segment(
            spi,
            &namespace,
            &SegmentRequest {
                key: &key,
                name: None,
                rule: SegmentRule::Text(&rule),
                criteria: None,
                description: description.as_deref(),
                sync_to: &sync_to,
            },
        )?;
        segment_row(spi, &namespace, &key)
    })
    .map(Returned::Row)
}

/// `cdp.define_audience(name, criteria, sync_to, namespace)`: the key is the slug of the name.
pub fn define_audience(call: &Call) -> Result<Returned> {
    let name = required(call, 0, "name")?;
    let json = super::document(call, 1, "criteria")?
        .ok_or_else(|| Error::new("22004", "argument criteria is null").hint("Give the criteria as JSON."))?;
    let sync_to = call.text_array(2).unwrap_or_default();
    let rule = cdp_expr::criteria(&json).map_err(|error| {
        let place =
            if error.path.is_empty() { "At the top of the criteria.".into() } else { format!("At {}.", error.path) };
        Error::new(state::INVALID_EXPRESSION, error.message).detail(place).hint(error.hint)
    })?;
    let key = check_key("audience", Some(&slug(&name)))?;
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 3)?;
        define::define_segment(
            spi,
            &namespace,
            &SegmentRequest {
                key: &key,
                name: Some(&name),
                rule: SegmentRule::Criteria(&rule),
                criteria: Some(&json.to_string()),
                description: None,
                sync_to: &sync_to,
            },
        )?;
        segment_row(spi, &namespace, &key)
    })
    .map(Returned::Row)
}

/// Lower case, runs of anything but letters and digits as one underscore: "High Value" → `high_value`.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('_') {
            slug.push('_');
        }
    }
    slug.trim_end_matches('_').to_string()
}

/// A row of `cdp.trait_definitions`.
fn trait_row(spi: &Spi, namespace: &Namespace, key: &str) -> Result<Vec<Field>> {
    spi.query(
        "SELECT expression, result_type, description, created_at, updated_at FROM _cdp.traits \
         WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
        &[Param::Int4(namespace.id), Param::Text(key)],
    )?
    .first(|row| {
        Ok(vec![
            Field::Text(namespace.name.clone()),
            Field::Text(key.to_string()),
            Field::Text(row.text(0)?),
            Field::Text(row.text(1)?),
            Field::optional_text(row.optional_text(2)),
            Field::Timestamp(row.timestamp(3)?),
            Field::Timestamp(row.timestamp(4)?),
        ])
    })?
    .ok_or_else(|| crate::error::internal("a trait was not stored"))
}

/// A row of `cdp.segment_definitions`.
pub fn segment_row(spi: &Spi, namespace: &Namespace, key: &str) -> Result<Vec<Field>> {
    spi.query(
        "SELECT s.name, s.rule, s.criteria, s.description, s.sync_to, \
             (SELECT pg_catalog.count(*) FROM _cdp.segment_members AS m WHERE m.segment_id OPERATOR(pg_catalog.=) s.segment_id), \
             s.created_at, s.updated_at \
         FROM _cdp.segments AS s WHERE s.namespace_id OPERATOR(pg_catalog.=) $1 AND s.key OPERATOR(pg_catalog.=) $2",
        &[Param::Int4(namespace.id), Param::Text(key)],
    )?
    .first(|row| {
        Ok(vec![
            Field::Text(namespace.name.clone()),
            Field::Text(key.to_string()),
            Field::optional_text(row.optional_text(0)),
            Field::optional_text(row.optional_text(1)),
            Field::optional_jsonb(row.optional_jsonb(2)),
            Field::optional_text(row.optional_text(3)),
            Field::TextArray(row.text_array(4)),
            Field::Int8(row.i64(5)?),
            Field::Timestamp(row.timestamp(6)?),
            Field::Timestamp(row.timestamp(7)?),
        ])
    })?
    .ok_or_else(|| crate::error::internal("a segment was not stored"))
}

/// `cdp.drop_…(key, namespace)`
pub(super) fn drop(call: &Call, what: Defined) -> Result<Returned> {
    let key = required(call, 0, "key")?;
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 1)?;
        define::drop(spi, &namespace, what, &key)
    })?;
    Ok(Returned::Value(Field::Null))
}

pub fn drop_trait(call: &Call) -> Result<Returned> {
    drop(call, Defined::Trait)
}

pub fn drop_segment(call: &Call) -> Result<Returned> {
    drop(call, Defined::Segment)
}

/// The kinds of `cdp.validate`: where an expression is going to stand.
const VALIDATED: [(&str, Kind); 5] = [
    ("trait", Kind::Trait),
    ("segment", Kind::Segment),
    ("flag", Kind::Flag),
    ("route", Kind::RouteFilter),
    ("score", Kind::Score),
];

/// `cdp.validate(expression, kind, namespace)`: what is wrong with an expression, as a row.
pub fn validate(call: &Call) -> Result<Returned> {
    let text = required(call, 0, "expression")?;
    let kind = required(call, 1, "kind")?;
    let (_, what) = VALIDATED.into_iter().find(|(name, _)| *name == kind).ok_or_else(|| {
        crate::error::unknown_key("kind of expression", &kind, VALIDATED.iter().map(|(name, _)| *name))
    })?;
    let row = Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 2)?;
        let catalog = crate::traits::catalog::current(spi, &namespace)?;
        let names = define::known_names(spi, &catalog)?;
        match cdp_expr::check(&text, what, None, &names) {
            Ok(checked) => Ok(vec![
                Field::Bool(true),
                Field::Text(checked.result_type.to_string()),
                Field::optional_text((!checked.warnings.is_empty()).then(|| checked.warnings.join("; "))),
                Field::Null,
                Field::Null,
            ]),
            Err(error) => Ok(vec![
                Field::Bool(false),
                Field::Null,
                Field::Text(error.message),
                Field::Int4(i32::try_from(error.position).unwrap_or(i32::MAX)),
                Field::Text(error.hint),
            ]),
        }
    })?;
    Ok(Returned::Rows(vec![row]))
}
