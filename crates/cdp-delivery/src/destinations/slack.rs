//! Slack: posts by an incoming webhook, or by a bot into any channel.

use super::alert;
use crate::batch::{group, Item};
use crate::config::{Config, ConfigError, Field, FieldKind, Limits, SecretField};
use crate::destination::{
    test_outcome, CatalogueEntry, Category, Context, Destination, Duplicates,
};
use crate::http::{classify, HttpRequest, HttpResponse};
use crate::message::Message;
use crate::outcome::{Outcome, Plan, Reply, Request, RequestPlan};
use crate::retry_after::retry_after;
use serde_json::{json, Value};

/// See the module.
pub struct Slack;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "slack",
    name: "Slack",
    description: "Posts in a Slack channel: alerts for sign-ups, payments and segments, with templates, thresholds and a limit a minute.",
    category: Category::Communication,
    fields: &[
        Field::new(
            "channel",
            FieldKind::Text,
            "Channel (#name or id). Needed with a bot token; an incoming webhook has its own and may ignore it.",
        ),
        alert::EVENTS,
        alert::THRESHOLDS,
        alert::TEMPLATE,
        alert::TEMPLATES,
        alert::PER_MINUTE,
        Field::new("username", FieldKind::Text, "Name the post appears under."),
        Field::new(
            "icon_emoji",
            FieldKind::Text,
            "Emoji beside the post, such as :moneybag:.",
        ),
        Field::new(
            "api_url",
            FieldKind::Url,
            "Base of the Web API, for a gateway in between.",
        )
        .default("\"https://slack.com/api\""),
    ],
    secrets: &[
        SecretField {
            name: "webhook_url",
            required: false,
            help: "URL of the incoming webhook, https://hooks.slack.com/services/….",
        },
        SecretField {
            name: "bot_token",
            required: false,
            help: "Bot token (xoxb-…) with the scope chat:write; used instead of a webhook.",
        },
    ],
    sends: alert::SENDS,
    duplicates: Duplicates::Visible,
    replays: false,
};

const STYLE: alert::Style = alert::Style {
    bold: |text| format!("*{text}*"),
    escape: |text| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    },
    longest: 40_000,
};

/// Errors of the Web API that a later attempt may not meet.
const TRANSIENT: &[&str] = &[
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "team_added_to_org",
];

/// Errors of the Web API about the token or the channel: every message would fail.
const BLOCKING: &[&str] = &[
    "not_authed",
    "invalid_auth",
    "token_revoked",
    "token_expired",
    "account_inactive",
    "missing_scope",
    "no_permission",
    "access_denied",
    "channel_not_found",
    "not_in_channel",
    "is_archived",
];

impl Destination for Slack {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn check(&self, config: &Config, errors: &mut Vec<ConfigError>) {
        alert::check(config, errors);
    }

    fn validate_secrets(
        &self,
        config: &Value,
        secrets: &crate::secrets::Secrets,
    ) -> Result<(), Vec<ConfigError>> {
        let config = ENTRY.config(config);
        let has = |name: &str| secrets.get(name).is_some() || config.given(name).is_some();
        if has("bot_token") && config.text("channel").is_none() {
            return Err(vec![ConfigError::new(
                "channel",
                "is required with a bot token",
            )]);
        }
        if has("bot_token") || has("webhook_url") {
            return Ok(());
        }
        Err(vec![ConfigError::new(
            "webhook_url",
            "a webhook_url or a bot_token is required",
        )])
    }

    fn own_limits(&self, config: &Config) -> Limits {
        // One post a second and channel; more is throttled.
        alert::limits(config, 1.0)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        let limits = self.own_limits(&context.config);
        let grouped = group(
            self,
            &context.config,
            &limits,
            batch,
            |message| match alert::post(&context.config, message, &STYLE) {
                Ok(text) => Item::json((), post(context, &text)),
                Err(outcome) => Item::Settled(outcome),
            },
        );
        grouped.into_plan(|group| {
            let body = group.contents.into_iter().next().unwrap_or_default();
            RequestPlan::http(request(context, &body), group.messages)
        })
    }

    fn http_outcomes(
        &self,
        context: &Context,
        _batch: &[&Message],
        plan: &RequestPlan,
        response: &HttpResponse,
    ) -> Reply {
        let outcome = if context.optional_secret("bot_token").is_some() {
            of_web_api(response)
        } else {
            of_webhook(response)
        };
        Reply::all(plan, outcome)
    }

    fn test_request(&self, context: &Context) -> Option<Request> {
        Some(Request::Http(match context.optional_secret("bot_token") {
            Some(token) => HttpRequest::post_json(
                format!("{}/auth.test", context.config.required("api_url")),
                &json!({}),
            )
            .bearer(&token),
            // An empty post is refused for being empty by a hook that lives.
            None => HttpRequest::post_json(context.secret("webhook_url"), &json!({})),
        }))
    }

    fn http_test_outcome(
        &self,
        context: &Context,
        response: &HttpResponse,
    ) -> Result<String, String> {
        if context.optional_secret("bot_token").is_some() {
            return match of_web_api(response) {
                Outcome::Delivered => Ok("the token is valid".to_string()),
                outcome => Err(outcome.reason().unwrap_or("refused").to_string()),
            };
        }
        let text = response.text();
        if response.status == 400 && matches!(text.trim(), "no_text" | "invalid_payload") {
            return Ok("the webhook is alive".to_string());
        }
        test_outcome(response)
    }
}

fn post(context: &Context, text: &str) -> Value {
    let mut body = json!({ "text": text });
    if let Some(object) = body.as_object_mut() {
        for name in ["channel", "username", "icon_emoji"] {
            if let Some(value) = context.config.text(name) {
                object.insert(name.to_string(), Value::String(value));
            }
        }
    }
    body
}

fn request(context: &Context, body: &Value) -> HttpRequest {
    match context.optional_secret("bot_token") {
        Some(token) => {
            let url = format!("{}/chat.postMessage", context.config.required("api_url"));
            HttpRequest::new(crate::http::Method::Post, url)
                .header("content-type", "application/json; charset=utf-8")
                .body(body.to_string().into_bytes())
                .bearer(&token)
        }
        None => HttpRequest::post_json(context.secret("webhook_url"), body),
    }
}

/// A webhook answers in plain text; 403, 404 and 410 mean the hook or its channel is gone, which
/// no message can help.
fn of_webhook(response: &HttpResponse) -> Outcome {
    match response.status {
        403 | 404 | 410 => Outcome::auth_blocked(response.summary()),
        _ => classify(response),
    }
}

/// The Web API answers errors with status 200.
fn of_web_api(response: &HttpResponse) -> Outcome {
    if !response.is_success() {
        return classify(response);
    }
    let body = response.json();
    if body.get("ok") == Some(&Value::Bool(true)) {
        return Outcome::Delivered;
    }
    let error = body
        .get("error")
        .and_then(Value::as_str)
        .unwrap_or("an answer without ok");
    let reason = format!("Slack says {error}");
    if error == "ratelimited" || error == "rate_limited" {
        let after = retry_after(&response.headers, &response.body, response.at);
        Outcome::wait(reason, after)
    } else if BLOCKING.contains(&error) {
        Outcome::auth_blocked(reason)
    } else if TRANSIENT.contains(&error) || body.is_null() {
        Outcome::retry(reason)
    } else {
        Outcome::reject(reason)
    }
}
