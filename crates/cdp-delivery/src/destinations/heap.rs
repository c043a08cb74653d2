//! Heap: the server-side bulk endpoints, and user deletion.

use super::spec::{
    audience, base_url, event_name, event_properties, flat, isolate, sets_traits, uuid, ENDPOINT,
};
use crate::batch::{group, Group, Item};
use crate::config::{Config, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::http::{classify, HttpRequest, HttpResponse};
use crate::message::{Message, MessageKind};
use crate::outcome::{Outcome, Plan, Remember, Reply, Request, RequestPlan};
use serde_json::{json, Map, Value};
use std::time::Duration;

/// See the module.
pub struct Heap;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "heap",
    name: "Heap",
    description: "Events, user and account properties in Heap, for persons with a userId.",
    category: Category::Analytics,
    fields: &[
        Field::new("app_id", FieldKind::Text, "App id of the environment.").required(),
        Field::new(
            "region",
            FieldKind::Choice(&["us", "eu"]),
            "Where the environment lives.",
        )
        .default("\"us\""),
        Field::new(
            "account_property",
            FieldKind::Text,
            "User property that holds the account id, as set up in Heap.",
        )
        .default("\"account_id\""),
        ENDPOINT,
    ],
    secrets: &[SecretField {
        name: "api_key",
        required: false,
        help: "API key of the environment, for deletions.",
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

const HOSTS: &[(&str, &str)] = &[
    ("us", "https://heapanalytics.com"),
    ("eu", "https://c.eu.heap-api.com"),
];

/// Longest value of a property, in characters.
const LONGEST_VALUE: usize = 1024;

/// Key of the deletion token in the memory.
const TOKEN: &str = "deletion_token";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Events,
    Users,
    Accounts,
    Deletion,
}

impl Destination for Heap {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn own_limits(&self, _config: &Config) -> Limits {
        Limits::batch(1000, 1_000_000)
            .rate(10.0, 10.0)
            .concurrency(4)
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
        match plan.step.as_str() {
            Some("accounts") if response.is_success() => join_accounts(context, batch, plan),
            Some("token") if response.is_success() => {
                delete_with_token(context, batch, plan, response)
            }
            Some("deletion") if response.status == 401 => forget_token(plan),
            _ => isolate(plan, classify(response)),
        }
    }

    fn test_request(&self, context: &Context) -> Option<Request> {
        // Heap does not check an app id without leaving a trace; this one is a user who is nobody.
        let base = base_url(&context.config, HOSTS);
        Some(Request::Http(HttpRequest::post_json(
            format!("{base}/api/add_user_properties"),
            &json!({
                "app_id": context.config.required("app_id"),
                "identity": "cdp-connection-test",
                "properties": {"connection_test": "true"},
            }),
        )))
    }
}

fn item(context: &Context, message: &Message) -> Item<Endpoint, Value> {
    let Some(identity) = message.user_id() else {
        return match message.anonymous_id() {
            Some(_) => Item::Settled(Outcome::discard(
                "Heap knows anonymous persons by its own ids only",
            )),
            None => Item::Settled(Outcome::reject("there is no userId")),
        };
    };
    let user = |properties: Map<String, Value>| {
        let content = json!({"identity": identity, "properties": short(properties)});
        Item::keyed(Endpoint::Users, content, identity.clone())
    };
    if let Some((key, entered)) = audience(message) {
        return user([(key, json!(entered))].into_iter().collect());
    }
    if let Some(name) = event_name(message) {
        return Item::json(
            Endpoint::Events,
            json!({
                "identity": identity,
                "event": name,
                "properties": short(event_properties(message)),
                "timestamp": message.time_text(),
                "idempotency_key": uuid(&message.id),
            }),
        );
    }
    if sets_traits(message.kind) {
        return user(message.traits());
    }
    match message.kind {
        MessageKind::Group => match message.text(&["groupId"]) {
            Some(account) => Item::keyed(
                Endpoint::Accounts,
                json!({"account_id": account, "properties": short(message.traits())}),
                account,
            ),
            None => Item::Settled(Outcome::reject("the message has no groupId")),
        },
        MessageKind::Delete if context.optional_secret("api_key").is_none() => {
            Item::Settled(Outcome::reject("deletions need the api_key"))
        }
        MessageKind::Delete => Item::json(Endpoint::Deletion, json!({ "identity": identity })),
        _ => Item::Settled(Outcome::reject("the message has no event name")),
    }
}

/// Scalars of a length that Heap keeps.
fn short(properties: Map<String, Value>) -> Map<String, Value> {
    flat(properties)
        .into_iter()
        .map(|(key, value)| match value {
            Value::String(text) if text.chars().count() > LONGEST_VALUE => {
                let text: String = text.chars().take(LONGEST_VALUE).collect();
                (key, Value::String(text))
            }
            other => (key, other),
        })
        .collect()
}

fn request(context: &Context, group: Group<Endpoint, Value>) -> RequestPlan {
    let (path, list, step) = match group.endpoint {
        Endpoint::Events => ("/api/track", "events", "events"),
        Endpoint::Users => ("/api/add_user_properties", "users", "users"),
        Endpoint::Accounts => ("/api/add_account_properties", "accounts", "accounts"),
        Endpoint::Deletion => return deletion(context, group.contents, group.messages),
    };
    let base = base_url(&context.config, HOSTS);
    let body = json!({"app_id": context.config.required("app_id"), list: group.contents});
    RequestPlan::http(
        HttpRequest::post_json(format!("{base}{path}"), &body),
        group.messages,
    )
    .with_step(json!(step))
}

/// The people of the accounts are told to which they belong.
fn join_accounts(context: &Context, batch: &[&Message], plan: &RequestPlan) -> Reply {
    let property = context.config.required("account_property");
    let users: Vec<Value> = plan
        .messages
        .iter()
        .filter_map(|index| batch.get(*index))
        .map(|message| {
            json!({
                "identity": message.user_id(),
                "properties": { property.as_str(): message.text(&["groupId"]) },
            })
        })
        .collect();
    Reply::next(request(
        context,
        Group {
            endpoint: Endpoint::Users,
            messages: plan.messages.clone(),
            contents: users,
        },
    ))
}

fn deletion(context: &Context, users: Vec<Value>, messages: Vec<usize>) -> RequestPlan {
    let base = base_url(&context.config, HOSTS);
    match context.memory.get(TOKEN) {
        Some(token) => {
            let url = format!("{base}/api/public/v0/user_deletion");
            let request = HttpRequest::post_json(url, &json!({ "users": users })).bearer(token);
            RequestPlan::http(request, messages).with_step(json!("deletion"))
        }
        None => {
            let url = format!("{base}/api/public/v0/auth_token");
            let request = HttpRequest::post_json(url, &json!({})).basic(
                &context.config.required("app_id"),
                &context.secret("api_key"),
            );
            RequestPlan::http(request, messages).with_step(json!("token"))
        }
    }
}

fn delete_with_token(
    context: &Context,
    batch: &[&Message],
    plan: &RequestPlan,
    response: &HttpResponse,
) -> Reply {
    let body = response.json();
    let Some(token) = body.get("access_token").and_then(Value::as_str) else {
        return Reply::all(plan, Outcome::retry("Heap gave no token"));
    };
    let memory = [(TOKEN.to_string(), token.to_string())]
        .into_iter()
        .collect();
    let context = Context {
        memory: &memory,
        ..*context
    };
    let users = plan
        .messages
        .iter()
        .filter_map(|index| batch.get(*index))
        .map(|message| json!({ "identity": message.user_id() }))
        .collect();
    Reply {
        next: vec![deletion(&context, users, plan.messages.clone())],
        remember: vec![Remember {
            key: TOKEN.to_string(),
            value: Some(token.to_string()),
            for_time: Duration::from_secs(600),
        }],
        ..Reply::default()
    }
}

/// The token may have run out: the next attempt gets another.
fn forget_token(plan: &RequestPlan) -> Reply {
    Reply {
        remember: vec![Remember {
            key: TOKEN.to_string(),
            value: None,
            for_time: Duration::ZERO,
        }],
        ..Reply::all(plan, Outcome::retry("the token has run out"))
    }
}
