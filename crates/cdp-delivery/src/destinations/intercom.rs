//! Intercom: contacts, events, companies, tags, deletion.
//!
//! Intercom has no upsert of contacts: they are searched for, then changed or created. Ids that
//! were found are remembered, because a new contact comes up in a search only after seconds.

use super::spec::{
    audience, base_url, event_name, event_properties, flat, sets_traits, unknown_person, ENDPOINT,
};
use crate::batch::{group, Item};
use crate::config::{Config, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::http::{classify, HttpRequest, HttpResponse, Method};
use crate::message::{time_value, Message, MessageKind};
use crate::outcome::{Outcome, Plan, Remember, Reply, Request, RequestPlan};
use crate::template::encode_component;
use serde_json::{json, Map, Value};
use std::collections::HashMap;
use std::time::Duration;

/// See the module.
pub struct Intercom;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "intercom",
    name: "Intercom",
    description: "Contacts, events, companies and tags in Intercom.",
    category: Category::Crm,
    fields: &[
        Field::new(
            "region",
            FieldKind::Choice(&["us", "eu", "au"]),
            "Where the workspace lives.",
        )
        .default("\"us\""),
        Field::new("version", FieldKind::Text, "Version of the API.").default("\"2.11\""),
        Field::new(
            "attributes",
            FieldKind::TextList,
            "Traits that are custom attributes. They have to exist in Intercom; others are left out.",
        ),
        Field::new(
            "create_from_events",
            FieldKind::Flag,
            "Create the contact when an event comes before any traits did.",
        ),
        ENDPOINT,
    ],
    secrets: &[SecretField {
        name: "access_token",
        required: true,
        help: "Access token of the app.",
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
    duplicates: Duplicates::Overwrite,
    replays: true,
};

const HOSTS: &[(&str, &str)] = &[
    ("us", "https://api.intercom.io"),
    ("eu", "https://api.eu.intercom.io"),
    ("au", "https://api.au.intercom.io"),
];

/// How long a found id is believed.
const REMEMBERED: Duration = Duration::from_secs(6 * 3600);

/// Most metadata of an event.
const METADATA: usize = 20;

/// What is known on the way to a message's end; carried in the step.
#[derive(Debug, Clone, Default, PartialEq)]
struct Known {
    /// Id of the contact; empty when a search found none.
    contact: Option<String>,
    company: Option<String>,
    tag: Option<String>,
    /// What the request under way is.
    step: &'static str,
}

const STEPS: &[&str] = &[
    "search",
    "create",
    "update",
    "company",
    "attach",
    "tag",
    "add_tag",
    "remove_tag",
    "event",
    "delete",
];

impl Known {
    fn write(&self) -> Value {
        json!({
            "step": self.step,
            "contact": self.contact,
            "company": self.company,
            "tag": self.tag,
        })
    }

    fn read(step: &Value) -> Known {
        let text = |key: &str| step.get(key).and_then(Value::as_str).map(str::to_string);
        let name = text("step").unwrap_or_default();
        Known {
            contact: text("contact"),
            company: text("company"),
            tag: text("tag"),
            step: STEPS
                .iter()
                .copied()
                .find(|step| *step == name)
                .unwrap_or("search"),
        }
    }

    /// Ids that earlier messages left.
    fn remembered(memory: &HashMap<String, String>, message: &Message) -> Known {
        let contact = message
            .user_id()
            .and_then(|user| memory.get(&format!("contact:{user}")).cloned());
        let tag = audience(message).and_then(|(key, _)| memory.get(&format!("tag:{key}")).cloned());
        Known {
            contact,
            tag,
            ..Known::default()
        }
    }
}

impl Destination for Intercom {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn own_limits(&self, _config: &Config) -> Limits {
        // 10,000 calls a minute and app, in windows of 10 seconds.
        Limits::single().rate(150.0, 50.0)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        let limits = self.own_limits(&context.config).configured(&context.config);
        group(self, &context.config, &limits, batch, |message| {
            let known = Known::remembered(context.memory, message);
            match check(message).and_then(|()| advance(context, message, known)) {
                Ok((request, known)) => Item::Send {
                    bytes: request.body.len(),
                    endpoint: (),
                    content: (request, known),
                    key: None,
                },
                Err(outcome) => Item::Settled(outcome),
            }
        })
        .into_plan(|group| {
            let (request, known) = group
                .contents
                .into_iter()
                .next()
                .unwrap_or((HttpRequest::new(Method::Get, ""), Known::default()));
            RequestPlan::http(request, group.messages).with_step(known.write())
        })
    }

    fn http_outcomes(
        &self,
        context: &Context,
        batch: &[&Message],
        plan: &RequestPlan,
        response: &HttpResponse,
    ) -> Reply {
        let Some(message) = plan.messages.first().and_then(|index| batch.get(*index)) else {
            return Reply::all(plan, Outcome::reject("there is no such message"));
        };
        let mut known = Known::read(&plan.step);
        let mut remember = Vec::new();
        let next = match learn(context, message, &mut known, response, &mut remember) {
            Ok(true) => advance(context, message, known),
            Ok(false) => Err(Outcome::Delivered),
            Err(outcome) => Err(outcome),
        };
        let reply = match next {
            Ok((request, known)) => Reply::next(
                RequestPlan::http(request, plan.messages.clone()).with_step(known.write()),
            ),
            Err(outcome) => Reply::all(plan, outcome),
        };
        Reply { remember, ..reply }
    }

    fn test_request(&self, context: &Context) -> Option<Request> {
        Some(Request::Http(call(context, Method::Get, "/me")))
    }
}

fn call(context: &Context, method: Method, path: &str) -> HttpRequest {
    let base = base_url(&context.config, HOSTS);
    HttpRequest::new(method, format!("{base}{path}"))
        .bearer(&context.secret("access_token"))
        .header("intercom-version", context.config.required("version"))
        .header("accept", "application/json")
}

/// What has to be there before anything is sent.
fn check(message: &Message) -> Result<(), Outcome> {
    if message.user_id().is_none() {
        return Err(unknown_person(message, "userId"));
    }
    let missing = match message.kind {
        MessageKind::Group => message.text(&["groupId"]).is_none().then_some("groupId"),
        MessageKind::AudienceEntered | MessageKind::AudienceExited => {
            audience(message).is_none().then_some("audience_key")
        }
        MessageKind::Track => message.event().is_none().then_some("event name"),
        _ => None,
    };
    match missing {
        Some(what) => Err(Outcome::reject(format!("the message has no {what}"))),
        None => Ok(()),
    }
}

/// The next request for a message, given what is known; an error is its end.
fn advance(
    context: &Context,
    message: &Message,
    known: Known,
) -> Result<(HttpRequest, Known), Outcome> {
    let user = message.user_id().unwrap_or_default();
    let go = |request: HttpRequest, step: &'static str, known: Known| {
        Ok((request, Known { step, ..known }))
    };
    let is_event = matches!(
        message.kind,
        MessageKind::Track | MessageKind::Page | MessageKind::Screen
    );
    if is_event && known.contact.is_none() {
        let request = call(context, Method::Post, "/events").json(&event(context, message, &user));
        return go(request, "event", known);
    }
    if message.kind == MessageKind::Group && known.company.is_none() {
        let request = call(context, Method::Post, "/companies").json(&company(message));
        return go(request, "company", known);
    }
    let Some(contact) = known.contact.clone() else {
        let query = json!({"query": {"field": "external_id", "operator": "=", "value": user}});
        let request = call(context, Method::Post, "/contacts/search").json(&query);
        return go(request, "search", known);
    };
    if contact.is_empty() {
        return match message.kind {
            MessageKind::Delete => Err(Outcome::Delivered),
            MessageKind::AudienceExited => Err(Outcome::Delivered),
            _ => {
                let body = contact_body(context, message, true);
                let request = call(context, Method::Post, "/contacts").json(&body);
                go(request, "create", known)
            }
        };
    }
    let id = encode_component(&contact);
    if is_event {
        let request = call(context, Method::Post, "/events").json(&event(context, message, &user));
        return go(request, "event", known);
    }
    if sets_traits(message.kind) {
        let body = contact_body(context, message, false);
        let request = call(context, Method::Put, &format!("/contacts/{id}")).json(&body);
        return go(request, "update", known);
    }
    match message.kind {
        MessageKind::Group => {
            let body = json!({ "id": known.company });
            let path = format!("/contacts/{id}/companies");
            go(
                call(context, Method::Post, &path).json(&body),
                "attach",
                known,
            )
        }
        MessageKind::Delete => {
            let body = json!({ "intercom_user_id": contact });
            let request = call(context, Method::Post, "/user_delete_requests").json(&body);
            go(request, "delete", known)
        }
        _ => {
            let (key, entered) = audience(message).unwrap_or_default();
            let Some(tag) = known.tag.clone() else {
                let request = call(context, Method::Post, "/tags").json(&json!({ "name": key }));
                return go(request, "tag", known);
            };
            if entered {
                let path = format!("/contacts/{id}/tags");
                let request = call(context, Method::Post, &path).json(&json!({ "id": tag }));
                go(request, "add_tag", known)
            } else {
                let tag = encode_component(&tag);
                let path = format!("/contacts/{id}/tags/{tag}");
                go(call(context, Method::Delete, &path), "remove_tag", known)
            }
        }
    }
}

/// Adds what an answer says to what is known. True when there is more to do.
fn learn(
    context: &Context,
    message: &Message,
    known: &mut Known,
    response: &HttpResponse,
    remember: &mut Vec<Remember>,
) -> Result<bool, Outcome> {
    let body = response.json();
    let user = message.user_id().unwrap_or_default();
    let id = |body: &Value| body.get("id").and_then(Value::as_str).map(str::to_string);
    let mut keep = |key: String, value: Option<String>| {
        remember.push(Remember {
            key,
            value,
            for_time: REMEMBERED,
        });
    };
    match (known.step, response.status) {
        // The contact exists: the message says which.
        ("create", 409) => match existing_id(&body) {
            Some(contact) => {
                keep(format!("contact:{user}"), Some(contact.clone()));
                known.contact = Some(contact);
                return Ok(true);
            }
            None => return Err(Outcome::retry(response.summary())),
        },
        // The event's person is not a contact (yet).
        ("event", 404) => {
            if known.contact.is_none() && context.config.flag("create_from_events") {
                known.contact = Some(String::new());
                return Ok(true);
            }
            return Err(Outcome::retry("Intercom does not know the person yet"));
        }
        ("update" | "attach" | "add_tag", 404) => {
            keep(format!("contact:{user}"), None);
            return Err(Outcome::retry("the contact is gone, or not there yet"));
        }
        ("delete" | "remove_tag", 404) => return Ok(false),
        _ => {}
    }
    match classify(response) {
        Outcome::Delivered => {}
        outcome => return Err(outcome),
    }
    match known.step {
        "search" => {
            let found = body.pointer("/data/0").and_then(id);
            if let Some(contact) = &found {
                keep(format!("contact:{user}"), Some(contact.clone()));
            }
            known.contact = Some(found.unwrap_or_default());
            Ok(true)
        }
        "create" => {
            let contact = id(&body).ok_or_else(|| Outcome::retry("Intercom gave no id"))?;
            keep(format!("contact:{user}"), Some(contact.clone()));
            known.contact = Some(contact);
            // The new contact has its traits already.
            Ok(!sets_traits(message.kind))
        }
        "company" => {
            let company = id(&body).ok_or_else(|| Outcome::retry("Intercom gave no id"))?;
            known.company = Some(company);
            Ok(true)
        }
        "tag" => {
            let tag = id(&body).ok_or_else(|| Outcome::retry("Intercom gave no id"))?;
            if let Some((key, _)) = audience(message) {
                keep(format!("tag:{key}"), Some(tag.clone()));
            }
            known.tag = Some(tag);
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// `A contact matching those details already exists with id=5f…`
fn existing_id(body: &Value) -> Option<String> {
    let message = body.pointer("/errors/0/message")?.as_str()?;
    let (_, rest) = message.split_once("id=")?;
    let id: String = rest
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect();
    (!id.is_empty()).then_some(id)
}

fn seconds(value: &Value) -> Option<i64> {
    time_value(value)
        .map(|millis| millis.div_euclid(1000))
        .or_else(|| value.as_i64())
}

fn contact_body(context: &Context, message: &Message, create: bool) -> Value {
    let mut contact = Map::new();
    if create {
        contact.insert("role".to_string(), json!("user"));
        contact.insert("external_id".to_string(), json!(message.user_id()));
    }
    if let Some(email) = message.email() {
        contact.insert("email".to_string(), json!(email));
    }
    for key in ["name", "phone", "avatar"] {
        if let Some(value) = message.person_trait(key).filter(|value| value.is_string()) {
            contact.insert(key.to_string(), value.clone());
        }
    }
    if let Some(time) = message.person_trait("createdAt").and_then(seconds) {
        contact.insert("signed_up_at".to_string(), json!(time));
    }
    let wanted = context.config.list("attributes").unwrap_or_default();
    let custom: Map<String, Value> = flat(message.traits())
        .into_iter()
        .filter(|(key, _)| wanted.contains(key))
        .collect();
    if !custom.is_empty() {
        contact.insert("custom_attributes".to_string(), Value::Object(custom));
    }
    Value::Object(contact)
}

fn company(message: &Message) -> Value {
    let mut company = Map::new();
    company.insert("company_id".to_string(), json!(message.text(&["groupId"])));
    for (to, from) in [
        ("name", "name"),
        ("plan", "plan"),
        ("size", "employees"),
        ("website", "website"),
        ("industry", "industry"),
        ("monthly_spend", "monthlySpend"),
    ] {
        if let Some(value) = message.at(&["traits", from]) {
            company.insert(to.to_string(), value.clone());
        }
    }
    Value::Object(company)
}

fn event(context: &Context, message: &Message, user: &str) -> Value {
    let metadata: Map<String, Value> = flat(event_properties(message))
        .into_iter()
        .take(METADATA)
        .collect();
    json!({
        "event_name": event_name(message),
        "created_at": message.time_millis().unwrap_or(context.now).div_euclid(1000),
        "user_id": user,
        "metadata": metadata,
    })
}
