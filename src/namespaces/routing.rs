//! Which namespace the people of a campaign belong to, by the keywords of all namespaces.

use super::{bindings, DEFAULT};
use crate::error::{cut, state, Error, Result};
use crate::pg::cache;
use crate::pg::spi::Spi;
use crate::traits::catalog;
use cdp_namespace::{KeywordError, Router};
use std::cell::RefCell;
use std::rc::Rc;

thread_local! {
    static ROUTER: RefCell<Option<(u64, Rc<Router>)>> = const { RefCell::new(None) };
}

/// The namespace of a campaign; the default one when no keyword is in its name.
pub fn route(spi: &Spi, campaign: &str) -> Result<String> {
    bindings::require_all(spi, "routing by keywords")?;
    let router = router(spi)?;
    Ok(router.route(campaign).unwrap_or(DEFAULT).to_string())
}

fn router(spi: &Spi) -> Result<Rc<Router>> {
    catalog::watch_definitions(spi)?;
    let generation = cache::generation();
    let known =
        ROUTER.with_borrow(|router| router.as_ref().filter(|(at, _)| *at == generation).map(|(_, r)| r.clone()));
    if let Some(router) = known {
        return Ok(router);
    }
    let router = Rc::new(built(spi, None)?);
    ROUTER.set(Some((generation, router.clone())));
    Ok(router)
}

/// Refuses keywords of a namespace that another one has. Definitions with keywords queue here until the first is
/// committed.
pub fn check(spi: &Spi, namespace: &str, keywords: &[&str]) -> Result<()> {
    if !keywords.is_empty() {
        spi.query("SELECT pg_catalog.pg_advisory_xact_lock(4344915, 0)", &[])?;
        built(spi, Some((namespace, keywords)))?;
    }
    Ok(())
}

/// The keywords of all namespaces, with those that one of them is to have.
fn built(spi: &Spi, changed: Option<(&str, &[&str])>) -> Result<Router> {
    let stored = spi
        .query_latest("SELECT name, keywords FROM _cdp.namespaces ORDER BY namespace_id", &[])?
        .map(|row| Ok((row.text(0)?, row.text_array(1))))?;
    let others = stored
        .iter()
        .filter(|(name, _)| changed.is_none_or(|(namespace, _)| namespace != name))
        .map(|(name, keywords)| (name.as_str(), keywords.iter().map(String::as_str).collect()));
    let all = others.chain(changed.map(|(namespace, keywords)| (namespace, keywords.to_vec())));
    Router::new(all).map_err(|error| match error {
        KeywordError::Blank { namespace, keyword } => Error::new(
            state::INVALID_DEFINITION,
            format!("\"{}\" cannot be a keyword of namespace \"{namespace}\"", cut(&keyword)),
        )
        .hint("A keyword has letters or digits."),
        KeywordError::Tie { keyword, first, second } => Error::new(
            state::INVALID_DEFINITION,
            format!("namespaces \"{first}\" and \"{second}\" cannot both have the keyword \"{}\"", cut(&keyword)),
        )
        .detail("A campaign with it in its name would belong to either. Capitals do not matter.")
        .hint("Give one of them a longer keyword: the longest that is in the name decides."),
    })
}
