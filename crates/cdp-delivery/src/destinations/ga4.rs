//! Google Analytics 4, by the Measurement Protocol.
//!
//! The protocol answers 2xx to anything it can read and drops silently what it does not like, so
//! whatever can be known beforehand is checked here.

use super::spec::{base_url, event_name, ENDPOINT};
use crate::batch::{group, Group, Item};
use crate::config::{Config, ConfigError, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::digest::sha256_hex;
use crate::http::{HttpRequest, HttpResponse};
use crate::message::{scalar_text, Message, MessageKind};
use crate::outcome::{Outcome, Plan, Request, RequestPlan};
use serde_json::{json, Map, Value};

/// See the module.
pub struct GoogleAnalytics;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "ga4",
    name: "Google Analytics 4",
    description: "Events in Google Analytics 4, by the Measurement Protocol.",
    category: Category::Analytics,
    fields: &[
        Field::new(
            "measurement_id",
            FieldKind::Text,
            "Measurement id (G-…) of a web stream.",
        ),
        Field::new(
            "firebase_app_id",
            FieldKind::Text,
            "Firebase app id of an app stream, instead of a measurement id.",
        ),
        Field::new(
            "region",
            FieldKind::Choice(&["global", "eu"]),
            "Where the data is processed first.",
        )
        .default("\"global\""),
        Field::new(
            "event_names",
            FieldKind::TextMap,
            "Names of events in Google Analytics by their own name; they win over the standard ones.",
        ),
        Field::new(
            "user_properties",
            FieldKind::TextList,
            "Traits that go along as user properties. None by default: Google forbids whatever identifies a person.",
        ),
        ENDPOINT,
    ],
    secrets: &[SecretField {
        name: "api_secret",
        required: true,
        help: "Secret of the Measurement Protocol, made in the stream's settings.",
    }],
    sends: &[
        MessageKind::Track,
        MessageKind::Page,
        MessageKind::Screen,
        MessageKind::Group,
        MessageKind::AudienceEntered,
        MessageKind::AudienceExited,
    ],
    duplicates: Duplicates::Visible,
    replays: true,
};

const HOSTS: &[(&str, &str)] = &[
    ("global", "https://www.google-analytics.com"),
    ("eu", "https://region1.google-analytics.com"),
];

/// Events of the spec that Google Analytics has a name for.
const NAMES: &[(&str, &str)] = &[
    ("Products Searched", "search"),
    ("Product List Viewed", "view_item_list"),
    ("Product Clicked", "select_item"),
    ("Product Viewed", "view_item"),
    ("Product Added", "add_to_cart"),
    ("Product Removed", "remove_from_cart"),
    ("Product Added to Wishlist", "add_to_wishlist"),
    ("Cart Viewed", "view_cart"),
    ("Checkout Started", "begin_checkout"),
    ("Payment Info Entered", "add_payment_info"),
    ("Order Completed", "purchase"),
    ("Order Refunded", "refund"),
    ("Signed Up", "sign_up"),
    ("Signed In", "login"),
];

/// Properties of the spec that Google Analytics has a name for.
const PARAMETERS: &[(&str, &str)] = &[
    ("order_id", "transaction_id"),
    ("revenue", "value"),
    ("total", "value"),
    ("query", "search_term"),
    ("url", "page_location"),
    ("title", "page_title"),
    ("referrer", "page_referrer"),
];

/// Longest value by parameter; 100 characters for the others.
const LONGER: &[(&str, usize)] = &[
    ("page_location", 1000),
    ("page_referrer", 420),
    ("page_title", 300),
];

/// Events older than this are dropped silently.
const OLDEST_MILLIS: i64 = 72 * 3600 * 1000;

/// What all events of a request share.
#[derive(Debug, Clone, PartialEq)]
struct Shared {
    /// `client_id` or `app_instance_id`, and its value.
    instance: (&'static str, String),
    user: Option<String>,
    /// Microseconds since 1970.
    time: i64,
    properties: Map<String, Value>,
}

impl Destination for GoogleAnalytics {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn check(&self, config: &Config, errors: &mut Vec<ConfigError>) {
        let streams = ["measurement_id", "firebase_app_id"]
            .iter()
            .filter(|name| config.text(name).is_some())
            .count();
        if streams != 1 {
            errors.push(ConfigError::new(
                "measurement_id",
                "exactly one of measurement_id and firebase_app_id is required",
            ));
        }
        for (name, value) in config.object("event_names") {
            if value
                .as_str()
                .is_some_and(|text| identifier(text, 40) != text)
            {
                errors.push(
                    ConfigError::new(
                        format!("event_names.{name}"),
                        "is not a name Google Analytics takes",
                    )
                    .hint("at most 40 letters, digits and _, beginning with a letter"),
                );
            }
        }
    }

    fn own_limits(&self, _config: &Config) -> Limits {
        Limits::batch(25, 125_000)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        let limits = self.own_limits(&context.config).configured(&context.config);
        group(self, &context.config, &limits, batch, |message| {
            item(context, message)
        })
        .into_plan(|group| RequestPlan::http(request(context, &group), group.messages))
    }

    fn test_request(&self, context: &Context) -> Option<Request> {
        let base = base_url(&context.config, HOSTS);
        let instance = instance_name(context);
        let body = json!({
            instance: "1234567890.1234567890",
            "events": [{"name": "cdp_connection_test", "params": {}}],
        });
        let url = format!("{base}/debug/mp/collect?{}", query(context));
        Some(Request::Http(HttpRequest::post_json(url, &body)))
    }

    fn http_test_outcome(
        &self,
        _context: &Context,
        response: &HttpResponse,
    ) -> Result<String, String> {
        let body = response.json();
        let complaints: Vec<&str> = body
            .get("validationMessages")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|message| message.get("description")?.as_str())
            .collect();
        match (response.is_success(), complaints.is_empty()) {
            (true, true) => Ok(
                "the event is valid; Google Analytics does not say whether the secret is"
                    .to_string(),
            ),
            (true, false) => Err(complaints.join("; ")),
            _ => Err(response.summary()),
        }
    }
}

fn instance_name(context: &Context) -> &'static str {
    match context.config.text("measurement_id") {
        Some(_) => "client_id",
        None => "app_instance_id",
    }
}

fn query(context: &Context) -> String {
    let (name, id) = match context.config.text("measurement_id") {
        Some(id) => ("measurement_id", id),
        None => (
            "firebase_app_id",
            context.config.required("firebase_app_id"),
        ),
    };
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair(name, &id)
        .append_pair("api_secret", &context.secret("api_secret"))
        .finish()
}

fn item(context: &Context, message: &Message) -> Item<Shared, Value> {
    let time = message.time_millis().unwrap_or(context.now);
    if context.now - time > OLDEST_MILLIS {
        return Item::Settled(Outcome::reject(
            "older than 72 hours; Google Analytics would drop it silently",
        ));
    }
    let Some(instance) = instance(context, message) else {
        return Item::Settled(Outcome::reject(
            "there is no id of a browser, an app or a person",
        ));
    };
    let Some((name, parameters)) = event(context, message) else {
        return Item::Settled(Outcome::reject("the message has no event name or groupId"));
    };
    let shared = Shared {
        instance,
        user: message.user_id(),
        time: time.saturating_mul(1000),
        properties: user_properties(context, message),
    };
    Item::json(shared, json!({"name": name, "params": parameters}))
}

/// The id of the browser or the app. A browser's may be given by the call's integrations, and is
/// otherwise made of the person's id, in Google's form.
fn instance(context: &Context, message: &Message) -> Option<(&'static str, String)> {
    let name = instance_name(context);
    let given = |key: &str| {
        ["Google Analytics 4", "Google Analytics"]
            .iter()
            .find_map(|integration| message.text(&["integrations", integration, key]))
    };
    if name == "app_instance_id" {
        return Some((name, given("appInstanceId")?));
    }
    if let Some(id) = given("clientId") {
        return Some((name, id));
    }
    let person = message.anonymous_id().or_else(|| message.user_id())?;
    let hash = sha256_hex(&person);
    let part = |from: usize| {
        let digits = hash.get(from..from + 8).unwrap_or("0");
        u32::from_str_radix(digits, 16).unwrap_or(0)
    };
    Some((name, format!("{}.{}", part(0), part(8))))
}

fn event(context: &Context, message: &Message) -> Option<(String, Map<String, Value>)> {
    let mut parameters = Map::new();
    let name = match message.kind {
        MessageKind::Page => "page_view".to_string(),
        MessageKind::Screen => {
            if let Some(name) = message.text(&["name"]) {
                parameters.insert("screen_name".to_string(), json!(name));
            }
            "screen_view".to_string()
        }
        MessageKind::Group => {
            let group = message.text(&["groupId"])?;
            parameters.insert("group_id".to_string(), json!(group));
            "join_group".to_string()
        }
        _ => {
            let name = event_name(message)?;
            translate(context, &name)
        }
    };
    if message.kind == MessageKind::Page {
        if let Some(title) = message.text(&["name"]) {
            parameters.insert("page_title".to_string(), json!(title));
        }
    }
    for (key, value) in message.properties() {
        if parameters.len() >= 25 {
            break;
        }
        if key == "products" {
            parameters.insert("items".to_string(), items(&value));
            continue;
        }
        let name = PARAMETERS
            .iter()
            .find(|(from, _)| *from == key)
            .map_or_else(|| identifier(&key, 40), |(_, to)| (*to).to_string());
        if let Some(value) = scalar(&name, &value) {
            parameters.insert(name, value);
        }
    }
    Some((name, parameters))
}

fn translate(context: &Context, name: &str) -> String {
    let given = context.config.object("event_names");
    if let Some(text) = given.get(name).and_then(Value::as_str) {
        return text.to_string();
    }
    NAMES
        .iter()
        .find(|(from, _)| *from == name)
        .map_or_else(|| identifier(name, 40), |(_, to)| (*to).to_string())
}

/// A name Google Analytics takes: letters, digits and `_`, beginning with a letter, without the
/// prefixes that are Google's own.
fn identifier(text: &str, longest: usize) -> String {
    let mut name = String::new();
    for c in text.chars() {
        let c = if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        };
        if !(c == '_' && name.ends_with('_')) {
            name.push(c);
        }
    }
    let name = name.trim_matches('_').to_string();
    let reserved = ["google_", "ga_", "firebase_"]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let name = if reserved || !begins {
        format!("e_{name}")
    } else {
        name
    };
    name.chars().take(longest).collect()
}

fn scalar(name: &str, value: &Value) -> Option<Value> {
    if value.is_number() {
        return Some(value.clone());
    }
    let longest = LONGER
        .iter()
        .find(|(parameter, _)| *parameter == name)
        .map_or(100, |(_, longest)| *longest);
    let text: String = scalar_text(value)?.chars().take(longest).collect();
    Some(json!(text))
}

/// Products under the names that Google Analytics has for them.
fn items(products: &Value) -> Value {
    const FIELDS: &[(&str, &str)] = &[
        ("item_id", "product_id"),
        ("item_id", "sku"),
        ("item_name", "name"),
        ("item_brand", "brand"),
        ("item_category", "category"),
        ("item_variant", "variant"),
        ("coupon", "coupon"),
        ("price", "price"),
        ("quantity", "quantity"),
    ];
    products
        .as_array()
        .into_iter()
        .flatten()
        .map(|product| {
            let mut item = Map::new();
            for (to, from) in FIELDS {
                if let Some(value) = product.get(*from).filter(|value| !value.is_null()) {
                    item.entry((*to).to_string()).or_insert(value.clone());
                }
            }
            Value::Object(item)
        })
        .collect()
}

fn user_properties(context: &Context, message: &Message) -> Map<String, Value> {
    context
        .config
        .list("user_properties")
        .unwrap_or_default()
        .iter()
        .take(25)
        .filter_map(|key| {
            let value = match message.person_trait(key)? {
                number @ Value::Number(_) => number.clone(),
                other => {
                    let text: String = scalar_text(other)?.chars().take(36).collect();
                    json!(text)
                }
            };
            Some((identifier(key, 24), json!({ "value": value })))
        })
        .collect()
}

fn request(context: &Context, group: &Group<Shared, Value>) -> HttpRequest {
    let shared = &group.endpoint;
    let mut body = Map::new();
    body.insert(shared.instance.0.to_string(), json!(shared.instance.1));
    if let Some(user) = &shared.user {
        body.insert("user_id".to_string(), json!(user));
    }
    body.insert("timestamp_micros".to_string(), json!(shared.time));
    if !shared.properties.is_empty() {
        body.insert("user_properties".to_string(), json!(shared.properties));
    }
    body.insert("events".to_string(), json!(group.contents));
    let base = base_url(&context.config, HOSTS);
    HttpRequest::post_json(
        format!("{base}/mp/collect?{}", query(context)),
        &Value::Object(body),
    )
}
