//! Attio: people and companies by their unique attribute, lists, deletion.

use super::spec::{audience, base_url, sets_traits, unknown_person, ENDPOINT};
use crate::batch::{group, Item};
use crate::config::{Config, ConfigError, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::http::{classify, HttpRequest, HttpResponse, Method};
use crate::mapping::normalise_phone;
use crate::message::{scalar_text, Message, MessageKind};
use crate::outcome::{Outcome, Plan, Reply, Request, RequestPlan};
use crate::path::Path;
use crate::template::encode_component;
use serde_json::{json, Map, Value};

/// See the module.
pub struct Attio;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "attio",
    name: "Attio",
    description: "People with their scores, companies and lists in Attio.",
    category: Category::Crm,
    fields: &[
        Field::new("people_object", FieldKind::Text, "Object that people are records of.")
            .default("\"people\""),
        Field::new(
            "people_attribute",
            FieldKind::Text,
            "Unique attribute by which people are found.",
        )
        .default("\"email_addresses\""),
        Field::new(
            "companies_object",
            FieldKind::Text,
            "Object that groups are records of.",
        )
        .default("\"companies\""),
        Field::new(
            "min_behaviour_score",
            FieldKind::Number {
                min: 0.0,
                max: 1e9,
            },
            "People below this behaviour score, or without one, are not sent. 0 sends everybody.",
        )
        .default("1"),
        Field::new(
            "attributes",
            FieldKind::TextMap,
            "Further attributes: slug and the path of its value in the message, such as {\"plan\": \"traits.plan\"}. They have to exist in Attio.",
        ),
        Field::new(
            "lists",
            FieldKind::TextMap,
            "List slugs or ids by segment. Segments without one are not sent.",
        ),
        ENDPOINT,
    ],
    secrets: &[SecretField {
        name: "api_key",
        required: true,
        help: "Access token with read and write access to records and, for lists, to list entries.",
    }],
    sends: &[
        MessageKind::Identify,
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

const HOSTS: &[(&str, &str)] = &[("", "https://api.attio.com")];

/// Attributes that every lead has, written as they are.
const SCORES: &[&str] = &[
    "icp_score",
    "behaviour_score",
    "lead_score",
    "icp",
    "scoring_meta",
];

impl Destination for Attio {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn check(&self, config: &Config, errors: &mut Vec<ConfigError>) {
        for (slug, path) in config.object("attributes") {
            if let Err(error) = Path::parse(path.as_str().unwrap_or("")) {
                errors.push(ConfigError::new(
                    format!("attributes.{slug}"),
                    error.to_string(),
                ));
            }
        }
    }

    fn own_limits(&self, _config: &Config) -> Limits {
        // One record a request, 25 writes a second.
        Limits::single().rate(25.0, 25.0)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        let limits = self.own_limits(&context.config).configured(&context.config);
        group(
            self,
            &context.config,
            &limits,
            batch,
            |message| match first(context, message) {
                Ok((request, step)) => Item::Send {
                    bytes: request.body.len(),
                    endpoint: (),
                    content: (request, step),
                    key: None,
                },
                Err(outcome) => Item::Settled(outcome),
            },
        )
        .into_plan(|group| {
            let (request, step) = group
                .contents
                .into_iter()
                .next()
                .unwrap_or((HttpRequest::new(Method::Get, ""), ""));
            RequestPlan::http(request, group.messages).with_step(json!(step))
        })
    }

    fn http_outcomes(
        &self,
        context: &Context,
        batch: &[&Message],
        plan: &RequestPlan,
        response: &HttpResponse,
    ) -> Reply {
        let outcome = match classify(response) {
            // Another writer was there at the same moment.
            Outcome::Reject { reason } if response.status == 409 => Outcome::retry(reason),
            // What is to be deleted is gone.
            Outcome::Reject { .. } if response.status == 404 && plan.step == "delete" => {
                Outcome::Delivered
            }
            outcome => outcome,
        };
        let message = plan.messages.first().and_then(|index| batch.get(*index));
        match message.filter(|_| outcome == Outcome::Delivered) {
            Some(message) => match then(context, message, plan, response) {
                Some((request, step)) => {
                    Reply::next(RequestPlan::http(request, plan.messages.clone()).with_step(step))
                }
                None => Reply::all(plan, Outcome::Delivered),
            },
            None => Reply::all(plan, outcome),
        }
    }

    fn test_request(&self, context: &Context) -> Option<Request> {
        Some(Request::Http(request(context, Method::Get, "/v2/self")))
    }

    fn http_test_outcome(
        &self,
        _context: &Context,
        response: &HttpResponse,
    ) -> Result<String, String> {
        let body = response.json();
        if body.get("active") == Some(&Value::Bool(false)) {
            return Err("the token is not active".to_string());
        }
        crate::destination::test_outcome(response)
    }
}

fn request(context: &Context, method: Method, path: &str) -> HttpRequest {
    let base = base_url(&context.config, HOSTS);
    HttpRequest::new(method, format!("{base}{path}")).bearer(&context.secret("api_key"))
}

/// The first request for a message, and its step.
fn first(context: &Context, message: &Message) -> Result<(HttpRequest, &'static str), Outcome> {
    match message.kind {
        MessageKind::Group => return company(context, message).map(|request| (request, "company")),
        MessageKind::Delete => {
            let email = email(message)?;
            let object = encode_component(&context.config.required("people_object"));
            let body = json!({"filter": {"email_addresses": email}, "limit": 1});
            let path = format!("/v2/objects/{object}/records/query");
            return Ok((request(context, Method::Post, &path).json(&body), "find"));
        }
        _ => {}
    }
    if sets_traits(message.kind) {
        scored(context, message)?;
        return person(context, message).map(|request| (request, "person"));
    }
    match audience(message) {
        Some((key, _)) if !context.config.object("lists").contains_key(&key) => Err(
            Outcome::discard(format!("there is no list for the segment {key}")),
        ),
        Some(_) => person(context, message).map(|request| (request, "member")),
        None => Err(Outcome::reject("the message has no audience_key")),
    }
}

/// Only leads that did something are worth a record.
fn scored(context: &Context, message: &Message) -> Result<(), Outcome> {
    let least = context.config.number("min_behaviour_score").unwrap_or(1.0);
    let score = ["behaviour_score", "behavior_score"]
        .iter()
        .find_map(|key| message.person_trait(key)?.as_f64());
    if least <= 0.0 || score.is_some_and(|score| score >= least) {
        return Ok(());
    }
    Err(Outcome::discard(match score {
        Some(score) => format!("the behaviour score {score} is below {least}"),
        None => "the message has no behaviour score".to_string(),
    }))
}

fn email(message: &Message) -> Result<String, Outcome> {
    message
        .email()
        .ok_or_else(|| unknown_person(message, "e-mail address"))
}

/// Creates the person or changes it, found by its unique attribute, in one atomic request.
fn person(context: &Context, message: &Message) -> Result<HttpRequest, Outcome> {
    let mut values = Map::new();
    let attribute = context.config.required("people_attribute");
    if attribute == "email_addresses" {
        values.insert("email_addresses".to_string(), json!([email(message)?]));
    } else {
        let user = message
            .user_id()
            .ok_or_else(|| unknown_person(message, "userId"))?;
        values.insert(attribute.clone(), json!(user));
        if let Some(email) = message.email() {
            values.insert("email_addresses".to_string(), json!([email]));
        }
    }
    let text = |keys: &[&str]| {
        keys.iter()
            .find_map(|key| message.person_trait(key).and_then(scalar_text))
    };
    let first = text(&["firstName", "first_name"]);
    let last = text(&["lastName", "last_name"]);
    let full = text(&["name"]).or_else(|| Some(format!("{} {}", first.clone()?, last.clone()?)));
    if let Some(full) = full {
        values.insert(
            "name".to_string(),
            json!([{
                "first_name": first.unwrap_or_default(),
                "last_name": last.unwrap_or_default(),
                "full_name": full,
            }]),
        );
    }
    if let Some(phone) = message.phone().and_then(|phone| normalise_phone(&phone)) {
        values.insert(
            "phone_numbers".to_string(),
            json!([{ "original_phone_number": phone }]),
        );
    }
    for key in SCORES {
        if let Some(value) = message.person_trait(key) {
            values.insert((*key).to_string(), plain(value));
        }
    }
    for (slug, path) in context.config.object("attributes") {
        let found = path
            .as_str()
            .and_then(|path| Path::parse(path).ok())
            .and_then(|path| path.get(&message.body).cloned());
        if let Some(value) = found {
            values.insert(slug, plain(&value));
        }
    }
    let object = encode_component(&context.config.required("people_object"));
    let attribute = encode_component(&attribute);
    let path = format!("/v2/objects/{object}/records?matching_attribute={attribute}");
    Ok(request(context, Method::Put, &path).json(&json!({"data": {"values": values}})))
}

/// An object is written as its JSON: Attio has no attributes of that shape.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(_) => json!(value.to_string()),
        other => other.clone(),
    }
}

fn company(context: &Context, message: &Message) -> Result<HttpRequest, Outcome> {
    let domain = ["domain", "website", "url"]
        .iter()
        .find_map(|key| message.text(&["traits", key]))
        .or_else(|| message.text(&["groupId"]).filter(|id| id.contains('.')))
        .and_then(|text| domain_of(&text))
        .ok_or_else(|| Outcome::reject("the group has no domain or website"))?;
    let mut values = Map::new();
    values.insert("domains".to_string(), json!([domain]));
    for key in ["name", "description"] {
        if let Some(text) = message.text(&["traits", key]) {
            values.insert(key.to_string(), json!(text));
        }
    }
    let object = encode_component(&context.config.required("companies_object"));
    let path = format!("/v2/objects/{object}/records?matching_attribute=domains");
    Ok(request(context, Method::Put, &path).json(&json!({"data": {"values": values}})))
}

fn domain_of(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let absolute = if text.contains("://") {
        text
    } else {
        format!("https://{text}")
    };
    let url = url::Url::parse(&absolute).ok()?;
    let host = url.domain()?;
    let bare = host.strip_prefix("www.").unwrap_or(host);
    bare.contains('.').then(|| bare.to_string())
}

/// What follows an answer: entries of lists, the deletion of what was found.
fn then(
    context: &Context,
    message: &Message,
    plan: &RequestPlan,
    response: &HttpResponse,
) -> Option<(HttpRequest, Value)> {
    let body = response.json();
    let people = encode_component(&context.config.required("people_object"));
    match plan.step.as_str() {
        Some("find") => {
            let record = body.get("data")?.get(0)?.get("id")?.get("record_id")?;
            let record = encode_component(record.as_str()?);
            let path = format!("/v2/objects/{people}/records/{record}");
            Some((request(context, Method::Delete, &path), json!("delete")))
        }
        Some("member") => {
            let record = body.get("data")?.get("id")?.get("record_id")?.as_str()?;
            let (key, entered) = audience(message)?;
            let lists = context.config.object("lists");
            let list = encode_component(lists.get(&key)?.as_str()?);
            if entered {
                let entry = json!({"data": {
                    "parent_record_id": record,
                    "parent_object": context.config.required("people_object"),
                    "entry_values": {},
                }});
                let path = format!("/v2/lists/{list}/entries");
                let request = request(context, Method::Put, &path).json(&entry);
                return Some((request, json!("entry")));
            }
            let record = encode_component(record);
            let path = format!("/v2/objects/{people}/records/{record}/entries");
            Some((request(context, Method::Get, &path), json!("entries")))
        }
        Some("entries") => {
            let (key, _) = audience(message)?;
            let lists = context.config.object("lists");
            let list = lists.get(&key)?.as_str()?;
            let entry = body.get("data")?.as_array()?.iter().find(|entry| {
                ["list_api_slug", "list_id"]
                    .iter()
                    .any(|key| entry.get(*key).and_then(Value::as_str) == Some(list))
            })?;
            let id = encode_component(entry.get("entry_id")?.as_str()?);
            let list = encode_component(list);
            let path = format!("/v2/lists/{list}/entries/{id}");
            Some((request(context, Method::Delete, &path), json!("delete")))
        }
        _ => None,
    }
}
