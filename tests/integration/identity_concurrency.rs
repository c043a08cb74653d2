//! Many clients at once about the same people: one profile each, nothing lost, nothing twice, no deadlock, and in
//! the end what one client alone would have made.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Barrier;

use cdp_tests::cluster::describe;
use cdp_tests::{Cluster, Settings};
use postgres::error::SqlState;
use postgres::Client;
use serde_json::{json, Value};

use crate::people::{same, Random};

/// The identifiers of a person, as fields of a message: a user id, two browsers, a device, an address.
fn identifier(message: &mut Value, person: usize, which: usize) {
    match which {
        0 => message["userId"] = json!(format!("user-{person}")),
        1 | 2 => message["anonymousId"] = json!(format!("browser-{person}-{which}")),
        3 => message["context"]["device"] = json!({ "id": format!("device-{person}") }),
        _ => {
            message["context"]["traits"] =
                json!({ "email": format!("person-{person}@example.com") })
        }
    }
}

const IDENTIFIERS: usize = 5;

/// Messages that name one or two identifiers of a person each, and between them make all of them one person.
fn messages(people: usize, each: usize, random: &mut Random) -> Vec<Value> {
    let mut messages = Vec::new();
    for person in 0..people {
        let mut order: Vec<usize> = (0..IDENTIFIERS).collect();
        random.shuffle(&mut order);
        let mut pairs: Vec<(usize, usize)> =
            order.windows(2).map(|pair| (pair[0], pair[1])).collect();
        for _ in pairs.len()..each {
            pairs.push((random.below(IDENTIFIERS), random.below(IDENTIFIERS)));
        }
        for (a, b) in pairs {
            let number = messages.len();
            let mut message = match random.below(6) {
                0 => json!({"type": "identify", "traits": {
                    format!("trait{}", random.below(4)): number, "nested": {format!("n{}", random.below(3)): number}}}),
                1 => json!({"type": "group", "groupId": format!("company-{}", person % 5),
                    "traits": {format!("trait{}", random.below(3)): number}}),
                _ => {
                    json!({"type": "track", "event": "Order", "properties": {"total": random.below(100)}})
                }
            };
            message["messageId"] = json!(format!("message-{number}"));
            // One instant each, so that the newest trait is the same whatever arrives first.
            message["timestamp"] = json!(format!(
                "2026-10-{:02}T10:00:00.{:06}Z",
                1 + number % 28,
                number
            ));
            message["context"] = json!({});
            identifier(&mut message, person, a);
            // Two browsers do not fit into one message.
            if !(a != b && [a, b].iter().all(|which| [1, 2].contains(which))) {
                identifier(&mut message, person, b);
            } else {
                identifier(&mut message, person, 0);
            }
            messages.push(message);
        }
    }
    random.shuffle(&mut messages);
    messages
}

fn database(name: &str) -> Cluster {
    let cluster = Settings::new(name).set("max_connections", "80").start();
    cluster.execute(
        "postgres",
        r#"
        CREATE EXTENSION cdp;
        SELECT cdp.define_namespace('alone');
        SELECT cdp.define_trait('orders', 'events.Order.count', namespace => n),
               cdp.define_trait('spent', 'events.Order.sum(total)', namespace => n),
               cdp.define_trait('last_trait', 'profile.trait1', namespace => n),
               cdp.define_trait('company', 'group.trait1', namespace => n),
               cdp.define_segment('busy', 'orders >= 5', namespace => n)
        FROM unnest(ARRAY['default', 'alone']) AS n;
        "#,
    );
    cluster
}

/// Everything that can be said about the people of a namespace, without the ids of profiles.
fn everybody(client: &mut Client, namespace: &str) -> Vec<String> {
    let rows = client
        .query(
            "SELECT p.identifiers::text, p.traits::text, p.computed::text, p.segments::text, p.groups::text, p.event_count, \
                 (SELECT array_agg(e.message_id ORDER BY e.message_id) FROM cdp.events AS e WHERE e.profile_id = p.profile_id)::text \
             FROM cdp.people AS q, cdp.profile(q.profile_id::text, $1) AS p WHERE q.namespace = $1",
            &[&namespace],
        )
        .unwrap_or_else(|error| panic!("{}", describe(&error)));
    let mut people: Vec<String> = rows
        .iter()
        .map(|row| {
            let identifiers: Value = serde_json::from_str(&row.get::<_, String>(0)).unwrap();
            // Values of one kind are listed in the order in which they were linked.
            let sorted: Vec<(String, BTreeSet<String>)> = identifiers
                .as_object()
                .unwrap()
                .iter()
                .map(|(kind, values)| {
                    let values = values
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|v| v.as_str().unwrap().to_string());
                    (kind.clone(), values.collect())
                })
                .collect();
            let text = |column| row.get::<_, String>(column);
            format!(
                "{sorted:?} {} {} {} {} {} {}",
                text(1),
                text(2),
                text(3),
                text(4),
                row.get::<_, i64>(5),
                text(6)
            )
        })
        .collect();
    people.sort();
    people
}

/// The same messages, one after the other, in the namespace `alone`.
fn send_alone(client: &mut Client, messages: &[Value]) {
    for message in messages {
        client
            .execute(
                "SELECT status FROM cdp.ingest($1::text, 'alone')",
                &[&message.to_string()],
            )
            .unwrap_or_else(|error| panic!("{}", describe(&error)));
    }
}

/// What has to hold however the clients came: read before and after what was pending is folded in, and after a
/// rebuild from the events alone.
fn check(cluster: &Cluster, messages: &[Value], people: usize) {
    let mut client = cluster.client("postgres");
    let mut sorted = messages.to_vec();
    sorted.sort_by_key(|message| message["timestamp"].as_str().unwrap().to_string());
    send_alone(&mut client, &sorted);
    let expected = everybody(&mut client, "alone");
    assert_eq!(expected.len(), people);
    same(
        &everybody(&mut client, "default"),
        &expected,
        "before folding",
    );
    client.execute("SELECT cdp.run_due()", &[]).unwrap();
    assert_eq!(everybody(&mut client, "default"), expected, "after folding");
    for table in ["pending_folds", "pending_group_traits"] {
        assert_eq!(
            cluster.number("postgres", &format!("SELECT count(*) FROM _cdp.{table}")),
            0
        );
    }
    assert_eq!(
        cluster.number(
            "postgres",
            "SELECT count(*) FROM _cdp.identifiers AS i JOIN _cdp.profiles AS p USING (profile_id) WHERE p.merged_into IS NOT NULL"
        ),
        0,
        "identifiers of merged profiles"
    );
    let changed = "SELECT count(*) FROM _cdp.history";
    let before = cluster.number("postgres", changed);
    client.execute("SELECT cdp.rebuild()", &[]).unwrap();
    same(
        &everybody(&mut client, "default"),
        &expected,
        "after a rebuild",
    );
    assert_eq!(
        cluster.number("postgres", changed),
        before,
        "a rebuild changed something"
    );
}

/// Runs a statement in a transaction of its own, again when it could not be serialised. A deadlock is a failure.
fn until_done(
    client: &mut Client,
    level: &str,
    mut run: impl FnMut(&mut postgres::Transaction) -> Result<(), postgres::Error>,
) {
    loop {
        let mut transaction = client.transaction().unwrap();
        transaction
            .batch_execute(&format!("SET TRANSACTION ISOLATION LEVEL {level}"))
            .unwrap();
        let outcome = run(&mut transaction).and_then(|()| transaction.commit());
        match outcome {
            Ok(()) => return,
            Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {}
            Err(error) => panic!("{level}: {}", describe(&error)),
        }
    }
}

#[test]
fn fifty_first_contacts_of_one_person_make_one_profile() {
    const CLIENTS: usize = 50;
    let cluster = database("first_contacts");
    let mut random = Random::new(42);
    let people = 12;
    let messages = messages(people, 25, &mut random);
    let barrier = Barrier::new(CLIENTS);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = cluster.client("postgres");
                barrier.wait();
                while let Some(message) = messages.get(next.fetch_add(1, Ordering::Relaxed)) {
                    client
                        .execute(
                            "SELECT status FROM cdp.ingest($1::text)",
                            &[&message.to_string()],
                        )
                        .unwrap_or_else(|error| panic!("{}", describe(&error)));
                }
            });
        }
    });
    check(&cluster, &messages, people);
}

#[test]
fn calls_batches_copies_and_merges_at_every_isolation_level() {
    const CLIENTS: usize = 12;
    let cluster = database("mixed_load");
    let mut random = Random::new(7);
    let people = 40;
    let messages = messages(people, 40, &mut random);
    let next = AtomicUsize::new(0);
    let barrier = Barrier::new(CLIENTS);
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (cluster, messages, next, barrier) = (&cluster, &messages, &next, &barrier);
            scope.spawn(move || {
                let mut client = cluster.client("postgres");
                let mut random = Random::new(1_000 + number as u64);
                barrier.wait();
                loop {
                    let level = [
                        "READ COMMITTED",
                        "READ COMMITTED",
                        "REPEATABLE READ",
                        "SERIALIZABLE",
                    ][random.below(4)];
                    let way = random.below(4);
                    let count = if way < 2 { 1 } else { 1 + random.below(40) };
                    let first = next.fetch_add(count, Ordering::Relaxed);
                    let Some(taken) = messages.get(first..messages.len().min(first + count)) else {
                        return;
                    };
                    // Some messages come twice, as they do from clients that got no answer.
                    let mut batch: Vec<&Value> = taken.iter().collect();
                    batch.push(&messages[random.below(messages.len().min(first + 1))]);
                    match way {
                        // A transaction of its own for each: the order of several is the application's.
                        0 | 1 => {
                            for message in &batch {
                                let message = message.to_string();
                                until_done(&mut client, level, |transaction| {
                                    let call = "SELECT status FROM cdp.ingest($1::text)";
                                    transaction.execute(call, &[&message]).map(|_| ())
                                });
                            }
                        }
                        2 => {
                            let lines: Vec<String> = batch.iter().map(|m| m.to_string()).collect();
                            let lines = lines.join("\n");
                            until_done(&mut client, level, |transaction| {
                                let call = "SELECT status FROM cdp.ingest($1::text)";
                                transaction.execute(call, &[&lines]).map(|_| ())
                            });
                        }
                        _ => {
                            until_done(&mut client, level, |transaction| copy(transaction, &batch))
                        }
                    }
                }
            });
        }
    });
    check(&cluster, &messages, people);
}

/// The messages as rows of the inbox.
fn copy(
    transaction: &mut postgres::Transaction,
    messages: &[&Value],
) -> Result<(), postgres::Error> {
    let mut rows = String::new();
    for message in messages {
        let text = |key: &str| {
            message
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or("\\N")
                .to_string()
        };
        let document = |key: &str| {
            message.get(key).map_or("\\N".to_string(), |value| {
                value.to_string().replace('\\', "\\\\")
            })
        };
        let fields = [
            text("type"),
            text("userId"),
            text("anonymousId"),
            text("event"),
            document("properties"),
            document("traits"),
            document("context"),
            text("groupId"),
            text("timestamp"),
            text("messageId"),
        ];
        rows.push_str(&fields.join("\t"));
        rows.push('\n');
    }
    let mut copy = transaction.copy_in(
        "COPY cdp.inbox (type, user_id, anonymous_id, event, properties, traits, context, group_id, \"timestamp\", message_id) FROM STDIN",
    )?;
    copy.write_all(rows.as_bytes()).unwrap();
    copy.finish().map(|_| ())
}

#[test]
fn people_with_accounts_stay_apart_whatever_they_share() {
    const CLIENTS: usize = 16;
    let cluster = database("shared_devices");
    let people = 30;
    let sent = AtomicUsize::new(0);
    let barrier = Barrier::new(CLIENTS);
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (cluster, sent, barrier) = (&cluster, &sent, &barrier);
            scope.spawn(move || {
                let mut client = cluster.client("postgres");
                let mut random = Random::new(77 + number as u64);
                barrier.wait();
                for _ in 0..60 {
                    let mut lines = Vec::new();
                    for _ in 0..1 + random.below(6) {
                        let mut message = json!({"type": "track", "event": "Order", "properties": {"total": 1}, "context": {}});
                        // Three people share each device and browser; now and then nobody is logged in.
                        let person = random.below(people);
                        if random.below(4) > 0 {
                            message["userId"] = json!(format!("user-{person}"));
                        }
                        message["anonymousId"] = json!(format!("browser-{}", (person + random.below(3)) % people));
                        message["context"]["device"] = json!({"id": format!("device-{}", person / 3)});
                        lines.push(message.to_string());
                    }
                    sent.fetch_add(lines.len(), Ordering::Relaxed);
                    client
                        .execute("SELECT status FROM cdp.ingest($1::text)", &[&lines.join("\n")])
                        .unwrap_or_else(|error| panic!("{}", describe(&error)));
                }
            });
        }
    });
    let mut client = cluster.client("postgres");
    client.execute("SELECT cdp.run_due()", &[]).unwrap();
    let number = |query: &str| cluster.number("postgres", query);
    let sent = sent.into_inner() as i64;
    assert_eq!(number("SELECT count(*) FROM cdp.events"), sent);
    assert_eq!(
        number("SELECT sum(event_count)::bigint FROM cdp.people"),
        sent
    );
    assert_eq!(
        number(
            "SELECT sum((cdp.trait(profile_id::text, 'orders'))::bigint)::bigint FROM cdp.people"
        ),
        sent
    );
    assert_eq!(
        number("SELECT count(*) FROM (SELECT profile_id FROM cdp.identifiers WHERE kind = 'user_id' GROUP BY 1 HAVING count(*) > 1) AS t"),
        0,
        "two accounts became one person"
    );
    assert_eq!(
        number("SELECT count(*) FROM cdp.identifiers WHERE kind = 'user_id'"),
        people as i64
    );
    assert_eq!(
        number("SELECT count(*) FROM (SELECT profile_id FROM cdp.identifiers GROUP BY profile_id, kind HAVING count(*) > 5) AS t"),
        0,
        "more identifiers than the limits allow"
    );
    assert_eq!(
        number("SELECT count(*) FROM _cdp.identifiers AS i LEFT JOIN _cdp.profiles AS p USING (profile_id) WHERE p.profile_id IS NULL OR p.merged_into IS NOT NULL"),
        0,
        "identifiers without a person"
    );
    let before = everybody(&mut client, "default");
    client.execute("SELECT cdp.rebuild()", &[]).unwrap();
    same(
        &everybody(&mut client, "default"),
        &before,
        "after a rebuild",
    );
}
