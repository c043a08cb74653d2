//! Salesforce: records by external id in collections of 200, events as records, deletion.

use super::salesforce_token::{grant, read_token, INSTANCE, TOKEN};
use super::spec::{audience, event_name, flat, isolate, sets_traits, unknown_person};
use crate::batch::{group, Group, Item};
use crate::config::{Config, ConfigError, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::http::{classify, HttpRequest, HttpResponse, Method};
use crate::message::{Message, MessageKind};
use crate::outcome::{Outcome, Plan, Remember, Reply, Request, RequestPlan};
use crate::path::Path;
use crate::secrets::Secrets;
use crate::template::encode_component;
use serde_json::{json, Map, Value};
use std::time::Duration;

/// See the module.
pub struct Salesforce;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "salesforce",
    name: "Salesforce",
    description: "Contacts or leads, accounts, events as records and segments as checkboxes in Salesforce.",
    category: Category::Crm,
    fields: &[
        Field::new(
            "login_url",
            FieldKind::Url,
            "Where tokens come from: login.salesforce.com, test.salesforce.com or the domain of the organization.",
        )
        .default("\"https://login.salesforce.com\""),
        Field::new(
            "instance_url",
            FieldKind::Url,
            "URL of the organization; only needed with an access_token.",
        ),
        Field::new("api_version", FieldKind::Text, "Version of the API.").default("\"61.0\""),
        Field::new(
            "username",
            FieldKind::Text,
            "User in whose name records are written; needed with a private_key.",
        ),
        Field::new(
            "object",
            FieldKind::Text,
            "Object that persons are records of.",
        )
        .default("\"Contact\""),
        Field::new(
            "external_id_field",
            FieldKind::Text,
            "External id field of the object; it holds the userId.",
        )
        .required(),
        Field::new(
            "fields",
            FieldKind::TextMap,
            "Fields by trait; they win over the usual ones (FirstName, LastName, Email, Phone, Title). Other traits are left out.",
        ),
        Field::new(
            "account_external_id_field",
            FieldKind::Text,
            "External id field of Account that holds the groupId. Without it groups are not sent.",
        ),
        Field::new(
            "account_fields",
            FieldKind::TextMap,
            "Fields of Account by trait of the group; they win over Name, Website, Industry.",
        ),
        Field::new(
            "segments",
            FieldKind::TextMap,
            "Checkbox fields by segment. Segments without one are not sent.",
        ),
        Field::new(
            "event_object",
            FieldKind::Text,
            "Object or platform event that events become. Without it events are not sent.",
        ),
        Field::new(
            "event_fields",
            FieldKind::TextMap,
            "Fields of the event object and the paths of their values, such as {\"Name__c\": \"event\"}.",
        ),
    ],
    secrets: &[
        SecretField {
            name: "client_id",
            required: false,
            help: "Consumer key of the connected app.",
        },
        SecretField {
            name: "client_secret",
            required: false,
            help: "Consumer secret, for client credentials or a refresh token.",
        },
        SecretField {
            name: "refresh_token",
            required: false,
            help: "Refresh token of the user.",
        },
        SecretField {
            name: "private_key",
            required: false,
            help: "RSA key of the JWT bearer flow, PEM.",
        },
        SecretField {
            name: "access_token",
            required: false,
            help: "A ready-made access token, with instance_url.",
        },
    ],
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
    duplicates: Duplicates::Overwrite,
    replays: true,
};

/// Traits of the spec and the fields that persons have for them.
const FIELDS: &[(&str, &str)] = &[
    ("firstName", "FirstName"),
    ("first_name", "FirstName"),
    ("lastName", "LastName"),
    ("last_name", "LastName"),
    ("email", "Email"),
    ("phone", "Phone"),
    ("title", "Title"),
];

const ACCOUNT_FIELDS: &[(&str, &str)] = &[
    ("name", "Name"),
    ("website", "Website"),
    ("industry", "Industry"),
    ("employees", "NumberOfEmployees"),
];

/// Error codes that a later attempt may not meet.
const TRANSIENT: &[&str] = &[
    "UNABLE_TO_LOCK_ROW",
    "SERVER_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "UNKNOWN_EXCEPTION",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Persons,
    Accounts,
    Events,
    /// A request of its own, with its number in the batch.
    Deletion(usize),
}

impl Destination for Salesforce {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn check(&self, config: &Config, errors: &mut Vec<ConfigError>) {
        for name in [
            "object",
            "external_id_field",
            "account_external_id_field",
            "event_object",
        ] {
            if config.text(name).is_some_and(|text| !api_name(&text)) {
                errors.push(ConfigError::new(name, "is not an API name"));
            }
        }
        let version = config.required("api_version");
        if !version.chars().all(|c| c.is_ascii_digit() || c == '.') {
            errors.push(ConfigError::new("api_version", "is a number such as 61.0"));
        }
        for (field, path) in config.object("event_fields") {
            if let Err(error) = Path::parse(path.as_str().unwrap_or("")) {
                errors.push(ConfigError::new(
                    format!("event_fields.{field}"),
                    error.to_string(),
                ));
            }
        }
    }

    fn validate_secrets(&self, config: &Value, secrets: &Secrets) -> Result<(), Vec<ConfigError>> {
        let config = ENTRY.config(config);
        let has = |name: &str| secrets.get(name).is_some() || config.given(name).is_some();
        let flow = ["private_key", "refresh_token", "client_secret"]
            .iter()
            .any(|name| has(name));
        let (place, message) = if has("access_token") {
            if has("instance_url") {
                return Ok(());
            }
            ("instance_url", "is required with an access_token")
        } else if !flow {
            (
                "client_secret",
                "one of private_key, refresh_token, client_secret and access_token is required",
            )
        } else if !has("client_id") {
            ("client_id", "this secret is required")
        } else if has("private_key") && !has("username") {
            ("username", "is required with a private_key")
        } else {
            return Ok(());
        };
        Err(vec![ConfigError::new(place, message)])
    }

    fn own_limits(&self, _config: &Config) -> Limits {
        Limits::batch(200, 2_000_000).concurrency(4)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        let limits = self.own_limits(&context.config).configured(&context.config);
        let mut number = 0;
        let unable = token(context).is_none().then(|| grant(context).err());
        group(self, &context.config, &limits, batch, |message| {
            number += 1;
            match (item(context, message, number), &unable) {
                (Item::Send { .. }, Some(Some(outcome))) => Item::Settled(outcome.clone()),
                (item, _) => item,
            }
        })
        .into_plan(|group| request(context, group, 0))
    }

    fn http_outcomes(
        &self,
        context: &Context,
        batch: &[&Message],
        plan: &RequestPlan,
        response: &HttpResponse,
    ) -> Reply {
        let tries = plan.step.get("tries").and_then(Value::as_u64).unwrap_or(0);
        if plan.step.get("grant").is_some() {
            return match read_token(response) {
                Ok((token, instance)) => with_token(context, batch, plan, tries, token, instance),
                Err(outcome) => Reply::all(plan, outcome),
            };
        }
        match response.status {
            401 if tries == 0 && context.optional_secret("access_token").is_none() => {
                new_token(context, plan)
            }
            404 if plan.step.get("delete").is_some() => Reply::all(plan, Outcome::Delivered),
            200..=299 => each(plan, response),
            _ => isolate(plan, refusal(response)),
        }
    }

    fn test_request(&self, context: &Context) -> Option<Request> {
        if let Some(token) = context.optional_secret("access_token") {
            let url = format!("{}/limits", base(context, &instance(context)));
            let request = HttpRequest::new(Method::Get, url).bearer(&token);
            return Some(Request::Http(request));
        }
        grant(context).ok().map(Request::Http)
    }

    fn http_test_outcome(
        &self,
        context: &Context,
        response: &HttpResponse,
    ) -> Result<String, String> {
        if context.optional_secret("access_token").is_some() {
            return crate::destination::test_outcome(response);
        }
        match read_token(response) {
            Ok((_, instance)) => Ok(format!("a token for {instance} was issued")),
            Err(outcome) => Err(outcome.reason().unwrap_or("refused").to_string()),
        }
    }
}

fn token(context: &Context) -> Option<String> {
    context
        .optional_secret("access_token")
        .or_else(|| context.memory.get(TOKEN).cloned())
}

fn api_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn instance(context: &Context) -> String {
    context
        .config
        .text("instance_url")
        .or_else(|| context.memory.get(INSTANCE).cloned())
        .unwrap_or_default()
}

fn base(context: &Context, instance: &str) -> String {
    let instance = instance.trim_end_matches('/');
    let version = context.config.required("api_version");
    format!("{instance}/services/data/v{version}")
}

fn item(context: &Context, message: &Message, number: usize) -> Item<Endpoint, Value> {
    let config = &context.config;
    if message.kind == MessageKind::Group {
        return match (
            config.text("account_external_id_field"),
            message.text(&["groupId"]),
        ) {
            (None, _) => Item::Settled(Outcome::discard("there is no account_external_id_field")),
            (_, None) => Item::Settled(Outcome::reject("the message has no groupId")),
            (Some(field), Some(id)) => {
                let mut record = record(
                    context,
                    message,
                    "account_fields",
                    ACCOUNT_FIELDS,
                    "Account",
                );
                record.insert(field, json!(id));
                Item::keyed(Endpoint::Accounts, Value::Object(record), id)
            }
        };
    }
    let Some(user) = message.user_id() else {
        return Item::Settled(unknown_person(message, "userId"));
    };
    let object = config.required("object");
    let external = config.required("external_id_field");
    if let Some((key, entered)) = audience(message) {
        let segments = config.object("segments");
        let Some(field) = segments.get(&key).and_then(Value::as_str) else {
            return Item::Settled(Outcome::discard(format!(
                "there is no field for the segment {key}"
            )));
        };
        let record = json!({"attributes": {"type": object}, external: user, field: entered});
        return Item::keyed(Endpoint::Persons, record, user);
    }
    if sets_traits(message.kind) {
        let mut record = record(context, message, "fields", FIELDS, &object);
        if record.len() == 1 && message.kind != MessageKind::Identify {
            return Item::Settled(Outcome::discard("there is no field for these traits"));
        }
        record.insert(external, json!(user));
        return Item::keyed(Endpoint::Persons, Value::Object(record), user);
    }
    if message.kind == MessageKind::Delete {
        return Item::json(Endpoint::Deletion(number), json!(user));
    }
    let Some(object) = config.text("event_object") else {
        return Item::Settled(Outcome::discard("there is no event_object"));
    };
    if event_name(message).is_none() {
        return Item::Settled(Outcome::reject("the message has no event name"));
    }
    let mut record = Map::new();
    record.insert("attributes".to_string(), json!({ "type": object }));
    for (field, path) in config.object("event_fields") {
        let found = path
            .as_str()
            .and_then(|path| Path::parse(path).ok())
            .and_then(|path| path.get(&message.body).cloned());
        if let Some(value) = found {
            record.insert(field, scalar(value));
        }
    }
    Item::json(Endpoint::Events, Value::Object(record))
}

fn scalar(value: Value) -> Value {
    match value {
        Value::Object(_) | Value::Array(_) => Value::String(value.to_string()),
        other => other,
    }
}

/// The traits that have a field, as a record. A null clears the field.
fn record(
    context: &Context,
    message: &Message,
    setting: &str,
    usual: &[(&str, &str)],
    object: &str,
) -> Map<String, Value> {
    let given = context.config.object(setting);
    let traits = message.traits();
    let cleared: Vec<String> = traits
        .iter()
        .filter(|(_, value)| value.is_null())
        .map(|(key, _)| key.clone())
        .collect();
    let mut values = flat(traits);
    values.extend(cleared.into_iter().map(|key| (key, Value::Null)));
    let mut record: Map<String, Value> = values
        .into_iter()
        .filter_map(|(key, value)| {
            let field = given.get(&key).and_then(Value::as_str).or_else(|| {
                let known = usual.iter().find(|(from, _)| *from == key);
                known.map(|(_, to)| *to)
            })?;
            Some((field.to_string(), value))
        })
        .collect();
    record.insert("attributes".to_string(), json!({ "type": object }));
    record
}

fn endpoint_name(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Persons => "persons",
        Endpoint::Accounts => "accounts",
        Endpoint::Events => "events",
        Endpoint::Deletion(_) => "delete",
    }
}

/// The request of a group, or the one for the token it needs first.
fn request(context: &Context, group: Group<Endpoint, Value>, tries: u64) -> RequestPlan {
    let Some(token) = token(context) else {
        let request = grant(context).unwrap_or_else(|_| HttpRequest::new(Method::Post, ""));
        return RequestPlan::http(request, group.messages)
            .with_step(json!({"grant": true, "tries": tries}));
    };
    let config = &context.config;
    let base = base(context, &instance(context));
    let external = config.required("external_id_field");
    let object = config.required("object");
    let collection = |path: String, method: Method| {
        let body = json!({"allOrNone": false, "records": group.contents});
        HttpRequest::new(method, format!("{base}/composite/sobjects{path}")).json(&body)
    };
    let request = match group.endpoint {
        Endpoint::Persons => collection(format!("/{object}/{external}"), Method::Patch),
        Endpoint::Accounts => {
            let external = config.required("account_external_id_field");
            collection(format!("/Account/{external}"), Method::Patch)
        }
        Endpoint::Events => collection(String::new(), Method::Post),
        Endpoint::Deletion(_) => {
            let user = group.contents.first().and_then(Value::as_str).unwrap_or("");
            let user = encode_component(user);
            let url = format!("{base}/sobjects/{object}/{external}/{user}");
            HttpRequest::new(Method::Delete, url)
        }
    };
    let step = json!({endpoint_name(group.endpoint): true, "tries": tries});
    RequestPlan::http(request.bearer(&token), group.messages).with_step(step)
}

/// Makes the group of a request again and sends it with the new token.
fn with_token(
    context: &Context,
    batch: &[&Message],
    plan: &RequestPlan,
    tries: u64,
    token: String,
    instance: String,
) -> Reply {
    let memory = [
        (TOKEN.to_string(), token.clone()),
        (INSTANCE.to_string(), instance.clone()),
    ]
    .into_iter()
    .collect();
    let context = Context {
        memory: &memory,
        ..*context
    };
    let mut group: Option<Group<Endpoint, Value>> = None;
    let mut settled = Vec::new();
    for index in &plan.messages {
        let item = batch.get(*index).map(|message| item(&context, message, 0));
        match item {
            Some(Item::Send {
                endpoint, content, ..
            }) => {
                let group = group.get_or_insert_with(|| Group {
                    endpoint,
                    messages: Vec::new(),
                    contents: Vec::new(),
                });
                group.messages.push(*index);
                group.contents.push(content);
            }
            Some(Item::Settled(outcome)) => settled.push((*index, outcome)),
            None => settled.push((*index, Outcome::reject("there is no such message"))),
        }
    }
    let keep = |key: &str, value: String| Remember {
        key: key.to_string(),
        value: Some(value),
        // Tokens of a JWT do not say how long they last; a refused one is replaced.
        for_time: Duration::from_secs(3600),
    };
    Reply {
        settled,
        next: group
            .map(|group| request(&context, group, tries))
            .into_iter()
            .collect(),
        remember: vec![keep(TOKEN, token), keep(INSTANCE, instance)],
    }
}

/// The token has run out: another one, once.
fn new_token(context: &Context, plan: &RequestPlan) -> Reply {
    let forget = vec![Remember {
        key: TOKEN.to_string(),
        value: None,
        for_time: Duration::ZERO,
    }];
    match grant(context) {
        Ok(request) => Reply {
            next: vec![RequestPlan::http(request, plan.messages.clone())
                .with_step(json!({"grant": true, "tries": 1}))],
            remember: forget,
            ..Reply::default()
        },
        Err(outcome) => Reply::all(plan, outcome),
    }
}

/// One result a record, in the order of the request.
fn each(plan: &RequestPlan, response: &HttpResponse) -> Reply {
    let body = response.json();
    let Some(results) = body.as_array() else {
        return Reply::all(plan, Outcome::Delivered);
    };
    Reply {
        settled: plan
            .messages
            .iter()
            .enumerate()
            .map(|(position, index)| {
                let outcome = match results.get(position) {
                    Some(result) => of_result(result),
                    None => Outcome::retry("Salesforce gave no result for this record"),
                };
                (*index, outcome)
            })
            .collect(),
        ..Reply::default()
    }
}

fn of_result(result: &Value) -> Outcome {
    if result.get("success") == Some(&Value::Bool(true)) {
        return Outcome::Delivered;
    }
    let text = |key: &str| {
        result
            .pointer("/errors/0")
            .and_then(|error| error.get(key)?.as_str())
            .unwrap_or("")
    };
    let code = text("statusCode");
    let reason = format!("Salesforce says {code}: {}", text("message"));
    if TRANSIENT.contains(&code) {
        Outcome::retry(reason)
    } else {
        Outcome::reject(reason)
    }
}

/// What an answer that is no success means: throttling comes as a 403, locks as a 400.
fn refusal(response: &HttpResponse) -> Outcome {
    let body = response.json();
    let text = |key: &str| {
        body.get(0)
            .and_then(|error| error.get(key)?.as_str())
            .unwrap_or("")
    };
    let code = text("errorCode");
    if code == "REQUEST_LIMIT_EXCEEDED" {
        return Outcome::wait(response.summary(), Some(Duration::from_secs(300)));
    }
    if TRANSIENT.contains(&code) || text("message").contains("Too many SOQL") {
        return Outcome::retry(response.summary());
    }
    match response.status {
        // Several records have this external id.
        300 => Outcome::reject(response.summary()),
        _ => classify(response),
    }
}
