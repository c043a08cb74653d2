//! How long a namespace keeps events: `settings -> 'retention'`, as `{"event_days": 365}`.

use super::Namespace;
use crate::error::{state, Error, Result};
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use serde_json::Value;

/// Reads the setting; an error names the place as a JSON path. None: for ever.
pub fn read(settings: &Value) -> Result<Option<i64>> {
    let Some(retention) = settings.get("retention").filter(|retention| !retention.is_null()) else { return Ok(None) };
    let retention = retention.as_object().ok_or_else(|| wrong("retention", "has to be an object"))?;
    crate::identity::settings::known(retention, "retention", &["event_days"])?;
    match retention.get("event_days") {
        None | Some(Value::Null) => Ok(None),
        Some(days) => match days.as_i64().filter(|days| (1..=36_500).contains(days)) {
            Some(days) => Ok(Some(days)),
            None => Err(wrong("retention.event_days", "has to be a whole number from 1 to 36500")),
        },
    }
}

/// For how many days a namespace keeps its events.
pub fn event_days(spi: &Spi, namespace: &Namespace) -> Result<Option<i64>> {
    let settings = spi
        .query(
            "SELECT settings FROM _cdp.namespaces WHERE namespace_id OPERATOR(pg_catalog.=) $1",
            &[Param::Int4(namespace.id)],
        )?
        .first(|row| Ok(row.optional_jsonb(0)))?
        .flatten();
    settings.and_then(|text| crate::ingest::stored::json(&text)).map_or(Ok(None), |settings| read(&settings))
}

fn wrong(path: &str, problem: &str) -> Error {
    Error::new(state::INVALID_DEFINITION, format!("settings: {path} {problem}"))
        .hint("For example {\"retention\": {\"event_days\": 365}}.")
}
