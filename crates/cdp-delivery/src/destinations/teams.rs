//! Microsoft Teams: adaptive cards by a workflow's webhook (or an old connector's).

use super::alert;
use crate::batch::{group, Item};
use crate::config::{Config, ConfigError, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::http::{classify, HttpRequest, HttpResponse};
use crate::message::Message;
use crate::outcome::{Outcome, Plan, Reply, RequestPlan};
use crate::retry_after::retry_after;
use serde_json::{json, Value};

/// See the module.
pub struct Teams;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "teams",
    name: "Microsoft Teams",
    description: "Cards in a Teams channel, with templates, thresholds and a limit a minute.",
    category: Category::Communication,
    fields: &[
        alert::EVENTS,
        alert::THRESHOLDS,
        alert::TEMPLATE,
        alert::TEMPLATES,
        alert::PER_MINUTE,
        Field::new(
            "link",
            FieldKind::Text,
            "Address of a button on the card, with {{path}} templates after the host.",
        ),
        Field::new("link_title", FieldKind::Text, "Text of the button.").default("\"Open\""),
    ],
    secrets: &[SecretField {
        name: "webhook_url",
        required: true,
        help: "URL of the workflow \"When a Teams webhook request is received\".",
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
            if matches!(c, '\\' | '*' | '_' | '[' | ']' | '`') {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        escaped
    },
    // A request may take 28 kB, of which the card's frame needs a part.
    longest: 5000,
};

impl Destination for Teams {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn check(&self, config: &Config, errors: &mut Vec<ConfigError>) {
        alert::check(config, errors);
        if let Some(link) = config.text("link") {
            match alert::link(&link, &Value::Null) {
                Ok(_) => {}
                Err(message) => errors.push(ConfigError::new("link", message)),
            }
        }
    }

    fn own_limits(&self, config: &Config) -> Limits {
        Limits {
            batch_bytes: 28_000,
            ..alert::limits(config, 4.0)
        }
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        let limits = self.own_limits(&context.config);
        group(
            self,
            &context.config,
            &limits,
            batch,
            |message| match alert::post(&context.config, message, &STYLE) {
                Ok(text) => Item::json((), card(context, message, &text)),
                Err(outcome) => Item::Settled(outcome),
            },
        )
        .into_plan(|group| {
            let body = group.contents.into_iter().next().unwrap_or_default();
            let url = context.secret("webhook_url");
            RequestPlan::http(HttpRequest::post_json(url, &body), group.messages)
        })
    }

    fn http_outcomes(
        &self,
        _context: &Context,
        _batch: &[&Message],
        plan: &RequestPlan,
        response: &HttpResponse,
    ) -> Reply {
        let text = response.text();
        let outcome = match response.status {
            404 | 410 => Outcome::auth_blocked(response.summary()),
            _ if text.contains("WorkflowNotFound")
                || text.contains("WorkflowTriggerIsNotEnabled") =>
            {
                Outcome::auth_blocked(response.summary())
            }
            // Old connectors hide errors in a 200.
            200 if text.contains("HTTP error 429") => Outcome::wait(
                response.summary(),
                retry_after(&response.headers, &[], response.at),
            ),
            200 if text.contains("HTTP error 413") => Outcome::reject(response.summary()),
            200 if text.contains("HTTP error 5") => Outcome::retry(response.summary()),
            200 if text.contains("HTTP error") => Outcome::reject(response.summary()),
            _ => classify(response),
        };
        Reply::all(plan, outcome)
    }
}

fn card(context: &Context, message: &Message, text: &str) -> Value {
    // A text block makes one paragraph of its lines.
    let blocks: Vec<Value> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .enumerate()
        .map(|(position, line)| {
            let spacing = if position == 0 { "Default" } else { "None" };
            json!({"type": "TextBlock", "text": line, "wrap": true, "spacing": spacing})
        })
        .collect();
    let mut content = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
    });
    let link = context
        .config
        .text("link")
        .and_then(|link| alert::link(&link, &message.body).ok());
    if let (Some(url), Some(object)) = (link, content.as_object_mut()) {
        let title = context.config.required("link_title");
        object.insert(
            "actions".to_string(),
            json!([{"type": "Action.OpenUrl", "title": title, "url": url}]),
        );
    }
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": content,
        }],
    })
}
