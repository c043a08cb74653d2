//! What every destination owes the framework, whatever messages and answers it is given.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use cdp_delivery::config::check_url_text;
use cdp_delivery::http::HttpResponse;
use cdp_delivery::sql::SqlResponse;
use cdp_delivery::ssrf::{check_url, AllowList};
use cdp_delivery::{
    catalogue, destination, take_secrets, Context, Destination, Message, MessageKind, Outcome,
    Request, RequestPlan, Response, Secrets,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{json, Value};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

/// A destination with a configuration and secrets from one of its golden files.
struct Case {
    destination: &'static dyn Destination,
    config: Value,
    secrets: Secrets,
}

fn cases() -> Vec<Case> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases = Vec::new();
    for entry in catalogue() {
        let mut files: Vec<_> = fs::read_dir(golden.join(entry.kind))
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        files.sort();
        for file in files {
            let given: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
            if given.get("config").is_none() {
                continue;
            }
            let secrets = given["secrets"].as_object().cloned().unwrap_or_default();
            cases.push(Case {
                destination: destination(entry.kind).unwrap(),
                config: given["config"].clone(),
                secrets: secrets
                    .into_iter()
                    .map(|(name, value)| (name, value.as_str().unwrap().to_string()))
                    .collect(),
            });
        }
    }
    cases
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z_]{1,6}",
        1 => Just(String::new()),
        1 => Just("a@b.example".to_string()),
        1 => Just("2026-01-02T00:00:00Z".to_string()),
        1 => "\\PC{0,12}",
        1 => Just("\r\nX-Evil: 1\u{0}".to_string()),
        1 => Just("../..//@evil.example:1?x#y".to_string()),
        1 => Just("power_users".to_string()),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Bodies that look like messages in places, and like anything in others.
fn any_body() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "userId",
        "anonymousId",
        "event",
        "name",
        "groupId",
        "previousId",
        "timestamp",
        "properties",
        "traits",
        "context",
        "messageId",
    ]);
    let object = prop::collection::btree_map(text(), any_value(), 0..5)
        .prop_map(|map| Value::Object(map.into_iter().collect()));
    let person = any::<bool>().prop_map(|set| {
        let traits = json!({"email": "ann@example.com", "behaviour_score": 5, "name": "Ann"});
        let properties = json!({"audience_key": "power_users", "products": [{"sku": "a"}]});
        if set {
            json!({"userId": "u1", "event": "Order Completed", "groupId": "acme.example",
                   "previousId": "p", "timestamp": "2026-01-02T02:00:00Z",
                   "traits": traits, "properties": properties, "context": {"traits": traits}})
        } else {
            json!({})
        }
    });
    let extra = prop::collection::vec((key, prop_oneof![any_value(), object]), 0..5);
    (person, extra).prop_map(|(mut body, extra)| {
        for (key, value) in extra {
            body[key] = value;
        }
        body
    })
}

fn any_batch() -> impl Strategy<Value = Vec<Message>> {
    let one = (
        text(),
        0i64..4,
        prop::sample::select(MessageKind::ALL.to_vec()),
        any_body(),
        prop::bool::weighted(0.1),
    );
    prop::collection::vec(one, 0..14).prop_map(|messages| {
        messages
            .into_iter()
            .enumerate()
            .map(|(index, (id, profile_id, kind, body, replay))| Message {
                id: format!("{id}{index}"),
                profile_id,
                kind,
                body,
                replay,
                attempt: 1,
            })
            .collect()
    })
}

fn any_answer() -> impl Strategy<Value = HttpResponse> {
    let status = prop_oneof![
        3 => Just(200u16),
        1 => prop::sample::select(vec![201, 202, 204, 207, 400, 401, 403, 404, 409, 413, 429, 500]),
        1 => 100u16..600,
    ];
    let body = prop_oneof![
        3 => any_value().prop_map(|value| value.to_string()),
        1 => Just(r#"{"data":{"id":"x","items":[{"item":{"id":3}}]},"id":"y","access_token":"t","instance_url":"https://i.example"}"#.to_string()),
        1 => Just(r#"{"errors":[{"batch_index":0,"index":0,"input_array":"events","message":"no","code":"PROPERTY_DOESNT_EXIST","context":{"propertyName":["a"]}}],"failed_records":[{"index":1}],"throttled_events":[0],"silenced_events":[1],"results":[{"id":"1"}],"message":"success"}"#.to_string()),
        1 => "\\PC{0,30}",
    ];
    (status, body, text()).prop_map(|(status, body, header)| HttpResponse {
        status,
        headers: vec![("retry-after".to_string(), header)],
        body: body.into_bytes(),
        truncated: false,
        at: 1_767_323_045_000,
    })
}

/// Every index exactly once.
fn covers(mut seen: Vec<usize>, mut expected: Vec<usize>) -> bool {
    seen.sort_unstable();
    expected.sort_unstable();
    seen == expected
}

fn check_request(case: &Case, request: &Request) {
    let Request::Http(http) = request else {
        return;
    };
    check_url_text(&http.url).unwrap_or_else(|error| panic!("{}: {error}", http.url));
    // Wherever a configuration points to, messages cannot make it point elsewhere.
    let host = url::Url::parse(&http.url)
        .unwrap()
        .host_str()
        .unwrap()
        .to_string();
    assert!(!host.contains("evil"), "{}", http.url);
    assert!(
        check_url(&http.url, &AllowList::default()).is_ok(),
        "{}",
        http.url
    );
    let mut names = HashSet::new();
    for (name, value) in &http.headers {
        assert!(names.insert(name), "{name} twice");
        assert!(reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok());
        assert!(
            reqwest::header::HeaderValue::from_str(value).is_ok(),
            "{name}: {value}"
        );
    }
    let limits = case.destination.limits(&case.config);
    assert!(
        http.body.len() <= limits.batch_bytes + limits.batch_bytes / 5 + 10_000,
        "{} bytes",
        http.body.len()
    );
}

/// Plays a request and its follow-ups against random answers.
fn play(
    case: &Case,
    context: &Context,
    batch: &[&Message],
    plan: &RequestPlan,
    answers: &[HttpResponse],
    depth: usize,
) {
    check_request(case, &plan.request);
    let Some(answer) = answers.get(depth) else {
        return;
    };
    let response = match plan.request {
        Request::Http(_) => Response::Http(answer.clone()),
        Request::Sql(_) => Response::Sql(match answer.status {
            200 => SqlResponse::Done(vec![1]),
            status => SqlResponse::Failed {
                sqlstate: format!("{status}01"),
                message: answer.text(),
            },
        }),
    };
    let reply = case.destination.outcomes(context, batch, plan, &response);
    let seen = reply.settled.iter().map(|(index, _)| *index);
    let next = reply
        .next
        .iter()
        .flat_map(|next| next.messages.iter().copied());
    assert!(covers(seen.chain(next).collect(), plan.messages.clone()));
    for next in &reply.next {
        play(case, context, batch, next, answers, depth + 1);
    }
}

fn check_batch(case: &Case, batch: &[Message], answers: &[HttpResponse]) {
    let memory = HashMap::new();
    let context = Context {
        config: case.destination.catalogue().config(&case.config),
        secrets: &case.secrets,
        now: 1_767_323_045_000,
        memory: &memory,
    };
    let refs: Vec<&Message> = batch.iter().collect();
    let plan = case.destination.requests(&context, &refs);
    assert_eq!(plan, case.destination.requests(&context, &refs), "not pure");
    let seen = plan.settled.iter().map(|(index, _)| *index);
    let sent = plan
        .requests
        .iter()
        .flat_map(|request| request.messages.iter().copied());
    assert!(covers(
        seen.chain(sent).collect(),
        (0..batch.len()).collect()
    ));
    let limits = case.destination.limits(&case.config);
    let mut last: HashMap<i64, usize> = HashMap::new();
    for request in &plan.requests {
        assert!(request.messages.len() <= limits.batch_size);
        for index in &request.messages {
            // The order of a person's messages is the order of the requests and in them.
            let before = last.insert(batch[*index].profile_id, *index);
            assert!(before.is_none_or(|before| before < *index));
        }
        play(case, &context, &refs, request, answers, 0);
    }
    let sends = case.destination.catalogue().sends;
    for (index, outcome) in &plan.settled {
        let refused = matches!(
            outcome,
            Outcome::Discarded { .. } | Outcome::Reject { .. } | Outcome::AuthBlocked { .. }
        );
        assert!(refused, "{outcome:?}");
        if !sends.contains(&batch[*index].kind) {
            assert_eq!(outcome.name(), "discarded");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_260_102),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_destination_keeps_the_contract(
        batch in any_batch(),
        answers in prop::collection::vec(any_answer(), 5),
    ) {
        for case in cases() {
            check_batch(&case, &batch, &answers);
        }
    }
}

#[test]
fn the_catalogue_is_complete() {
    let kinds: Vec<&str> = catalogue().iter().map(|entry| entry.kind).collect();
    let unique: HashSet<&&str> = kinds.iter().collect();
    assert_eq!(unique.len(), kinds.len());
    for kind in [
        "webhook",
        "slack",
        "mixpanel",
        "attio",
        "segment",
        "rudderstack",
        "amplitude",
        "posthog",
        "ga4",
        "heap",
        "hubspot",
        "salesforce",
        "pipedrive",
        "intercom",
        "customerio",
        "braze",
        "klaviyo",
        "discord",
        "teams",
        "postgres",
    ] {
        assert!(destination(kind).is_some(), "{kind}");
    }
    assert!(destination("nonsense").is_none());
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/destinations");
    for entry in catalogue() {
        let page = docs.join(format!("{}.md", entry.kind));
        let text = fs::read_to_string(&page).unwrap_or_default();
        for field in entry.fields {
            assert!(!field.help.is_empty());
            let default = field.default.map(serde_json::from_str::<Value>);
            assert!(
                default.is_none_or(|default| default.is_ok()),
                "{}",
                field.name
            );
            assert!(
                text.contains(&format!("`{}`", field.name)),
                "{} does not explain {}",
                page.display(),
                field.name
            );
        }
        for secret in entry.secrets {
            assert!(
                text.contains(&format!("`{}`", secret.name)),
                "{} does not explain {}",
                page.display(),
                secret.name
            );
        }
        assert_eq!(entry.schema()["type"], "object");
        check_example(entry.kind, &text);
    }
}

/// The example of a page is a definition that is accepted.
fn check_example(kind: &str, page: &str) {
    let sql = page
        .split("```sql\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    assert!(sql.contains(&format!("'{kind}'")), "{kind}");
    let objects: Vec<Value> = sql
        .split('\'')
        .filter(|part| part.starts_with('{'))
        .map(|part| serde_json::from_str(part).unwrap())
        .collect();
    let none = json!({});
    let (config, secrets) = (&objects[0], objects.get(1).unwrap_or(&none));
    let destination = destination(kind).unwrap();
    destination.validate(config).unwrap();
    let secrets: Secrets = secrets
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let known: Vec<&str> = destination
        .catalogue()
        .secrets
        .iter()
        .map(|s| s.name)
        .collect();
    assert!(secrets.names().all(|name| known.contains(&name)), "{kind}");
    destination.validate_secrets(config, &secrets).unwrap();
}

/// Secrets in a configuration are moved out of it, and work from either place.
#[test]
fn secrets_are_taken_out_of_configurations() {
    let slack = destination("slack").unwrap();
    let url = "https://hooks.slack.example/x";
    let mut config = json!({"channel": url, "webhookUrl": url});
    slack.validate(&config).unwrap();
    slack.validate_secrets(&config, &Secrets::new()).unwrap();
    let taken = take_secrets(slack.catalogue(), &mut config);
    assert_eq!(config, json!({ "channel": url }));
    assert_eq!(taken["webhook_url"], url);
    assert!(slack.validate_secrets(&config, &Secrets::new()).is_err());
}
