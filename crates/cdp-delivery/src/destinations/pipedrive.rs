//! Pipedrive: persons, organizations, notes or activities, labels, deletion.
//!
//! Pipedrive has no upsert: records are searched for, then changed or created. A search costs
//! four times what a change costs, so ids that were found are remembered.

use super::spec::{
    audience, base_url, event_name, event_properties, flat, sets_traits, unknown_person, ENDPOINT,
};
use crate::batch::{group, Item};
use crate::config::{Config, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::http::{classify, HttpRequest, HttpResponse, Method};
use crate::message::{scalar_text, Message, MessageKind};
use crate::outcome::{Outcome, Plan, Remember, Reply, Request, RequestPlan};
use crate::retry_after::retry_after;
use serde_json::{json, Map, Value};
use std::time::Duration;

/// See the module.
pub struct Pipedrive;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "pipedrive",
    name: "Pipedrive",
    description: "Persons, organizations, notes and labels in Pipedrive.",
    category: Category::Crm,
    fields: &[
        Field::new(
            "fields",
            FieldKind::TextMap,
            "Keys of custom person fields (40 hexadecimal digits) by trait. Other traits are left out.",
        ),
        Field::new(
            "organization_fields",
            FieldKind::TextMap,
            "Keys of custom organization fields by trait of the group.",
        ),
        Field::new(
            "events",
            FieldKind::TextList,
            "Events that are recorded with the person. None by default: each costs from the day's budget.",
        ),
        Field::new(
            "track_as",
            FieldKind::Choice(&["note", "activity"]),
            "How events are recorded.",
        )
        .default("\"note\""),
        Field::new(
            "activity_type",
            FieldKind::Text,
            "Type of the activities that events become.",
        )
        .default("\"task\""),
        Field::new(
            "labels",
            FieldKind::NumberMap,
            "Ids of person labels by segment. Segments without one are not sent.",
        ),
        ENDPOINT,
    ],
    secrets: &[
        SecretField {
            name: "api_token",
            required: true,
            help: "API token of the user in whose name records are written.",
        },
    ],
    sends: &[
        MessageKind::Track,
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

const HOSTS: &[(&str, &str)] = &[("", "https://api.pipedrive.com")];

/// How long a found id is believed.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// How long to wait after being taken for an abuser.
const ABUSE: Duration = Duration::from_secs(60);

/// What is known on the way to a message's end; carried in the step.
#[derive(Debug, Clone, Default, PartialEq)]
struct Known {
    /// Id of the person; 0 when a search found none.
    person: Option<i64>,
    organization: Option<i64>,
    /// The organization has what the message says.
    organization_written: bool,
    /// Labels the person has.
    labels: Option<Vec<i64>>,
    /// What the request under way is.
    step: String,
}

impl Known {
    fn write(&self) -> Value {
        json!({
            "step": self.step,
            "person": self.person,
            "organization": self.organization,
            "organization_written": self.organization_written,
            "labels": self.labels,
        })
    }

    fn read(step: &Value) -> Known {
        Known {
            person: step.get("person").and_then(Value::as_i64),
            organization: step.get("organization").and_then(Value::as_i64),
            organization_written: step.get("organization_written") == Some(&Value::Bool(true)),
            labels: step
                .get("labels")
                .and_then(Value::as_array)
                .map(|labels| labels.iter().filter_map(Value::as_i64).collect()),
            step: step
                .get("step")
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_string(),
        }
    }
}

impl Destination for Pipedrive {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn own_limits(&self, _config: &Config) -> Limits {
        // The smallest plan: 20 requests, of which 10 searches, in 2 seconds.
        Limits::single().rate(5.0, 5.0).concurrency(2)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        let limits = self.own_limits(&context.config).configured(&context.config);
        group(self, &context.config, &limits, batch, |message| {
            let remembered = |key: String| context.memory.get(&key)?.parse().ok();
            let known = Known {
                person: person_key(message).and_then(remembered),
                organization: organization_key(message).and_then(remembered),
                ..Known::default()
            };
            match check(context, message).and_then(|()| advance(context, message, known)) {
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
        let next = match learn(message, &mut known, response, &mut remember) {
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
        Some(Request::Http(call(
            context,
            Method::Get,
            "/api/v1/users/me",
        )))
    }
}

fn person_key(message: &Message) -> Option<String> {
    Some(format!("person:{}", message.email()?))
}

fn organization_name(message: &Message) -> Option<String> {
    message
        .text(&["traits", "name"])
        .or_else(|| message.text(&["groupId"]))
}

fn organization_key(message: &Message) -> Option<String> {
    (message.kind == MessageKind::Group).then_some(())?;
    Some(format!("organization:{}", organization_name(message)?))
}

fn call(context: &Context, method: Method, path: &str) -> HttpRequest {
    let base = base_url(&context.config, HOSTS);
    HttpRequest::new(method, format!("{base}{path}"))
        .header("x-api-token", context.secret("api_token"))
}

/// What has to be there before anything is sent.
fn check(context: &Context, message: &Message) -> Result<(), Outcome> {
    if message.kind == MessageKind::Group {
        return match organization_name(message) {
            Some(_) => Ok(()),
            None => Err(Outcome::reject("the message has no groupId")),
        };
    }
    if message.email().is_none() {
        return Err(unknown_person(message, "e-mail address"));
    }
    if message.kind == MessageKind::Track {
        let name = event_name(message).unwrap_or_default();
        let listed = context.config.list("events").unwrap_or_default();
        if !listed.contains(&name) {
            return Err(Outcome::discard("not among the events of the destination"));
        }
    }
    if let Some((key, _)) = audience(message) {
        if !context.config.object("labels").contains_key(&key) {
            return Err(Outcome::discard(format!(
                "there is no label for the segment {key}"
            )));
        }
    }
    Ok(())
}

/// The next request for a message, given what is known; an error is its end.
fn advance(
    context: &Context,
    message: &Message,
    known: Known,
) -> Result<(HttpRequest, Known), Outcome> {
    let go = |request: HttpRequest, step: &str, known: Known| {
        let step = step.to_string();
        Ok((request, Known { step, ..known }))
    };
    if message.kind == MessageKind::Group {
        match known.organization {
            None => {
                let name = organization_name(message).unwrap_or_default();
                let path = search("organizations", "name", &name);
                return go(
                    call(context, Method::Get, &path),
                    "find_organization",
                    known,
                );
            }
            Some(0) => {
                let request = call(context, Method::Post, "/api/v2/organizations");
                let request = request.json(&organization(context, message));
                return go(request, "create_organization", known);
            }
            Some(id) if !known.organization_written => {
                let path = format!("/api/v2/organizations/{id}");
                let request = call(context, Method::Patch, &path);
                let request = request.json(&organization(context, message));
                return go(request, "update_organization", known);
            }
            Some(_) => {}
        }
    }
    let Some(email) = message.email() else {
        return Err(Outcome::Delivered);
    };
    let Some(person) = known.person else {
        let path = search("persons", "email", &email);
        return go(call(context, Method::Get, &path), "find_person", known);
    };
    if person == 0 {
        if matches!(
            message.kind,
            MessageKind::Delete | MessageKind::AudienceExited
        ) {
            return Err(Outcome::Delivered);
        }
        let body = person_body(context, message, &known);
        let request = call(context, Method::Post, "/api/v2/persons").json(&body);
        return go(request, "create_person", known);
    }
    let path = format!("/api/v2/persons/{person}");
    if sets_traits(message.kind) || message.kind == MessageKind::Group {
        let body = person_body(context, message, &known);
        let request = call(context, Method::Patch, &path).json(&body);
        return go(request, "update_person", known);
    }
    if let Some((key, entered)) = audience(message) {
        let Some(mut labels) = known.labels.clone() else {
            return go(call(context, Method::Get, &path), "read_labels", known);
        };
        let wanted = context.config.object("labels");
        let label = wanted.get(&key).and_then(Value::as_i64).unwrap_or(0);
        if labels.contains(&label) == entered {
            return Err(Outcome::Delivered);
        }
        if entered {
            labels.push(label);
        } else {
            labels.retain(|other| *other != label);
        }
        let body = json!({ "label_ids": labels });
        let request = call(context, Method::Patch, &path).json(&body);
        return go(request, "write_labels", known);
    }
    if message.kind == MessageKind::Delete {
        return go(call(context, Method::Delete, &path), "delete", known);
    }
    go(record(context, message, person), "record", known)
}

fn search(records: &str, field: &str, term: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("term", term)
        .append_pair("fields", field)
        .append_pair("exact_match", "true")
        .append_pair("limit", "1")
        .finish();
    format!("/api/v2/{records}/search?{query}")
}

fn custom(context: &Context, setting: &str, traits: Map<String, Value>) -> Map<String, Value> {
    let keys = context.config.object(setting);
    flat(traits)
        .into_iter()
        .filter_map(|(name, value)| Some((keys.get(&name)?.as_str()?.to_string(), value)))
        .collect()
}

fn person_body(context: &Context, message: &Message, known: &Known) -> Value {
    let mut person = Map::new();
    let text = |keys: &[&str]| {
        keys.iter()
            .find_map(|key| message.person_trait(key).and_then(scalar_text))
    };
    let full = text(&["firstName", "first_name"])
        .and_then(|first| Some(format!("{first} {}", text(&["lastName", "last_name"])?)));
    let group = message.kind == MessageKind::Group;
    let name = if group {
        None
    } else {
        text(&["name"]).or(full)
    };
    let creating = known.person == Some(0);
    let email = message.email().unwrap_or_default();
    // A person must have a name from the start.
    if let Some(name) = name.or_else(|| creating.then(|| email.clone())) {
        person.insert("name".to_string(), json!(name));
    }
    if creating {
        person.insert(
            "emails".to_string(),
            json!([{"value": email, "primary": true, "label": "work"}]),
        );
    }
    if let Some(phone) = message.phone().filter(|_| !group) {
        person.insert(
            "phones".to_string(),
            json!([{"value": phone, "primary": true, "label": "work"}]),
        );
    }
    if group {
        person.insert("org_id".to_string(), json!(known.organization));
    } else {
        let fields = custom(context, "fields", message.traits());
        if !fields.is_empty() {
            person.insert("custom_fields".to_string(), Value::Object(fields));
        }
    }
    Value::Object(person)
}

fn organization(context: &Context, message: &Message) -> Value {
    let mut organization = Map::new();
    let name = organization_name(message);
    organization.insert("name".to_string(), json!(name));
    let fields = custom(context, "organization_fields", message.traits());
    if !fields.is_empty() {
        organization.insert("custom_fields".to_string(), Value::Object(fields));
    }
    Value::Object(organization)
}

/// An event as a note or as an activity that is done.
fn record(context: &Context, message: &Message, person: i64) -> HttpRequest {
    let name = event_name(message).unwrap_or_default();
    let details: Vec<String> = flat(event_properties(message))
        .iter()
        .filter_map(|(key, value)| Some(format!("{key}: {}", scalar_text(value)?)))
        .collect();
    if context.config.required("track_as") == "activity" {
        let day = message.time_text().unwrap_or_default();
        return call(context, Method::Post, "/api/v2/activities").json(&json!({
            "subject": name,
            "type": context.config.required("activity_type"),
            "due_date": day.get(..10),
            "done": true,
            "note": html(&details.join("\n")),
            "participants": [{"person_id": person, "primary": true}],
        }));
    }
    let content = format!("<b>{}</b><br>{}", html(&name), html(&details.join("\n")));
    call(context, Method::Post, "/api/v1/notes")
        .json(&json!({"content": content, "person_id": person}))
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\n', "<br>")
}

/// Adds what an answer says to what is known. True when there is more to do.
fn learn(
    message: &Message,
    known: &mut Known,
    response: &HttpResponse,
    remember: &mut Vec<Remember>,
) -> Result<bool, Outcome> {
    let mut keep = |key: Option<String>, value: Option<i64>| {
        if let Some(key) = key {
            remember.push(Remember {
                key,
                value: value.map(|id| id.to_string()),
                for_time: REMEMBERED,
            });
        }
    };
    if matches!(response.status, 404 | 410) {
        match known.step.as_str() {
            "delete" => return Ok(false),
            "update_person" | "read_labels" | "write_labels" | "record" => {
                keep(person_key(message), None);
                return Err(Outcome::retry("the person is gone"));
            }
            "update_organization" => {
                keep(organization_key(message), None);
                return Err(Outcome::retry("the organization is gone"));
            }
            _ => {}
        }
    }
    match outcome(response) {
        Outcome::Delivered => {}
        outcome => return Err(outcome),
    }
    let body = response.json();
    let found = body
        .pointer("/data/items/0/item/id")
        .and_then(Value::as_i64);
    let made = body.pointer("/data/id").and_then(Value::as_i64);
    match known.step.as_str() {
        "find_person" => {
            known.person = Some(found.unwrap_or(0));
            if found.is_some() {
                keep(person_key(message), found);
            }
            Ok(true)
        }
        "create_person" => {
            known.person = made;
            keep(person_key(message), made);
            let done = sets_traits(message.kind) || message.kind == MessageKind::Group;
            Ok(!done && made.is_some())
        }
        "find_organization" => {
            known.organization = Some(found.unwrap_or(0));
            if found.is_some() {
                keep(organization_key(message), found);
            }
            Ok(true)
        }
        "create_organization" => {
            known.organization = made;
            known.organization_written = true;
            keep(organization_key(message), made);
            Ok(made.is_some())
        }
        "update_organization" => {
            known.organization_written = true;
            Ok(true)
        }
        "read_labels" => {
            let labels = body.pointer("/data/label_ids").and_then(Value::as_array);
            known.labels = Some(
                labels
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_i64)
                    .collect(),
            );
            Ok(true)
        }
        "delete" => {
            keep(person_key(message), None);
            Ok(false)
        }
        _ => Ok(false),
    }
}

/// A 403 can be a plan's cap, a wall against abuse (a page, not JSON), or missing rights.
fn outcome(response: &HttpResponse) -> Outcome {
    let text = response.text();
    match response.status {
        403 if text.contains("feature_capping") => Outcome::reject(response.summary()),
        403 if response.json().is_null() => Outcome::wait(
            "Pipedrive takes us for an abuser",
            Some(retry_after(&response.headers, &[], response.at).unwrap_or(ABUSE)),
        ),
        _ => classify(response),
    }
}
