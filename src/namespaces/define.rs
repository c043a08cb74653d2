//! Making and changing namespaces.

use super::{by_id, by_name, Namespace, DEFAULT};
use crate::error::{closest, cut, state, Error, Result};
use crate::pg::datum::Param;
use crate::pg::guard::warn;
use crate::pg::spi::Spi;
use cdp_state::Zoned;
use std::rc::Rc;

/// Makes or changes a namespace.
pub fn define(spi: &Spi, name: &str, keywords: &[String], timezone: &str, settings: &str) -> Result<()> {
    super::bindings::require_all(spi, "defining namespaces")?;
    if Zoned::new(timezone).is_none() {
        return Err(Error::new(state::INVALID_DEFINITION, format!("\"{}\" is no time zone", cut(timezone)))
            .hint("Use a name of the IANA database, for example Europe/Berlin."));
    }
    let parsed = crate::ingest::stored::json(settings).filter(serde_json::Value::is_object).ok_or_else(|| {
        Error::new(state::INVALID_DEFINITION, "the settings of a namespace are a JSON object").hint("For example '{}'.")
    })?;
    check_names(&parsed)?;
    crate::identity::settings::Settings::read(&parsed)?;
    super::retention::read(&parsed)?;
    let keywords: Vec<&str> = keywords.iter().map(String::as_str).collect();
    super::routing::check(spi, name, &keywords)?;
    let parameters = [Param::Text(name), Param::TextArray(&keywords), Param::Text(timezone), Param::Jsonb(settings)];
    let before = by_name_if_known(spi, name)?;
    if name == DEFAULT {
        spi.execute(
            "INSERT INTO _cdp.namespaces (namespace_id, name, keywords, timezone, settings) VALUES (1, $1, $2, $3, $4) \
             ON CONFLICT (namespace_id) DO UPDATE SET keywords = EXCLUDED.keywords, timezone = EXCLUDED.timezone, \
                 settings = EXCLUDED.settings, updated_at = pg_catalog.now()",
            &parameters,
        )?;
    } else {
        spi.execute(
            "INSERT INTO _cdp.namespaces (name, keywords, timezone, settings) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (name) DO UPDATE SET keywords = EXCLUDED.keywords, timezone = EXCLUDED.timezone, \
                 settings = EXCLUDED.settings, updated_at = pg_catalog.now()",
            &parameters,
        )?;
    }
    crate::traits::catalog::invalidate(spi)?;
    // Days of another time zone are other days: everything that counts them is computed again.
    if let Some(before) = before.filter(|before| before.timezone != timezone) {
        crate::traits::define::change_timezone(spi, &*by_id(spi, before.id)?)?;
    }
    Ok(())
}

/// Settings that cdp reads.
const SETTINGS: [&str; 2] = ["identity", "retention"];

/// Refuses what looks like a misspelt setting. Others are the application's own: they are kept, and a warning says that
/// nothing comes of them.
fn check_names(settings: &serde_json::Value) -> Result<()> {
    let names = settings.as_object().into_iter().flat_map(|settings| settings.keys());
    let unknown: Vec<&String> = names.filter(|name| !SETTINGS.contains(&name.as_str())).collect();
    for name in &unknown {
        if let Some(meant) = closest(name, SETTINGS.into_iter()) {
            return Err(Error::new(state::INVALID_DEFINITION, format!("settings: {} is no setting", cut(name)))
                .hint(format!("Did you mean \"{meant}\"?")));
        }
    }
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().map(|name| format!("\"{}\"", cut(name))).collect();
        warn(
            &format!("cdp has no setting {}: it is kept, and nothing else", names.join(", ")),
            Some(&format!("What cdp reads is: {}.", SETTINGS.join(", "))),
        );
    }
    Ok(())
}

fn by_name_if_known(spi: &Spi, name: &str) -> Result<Option<Rc<Namespace>>> {
    let exists = spi
        .query("SELECT 1 FROM _cdp.namespaces WHERE name OPERATOR(pg_catalog.=) $1", &[Param::Text(name)])?
        .processed
        > 0;
    if exists || name == DEFAULT {
        return by_name(spi, name).map(Some);
    }
    Ok(None)
}
