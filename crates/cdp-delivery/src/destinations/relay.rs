//! Segment and RudderStack: the same calls of the spec, passed on in batches.

use super::spec::{base_url, isolate, ENDPOINT};
use crate::batch::{group, Item};
use crate::config::{Config, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::http::{classify, HttpRequest, HttpResponse, Method};
use crate::message::{millis_text, Message, MessageKind};
use crate::outcome::{Outcome, Plan, Reply, Request, RequestPlan};
use serde_json::{json, Value};

/// Segment's HTTP Tracking API.
pub struct Segment;

/// A RudderStack data plane.
pub struct RudderStack;

/// Largest single message either takes, in bytes.
const LARGEST_MESSAGE: usize = 32_000;

/// What the spec has calls for.
const SENDS: &[MessageKind] = &[
    MessageKind::Track,
    MessageKind::Identify,
    MessageKind::Page,
    MessageKind::Screen,
    MessageKind::Group,
    MessageKind::Alias,
    MessageKind::AudienceEntered,
    MessageKind::AudienceExited,
    MessageKind::TraitChanged,
    MessageKind::ScoreChanged,
];

static SEGMENT: CatalogueEntry = CatalogueEntry {
    kind: "segment",
    name: "Segment",
    description: "The same calls to a Segment source; segments and scores arrive as track and identify calls.",
    category: Category::CustomerDataPlatform,
    fields: &[
        Field::new(
            "region",
            FieldKind::Choice(&["us", "eu"]),
            "Where the workspace lives. The wrong one loses events without an error.",
        )
        .default("\"us\""),
        ENDPOINT,
    ],
    secrets: &[SecretField {
        name: "write_key",
        required: true,
        help: "Write key of the source.",
    }],
    sends: SENDS,
    duplicates: Duplicates::Dropped,
    replays: true,
};

static RUDDERSTACK: CatalogueEntry = CatalogueEntry {
    kind: "rudderstack",
    name: "RudderStack",
    description: "The same calls to a RudderStack data plane; segments and scores arrive as track and identify calls.",
    category: Category::CustomerDataPlatform,
    fields: &[Field::new(
        "data_plane_url",
        FieldKind::Url,
        "URL of the data plane.",
    )
    .required()],
    secrets: &[SecretField {
        name: "write_key",
        required: true,
        help: "Write key of the source.",
    }],
    sends: SENDS,
    duplicates: Duplicates::Dropped,
    replays: true,
};

const SEGMENT_HOSTS: &[(&str, &str)] = &[
    ("us", "https://api.segment.io"),
    ("eu", "https://events.eu1.segmentapis.com"),
];

impl Destination for Segment {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &SEGMENT
    }

    fn own_limits(&self, _config: &Config) -> Limits {
        // 500 kB a batch and 2500 messages in the vendor's own libraries, less room for the
        // frame; 1000 requests a second.
        Limits::batch(2500, 480_000).rate(1000.0, 100.0)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        plan(
            self,
            context,
            batch,
            &base_url(&context.config, SEGMENT_HOSTS),
        )
    }

    fn http_outcomes(
        &self,
        _context: &Context,
        _batch: &[&Message],
        plan: &RequestPlan,
        response: &HttpResponse,
    ) -> Reply {
        // Too large is a 400 here.
        isolate(plan, classify(response))
    }
}

impl Destination for RudderStack {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &RUDDERSTACK
    }

    fn own_limits(&self, _config: &Config) -> Limits {
        Limits::batch(2500, 3_900_000)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        plan(self, context, batch, &data_plane(context))
    }

    fn http_outcomes(
        &self,
        _context: &Context,
        _batch: &[&Message],
        plan: &RequestPlan,
        response: &HttpResponse,
    ) -> Reply {
        isolate(plan, classify(response))
    }

    fn test_request(&self, context: &Context) -> Option<Request> {
        let url = format!("{}/health", data_plane(context));
        Some(Request::Http(HttpRequest::new(Method::Get, url)))
    }
}

fn data_plane(context: &Context) -> String {
    let url = context.config.required("data_plane_url");
    url.trim_end_matches('/').to_string()
}

fn plan(destination: &dyn Destination, context: &Context, batch: &[&Message], base: &str) -> Plan {
    let limits = destination
        .own_limits(&context.config)
        .configured(&context.config);
    let sent_at = millis_text(context.now);
    group(destination, &context.config, &limits, batch, call).into_plan(|group| {
        let body = json!({"batch": group.contents, "sentAt": sent_at});
        let request = HttpRequest::post_json(format!("{base}/v1/batch"), &body)
            .basic(&context.secret("write_key"), "");
        RequestPlan::http(request, group.messages)
    })
}

fn call(message: &Message) -> Item<(), Value> {
    let mut body = match &message.body {
        Value::Object(body) => body.clone(),
        _ => return Item::Settled(Outcome::reject("the message is not an object")),
    };
    if message.person_id().is_none() {
        return Item::Settled(Outcome::reject("there is no userId and no anonymousId"));
    }
    let kind = match message.kind {
        MessageKind::AudienceEntered | MessageKind::AudienceExited => "track",
        MessageKind::TraitChanged | MessageKind::ScoreChanged => "identify",
        kind => kind.as_str(),
    };
    body.insert("type".to_string(), json!(kind));
    if kind == "track" && message.text(&["event"]).is_none() {
        let name = super::spec::event_name(message).unwrap_or_default();
        if name.is_empty() {
            return Item::Settled(Outcome::reject("the message has no event name"));
        }
        body.insert("event".to_string(), json!(name));
    }
    // Both cut ids at 100 characters, and drop what they have seen before.
    let id: String = match message.id.chars().count() {
        0..=100 => message.id.clone(),
        _ => crate::digest::sha256_hex(&message.id),
    };
    body.insert("messageId".to_string(), json!(id));
    // The times of our own pipeline are not the next one's business; with sentAt in the batch it
    // computes the same timestamp again.
    for ours in ["receivedAt", "sentAt", "originalTimestamp"] {
        body.remove(ours);
    }
    if let Some(time) = message.time_text() {
        body.insert("timestamp".to_string(), json!(time));
    }
    match Item::json((), Value::Object(body)) {
        Item::Send { bytes, .. } if bytes > LARGEST_MESSAGE => Item::Settled(Outcome::reject(
            format!("the message takes {bytes} bytes, at most {LARGEST_MESSAGE} are taken"),
        )),
        item => item,
    }
}
