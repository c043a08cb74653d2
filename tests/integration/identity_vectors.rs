//! The published identity vectors (`pg_test/identity/*.json`) through SQL: message by message, and in one batch.

use std::collections::{BTreeMap, BTreeSet};

use cdp_tests::cluster::describe;
use cdp_tests::{repository, Cluster};
use postgres::Client;
use serde_json::{json, Value};

/// What came out: per person the identifiers, and the positions of the messages.
type Outcome = BTreeSet<(BTreeMap<String, BTreeSet<String>>, BTreeSet<usize>)>;

#[test]
fn published_vectors_hold_in_sql() {
    let cluster = Cluster::plain("vectors");
    cluster.execute("postgres", "CREATE EXTENSION cdp");
    let mut client = cluster.client("postgres");
    client
        .batch_execute("SET client_min_messages = error")
        .unwrap();
    let mut count = 0;
    let mut files: Vec<_> = std::fs::read_dir(repository().join("pg_test/identity"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    for path in files {
        let vectors: Vec<Value> =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for vector in &vectors {
            for batched in [false, true] {
                count += 1;
                check(&mut client, vector, batched, count);
            }
        }
    }
    assert!(count >= 120, "only {count} runs");
}

/// Runs a vector in a namespace of its own. Message ids are the positions of the messages.
fn check(client: &mut Client, vector: &Value, batched: bool, number: usize) {
    let label = format!(
        "{} ({})",
        vector["name"],
        if batched { "one batch" } else { "single calls" }
    );
    let namespace = format!("vector{number}");
    let settings = json!({ "identity": vector.get("settings").cloned().unwrap_or(json!({})) });
    let defined = client.execute(
        "SELECT cdp.define_namespace($1, settings => $2)",
        &[&namespace, &settings],
    );
    if let Err(error) = defined {
        panic!("{label}: {}", describe(&error));
    }

    let messages = vector["messages"].as_array().unwrap();
    let mut refused: BTreeMap<usize, String> = BTreeMap::new();
    let mut profiles: BTreeMap<usize, i64> = BTreeMap::new();
    let mut waiting: Vec<Value> = Vec::new();
    for (position, message) in messages.iter().enumerate() {
        if let Some(unmerge) = message.get("unmerge") {
            send(client, &namespace, &mut waiting, &mut profiles);
            let text = |path: &str| unmerge.pointer(path).and_then(Value::as_str).unwrap();
            let split = client.query(
                "SELECT cdp.unmerge($1, $2, $3, $4)",
                &[
                    &text("/from/value"),
                    &text("/value"),
                    &text("/kind"),
                    &namespace,
                ],
            );
            if let Err(error) = split {
                panic!("{label}: {}", describe(&error));
            }
            continue;
        }
        let mut message = message.clone();
        message["messageId"] = json!(format!("{namespace}-{position}"));
        waiting.push(message);
        if !batched {
            send(client, &namespace, &mut waiting, &mut profiles);
        }
    }
    send(client, &namespace, &mut waiting, &mut profiles);
    for row in client
        .query(
            "SELECT original::jsonb ->> 'messageId', code FROM cdp.quarantine WHERE namespace = $1",
            &[&namespace],
        )
        .unwrap()
    {
        let position = position_of(&row.get::<_, String>(0));
        refused.insert(position, row.get(1));
    }

    let expected_refusals: BTreeMap<usize, String> = vector
        .get("refused")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|refused| {
            let position = refused["message"].as_u64().unwrap() as usize;
            (position, refused["code"].as_str().unwrap().to_string())
        })
        .collect();
    let codes: BTreeMap<usize, String> = refused
        .iter()
        .map(|(position, name)| (*position, sqlstate(name)))
        .collect();
    assert_eq!(codes, expected_refusals, "{label}");

    let last_unmerge = messages.iter().rposition(|m| m.get("unmerge").is_some());
    let mut outcome = persons(client, &namespace);
    if let Some(last) = last_unmerge {
        outcome = outcome
            .into_iter()
            .map(|(identifiers, positions)| {
                (
                    identifiers,
                    positions.into_iter().filter(|p| *p > last).collect(),
                )
            })
            .collect();
    }
    let mut expected = Outcome::new();
    for person in vector["persons"].as_array().unwrap() {
        let identifiers: BTreeMap<String, BTreeSet<String>> =
            serde_json::from_value(person["identifiers"].clone()).unwrap();
        let positions: BTreeSet<usize> =
            serde_json::from_value(person["messages"].clone()).unwrap();
        if let (Some(survivor), false) = (person.get("survivor_of"), batched) {
            let created = profiles[&(survivor.as_u64().unwrap() as usize)];
            let (kind, values) = identifiers.iter().next().unwrap();
            let row = client
                .query_one(
                    "SELECT cdp.resolve($1, $2, $3)",
                    &[&values.first().unwrap(), kind, &namespace],
                )
                .unwrap();
            assert_eq!(row.get::<_, i64>(0), created, "{label}: survivor");
        }
        expected.insert((identifiers, positions));
    }
    assert_eq!(outcome, expected, "{label}");
}

/// The names of codes in the quarantine, which vectors know by SQLSTATE.
fn sqlstate(name: &str) -> String {
    match name {
        "no_identifier" => "CD030",
        "several_user_ids" => "CD031",
        "missing_identifier" => "CD007",
        "conflicting_fields" => "CD018",
        other => other,
    }
    .to_string()
}

fn position_of(message_id: &str) -> usize {
    message_id.rsplit('-').next().unwrap().parse().unwrap()
}

/// Sends what waits as one batch and notes the profile of each message.
fn send(
    client: &mut Client,
    namespace: &str,
    waiting: &mut Vec<Value>,
    profiles: &mut BTreeMap<usize, i64>,
) {
    if waiting.is_empty() {
        return;
    }
    let payload = Value::Array(std::mem::take(waiting)).to_string();
    let rows = client
        .query(
            "SELECT message_id, profile_id FROM cdp.ingest($1::text, $2)",
            &[&payload, &namespace],
        )
        .unwrap_or_else(|error| panic!("{}", describe(&error)));
    for row in rows {
        if let (Some(message_id), Some(profile)) = (
            row.get::<_, Option<String>>(0),
            row.get::<_, Option<i64>>(1),
        ) {
            profiles.insert(position_of(&message_id), profile);
        }
    }
}

fn persons(client: &mut Client, namespace: &str) -> Outcome {
    let rows = client
        .query(
            "SELECT p.profile_id, \
                 (SELECT json_agg(json_build_array(i.kind, i.value)) FROM cdp.identifiers AS i \
                  WHERE i.profile_id = p.profile_id \
                    AND NOT (i.kind = 'email_hash' AND i.value IN ( \
                        SELECT encode(sha256(convert_to(e.value, 'UTF8')), 'hex') FROM cdp.identifiers AS e \
                        WHERE e.profile_id = p.profile_id AND e.kind = 'email'))), \
                 (SELECT array_agg(e.message_id) FROM cdp.events AS e WHERE e.profile_id = p.profile_id) \
             FROM cdp.people AS p WHERE p.namespace = $1",
            &[&namespace],
        )
        .unwrap();
    rows.iter()
        .map(|row| {
            let mut identifiers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            let listed: Vec<(String, String)> =
                serde_json::from_value(row.get::<_, Option<Value>>(1).unwrap_or(json!([])))
                    .unwrap();
            for (kind, value) in listed {
                identifiers.entry(kind).or_default().insert(value);
            }
            let messages: Vec<String> = row.get::<_, Option<Vec<String>>>(2).unwrap_or_default();
            (
                identifiers,
                messages.iter().map(|id| position_of(id)).collect(),
            )
        })
        .collect()
}
