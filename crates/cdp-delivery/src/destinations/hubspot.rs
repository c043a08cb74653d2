//! HubSpot: contacts, companies, custom events, static lists, deletion.

use super::spec::{audience, base_url, flat, isolate, sets_traits, unknown_person, uuid, ENDPOINT};
use crate::batch::{group, Group, Item};
use crate::config::{Config, ConfigError, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::http::{classify, HttpRequest, HttpResponse, Method};
use crate::message::{Message, MessageKind};
use crate::outcome::{Outcome, Plan, Remember, Reply, Request, RequestPlan};
use crate::retry_after::retry_after;
use crate::template::encode_component;
use serde_json::{json, Map, Value};
use std::collections::BTreeSet;
use std::time::Duration;

/// See the module.
pub struct HubSpot;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "hubspot",
    name: "HubSpot",
    description: "Contacts, companies, custom events and static lists in HubSpot.",
    category: Category::Crm,
    fields: &[
        Field::new(
            "id_property",
            FieldKind::Text,
            "Unique property by which contacts are found: email (by the e-mail address), or a custom one (by the userId).",
        )
        .default("\"email\""),
        Field::new(
            "company_id_property",
            FieldKind::Text,
            "Custom unique property of companies that holds the groupId. Without it groups are not sent.",
        ),
        Field::new(
            "properties",
            FieldKind::TextMap,
            "Names of properties by trait; they win over the usual ones.",
        ),
        Field::new(
            "unknown_properties",
            FieldKind::Choice(&["ignore", "reject"]),
            "What to do with traits that HubSpot has no property for: leave them out, or refuse the message.",
        )
        .default("\"ignore\""),
        Field::new(
            "portal_id",
            FieldKind::Text,
            "Number of the account: events become the custom event pe<number>_<name>.",
        ),
        Field::new(
            "events",
            FieldKind::TextMap,
            "Internal names of custom events by event. When given, other events are not sent.",
        ),
        Field::new(
            "lists",
            FieldKind::TextMap,
            "Ids of static lists by segment. Segments without one are not sent.",
        ),
        ENDPOINT,
    ],
    secrets: &[SecretField {
        name: "access_token",
        required: true,
        help: "Token of a private app (or an OAuth access token).",
    }],
    sends: &[
        MessageKind::Track,
        MessageKind::Identify,
        MessageKind::Page,
        MessageKind::Screen,
        MessageKind::Group,
        MessageKind::Delete,
        MessageKind::AudienceEntered,
        MessageKind::AudienceExited,
        MessageKind::TraitChanged,
        MessageKind::ScoreChanged,
    ],
    duplicates: Duplicates::Dropped,
    replays: true,
};

const HOSTS: &[(&str, &str)] = &[("", "https://api.hubapi.com")];

/// Traits of the spec under the names of HubSpot's own properties.
const NAMES: &[(&str, &str)] = &[
    ("firstName", "firstname"),
    ("first_name", "firstname"),
    ("lastName", "lastname"),
    ("last_name", "lastname"),
    ("title", "jobtitle"),
    ("postalCode", "zip"),
    ("employees", "numberofemployees"),
];

/// Key of the names of unknown properties in the memory, separated by blanks.
const UNKNOWN: &str = "unknown_properties";

/// How long to wait when the day's requests are used up; the day is the account's own.
const DAILY: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Endpoint {
    Contacts,
    /// Contacts that then go on a list or off it.
    Members {
        list: String,
        entered: bool,
    },
    Companies,
    Events,
    /// A request of its own, with its number in the batch.
    Deletion(usize),
}

impl Destination for HubSpot {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn check(&self, config: &Config, errors: &mut Vec<ConfigError>) {
        let number = config
            .text("portal_id")
            .is_none_or(|id| id.chars().all(|c| c.is_ascii_digit()));
        if !number {
            errors.push(ConfigError::new("portal_id", "must be a number"));
        }
    }

    fn own_limits(&self, _config: &Config) -> Limits {
        // The smallest plan has 100 requests in 10 seconds; 100 records a request.
        Limits::batch(100, 2_000_000)
            .rate(10.0, 10.0)
            .concurrency(4)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        let limits = self.own_limits(&context.config).configured(&context.config);
        let mut number = 0;
        group(self, &context.config, &limits, batch, |message| {
            number += 1;
            item(context, message, number)
        })
        .into_plan(|group| request(context, group))
    }

    fn http_outcomes(
        &self,
        context: &Context,
        _batch: &[&Message],
        plan: &RequestPlan,
        response: &HttpResponse,
    ) -> Reply {
        let body = response.json();
        let step = plan.step.get("step").and_then(Value::as_str).unwrap_or("");
        match response.status {
            200 | 201 | 207 => upserted(context, plan, &body),
            400 if matches!(step, "upsert" | "members") => {
                without_unknown(context, plan, response, &body)
            }
            404 if step == "delete" => Reply::all(plan, Outcome::Delivered),
            409 => Reply::all(plan, Outcome::retry(response.summary())),
            423 | 477 => Reply::all(plan, slow_down(response, None)),
            429 => {
                let daily = body.get("policyName").and_then(Value::as_str) == Some("DAILY");
                Reply::all(plan, slow_down(response, daily.then_some(DAILY)))
            }
            _ => isolate(plan, classify(response)),
        }
    }

    fn test_request(&self, context: &Context) -> Option<Request> {
        let path = "/crm/v3/objects/contacts?limit=1";
        Some(Request::Http(call(context, Method::Get, path)))
    }
}

fn slow_down(response: &HttpResponse, otherwise: Option<Duration>) -> Outcome {
    let after = retry_after(&response.headers, &[], response.at);
    Outcome::wait(response.summary(), after.or(otherwise))
}

fn call(context: &Context, method: Method, path: &str) -> HttpRequest {
    let base = base_url(&context.config, HOSTS);
    HttpRequest::new(method, format!("{base}{path}")).bearer(&context.secret("access_token"))
}

fn item(context: &Context, message: &Message, number: usize) -> Item<Endpoint, Value> {
    if message.kind == MessageKind::Group {
        return company(context, message);
    }
    let id_property = context.config.required("id_property");
    let id = if id_property == "email" {
        message.email()
    } else {
        message.user_id()
    };
    let Some(id) = id else {
        let what = if id_property == "email" {
            "e-mail address"
        } else {
            "userId"
        };
        return Item::Settled(unknown_person(message, what));
    };
    let contact = |endpoint: Endpoint, properties: Map<String, Value>| {
        let content = json!({"id": id, "idProperty": id_property, "properties": properties});
        Item::keyed(endpoint, content, id.clone())
    };
    if let Some((key, entered)) = audience(message) {
        let lists = context.config.object("lists");
        return match lists.get(&key).and_then(Value::as_str) {
            Some(list) => contact(
                Endpoint::Members {
                    list: list.to_string(),
                    entered,
                },
                Map::new(),
            ),
            None => Item::Settled(Outcome::discard(format!(
                "there is no list for the segment {key}"
            ))),
        };
    }
    if sets_traits(message.kind) {
        return contact(Endpoint::Contacts, properties(context, message.traits()));
    }
    match message.kind {
        MessageKind::Delete => Item::json(
            Endpoint::Deletion(number),
            json!({"objectId": id, "idProperty": id_property}),
        ),
        _ => event(context, message),
    }
}

fn company(context: &Context, message: &Message) -> Item<Endpoint, Value> {
    let Some(property) = context.config.text("company_id_property") else {
        return Item::Settled(Outcome::discard("there is no company_id_property"));
    };
    match message.text(&["groupId"]) {
        Some(id) => Item::keyed(
            Endpoint::Companies,
            json!({
                "id": id,
                "idProperty": property,
                "properties": properties(context, message.traits()),
            }),
            id,
        ),
        None => Item::Settled(Outcome::reject("the message has no groupId")),
    }
}

/// Traits as properties: names in lower case, scalars only, an empty text for a null (which
/// clears the property); without those known to be unknown.
fn properties(context: &Context, traits: Map<String, Value>) -> Map<String, Value> {
    let given = context.config.object("properties");
    let unknown: Vec<&str> = context
        .memory
        .get(UNKNOWN)
        .map(|names| names.split(' ').collect())
        .unwrap_or_default();
    let cleared: Vec<String> = traits
        .iter()
        .filter(|(_, value)| value.is_null())
        .map(|(key, _)| key.clone())
        .collect();
    let mut written = flat(traits);
    written.extend(cleared.into_iter().map(|key| (key, json!(""))));
    written
        .into_iter()
        .map(|(key, value)| {
            let name = given
                .get(&key)
                .and_then(Value::as_str)
                .or_else(|| {
                    let known = NAMES.iter().find(|(from, _)| *from == key);
                    known.map(|(_, to)| *to)
                })
                .map_or_else(|| internal_name(&key), str::to_string);
            (name, value)
        })
        .filter(|(name, _)| !unknown.contains(&name.as_str()))
        .collect()
}

/// `createdAt` → `created_at`, `Order Completed` → `order_completed`.
fn internal_name(text: &str) -> String {
    let mut name = String::new();
    let mut lower_before = false;
    for c in text.chars() {
        if c.is_ascii_uppercase() && lower_before {
            name.push('_');
        }
        lower_before = c.is_ascii_lowercase() || c.is_ascii_digit();
        let c = if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        };
        if !(c == '_' && name.ends_with('_')) {
            name.push(c);
        }
    }
    name.trim_matches('_').to_string()
}

fn event(context: &Context, message: &Message) -> Item<Endpoint, Value> {
    let Some(name) = super::spec::event_name(message) else {
        return Item::Settled(Outcome::reject("the message has no event name"));
    };
    let events = context.config.object("events");
    let internal = match (events.get(&name), context.config.text("portal_id")) {
        (Some(internal), _) => internal.as_str().unwrap_or("").to_string(),
        (None, Some(portal)) if events.is_empty() => {
            format!("pe{portal}_{}", internal_name(&name))
        }
        _ => {
            return Item::Settled(Outcome::discard(format!(
                "there is no custom event for {name}"
            )))
        }
    };
    let Some(email) = message.email() else {
        return Item::Settled(unknown_person(message, "e-mail address"));
    };
    let properties: Map<String, Value> = flat(super::spec::event_properties(message))
        .into_iter()
        .map(|(key, value)| (internal_name(&key), value))
        .collect();
    Item::json(
        Endpoint::Events,
        json!({
            "eventName": internal,
            "email": email,
            "occurredAt": message.time_text(),
            "uuid": uuid(&message.id),
            "properties": properties,
        }),
    )
}

/// Records with the number of the message, so that errors can be told apart.
fn traced(contents: &[Value]) -> Vec<Value> {
    contents
        .iter()
        .enumerate()
        .map(|(position, content)| {
            let mut traced = content.clone();
            if let Some(object) = traced.as_object_mut() {
                let trace = position.to_string();
                object.insert("objectWriteTraceId".to_string(), json!(trace));
            }
            traced
        })
        .collect()
}

fn request(context: &Context, group: Group<Endpoint, Value>) -> RequestPlan {
    let upsert = |object: &str| {
        let path = format!("/crm/v3/objects/{object}/batch/upsert");
        let body = json!({ "inputs": traced(&group.contents) });
        call(context, Method::Post, &path).json(&body)
    };
    let (request, step) = match &group.endpoint {
        Endpoint::Contacts => (upsert("contacts"), json!({"step": "upsert"})),
        Endpoint::Companies => (upsert("companies"), json!({"step": "upsert"})),
        Endpoint::Members { list, entered } => (
            upsert("contacts"),
            json!({"step": "members", "list": list, "entered": entered}),
        ),
        Endpoint::Events => {
            let body = json!({ "inputs": group.contents });
            let request = call(context, Method::Post, "/events/v3/send/batch").json(&body);
            (request, json!({"step": "events"}))
        }
        Endpoint::Deletion(_) => {
            let path = "/crm/v3/objects/contacts/gdpr-delete";
            let body = group.contents.first().cloned().unwrap_or_default();
            let request = call(context, Method::Post, path).json(&body);
            (request, json!({"step": "delete"}))
        }
    };
    RequestPlan::http(request, group.messages).with_step(step)
}

/// What an upsert did: the errors of a 207 say which records they are about (one that does not
/// makes the records be sent again in halves; an upsert may be repeated). Contacts that are there
/// for a list's sake then go on it, or off it.
fn upserted(context: &Context, plan: &RequestPlan, body: &Value) -> Reply {
    let mut outcomes: Vec<(usize, Outcome)> = plan
        .messages
        .iter()
        .map(|index| (*index, Outcome::Delivered))
        .collect();
    let list_of = |value: Option<&Value>| -> Vec<Value> {
        value.and_then(Value::as_array).cloned().unwrap_or_default()
    };
    for error in list_of(body.get("errors")) {
        let reason = error
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or("refused");
        let traces: Vec<usize> = list_of(error.pointer("/context/objectWriteTraceId"))
            .iter()
            .filter_map(|trace| trace.as_str()?.parse().ok())
            .collect();
        if traces.is_empty() {
            return isolate(plan, Outcome::reject(format!("HubSpot says: {reason}")));
        }
        for position in traces {
            if let Some((_, outcome)) = outcomes.get_mut(position) {
                *outcome = Outcome::reject(format!("HubSpot says: {reason}"));
            }
        }
    }
    let Some(list) = plan.step.get("list").and_then(Value::as_str) else {
        return Reply {
            settled: outcomes,
            ..Reply::default()
        };
    };
    let (there, settled): (Vec<_>, Vec<_>) = outcomes
        .into_iter()
        .partition(|(_, outcome)| *outcome == Outcome::Delivered);
    let ids: Vec<Value> = list_of(body.get("results"))
        .iter()
        .filter_map(|result| result.get("id").cloned())
        .collect();
    let mut next = Vec::new();
    if !there.is_empty() {
        let entered = plan.step.get("entered") == Some(&Value::Bool(true));
        let action = if entered { "add" } else { "remove" };
        let list = encode_component(list);
        let path = format!("/crm/v3/lists/{list}/memberships/{action}");
        let request = call(context, Method::Put, &path).json(&json!(ids));
        let messages = there.into_iter().map(|(index, _)| index).collect();
        next.push(RequestPlan::http(request, messages).with_step(json!({"step": "list"})));
    }
    Reply {
        settled,
        next,
        remember: Vec::new(),
    }
}

/// One unknown property spoils the whole request: it is remembered and left out.
fn without_unknown(
    context: &Context,
    plan: &RequestPlan,
    response: &HttpResponse,
    body: &Value,
) -> Reply {
    let names = unknown_names(body);
    if names.is_empty() || context.config.text("unknown_properties").as_deref() == Some("reject") {
        return isolate(plan, classify(response));
    }
    let Request::Http(sent) = &plan.request else {
        return isolate(plan, classify(response));
    };
    let mut again: Value = serde_json::from_slice(&sent.body).unwrap_or(Value::Null);
    let mut removed = false;
    let inputs = again.get_mut("inputs").and_then(Value::as_array_mut);
    for input in inputs.into_iter().flatten() {
        if let Some(properties) = input.get_mut("properties").and_then(Value::as_object_mut) {
            for name in &names {
                removed |= properties.remove(name).is_some();
            }
        }
    }
    if !removed {
        return isolate(plan, classify(response));
    }
    let mut all: BTreeSet<String> = context
        .memory
        .get(UNKNOWN)
        .map(|known| known.split(' ').map(str::to_string).collect())
        .unwrap_or_default();
    all.extend(names);
    let all: Vec<String> = all.into_iter().collect();
    let request = HttpRequest {
        body: again.to_string().into_bytes(),
        ..sent.clone()
    };
    Reply {
        next: vec![RequestPlan::http(request, plan.messages.clone()).with_step(plan.step.clone())],
        remember: vec![Remember {
            key: UNKNOWN.to_string(),
            value: Some(all.join(" ")),
            for_time: Duration::from_secs(3600),
        }],
        ..Reply::default()
    }
}

fn unknown_names(body: &Value) -> Vec<String> {
    body.get("errors")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|error| error.get("code").and_then(Value::as_str) == Some("PROPERTY_DOESNT_EXIST"))
        .filter_map(|error| error.get("context")?.get("propertyName")?.as_array())
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_string))
        .collect()
}
