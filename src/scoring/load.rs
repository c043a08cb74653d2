//! The scores of a namespace as they are stored. Each namespace has the score `lead` without having a row for it,
//! until it defines its own or drops it.

use crate::error::{state, Error, Result};
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_expr::{Aggregate, Expr};
use cdp_score::LEAD;
use std::rc::Rc;

/// Key of the score that every namespace has.
pub const LEAD_KEY: &str = "lead";
/// Id under which a person's score `lead` is kept, whether it is the namespace's own or not.
const LEAD_ID: i32 = 0;
/// Ids of slots below this one belong to the score `lead` that comes with cdp; those of `_cdp.slots` begin here.
const FIRST_STORED_SLOT: u32 = 100;

/// A score before its expressions are bound.
pub struct Row {
    pub id: i32,
    pub key: String,
    pub version: i32,
    pub model: Rc<cdp_score::Score>,
    /// Whether it is the one that comes with cdp.
    pub is_built_in: bool,
}

impl Row {
    /// All that the score reads, as one list.
    pub fn inputs(&self) -> Expr {
        Expr::List(self.model.inputs().cloned().collect())
    }

    /// The aggregates of a score that comes with cdp, with the ids of their slots. The ids follow from the places of
    /// the rules, so that a rule of the definition must keep its place.
    pub fn built_in_aggregates(&self) -> Vec<(u32, Aggregate)> {
        let aggregates = self.model.activities.iter().filter(|_| self.is_built_in).map(|rule| match &rule.expr {
            Expr::Aggregate(aggregate) => Some(aggregate.clone()),
            _ => None,
        });
        (1..FIRST_STORED_SLOT).zip(aggregates).filter_map(|(id, aggregate)| Some((id, aggregate?))).collect()
    }
}

/// Whether a slot is not stored but belongs to the score that comes with cdp.
pub fn is_built_in_slot(id: u32) -> bool {
    id < FIRST_STORED_SLOT
}

/// Reads a definition's text.
pub fn parse(key: &str, text: &str) -> Result<cdp_score::Score> {
    let damaged = |what: String| {
        Error::new(state::INVALID_DEFINITION, format!("score \"{key}\" cannot be read: {what}"))
            .hint("It was stored by another version of cdp; define it again.")
    };
    let json: serde_json::Value = serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
    cdp_score::Score::parse(&json).map_err(|error| damaged(error.to_string()))
}

/// The scores of a namespace.
pub fn load(spi: &Spi, namespace_id: i32) -> Result<Vec<Row>> {
    let stored = spi
        .query_latest(
            "SELECT score_id, key, version, definition FROM _cdp.scores WHERE namespace_id OPERATOR(pg_catalog.=) $1 ORDER BY score_id",
            &[Param::Int4(namespace_id)],
        )?
        .map(|row| Ok((row.i32(0)?, row.text(1)?, row.i32(2)?, row.optional_jsonb(3))))?;
    let mut rows = Vec::with_capacity(stored.len() + 1);
    if !stored.iter().any(|(_, key, ..)| key == LEAD_KEY) {
        let model = Rc::new(parse(LEAD_KEY, LEAD)?);
        rows.push(Row { id: LEAD_ID, key: LEAD_KEY.to_string(), version: 0, model, is_built_in: true });
    }
    for (id, key, version, definition) in stored {
        // A namespace that dropped the score `lead` has a row that says so.
        let Some(definition) = definition else { continue };
        let model = Rc::new(parse(&key, &definition)?);
        let id = if key == LEAD_KEY { LEAD_ID } else { id };
        rows.push(Row { id, key, version, model, is_built_in: false });
    }
    Ok(rows)
}

/// Ids of the namespaces that have the score `lead` as it comes with cdp.
pub fn with_default(spi: &Spi) -> Result<Vec<i32>> {
    spi.query(
        "SELECT n.namespace_id FROM _cdp.namespace_names AS n WHERE NOT EXISTS ( \
             SELECT FROM _cdp.scores AS s WHERE s.namespace_id OPERATOR(pg_catalog.=) n.namespace_id AND s.key OPERATOR(pg_catalog.=) $1) \
         ORDER BY n.namespace_id",
        &[Param::Text(LEAD_KEY)],
    )?
    .map(|row| row.i32(0))
}
