//! Which parts of a state the definitions need.

use super::catalog::Slot;
use crate::error::Result;
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_expr::{Aggregate, Expr};
use std::collections::{BTreeMap, BTreeSet};

/// What makes two aggregates share a slot: event, filter and property.
type Source = (String, Option<String>, Vec<String>);

fn source(aggregate: &Aggregate) -> Source {
    (
        aggregate.source.event.clone(),
        aggregate.source.filter.as_ref().map(|filter| cdp_expr::print(filter)),
        aggregate.property.clone().unwrap_or_default(),
    )
}

fn needed<'a>(expressions: impl Iterator<Item = &'a Expr>) -> BTreeMap<Source, BTreeSet<String>> {
    let mut all: BTreeMap<Source, BTreeSet<String>> = BTreeMap::new();
    for expression in expressions {
        for aggregate in expression.aggregates() {
            let text = cdp_expr::print(&Expr::Aggregate(aggregate.clone()));
            all.entry(source(aggregate)).or_default().insert(text);
        }
    }
    all
}

/// Makes the stored slots fit all definitions (inlined). `existing` are those that stay as far as they are needed. A slot that has to answer more than before is
/// replaced by a new one, which people fill from their events. Returns whether one was made.
pub fn store<'a>(
    spi: &Spi,
    namespace: &Namespace,
    existing: impl Iterator<Item = &'a Slot>,
    expressions: impl Iterator<Item = &'a Expr>,
    version: i32,
) -> Result<bool> {
    let mut needed = needed(expressions);
    let mut gone = Vec::new();
    for slot in existing {
        let key =
            (slot.event.clone(), slot.filter.as_ref().map(cdp_expr::print), slot.property.clone().unwrap_or_default());
        match needed.get(&key) {
            Some(wanted) if wanted.is_subset(&slot.answers) => {
                needed.remove(&key);
            }
            _ => gone.push(slot.spec.id() as i32),
        }
    }
    if !gone.is_empty() {
        spi.execute(
            "DELETE FROM _cdp.slots WHERE slot_id OPERATOR(pg_catalog.=) ANY ($1)",
            &[Param::Int4Array(&gone)],
        )?;
    }
    let made = !needed.is_empty();
    for ((event, filter, property), aggregates) in needed {
        let property: Vec<&str> = property.iter().map(String::as_str).collect();
        let aggregates: Vec<&str> = aggregates.iter().map(String::as_str).collect();
        spi.execute(
            "INSERT INTO _cdp.slots (namespace_id, event, filter, property, aggregates, version) VALUES ($1, $2, $3, $4, $5, $6)",
            &[
                Param::Int4(namespace.id),
                Param::Text(&event),
                Param::OptionalText(filter.as_deref()),
                Param::TextArray(&property),
                Param::TextArray(&aggregates),
                Param::Int4(version),
            ],
        )?;
    }
    Ok(made)
}
