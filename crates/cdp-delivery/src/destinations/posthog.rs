//! PostHog: the batch capture endpoint, and deletion of persons.

use super::spec::{
    audience, base_url, event_name, event_properties, isolate, sets_traits, uuid, without_nulls,
    ENDPOINT,
};
use crate::batch::{group, Group, Item};
use crate::config::{Config, ConfigError, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::http::{classify, HttpRequest, HttpResponse};
use crate::message::{Message, MessageKind};
use crate::outcome::{Outcome, Plan, Reply, Request, RequestPlan};
use serde_json::{json, Map, Value};

/// See the module.
pub struct PostHog;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "posthog",
    name: "PostHog",
    description:
        "Events, person properties, groups and segments in PostHog, in the cloud or self-hosted.",
    category: Category::Analytics,
    fields: &[
        Field::new(
            "region",
            FieldKind::Choice(&["us", "eu"]),
            "Where the project lives. A self-hosted one is given as \"endpoint\".",
        )
        .default("\"us\""),
        Field::new("group_type", FieldKind::Text, "Group type of group calls.")
            .default("\"company\""),
        Field::new(
            "project_id",
            FieldKind::Text,
            "Number of the project; needed for deletions.",
        ),
        Field::new(
            "historical_migration",
            FieldKind::Flag,
            "Marks the events as history (they must be at least 48 hours old).",
        ),
        ENDPOINT,
    ],
    secrets: &[
        SecretField {
            name: "project_api_key",
            required: true,
            help: "Project API key (phc_…).",
        },
        SecretField {
            name: "personal_api_key",
            required: false,
            help: "Personal API key (phx_…), for deletions.",
        },
    ],
    sends: &MessageKind::ALL,
    duplicates: Duplicates::Dropped,
    replays: true,
};

const HOSTS: &[(&str, &str)] = &[
    ("us", "https://us.i.posthog.com"),
    ("eu", "https://eu.i.posthog.com"),
];

const ADMIN_HOSTS: &[(&str, &str)] = &[
    ("us", "https://us.posthog.com"),
    ("eu", "https://eu.posthog.com"),
];

/// Most bytes of one event.
const LARGEST_EVENT: usize = 900_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Batch,
    Deletion,
}

impl Destination for PostHog {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn check(&self, config: &Config, errors: &mut Vec<ConfigError>) {
        let number = config
            .text("project_id")
            .is_none_or(|id| id.chars().all(|c| c.is_ascii_digit()));
        if !number {
            errors.push(ConfigError::new("project_id", "must be a number"));
        }
    }

    fn own_limits(&self, _config: &Config) -> Limits {
        // 20 MB a request; the vendor's own clients stop at 5 MiB.
        Limits::batch(1000, 5_000_000)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        let limits = self.own_limits(&context.config).configured(&context.config);
        group(
            self,
            &context.config,
            &limits,
            batch,
            |message| match item(context, message) {
                Item::Send { bytes, .. } if bytes > LARGEST_EVENT => {
                    Item::Settled(Outcome::reject(format!(
                        "the event takes {bytes} bytes, at most {LARGEST_EVENT} are taken"
                    )))
                }
                item => item,
            },
        )
        .into_plan(|group| request(context, group))
    }

    fn http_outcomes(
        &self,
        _context: &Context,
        _batch: &[&Message],
        plan: &RequestPlan,
        response: &HttpResponse,
    ) -> Reply {
        let limited = response
            .json()
            .get("quota_limited")
            .and_then(Value::as_array)
            .is_some_and(|limited| !limited.is_empty());
        // Over its quota PostHog takes events and drops them.
        if response.status == 402 || (response.is_success() && limited) {
            return Reply::all(plan, Outcome::wait("the project is over its quota", None));
        }
        isolate(plan, classify(response))
    }

    fn test_request(&self, context: &Context) -> Option<Request> {
        let base = base_url(&context.config, HOSTS);
        Some(Request::Http(HttpRequest::post_json(
            format!("{base}/flags?v=2"),
            &json!({
                "api_key": context.secret("project_api_key"),
                "distinct_id": "cdp-connection-test",
            }),
        )))
    }
}

fn item(context: &Context, message: &Message) -> Item<Endpoint, Value> {
    let Some(id) = message.person_id() else {
        return Item::Settled(Outcome::reject("there is no userId and no anonymousId"));
    };
    let mut properties = without_nulls(event_properties(message));
    for (property, keys) in [
        ("$ip", &["context", "ip"][..]),
        ("$current_url", &["context", "page", "url"]),
        ("$referrer", &["context", "page", "referrer"]),
        ("$os", &["context", "os", "name"]),
        ("$raw_user_agent", &["context", "userAgent"]),
    ] {
        if let Some(value) = message.text(keys) {
            properties.insert(property.to_string(), json!(value));
        }
    }
    // Otherwise PostHog takes this server's place for the person's.
    if !properties.contains_key("$ip") {
        properties.insert("$geoip_disable".to_string(), json!(true));
    }
    if message.user_id().is_none() {
        properties.insert("$process_person_profile".to_string(), json!(false));
    }
    if let Some(group) = message.text(&["context", "groupId"]) {
        let kind = context.config.required("group_type");
        properties.insert("$groups".to_string(), json!({ kind: group }));
    }
    let event = match message.kind {
        MessageKind::Page => {
            if let Some(url) = message.text(&["properties", "url"]) {
                properties.insert("$current_url".to_string(), json!(url));
            }
            "$pageview".to_string()
        }
        MessageKind::Screen => {
            if let Some(name) = message.text(&["name"]) {
                properties.insert("$screen_name".to_string(), json!(name));
            }
            "$screen".to_string()
        }
        MessageKind::Group => match message.text(&["groupId"]) {
            Some(group) => {
                properties.insert(
                    "$group_type".to_string(),
                    json!(context.config.required("group_type")),
                );
                properties.insert("$group_key".to_string(), json!(group));
                let traits = without_nulls(message.traits());
                properties.insert("$group_set".to_string(), Value::Object(traits));
                "$groupidentify".to_string()
            }
            None => return Item::Settled(Outcome::reject("the message has no groupId")),
        },
        MessageKind::Alias => return alias(context, message),
        MessageKind::Delete => {
            return if context.optional_secret("personal_api_key").is_some()
                && context.config.text("project_id").is_some()
            {
                Item::json(Endpoint::Deletion, json!(id))
            } else {
                Item::Settled(Outcome::reject(
                    "deletions need the personal_api_key and the project_id",
                ))
            };
        }
        kind if sets_traits(kind) => set_traits(message, &mut properties),
        _ => match (event_name(message), audience(message)) {
            (Some(name), audience) => {
                if let Some((key, entered)) = audience {
                    properties.insert("$set".to_string(), json!({ key: entered }));
                }
                name
            }
            (None, _) => return Item::Settled(Outcome::reject("the message has no event name")),
        },
    };
    Item::json(
        Endpoint::Batch,
        capture(context, message, &event, &id, properties),
    )
}

/// The name of the event that sets traits: an identify links the anonymous id too.
fn set_traits(message: &Message, properties: &mut Map<String, Value>) -> String {
    let traits = message.traits();
    let removed: Vec<Value> = traits
        .iter()
        .filter(|(_, value)| value.is_null())
        .map(|(key, _)| json!(key))
        .collect();
    if !removed.is_empty() {
        properties.insert("$unset".to_string(), Value::Array(removed));
    }
    properties.insert("$set".to_string(), Value::Object(without_nulls(traits)));
    match (message.user_id(), message.anonymous_id()) {
        (Some(_), Some(anonymous)) => {
            properties.insert("$anon_distinct_id".to_string(), json!(anonymous));
            "$identify".to_string()
        }
        _ => "$set".to_string(),
    }
}

/// The previous id is merged into the other, which becomes the main one.
fn alias(context: &Context, message: &Message) -> Item<Endpoint, Value> {
    match (message.text(&["previousId"]), message.user_id()) {
        (Some(previous), Some(user)) => {
            let mut properties = Map::new();
            properties.insert("alias".to_string(), json!(user));
            Item::json(
                Endpoint::Batch,
                capture(context, message, "$create_alias", &previous, properties),
            )
        }
        _ => Item::Settled(Outcome::reject("an alias needs previousId and userId")),
    }
}

fn capture(
    context: &Context,
    message: &Message,
    event: &str,
    id: &str,
    properties: Map<String, Value>,
) -> Value {
    let time = message
        .time_text()
        .or_else(|| crate::message::millis_text(context.now));
    json!({
        "event": event,
        "distinct_id": id,
        "properties": properties,
        "timestamp": time,
        "uuid": uuid(&message.id),
    })
}

fn request(context: &Context, group: Group<Endpoint, Value>) -> RequestPlan {
    let request = match group.endpoint {
        Endpoint::Batch => {
            let mut body = json!({
                "api_key": context.secret("project_api_key"),
                "batch": group.contents,
            });
            if let (true, Some(object)) = (
                context.config.flag("historical_migration"),
                body.as_object_mut(),
            ) {
                object.insert("historical_migration".to_string(), json!(true));
            }
            let base = base_url(&context.config, HOSTS);
            HttpRequest::post_json(format!("{base}/batch/"), &body)
        }
        Endpoint::Deletion => HttpRequest::post_json(
            format!(
                "{}/api/projects/{}/persons/bulk_delete/",
                base_url(&context.config, ADMIN_HOSTS),
                context.config.required("project_id")
            ),
            &json!({"distinct_ids": group.contents, "delete_events": true}),
        )
        .bearer(&context.secret("personal_api_key")),
    };
    RequestPlan::http(request, group.messages)
}
