//! Any HTTP endpoint, by Standard Webhooks 1.0.0.

use crate::batch::{group, Group, Item};
use crate::config::{
    add_headers, check_headers, Config, ConfigError, Field, FieldKind, Limits, SecretField,
};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::digest::sha256_hex;
use crate::http::{HttpRequest, HttpResponse, Method};
use crate::message::{millis_text, Message, MessageKind};
use crate::outcome::{Outcome, Plan, Request, RequestPlan, Response};
use crate::signing::signatures;
use crate::template::{encode_component, Template};
use serde_json::json;

/// See the module.
pub struct Webhook;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "webhook",
    name: "Webhook",
    description: "Any HTTP endpoint. Messages are sent as they are, with a stable id and an optional signature (Standard Webhooks).",
    category: Category::Generic,
    fields: &[
        Field::new(
            "url",
            FieldKind::Url,
            "Where to send. The path and the query may have {{path}} templates, the host may not.",
        )
        .required(),
        Field::new(
            "method",
            FieldKind::Choice(&["POST", "PUT", "PATCH"]),
            "Method of the request.",
        )
        .default("\"POST\""),
        Field::new("headers", FieldKind::TextMap, "Further headers."),
        Field::new(
            "batch",
            FieldKind::Integer { min: 1, max: 10_000 },
            "Send up to so many messages in a request, as {\"batch\": […]}. Without it a request is one message.",
        ),
    ],
    secrets: &[
        SecretField {
            name: "signing_secret",
            required: false,
            help: "Signs every request: whsec_ and base64, or any text.",
        },
        SecretField {
            name: "previous_signing_secret",
            required: false,
            help: "Signs too, while receivers change from the one to the other.",
        },
        SecretField {
            name: "authorization",
            required: false,
            help: "Value of the Authorization header.",
        },
    ],
    sends: &MessageKind::ALL,
    duplicates: Duplicates::Dropped,
    replays: true,
};

impl Destination for Webhook {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn check(&self, config: &Config, errors: &mut Vec<ConfigError>) {
        check_headers("headers", &config.object("headers"), errors);
        match Template::parse(&config.required("url")) {
            Err(error) => errors.push(ConfigError::new("url", error.to_string())),
            Ok(template) if template.is_plain() => {}
            Ok(_) if config.given("batch").is_some() => errors.push(
                ConfigError::new(
                    "url",
                    "cannot depend on the message when messages are batched",
                )
                .hint("leave out \"batch\", or the template"),
            ),
            Ok(template) if !template.fixes_host() => errors.push(
                ConfigError::new("url", "a template cannot change scheme, host or port")
                    .hint("start with https://host/ before the first {{"),
            ),
            Ok(_) => {}
        }
    }

    fn own_limits(&self, config: &Config) -> Limits {
        let size = config
            .integer("batch")
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(1);
        Limits::batch(size.max(1), 5_000_000)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        let limits = self.own_limits(&context.config).configured(&context.config);
        let batched = context.config.given("batch").is_some();
        let template = Template::parse(&context.config.required("url"));
        let grouped = group(self, &context.config, &limits, batch, |message| {
            let Ok(template) = &template else {
                return Item::Settled(Outcome::reject("the URL is not a valid template"));
            };
            let url = template.render(&message.body, encode_component);
            if !template.is_plain() && !template.fixes_host() {
                return Item::Settled(Outcome::reject("the URL's template changes the host"));
            }
            // Written once: a batch is its messages' texts side by side.
            let content = message.body.to_string();
            Item::Send {
                bytes: content.len() + 1,
                endpoint: url,
                content,
                key: None,
            }
        });
        grouped.into_plan(|group| request(context, batch, group, batched))
    }

    /// Asks for the headers alone: nothing is posted.
    fn test_request(&self, context: &Context) -> Option<Request> {
        let url = context.config.required("url");
        Template::parse(&url).ok().filter(Template::is_plain)?;
        let mut request = HttpRequest::new(Method::Head, url);
        if let Some(value) = context.optional_secret("authorization") {
            request = request.header("authorization", value);
        }
        add_headers(&mut request, &context.config.object("headers"));
        Some(Request::Http(request))
    }

    /// Endpoints that take posts need not know HEAD: one that does not is sent a message that says it is a test.
    fn further_test(&self, context: &Context, answer: &Response) -> Option<Request> {
        let Response::Http(answer) = answer else {
            return None;
        };
        if !matches!(answer.status, 404 | 405 | 501) {
            return None;
        }
        let id = format!("cdp-test-{}", context.now);
        let message = Message {
            body: json!({
                "type": "track",
                "event": "Destination Tested",
                "messageId": id,
                "anonymousId": "cdp-test",
                "properties": {},
                "context": {"test": true},
                "timestamp": millis_text(context.now),
            }),
            id,
            profile_id: 0,
            kind: MessageKind::Track,
            replay: false,
            attempt: 1,
        };
        let plan = self.requests(context, &[&message]);
        plan.requests.into_iter().next().map(|plan| plan.request)
    }

    fn http_test_outcome(
        &self,
        _context: &Context,
        response: &HttpResponse,
    ) -> Result<String, String> {
        match response.status {
            401 | 403 | 407 => Err(format!(
                "the credentials are refused: {}",
                response.summary()
            )),
            status @ 200..=299 => Ok(format!("the endpoint answers (HTTP {status})")),
            _ => Err(response.summary()),
        }
    }
}

fn request(
    context: &Context,
    batch: &[&Message],
    group: Group<String, String>,
    batched: bool,
) -> RequestPlan {
    let ids: Vec<&str> = group
        .messages
        .iter()
        .filter_map(|index| batch.get(*index))
        .map(|message| message.id.as_str())
        .collect();
    let (id, body) = match (batched, group.contents.as_slice()) {
        (false, [only]) => (header_id(ids.first().unwrap_or(&"")), only.clone()),
        (_, contents) => (
            batch_id(&ids),
            format!("{{\"batch\":[{}]}}", contents.join(",")),
        ),
    };
    let body = body.into_bytes();
    let timestamp = context.now.div_euclid(1000);
    let method = Method::parse(&context.config.required("method")).unwrap_or(Method::Post);
    let mut request =
        HttpRequest::new(method, group.endpoint).header("content-type", "application/json");
    if let Some(value) = context.optional_secret("authorization") {
        request = request.header("authorization", value);
    }
    add_headers(&mut request, &context.config.object("headers"));
    request = request
        .header("webhook-id", id.clone())
        .header("webhook-timestamp", timestamp.to_string());
    let secrets: Vec<String> = ["signing_secret", "previous_signing_secret"]
        .iter()
        .filter_map(|name| context.optional_secret(name))
        .collect();
    if !secrets.is_empty() {
        let value = signatures(secrets.iter().map(String::as_str), &id, timestamp, &body);
        request = request.header("webhook-signature", value);
    }
    RequestPlan::http(request.body(body), group.messages)
}

/// The id of a message as a header: what headers and the signature scheme cannot carry (control
/// characters, the separator ".") makes it a digest, the same on every attempt.
fn header_id(id: &str) -> String {
    let fits = !id.is_empty()
        && id
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'.');
    if fits {
        id.to_string()
    } else {
        batch_id(&[id])
    }
}

/// The id of a batch follows from the ids in it: the same batch has the same id.
fn batch_id(ids: &[&str]) -> String {
    let digest = sha256_hex(&ids.join("\n"));
    format!("msg_{}", digest.get(..32).unwrap_or(&digest))
}
