//! Klaviyo: events, profiles, list membership and deletion.

use super::spec::{
    audience, base_url, event_name, event_properties, isolate, plain_id, sets_traits,
    without_nulls, ENDPOINT,
};
use crate::batch::{group, Item};
use crate::config::{Config, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::http::{classify, HttpRequest, HttpResponse, Method};
use crate::mapping::normalise_phone;
use crate::message::{Message, MessageKind};
use crate::outcome::{Outcome, Plan, Reply, Request, RequestPlan};
use crate::template::encode_component;
use serde_json::{json, Map, Value};

/// See the module.
pub struct Klaviyo;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "klaviyo",
    name: "Klaviyo",
    description: "Events, profiles and lists in Klaviyo.",
    category: Category::Marketing,
    fields: &[
        Field::new(
            "lists",
            FieldKind::TextMap,
            "List ids by segment. A segment without one becomes a property that is true or false.",
        ),
        Field::new("revision", FieldKind::Text, "Revision of the API.").default("\"2026-07-15\""),
        ENDPOINT,
    ],
    secrets: &[SecretField {
        name: "api_key",
        required: true,
        help: "Private API key (pk_…).",
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
    replays: false,
};

const HOSTS: &[(&str, &str)] = &[("", "https://a.klaviyo.com")];

/// Attributes of a profile that are not properties: the trait and the attribute.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("firstName", "first_name"),
    ("first_name", "first_name"),
    ("lastName", "last_name"),
    ("last_name", "last_name"),
    ("organization", "organization"),
    ("locale", "locale"),
    ("title", "title"),
    ("avatar", "image"),
];

impl Destination for Klaviyo {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn own_limits(&self, _config: &Config) -> Limits {
        // Profiles: 75 a second, 750 a minute. Events could be more; the slower one counts.
        Limits::single().rate(12.0, 60.0)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        let limits = self.own_limits(&context.config).configured(&context.config);
        group(self, &context.config, &limits, batch, |message| {
            item(message, context)
        })
        .into_plan(|group| {
            let body = group.contents.into_iter().next().unwrap_or_default();
            let step = if group.endpoint == PROFILE {
                json!("profile")
            } else {
                Value::Null
            };
            let request = request(context, Method::Post, group.endpoint, &body);
            RequestPlan::http(request, group.messages).with_step(step)
        })
    }

    fn http_outcomes(
        &self,
        context: &Context,
        batch: &[&Message],
        plan: &RequestPlan,
        response: &HttpResponse,
    ) -> Reply {
        if plan.step == "profile" && response.is_success() {
            let message = plan.messages.first().and_then(|index| batch.get(*index));
            if let Some(next) = message.and_then(|message| membership(context, message, response)) {
                return Reply::next(RequestPlan::http(next, plan.messages.clone()));
            }
        }
        isolate(plan, classify(response))
    }

    fn test_request(&self, context: &Context) -> Option<Request> {
        let request = request(context, Method::Get, "/api/accounts", &Value::Null);
        Some(Request::Http(request))
    }
}

const EVENT: &str = "/api/events";
const PROFILE: &str = "/api/profile-import";
const DELETION: &str = "/api/data-privacy-deletion-jobs";

fn request(context: &Context, method: Method, path: &str, body: &Value) -> HttpRequest {
    let base = base_url(&context.config, HOSTS);
    let request = HttpRequest::new(method, format!("{base}{path}"))
        .header(
            "authorization",
            format!("Klaviyo-API-Key {}", context.secret("api_key")),
        )
        .header("revision", context.config.required("revision"))
        .header("accept", "application/vnd.api+json");
    if body.is_null() {
        return request;
    }
    request
        .header("content-type", "application/vnd.api+json")
        .body(body.to_string().into_bytes())
}

fn item(message: &Message, context: &Context) -> Item<&'static str, Value> {
    let Some(identity) = identity(message) else {
        return Item::Settled(Outcome::reject(
            "there is no e-mail, phone number, userId or anonymousId",
        ));
    };
    if let Some((key, entered)) = audience(message) {
        let listed = context.config.object("lists").contains_key(&key);
        let properties = if listed {
            Map::new()
        } else {
            [(key, json!(entered))].into_iter().collect()
        };
        return Item::json(PROFILE, profile(identity, properties));
    }
    if let Some(name) = event_name(message) {
        return Item::json(EVENT, event(message, &name, identity));
    }
    if sets_traits(message.kind) {
        return Item::json(PROFILE, traits_profile(identity, message.traits()));
    }
    match message.kind {
        MessageKind::Group => match message.text(&["groupId"]) {
            Some(group) => {
                let name = message.text(&["traits", "name"]);
                let mut attributes = identity;
                attributes.insert(
                    "organization".to_string(),
                    json!(name.unwrap_or_else(|| group.clone())),
                );
                let properties = [("group_id".to_string(), json!(group))];
                Item::json(
                    PROFILE,
                    profile(attributes, properties.into_iter().collect()),
                )
            }
            None => Item::Settled(Outcome::reject("the message has no groupId")),
        },
        MessageKind::Delete => deletion(message, identity),
        _ => Item::Settled(Outcome::reject("the message has no event name")),
    }
}

/// Who it is: whatever of e-mail, phone number and ids is known.
fn identity(message: &Message) -> Option<Map<String, Value>> {
    let mut attributes = Map::new();
    if let Some(email) = message.email() {
        attributes.insert("email".to_string(), json!(email));
    }
    if let Some(phone) = message.phone().and_then(|phone| normalise_phone(&phone)) {
        attributes.insert("phone_number".to_string(), json!(phone));
    }
    if let Some(user) = message.user_id() {
        attributes.insert("external_id".to_string(), json!(user));
    }
    if let Some(anonymous) = message.anonymous_id() {
        attributes.insert("anonymous_id".to_string(), json!(anonymous));
    }
    (!attributes.is_empty()).then_some(attributes)
}

fn profile(mut attributes: Map<String, Value>, properties: Map<String, Value>) -> Value {
    if !properties.is_empty() {
        attributes.insert("properties".to_string(), Value::Object(properties));
    }
    json!({"data": {"type": "profile", "attributes": attributes}})
}

fn traits_profile(mut attributes: Map<String, Value>, traits: Map<String, Value>) -> Value {
    let mut properties = Map::new();
    let mut unset = Vec::new();
    for (key, value) in traits {
        if matches!(key.as_str(), "email" | "phone") {
            continue;
        }
        let attribute = ATTRIBUTES.iter().find(|(from, _)| *from == key);
        match (attribute, value.is_null()) {
            (Some((_, to)), _) => {
                attributes.insert((*to).to_string(), value);
            }
            (None, true) => unset.push(key),
            (None, false) => {
                properties.insert(key, value);
            }
        }
    }
    let mut profile = profile(attributes, properties);
    let data = profile.get_mut("data").and_then(Value::as_object_mut);
    if let (false, Some(data)) = (unset.is_empty(), data) {
        data.insert(
            "meta".to_string(),
            json!({"patch_properties": {"unset": unset}}),
        );
    }
    profile
}

fn event(message: &Message, name: &str, identity: Map<String, Value>) -> Value {
    let mut properties = without_nulls(event_properties(message));
    let mut attributes = Map::new();
    let value = ["revenue", "total", "value"]
        .iter()
        .find_map(|key| properties.get(*key).filter(|value| value.is_number()));
    if let Some(value) = value.cloned() {
        attributes.insert("value".to_string(), value);
        if let Some(currency) = message.text(&["properties", "currency"]) {
            attributes.insert("value_currency".to_string(), json!(currency));
        }
    }
    if let Some(url) = message.text(&["context", "page", "url"]) {
        properties.entry("page_url").or_insert(json!(url));
    }
    attributes.insert("properties".to_string(), Value::Object(properties));
    attributes.insert("time".to_string(), json!(message.time_text()));
    attributes.insert("unique_id".to_string(), json!(plain_id(&message.id, 64)));
    attributes.insert(
        "metric".to_string(),
        json!({"data": {"type": "metric", "attributes": {"name": name}}}),
    );
    attributes.insert(
        "profile".to_string(),
        json!({"data": {"type": "profile", "attributes": identity}}),
    );
    json!({"data": {"type": "event", "attributes": attributes}})
}

/// A deletion names the person by exactly one thing, of those Klaviyo deletes by.
fn deletion(message: &Message, identity: Map<String, Value>) -> Item<&'static str, Value> {
    let one = ["email", "phone_number"]
        .iter()
        .find_map(|key| Some((*key, identity.get(*key)?.clone())));
    match one {
        Some((key, value)) => Item::json(
            DELETION,
            json!({"data": {
                "type": "data-privacy-deletion-job",
                "attributes": {
                    "profile": {"data": {"type": "profile", "attributes": { key: value }}},
                },
            }}),
        ),
        None => Item::Settled(Outcome::reject(format!(
            "Klaviyo deletes by e-mail or phone number, and {} has neither",
            message
                .user_id()
                .unwrap_or_else(|| "the person".to_string())
        ))),
    }
}

/// The profile is there and has an id: it goes on the segment's list, or off it.
fn membership(
    context: &Context,
    message: &Message,
    response: &HttpResponse,
) -> Option<HttpRequest> {
    let (key, entered) = audience(message)?;
    let lists = context.config.object("lists");
    let list = encode_component(lists.get(&key)?.as_str()?);
    let body = response.json();
    let id = body.get("data")?.get("id")?.as_str()?;
    let method = if entered {
        Method::Post
    } else {
        Method::Delete
    };
    Some(request(
        context,
        method,
        &format!("/api/lists/{list}/relationships/profiles"),
        &json!({"data": [{"type": "profile", "id": id}]}),
    ))
}
