//! Mixpanel: events by `/import`, profiles by `/engage`, groups by `/groups`.

use super::spec::{
    audience, base_url, event_name, event_properties, isolate, partial, plain_id, sets_traits,
    without_nulls, ENDPOINT,
};
use crate::batch::{group, Group, Item};
use crate::config::{Config, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::http::{classify, HttpRequest, HttpResponse};
use crate::message::{Message, MessageKind};
use crate::outcome::{Outcome, Plan, Reply, Request, RequestPlan};
use serde_json::{json, Map, Value};

/// See the module.
pub struct Mixpanel;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "mixpanel",
    name: "Mixpanel",
    description: "Events, user properties, groups and segments in Mixpanel.",
    category: Category::Analytics,
    fields: &[
        Field::new(
            "region",
            FieldKind::Choice(&["us", "eu", "in"]),
            "Where the project lives.",
        )
        .default("\"us\""),
        Field::new(
            "project_id",
            FieldKind::Text,
            "Number of the project; needed with a service account.",
        ),
        Field::new(
            "identity_merge",
            FieldKind::Choice(&["simplified", "original"]),
            "How the project merges identities. Only the original way has aliases.",
        )
        .default("\"simplified\""),
        Field::new(
            "group_key",
            FieldKind::Text,
            "Group key of group calls, as set up in the project.",
        )
        .default("\"company\""),
        Field::new(
            "segments_property",
            FieldKind::Text,
            "List property of the profile that holds the person's segments.",
        )
        .default("\"segments\""),
        ENDPOINT,
    ],
    secrets: &[
        SecretField {
            name: "project_token",
            required: true,
            help: "Token of the project.",
        },
        SecretField {
            name: "service_account_username",
            required: false,
            help: "Service account used for imports instead of the token.",
        },
        SecretField {
            name: "service_account_secret",
            required: false,
            help: "Secret of the service account.",
        },
        SecretField {
            name: "gdpr_token",
            required: false,
            help: "OAuth token for deletion tasks; without it a deletion removes the profile only.",
        },
    ],
    sends: &MessageKind::ALL,
    duplicates: Duplicates::Dropped,
    replays: true,
};

const HOSTS: &[(&str, &str)] = &[
    ("us", "https://api.mixpanel.com"),
    ("eu", "https://api-eu.mixpanel.com"),
    ("in", "https://api-in.mixpanel.com"),
];

const APP_HOSTS: &[(&str, &str)] = &[
    ("us", "https://mixpanel.com"),
    ("eu", "https://eu.mixpanel.com"),
    ("in", "https://in.mixpanel.com"),
];

/// Ids that Mixpanel refuses for being nobody's.
const NOBODY: &[&str] = &[
    "00000000-0000-0000-0000-000000000000",
    "anon",
    "anonymous",
    "nil",
    "none",
    "null",
    "n/a",
    "na",
    "undefined",
    "unknown",
    "<nil>",
    "0",
    "-1",
    "true",
    "false",
    "[]",
    "{}",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Import,
    Engage,
    Groups,
    Deletion,
}

impl Destination for Mixpanel {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn own_limits(&self, _config: &Config) -> Limits {
        // 2000 records and 10 MB uncompressed, less some room for the frame. Deletion tasks take
        // 1999 ids.
        Limits::batch(1999, 9_000_000)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        let limits = self.own_limits(&context.config).configured(&context.config);
        group(self, &context.config, &limits, batch, |message| {
            item(context, message)
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
        let body = response.json();
        let failed = body.get("failed_records").and_then(Value::as_array);
        let reply = match (response.status, failed) {
            // Records that are not listed were stored.
            (400, Some(failed)) if !failed.is_empty() => partial(plan, |position| {
                failed
                    .iter()
                    .find(|record| index(record) == Some(position))
                    .map(|record| Outcome::reject(describe(record)))
            }),
            _ => isolate(plan, classify(response)),
        };
        match plan.step.as_str() {
            Some("groups") => follow_up(context, batch, reply, group_membership),
            Some("engage") => follow_up(context, batch, reply, removed_traits),
            _ => reply,
        }
    }

    fn test_request(&self, context: &Context) -> Option<Request> {
        // Nothing is imported; wrong credentials are refused all the same.
        Some(Request::Http(import(context, &[])))
    }

    fn http_test_outcome(
        &self,
        _context: &Context,
        response: &HttpResponse,
    ) -> Result<String, String> {
        match classify(response) {
            Outcome::Delivered | Outcome::Reject { .. } => {
                Ok("the credentials are accepted".to_string())
            }
            outcome => Err(outcome.reason().unwrap_or("refused").to_string()),
        }
    }
}

fn index(record: &Value) -> Option<usize> {
    usize::try_from(record.get("index")?.as_u64()?).ok()
}

fn describe(record: &Value) -> String {
    let text = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or("");
    format!("Mixpanel refuses {}: {}", text("field"), text("message"))
}

/// The id that events and the profile of the person share.
fn distinct_id(context: &Context, message: &Message) -> Option<String> {
    let simplified = context.config.required("identity_merge") == "simplified";
    match (message.user_id(), message.anonymous_id()) {
        (Some(user), _) => Some(user),
        (None, Some(device)) if simplified => Some(format!("$device:{device}")),
        (None, device) => device,
    }
}

fn item(context: &Context, message: &Message) -> Item<Endpoint, Value> {
    let id = distinct_id(context, message);
    let nobody = id
        .as_ref()
        .is_none_or(|id| NOBODY.contains(&id.to_lowercase().as_str()));
    if nobody && message.kind != MessageKind::Group {
        return Item::Settled(Outcome::reject("there is no id of a person Mixpanel takes"));
    }
    let id = id.unwrap_or_default();
    if let Some(name) = event_name(message).filter(|_| audience(message).is_none()) {
        return Item::json(Endpoint::Import, event(context, message, &name, &id));
    }
    if sets_traits(message.kind) {
        let traits = message.traits();
        return engage(context, &id, "$set", profile(&traits));
    }
    if let Some((key, entered)) = audience(message) {
        let property = context.config.required("segments_property");
        return if entered {
            engage(context, &id, "$union", json!({ property: [key] }))
        } else {
            engage(context, &id, "$remove", json!({ property: key }))
        };
    }
    match message.kind {
        MessageKind::Group => group_item(context, message),
        MessageKind::Alias => alias_item(context, message),
        MessageKind::Delete if context.optional_secret("gdpr_token").is_some() => {
            Item::json(Endpoint::Deletion, json!(id))
        }
        MessageKind::Delete => Item::json(
            Endpoint::Engage,
            json!({
                "$token": context.secret("project_token"),
                "$distinct_id": id,
                "$delete": "null",
                "$ignore_alias": true,
            }),
        ),
        _ => Item::Settled(Outcome::reject(
            "the message has no event name or audience key",
        )),
    }
}

fn event(context: &Context, message: &Message, name: &str, id: &str) -> Value {
    let mut properties = without_nulls(event_properties(message));
    let text = |keys: &[&str]| message.text(keys);
    for (property, value) in [
        ("$current_url", text(&["context", "page", "url"])),
        ("$referrer", text(&["context", "page", "referrer"])),
        ("$os", text(&["context", "os", "name"])),
        ("$model", text(&["context", "device", "model"])),
        ("$app_version_string", text(&["context", "app", "version"])),
        ("$device_id", message.anonymous_id()),
        ("$user_id", message.user_id()),
    ] {
        if let Some(value) = value {
            properties.insert(property.to_string(), json!(value));
        }
    }
    // 0 keeps Mixpanel from taking this server's address for the person's.
    let ip = text(&["context", "ip"]).map_or(json!(0), |ip| json!(ip));
    properties.insert("ip".to_string(), ip);
    let time = message.time_millis().unwrap_or(context.now);
    properties.insert("time".to_string(), json!(time));
    properties.insert("distinct_id".to_string(), json!(id));
    let insert_id = plain_id(&message.id, 36);
    properties.insert("$insert_id".to_string(), json!(insert_id));
    json!({"event": name, "properties": properties})
}

/// Traits under the names that Mixpanel shows in its own columns.
fn profile(traits: &Map<String, Value>) -> Value {
    let renamed: Map<String, Value> = traits
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| {
            let name = match key.as_str() {
                "email" => "$email",
                "name" => "$name",
                "firstName" | "first_name" => "$first_name",
                "lastName" | "last_name" => "$last_name",
                "phone" => "$phone",
                "avatar" => "$avatar",
                "createdAt" | "created_at" => "$created",
                other => other,
            };
            (name.to_string(), value.clone())
        })
        .collect();
    Value::Object(renamed)
}

fn engage(context: &Context, id: &str, operation: &str, value: Value) -> Item<Endpoint, Value> {
    Item::json(
        Endpoint::Engage,
        json!({
            "$token": context.secret("project_token"),
            "$distinct_id": id,
            operation: value,
        }),
    )
}

fn group_item(context: &Context, message: &Message) -> Item<Endpoint, Value> {
    match message.text(&["groupId"]) {
        Some(group) => Item::json(
            Endpoint::Groups,
            json!({
                "$token": context.secret("project_token"),
                "$group_key": context.config.required("group_key"),
                "$group_id": group,
                "$set": without_nulls(message.traits()),
            }),
        ),
        None => Item::Settled(Outcome::reject("the message has no groupId")),
    }
}

fn alias_item(context: &Context, message: &Message) -> Item<Endpoint, Value> {
    if context.config.required("identity_merge") != "original" {
        return Item::Settled(Outcome::discard(
            "the project merges identities by the ids of events, there are no aliases",
        ));
    }
    match (message.text(&["previousId"]), message.user_id()) {
        (Some(previous), Some(user)) => Item::json(
            Endpoint::Import,
            json!({
                "event": "$merge",
                "properties": {
                    "$distinct_ids": [previous, user],
                    "$insert_id": plain_id(&message.id, 36),
                    "time": message.time_millis().unwrap_or(context.now),
                },
            }),
        ),
        _ => Item::Settled(Outcome::reject("an alias needs previousId and userId")),
    }
}

fn import(context: &Context, events: &[Value]) -> HttpRequest {
    let mut url = format!("{}/import?strict=1", base_url(&context.config, HOSTS));
    if let Some(project) = context.config.text("project_id") {
        let query: String = url::form_urlencoded::byte_serialize(project.as_bytes()).collect();
        url.push_str("&project_id=");
        url.push_str(&query);
    }
    let request = HttpRequest::post_json(url, &json!(events));
    match (
        context.optional_secret("service_account_username"),
        context.optional_secret("service_account_secret"),
    ) {
        (Some(user), Some(secret)) => request.basic(&user, &secret),
        _ => request.basic(&context.secret("project_token"), ""),
    }
}

fn request(context: &Context, group: Group<Endpoint, Value>) -> RequestPlan {
    let base = base_url(&context.config, HOSTS);
    let records = json!(group.contents);
    let (request, step) = match group.endpoint {
        Endpoint::Import => (import(context, &group.contents), "import"),
        Endpoint::Engage => (
            HttpRequest::post_json(format!("{base}/engage?ip=0&strict=1"), &records),
            "engage",
        ),
        Endpoint::Groups => (
            HttpRequest::post_json(format!("{base}/groups?strict=1"), &records),
            "groups",
        ),
        Endpoint::Deletion => (deletion(context, &records), "deletion"),
    };
    RequestPlan::http(request, group.messages).with_step(json!(step))
}

fn deletion(context: &Context, ids: &Value) -> HttpRequest {
    let base = base_url(&context.config, APP_HOSTS);
    let token = context.secret("project_token");
    let token: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
    HttpRequest::post_json(
        format!("{base}/api/app/data-deletions/v3.0?token={token}"),
        &json!({"distinct_ids": ids, "compliance_type": "GDPR"}),
    )
    .bearer(&context.secret("gdpr_token"))
}

/// What a second request has to say about a message once the first is through: the operation on
/// the person's profile and its value.
type FollowUp = fn(&Context, &Message) -> Option<(&'static str, Value)>;

/// The person belongs to the group.
fn group_membership(context: &Context, message: &Message) -> Option<(&'static str, Value)> {
    let key = context.config.required("group_key");
    Some(("$union", json!({ key: [message.text(&["groupId"])?] })))
}

/// A null removes the trait.
fn removed_traits(_context: &Context, message: &Message) -> Option<(&'static str, Value)> {
    let removed: Vec<String> = message
        .traits()
        .into_iter()
        .filter(|(_, value)| value.is_null())
        .map(|(key, _)| key)
        .collect();
    (sets_traits(message.kind) && !removed.is_empty()).then(|| ("$unset", json!(removed)))
}

fn follow_up(context: &Context, batch: &[&Message], reply: Reply, what: FollowUp) -> Reply {
    let mut records = Vec::new();
    let mut people = Vec::new();
    let mut settled = Vec::new();
    for (index, outcome) in reply.settled {
        let found = batch
            .get(index)
            .filter(|_| outcome == Outcome::Delivered)
            .and_then(|message| {
                let (operation, value) = what(context, message)?;
                Some(json!({
                    "$token": context.secret("project_token"),
                    "$distinct_id": distinct_id(context, message)?,
                    operation: value,
                }))
            });
        match found {
            Some(record) => {
                records.push(record);
                people.push(index);
            }
            None => settled.push((index, outcome)),
        }
    }
    let mut next = Vec::new();
    if !people.is_empty() {
        let url = format!("{}/engage?ip=0&strict=1", base_url(&context.config, HOSTS));
        let request = HttpRequest::post_json(url, &json!(records));
        next.push(RequestPlan::http(request, people).with_step(json!("follow_up")));
    }
    Reply {
        settled,
        next,
        remember: reply.remember,
    }
}
