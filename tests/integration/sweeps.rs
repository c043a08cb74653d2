//! Definitions made while much is there already: the background work survives whatever is killed, and events that
//! come meanwhile count once.

use std::io::Write;
use std::time::{Duration, Instant};

use cdp_tests::{eventually, Cluster};

const PEOPLE: usize = 10_800;

/// Orders of everybody, sent as often as one likes: the message ids stay the same.
fn send(cluster: &Cluster, round: usize, people: std::ops::Range<usize>) {
    let mut client = cluster.client("app");
    let mut copy = client
        .copy_in("COPY cdp.inbox (user_id, event, properties, message_id) FROM STDIN")
        .unwrap();
    for user in people {
        writeln!(
            copy,
            "u{user}\torder\t{{\"total\": {}}}\tm{round}-{user}",
            round + user % 10
        )
        .unwrap();
    }
    copy.finish().unwrap();
}

/// The process that sweeps.
fn sweeper(cluster: &Cluster) -> Option<i32> {
    let mut client = cluster.try_client("app", "postgres").ok()?;
    let row = client.query_opt(
        "SELECT pid FROM pg_stat_activity WHERE datname = 'app' AND backend_type LIKE 'cdp%' AND query LIKE '%compute definitions anew%' AND state = 'active'",
        &[],
    );
    Some(row.ok()??.get(0))
}

/// Nothing is left to do: nobody is behind, and nothing waits to be folded in.
fn wait_until_swept(cluster: &Cluster) {
    assert!(
        eventually(Duration::from_secs(120), || {
            cluster
                .try_client("app", "postgres")
                .ok()
                .and_then(|mut client| {
                    client
                        .query_one("SELECT (SELECT count(*) FROM _cdp.sweeps) + (SELECT count(*) FROM _cdp.pending_folds)", &[])
                        .ok()
                })
                .is_some_and(|row| row.get::<_, i64>(0) == 0)
        }),
        "the sweep does not end"
    );
}

/// People for whom the segment or, of every ninth, a trait is not what the events say.
fn wrong(cluster: &Cluster) -> i64 {
    cluster.number(
        "app",
        "WITH raw AS (SELECT profile_id, count(*) AS orders, sum((properties->>'total')::numeric) AS spent FROM cdp.events GROUP BY profile_id), \
             stored AS (SELECT profile_id, jsonb_object_agg(key, value) AS traits FROM cdp.user_traits WHERE profile_id % 9 = 0 GROUP BY profile_id) \
         SELECT count(*) FROM raw FULL JOIN stored USING (profile_id) \
         LEFT JOIN _cdp.segment_members AS m USING (profile_id) \
         WHERE profile_id % 9 = 0 AND (to_jsonb(raw.orders), to_jsonb(raw.spent)) IS DISTINCT FROM (stored.traits->'orders', stored.traits->'spent') \
            OR (raw.orders >= 3) IS DISTINCT FROM (m.profile_id IS NOT NULL)",
    )
}

#[test]
fn a_sweep_goes_on_after_a_kill_and_counts_what_comes_meanwhile_once() {
    let cluster = Cluster::with_workers("sweep_kill");
    cluster.execute("postgres", "ALTER SYSTEM SET cdp.backfill_in_call = 1");
    cluster.reload();
    send(&cluster, 0, 0..PEOPLE);
    send(&cluster, 1, 0..PEOPLE);

    // Killed at different times: before the first part is done, between parts, near the end.
    let mut killed = 0;
    for (round, delay) in [0, 60, 250].into_iter().enumerate() {
        let round = round + 2;
        cluster.execute(
            "app",
            &format!(
                "SELECT cdp.define_trait('orders', 'events.order.count_{round}w'); \
                 SELECT cdp.define_trait('spent', 'events.order.sum_{round}w(total)'); \
                 SELECT cdp.define_segment('regular', 'orders >= 3')"
            ),
        );
        // Reads are right at once.
        assert_eq!(
            cluster.text("app", "SELECT cdp.trait('u7', 'orders')"),
            round.to_string()
        );
        send(&cluster, round, 0..PEOPLE / 2);
        std::thread::sleep(Duration::from_millis(delay));
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            if let Some(process) = sweeper(&cluster) {
                cluster.kill_backend(process);
                killed += 1;
                cluster.wait_until_up();
                break;
            }
        }
        // A client that got no answer sends again.
        send(&cluster, round, 0..PEOPLE);
        wait_until_swept(&cluster);
        assert_eq!(wrong(&cluster), 0, "round {round}, killed {killed}");
    }
    println!("killed {killed} sweeps");

    cluster.execute(
        "app",
        "SELECT cdp.define_trait('spent', 'events.order.sum(total)')",
    );
    cluster.kill_postmaster();
    cluster.start();
    send(&cluster, 5, 0..PEOPLE);
    wait_until_swept(&cluster);
    assert_eq!(wrong(&cluster), 0);

    // Every way of reading what is wanted of events: whole properties for filters and names of pages, single ones, none.
    cluster.execute(
        "app",
        "INSERT INTO cdp.inbox (type, user_id, name, category, properties, message_id) \
         SELECT 'page', 'u' || n, 'Page ' || n % 3, 'c' || n % 2, CASE WHEN n % 5 = 0 THEN '{\"category\": \"own\"}'::jsonb END, 'p' || n \
         FROM generate_series(0, 10799) AS n",
    );
    let expressions = [
        "events.order[total > 3].sum(total)",
        "events.order.min(total)",
        "events.order.unique_hours_1d",
        "events.order.last(nothing.at)",
        "events.\"Page Viewed\".top(category)",
        "events.\"Page Viewed\".first_1d(name)",
    ];
    for (number, expression) in expressions.iter().enumerate() {
        cluster.execute(
            "app",
            &format!("SELECT cdp.define_trait('t{number}', '{expression}')"),
        );
    }
    wait_until_swept(&cluster);
    for (number, expression) in expressions.iter().enumerate() {
        let different = cluster.number(
            "app",
            &format!(
                "WITH stored AS MATERIALIZED (SELECT profile_id, value FROM cdp.user_traits WHERE key = 't{number}' AND profile_id % 9 = 0) \
                 SELECT count(*) FROM _cdp.compiled_values('{expression}') AS v LEFT JOIN stored AS s USING (profile_id) \
                 WHERE profile_id % 9 = 0 AND v.value IS DISTINCT FROM s.value"
            ),
        );
        assert_eq!(different, 0, "{expression}");
    }
}
