//! Why an answer is what it is, in rows a person can read.

use super::read::Reading;
use super::{namespace, required};
use crate::error::{unknown_key, Result};
use crate::identity::{explain, resolve};
use crate::pg::function::{Call, Field, Returned};
use crate::pg::spi::Spi;
use crate::traits::catalog::{Catalog, Definition};
use crate::traits::events;
use cdp_expr::{Context, Expr};

/// `cdp.explain_identity(id, namespace)`
pub fn explain_identity(call: &Call) -> Result<Returned> {
    let id = required(call, 0, "id")?;
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 1)?;
        match resolve::find(spi, &namespace, &id, None)? {
            Some(profile_id) => explain::explain(spi, profile_id),
            None => Ok(Vec::new()),
        }
    })
    .map(Returned::Rows)
}

/// `cdp.explain_trait(id, key, namespace)`
pub fn explain_trait(call: &Call) -> Result<Returned> {
    let key = required(call, 1, "key")?;
    tree(call, |catalog| {
        let found = catalog.trait_by_key(&key).map(|t| &t.definition);
        found.ok_or_else(|| unknown_key("trait", &key, catalog.traits.iter().map(|t| t.key.as_str())))
    })
}

/// `cdp.explain_segment(id, key, namespace)`
pub fn explain_segment(call: &Call) -> Result<Returned> {
    let key = required(call, 1, "key")?;
    tree(call, |catalog| {
        let found = catalog.segment_by_key(&key).map(|s| &s.definition);
        found.ok_or_else(|| unknown_key("segment", &key, catalog.segments.iter().map(|s| s.key.as_str())))
    })
}

/// Rows (depth, expression, value, changes_at, events): the tree of an expression with the value of every node, when
/// time alone changes it next, and the latest of the events that count.
fn tree(call: &Call, choose: impl Fn(&Catalog) -> Result<&Definition>) -> Result<Returned> {
    let id = required(call, 0, "id")?;
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 2)?;
        let reading = Reading::of(spi, &namespace, &id)?;
        let catalog = Reading::catalog(spi, &namespace, reading.as_ref())?;
        choose(&catalog)?;
        let Some(mut reading) = reading else { return Ok(Vec::new()) };
        let context = reading.prepare(spi, |c| choose(c).into_iter().collect())?;
        let mut rows = Vec::new();
        let mut aggregates = Vec::new();
        walk(&choose(&catalog)?.expression, &catalog, &context, 0, &mut |expression, row| {
            let aggregate = match expression {
                Expr::Aggregate(aggregate) => Some(aggregate.clone()),
                _ => None,
            };
            aggregates.push(aggregate);
            rows.push(row);
        });
        context.check()?;
        for (row, aggregate) in rows.iter_mut().zip(aggregates) {
            row.push(match aggregate {
                Some(aggregate) => {
                    Field::Jsonb(events::that_count(spi, context.person, &aggregate, context.at)?.to_string())
                }
                None => Field::Null,
            });
        }
        Ok(rows)
    })
    .map(Returned::Rows)
}

/// The rows (depth, expression, value, changes_at) of an expression and of what it is made of.
pub fn rows(expression: &Expr, catalog: &Catalog, context: &dyn Context, depth: i32) -> Vec<Vec<Field>> {
    let mut rows = Vec::new();
    walk(expression, catalog, context, depth, &mut |_, row| rows.push(row));
    rows
}

fn walk(
    expression: &Expr,
    catalog: &Catalog,
    context: &dyn Context,
    depth: i32,
    found: &mut dyn FnMut(&Expr, Vec<Field>),
) {
    let value = cdp_expr::evaluate(expression, context);
    let changes_at = cdp_expr::next_change(&expression.inline(&catalog.names(Vec::new())), context);
    let row = vec![
        Field::Int4(depth),
        Field::Text(cdp_expr::print(expression)),
        Field::Jsonb(value.to_json().to_string()),
        Field::optional_timestamp(changes_at),
    ];
    found(expression, row);
    match expression {
        Expr::Trait(key) => {
            if let Some(of) = catalog.trait_by_key(key) {
                walk(&of.definition.expression, catalog, context, depth + 1, found);
            }
        }
        Expr::Segment(key) => {
            if let Some(of) = catalog.segment_by_key(key).filter(|of| !of.is_static) {
                walk(&of.definition.expression, catalog, context, depth + 1, found);
            }
        }
        Expr::Literal(_) | Expr::Aggregate(_) => {}
        other => {
            for child in other.children() {
                if !matches!(child, Expr::Literal(_) | Expr::Duration(_)) {
                    walk(child, catalog, context, depth + 1, found);
                }
            }
        }
    }
}
