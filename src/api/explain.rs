//! Why an answer is what it is, in rows a person can read.

use super::read::Reading;
use super::{namespace, required};
use crate::error::{unknown_key, Result};
use crate::identity::{explain, resolve};
use crate::pg::function::{Call, Field, Returned};
use crate::pg::spi::Spi;
use crate::traits::catalog::{Catalog, Definition};
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

/// Rows (depth, expression, value, changes_at): the tree of an expression with the value of every node, and when
/// time alone changes it next.
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
        walk(&choose(&catalog)?.expression, &catalog, &context, 0, &mut rows);
        context.check()?;
        Ok(rows)
    })
    .map(Returned::Rows)
}

/// The rows of an expression and of what it is made of.
pub fn walk(expression: &Expr, catalog: &Catalog, context: &dyn Context, depth: i32, rows: &mut Vec<Vec<Field>>) {
    let value = cdp_expr::evaluate(expression, context);
    let changes_at = cdp_expr::next_change(&expression.inline(&catalog.names(Vec::new())), context);
    rows.push(vec![
        Field::Int4(depth),
        Field::Text(cdp_expr::print(expression)),
        Field::Jsonb(value.to_json().to_string()),
        Field::optional_timestamp(changes_at),
    ]);
    match expression {
        Expr::Trait(key) => {
            if let Some(found) = catalog.trait_by_key(key) {
                walk(&found.definition.expression, catalog, context, depth + 1, rows);
            }
        }
        Expr::Segment(key) => {
            if let Some(found) = catalog.segment_by_key(key).filter(|found| !found.is_static) {
                walk(&found.definition.expression, catalog, context, depth + 1, rows);
            }
        }
        Expr::Literal(_) | Expr::Aggregate(_) => {}
        other => {
            for child in other.children() {
                if !matches!(child, Expr::Literal(_)) {
                    walk(child, catalog, context, depth + 1, rows);
                }
            }
        }
    }
}
