//! Reads. Each answers as of `cdp.now()`, whatever the workers have got round to.

use super::{namespace, required};
use crate::error::{closest, unknown_key, Error, Result};
use crate::identity::resolve;
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::function::{Call, Field, Returned};
use crate::pg::spi::Spi;
use crate::segments::{lists, membership};
use crate::traits::catalog::{self, Catalog, Definition};
use crate::traits::context::PersonContext;
use crate::traits::edges::{self, Edges};
use crate::traits::person::Person;
use crate::traits::{ahead, backfill, define, set_based};
use cdp_value::{Timestamp, Value};
use std::rc::Rc;

pub fn now(_: &Call) -> Result<Returned> {
    Ok(Returned::Value(Field::Timestamp(clock::now()?)))
}

pub fn version(_: &Call) -> Result<Returned> {
    Ok(Returned::Value(Field::Text(env!("CARGO_PKG_VERSION").to_string())))
}

/// A person as of now, with what is needed to evaluate anything.
pub struct Reading {
    pub catalog: Rc<Catalog>,
    pub calendar: cdp_state::Zoned,
    pub person: Person,
    pub edges: Edges,
    pub at: Timestamp,
}

impl Reading {
    /// Loads the person of an id; None when nobody is known by it.
    pub fn of(spi: &Spi, namespace: &Namespace, id: &str) -> Result<Option<Reading>> {
        match resolve::find(spi, namespace, id, None)? {
            Some(profile_id) => Reading::of_profile(spi, namespace, profile_id),
            None => Ok(None),
        }
    }

    /// As [`Reading::of`], for a profile that was found already.
    pub fn of_profile(spi: &Spi, namespace: &Namespace, profile_id: i64) -> Result<Option<Reading>> {
        let (catalog, people) = backfill::read_people(spi, namespace, &[profile_id])?;
        let calendar = catalog.calendar();
        let Some(person) = people.into_iter().next() else { return Ok(None) };
        let at = person.instant(clock::now()?);
        Ok(Some(Reading { catalog, calendar, person, edges: Edges::default(), at }))
    }

    /// The definitions of a reading; the latest ones for somebody unknown.
    pub fn catalog(spi: &Spi, namespace: &Namespace, reading: Option<&Reading>) -> Result<Rc<Catalog>> {
        reading.map_or_else(|| catalog::current(spi, namespace), |reading| Ok(reading.catalog.clone()))
    }

    /// Reads the edges of what these definitions need.
    pub fn prepare<'a>(
        &'a mut self,
        spi: &Spi,
        choose: impl Fn(&'a Catalog) -> Vec<&'a Definition>,
    ) -> Result<PersonContext<'a>> {
        let chosen = choose(&self.catalog);
        if chosen.iter().any(|definition| definition.needs_lists) {
            lists::load(spi, &self.catalog, std::iter::once(&mut self.person))?;
        }
        let needed = Definition::aggregates(chosen.into_iter());
        self.edges = edges::read(spi, &self.catalog, std::iter::once((&self.person, self.at, needed.as_slice())))?;
        Ok(PersonContext::new(&self.catalog, &self.person, self.at, &self.calendar, &self.edges))
    }
}

fn all(catalog: &Catalog) -> Vec<&Definition> {
    catalog.stored_definitions().collect()
}

fn json(value: &Value) -> String {
    value.to_json().to_string()
}

/// `cdp.resolve(id, kind, namespace)`
pub fn resolve_id(call: &Call) -> Result<Returned> {
    let Some(id) = call.text(0) else { return Ok(Returned::Value(Field::Null)) };
    let found = Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 2)?;
        resolve::find(spi, &namespace, &id, call.text(1).as_deref())
    })?;
    Ok(Returned::Value(Field::optional_int8(found)))
}

/// `cdp.trait(id, key, namespace)`: a computed trait, else one the application sent.
pub fn trait_(call: &Call) -> Result<Returned> {
    let (id, key) = (required(call, 0, "id")?, required(call, 1, "key")?);
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 2)?;
        let Some(mut reading) = Reading::of(spi, &namespace, &id)? else {
            return Ok(Field::Null);
        };
        let catalog = reading.catalog.clone();
        let Some(position) = catalog.trait_position(&key) else {
            return profile_trait(spi, &catalog, &mut reading.person, &key);
        };
        let context = reading.prepare(spi, |c| c.traits.get(position).map(|t| &t.definition).into_iter().collect())?;
        let value = catalog.traits.get(position).map_or(Value::Null, |t| context.value(&t.definition));
        context.check()?;
        Ok(if value.is_null() { Field::Null } else { Field::Jsonb(json(&value)) })
    })
    .map(Returned::Value)
}

fn profile_trait(spi: &Spi, catalog: &Catalog, person: &mut Person, key: &str) -> Result<Field> {
    crate::traits::person::load_traits(spi, std::slice::from_mut(person))?;
    match cdp_expr::lookup(&person.traits, &[key.to_string()]) {
        Some(value) => Ok(Field::Jsonb(json(value))),
        None => {
            let names = || catalog.traits.iter().map(|t| t.key.as_str());
            // A trait that nobody defined and the application did not send is simply not there, unless its name
            // looks like a mistake.
            match closest(key, names()) {
                Some(_) => Err(unknown_key("trait", key, names())),
                None => Ok(Field::Null),
            }
        }
    }
}

/// `cdp.traits(id, namespace)`
pub fn traits(call: &Call) -> Result<Returned> {
    let id = required(call, 0, "id")?;
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 1)?;
        let Some(profile_id) = resolve::find(spi, &namespace, &id, None)? else { return Ok(Vec::new()) };
        let rows = ahead::of_people(spi, &namespace, &[profile_id])?;
        Ok(rows.into_values().next().unwrap_or_default())
    })
    .map(|rows| Returned::Rows(trait_fields(rows)))
}

/// `_cdp.traits_of(profile_id, namespace)`
pub fn traits_of(call: &Call) -> Result<Returned> {
    let profile_id = call.i64(0).unwrap_or(0);
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 1)?;
        ahead::rows(spi, &namespace, call.execution(), profile_id)
    })
    .map(|rows| Returned::Rows(trait_fields(rows)))
}

/// `_cdp.sent_traits(profile_id, namespace)`
pub fn sent_traits(call: &Call) -> Result<Returned> {
    let profile_id = call.i64(0).unwrap_or(0);
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 1)?;
        let Some(mut reading) = Reading::of_profile(spi, &namespace, profile_id)? else { return Ok(Field::Null) };
        crate::traits::person::load_traits(spi, std::slice::from_mut(&mut reading.person))?;
        Ok(Field::Jsonb(json(&reading.person.traits)))
    })
    .map(Returned::Value)
}

fn trait_fields(rows: Vec<ahead::Row>) -> Vec<Vec<Field>> {
    let fields = |(key, value, at)| vec![Field::Text(key), Field::Jsonb(value), Field::Timestamp(at)];
    rows.into_iter().map(fields).collect()
}

/// `cdp.in_segment(id, key, namespace)`
pub fn in_segment(call: &Call) -> Result<Returned> {
    let (id, key) = (required(call, 0, "id")?, required(call, 1, "key")?);
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 2)?;
        let reading = Reading::of(spi, &namespace, &id)?;
        let catalog = Reading::catalog(spi, &namespace, reading.as_ref())?;
        let position = membership::position(&catalog, &key)?;
        let Some(mut reading) = reading else {
            return Ok(Field::Bool(false));
        };
        let context =
            reading.prepare(spi, |c| c.segments.get(position).map(|s| &s.definition).into_iter().collect())?;
        let is_member = catalog.segments.get(position).is_some_and(|s| context.holds(&s.definition));
        context.check()?;
        Ok(Field::Bool(is_member))
    })
    .map(Returned::Value)
}

/// `cdp.segments(id, namespace)`
pub fn segments(call: &Call) -> Result<Returned> {
    let id = required(call, 0, "id")?;
    let rows = Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 1)?;
        let Some(mut reading) = Reading::of(spi, &namespace, &id)? else { return Ok(Vec::new()) };
        let context = reading.prepare(spi, all)?;
        let mut rows: Vec<(String, Timestamp)> = context
            .catalog
            .segments
            .iter()
            .filter(|segment| context.holds(&segment.definition))
            .map(|segment| (segment.key.clone(), membership::since(context.person, segment.id, context.at)))
            .collect();
        context.check()?;
        rows.sort();
        Ok(rows)
    })?;
    Ok(Returned::Rows(rows.into_iter().map(|(key, at)| vec![Field::Text(key), Field::Timestamp(at)]).collect()))
}

/// `cdp.profile(id, namespace)`
pub fn profile(call: &Call) -> Result<Returned> {
    let id = required(call, 0, "id")?;
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 1)?;
        let Some(mut reading) = Reading::of(spi, &namespace, &id)? else { return Ok(Vec::new()) };
        crate::traits::person::load_traits(spi, std::slice::from_mut(&mut reading.person))?;
        let catalog = reading.catalog.clone();
        super::scores::load_references(spi, &mut reading.person, &catalog.scores.iter().collect::<Vec<_>>())?;
        let profile_id = reading.person.profile_id;
        let identifiers = spi
            .query(
                "SELECT pg_catalog.jsonb_object_agg(t.name, t.\"values\") FROM ( \
                     SELECT k.name, pg_catalog.jsonb_agg(i.value ORDER BY i.linked_at, i.value) AS \"values\" FROM _cdp.identifiers AS i \
                     JOIN _cdp.identifier_kinds AS k ON k.kind_id OPERATOR(pg_catalog.=) i.kind_id \
                     WHERE i.profile_id OPERATOR(pg_catalog.=) $1 GROUP BY k.name) AS t",
                &[Param::Int8(profile_id)],
            )?
            .first(|row| Ok(row.optional_jsonb(0)))?
            .flatten()
            .unwrap_or_else(|| "{}".to_string());
        let groups = crate::identity::groups::of_person(spi, &reading.person)?.to_string();
        let context = reading.prepare(spi, all)?;
        let computed: serde_json::Map<String, serde_json::Value> = context
            .catalog
            .traits
            .iter()
            .map(|t| (t.key.clone(), context.value(&t.definition)))
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, value.to_json()))
            .collect();
        let mut segments: Vec<String> = context
            .catalog
            .segments
            .iter()
            .filter(|s| context.holds(&s.definition))
            .map(|s| s.key.clone())
            .collect();
        segments.sort();
        let scores = context.catalog.scores.iter().map(|score| (score.key.clone(), context.outcome(score).totals.summary()));
        let scores = scores.collect();
        context.check()?;
        let state = &context.person.state;
        Ok(vec![vec![
            Field::Int8(profile_id),
            Field::Jsonb(identifiers),
            Field::Jsonb(json(&context.person.traits)),
            Field::Jsonb(serde_json::Value::Object(computed).to_string()),
            Field::TextArray(segments),
            Field::Jsonb(serde_json::Value::Object(scores).to_string()),
            Field::Jsonb(groups),
            Field::optional_timestamp(state.first_seen),
            Field::optional_timestamp(state.last_seen),
            Field::Int8(i64::try_from(state.event_count).unwrap_or(i64::MAX)),
        ]])
    })
    .map(Returned::Rows)
}

/// `cdp.history(id, namespace)`
pub fn history(call: &Call) -> Result<Returned> {
    let id = required(call, 0, "id")?;
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 1)?;
        let Some(profile_id) = resolve::find(spi, &namespace, &id, None)? else { return Ok(Vec::new()) };
        spi.query(
            "SELECT h.at, h.what, h.key, h.old, h.new, h.cause FROM _cdp.history AS h \
             WHERE h.profile_id OPERATOR(pg_catalog.=) ANY ( \
                 SELECT $1 UNION ALL SELECT pg_catalog.unnest(p.absorbed) FROM _cdp.profiles AS p WHERE p.profile_id OPERATOR(pg_catalog.=) $1) \
             ORDER BY h.at, h.history_id",
            &[Param::Int8(profile_id)],
        )?
        .map(|row| {
            Ok(vec![
                Field::Timestamp(row.timestamp(0)?),
                Field::Text(row.text(1)?),
                Field::Text(row.text(2)?),
                Field::optional_jsonb(row.optional_jsonb(3)),
                Field::optional_jsonb(row.optional_jsonb(4)),
                Field::optional_text(row.optional_text(5)),
            ])
        })
    })
    .map(Returned::Rows)
}

/// `cdp.evaluate(id, expression, namespace)`: any expression, for one person, now.
pub fn evaluate(call: &Call) -> Result<Returned> {
    let (id, text) = (required(call, 0, "id")?, required(call, 1, "expression")?);
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 2)?;
        let catalog = catalog::current(spi, &namespace)?;
        let checked = define::check(spi, &catalog, define::Defined::Trait, None, &text).map_err(Error::from)?;
        let profile_id = resolve::require(spi, &namespace, &id)?;
        let value = backfill::evaluate_once(spi, &catalog, &checked.expr, &[profile_id])?;
        let value = value.into_iter().next().map_or(Value::Null, |(_, value)| value);
        Ok(if value.is_null() { Field::Null } else { Field::Jsonb(json(&value)) })
    })
    .map(Returned::Value)
}

/// `cdp.preview(rule, namespace)`: how many people a rule has, before anything is saved.
pub fn preview(call: &Call) -> Result<Returned> {
    const SAMPLE: usize = 10;
    let text = required(call, 0, "rule")?;
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 1)?;
        let catalog = catalog::current(spi, &namespace)?;
        let checked = define::check(spi, &catalog, define::Defined::Segment, None, &text).map_err(Error::from)?;
        let found = set_based::count(spi, &namespace, &catalog, &checked.expr, clock::now()?, SAMPLE)?;
        let profiles = spi
            .query(
                "SELECT pg_catalog.count(*) FROM _cdp.profiles WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND merged_into IS NULL",
                &[Param::Int4(namespace.id)],
            )?
            .first(|row| row.i64(0))?;
        Ok(vec![vec![Field::Int8(found.members), Field::Int8(profiles.unwrap_or(0)), Field::Int8Array(found.sample)]])
    })
    .map(Returned::Rows)
}

/// `_cdp.compiled_values(expression, namespace)`: the value for everybody, by one statement.
pub fn compiled_values(call: &Call) -> Result<Returned> {
    let text = required(call, 0, "expression")?;
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 1)?;
        let catalog = catalog::current(spi, &namespace)?;
        let checked = define::check(spi, &catalog, define::Defined::Trait, None, &text).map_err(Error::from)?;
        let values = set_based::values(spi, &namespace, &catalog, &checked.expr, clock::now()?)?;
        Ok(values
            .unwrap_or_default()
            .into_iter()
            .map(|(id, v)| vec![Field::Int8(id), Field::optional_jsonb(v)])
            .collect())
    })
    .map(Returned::Rows)
}
