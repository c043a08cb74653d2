//! A message counts once, by whichever way it comes, however often.

use std::collections::BTreeMap;
use std::io::Write;

use cdp_tests::cluster::describe;
use cdp_tests::Cluster;
use postgres::Client;
use serde_json::{json, Value};

const MESSAGES: usize = 10_000;

/// Messages of 500 people who become known half-way, with traits, orders and companies.
fn messages() -> Vec<Value> {
    (0..MESSAGES)
        .map(|n| {
            let person = n % 500;
            let mut message = json!({
                "messageId": format!("m{n}"),
                "anonymousId": format!("anonymous-{person}"),
                "timestamp": format!("2026-0{}-{:02}T10:00:{:02}Z", 1 + n % 6, 1 + n % 28, n % 60),
            });
            if n >= MESSAGES / 2 {
                message["userId"] = json!(format!("user-{}", person / 2));
            }
            let (kind, key, value) = match n % 7 {
                0 => (
                    "identify",
                    "traits",
                    json!({"plan": n, "address": {"zip": n % 9}}),
                ),
                1 => ("group", "traits", json!({"size": n})),
                2 => ("page", "properties", json!({"path": "/"})),
                _ => ("track", "properties", json!({"total": n % 40})),
            };
            message["type"] = json!(kind);
            message[key] = value;
            match kind {
                "group" => message["groupId"] = json!(format!("company-{}", n % 20)),
                "track" => message["event"] = json!("Order Completed"),
                _ => {}
            }
            message
        })
        .collect()
}

/// Every table of the extension: how many rows it has and what they say.
fn tables(client: &mut Client) -> BTreeMap<String, String> {
    let names = client
        .query(
            "SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relnamespace = '_cdp'::regnamespace \
                 AND c.relkind IN ('r', 'p') AND NOT c.relispartition",
            &[],
        )
        .unwrap();
    names
        .iter()
        .map(|row| {
            let name: String = row.get(0);
            let content = client
                .query_one(
                    &format!("SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM {name} AS t"),
                    &[],
                )
                .unwrap()
                .get(0);
            (name, content)
        })
        .collect()
}

#[test]
fn ten_thousand_messages_again_leave_every_table_as_it_was() {
    let cluster = Cluster::plain("exactly_once");
    cluster.execute("postgres", "CREATE EXTENSION cdp");
    let mut client = cluster.client("postgres");
    client
        .batch_execute(
            "SET client_min_messages = error; SET cdp.clock = '2026-07-01 00:00:00+00'; SET cdp.chunk_rows = 1000; \
             SELECT cdp.define_trait('orders', 'events.\"Order Completed\".count'), \
                 cdp.define_trait('spent', 'events.\"Order Completed\".sum_90d(total)'), \
                 cdp.define_segment('big', 'spent > 100 && group.size > 10'); \
             SELECT cdp.define_destination('hook', 'webhook', '{\"url\": \"https://example.com\"}'), \
                 cdp.define_route('hook', '{Order Completed,Segment Entered}')",
        )
        .unwrap();
    let messages = messages();
    let lines: Vec<String> = messages.iter().map(Value::to_string).collect();
    let count = |client: &mut Client, sql: &str, payload: &str| -> i64 {
        client
            .query_one(sql, &[&payload])
            .unwrap_or_else(|error| panic!("{}", describe(&error)))
            .get(0)
    };
    let accepted = "SELECT count(*) FROM cdp.ingest($1::text) WHERE status = 'accepted'";
    assert_eq!(
        count(&mut client, accepted, &lines.join("\n")),
        MESSAGES as i64
    );
    let before = tables(&mut client);
    assert!(before["_cdp.events"].starts_with("10000 "));
    assert_ne!(before["_cdp.profile_merges"], "0 ");

    // As lines, the last first.
    let reversed: Vec<&str> = lines.iter().rev().map(String::as_str).collect();
    let duplicates = "SELECT count(*) FROM cdp.ingest($1::text) WHERE status = 'duplicate'";
    assert_eq!(
        count(&mut client, duplicates, &reversed.join("\n")),
        MESSAGES as i64
    );
    assert_eq!(tables(&mut client), before, "as lines");

    // As the batches of an SDK.
    for part in messages.chunks(1_000) {
        let batch = json!({"batch": part, "sentAt": "2026-07-01T00:00:00Z"}).to_string();
        let duplicates =
            "SELECT count(*) FROM cdp.ingest(($1::text)::jsonb) WHERE status = 'duplicate'";
        assert_eq!(count(&mut client, duplicates, &batch), part.len() as i64);
    }
    assert_eq!(tables(&mut client), before, "as batches");

    // By COPY, with other content: the id alone decides.
    let mut copy = client
        .copy_in("COPY cdp.inbox (user_id, event, message_id) FROM STDIN")
        .unwrap();
    for n in 0..MESSAGES {
        writeln!(copy, "somebody-{n}\tOrder Completed\tm{n}").unwrap();
    }
    copy.finish().unwrap();
    assert_eq!(tables(&mut client), before, "by COPY");

    // One by one, from a second session.
    let mut other = cluster.client("postgres");
    for n in (0..MESSAGES).step_by(97) {
        let status: String = other
            .query_one(
                "SELECT status FROM cdp.track('user-1', 'Order Completed', message_id => $1)",
                &[&format!("m{n}")],
            )
            .unwrap()
            .get(0);
        assert_eq!(status, "duplicate");
    }
    assert_eq!(tables(&mut client), before, "one by one");
}
