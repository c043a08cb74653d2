//! Golden files of the destinations: `golden/<kind>/*.json`.
//!
//! A file holds messages and the exact requests they become, and for each request answers and
//! what they mean for each message, including follow-up requests. `UPDATE_GOLDEN=1` writes what
//! the code does into the files; read the difference before you commit it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use cdp_delivery::http::{HttpRequest, HttpResponse};
use cdp_delivery::sql::SqlResponse;
use cdp_delivery::{
    catalogue, destination, Context, Destination, Message, MessageKind, Outcome, Plan, Reply,
    Request, RequestPlan, Response, Secrets,
};
use serde_json::{json, Map, Value};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn files(kind: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory().join(kind))
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    files.sort();
    files
}

#[test]
fn golden_files() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut failures = Vec::new();
    for entry in catalogue() {
        let files = files(entry.kind);
        assert!(!files.is_empty(), "no golden files for {}", entry.kind);
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let given: Value = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let actual = run(destination(entry.kind).unwrap(), &given);
            if actual == given {
                continue;
            }
            if update {
                fs::write(&file, layout(&actual, 0) + "\n").unwrap();
            } else {
                failures.push(format!(
                    "{}:\n{}",
                    file.display(),
                    difference(&given, &actual, "")
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Every class of answer is shown by some golden file of every HTTP destination.
#[test]
fn golden_files_cover_the_error_classes() {
    for entry in catalogue() {
        let all: String = files(entry.kind)
            .iter()
            .map(|file| fs::read_to_string(file).unwrap().replace("\": ", "\":"))
            .collect();
        for class in ["delivered", "retry", "reject", "auth_blocked"] {
            assert!(
                all.contains(&format!("\"{class}\"")),
                "no golden file of {} shows {class}",
                entry.kind
            );
        }
        assert!(
            all.contains("\"invalid\""),
            "{}: no invalid config",
            entry.kind
        );
        for kind in entry.sends {
            assert!(
                all.contains(&format!("\"kind\":\"{}\"", kind.as_str())),
                "no golden file of {} sends {}",
                entry.kind,
                kind.as_str()
            );
        }
    }
}

/// JSON that fits on a line stands on a line.
fn layout(value: &Value, indent: usize) -> String {
    let line = value.to_string();
    let pad = " ".repeat(indent + 2);
    let close = " ".repeat(indent);
    match value {
        _ if line.len() + indent <= 110 => line,
        Value::Array(items) => {
            let items: Vec<String> = items
                .iter()
                .map(|item| format!("{pad}{}", layout(item, indent + 2)))
                .collect();
            format!("[\n{}\n{close}]", items.join(",\n"))
        }
        Value::Object(object) => {
            let items: Vec<String> = object
                .iter()
                .map(|(key, item)| format!("{pad}{}: {}", json!(key), layout(item, indent + 2)))
                .collect();
            format!("{{\n{}\n{close}}}", items.join(",\n"))
        }
        _ => line,
    }
}

fn difference(given: &Value, actual: &Value, path: &str) -> String {
    match (given, actual) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            keys.iter()
                .map(|key| {
                    let (x, y) = (a.get(*key), b.get(*key));
                    match (x, y) {
                        (Some(x), Some(y)) => difference(x, y, &format!("{path}.{key}")),
                        _ => format!("  {path}.{key}: given {x:?}, actual {y:?}\n"),
                    }
                })
                .collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .map(|(i, (x, y))| difference(x, y, &format!("{path}[{i}]")))
            .collect(),
        _ if given == actual => String::new(),
        _ => format!("  {path}: given {given}, actual {actual}\n"),
    }
}

struct Case {
    config: Value,
    secrets: Secrets,
    now: i64,
    memory: HashMap<String, String>,
    messages: Vec<Message>,
}

fn read(given: &Value, destination: &dyn Destination) -> Case {
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let map = |value: &Value| -> HashMap<String, String> {
        value
            .as_object()
            .map(|object| {
                object
                    .iter()
                    .map(|(key, value)| (key.clone(), text(value)))
                    .collect()
            })
            .unwrap_or_default()
    };
    let now = given
        .get("now")
        .map_or("2026-01-02T03:04:05Z", |v| v.as_str().unwrap());
    let messages = given["messages"]
        .as_array()
        .map(|messages| messages.iter().enumerate().map(read_message).collect());
    let case = Case {
        config: given.get("config").cloned().unwrap_or_else(|| json!({})),
        secrets: map(&given["secrets"]).into_iter().collect(),
        now: cdp_delivery::time_value(&json!(now)).unwrap(),
        memory: map(&given["memory"]),
        messages: messages.unwrap_or_default(),
    };
    if given.get("config").is_some() {
        destination
            .validate(&case.config)
            .unwrap_or_else(|errors| panic!("{}: {errors:?}", given["about"]));
        destination
            .validate_secrets(&case.config, &case.secrets)
            .unwrap_or_else(|errors| panic!("{}: {errors:?}", given["about"]));
    }
    case
}

fn read_message((index, value): (usize, &Value)) -> Message {
    let kind = value["kind"].as_str().unwrap();
    Message {
        id: value["id"].as_str().unwrap_or("msg").to_string()
            + if value.get("id").is_some() { "" } else { "-0" },
        profile_id: value["profile_id"].as_i64().unwrap_or(index as i64 + 1),
        kind: MessageKind::parse(kind).unwrap_or_else(|| panic!("no kind {kind}")),
        body: value["body"].clone(),
        replay: value["replay"].as_bool().unwrap_or(false),
        attempt: 1,
    }
}

fn run(destination: &dyn Destination, given: &Value) -> Value {
    let case = read(given, destination);
    let context = Context {
        config: destination.catalogue().config(&case.config),
        secrets: &case.secrets,
        now: case.now,
        memory: &case.memory,
    };
    let mut actual = given.clone();
    if given.get("messages").is_some() {
        let batch: Vec<&Message> = case.messages.iter().collect();
        let plan = destination.requests(&context, &batch);
        check_plan(&plan, batch.len());
        actual["settled"] = write_settled(&plan.settled);
        actual["requests"] = plan
            .requests
            .iter()
            .enumerate()
            .map(|(index, plan)| {
                run_request(
                    destination,
                    &context,
                    &batch,
                    plan,
                    &given["requests"][index],
                )
            })
            .collect();
    }
    if let Some(invalid) = given.get("invalid").and_then(Value::as_array) {
        actual["invalid"] = invalid
            .iter()
            .map(|case| {
                let errors = destination
                    .validate(&case["config"])
                    .err()
                    .unwrap_or_default();
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                assert!(!errors.is_empty(), "accepted: {}", case["config"]);
                json!({"config": case["config"], "errors": errors})
            })
            .collect();
    }
    if given.get("limits").is_some() {
        let limits = destination.limits(&case.config);
        actual["limits"] = json!({
            "batch_size": limits.batch_size,
            "batch_bytes": limits.batch_bytes,
            "requests_per_second": limits.requests_per_second,
            "concurrency": limits.concurrency,
            "timeout_ms": limits.timeout.as_millis() as u64,
        });
    }
    if given.get("test").is_some() {
        actual["test"] = run_test(destination, &context, &given["test"]);
    }
    actual
}

fn run_test(destination: &dyn Destination, context: &Context, given: &Value) -> Value {
    let Some(request) = destination.test_request(context) else {
        return json!({"request": null});
    };
    let answers: Vec<Value> = list(&given["answers"])
        .iter()
        .map(|answer| {
            let mut actual = answer.clone();
            let response = read_response(answer);
            if let Some(next) = destination.further_test(context, &response) {
                actual["then"] = write_request(&next);
            }
            let (ok, detail) = match destination.test_outcome(context, &response) {
                Ok(detail) => (true, detail),
                Err(detail) => (false, detail),
            };
            actual["ok"] = json!(ok);
            actual["detail"] = json!(detail);
            actual
        })
        .collect();
    json!({"request": write_request(&request), "answers": answers})
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// Every message is in exactly one request or settled.
fn check_plan(plan: &Plan, messages: usize) {
    let mut seen: Vec<usize> = plan
        .requests
        .iter()
        .flat_map(|request| request.messages.iter().copied())
        .chain(plan.settled.iter().map(|(index, _)| *index))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..messages).collect::<Vec<_>>());
}

fn check_reply(reply: &Reply, plan: &RequestPlan) {
    let mut seen: Vec<usize> = reply
        .next
        .iter()
        .flat_map(|request| request.messages.iter().copied())
        .chain(reply.settled.iter().map(|(index, _)| *index))
        .collect();
    seen.sort_unstable();
    let mut expected = plan.messages.clone();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

fn run_request(
    destination: &dyn Destination,
    context: &Context,
    batch: &[&Message],
    plan: &RequestPlan,
    given: &Value,
) -> Value {
    let mut actual = write_request(&plan.request);
    actual["messages"] = json!(plan.messages);
    let answers = list(&given["answers"]);
    if answers.is_empty() {
        return actual;
    }
    actual["answers"] = answers
        .iter()
        .map(|answer| {
            let response = read_response(answer);
            let reply = destination.outcomes(context, batch, plan, &response);
            check_reply(&reply, plan);
            let mut actual = answer.clone();
            actual["outcomes"] = write_settled(&reply.settled);
            if reply.next.is_empty() {
                actual.as_object_mut().unwrap().remove("next");
            } else {
                let memory: HashMap<String, String> = reply
                    .remember
                    .iter()
                    .filter_map(|entry| Some((entry.key.clone(), entry.value.clone()?)))
                    .collect();
                let context = Context {
                    memory: &memory,
                    ..*context
                };
                actual["next"] = reply
                    .next
                    .iter()
                    .enumerate()
                    .map(|(index, next)| {
                        run_request(destination, &context, batch, next, &answer["next"][index])
                    })
                    .collect();
            }
            if !reply.remember.is_empty() {
                actual["remember"] = reply
                    .remember
                    .iter()
                    .map(|entry| {
                        json!({
                            "key": entry.key,
                            "value": entry.value,
                            "for_seconds": entry.for_time.as_secs(),
                        })
                    })
                    .collect();
            }
            actual
        })
        .collect();
    actual
}

fn write_settled(settled: &[(usize, Outcome)]) -> Value {
    let mut sorted: Vec<&(usize, Outcome)> = settled.iter().collect();
    sorted.sort_by_key(|(index, _)| *index);
    sorted
        .into_iter()
        .map(|(index, outcome)| {
            let mut value = json!({"message": index, "outcome": outcome.name()});
            if let Some(reason) = outcome.reason() {
                value["reason"] = json!(reason);
            }
            if let Outcome::Retry { after, counts, .. } = outcome {
                value["counts"] = json!(counts);
                if let Some(after) = after {
                    value["after_ms"] = json!(after.as_millis() as u64);
                }
            }
            value
        })
        .collect()
}

fn write_request(request: &Request) -> Value {
    match request {
        Request::Http(request) => write_http(request),
        Request::Sql(request) => {
            let statements: Vec<Value> = request
                .statements
                .iter()
                .map(
                    |statement| json!({"text": statement.text, "parameters": statement.parameters}),
                )
                .collect();
            json!({
                "host": request.host,
                "port": request.port,
                "database": request.database,
                "user": request.user,
                "password": request.password,
                "tls": format!("{:?}", request.tls),
                "statements": statements,
            })
        }
    }
}

fn write_http(request: &HttpRequest) -> Value {
    let headers: Map<String, Value> = request
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    assert_eq!(headers.len(), request.headers.len(), "a header twice");
    let body = match serde_json::from_slice::<Value>(&request.body) {
        Ok(body) => body,
        Err(_) => json!(String::from_utf8(request.body.clone()).unwrap()),
    };
    json!({
        "method": request.method.as_str(),
        "url": request.url,
        "headers": headers,
        "body": body,
    })
}

fn read_response(answer: &Value) -> Response {
    if let Some(rows) = answer.get("rows") {
        let rows = list(rows).iter().map(|n| n.as_u64().unwrap()).collect();
        return Response::Sql(SqlResponse::Done(rows));
    }
    if let Some(sqlstate) = answer.get("sqlstate").and_then(Value::as_str) {
        return Response::Sql(SqlResponse::Failed {
            sqlstate: sqlstate.to_string(),
            message: answer["message"].as_str().unwrap_or("failed").to_string(),
        });
    }
    let headers = answer["headers"]
        .as_object()
        .map(|headers| {
            headers
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_string()))
                .collect()
        })
        .unwrap_or_default();
    let body = match &answer["body"] {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    };
    Response::Http(HttpResponse {
        status: answer["status"].as_u64().unwrap() as u16,
        headers,
        body,
        truncated: false,
        at: cdp_delivery::time_value(&json!("2026-01-02T03:04:05Z")).unwrap(),
    })
}
