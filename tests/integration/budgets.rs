//! What ingest may cost, in figures that do not depend on how busy the machine is: statements, rows, WAL bytes and
//! pages touched. Each budget is what was measured when it was set, and a quarter more. Who exceeds one either finds
//! the reason or raises the budget with a reason.

use cdp_tests::{Cluster, Settings};
use serde_json::Value;

/// The definitions of the benchmarks: twenty traits, ten segments, three routes.
const DEFINITIONS: &str = include_str!("../../bench/sql/definitions.sql");
const EVENTS: i64 = 2_000;
const PEOPLE: i64 = 500;

fn cluster(name: &str) -> (Cluster, bool) {
    let settings = Settings::new(name);
    let counts_statements = cdp_tests::Install::under_test()
        .library_folder
        .join("pg_stat_statements.so")
        .exists();
    let cluster = if counts_statements {
        settings
            .set("shared_preload_libraries", "pg_stat_statements")
            .set("pg_stat_statements.track", "all")
            .set("pg_stat_statements.save", "off")
    } else {
        settings
    }
    .set("full_page_writes", "off")
    .set("autovacuum", "off")
    .start();
    if counts_statements {
        cluster.execute("postgres", "CREATE EXTENSION pg_stat_statements");
    }
    cluster.execute("postgres", "CREATE EXTENSION cdp");
    cluster.execute("postgres", DEFINITIONS);
    (cluster, counts_statements)
}

/// A batch of events of everybody in turn.
fn batch(number: i64) -> String {
    format!(
        r#"INSERT INTO cdp.inbox (user_id, event, properties, message_id)
           SELECT 'user_' || n % {PEOPLE}, (ARRAY['view', 'view', 'click', 'login', 'order'])[1 + n % 5],
                  jsonb_build_object('total', n % 900, 'path', '/p/' || n % 50), 'batch-{number}-' || n
           FROM generate_series(1, {EVENTS}) AS n"#
    )
}

/// What Postgres says a statement did.
fn explain(cluster: &Cluster, statement: &str) -> Value {
    // Dead versions of rows are looked at as well.
    cluster.execute("postgres", "VACUUM");
    let mut client = cluster.client("postgres");
    // What a session remembers is there after the first calls.
    for _ in 0..3 {
        client.batch_execute(statement).unwrap();
    }
    let explained = format!("EXPLAIN (ANALYZE, BUFFERS, WAL, TIMING OFF, FORMAT JSON) {statement}");
    let row = client.query_one(&explained, &[]).unwrap();
    row.get::<_, Value>(0)[0]["Plan"].clone()
}

fn pages(plan: &Value) -> i64 {
    let count = |key: &str| plan[key].as_i64().unwrap_or(0);
    count("Shared Hit Blocks") + count("Shared Read Blocks")
}

#[track_caller]
fn within(what: &str, measured: f64, budget: f64) {
    println!("{what}: {measured:.3} (budget {budget})");
    assert!(
        measured <= budget,
        "{what}: {measured:.3}, the budget is {budget}"
    );
    assert!(measured > 0.0, "{what}: nothing was measured");
}

#[test]
fn a_batch_keeps_within_its_statements_rows_and_wal() {
    let (cluster, counts_statements) = cluster("budget_batch");
    // Everybody is known, and has entered the segments there are to enter.
    for number in 0..5 {
        cluster.execute("postgres", &batch(number));
    }
    let rows_of = |table: &str| {
        cluster.execute("postgres", "SELECT pg_stat_clear_snapshot()");
        cluster.number(
            "postgres",
            &format!("SELECT n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE relid = '_cdp.{table}'::regclass"),
        )
    };
    // Dead versions of rows are looked at as well.
    cluster.execute("postgres", "VACUUM");
    let mut client = cluster.client("postgres");
    // What a session counted is there for others when it says so and its transaction has ended.
    let flush = "SELECT pg_stat_force_next_flush()";
    client.batch_execute(&batch(10)).unwrap();
    client.batch_execute(flush).unwrap();
    if counts_statements {
        client
            .batch_execute("SELECT pg_stat_statements_reset()")
            .unwrap();
    }
    let lsn: String = client
        .query_one("SELECT pg_current_wal_insert_lsn()::text", &[])
        .unwrap()
        .get(0);
    let before =
        ["message_ids", "profiles", "timers", "history"].map(|table| (table, rows_of(table)));
    client.batch_execute(&batch(11)).unwrap();
    let wal: i64 = client
        .query_one(
            &format!("SELECT (pg_current_wal_insert_lsn() - '{lsn}')::bigint"),
            &[],
        )
        .unwrap()
        .get(0);
    within("WAL bytes an event", wal as f64 / EVENTS as f64, 550.0);
    if counts_statements {
        let statements: i64 = client
            .query_one(
                "SELECT sum(calls)::bigint FROM pg_stat_statements WHERE NOT toplevel AND query LIKE '%\\_cdp.%'",
                &[],
            )
            .unwrap()
            .get(0);
        within("statements a batch", statements as f64, 4.0);
    }
    client.batch_execute(flush).unwrap();
    let budgets = [1.0, PEOPLE as f64 / EVENTS as f64, 0.05, 0.05];
    for ((table, before), budget) in before.into_iter().zip(budgets) {
        let written = (rows_of(table) - before) as f64 / EVENTS as f64;
        println!("rows of {table} written an event: {written:.3} (budget {budget})");
        assert!(
            written <= budget,
            "rows of {table} written an event: {written:.3}, the budget is {budget}"
        );
    }
}

#[test]
fn a_call_costs_the_same_whatever_the_history_and_the_definitions_it_does_not_touch() {
    let (cluster, _) = cluster("budget_call");
    let give_history = |person: &str, events: i64| {
        cluster.execute(
            "postgres",
            &format!(
                r#"INSERT INTO cdp.inbox (user_id, event, properties, "timestamp")
                   SELECT '{person}', (ARRAY['view', 'view', 'click', 'login', 'order'])[1 + n % 5], '{{"total": 5, "path": "/p"}}',
                          now() - interval '100 days' * n / {events} FROM generate_series(1, {events}) AS n"#
            ),
        )
    };
    give_history("newcomer", 100);
    give_history("regular", 20_000);
    let call = |person: &str| {
        format!("SELECT cdp.track('{person}', 'view', '{{\"total\": 7, \"path\": \"/q\"}}')")
    };
    let (newcomer, regular) = (
        explain(&cluster, &call("newcomer")),
        explain(&cluster, &call("regular")),
    );
    within("pages touched by a call", pages(&newcomer) as f64, 42.0);
    within(
        "WAL bytes of a call",
        newcomer["WAL Bytes"].as_f64().unwrap_or(0.0),
        2_000.0,
    );
    within(
        "pages with 20,000 events of history against 100",
        pages(&regular) as f64 / pages(&newcomer) as f64,
        1.3,
    );

    cluster.execute(
        "postgres",
        "SELECT count(cdp.define_trait('other_' || n, format('events.other_%s.count_7d', n))) FROM generate_series(1, 300) AS n;
         SELECT count(cdp.define_segment('others_' || n, format('other_%s >= 3', n))) FROM generate_series(1, 300) AS n",
    );
    let crowded = explain(&cluster, &call("newcomer"));
    within(
        "pages with 600 more definitions against none",
        pages(&crowded) as f64 / pages(&newcomer) as f64,
        1.1,
    );
}
