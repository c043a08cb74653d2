//! Reading the definitions of a namespace.

use super::bind::SlotDefinition;
use super::{Catalog, Definition, Names, Segment, Touched, Trait};
use crate::decisions::flags::Flags;
use crate::delivery::routing::routes;
use crate::error::{state, Error, Result};
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::scoring::{self, Score};
use crate::traits::computed::is_blank;
use crate::traits::context::PersonContext;
use crate::traits::edges::Edges;
use crate::traits::person::Person;
use cdp_expr::{Aggregate, Expr};

struct Row {
    id: i32,
    key: String,
    version: i32,
    expression: Expr,
    name: String,
    sync_to: Vec<String>,
    /// Whether it is a measurement: a number or a list.
    is_measure: bool,
    /// Whether it is a static segment.
    is_static: bool,
}

fn parse(what: &str, key: &str, text: &str) -> Result<Expr> {
    super::parse(text).map_err(|error| {
        Error::new(state::INVALID_EXPRESSION, format!("{what} \"{key}\" cannot be read: {}", error.message))
            .hint("It was stored by another version of cdp; define it again.")
    })
}

/// Reads and compiles the definitions of a namespace.
pub(super) fn load(spi: &Spi, namespace_id: i32) -> Result<Catalog> {
    let parameters = [Param::Int4(namespace_id)];
    let version = spi
        .query_latest(
            "SELECT version FROM _cdp.definition_versions WHERE namespace_id OPERATOR(pg_catalog.=) $1",
            &parameters,
        )?
        .first(|row| row.i32(0))?
        .unwrap_or(0);
    let traits = spi
        .query_latest(
            "SELECT trait_id, key, version, expression, result_type FROM _cdp.traits WHERE namespace_id OPERATOR(pg_catalog.=) $1 ORDER BY trait_id",
            &parameters,
        )?
        .map(|row| {
            let key = row.text(1)?;
            let expression = parse("trait", &key, &row.text(3)?)?;
            let is_measure = matches!(row.text(4)?.as_str(), "number" | "list");
            let (id, version) = (row.i32(0)?, row.i32(2)?);
            Ok(Row { id, version, expression, name: String::new(), sync_to: Vec::new(), is_measure, is_static: false, key })
        })?;
    let segments = spi
        .query_latest(
            "SELECT segment_id, key, version, rule, name, sync_to FROM _cdp.segments \
             WHERE namespace_id OPERATOR(pg_catalog.=) $1 ORDER BY segment_id",
            &parameters,
        )?
        .map(|row| {
            let key = row.text(1)?;
            let rule = row.optional_text(3);
            let is_static = rule.is_none();
            let expression = match rule {
                Some(rule) => parse("segment", &key, &rule)?,
                None => Expr::Segment(key.clone()),
            };
            let name = row.optional_text(4).unwrap_or_else(|| key.clone());
            let (id, version) = (row.i32(0)?, row.i32(2)?);
            Ok(Row { id, version, expression, name, sync_to: row.text_array(5), is_measure: false, is_static, key })
        })?;
    let slots = spi
        .query_latest(
            "SELECT slot_id, version, event, filter, property, aggregates FROM _cdp.slots \
             WHERE namespace_id OPERATOR(pg_catalog.=) $1 ORDER BY slot_id",
            &parameters,
        )?
        .map(|row| {
            let filter = row.optional_text(3).map(|text| parse("filter", "", &text)).transpose()?;
            let property = row.text_array(4);
            let mut aggregates = Vec::new();
            for text in row.text_array(5) {
                aggregates.extend(parse("aggregate", "", &text)?.aggregates().into_iter().cloned());
            }
            Ok((row.i32(0)?, row.i32(1)?, row.text(2)?, filter, property, aggregates))
        })?;
    let routes = routes::load(spi, namespace_id)?;
    let scores = scoring::load::load(spi, namespace_id)?;

    let timezone = spi
        .query_latest("SELECT timezone FROM _cdp.namespaces WHERE namespace_id OPERATOR(pg_catalog.=) $1", &parameters)?
        .first(|row| row.text(0))?
        .unwrap_or_default();

    let mut catalog = Catalog {
        routes,
        trait_index: traits.iter().enumerate().map(|(i, t)| (t.key.clone(), i)).collect(),
        segment_index: segments.iter().enumerate().map(|(i, s)| (s.key.clone(), i)).collect(),
        score_index: scores.iter().enumerate().map(|(i, s)| (s.key.clone(), i)).collect(),
        ..Catalog::empty(namespace_id, version, timezone)
    };
    for (id, version, event, filter, property, aggregates) in slots {
        let property = Some(property).filter(|path| !path.is_empty());
        catalog.add_slot(SlotDefinition { id: id as u32, version, event, filter, property }, aggregates.into_iter());
    }
    for (id, aggregate) in scores.iter().flat_map(scoring::load::Row::built_in_aggregates) {
        // What comes with cdp needs no stored slots: everybody has them from the beginning.
        if catalog.aggregate_position(&aggregate).is_none() {
            catalog.add_slot(SlotDefinition::of(id, 0, &aggregate), std::iter::once(aggregate));
        }
    }
    let names = Names {
        traits: traits.iter().map(|t| (t.key.clone(), t.expression.clone())).collect(),
        segments: segments.iter().map(|s| (s.key.clone(), (!s.is_static).then(|| s.expression.clone()))).collect(),
        scores: scores.iter().map(|s| (s.key.clone(), s.inputs())).collect(),
        events: Vec::new(),
        profile: Vec::new(),
    };
    for row in traits {
        let definition = catalog.bind(&names, row.version, row.expression)?;
        let index = catalog.traits.len();
        catalog.register(&definition, |touched| {
            touched.traits.insert(index);
        });
        let is_timely = !row.is_measure || catalog.routes.announces_traits();
        catalog.traits.push(Trait { id: row.id, key: row.key, is_timely, definition });
    }
    for row in segments {
        let definition = catalog.bind(&names, row.version, row.expression)?;
        let index = catalog.segments.len();
        catalog.register(&definition, |touched| {
            touched.segments.insert(index);
        });
        let Row { id, key, name, sync_to, is_static, .. } = row;
        catalog.segments.push(Segment { id, key, name, sync_to, is_static, definition });
    }
    for row in scores {
        let definition = catalog.bind(&names, row.version, row.inputs())?;
        let index = catalog.scores.len();
        let rules = catalog.bind_rules(&names, row.version, &row.model)?;
        // What is announced of a score says which attributes are missing.
        let attributes = 0..if catalog.routes.announces_scores() { row.model.attributes.len() } else { 0 };
        for (rule, definition) in rules.iter().enumerate() {
            catalog.register(definition, |touched| {
                touched.rules.extend(attributes.clone().chain([rule]).map(|rule| (index, rule)));
            });
        }
        catalog.scores.push(Score { id: row.id, key: row.key, model: row.model, rules, definition });
    }
    let mut routes = std::mem::take(&mut catalog.routes);
    for route in routes.iter_mut() {
        let Some(written) = route.filter.take() else { continue };
        let mut filter = written.settled(&names);
        // While a route is being defined its slots are not there yet.
        let position = |aggregate: &Aggregate| catalog.aggregate_position(aggregate);
        let parts = names.with_scores(&filter.inline(&names));
        route.aggregates = parts.iter().flat_map(Expr::aggregates).filter_map(position).collect();
        route.needs_profile = parts.iter().any(|part| !part.profile_references().is_empty());
        route.needs_groups = parts.iter().any(Expr::uses_group);
        route.needs_message = filter.uses_message();
        route.attributes = written.attribute_references().into_iter().map(str::to_string).collect();
        filter.locate(&position);
        route.filter = Some(filter);
    }
    catalog.routes = routes;
    let flags = Flags::load(spi, namespace_id, |version, condition| catalog.bind(&names, version, condition))?;
    catalog.flags = flags;
    catalog.by_existence = touched_by_existence(&catalog)?;
    Ok(catalog)
}

/// The definitions that have a value for a person without events and traits, or come to have one by time alone.
fn touched_by_existence(catalog: &Catalog) -> Result<Touched> {
    let now = clock::now()?;
    let nobody = Person::new(0, catalog.namespace_id, now, catalog.version);
    let (calendar, edges) = (catalog.calendar(), Edges::default());
    let context = PersonContext::new(catalog, &nobody, now, &calendar, &edges);
    let differs = |definition: &Definition| {
        let mut is_random = false;
        definition.inlined.walk(&mut |node| is_random |= matches!(node, Expr::Bucket(..) | Expr::Percentage(..)));
        is_random || !is_blank(&context.value(definition)) || context.changes_at(definition).is_some()
    };
    let traits = catalog.traits.iter().enumerate().filter(|(_, t)| differs(&t.definition)).map(|(i, _)| i).collect();
    let segments =
        catalog.segments.iter().enumerate().filter(|(_, s)| differs(&s.definition)).map(|(i, _)| i).collect();
    let scores = catalog.scores.iter().enumerate();
    let scores = scores
        .filter(|(_, s)| !context.outcome(s).is_blank() || context.changes_at(&s.definition).is_some())
        .flat_map(|(i, s)| (0..s.rules.len()).map(move |rule| (i, rule)));
    Ok(Touched { traits, segments, rules: scores.collect(), ..Touched::default() })
}
