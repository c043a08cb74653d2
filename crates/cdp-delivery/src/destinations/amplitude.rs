//! Amplitude: events and user properties by HTTP API v2, groups, user mapping, cohorts, deletion.

use super::spec::{
    audience, base_url, copy, event_name, event_properties, isolate, sets_traits, without_nulls,
    ENDPOINT,
};
use crate::batch::{group, Group, Item};
use crate::config::{Config, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::http::{classify, HttpRequest, HttpResponse, Method};
use crate::message::{Message, MessageKind};
use crate::outcome::{Outcome, Plan, Reply, Request, RequestPlan};
use crate::retry_after::retry_after;
use serde_json::{json, Map, Value};
use std::collections::HashSet;
use std::time::Duration;

/// See the module.
pub struct Amplitude;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "amplitude",
    name: "Amplitude",
    description: "Events, user properties, groups and cohorts in Amplitude.",
    category: Category::Analytics,
    fields: &[
        Field::new(
            "region",
            FieldKind::Choice(&["us", "eu"]),
            "Where the project lives.",
        )
        .default("\"us\""),
        Field::new(
            "min_id_length",
            FieldKind::Integer { min: 1, max: 100 },
            "Shortest id of a user or device that is taken.",
        )
        .default("1"),
        Field::new("group_type", FieldKind::Text, "Group type of group calls.")
            .default("\"company\""),
        Field::new(
            "cohorts",
            FieldKind::TextMap,
            "Cohort ids by segment. A segment without one becomes a user property that is true or false.",
        ),
        ENDPOINT,
    ],
    secrets: &[
        SecretField {
            name: "api_key",
            required: true,
            help: "API key of the project.",
        },
        SecretField {
            name: "secret_key",
            required: false,
            help: "Secret key of the project, for cohorts and deletions.",
        },
    ],
    sends: &MessageKind::ALL,
    duplicates: Duplicates::Dropped,
    replays: true,
};

const HOSTS: &[(&str, &str)] = &[
    ("us", "https://api2.amplitude.com"),
    ("eu", "https://api.eu.amplitude.com"),
];

const MAPPING_HOSTS: &[(&str, &str)] = &[
    ("us", "https://api.amplitude.com"),
    ("eu", "https://api.eu.amplitude.com"),
];

const MANAGEMENT_HOSTS: &[(&str, &str)] = &[
    ("us", "https://amplitude.com"),
    ("eu", "https://analytics.eu.amplitude.com"),
];

/// How long a user who sends too much is held.
const THROTTLED: Duration = Duration::from_secs(30);

/// How long a user whose daily quota is used up is held; the day is a rolling one.
const OVER_QUOTA: Duration = Duration::from_secs(3600);

/// Most users in a deletion.
const DELETION: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Endpoint {
    Events,
    Mapping,
    Cohort { id: String, operation: &'static str },
    Deletion(usize),
}

impl Destination for Amplitude {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn own_limits(&self, _config: &Config) -> Limits {
        // 2000 events and 1 MB, less some room for the frame.
        Limits::batch(2000, 900_000).rate(100.0, 20.0)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        let limits = self.own_limits(&context.config).configured(&context.config);
        let mut deletions = 0;
        group(self, &context.config, &limits, batch, |message| {
            let item = item(context, message, deletions / DELETION);
            if matches!(
                item,
                Item::Send {
                    endpoint: Endpoint::Deletion(_),
                    ..
                }
            ) {
                deletions += 1;
            }
            item
        })
        .into_plan(|group| request(context, group))
    }

    fn http_outcomes(
        &self,
        context: &Context,
        batch: &[&Message],
        plan: &RequestPlan,
        response: &HttpResponse,
    ) -> Reply {
        if plan.step == "events" {
            match response.status {
                200..=299 => return describe_groups(context, batch, plan),
                400 => return without_bad_events(context, plan, response),
                429 => return without_throttled(context, plan, response),
                _ => {}
            }
        }
        isolate(plan, classify(response))
    }

    fn test_request(&self, context: &Context) -> Option<Request> {
        if let Some(secret) = context.optional_secret("secret_key") {
            let base = base_url(&context.config, MANAGEMENT_HOSTS);
            let url = format!("{base}/api/2/usersearch?user=cdp-connection-test");
            let request = HttpRequest::new(Method::Get, url);
            return Some(Request::Http(
                request.basic(&context.secret("api_key"), &secret),
            ));
        }
        // An event without anything is refused for that by a project that exists.
        Some(Request::Http(events(context, &[json!({})])))
    }

    fn http_test_outcome(
        &self,
        _context: &Context,
        response: &HttpResponse,
    ) -> Result<String, String> {
        let error = response.json();
        let error = error.get("error").and_then(Value::as_str).unwrap_or("");
        let key =
            error.to_lowercase().contains("api_key") || error.to_lowercase().contains("api key");
        match response.status {
            200..=299 => Ok("the keys are accepted".to_string()),
            400 if !key => Ok("the key is accepted".to_string()),
            _ => Err(response.summary()),
        }
    }
}

fn item(context: &Context, message: &Message, deletion: usize) -> Item<Endpoint, Value> {
    let person = message.person_id().is_some();
    if !person {
        return Item::Settled(Outcome::reject("there is no userId and no anonymousId"));
    }
    if let Some((key, entered)) = audience(message) {
        return audience_item(context, message, &key, entered);
    }
    if let Some(name) = event_name(message) {
        return Item::json(Endpoint::Events, event(context, message, &name));
    }
    if sets_traits(message.kind) {
        let traits = message.traits();
        let unset: Map<String, Value> = traits
            .iter()
            .filter(|(_, value)| value.is_null())
            .map(|(key, _)| (key.clone(), json!("-")))
            .collect();
        let mut operations = json!({"$set": without_nulls(traits)});
        if let (false, Some(object)) = (unset.is_empty(), operations.as_object_mut()) {
            object.insert("$unset".to_string(), Value::Object(unset));
        }
        return identify(context, message, operations);
    }
    match message.kind {
        MessageKind::Group => match message.text(&["groupId"]) {
            Some(group) => {
                let mut event = base_event(context, message, "$identify");
                let kind = context.config.required("group_type");
                event.insert("groups".to_string(), json!({ kind.clone(): group }));
                event.insert(
                    "user_properties".to_string(),
                    json!({"$set": { kind: group }}),
                );
                Item::json(Endpoint::Events, Value::Object(event))
            }
            None => Item::Settled(Outcome::reject("the message has no groupId")),
        },
        MessageKind::Alias => match (message.text(&["previousId"]), message.user_id()) {
            (Some(previous), Some(user)) => Item::json(
                Endpoint::Mapping,
                json!({"user_id": previous, "global_user_id": user}),
            ),
            _ => Item::Settled(Outcome::reject("an alias needs previousId and userId")),
        },
        MessageKind::Delete if context.optional_secret("secret_key").is_none() => {
            Item::Settled(Outcome::reject("deletions need the secret_key"))
        }
        MessageKind::Delete => match message.user_id() {
            Some(user) => Item::json(Endpoint::Deletion(deletion), json!(user)),
            None => Item::Settled(Outcome::reject("a deletion needs a userId")),
        },
        _ => Item::Settled(Outcome::reject("the message has no event name")),
    }
}

fn audience_item(
    context: &Context,
    message: &Message,
    key: &str,
    entered: bool,
) -> Item<Endpoint, Value> {
    let cohorts = context.config.object("cohorts");
    match (cohorts.get(key).and_then(Value::as_str), message.user_id()) {
        (Some(_), _) if context.optional_secret("secret_key").is_none() => {
            Item::Settled(Outcome::reject("cohorts need the secret_key"))
        }
        (Some(_), None) => Item::Settled(Outcome::discard("a cohort holds users with a userId")),
        (Some(cohort), Some(user)) => Item::json(
            Endpoint::Cohort {
                id: cohort.to_string(),
                operation: if entered { "ADD" } else { "REMOVE" },
            },
            json!(user),
        ),
        (None, _) => identify(context, message, json!({"$set": { key: entered }})),
    }
}

fn identify(context: &Context, message: &Message, properties: Value) -> Item<Endpoint, Value> {
    let mut event = base_event(context, message, "$identify");
    event.insert("user_properties".to_string(), properties);
    Item::json(Endpoint::Events, Value::Object(event))
}

/// What every event has: type, ids, time and the id by which repetitions are dropped.
fn base_event(context: &Context, message: &Message, name: &str) -> Map<String, Value> {
    let mut event = Map::new();
    event.insert("event_type".to_string(), json!(name));
    if let Some(user) = message.user_id() {
        event.insert("user_id".to_string(), json!(user));
    }
    let device = message
        .text(&["context", "device", "id"])
        .or_else(|| message.anonymous_id());
    if let Some(device) = device {
        event.insert("device_id".to_string(), json!(device));
    }
    let time = message.time_millis().unwrap_or(context.now);
    event.insert("time".to_string(), json!(time));
    event.insert("insert_id".to_string(), json!(message.id));
    event
}

fn event(context: &Context, message: &Message, name: &str) -> Value {
    let mut event = base_event(context, message, name);
    let properties = without_nulls(event_properties(message));
    copy(
        message,
        &mut event,
        &[
            ("app_version", &["context", "app", "version"]),
            ("platform", &["context", "device", "type"]),
            ("os_name", &["context", "os", "name"]),
            ("os_version", &["context", "os", "version"]),
            ("device_model", &["context", "device", "model"]),
            (
                "device_manufacturer",
                &["context", "device", "manufacturer"],
            ),
            ("language", &["context", "locale"]),
            ("ip", &["context", "ip"]),
            ("user_agent", &["context", "userAgent"]),
            ("price", &["properties", "price"]),
            ("quantity", &["properties", "quantity"]),
            ("revenue", &["properties", "revenue"]),
            ("productId", &["properties", "product_id"]),
        ],
    );
    event.insert("event_properties".to_string(), Value::Object(properties));
    Value::Object(event)
}

fn events(context: &Context, events: &[Value]) -> HttpRequest {
    let base = base_url(&context.config, HOSTS);
    HttpRequest::post_json(
        format!("{base}/2/httpapi"),
        &json!({
            "api_key": context.secret("api_key"),
            "events": events,
            "options": {"min_id_length": context.config.integer("min_id_length").unwrap_or(1)},
        }),
    )
}

fn request(context: &Context, group: Group<Endpoint, Value>) -> RequestPlan {
    let management = base_url(&context.config, MANAGEMENT_HOSTS);
    let key = context.secret("api_key");
    let secret = context.secret("secret_key");
    let (request, step) = match &group.endpoint {
        Endpoint::Events => (events(context, &group.contents), "events"),
        Endpoint::Mapping => {
            let base = base_url(&context.config, MAPPING_HOSTS);
            let mapping = json!(group.contents).to_string();
            let request = HttpRequest::new(Method::Post, format!("{base}/usermap"))
                .form(&[("api_key", &key), ("mapping", &mapping)]);
            (request, "mapping")
        }
        Endpoint::Cohort { id, operation } => {
            let request = HttpRequest::post_json(
                format!("{management}/api/3/cohorts/membership"),
                &json!({
                    "cohort_id": id,
                    "skip_invalid_ids": true,
                    "memberships": [{
                        "ids": group.contents,
                        "id_type": "BY_NAME",
                        "operation": operation,
                    }],
                }),
            );
            (request.basic(&key, &secret), "cohort")
        }
        Endpoint::Deletion(_) => {
            let request = HttpRequest::post_json(
                format!("{management}/api/2/deletions/users"),
                &json!({
                    "user_ids": group.contents,
                    "requester": "cdp",
                    "ignore_invalid_id": "true",
                    "delete_from_org": "false",
                }),
            );
            (request.basic(&key, &secret), "deletion")
        }
    };
    RequestPlan::http(request, group.messages).with_step(json!(step))
}

/// After the people, the properties of the groups they joined.
fn describe_groups(context: &Context, batch: &[&Message], plan: &RequestPlan) -> Reply {
    let mut reply = Reply::default();
    let mut described = Vec::new();
    let mut messages = Vec::new();
    for index in &plan.messages {
        let group = batch
            .get(*index)
            .filter(|message| message.kind == MessageKind::Group)
            .map(|message| (message.text(&["groupId"]), without_nulls(message.traits())));
        match group {
            Some((Some(id), traits)) if !traits.is_empty() => {
                described.push(json!({
                    "group_type": context.config.required("group_type"),
                    "group_value": id,
                    "group_properties": {"$set": traits},
                }));
                messages.push(*index);
            }
            _ => reply.settled.push((*index, Outcome::Delivered)),
        }
    }
    if !messages.is_empty() {
        let url = format!("{}/groupidentify", base_url(&context.config, HOSTS));
        let request = HttpRequest::new(Method::Post, url).form(&[
            ("api_key", &context.secret("api_key")),
            ("identification", &json!(described).to_string()),
        ]);
        reply.next = vec![RequestPlan::http(request, messages).with_step(json!("groups"))];
    }
    reply
}

/// The events of a request as they were sent.
fn sent_events(plan: &RequestPlan) -> Vec<Value> {
    match &plan.request {
        Request::Http(request) => serde_json::from_slice::<Value>(&request.body)
            .ok()
            .and_then(|body| body.get("events").and_then(Value::as_array).cloned())
            .unwrap_or_default(),
        Request::Sql(_) => Vec::new(),
    }
}

/// Nothing of a request with a bad event is stored: the rest is sent again without it.
fn without_bad_events(context: &Context, plan: &RequestPlan, response: &HttpResponse) -> Reply {
    let body = response.json();
    let error = body.get("error").and_then(Value::as_str).unwrap_or("");
    if error.to_lowercase().contains("invalid api key") || error.contains("invalid api_key") {
        return Reply::all(plan, Outcome::auth_blocked(response.summary()));
    }
    let mut bad: HashSet<usize> = HashSet::new();
    for key in [
        "events_with_invalid_fields",
        "events_with_missing_fields",
        "events_with_invalid_id_lengths",
    ] {
        if let Some(fields) = body.get(key).and_then(Value::as_object) {
            bad.extend(fields.values().flat_map(indices));
        }
    }
    bad.extend(body.get("silenced_events").into_iter().flat_map(indices));
    rest(context, plan, |position| {
        bad.contains(&position)
            .then(|| Outcome::reject(response.summary()))
    })
    .unwrap_or_else(|| isolate(plan, classify(response)))
}

/// Only the users that send too much are held; the rest is sent again without them.
fn without_throttled(context: &Context, plan: &RequestPlan, response: &HttpResponse) -> Reply {
    let body = response.json();
    let throttled: HashSet<usize> = body
        .get("throttled_events")
        .into_iter()
        .flat_map(indices)
        .collect();
    let over: HashSet<&String> = ["exceeded_daily_quota_users", "exceeded_daily_quota_devices"]
        .iter()
        .filter_map(|key| body.get(*key)?.as_object())
        .flat_map(|users| users.keys())
        .collect();
    let events = sent_events(plan);
    let asked = retry_after(&response.headers, &[], response.at);
    rest(context, plan, |position| {
        let event = events.get(position);
        let exceeded = ["user_id", "device_id"].iter().any(|key| {
            event
                .and_then(|event| event.get(key)?.as_str())
                .is_some_and(|id| over.iter().any(|user| *user == id))
        });
        if exceeded {
            Some(Outcome::wait(
                "the user's daily quota is used up",
                Some(OVER_QUOTA),
            ))
        } else if throttled.contains(&position) {
            Some(Outcome::wait(
                "the user sends too much at once",
                Some(asked.unwrap_or(THROTTLED)),
            ))
        } else {
            None
        }
    })
    .unwrap_or_else(|| Reply::all(plan, classify(response)))
}

fn indices(list: &Value) -> Vec<usize> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|index| usize::try_from(index.as_u64()?).ok())
        .collect()
}

/// Settles some events and sends the others again. None when there is nothing to settle.
fn rest(
    context: &Context,
    plan: &RequestPlan,
    settle: impl Fn(usize) -> Option<Outcome>,
) -> Option<Reply> {
    let mut reply = Reply::default();
    let mut again = Vec::new();
    let mut messages = Vec::new();
    for (position, (index, event)) in plan.messages.iter().zip(sent_events(plan)).enumerate() {
        match settle(position) {
            Some(outcome) => reply.settled.push((*index, outcome)),
            None => {
                again.push(event);
                messages.push(*index);
            }
        }
    }
    if reply.settled.is_empty() {
        return None;
    }
    if !messages.is_empty() {
        let request = events(context, &again);
        reply.next = vec![RequestPlan::http(request, messages).with_step(json!("events"))];
    }
    Some(reply)
}
