//! Discord: posts by a webhook.

use super::alert;
use crate::batch::{group, Item};
use crate::config::{Config, ConfigError, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::http::{classify, HttpRequest, HttpResponse, Method};
use crate::message::Message;
use crate::outcome::{Outcome, Plan, Reply, Request, RequestPlan};
use serde_json::{json, Value};

/// See the module.
pub struct Discord;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "discord",
    name: "Discord",
    description: "Posts in a Discord channel, with templates, thresholds and a limit a minute.",
    category: Category::Communication,
    fields: &[
        alert::EVENTS,
        alert::THRESHOLDS,
        alert::TEMPLATE,
        alert::TEMPLATES,
        alert::PER_MINUTE,
        Field::new("username", FieldKind::Text, "Name the post appears under."),
        Field::new("thread_id", FieldKind::Text, "Id of the thread to post in."),
    ],
    secrets: &[SecretField {
        name: "webhook_url",
        required: true,
        help: "URL of the webhook, https://discord.com/api/webhooks/….",
    }],
    sends: alert::SENDS,
    duplicates: Duplicates::Visible,
    replays: false,
};

const STYLE: alert::Style = alert::Style {
    bold: |text| format!("**{text}**"),
    escape: |text| {
        let mut escaped = String::with_capacity(text.len());
        for c in text.chars() {
            if matches!(
                c,
                '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '#' | '[' | ']'
            ) {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        escaped
    },
    longest: 2000,
};

impl Destination for Discord {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn check(&self, config: &Config, errors: &mut Vec<ConfigError>) {
        alert::check(config, errors);
        let digits = config
            .text("thread_id")
            .is_none_or(|id| id.chars().all(|c| c.is_ascii_digit()));
        if !digits {
            errors.push(ConfigError::new("thread_id", "must be a number"));
        }
    }

    fn own_limits(&self, config: &Config) -> Limits {
        // Commonly five posts in two seconds; the answer to a sixth says how long to wait.
        alert::limits(config, 2.0)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        let limits = self.own_limits(&context.config);
        group(
            self,
            &context.config,
            &limits,
            batch,
            |message| match alert::post(&context.config, message, &STYLE) {
                Ok(text) => Item::json((), post(context, &text)),
                Err(outcome) => Item::Settled(outcome),
            },
        )
        .into_plan(|group| {
            let body = group.contents.into_iter().next().unwrap_or_default();
            RequestPlan::http(HttpRequest::post_json(url(context), &body), group.messages)
        })
    }

    fn http_outcomes(
        &self,
        _context: &Context,
        _batch: &[&Message],
        plan: &RequestPlan,
        response: &HttpResponse,
    ) -> Reply {
        // The webhook or its thread is gone: no message can help.
        let outcome = match response.status {
            404 | 410 => Outcome::auth_blocked(response.summary()),
            _ => classify(response),
        };
        Reply::all(plan, outcome)
    }

    fn test_request(&self, context: &Context) -> Option<Request> {
        Some(Request::Http(HttpRequest::new(
            Method::Get,
            context.secret("webhook_url"),
        )))
    }

    fn http_test_outcome(
        &self,
        _context: &Context,
        response: &HttpResponse,
    ) -> Result<String, String> {
        let webhook = response.json();
        match webhook.get("name").and_then(Value::as_str) {
            Some(name) if response.is_success() => Ok(format!("the webhook \"{name}\" exists")),
            _ => Err(response.summary()),
        }
    }
}

/// With `wait`, so that a post that is not kept is an error.
fn url(context: &Context) -> String {
    let given = context.secret("webhook_url");
    match url::Url::parse(&given) {
        Ok(mut url) => {
            url.query_pairs_mut().append_pair("wait", "true");
            if let Some(thread) = context.config.text("thread_id") {
                url.query_pairs_mut().append_pair("thread_id", &thread);
            }
            url.to_string()
        }
        Err(_) => given,
    }
}

fn post(context: &Context, text: &str) -> Value {
    // Nobody is pinged by what a message happens to contain.
    let mut body = json!({"content": text, "allowed_mentions": {"parse": []}});
    if let (Some(name), Some(object)) = (context.config.text("username"), body.as_object_mut()) {
        object.insert("username".to_string(), json!(name));
    }
    body
}
