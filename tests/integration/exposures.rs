//! Exposures of sessions that may not write are recorded by the worker.

use std::time::Duration;

use cdp_tests::{eventually, Cluster};

#[test]
fn a_read_only_session_leaves_its_exposures_to_the_worker() {
    let cluster = Cluster::with_workers("exposures");
    cluster.execute(
        "app",
        r#"
        SELECT cdp.define_flag('banner', definition => '{"variants": {"red": 1, "blue": 2}, "rules": [{"split": {"red": 50, "blue": 50}}], "default": "red"}');
        SELECT cdp.track('user-' || n, 'Visited') FROM generate_series(1, 40) AS n;
        "#,
    );
    let mut client = cluster.client("app");
    let mut workers = cluster.client("app");
    assert!(eventually(Duration::from_secs(20), || {
        workers
            .query_one(
                "SELECT count(*) >= 2 FROM pg_stat_activity WHERE datname = 'app' AND backend_type LIKE 'cdp%'",
                &[],
            )
            .unwrap()
            .get(0)
    }));
    // Twice each: an exposure counts once.
    for _ in 0..2 {
        client
            .batch_execute("BEGIN TRANSACTION READ ONLY; SELECT cdp.expose('user-' || n, 'banner') FROM generate_series(1, 40) AS n; COMMIT")
            .unwrap();
    }
    let recorded = "SELECT count(*) FROM cdp.events WHERE event = 'Flag Exposed'";
    assert!(
        eventually(Duration::from_secs(20), || cluster.number("app", recorded)
            == 40),
        "{} of 40 were recorded",
        cluster.number("app", recorded)
    );
    let wrong = "SELECT count(*) FROM cdp.events AS e WHERE event = 'Flag Exposed' \
                     AND properties->>'variant' <> (cdp.decide(e.user_id, 'banner')).variant";
    assert_eq!(cluster.number("app", wrong), 0);
    // Written at once where writing is possible, it is the same exposure.
    cluster.execute("app", "SELECT cdp.expose('user-1', 'banner')");
    assert_eq!(cluster.number("app", recorded), 40);
}
