//! The definitions of a namespace, compiled: what each event touches, and nothing else.
//!
//! Kept per session; read again when another session's change of definitions commits, or when this
//! one's rolls back (`pg::cache`), never by time.

use super::computed::is_blank;
use super::context::PersonContext;
use super::edges::Edges;
use super::person::Person;
use crate::decisions::flags::Flags;
use crate::delivery::routes::Route;
use crate::error::{internal, state, Error, Result};
use crate::namespaces::{self, Namespace};
use crate::pg::cache;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::scoring::{self, Score};
use cdp_expr::{Aggregate, Catalog as _, Expr};
use cdp_state::{SlotSpec, Zoned};
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// A computed trait.
pub struct Trait {
    pub id: i32,
    pub key: String,
    /// Whether a change by time alone is acted upon: of what somebody is, or what a route wants to hear. Any other
    /// number or list is computed when it is read.
    pub is_timely: bool,
    pub definition: Definition,
}

/// A segment. A static one has no rule: its members are listed (`segments::lists`), and its expression is itself.
pub struct Segment {
    pub id: i32,
    pub key: String,
    pub name: String,
    pub sync_to: Vec<String>,
    pub is_static: bool,
    pub definition: Definition,
}

/// An expression with what its evaluation needs.
pub struct Definition {
    /// Definition version at which it was made or last changed.
    pub version: i32,
    pub expression: Expr,
    /// Traits and segments replaced by their expressions: decides when time alone changes it.
    pub inlined: Expr,
    /// Indexes into [`Catalog::aggregates`], through all traits and segments it refers to.
    pub aggregates: Vec<usize>,
    pub needs_profile: bool,
    pub needs_groups: bool,
    /// Whether the lists of static segments decide it.
    pub needs_lists: bool,
    /// Whether it reads when the person was first or last seen.
    pub needs_seen: bool,
}

impl Definition {
    /// What the given definitions need, each aggregate once.
    pub fn aggregates<'a>(definitions: impl Iterator<Item = &'a Definition>) -> Vec<usize> {
        let all: BTreeSet<usize> = definitions.flat_map(|definition| definition.aggregates.iter().copied()).collect();
        all.into_iter().collect()
    }
}

/// One event source and property in the state of a profile.
pub struct Slot {
    pub spec: SlotSpec,
    pub version: i32,
    pub event: String,
    pub filter: Option<Expr>,
    pub property: Option<Vec<String>>,
    /// Canonical texts of the aggregates it answers.
    pub answers: BTreeSet<String>,
}

/// An aggregate and the slot that answers it.
pub struct BoundAggregate {
    pub aggregate: Aggregate,
    pub slot: usize,
}

/// What an event with some name touches; indexes into the catalog's lists.
#[derive(Default, Clone)]
pub struct Touched {
    pub slots: Vec<usize>,
    pub traits: BTreeSet<usize>,
    pub segments: BTreeSet<usize>,
    /// Scores, each with one of its rules.
    pub rules: BTreeSet<(usize, usize)>,
}

impl Touched {
    /// Touches what the other touches, its slots aside.
    pub fn extend(&mut self, other: &Touched) {
        self.traits.extend(&other.traits);
        self.segments.extend(&other.segments);
        self.rules.extend(&other.rules);
    }
}

pub struct Catalog {
    pub namespace_id: i32,
    pub version: i32,
    /// Calendar days and hours are counted in this time zone.
    timezone: String,
    pub traits: Vec<Trait>,
    pub segments: Vec<Segment>,
    pub scores: Vec<Score>,
    pub flags: Flags,
    pub slots: Vec<Slot>,
    pub aggregates: Vec<BoundAggregate>,
    pub routes: Vec<Route>,
    by_event: HashMap<String, Touched>,
    /// Touched by every event: what depends on when a person was first or last seen.
    by_any_event: Touched,
    /// Touched by identify and group calls.
    by_profile: Touched,
    /// Touched by the mere existence of a person.
    by_existence: Touched,
    /// Touched by an identifier that a person comes to have.
    by_identity: Touched,
    trait_index: HashMap<String, usize>,
    segment_index: HashMap<String, usize>,
    score_index: HashMap<String, usize>,
    aggregate_index: FxHashMap<Aggregate, usize>,
}

struct Remembered {
    generation: u64,
    catalogs: HashMap<i32, Rc<Catalog>>,
}

thread_local! {
    static CATALOGS: RefCell<Remembered> = RefCell::new(Remembered { generation: 0, catalogs: HashMap::new() });
    static WATCHED: Cell<Option<[u32; 3]>> = const { Cell::new(None) };
}

/// Forgets everything; an aborted transaction may have made part of it.
pub fn forget() {
    if let Ok(mut remembered) = CATALOGS.try_with(|c| c.try_borrow_mut().map(|mut r| std::mem::take(&mut r.catalogs))) {
        if let Ok(catalogs) = remembered.as_mut() {
            catalogs.clear();
        }
    }
    WATCHED.set(None);
}

/// Makes this session hear of changes to definitions and partitions.
pub fn watch_definitions(spi: &Spi) -> Result<[u32; 3]> {
    if let Some(relations) = WATCHED.get() {
        return Ok(relations);
    }
    let relations = spi
        .query_latest(
            "SELECT '_cdp.definition_versions'::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int8, \
                    '_cdp.events'::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int8, \
                    '_cdp.outbox'::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int8",
            &[],
        )?
        .first(|row| Ok([row.i64(0)? as u32, row.i64(1)? as u32, row.i64(2)? as u32]))?
        .ok_or_else(|| internal("the tables of cdp are missing"))?;
    cache::watch(relations);
    WATCHED.set(Some(relations));
    Ok(relations)
}

/// Takes the next version of a namespace's definitions. Changes of one namespace queue here.
pub fn next_version(spi: &Spi, namespace: &Namespace) -> Result<i32> {
    let version = spi
        .query(
            "INSERT INTO _cdp.definition_versions AS v (namespace_id, version) VALUES ($1, 1) \
             ON CONFLICT (namespace_id) DO UPDATE SET version = v.version OPERATOR(pg_catalog.+) 1 RETURNING version",
            &[Param::Int4(namespace.id)],
        )?
        .first(|row| row.i32(0))?
        .ok_or_else(|| internal("no definition version"))?;
    invalidate(spi)?;
    Ok(version)
}

/// Makes every session read the definitions again once this transaction commits, and this one at once.
pub fn invalidate(spi: &Spi) -> Result<()> {
    let [versions, ..] = watch_definitions(spi)?;
    cache::invalidate(versions);
    forget();
    Ok(())
}

/// Definitions that cover what these people were brought to.
pub fn covering(spi: &Spi, namespace: &Namespace, people: &[Person]) -> Result<Rc<Catalog>> {
    let catalog = current(spi, namespace)?;
    if people.iter().all(|person| person.version <= catalog.version) {
        return Ok(catalog);
    }
    // A session with later definitions was here first, and the news of them is still on its way.
    forget();
    current(spi, namespace)
}

/// The compiled definitions of a namespace.
pub fn current(spi: &Spi, namespace: &Namespace) -> Result<Rc<Catalog>> {
    watch_definitions(spi)?;
    cache::hear();
    let generation = cache::generation();
    let known = CATALOGS
        .with_borrow(|r| (r.generation == generation).then(|| r.catalogs.get(&namespace.id).cloned()).flatten());
    if let Some(catalog) = known {
        return Ok(catalog);
    }
    let catalog = Rc::new(load(spi, namespace.id)?);
    CATALOGS.with_borrow_mut(|r| {
        if r.generation != generation {
            r.generation = generation;
            r.catalogs.clear();
        }
        r.catalogs.insert(namespace.id, catalog.clone());
    });
    Ok(catalog)
}

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
    cdp_expr::parse(text).map_err(|error| {
        Error::new(state::INVALID_EXPRESSION, format!("{what} \"{key}\" cannot be read: {}", error.message))
            .hint("It was stored by another version of cdp; define it again.")
    })
}

fn load(spi: &Spi, namespace_id: i32) -> Result<Catalog> {
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
    let routes = crate::delivery::routes::load(spi, namespace_id)?;
    let scores = scoring::load::load(spi, namespace_id)?;

    let timezone = spi
        .query_latest("SELECT timezone FROM _cdp.namespaces WHERE namespace_id OPERATOR(pg_catalog.=) $1", &parameters)?
        .first(|row| row.text(0))?
        .unwrap_or_default();

    let mut catalog = Catalog {
        namespace_id,
        version,
        timezone,
        traits: Vec::with_capacity(traits.len()),
        segments: Vec::with_capacity(segments.len()),
        scores: Vec::with_capacity(scores.len()),
        flags: Flags::default(),
        slots: Vec::with_capacity(slots.len()),
        aggregates: Vec::new(),
        routes,
        by_event: HashMap::new(),
        by_any_event: Touched::default(),
        by_profile: Touched::default(),
        by_existence: Touched::default(),
        by_identity: Touched::default(),
        trait_index: traits.iter().enumerate().map(|(i, t)| (t.key.clone(), i)).collect(),
        segment_index: segments.iter().enumerate().map(|(i, s)| (s.key.clone(), i)).collect(),
        score_index: scores.iter().enumerate().map(|(i, s)| (s.key.clone(), i)).collect(),
        aggregate_index: FxHashMap::default(),
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
        let is_timely = !row.is_measure || catalog.announces_traits();
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
        let attributes = 0..if catalog.announces_scores() { row.model.attributes.len() } else { 0 };
        for (rule, definition) in rules.iter().enumerate() {
            catalog.register(definition, |touched| {
                touched.rules.extend(attributes.clone().chain([rule]).map(|rule| (index, rule)));
            });
        }
        catalog.scores.push(Score { id: row.id, key: row.key, model: row.model, rules, definition });
    }
    for index in 0..catalog.routes.len() {
        let filter = catalog.routes.get(index).and_then(|route| route.filter.clone());
        if let Some(filter) = filter {
            // While a route is being defined its slots are not there yet.
            let parts = names.with_scores(&filter.inline(&names));
            let aggregates = parts.iter().flat_map(Expr::aggregates);
            let aggregates = aggregates.filter_map(|a| catalog.aggregate_position(a)).collect();
            if let Some(route) = catalog.routes.get_mut(index) {
                route.aggregates = aggregates;
                route.needs_profile = parts.iter().any(|part| !part.profile_references().is_empty());
                route.needs_groups = parts.iter().any(Expr::uses_group);
            }
        }
    }
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
    Ok(Touched { slots: Vec::new(), traits, segments, rules: scores.collect() })
}

/// The names that expressions may use.
pub struct Names {
    pub traits: HashMap<String, Expr>,
    /// None for the rule of a static segment.
    pub segments: HashMap<String, Option<Expr>>,
    /// What each score reads, as one list.
    pub scores: HashMap<String, Expr>,
    pub events: Vec<String>,
    /// Traits that applications sent, or some of them.
    pub profile: Vec<String>,
}

impl cdp_expr::Catalog for Names {
    fn trait_expression(&self, key: &str) -> Option<&Expr> {
        self.traits.get(key)
    }

    fn segment_rule(&self, key: &str) -> Option<&Expr> {
        self.segments.get(key).and_then(Option::as_ref)
    }

    fn is_static_segment(&self, key: &str) -> bool {
        matches!(self.segments.get(key), Some(None))
    }

    fn trait_names(&self) -> Vec<String> {
        self.traits.keys().cloned().collect()
    }

    fn segment_names(&self) -> Vec<String> {
        self.segments.keys().cloned().collect()
    }

    fn event_names(&self) -> Vec<String> {
        self.events.clone()
    }

    fn profile_names(&self) -> Vec<String> {
        self.profile.clone()
    }

    fn score_names(&self) -> Vec<String> {
        self.scores.keys().cloned().collect()
    }

    fn score_inputs(&self, key: &str) -> Option<&Expr> {
        self.scores.get(key)
    }
}

impl Names {
    /// An inlined expression, and what the scores that it refers to read, however far away.
    fn with_scores(&self, inlined: &Expr) -> Vec<Expr> {
        let mut all = vec![inlined.clone()];
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut next = 0;
        while let Some(expression) = all.get(next) {
            next += 1;
            let keys: Vec<String> = expression.score_references().into_iter().map(str::to_string).collect();
            for key in keys {
                if let Some(inputs) = self.scores.get(&key).filter(|_| seen.insert(key.clone())) {
                    all.push(inputs.inline(self));
                }
            }
        }
        all
    }
}

impl Catalog {
    fn bind(&self, names: &Names, version: i32, expression: Expr) -> Result<Definition> {
        let inlined = expression.inline(names);
        let parts = names.with_scores(&inlined);
        let mut aggregates = Vec::new();
        for aggregate in parts.iter().flat_map(Expr::aggregates) {
            let index = self.aggregate_index.get(aggregate).ok_or_else(|| {
                internal(format!("no slot answers {}", cdp_expr::print(&Expr::Aggregate(aggregate.clone()))))
            })?;
            if !aggregates.contains(index) {
                aggregates.push(*index);
            }
        }
        let needs_profile = parts.iter().any(|part| !part.profile_references().is_empty());
        let needs_groups = parts.iter().any(Expr::uses_group);
        let mut segments = parts.iter().flat_map(Expr::segment_references);
        let needs_lists = segments.any(|key| names.is_static_segment(key));
        let needs_seen = parts.iter().any(Expr::uses_first_or_last_seen);
        Ok(Definition {
            version,
            expression,
            inlined,
            aggregates,
            needs_profile,
            needs_groups,
            needs_lists,
            needs_seen,
        })
    }

    fn bind_rules(&self, names: &Names, version: i32, model: &cdp_score::Score) -> Result<Vec<Definition>> {
        let inputs = (0..model.rule_count()).map(|rule| model.rule_inputs(rule));
        inputs.map(|inputs| self.bind(names, version, Expr::List(inputs.into_iter().cloned().collect()))).collect()
    }

    fn register(&mut self, definition: &Definition, insert: impl Fn(&mut Touched)) {
        for index in &definition.aggregates {
            if let Some(slot) = self.aggregates.get(*index).and_then(|a| self.slots.get(a.slot)) {
                insert(self.by_event.entry(slot.event.clone()).or_default());
            }
        }
        if definition.needs_seen {
            insert(&mut self.by_any_event);
        }
        if definition.needs_profile || definition.needs_groups {
            insert(&mut self.by_profile);
        }
        if definition.needs_lists {
            insert(&mut self.by_identity);
        }
    }

    /// The calendar by which days and hours are counted.
    pub fn calendar(&self) -> Zoned {
        namespaces::calendar(&self.timezone)
    }

    /// Whether some route wants to hear of changes of traits.
    pub fn announces_traits(&self) -> bool {
        self.routes.iter().any(Route::announces_traits)
    }

    /// Whether some route wants to hear of changes of scores.
    pub fn announces_scores(&self) -> bool {
        self.routes.iter().any(Route::announces_scores)
    }

    /// What an event with this name touches beside [`Catalog::any_event`].
    pub fn event(&self, name: &str) -> Option<&Touched> {
        self.by_event.get(name)
    }

    /// What every event touches.
    pub fn any_event(&self) -> &Touched {
        &self.by_any_event
    }

    /// What says something of a person of whom nothing is known: that an event never happened, for instance.
    pub fn existence(&self) -> &Touched {
        &self.by_existence
    }

    /// What a change of a person's traits or groups touches.
    pub fn profile_change(&self) -> &Touched {
        &self.by_profile
    }

    /// What an identifier that a person comes to have touches.
    pub fn identity_change(&self) -> &Touched {
        &self.by_identity
    }

    /// Whether there are static segments.
    pub fn has_lists(&self) -> bool {
        self.segments.iter().any(|segment| segment.is_static)
    }

    pub fn trait_by_key(&self, key: &str) -> Option<&Trait> {
        self.trait_index.get(key).and_then(|i| self.traits.get(*i))
    }

    pub fn trait_position(&self, key: &str) -> Option<usize> {
        self.trait_index.get(key).copied()
    }

    pub fn segment_by_key(&self, key: &str) -> Option<&Segment> {
        self.segment_index.get(key).and_then(|i| self.segments.get(*i))
    }

    pub fn segment_position(&self, key: &str) -> Option<usize> {
        self.segment_index.get(key).copied()
    }

    pub fn score_by_key(&self, key: &str) -> Option<&Score> {
        self.score_index.get(key).and_then(|i| self.scores.get(*i))
    }

    /// The definitions whose values are kept with people.
    pub fn stored_definitions(&self) -> impl Iterator<Item = &Definition> {
        let traits = self.traits.iter().map(|t| &t.definition);
        let segments = self.segments.iter().map(|s| &s.definition);
        traits.chain(segments).chain(self.scores.iter().map(|s| &s.definition))
    }

    /// Those of them that something touches.
    pub fn touched_definitions<'a>(&'a self, touched: &'a Touched) -> impl Iterator<Item = &'a Definition> {
        let traits = touched.traits.iter().filter_map(|i| self.traits.get(*i).map(|t| &t.definition));
        let segments = touched.segments.iter().filter_map(|i| self.segments.get(*i).map(|s| &s.definition));
        let rules = touched.rules.iter().filter_map(|(score, rule)| self.scores.get(*score)?.rules.get(*rule));
        traits.chain(segments).chain(rules)
    }

    /// Every expression with what it belongs to and its key; a flag has as many as it has conditions.
    pub fn definitions(&self) -> impl Iterator<Item = (&'static str, &str, &Definition)> {
        self.traits
            .iter()
            .map(|t| ("trait", t.key.as_str(), &t.definition))
            .chain(self.segments.iter().map(|s| ("segment", s.key.as_str(), &s.definition)))
            .chain(self.scores.iter().map(|s| ("score", s.key.as_str(), &s.definition)))
            .chain(self.flags.conditions().map(|(key, condition)| ("flag", key, condition)))
    }

    pub fn aggregate_position(&self, aggregate: &Aggregate) -> Option<usize> {
        self.aggregate_index.get(aggregate).copied()
    }

    /// The names of all definitions, for checking a new one.
    pub fn names(&self, events: Vec<String>) -> Names {
        Names {
            traits: self.traits.iter().map(|t| (t.key.clone(), t.definition.expression.clone())).collect(),
            segments: self
                .segments
                .iter()
                .map(|s| (s.key.clone(), (!s.is_static).then(|| s.definition.expression.clone())))
                .collect(),
            scores: self.scores.iter().map(|s| (s.key.clone(), s.definition.expression.clone())).collect(),
            events,
            profile: Vec::new(),
        }
    }
}

/// A catalog that also answers an expression nobody stored.
pub struct Extended {
    pub catalog: Catalog,
    pub definition: Definition,
}

impl Catalog {
    /// Adds slots for an expression; people fill them from their events, as for any newer definition.
    pub fn with_expression(&self, expression: &Expr) -> Result<Extended> {
        let names = self.names(Vec::new());
        let version = self.version.saturating_add(1);
        let mut catalog = Catalog {
            namespace_id: self.namespace_id,
            version,
            timezone: self.timezone.clone(),
            traits: Vec::new(),
            segments: Vec::new(),
            scores: Vec::new(),
            flags: Flags::default(),
            slots: Vec::new(),
            aggregates: Vec::new(),
            routes: Vec::new(),
            by_event: HashMap::new(),
            by_any_event: Touched::default(),
            by_profile: Touched::default(),
            by_existence: Touched::default(),
            by_identity: Touched::default(),
            trait_index: self.trait_index.clone(),
            segment_index: self.segment_index.clone(),
            score_index: self.score_index.clone(),
            aggregate_index: FxHashMap::default(),
        };
        for slot in &self.slots {
            let aggregates = self
                .aggregates
                .iter()
                .filter(|a| self.slots.get(a.slot).is_some_and(|s| s.spec.id() == slot.spec.id()));
            catalog.add_slot(slot.clone_definition(), aggregates.map(|a| a.aggregate.clone()));
        }
        let mut next_slot = self.slots.iter().map(|s| s.spec.id()).max().unwrap_or(0);
        for aggregate in expression.inline(&names).aggregates() {
            if catalog.aggregate_index.contains_key(aggregate) {
                continue;
            }
            next_slot += 1;
            let slot = SlotDefinition::of(next_slot, version, aggregate);
            catalog.add_slot(slot, std::iter::once(aggregate.clone()));
        }
        for found in &self.traits {
            let definition = catalog.bind(&names, found.definition.version, found.definition.expression.clone())?;
            let (id, key) = (found.id, found.key.clone());
            catalog.traits.push(Trait { id, key, is_timely: found.is_timely, definition });
        }
        for found in &self.segments {
            let definition = catalog.bind(&names, found.definition.version, found.definition.expression.clone())?;
            catalog.segments.push(Segment {
                id: found.id,
                key: found.key.clone(),
                name: found.name.clone(),
                sync_to: Vec::new(),
                is_static: found.is_static,
                definition,
            });
        }
        for found in &self.scores {
            let definition = catalog.bind(&names, found.definition.version, found.definition.expression.clone())?;
            let (id, key, model) = (found.id, found.key.clone(), found.model.clone());
            let rules = catalog.bind_rules(&names, found.definition.version, &model)?;
            catalog.scores.push(Score { id, key, model, rules, definition });
        }
        let definition = catalog.bind(&names, version, expression.clone())?;
        Ok(Extended { catalog, definition })
    }

    fn add_slot(&mut self, slot: SlotDefinition, aggregates: impl Iterator<Item = Aggregate>) {
        let index = self.slots.len();
        let mut spec = SlotSpec::new(slot.id);
        let mut answers = BTreeSet::new();
        for aggregate in aggregates {
            spec.add(aggregate.function, aggregate.window);
            answers.insert(cdp_expr::print(&Expr::Aggregate(aggregate.clone())));
            self.aggregate_index.insert(aggregate.clone(), self.aggregates.len());
            self.aggregates.push(BoundAggregate { aggregate, slot: index });
        }
        self.by_event.entry(slot.event.clone()).or_default().slots.push(index);
        let SlotDefinition { version, event, filter, property, .. } = slot;
        self.slots.push(Slot { spec, version, event, filter, property, answers });
    }
}

/// A slot before its aggregates are known.
struct SlotDefinition {
    id: u32,
    version: i32,
    event: String,
    filter: Option<Expr>,
    property: Option<Vec<String>>,
}

impl SlotDefinition {
    fn of(id: u32, version: i32, aggregate: &Aggregate) -> SlotDefinition {
        SlotDefinition {
            id,
            version,
            event: aggregate.source.event.clone(),
            filter: aggregate.source.filter.as_deref().cloned(),
            property: aggregate.property.clone(),
        }
    }
}

impl Slot {
    fn clone_definition(&self) -> SlotDefinition {
        SlotDefinition {
            id: self.spec.id(),
            version: self.version,
            event: self.event.clone(),
            filter: self.filter.clone(),
            property: self.property.clone(),
        }
    }
}

impl cdp_state::Specs for Catalog {
    fn spec(&self, slot: u32) -> Option<&SlotSpec> {
        self.slots.iter().map(|s| &s.spec).find(|spec| spec.id() == slot)
    }
}
