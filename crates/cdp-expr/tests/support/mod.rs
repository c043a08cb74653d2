//! A person and a catalog for tests.
#![allow(dead_code, clippy::expect_used)]

pub mod arbitrary;
pub mod oracle;

use cdp_expr::{Aggregate, Catalog, Context, Expr};
use cdp_value::{Timestamp, Value};
use std::borrow::Cow;
use std::collections::HashMap;

/// A person whose values are given one by one.
#[derive(Debug, Clone, Default)]
pub struct Person {
    pub now: Timestamp,
    pub profile: serde_json::Value,
    pub properties: serde_json::Value,
    pub first_seen: Option<Timestamp>,
    pub last_seen: Option<Timestamp>,
    pub aggregates: HashMap<String, Value>,
    pub changes: HashMap<String, Timestamp>,
    pub events: HashMap<String, (Timestamp, Timestamp)>,
    pub traits: HashMap<String, Value>,
    pub segments: Vec<String>,
}

impl Person {
    pub fn at(now: Timestamp) -> Person {
        Person {
            now,
            ..Person::default()
        }
    }

    /// Sets the value of an aggregate, given by its canonical text.
    pub fn set(&mut self, aggregate: &str, value: serde_json::Value) {
        let key = cdp_expr::print(&cdp_expr::parse(aggregate).expect(aggregate));
        self.aggregates.insert(key, Value::from_json(&value));
    }

    /// Sets when an event happened first and last.
    pub fn event_seen(&mut self, event: &str, first: Timestamp, last: Timestamp) {
        self.events.insert(event.to_string(), (first, last));
    }
}

fn at(json: &serde_json::Value, path: &[String]) -> Value {
    let value = Value::from_json(json);
    cdp_expr::lookup(&value, path)
        .cloned()
        .unwrap_or(Value::Null)
}

fn key(aggregate: &Aggregate) -> String {
    cdp_expr::print(&Expr::Aggregate(aggregate.clone()))
}

impl Context for Person {
    fn now(&self) -> Timestamp {
        self.now
    }
    fn aggregate(&self, aggregate: &Aggregate) -> Value {
        let value = self.aggregates.get(&key(aggregate)).cloned();
        value.unwrap_or(Value::Null)
    }
    fn aggregate_changes_at(&self, aggregate: &Aggregate) -> Option<Timestamp> {
        self.changes.get(&key(aggregate)).copied()
    }
    fn event_first_seen(&self, aggregate: &Aggregate) -> Option<Timestamp> {
        self.events.get(&aggregate.source.event).map(|seen| seen.0)
    }
    fn event_last_seen(&self, aggregate: &Aggregate) -> Option<Timestamp> {
        self.events.get(&aggregate.source.event).map(|seen| seen.1)
    }
    fn first_seen(&self) -> Option<Timestamp> {
        self.first_seen
    }
    fn last_seen(&self) -> Option<Timestamp> {
        self.last_seen
    }
    fn trait_value(&self, key: &str) -> Value {
        self.traits.get(key).cloned().unwrap_or(Value::Null)
    }
    fn segment(&self, key: &str) -> bool {
        self.segments.iter().any(|known| known == key)
    }
    fn profile(&self, path: &[String]) -> Value {
        at(&self.profile, path)
    }
    fn property(&self, path: &[String]) -> Value {
        at(&self.properties, path)
    }
    fn random_key(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed("person-1"))
    }
}

/// Definitions given as texts.
#[derive(Debug, Clone, Default)]
pub struct Definitions {
    pub traits: HashMap<String, Expr>,
    pub segments: HashMap<String, Expr>,
    pub static_segments: Vec<String>,
    pub events: Vec<String>,
    pub scores: Vec<String>,
}

impl Definitions {
    pub fn with_trait(mut self, key: &str, text: &str) -> Definitions {
        let expr = cdp_expr::parse(text).expect(text);
        self.traits.insert(key.to_string(), expr);
        self
    }

    pub fn with_segment(mut self, key: &str, text: &str) -> Definitions {
        let expr = cdp_expr::parse(text).expect(text);
        self.segments.insert(key.to_string(), expr);
        self
    }
}

impl Catalog for Definitions {
    fn trait_expression(&self, key: &str) -> Option<&Expr> {
        self.traits.get(key)
    }
    fn segment_rule(&self, key: &str) -> Option<&Expr> {
        self.segments.get(key)
    }
    fn is_static_segment(&self, key: &str) -> bool {
        self.static_segments.iter().any(|known| known == key)
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
    fn score_names(&self) -> Vec<String> {
        self.scores.clone()
    }
}

/// A few definitions that refer to each other.
pub fn catalog() -> Definitions {
    let mut definitions = Definitions::default()
        .with_trait("power_user", "events.app_open.unique_days_14d >= 5")
        .with_trait("ltv", "events.purchase.sum(total)")
        .with_trait("recency", "last_seen_minutes_ago")
        .with_segment("churned", "recency > 43200")
        .with_segment("vip", "ltv > 1000 && not churned");
    definitions.events = vec!["purchase".into(), "app_open".into()];
    definitions.scores = vec!["lead".into()];
    definitions
}

/// One expression about a person for every form of the language.
pub const EXAMPLES: &[&str] = &[
    "events.purchase.count_7d",
    "events.purchase.count",
    "events.never.count == 0 && events.never.sum(total) == null && events.never.list(plan) == []",
    "events.app_open.unique_days_14d >= 5",
    "events.app_open.unique_hours_2d",
    "events.purchase.sum_30d(total) > 500",
    "events.purchase.sum(total)",
    "events.purchase.avg(total)",
    "events.purchase.min(total)",
    "events.purchase.max_14d(total)",
    "events.purchase.first(plan)",
    "events.purchase.last(plan)",
    "events.purchase.last_14d(total)",
    "events.purchase.top(plan)",
    "events.purchase.top_14d(total)",
    "events.purchase.list(total)",
    "events.purchase.list_7d(plan)",
    "events.purchase.unique(total)",
    "events.purchase.unique_14d(plan)",
    "events.purchase.p50(total)",
    "events.purchase.p95_30d(total)",
    "events.purchase.sessions(30m)",
    "events.purchase.sessions_14d(1d)",
    "events.purchase.first_seen_days_ago",
    "events.purchase.last_seen_minutes_ago",
    "events.purchase[plan == \"pro\"].count_90d",
    "events.purchase[plan == \"pro\" && total > 10].sum(total)",
    "events.purchase[total in [1, 3, \"pro\"]].list(total)",
    "events.purchase[plan contains \"o\"].sessions(1h)",
    "events.purchase.count_7d >= 1 && last_seen_minutes_ago < 1440",
    "events.purchase.count_7d + events.app_open.count / events.a.count",
    "last_seen < 12h || first_seen > 30d",
    "first_seen",
    "days_since(profile.plan)",
    "profile.plan > 1d",
    "profile.plan in [\"pro\", \"team\"]",
    "profile.plan not in profile.a",
    "profile.a contains \"pro\"",
    "profile.a contains profile.plan",
    "profile.plan == profile.a || profile.plan != profile.total",
    "profile.plan < profile.a",
    "profile.a.0",
    "profile.a.'0'",
    "profile.a.'+1'",
    "length(profile.a)",
    "lower(profile.plan)",
    "upper(profile.plan)",
    "profile.plan matches \"o$\"",
    "coalesce(profile.total, profile.plan, 0)",
    "coalesce(profile.total, 0) * 2",
    "if(profile.total > 5, \"high\", if(profile.total == null, null, 0))",
    "round(profile.total / 7, 3)",
    "round(profile.total, profile.a)",
    "floor(profile.total) + ceil(profile.total) - abs(profile.total)",
    "profile.total % 3",
    "-profile.total",
    "profile.total * profile.total",
    "profile.total * profile.total * profile.total / 3",
    "1 / 3",
    "[profile.total, \"x\", null, first_seen]",
    "segment(\"vip\") and not segment(\"it's\")",
    "score(\"lead\") > 50 && grade(\"lead\") == \"A\"",
    "group.plan",
    "bucket(\"salt\", 10)",
    "percentage(\"salt\", 33.3)",
    "null",
    "\"it's\"",
    "profile.plan starts_with \"p\" or profile.plan ends_with \"\"",
];
