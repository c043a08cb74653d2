//! What a route makes of a message before its destination sees it: a declarative mapping, then a user's
//! function. Both are applied when the message is sent, so that a slow or failing function is nobody's
//! problem but the message's, and a corrected one applies to what waits and to dead letters.

use crate::error::{cut, state, Error, Result};
use crate::pg::datum::Param;
use crate::pg::sandbox;
use crate::pg::spi::Spi;
use cdp_delivery::mapping::Mapping;
use cdp_delivery::Outcome;
use cdp_value::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

/// A transformation that takes longer has failed.
const LONGEST: Duration = Duration::from_secs(10);

/// A user's function from jsonb to jsonb, by its qualified name, and whose rights it has.
pub struct Transform {
    pub function: String,
    pub owner: String,
}

/// What a route makes of messages.
#[derive(Default)]
pub struct Shape {
    pub mapping: Option<Mapping>,
    pub transform: Option<Transform>,
    /// Categories of consent that the route requires, beside those of its destination.
    pub consent: Vec<String>,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Shaped {
    Message(Value),
    Dropped(&'static str),
    Failed(String),
}

impl Shaped {
    /// The outcome of a message that is not sent.
    pub fn outcome(self) -> std::result::Result<Value, Outcome> {
        match self {
            Shaped::Message(body) => Ok(body),
            Shaped::Dropped(by) => Err(Outcome::discard(format!("the {by} of the route drops it"))),
            Shaped::Failed(reason) => Err(Outcome::reject(reason)),
        }
    }
}

/// Reads a mapping; all that is wrong with it is told.
pub fn parse_mapping(text: &str) -> Result<Mapping> {
    let value: Value = serde_json::from_str(text).map_err(|_| {
        Error::new(state::INVALID_DEFINITION, "the mapping is nested too deep")
            .hint("Objects and arrays may be nested up to 128 levels.")
    })?;
    Mapping::parse(&value).map_err(|errors| {
        let detail: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let error = Error::new(state::INVALID_DEFINITION, "the mapping is not valid").detail(detail.join("; "));
        match errors.into_iter().find_map(|error| error.hint) {
            Some(hint) => error.hint(super::destinations::sentence(&hint)),
            None => error,
        }
    })
}

impl Shape {
    /// Shapes messages, each on its own.
    pub fn apply(&self, spi: &Spi, messages: Vec<Value>) -> Result<Vec<Shaped>> {
        let mapped: Vec<Shaped> = messages.into_iter().map(|message| self.map(message)).collect();
        let Some(transform) = &self.transform else { return Ok(mapped) };
        let bodies: Vec<&Value> = mapped
            .iter()
            .filter_map(|shaped| match shaped {
                Shaped::Message(body) => Some(body),
                _ => None,
            })
            .collect();
        let mut transformed = transform.apply(spi, &bodies)?.into_iter();
        Ok(mapped
            .into_iter()
            .map(|shaped| match shaped {
                Shaped::Message(body) => transformed.next().unwrap_or(Shaped::Message(body)),
                other => other,
            })
            .collect())
    }

    fn map(&self, message: Value) -> Shaped {
        match &self.mapping {
            None => Shaped::Message(message),
            Some(mapping) => mapping.apply(&message).map_or(Shaped::Dropped("mapping"), Shaped::Message),
        }
    }
}

impl Transform {
    /// All at once; if that fails, one by one, to find those it fails for.
    fn apply(&self, spi: &Spi, bodies: &[&Value]) -> Result<Vec<Shaped>> {
        if bodies.is_empty() {
            return Ok(Vec::new());
        }
        let texts: Vec<String> = bodies.iter().map(ToString::to_string).collect();
        if let Ok(all) = self.call(spi, &texts) {
            return Ok(all);
        }
        let mut shaped = Vec::with_capacity(texts.len());
        for text in &texts {
            shaped.push(match self.call(spi, std::slice::from_ref(text)) {
                Ok(mut one) => one.pop().unwrap_or(Shaped::Dropped("transformation")),
                Err(error) => Shaped::Failed(format!("the transformation {} failed: {}", self.function, error.message)),
            });
        }
        Ok(shaped)
    }

    fn call(&self, spi: &Spi, texts: &[String]) -> Result<Vec<Shaped>> {
        let texts: Vec<Option<&str>> = texts.iter().map(|text| Some(text.as_str())).collect();
        let sql = format!(
            "SELECT {}(m.message) FROM pg_catalog.unnest($1::pg_catalog.jsonb[]) WITH ORDINALITY AS m(message, place) ORDER BY m.place",
            self.function
        );
        sandbox::as_role(&self.owner, LONGEST, || {
            spi.query_text(&sql, &[Param::JsonbArray(&texts)])?.map(|row| {
                let Some(text) = row.optional_jsonb(0) else { return Ok(Shaped::Dropped("transformation")) };
                let value: Value =
                    serde_json::from_str(&text).map_err(|error| crate::error::internal(error.to_string()))?;
                Ok(match value {
                    Value::Object(_) => Shaped::Message(value),
                    _ => Shaped::Failed(format!(
                        "the transformation {} returned no object: {}",
                        self.function,
                        cut(&text)
                    )),
                })
            })
        })
    }
}

/// The shapes of routes, read again when they change.
#[derive(Default)]
pub struct Shapes {
    known: HashMap<i32, (Timestamp, Rc<Shape>)>,
}

/// A message to be shaped.
pub struct Item {
    /// None: it goes as it is.
    pub route_id: Option<i32>,
    pub body: Value,
}

impl Shapes {
    /// Shapes messages of several routes, in order.
    pub fn apply(&mut self, spi: &Spi, items: Vec<Item>) -> Result<Vec<Shaped>> {
        let mut places: BTreeMap<Option<i32>, Vec<usize>> = BTreeMap::new();
        for (place, item) in items.iter().enumerate() {
            places.entry(item.route_id).or_default().push(place);
        }
        let routes: BTreeSet<i32> = places.keys().copied().flatten().collect();
        self.refresh(spi, &routes.into_iter().collect::<Vec<_>>())?;
        let mut bodies: Vec<Option<Value>> = items.into_iter().map(|item| Some(item.body)).collect();
        let mut shaped: Vec<Shaped> = vec![Shaped::Failed("its route is gone".to_string()); bodies.len()];
        for (route_id, places) in places {
            let shape = match route_id {
                None => Rc::new(Shape::default()),
                Some(id) => match self.known.get(&id) {
                    Some((_, shape)) => Rc::clone(shape),
                    None => continue,
                },
            };
            let taken = places.iter().filter_map(|place| bodies.get_mut(*place)?.take()).collect();
            for (place, result) in places.iter().zip(shape.apply(spi, taken)?) {
                if let Some(slot) = shaped.get_mut(*place) {
                    *slot = result;
                }
            }
        }
        Ok(shaped)
    }

    /// Categories of consent that routes require, of those that require any.
    pub fn consent(&mut self, spi: &Spi, routes: &BTreeSet<i32>) -> Result<HashMap<i32, Vec<String>>> {
        let routes: Vec<i32> = routes.iter().copied().collect();
        self.refresh(spi, &routes)?;
        let required = routes.into_iter().filter_map(|id| Some((id, self.known.get(&id)?.1.consent.clone())));
        Ok(required.filter(|(_, consent)| !consent.is_empty()).collect())
    }

    /// The shape of a route.
    pub fn of_route(&mut self, spi: &Spi, route_id: i32) -> Result<Rc<Shape>> {
        self.refresh(spi, &[route_id])?;
        Ok(self.known.get(&route_id).map(|(_, shape)| Rc::clone(shape)).unwrap_or_default())
    }

    fn refresh(&mut self, spi: &Spi, routes: &[i32]) -> Result<()> {
        if routes.is_empty() {
            return Ok(());
        }
        let current: HashMap<i32, Timestamp> = spi
            .query(
                "SELECT route_id, updated_at FROM _cdp.routes WHERE route_id OPERATOR(pg_catalog.=) ANY ($1)",
                &[Param::Int4Array(routes)],
            )?
            .map(|row| Ok((row.i32(0)?, row.timestamp(1)?)))?
            .into_iter()
            .collect();
        self.known.retain(|id, (version, _)| !routes.contains(id) || current.get(id) == Some(version));
        let changed: Vec<i32> = current.keys().copied().filter(|id| !self.known.contains_key(id)).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let mut rows = spi.query(
            "SELECT route_id, updated_at, mapping, transform, owner, consent FROM _cdp.routes WHERE route_id OPERATOR(pg_catalog.=) ANY ($1)",
            &[Param::Int4Array(&changed)],
        )?;
        while rows.advance() {
            let mapping = rows.optional_jsonb(2).map(|text| parse_mapping(&text)).transpose()?;
            let owner = rows.text(4)?;
            let transform = rows.optional_text(3).map(|function| Transform { function, owner });
            let consent = rows.text_array(5);
            self.known.insert(rows.i32(0)?, (rows.timestamp(1)?, Rc::new(Shape { mapping, transform, consent })));
        }
        Ok(())
    }
}
