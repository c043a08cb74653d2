//! Braze: users, events and purchases by `/users/track`, aliases, deletion.

use super::spec::{audience, event_name, event_properties, isolate, sets_traits, without_nulls};
use crate::batch::{group, Group, Item};
use crate::config::{Config, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::http::{classify, HttpRequest, HttpResponse, Method};
use crate::message::{Message, MessageKind};
use crate::outcome::{Outcome, Plan, Reply, Request, RequestPlan};
use serde_json::{json, Map, Value};

/// See the module.
pub struct Braze;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "braze",
    name: "Braze",
    description: "User attributes, events and purchases in Braze.",
    category: Category::Marketing,
    fields: &[
        Field::new(
            "endpoint",
            FieldKind::Url,
            "REST endpoint of the instance, such as https://rest.fra-01.braze.eu.",
        )
        .required(),
        Field::new(
            "app_id",
            FieldKind::Text,
            "App that events and purchases are attributed to.",
        ),
        Field::new(
            "alias_label",
            FieldKind::Text,
            "Label of the aliases that anonymous persons have.",
        )
        .default("\"anonymous_id\""),
        Field::new(
            "purchase_events",
            FieldKind::TextList,
            "Events that are purchases, one for each of their products.",
        )
        .default("[\"Order Completed\"]"),
    ],
    secrets: &[SecretField {
        name: "api_key",
        required: true,
        help: "REST API key with the permissions users.track, users.identify, users.merge and users.delete.",
    }],
    sends: &MessageKind::ALL,
    duplicates: Duplicates::Visible,
    replays: false,
};

/// Most objects in a call of `/users/track`.
const OBJECTS: usize = 75;

/// Most users in a call that identifies, merges or deletes.
const USERS: usize = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Track,
    /// A request of its own, for a message with many purchases.
    Purchases(usize),
    Merge(usize),
    Delete(usize),
}

impl Destination for Braze {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn own_limits(&self, _config: &Config) -> Limits {
        // 4 MB a request, less room for the frame; 3000 requests in 3 seconds.
        Limits::batch(OBJECTS, 3_900_000).rate(1000.0, 100.0)
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
        batch: &[&Message],
        plan: &RequestPlan,
        response: &HttpResponse,
    ) -> Reply {
        let body = response.json();
        let message = body
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or("success");
        let outcome = match classify(response) {
            // Anything but "success" is fatal, whatever the status.
            Outcome::Delivered if message != "success" && message != "queued" => {
                Outcome::reject(response.summary())
            }
            outcome => outcome,
        };
        if outcome != Outcome::Delivered {
            return isolate(plan, outcome);
        }
        let reply = refused_items(plan, &body);
        if plan.step.get("identify").is_some() {
            reply
        } else {
            identify_anonymous(context, batch, reply)
        }
    }

    fn test_request(&self, context: &Context) -> Option<Request> {
        let url = format!("{}/segments/list", base(context));
        let request = HttpRequest::new(Method::Get, url);
        Some(Request::Http(request.bearer(&context.secret("api_key"))))
    }
}

fn base(context: &Context) -> String {
    let url = context.config.required("endpoint");
    url.trim_end_matches('/').to_string()
}

/// The key of an object that says whom it is about.
fn whom(context: &Context, message: &Message) -> Option<(&'static str, Value)> {
    if let Some(user) = message.user_id() {
        return Some(("external_id", json!(user)));
    }
    let anonymous = message.anonymous_id()?;
    let alias = json!({
        "alias_name": anonymous,
        "alias_label": context.config.required("alias_label"),
    });
    Some(("user_alias", alias))
}

/// Objects for the three lists of `/users/track`, as `{"attributes" | "events" | "purchases": […]}`.
fn item(context: &Context, message: &Message, number: usize) -> Item<Endpoint, Value> {
    let Some((key, id)) = whom(context, message) else {
        return Item::Settled(Outcome::reject("there is no userId and no anonymousId"));
    };
    let attributes = |mut attributes: Map<String, Value>| {
        attributes.insert(key.to_string(), id.clone());
        if key == "user_alias" {
            // Without it an alias that is not known yet would be ignored.
            attributes.insert("_update_existing_only".to_string(), json!(false));
        }
        Item::json(Endpoint::Track, json!({"attributes": [attributes]}))
    };
    if let Some((segment, entered)) = audience(message) {
        return attributes([(segment, json!(entered))].into_iter().collect());
    }
    if let Some(name) = event_name(message) {
        let mut event = Map::new();
        event.insert(key.to_string(), id.clone());
        if let Some(app) = context.config.text("app_id") {
            event.insert("app_id".to_string(), json!(app));
        }
        event.insert("time".to_string(), json!(message.time_text()));
        let properties = without_nulls(event_properties(message));
        let purchases = purchases(context, message, &name, &event, &properties);
        if !purchases.is_empty() {
            return Item::json(
                Endpoint::Purchases(number),
                json!({ "purchases": purchases }),
            );
        }
        event.insert("name".to_string(), json!(name));
        event.insert("properties".to_string(), Value::Object(properties));
        return Item::json(Endpoint::Track, json!({"events": [event]}));
    }
    if sets_traits(message.kind) {
        return attributes(renamed(message.traits()));
    }
    match message.kind {
        MessageKind::Group => match message.text(&["groupId"]) {
            Some(group) => attributes(
                [(format!("group_{group}"), json!(true))]
                    .into_iter()
                    .collect(),
            ),
            None => Item::Settled(Outcome::reject("the message has no groupId")),
        },
        MessageKind::Alias => match (message.text(&["previousId"]), message.user_id()) {
            (Some(previous), Some(user)) => Item::json(
                Endpoint::Merge(number / USERS),
                json!({
                    "identifier_to_merge": {"external_id": previous},
                    "identifier_to_keep": {"external_id": user},
                }),
            ),
            _ => Item::Settled(Outcome::reject("an alias needs previousId and userId")),
        },
        MessageKind::Delete => Item::json(Endpoint::Delete(number / USERS), json!({ key: id })),
        _ => Item::Settled(Outcome::reject("the message has no event name")),
    }
}

/// Traits under the names of Braze's standard attributes. A null removes an attribute.
fn renamed(traits: Map<String, Value>) -> Map<String, Value> {
    traits
        .into_iter()
        .map(|(key, value)| {
            let name = match key.as_str() {
                "firstName" => "first_name",
                "lastName" => "last_name",
                "birthday" => "dob",
                other => other,
            };
            (name.to_string(), value)
        })
        .collect()
}

/// A purchase for each product of an event that is one.
fn purchases(
    context: &Context,
    message: &Message,
    name: &str,
    base: &Map<String, Value>,
    properties: &Map<String, Value>,
) -> Vec<Value> {
    let names = context.config.list("purchase_events").unwrap_or_default();
    let products = match properties.get("products").and_then(Value::as_array) {
        Some(products) if names.iter().any(|listed| listed == name) => products,
        _ => return Vec::new(),
    };
    let currency = message
        .text(&["properties", "currency"])
        .unwrap_or_else(|| "USD".to_string());
    products
        .iter()
        .take(OBJECTS)
        .filter_map(|product| {
            let id = ["product_id", "sku", "name"]
                .iter()
                .find_map(|key| product.get(*key).filter(|id| !id.is_null()))?;
            let mut purchase = base.clone();
            purchase.insert("product_id".to_string(), json!(id));
            purchase.insert("currency".to_string(), json!(currency));
            let price = product.get("price").cloned().unwrap_or(json!(0));
            purchase.insert("price".to_string(), price);
            let quantity = product.get("quantity").cloned().unwrap_or(json!(1));
            purchase.insert("quantity".to_string(), quantity);
            if let Some(order) = properties.get("order_id") {
                purchase.insert("properties".to_string(), json!({ "order_id": order }));
            }
            Some(Value::Object(purchase))
        })
        .collect()
}

fn request(context: &Context, group: Group<Endpoint, Value>) -> RequestPlan {
    let base = base(context);
    let key = context.secret("api_key");
    let (path, body, step) = match group.endpoint {
        Endpoint::Track | Endpoint::Purchases(_) => {
            let (body, step) = track_body(&group);
            ("/users/track", body, step)
        }
        Endpoint::Merge(_) => (
            "/users/merge",
            json!({ "merge_updates": group.contents }),
            Value::Null,
        ),
        Endpoint::Delete(_) => {
            let of = |key: &str| -> Vec<Value> {
                group
                    .contents
                    .iter()
                    .filter_map(|user| user.get(key).cloned())
                    .collect()
            };
            let mut body = Map::new();
            for (key, list) in [
                ("external_id", "external_ids"),
                ("user_alias", "user_aliases"),
            ] {
                let users = of(key);
                if !users.is_empty() {
                    body.insert(list.to_string(), Value::Array(users));
                }
            }
            ("/users/delete", Value::Object(body), Value::Null)
        }
    };
    let request = HttpRequest::post_json(format!("{base}{path}"), &body).bearer(&key);
    RequestPlan::http(request, group.messages).with_step(step)
}

/// The three lists, and of each list which message its objects are from.
fn track_body(group: &Group<Endpoint, Value>) -> (Value, Value) {
    let mut body = Map::new();
    let mut origin = Map::new();
    for (index, content) in group.messages.iter().zip(&group.contents) {
        for list in ["attributes", "events", "purchases"] {
            for object in content
                .get(list)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                push(&mut body, list, object.clone());
                push(&mut origin, list, json!(index));
            }
        }
    }
    (Value::Object(body), Value::Object(origin))
}

fn push(object: &mut Map<String, Value>, key: &str, value: Value) {
    if let Value::Array(list) = object.entry(key.to_string()).or_insert_with(|| json!([])) {
        list.push(value);
    }
}

/// Errors beside "success" are about single objects, by list and position.
fn refused_items(plan: &RequestPlan, body: &Value) -> Reply {
    let mut reply = Reply::all(plan, Outcome::Delivered);
    for error in body
        .get("errors")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let origin = error
            .get("input_array")
            .and_then(Value::as_str)
            .and_then(|list| plan.step.get(list))
            .and_then(|origin| {
                let position = usize::try_from(error.get("index")?.as_u64()?).ok()?;
                usize::try_from(origin.get(position)?.as_u64()?).ok()
            });
        let reason = error
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or("refused");
        for (index, outcome) in &mut reply.settled {
            if Some(*index) == origin {
                *outcome = Outcome::reject(format!("Braze says: {reason}"));
            }
        }
    }
    reply
}

/// What a person did before it was known is attached to it: for identify calls with both ids.
fn identify_anonymous(context: &Context, batch: &[&Message], reply: Reply) -> Reply {
    let label = context.config.required("alias_label");
    let mut identified: Vec<(usize, Value)> = Vec::new();
    let mut settled = Vec::new();
    for (index, outcome) in reply.settled {
        let both = batch
            .get(index)
            .filter(|message| {
                outcome == Outcome::Delivered && message.kind == MessageKind::Identify
            })
            .and_then(|message| Some((message.user_id()?, message.anonymous_id()?)));
        match both {
            Some((user, anonymous)) => identified.push((
                index,
                json!({
                    "external_id": user,
                    "user_alias": {"alias_name": anonymous, "alias_label": label},
                }),
            )),
            None => settled.push((index, outcome)),
        }
    }
    let next = identified
        .chunks(USERS)
        .map(|chunk| {
            let aliases: Vec<&Value> = chunk.iter().map(|(_, alias)| alias).collect();
            let body = json!({"aliases_to_identify": aliases, "merge_behavior": "merge"});
            let request =
                HttpRequest::post_json(format!("{}/users/identify", base(context)), &body)
                    .bearer(&context.secret("api_key"));
            let messages = chunk.iter().map(|(index, _)| *index).collect();
            RequestPlan::http(request, messages).with_step(json!({"identify": true}))
        })
        .collect();
    Reply {
        settled,
        next,
        remember: Vec::new(),
    }
}
