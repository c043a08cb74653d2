//! Making, changing and dropping scores.

use super::load::LEAD_KEY;
use crate::error::{cut, state, Error, Result};
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::guard::warn;
use crate::pg::spi::Spi;
use crate::traits::catalog;
use crate::traits::define::{self, Defined, New};
use cdp_expr::Expr;
use cdp_score::ScoreError;

/// A refusal, with the place in the JSON.
fn refused(error: ScoreError) -> Error {
    let place =
        if error.path.is_empty() { "At the top of the definition.".into() } else { format!("At {}.", error.path) };
    let raised = Error::new(state::INVALID_DEFINITION, cut(&error.message)).detail(place);
    match error.hint {
        Some(hint) => raised.hint(hint),
        None => raised,
    }
}

/// Stores a score and has everybody scored.
pub fn define(spi: &Spi, namespace: &Namespace, key: &str, given: &serde_json::Value) -> Result<()> {
    let known = define::lock(spi, namespace)?;
    let mut model = cdp_score::Score::parse(given).map_err(refused)?;
    let warnings = model.resolve(key, &known.names(define::event_names(spi, namespace.id)?)).map_err(refused)?;
    for warning in &warnings {
        warn(warning, None);
    }
    let definition = model.stored(given).to_string();
    let now = clock::real();
    let store = |version: i32| {
        spi.execute(
            "INSERT INTO _cdp.scores (namespace_id, key, definition, version, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5) \
             ON CONFLICT (namespace_id, key) DO UPDATE SET definition = EXCLUDED.definition, version = EXCLUDED.version, \
                 updated_at = EXCLUDED.updated_at",
            &[
                Param::Int4(namespace.id),
                Param::Text(key),
                Param::Jsonb(&definition),
                Param::Int4(version),
                Param::Timestamp(now),
            ],
        )
        .map(|_| ())
    };
    match known.score_by_key(key).filter(|found| found.model.scores_alike(&model)) {
        // Only words changed.
        Some(found) if found.definition.version > 0 => {
            store(found.definition.version)?;
            catalog::invalidate(spi)
        }
        _ => {
            let inputs = [Expr::List(model.inputs().cloned().collect())];
            let new = New { what: Defined::Score, key, expressions: &inputs };
            define::change(spi, namespace, &known, Some(new), None, store)
        }
    }
}

/// Removes a score; that the namespace has no score `lead` is noted. Returns the number of rows.
pub fn delete(spi: &Spi, namespace: &Namespace, key: &str) -> Result<u64> {
    let now = Param::Timestamp(clock::real());
    let parameters = [Param::Int4(namespace.id), Param::Text(key), now];
    if key == LEAD_KEY {
        return spi.execute(
            "INSERT INTO _cdp.scores (namespace_id, key, definition, version, created_at, updated_at) VALUES ($1, $2, NULL, 0, $3, $3) \
             ON CONFLICT (namespace_id, key) DO UPDATE SET definition = NULL, updated_at = EXCLUDED.updated_at",
            &parameters,
        );
    }
    spi.execute(
        "DELETE FROM _cdp.scores WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
        &parameters[..2],
    )
}
