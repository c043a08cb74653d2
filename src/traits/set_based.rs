//! Expressions for everybody at once: one statement over all events (`cdp_expr::sql`), instead of one person after
//! the other.

use super::backfill;
use super::catalog::Catalog;
use crate::error::Result;
use crate::identity::groups;
use crate::ingest::names;
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::segments::lists;
use cdp_expr::sql::{compile, compile_condition, SqlError, SqlNames};
use cdp_expr::Expr;
use cdp_value::{AggregateFunction, Timestamp, Value};
use std::collections::BTreeSet;

/// A profile and a value as JSON text; None for null.
pub type PersonValue = (i64, Option<String>);

/// How many people a condition has.
#[derive(Default)]
pub struct Matching {
    pub members: i64,
    /// Some of them, those with the lowest ids.
    pub sample: Vec<i64>,
}

impl Matching {
    fn add(&mut self, profile_id: i64) {
        self.members += 1;
        self.sample.push(profile_id);
    }

    fn cut(&mut self, length: usize) {
        self.sample.sort_unstable();
        self.sample.truncate(length);
    }
}

/// Whether a statement gives what states give: these estimate distinct values and percentiles of many, and a
/// statement has no scores.
fn is_exact(inlined: &Expr) -> bool {
    let mut is_exact = !inlined.aggregates().iter().any(|aggregate| {
        // Powers of a half may differ in their last digit, which a comparison would see.
        let is_fractional = matches!(aggregate.function, AggregateFunction::DecayedCount { .. });
        is_fractional || matches!(aggregate.function, AggregateFunction::Unique | AggregateFunction::Percentile(_))
    });
    inlined.walk(&mut |node| is_exact &= !matches!(node, Expr::Score(_) | Expr::Grade(_)));
    is_exact
}

/// Whether the people's states answer an expression without their events.
fn is_answered(catalog: &Catalog, inlined: &Expr) -> bool {
    inlined.aggregates().into_iter().all(|aggregate| catalog.aggregate_position(aggregate).is_some())
}

/// Compiles with the tables of a namespace; None for what only a person's own evaluation can answer.
fn compiled(
    spi: &Spi,
    namespace: &Namespace,
    inlined: &Expr,
    make: impl Fn(&Expr, &SqlNames) -> std::result::Result<String, SqlError>,
) -> Result<Option<String>> {
    let events: Vec<&str> = inlined.aggregates().iter().map(|a| a.source.event.as_str()).collect();
    let ids = names::look_up(spi, &events)?;
    let has_merges = spi
        .query(
            "SELECT 1 FROM _cdp.profiles WHERE merged_into IS NOT NULL AND namespace_id OPERATOR(pg_catalog.=) $1 LIMIT 1",
            &[Param::Int4(namespace.id)],
        )?
        .processed
        > 0;
    // A page's or screen's name and category are properties unless the properties have their own.
    const PROPERTIES: &str = "CASE WHEN e.name IS NULL AND e.category IS NULL THEN e.properties \
         ELSE pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('name', e.name, 'category', e.category)) \
             OPERATOR(pg_catalog.||) COALESCE(e.properties, '{}') END AS properties";
    const EVENTS: &str =
        "e.namespace_id OPERATOR(pg_catalog.=) $1 AND e.type OPERATOR(pg_catalog.=) ANY ('{0,2,3}'::pg_catalog.int2[])";
    let from = if has_merges {
        format!(
            "(SELECT COALESCE(m.merged_into, e.profile_id) AS profile_id, e.event_name_id AS event_id, e.ts, {PROPERTIES} FROM _cdp.events AS e \
             LEFT JOIN (SELECT profile_id, merged_into FROM _cdp.profiles WHERE merged_into IS NOT NULL) AS m \
                 ON m.profile_id OPERATOR(pg_catalog.=) e.profile_id WHERE {EVENTS})"
        )
    } else {
        format!(
            "(SELECT e.profile_id, e.event_name_id AS event_id, e.ts, {PROPERTIES} FROM _cdp.events AS e WHERE {EVENTS})"
        )
    };
    let sources = SqlNames {
        events: &from,
        profiles: "(SELECT profile_id, first_seen, last_seen FROM _cdp.profiles \
             WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND merged_into IS NULL)",
        profile_traits: "(SELECT profile_id, traits FROM _cdp.profile_traits WHERE namespace_id OPERATOR(pg_catalog.=) $1)",
        groups: "(SELECT DISTINCT ON (m.profile_id) m.profile_id, g.traits FROM _cdp.group_members AS m \
             LEFT JOIN _cdp.groups AS g ON g.namespace_id OPERATOR(pg_catalog.=) m.namespace_id AND g.group_id OPERATOR(pg_catalog.=) m.group_id \
             WHERE m.namespace_id OPERATOR(pg_catalog.=) $1 ORDER BY m.profile_id, m.joined_at DESC, m.group_id)",
        segment_members: "(SELECT m.profile_id, s.key AS segment FROM _cdp.segment_members AS m \
             JOIN _cdp.segments AS s ON s.segment_id OPERATOR(pg_catalog.=) m.segment_id \
             WHERE s.namespace_id OPERATOR(pg_catalog.=) $1 AND s.rule IS NULL)",
        scores: "(SELECT NULL::pg_catalog.int8 AS profile_id, NULL::pg_catalog.text AS score, NULL::pg_catalog.numeric AS total, \
             NULL::pg_catalog.text AS grade WHERE false)",
        functions: "_cdp",
        timezone: &namespace.timezone,
        event_id: &|event| ids.get(event).copied(),
    };
    Ok(make(inlined, &sources).ok())
}

/// People of whom the tables do not tell everything yet: what came of them waits to be folded in.
fn waiting(spi: &Spi, namespace: &Namespace) -> Result<Vec<i64>> {
    let mut ids: BTreeSet<i64> = backfill::pending_people(spi, namespace.id)?.into_iter().collect();
    ids.extend(groups::unsettled(spi, namespace.id)?);
    ids.extend(lists::unsettled(spi, namespace.id)?);
    Ok(ids.into_iter().collect())
}

/// Counts the people for whom a condition is true, with up to `sample` of them.
pub fn count(
    spi: &Spi,
    namespace: &Namespace,
    catalog: &Catalog,
    condition: &Expr,
    at: Timestamp,
    sample: usize,
) -> Result<Matching> {
    let inlined = condition.inline(&catalog.names(Vec::new()));
    let statement = match is_exact(&inlined) && !is_answered(catalog, &inlined) {
        true => compiled(spi, namespace, &inlined, compile_condition)?,
        false => None,
    };
    let mut matching = Matching::default();
    let mut take = |profile_id: i64, value: Value| {
        if value == Value::Bool(true) {
            matching.add(profile_id);
            if matching.sample.len() > 10 * sample {
                matching.cut(sample);
            }
        }
    };
    match statement {
        None => backfill::evaluate_everybody(spi, namespace, catalog, condition, &mut take)?,
        Some(statement) => {
            let waiting = waiting(spi, namespace)?;
            for (profile_id, value) in backfill::evaluate_once(spi, catalog, condition, &waiting)? {
                take(profile_id, value);
            }
            let text = format!(
                "WITH m AS MATERIALIZED ({statement}) \
                 SELECT pg_catalog.count(*), (pg_catalog.array_agg(m.profile_id ORDER BY m.profile_id))[1:{sample}] FROM m \
                 WHERE m.profile_id OPERATOR(pg_catalog.<>) ALL ($3)"
            );
            let parameters = [Param::Int4(namespace.id), Param::Timestamp(at), Param::Int8Array(&waiting)];
            let counted = spi.query_everybody(&text, &parameters)?.first(|row| Ok((row.i64(0)?, row.int8_array(1))))?;
            let (members, ids) = counted.unwrap_or_default();
            matching.members += members;
            matching.sample.extend(ids);
        }
    }
    matching.cut(sample);
    Ok(matching)
}

/// The value of an expression for everybody, by a compiled statement; None when there is none for it.
pub fn values(
    spi: &Spi,
    namespace: &Namespace,
    catalog: &Catalog,
    expression: &Expr,
    at: Timestamp,
) -> Result<Option<Vec<PersonValue>>> {
    let inlined = expression.inline(&catalog.names(Vec::new()));
    if !is_exact(&inlined) {
        return Ok(None);
    }
    let Some(statement) = compiled(spi, namespace, &inlined, compile)? else { return Ok(None) };
    let waiting = waiting(spi, namespace)?;
    let mut values: Vec<PersonValue> = backfill::evaluate_once(spi, catalog, expression, &waiting)?
        .into_iter()
        .map(|(id, value)| (id, (!value.is_null()).then(|| value.to_json().to_string())))
        .collect();
    let text = format!(
        "SELECT m.profile_id, m.value FROM ({statement}) AS m WHERE m.profile_id OPERATOR(pg_catalog.<>) ALL ($3)"
    );
    let parameters = [Param::Int4(namespace.id), Param::Timestamp(at), Param::Int8Array(&waiting)];
    values.extend(spi.query_everybody(&text, &parameters)?.map(|row| Ok((row.i64(0)?, row.optional_jsonb(1))))?);
    values.sort();
    Ok(Some(values))
}
