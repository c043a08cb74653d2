//! The definitions of the benchmarks (`bench/sql/definitions.sql`), and people with a history, as the extension
//! holds them.

use crate::random::Random;
use cdp_expr::{check, lookup, Aggregate, Catalog, Context, Expr, Kind};
use cdp_state::{Calendar, EdgeEvents, SlotSpec, State, Zoned};
use cdp_value::{Timestamp, Value, DAY, HOUR, MINUTE};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// When everything happens.
pub const NOW: Timestamp = 20_540 * DAY + 10 * HOUR + 17 * MINUTE;

/// Twenty traits, by key.
pub fn trait_texts() -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for event in ["view", "click", "order", "login"] {
        for days in [7, 30] {
            texts.push((
                format!("count_{event}_{days}"),
                format!("events.{event}.count_{days}d"),
            ));
        }
        texts.push((
            format!("days_{event}"),
            format!("events.{event}.unique_days_14d"),
        ));
    }
    for days in [7, 30, 90] {
        texts.push((
            format!("sum_{days}"),
            format!("events.order.sum_{days}d(total)"),
        ));
    }
    for (key, text) in [
        ("ltv", "events.order.sum(total)"),
        ("average", "events.order.avg(total)"),
        ("largest", "events.order.max(total)"),
        ("first_page", "events.view.first(path)"),
        ("last_page", "events.view.last(path)"),
    ] {
        texts.push((key.to_string(), text.to_string()));
    }
    texts
}

/// Ten segments, by key.
pub fn segment_texts() -> Vec<(String, String)> {
    let mut texts: Vec<(String, String)> = (1..=9)
        .map(|n| {
            (
                format!("segment_{n}"),
                format!("count_view_7 >= {n} && count_order_30 >= {}", n / 2),
            )
        })
        .collect();
    texts.push((
        "recent".to_string(),
        "last_seen_minutes_ago < 1440".to_string(),
    ));
    texts
}

/// The filters of the three routes.
pub const ROUTE_FILTERS: [&str; 3] = [
    "total > 990",
    "total > 995",
    r#"properties.segment == "segment_9""#,
];

/// Events that are of one slot share event and property.
pub struct Slot {
    pub spec: SlotSpec,
    pub event: String,
    pub property: Option<Vec<String>>,
}

/// Everything that is defined.
pub struct Definitions {
    pub traits: BTreeMap<String, Expr>,
    pub segments: BTreeMap<String, Expr>,
    /// The traits and segments with all that they refer to filled in.
    pub inlined: Vec<Expr>,
    pub slots: Vec<Slot>,
    /// The slot of each aggregate.
    pub aggregates: FxHashMap<Aggregate, usize>,
}

impl Definitions {
    pub fn new() -> Definitions {
        let mut all = Definitions {
            traits: BTreeMap::new(),
            segments: BTreeMap::new(),
            inlined: Vec::new(),
            slots: Vec::new(),
            aggregates: FxHashMap::default(),
        };
        for (key, text) in trait_texts() {
            let checked = check(&text, Kind::Trait, Some(&key), &all).expect("a trait");
            all.traits.insert(key, checked.expr);
        }
        for (key, text) in segment_texts() {
            let checked = check(&text, Kind::Segment, Some(&key), &all).expect("a segment");
            all.segments.insert(key, checked.expr);
        }
        all.inlined = all
            .traits
            .values()
            .chain(all.segments.values())
            .map(|expr| expr.inline(&all))
            .collect();
        for expr in all.inlined.clone() {
            for aggregate in expr.aggregates() {
                all.bind(aggregate);
            }
        }
        all
    }

    fn bind(&mut self, aggregate: &Aggregate) {
        let event = &aggregate.source.event;
        let found = self
            .slots
            .iter()
            .position(|slot| slot.event == *event && slot.property == aggregate.property);
        let position = found.unwrap_or_else(|| {
            self.slots.push(Slot {
                spec: SlotSpec::new(1 + self.slots.len() as u32),
                event: event.clone(),
                property: aggregate.property.clone(),
            });
            self.slots.len() - 1
        });
        self.slots[position]
            .spec
            .add(aggregate.function, aggregate.window);
        self.aggregates.insert(aggregate.clone(), position);
    }

    /// Adds an event to all slots that it is of.
    pub fn fold(&self, state: &mut State, event: &Event, calendar: &dyn Calendar) {
        state.touch(event.at);
        for slot in self.slots.iter().filter(|slot| slot.event == event.name) {
            let value = slot.property.as_ref().map(|path| {
                lookup(&event.properties, path)
                    .cloned()
                    .unwrap_or(Value::Null)
            });
            state
                .fold(&slot.spec, event.at, value.as_ref(), calendar)
                .expect("a state");
        }
    }
}

impl Catalog for Definitions {
    fn trait_expression(&self, key: &str) -> Option<&Expr> {
        self.traits.get(key)
    }
    fn segment_rule(&self, key: &str) -> Option<&Expr> {
        self.segments.get(key)
    }
    fn trait_names(&self) -> Vec<String> {
        self.traits.keys().cloned().collect()
    }
    fn segment_names(&self) -> Vec<String> {
        self.segments.keys().cloned().collect()
    }
    fn event_names(&self) -> Vec<String> {
        ["view", "click", "login", "order", "other"]
            .map(str::to_string)
            .to_vec()
    }
    fn score_names(&self) -> Vec<String> {
        Vec::new()
    }
}

impl cdp_state::Specs for Definitions {
    fn spec(&self, id: u32) -> Option<&SlotSpec> {
        self.slots
            .iter()
            .map(|slot| &slot.spec)
            .find(|spec| spec.id() == id)
    }
}

pub struct Event {
    pub name: &'static str,
    pub at: Timestamp,
    pub properties: Value,
}

/// An event of a benchmark's kind, at most `days` old.
pub fn event(random: &mut Random, days: u64) -> Event {
    let names = [
        "view", "view", "view", "view", "click", "click", "click", "login", "order", "other",
    ];
    let total = format!(
        r#"{{"total": {}.{:02}, "path": "/p/{}"}}"#,
        random.below(1_000),
        random.below(100),
        random.below(50)
    );
    Event {
        name: random.choose(&names),
        at: NOW - random.below(days * DAY as u64) as i64,
        properties: Value::from_json(&serde_json::from_str(&total).expect("an object")),
    }
}

/// The calendar that people have who do not say where they are.
pub fn calendar() -> Zoned {
    Zoned::new("UTC").expect("a time zone")
}

/// Stored states of `count` people with `events` events each within 90 days.
pub fn stored_states(definitions: &Definitions, count: u64, events: u64) -> Vec<Vec<u8>> {
    let (mut random, calendar) = (Random::new(3), calendar());
    (0..count)
        .map(|_| {
            let mut state = State::new();
            let mut history: Vec<Event> = (0..events).map(|_| event(&mut random, 90)).collect();
            history.sort_by_key(|event| event.at);
            for event in history {
                definitions.fold(&mut state, &event, &calendar);
                state
                    .compact_changed(definitions, event.at)
                    .expect("a state");
            }
            state.compact(definitions, NOW).expect("a state");
            state.encode()
        })
        .collect()
}

/// A person at one instant, as expressions see them; an aggregate is looked up once.
pub struct Person<'a> {
    pub definitions: &'a Definitions,
    pub state: &'a State,
    pub calendar: &'a Zoned,
    pub at: Timestamp,
    known: RefCell<FxHashMap<&'a Aggregate, Value>>,
}

const NO_EDGES: EdgeEvents = EdgeEvents::none();

impl<'a> Person<'a> {
    pub fn new(
        definitions: &'a Definitions,
        state: &'a State,
        calendar: &'a Zoned,
        at: Timestamp,
    ) -> Person<'a> {
        Person {
            definitions,
            state,
            calendar,
            at,
            known: RefCell::default(),
        }
    }
}

impl Context for Person<'_> {
    fn now(&self) -> Timestamp {
        self.at
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Value {
        let Some((bound, slot)) = self.definitions.aggregates.get_key_value(aggregate) else {
            return Value::Null;
        };
        if let Some(value) = self.known.borrow().get(bound) {
            return value.clone();
        }
        let spec = &self.definitions.slots[*slot].spec;
        let (function, window) = (aggregate.function, aggregate.window);
        let value = self
            .state
            .evaluate(spec, function, window, self.at, &NO_EDGES, self.calendar)
            .expect("a state");
        self.known.borrow_mut().insert(bound, value.clone());
        value
    }

    fn aggregate_changes_at(&self, aggregate: &Aggregate) -> Option<Timestamp> {
        let spec = &self.definitions.slots[*self.definitions.aggregates.get(aggregate)?].spec;
        let (function, window) = (aggregate.function, aggregate.window);
        self.state
            .changes_at(spec, function, window, self.at, &NO_EDGES, self.calendar)
            .expect("a state")
    }

    fn first_seen(&self) -> Option<Timestamp> {
        self.state.first_seen
    }

    fn last_seen(&self) -> Option<Timestamp> {
        self.state.last_seen
    }

    fn trait_value(&self, key: &str) -> Value {
        self.definitions
            .traits
            .get(key)
            .map_or(Value::Null, |expr| cdp_expr::evaluate(expr, self))
    }

    fn segment(&self, key: &str) -> bool {
        self.definitions
            .segments
            .get(key)
            .is_some_and(|rule| cdp_expr::is_true(rule, self))
    }
}
