//! People who must be left alone. What is suppressed are identifiers: a message that has one of them is not taken,
//! whoever it would belong to, and a person who has one of them is sent nothing about, whatever profiles the person
//! came from. So nothing has to be done here when people merge or are taken apart.

use crate::error::{cut, Error, Result};
use crate::identity::{kinds, resolve};
use crate::ingest::Arrived;
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::pg::{cache, clock, session};
use crate::traits::catalog;
use cdp_message::normalize_identifier;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

/// Stands for every kind of identifier.
const ANY_KIND: i32 = 0;

/// The kind of the row that says that a namespace has had suppressions. It stays, so that a session that knows of it
/// need not hear of each, and one that knows of none hears of the first.
const MARK: i32 = -1;

/// Kinds whose identifiers are kept in a form of their own.
const NORMALISED: [&str; 2] = ["email", "phone"];

thread_local! {
    /// Whether anybody is suppressed in a namespace: most have nobody, and then nothing is looked up.
    static KNOWN: RefCell<(u64, HashMap<i32, bool>)> = RefCell::new((0, HashMap::new()));
}

/// Whether anybody is suppressed in a namespace, or was once.
pub fn any(spi: &Spi, namespace_id: i32) -> Result<bool> {
    catalog::watch_definitions(spi)?;
    cache::hear();
    let generation = cache::generation();
    let known =
        KNOWN.with_borrow(|known| (known.0 == generation).then(|| known.1.get(&namespace_id).copied()).flatten());
    if let Some(any) = known {
        return Ok(any);
    }
    let any = spi
        .query_latest(
            "SELECT FROM _cdp.suppressions WHERE namespace_id OPERATOR(pg_catalog.=) $1 LIMIT 1",
            &[Param::Int4(namespace_id)],
        )?
        .processed
        > 0;
    KNOWN.with_borrow_mut(|known| {
        if known.0 != generation {
            *known = (generation, HashMap::new());
        }
        known.1.insert(namespace_id, any);
    });
    Ok(any)
}

/// For each message, why it is not taken; None when it may be.
pub fn of_messages(spi: &Spi, namespace: &Namespace, batch: &[Arrived]) -> Result<Vec<Option<String>>> {
    if batch.is_empty() || !any(spi, namespace.id)? {
        return Ok(batch.iter().map(|_| None).collect());
    }
    let kinds = kinds::current(spi, namespace)?;
    let found: Vec<Vec<cdp_message::Identifier>> =
        batch.iter().map(|arrived| cdp_message::identifiers(&arrived.message, &kinds.extraction)).collect();
    let values: HashSet<&str> = found.iter().flatten().map(|identifier| identifier.value.as_str()).collect();
    let values: Vec<&str> = values.into_iter().collect();
    let mut suppressed: HashMap<(String, i32), Option<String>> = HashMap::new();
    let mut rows = spi.query_latest(
        // One look-up for each value: OFFSET keeps the planner from reading all suppressions instead.
        "SELECT s.value, s.kind_id, s.reason FROM pg_catalog.unnest($2) AS w(value) \
         CROSS JOIN LATERAL (SELECT x.value, x.kind_id, x.reason FROM _cdp.suppressions AS x \
             WHERE x.namespace_id OPERATOR(pg_catalog.=) $1 AND x.value OPERATOR(pg_catalog.=) w.value OFFSET 0) AS s",
        &[Param::Int4(namespace.id), Param::TextArray(&values)],
    )?;
    while rows.advance() {
        suppressed.insert((rows.text(0)?, rows.i32(1)?), rows.optional_text(2));
    }
    if suppressed.is_empty() {
        return Ok(batch.iter().map(|_| None).collect());
    }
    let reason = |identifier: &cdp_message::Identifier| {
        let own = kinds.id(&identifier.kind).and_then(|kind| suppressed.get(&(identifier.value.clone(), kind)));
        let reason = own.or_else(|| suppressed.get(&(identifier.value.clone(), ANY_KIND)))?;
        let what = format!("{} \"{}\" is suppressed", identifier.kind, cut(&identifier.value));
        Some(reason.as_deref().map_or(what.clone(), |reason| format!("{what}: {reason}")))
    };
    Ok(found.iter().map(|identifiers| identifiers.iter().find_map(reason)).collect())
}

/// Those of the profiles whose person is suppressed.
pub fn of_people(spi: &Spi, namespace_id: i32, profile_ids: &[i64]) -> Result<HashSet<i64>> {
    if profile_ids.is_empty() || !any(spi, namespace_id)? {
        return Ok(HashSet::new());
    }
    let suppressed = spi
        .query(
            "SELECT w.profile_id FROM pg_catalog.unnest($2) AS w(profile_id) \
             LEFT JOIN _cdp.profiles AS p ON p.profile_id OPERATOR(pg_catalog.=) w.profile_id \
             CROSS JOIN LATERAL (SELECT FROM _cdp.identifiers AS i \
                 CROSS JOIN LATERAL (SELECT FROM _cdp.suppressions AS x \
                     WHERE x.namespace_id OPERATOR(pg_catalog.=) i.namespace_id AND x.value OPERATOR(pg_catalog.=) i.value \
                       AND (x.kind_id OPERATOR(pg_catalog.=) i.kind_id OR x.kind_id OPERATOR(pg_catalog.=) 0) OFFSET 0) AS s \
                 WHERE i.profile_id OPERATOR(pg_catalog.=) COALESCE(p.merged_into, w.profile_id) \
                   AND i.namespace_id OPERATOR(pg_catalog.=) $1 LIMIT 1) AS one",
            &[Param::Int4(namespace_id), Param::Int8Array(profile_ids)],
        )?
        .map(|row| row.i64(0))?;
    Ok(suppressed.into_iter().collect())
}

/// The identifiers, with their kinds, that a caller means: all of the person's when the person is known, else what
/// was given.
fn meant(spi: &Spi, namespace: &Namespace, id: &str, kind: Option<&str>) -> Result<Vec<(String, i32)>> {
    if id.trim().is_empty() {
        return Err(Error::new("22023", "the id is empty").hint("Give any identifier of a person, or a profile id."));
    }
    let longest = crate::ingest::limits().id_chars;
    for (argument, text) in [("id", Some(id)), ("kind", kind)] {
        if text.is_some_and(|text| text.chars().count() > longest) {
            return Err(Error::new("CD008", format!("argument {argument} is longer than {longest} characters"))
                .hint("No identifier that is taken is longer."));
        }
    }
    let mut meant = given(spi, namespace, id, kind)?;
    if let Some(profile_id) = resolve::find(spi, namespace, id, kind)? {
        let own = spi
            .query(
                "SELECT value, kind_id FROM _cdp.identifiers WHERE profile_id OPERATOR(pg_catalog.=) $1",
                &[Param::Int8(profile_id)],
            )?
            .map(|row| Ok((row.text(0)?, row.i32(1)?)))?;
        // Named by the profile's id, or by an identifier, which then has a kind.
        meant = if own.is_empty() { meant } else { own };
    }
    Ok(meant)
}

/// What was given, in the forms in which messages may have it.
fn given(spi: &Spi, namespace: &Namespace, id: &str, kind: Option<&str>) -> Result<Vec<(String, i32)>> {
    if let Some(kind) = kind {
        let kinds = kinds::with_names(spi, namespace, std::iter::once(kind))?;
        let Some(kind_id) = kinds.id(kind) else {
            return Err(Error::new(
                "22023",
                format!("there is no room for another kind of identifiers: \"{}\"", cut(kind)),
            ));
        };
        let value = normalize_identifier(kind, id)
            .ok_or_else(|| Error::new("22023", format!("\"{}\" is no {}", cut(id), cut(kind))))?;
        return Ok(vec![(value.into_owned(), kind_id)]);
    }
    let kinds = kinds::current(spi, namespace)?;
    let mut given = vec![(id.to_string(), ANY_KIND)];
    for kind in NORMALISED {
        if let (Some(value), Some(kind_id)) = (normalize_identifier(kind, id), kinds.id(kind)) {
            if value != id {
                given.push((value.into_owned(), kind_id));
            }
        }
    }
    Ok(given)
}

/// Suppresses a person, or an identifier of nobody yet. Returns the identifiers.
pub fn suppress(
    spi: &Spi,
    namespace: &Namespace,
    id: &str,
    kind: Option<&str>,
    reason: Option<&str>,
) -> Result<Vec<(String, i32)>> {
    let identifiers = meant(spi, namespace, id, kind)?;
    let (values, kinds): (Vec<&str>, Vec<i32>) =
        identifiers.iter().map(|(value, kind)| (value.as_str(), *kind)).unzip();
    spi.execute(
        "INSERT INTO _cdp.suppressions AS s (namespace_id, value, kind_id, suppressed_at, reason, suppressed_by) \
         SELECT $1, w.value, w.kind_id, $4, $5, $6 FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS w(value, kind_id) \
         ON CONFLICT (namespace_id, value, kind_id) DO UPDATE SET reason = COALESCE(EXCLUDED.reason, s.reason)",
        &[
            Param::Int4(namespace.id),
            Param::TextArray(&values),
            Param::Int4Array(&kinds),
            Param::Timestamp(clock::now()?),
            Param::OptionalText(reason),
            Param::Text(&session::outer_role()),
        ],
    )?;
    let is_first = spi.execute(
        "INSERT INTO _cdp.suppressions (namespace_id, value, kind_id, suppressed_at, suppressed_by) VALUES ($1, '', $2, $3, '') \
         ON CONFLICT DO NOTHING",
        &[Param::Int4(namespace.id), Param::Int4(MARK), Param::Timestamp(clock::now()?)],
    )?;
    if is_first > 0 {
        catalog::invalidate(spi)?;
        KNOWN.with_borrow_mut(|known| known.1.clear());
    }
    Ok(identifiers)
}

/// Ends a suppression. Returns of how many identifiers.
pub fn unsuppress(spi: &Spi, namespace: &Namespace, id: &str, kind: Option<&str>) -> Result<u64> {
    let mut identifiers = meant(spi, namespace, id, kind)?;
    identifiers.extend(given(spi, namespace, id, kind)?);
    let kinds = kinds::current(spi, namespace)?;
    for kind in NORMALISED {
        if let (Some(value), Some(kind_id)) = (normalize_identifier(kind, id), kinds.id(kind)) {
            identifiers.push((value.into_owned(), kind_id));
        }
    }
    let own: Vec<(String, i32)> = identifiers.iter().map(|(value, _)| (value.clone(), ANY_KIND)).collect();
    identifiers.extend(own);
    let (values, kinds): (Vec<&str>, Vec<i32>) =
        identifiers.iter().map(|(value, kind)| (value.as_str(), *kind)).unzip();
    let ended = spi.execute_hashed(
        "DELETE FROM _cdp.suppressions AS s \
         USING ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS w(value, kind_id) \
         WHERE s.namespace_id OPERATOR(pg_catalog.=) $1 AND s.value OPERATOR(pg_catalog.=) ANY ($2) \
           AND s.value OPERATOR(pg_catalog.=) w.value AND s.kind_id OPERATOR(pg_catalog.=) w.kind_id",
        &[Param::Int4(namespace.id), Param::TextArray(&values), Param::Int4Array(&kinds)],
    )?;
    // Whoever was unknown was suppressed in the spelling that was given.
    let spellings = if kind.is_none() {
        spi.execute(
            "DELETE FROM _cdp.suppressions WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND kind_id OPERATOR(pg_catalog.=) 0 \
             AND pg_catalog.lower(value) OPERATOR(pg_catalog.=) pg_catalog.lower($2)",
            &[Param::Int4(namespace.id), Param::Text(id)],
        )?
    } else {
        0
    };
    Ok(ended + spellings)
}
