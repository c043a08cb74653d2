//! Deliveries through real faults, and servers that finish their work while an endpoint hangs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cdp_tests::{eventually, Cluster, Reply, Sink};

const PATIENCE: Duration = Duration::from_secs(90);
/// How long a command may take while a request hangs.
const PROMPT: Duration = Duration::from_secs(10);

#[test]
fn every_fault_ends_in_a_delivery_with_the_same_id() {
    let cluster = Cluster::with_workers("faults");
    let sink = Sink::start();
    super::define(&cluster, "app", &sink);
    sink.script([
        Reply::status(500),
        Reply::Reset,
        Reply::CutOff,
        Reply::retry_after("1"),
        Reply::status(503).after(Duration::from_millis(300)),
    ]);
    super::order(&cluster, "app", "ada", 10);
    let requests = sink.wait_for(6, PATIENCE);
    let ids: BTreeSet<_> = requests
        .iter()
        .map(|request| request.header("webhook-id"))
        .collect();
    assert_eq!(ids.len(), 1, "one message, one id: {ids:?}");
    assert!(ids.iter().all(Option::is_some));
    let waiting = "SELECT count(*) FROM cdp.deliveries";
    assert!(
        eventually(PATIENCE, || cluster.number("app", waiting) == 0),
        "the delivery stays open"
    );
    assert_eq!(sink.count(), 6, "sent again after it was accepted");
    assert_eq!(
        cluster.number("app", "SELECT count(*) FROM cdp.dead_letters"),
        0
    );
}

#[test]
fn a_retry_after_is_waited_for() {
    let cluster = Cluster::with_workers("retry_after");
    let sink = Sink::start();
    super::define(&cluster, "app", &sink);
    sink.script([Reply::retry_after("3")]);
    super::order(&cluster, "app", "ada", 10);
    let requests = sink.wait_for(2, PATIENCE);
    let waited = requests[1].at.duration_since(requests[0].at).unwrap();
    assert!(
        waited >= Duration::from_millis(2_900),
        "came back after {waited:?}"
    );
}

#[test]
fn what_can_never_succeed_becomes_a_dead_letter() {
    let cluster = Cluster::with_workers("dead_letter");
    let sink = Sink::start();
    super::define(&cluster, "app", &sink);
    sink.script([Reply::status(400).with_body("no such field")]);
    super::order(&cluster, "app", "ada", 10);
    let letters = "SELECT count(*) FROM cdp.dead_letters";
    assert!(eventually(PATIENCE, || cluster.number("app", letters) == 1));
    let whole = cluster.text("app", "SELECT to_jsonb(l)::text FROM cdp.dead_letters AS l");
    assert!(
        whole.contains("400") && whole.contains("no such field"),
        "{whole}"
    );
    assert_eq!(sink.count(), 1);
    assert_eq!(cluster.number("app", "SELECT cdp.retry_dead_letters()"), 1);
    sink.wait_for(2, PATIENCE);
    assert!(eventually(PATIENCE, || cluster.number("app", letters) == 0));
}

#[test]
fn one_failing_person_does_not_hold_up_the_others_and_keeps_the_order() {
    let cluster = Cluster::with_workers("order");
    let sink = Sink::start();
    super::define(&cluster, "app", &sink);
    sink.script([Reply::status(500)]);
    super::order(&cluster, "app", "ada", 1);
    sink.wait_for(1, PATIENCE);
    super::order(&cluster, "app", "ada", 2);
    super::order(&cluster, "app", "bob", 3);
    // 4 orders and attempts of ada and bob's, and ada's entry into the segment.
    let requests = sink.wait_for(5, PATIENCE);
    let totals: Vec<i64> = requests[1..]
        .iter()
        .filter(|request| request.text().contains("Order Completed"))
        .map(|request| request.text())
        .filter_map(|body| {
            [1, 2, 3].into_iter().find(|n| {
                let compact: String = body.split_whitespace().collect();
                compact.contains(&format!("\"total\":{n}"))
            })
        })
        .collect();
    let place = |total: i64| totals.iter().position(|found| *found == total);
    assert!(place(1) < place(2), "ada's orders came as {totals:?}");
    assert!(place(3).is_some());
}

/// A cluster whose delivery worker waits for an answer that does not come.
fn hanging(name: &str) -> (Cluster, Sink) {
    let cluster = Cluster::with_workers(name);
    let sink = Sink::start();
    super::define(&cluster, "app", &sink);
    sink.otherwise(Reply::Hang);
    super::order(&cluster, "app", "ada", 10);
    sink.wait_for_hanging(Duration::from_secs(30));
    (cluster, sink)
}

fn promptly(what: &str, action: impl FnOnce()) {
    let before = Instant::now();
    action();
    let took = before.elapsed();
    assert!(took < PROMPT, "{what} took {took:?}");
}

#[test]
fn a_hanging_endpoint_does_not_block_dropping_databases() {
    let (cluster, _sink) = hanging("drop_database");
    cluster.create_database("other");
    promptly("DROP DATABASE of another one", || {
        cluster.execute("postgres", "DROP DATABASE other")
    });
    promptly("DROP DATABASE", || {
        cluster.execute("postgres", "DROP DATABASE app WITH (FORCE)")
    });
}

#[test]
fn a_hanging_endpoint_does_not_block_dropping_the_extension() {
    let (cluster, _sink) = hanging("drop_extension");
    promptly("DROP EXTENSION", || {
        cluster.execute("app", "DROP EXTENSION cdp CASCADE")
    });
    promptly("CREATE EXTENSION", || {
        cluster.execute("app", "CREATE EXTENSION cdp")
    });
}

#[test]
fn a_hanging_endpoint_holds_no_transaction() {
    let (cluster, sink) = hanging("no_transaction");
    // Whatever else the workers do takes less than a second.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(sink.count(), 1, "the request hangs no more");
    let open = cluster.text(
        "app",
        "SELECT coalesce(string_agg(concat_ws(' ', backend_type, state, query), E'\\n'), '') FROM pg_stat_activity
         WHERE backend_type LIKE 'cdp%' AND xact_start < clock_timestamp() - interval '1 second'",
    );
    assert_eq!(open, "");
    // Without a transaction there can only be locks of the session.
    let locks = cluster.text(
        "app",
        "SELECT coalesce(string_agg(concat_ws(' ', locktype, mode, relation::regclass), E'\\n'), '')
         FROM pg_locks JOIN pg_stat_activity USING (pid)
         WHERE backend_type LIKE 'cdp%' AND locktype <> 'virtualxid'
           AND coalesce(xact_start, '-infinity') < clock_timestamp() - interval '1 second'",
    );
    assert_eq!(locks, "");
}

#[test]
fn a_hanging_endpoint_does_not_block_the_shutdown_and_nothing_is_lost() {
    let (cluster, sink) = hanging("shutdown");
    promptly("the shutdown", || cluster.stop());
    sink.release();
    sink.otherwise(Reply::Accept);
    cluster.start();
    sink.wait_for(2, Duration::from_secs(120));
}
