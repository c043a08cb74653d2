//! Scores: definitions, reads and explanations.

use super::read::Reading;
use super::{namespace, required};
use crate::error::{unknown_key, Error, Result};
use crate::namespaces::{self, bindings, Namespace};
use crate::pg::datum::Param;
use crate::pg::function::{Call, Field, Returned};
use crate::pg::spi::Spi;
use crate::scoring::{define, load, rescore, Score};
use crate::traits::catalog::Catalog;
use crate::traits::context::PersonContext;
use crate::traits::define::{check_key, Defined};
use crate::traits::person::{self, Person};
use cdp_score::{Component, Outcome};
use cdp_value::Decimal;

/// `_cdp.lead_definition()`
pub fn lead_definition(_: &Call) -> Result<Returned> {
    Ok(Returned::Value(Field::Jsonb(cdp_score::LEAD.to_string())))
}

/// `_cdp.namespaces_with_default_score()`
pub fn namespaces_with_default_score(_: &Call) -> Result<Returned> {
    let ids = Spi::connect(true, |spi| {
        let ids = load::with_default(spi)?;
        Ok(match bindings::current(spi)? {
            None => ids,
            Some(bounds) => ids.into_iter().filter(|id| bounds.iter().any(|bound| bound.id == *id)).collect(),
        })
    })?;
    Ok(Returned::Value(Field::Int4Array(ids)))
}

/// `cdp.define_score(key, definition, namespace)`
pub fn define_score(call: &Call) -> Result<Returned> {
    let key = check_key("score", call.text(0).as_deref())?;
    let definition = super::document(call, 1, "definition")?
        .ok_or_else(|| Error::new("22004", "argument definition is null").hint("Give the definition as JSON."))?;
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 2)?;
        define::define(spi, &namespace, &key, &definition)?;
        score_row(spi, &namespace, &key)
    })
    .map(Returned::Row)
}

/// A row of `cdp.score_rules`.
fn score_row(spi: &Spi, namespace: &Namespace, key: &str) -> Result<Vec<Field>> {
    spi.query(
        "SELECT definition, created_at, updated_at FROM _cdp.scores \
         WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
        &[Param::Int4(namespace.id), Param::Text(key)],
    )?
    .first(|row| {
        Ok(vec![
            Field::Text(namespace.name.clone()),
            Field::Text(key.to_string()),
            Field::optional_jsonb(row.optional_jsonb(0)),
            Field::Bool(false),
            Field::Timestamp(row.timestamp(1)?),
            Field::Timestamp(row.timestamp(2)?),
        ])
    })?
    .ok_or_else(|| crate::error::internal("a score was not stored"))
}

/// `cdp.drop_score(key, namespace)`
pub fn drop_score(call: &Call) -> Result<Returned> {
    super::define::drop(call, Defined::Score)
}

fn number(number: &Decimal) -> Field {
    Field::Numeric(number.to_json().to_string())
}

fn fields(score: &Score, outcome: &Outcome) -> Vec<Field> {
    vec![
        number(&outcome.totals.total),
        number(&outcome.totals.icp),
        number(&outcome.totals.behavior),
        Field::Text(outcome.totals.grade.to_string()),
        Field::Jsonb(outcome.meta(&score.model).to_string()),
    ]
}

fn find<'a>(catalog: &'a Catalog, key: &str) -> Result<&'a Score> {
    let found = catalog.score_by_key(key);
    found.ok_or_else(|| unknown_key("score", key, catalog.scores.iter().map(|s| s.key.as_str())))
}

/// `cdp.score(id, key, namespace)`: no row for somebody unknown.
pub fn score(call: &Call) -> Result<Returned> {
    with_score(call, |score, context| Ok(vec![fields(score, &context.outcome(score))]))
}

/// Reads one score of one person: arguments id, key, namespace.
fn with_score(call: &Call, rows: impl Fn(&Score, &PersonContext) -> Result<Vec<Vec<Field>>>) -> Result<Returned> {
    let (id, key) = (required(call, 0, "id")?, required(call, 1, "key")?);
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 2)?;
        let reading = Reading::of(spi, &namespace, &id)?;
        let catalog = Reading::catalog(spi, &namespace, reading.as_ref())?;
        let score = find(&catalog, &key)?;
        let Some(mut reading) = reading else { return Ok(Vec::new()) };
        load_references(spi, &mut reading.person, &[score])?;
        let context = reading.prepare(spi, |_| vec![&score.definition])?;
        let rows = rows(score, &context)?;
        context.check()?;
        Ok(rows)
    })
    .map(Returned::Rows)
}

/// Loads what scores refer to beside the state.
pub fn load_references(spi: &Spi, person: &mut Person, scores: &[&Score]) -> Result<()> {
    let people = std::slice::from_mut(person);
    if scores.iter().any(|score| score.definition.needs_profile) {
        person::load_traits(spi, people)?;
    }
    if scores.iter().any(|score| score.definition.needs_groups) {
        person::load_groups(spi, people)?;
    }
    Ok(())
}

/// `cdp.scores(id, namespace)`
pub fn scores(call: &Call) -> Result<Returned> {
    let id = required(call, 0, "id")?;
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 1)?;
        let Some(mut reading) = Reading::of(spi, &namespace, &id)? else { return Ok(Vec::new()) };
        let catalog = reading.catalog.clone();
        let mut scores: Vec<&Score> = catalog.scores.iter().collect();
        load_references(spi, &mut reading.person, &scores)?;
        let context = reading.prepare(spi, |c| c.scores.iter().map(|s| &s.definition).collect())?;
        scores.sort_by(|a, b| a.key.cmp(&b.key));
        let rows = scores.into_iter().map(|score| {
            let mut row = vec![Field::Text(score.key.clone())];
            row.extend(fields(score, &context.outcome(score)));
            row
        });
        let rows = rows.collect();
        context.check()?;
        Ok(rows)
    })
    .map(Returned::Rows)
}

/// `cdp.explain_score(id, key, namespace)`: each rule, the sum of each half, and the total.
pub fn explain_score(call: &Call) -> Result<Returned> {
    with_score(call, |score, context| {
        let outcome = context.outcome(score);
        let changes_at = |component: Option<Component>, input: &str| {
            let activities = score.model.activities.iter().filter(|rule| component.is_some() && rule.label == input);
            let changes = activities.filter_map(|rule| cdp_expr::next_change(&rule.expr, context)).min();
            Field::optional_timestamp(if component.is_none() { context.changes_at(&score.definition) } else { changes })
        };
        let mut rows: Vec<Vec<Field>> = outcome
            .rules
            .iter()
            .map(|rule| {
                vec![
                    Field::Text(rule.component.as_str().to_string()),
                    Field::Text(rule.name.to_string()),
                    Field::Text(rule.input.to_string()),
                    Field::Jsonb(rule.value.to_json().to_string()),
                    number(&rule.points),
                    Field::optional_text(rule.note.map(|note| note.as_str().to_string())),
                    changes_at(Some(rule.component), rule.input),
                ]
            })
            .collect();
        let sum = |component| {
            let rules = outcome.rules.iter().filter(|rule| rule.component == component);
            rules.fold(Decimal::zero(), |sum, rule| sum.checked_add(&rule.points).unwrap_or(sum))
        };
        let capped = |is_capped: bool| if is_capped { Field::Text("capped".to_string()) } else { Field::Null };
        for (component, points) in
            [(Component::Icp, &outcome.totals.icp), (Component::Behavior, &outcome.totals.behavior)]
        {
            rows.push(vec![
                Field::Text(component.as_str().to_string()),
                Field::Null,
                Field::Null,
                Field::Null,
                number(points),
                capped(sum(component) > *points),
                Field::Null,
            ]);
        }
        rows.push(vec![
            Field::Text("total".to_string()),
            Field::Null,
            Field::Null,
            Field::Null,
            number(&outcome.totals.total),
            Field::Text(format!("grade {}", outcome.totals.grade)),
            changes_at(None, ""),
        ]);
        Ok(rows)
    })
}

/// `_cdp.score_chunk(namespace_id, key, after_profile_id, chunk)`
pub fn score_chunk(call: &Call) -> Result<Returned> {
    let key = required(call, 1, "key")?;
    let (namespace_id, after, limit) =
        (call.i32(0).unwrap_or(0), call.i64(2).unwrap_or(0), call.i32(3).unwrap_or(1_000));
    let last = Spi::connect(false, |spi| {
        let namespace = namespaces::by_id(spi, namespace_id)?;
        rescore::chunk(spi, &namespace, &key, after, i64::from(limit))
    })?;
    Ok(Returned::Value(Field::optional_int8(last)))
}
