//! Customer.io Journeys: the Track API, version 2.

use super::spec::{
    audience, base_url, event_name, event_properties, isolate, partial, sets_traits, without_nulls,
    ENDPOINT,
};
use crate::batch::{group, Group, Item};
use crate::config::{Config, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::digest::sha256_hex;
use crate::http::{classify, HttpRequest, HttpResponse, Method};
use crate::message::{Message, MessageKind};
use crate::outcome::{Outcome, Plan, Reply, Request, RequestPlan};
use crate::template::encode_component;
use serde_json::{json, Value};

/// See the module.
pub struct CustomerIo;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "customerio",
    name: "Customer.io",
    description: "People, events, objects and manual segments in Customer.io.",
    category: Category::Marketing,
    fields: &[
        Field::new(
            "region",
            FieldKind::Choice(&["us", "eu"]),
            "Where the account lives.",
        )
        .default("\"us\""),
        Field::new(
            "object_type_id",
            FieldKind::Text,
            "Object type that groups are objects of.",
        )
        .default("\"1\""),
        Field::new(
            "segments",
            FieldKind::TextMap,
            "Ids of manual segments by segment. A segment without one becomes an attribute that is true or false.",
        ),
        ENDPOINT,
    ],
    secrets: &[
        SecretField {
            name: "site_id",
            required: true,
            help: "Site ID of the workspace.",
        },
        SecretField {
            name: "api_key",
            required: true,
            help: "Track API key of the workspace.",
        },
    ],
    sends: &MessageKind::ALL,
    duplicates: Duplicates::Dropped,
    replays: false,
};

const HOSTS: &[(&str, &str)] = &[
    ("us", "https://track.customer.io"),
    ("eu", "https://track-eu.customer.io"),
];

/// Most bytes of one entity.
const LARGEST: usize = 32_000;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Endpoint {
    Batch,
    Segment { id: String, entered: bool },
}

impl Destination for CustomerIo {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn own_limits(&self, _config: &Config) -> Limits {
        // 500 kB a batch, less room for the frame; 1000 ids for a segment; 100 requests a second.
        Limits::batch(1000, 480_000).rate(100.0, 20.0)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        let limits = self.own_limits(&context.config).configured(&context.config);
        group(
            self,
            &context.config,
            &limits,
            batch,
            |message| match item(context, message) {
                Item::Send { bytes, .. } if bytes > LARGEST => Item::Settled(Outcome::reject(
                    format!("the message takes {bytes} bytes, at most {LARGEST} are taken"),
                )),
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
        if response.status != 207 {
            return isolate(plan, classify(response));
        }
        // What is not listed was taken.
        let body = response.json();
        let errors = body.get("errors").and_then(Value::as_array);
        partial(plan, |position| {
            let error = errors?.iter().find(|error| {
                error.get("batch_index").and_then(Value::as_u64) == u64::try_from(position).ok()
            })?;
            let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or("");
            Some(Outcome::reject(format!(
                "Customer.io refuses {}: {} {}",
                text("field"),
                text("reason"),
                text("message")
            )))
        })
    }

    fn test_request(&self, context: &Context) -> Option<Request> {
        let base = base_url(&context.config, HOSTS);
        let request = HttpRequest::new(Method::Get, format!("{base}/api/v1/accounts/region"));
        Some(Request::Http(request.basic(
            &context.secret("site_id"),
            &context.secret("api_key"),
        )))
    }
}

fn item(context: &Context, message: &Message) -> Item<Endpoint, Value> {
    let user = message.user_id();
    let Some(identifiers) = identifiers(message) else {
        return Item::Settled(Outcome::reject("there is no userId, e-mail or anonymousId"));
    };
    let anonymous = user.is_none() && message.email().is_none();
    if let Some((key, entered)) = audience(message) {
        let segments = context.config.object("segments");
        return match (segments.get(&key).and_then(Value::as_str), user) {
            (Some(id), Some(user)) => Item::json(
                Endpoint::Segment {
                    id: id.to_string(),
                    entered,
                },
                json!(user),
            ),
            (Some(_), None) => {
                Item::Settled(Outcome::discard("a segment holds people with a userId"))
            }
            (None, _) if anonymous => discard_anonymous(),
            (None, _) => person(message, "identify", identifiers, json!({ key: entered })),
        };
    }
    if let Some(name) = event_name(message) {
        let (action, name) = match message.kind {
            MessageKind::Page => ("page", page_name(message, name)),
            MessageKind::Screen => ("screen", page_name(message, name)),
            _ => ("event", name),
        };
        let mut entity = entity(message, action, identifiers);
        set(&mut entity, "name", json!(name));
        set(
            &mut entity,
            "attributes",
            Value::Object(without_nulls(event_properties(message))),
        );
        set(&mut entity, "id", json!(ulid(message)));
        return Item::json(Endpoint::Batch, entity);
    }
    if sets_traits(message.kind) {
        if anonymous {
            return discard_anonymous();
        }
        let mut attributes = message.traits();
        // An empty value removes the attribute.
        for value in attributes.values_mut().filter(|value| value.is_null()) {
            *value = json!("");
        }
        if let Some(anonymous) = message.anonymous_id() {
            attributes.insert("anonymous_id".to_string(), json!(anonymous));
        }
        return person(message, "identify", identifiers, Value::Object(attributes));
    }
    match message.kind {
        MessageKind::Group => match message.text(&["groupId"]) {
            Some(group) => Item::json(
                Endpoint::Batch,
                json!({
                    "type": "object",
                    "action": "identify",
                    "identifiers": {
                        "object_type_id": context.config.required("object_type_id"),
                        "object_id": group,
                    },
                    "attributes": without_nulls(message.traits()),
                    "cio_relationships": [{"identifiers": identifiers}],
                }),
            ),
            None => Item::Settled(Outcome::reject("the message has no groupId")),
        },
        MessageKind::Alias => match (message.text(&["previousId"]), message.user_id()) {
            (Some(previous), Some(user)) => Item::json(
                Endpoint::Batch,
                json!({
                    "type": "person",
                    "action": "merge",
                    "primary": {"id": user},
                    "secondary": {"id": previous},
                }),
            ),
            _ => Item::Settled(Outcome::reject("an alias needs previousId and userId")),
        },
        MessageKind::Delete if anonymous => discard_anonymous(),
        MessageKind::Delete => Item::json(Endpoint::Batch, entity(message, "delete", identifiers)),
        _ => Item::Settled(Outcome::reject("the message has no event name")),
    }
}

fn discard_anonymous() -> Item<Endpoint, Value> {
    Item::Settled(Outcome::discard(
        "Customer.io keeps profiles of people with a userId or an e-mail only",
    ))
}

fn page_name(message: &Message, otherwise: String) -> String {
    message
        .text(&["name"])
        .or_else(|| message.text(&["properties", "url"]))
        .unwrap_or(otherwise)
}

fn identifiers(message: &Message) -> Option<Value> {
    if let Some(id) = message.user_id() {
        return Some(json!({ "id": id }));
    }
    if let Some(email) = message.email() {
        return Some(json!({ "email": email }));
    }
    Some(json!({"anonymous_id": message.anonymous_id()?}))
}

fn entity(message: &Message, action: &str, identifiers: Value) -> Value {
    let mut entity = json!({"type": "person", "action": action, "identifiers": identifiers});
    if let Some(time) = message.time_millis() {
        set(&mut entity, "timestamp", json!(time.div_euclid(1000)));
    }
    entity
}

fn set(entity: &mut Value, key: &str, value: Value) {
    if let Some(object) = entity.as_object_mut() {
        object.insert(key.to_string(), value);
    }
}

fn person(
    message: &Message,
    action: &str,
    identifiers: Value,
    attributes: Value,
) -> Item<Endpoint, Value> {
    let mut entity = entity(message, action, identifiers);
    set(&mut entity, "attributes", attributes);
    Item::json(Endpoint::Batch, entity)
}

/// A ULID by which repetitions are dropped: the time of the event and 80 bits of its id's digest,
/// in Crockford's base 32.
fn ulid(message: &Message) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let time = u128::try_from(message.time_millis().unwrap_or(0)).unwrap_or(0) & ((1 << 48) - 1);
    let hash = sha256_hex(&message.id);
    let random = hash
        .get(..20)
        .and_then(|digits| u128::from_str_radix(digits, 16).ok())
        .unwrap_or(0);
    let bits = (time << 80) | random;
    (0..26)
        .rev()
        .filter_map(|digit| DIGITS.get(((bits >> (digit * 5)) & 31) as usize))
        .map(|byte| char::from(*byte))
        .collect()
}

fn request(context: &Context, group: Group<Endpoint, Value>) -> RequestPlan {
    let base = base_url(&context.config, HOSTS);
    let request = match &group.endpoint {
        Endpoint::Batch => HttpRequest::post_json(
            format!("{base}/api/v2/batch"),
            &json!({ "batch": group.contents }),
        ),
        Endpoint::Segment { id, entered } => {
            let action = if *entered {
                "add_customers"
            } else {
                "remove_customers"
            };
            let id = encode_component(id);
            HttpRequest::post_json(
                format!("{base}/api/v1/segments/{id}/{action}?id_type=id"),
                &json!({ "ids": group.contents }),
            )
        }
    };
    let request = request.basic(&context.secret("site_id"), &context.secret("api_key"));
    RequestPlan::http(request, group.messages)
}
