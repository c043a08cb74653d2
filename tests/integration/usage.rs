//! Decisions write nothing, and are counted all the same.

use cdp_tests::Cluster;

#[test]
fn decisions_are_counted_by_namespace_and_day() {
    let cluster = Cluster::with_workers("usage");
    cluster.execute(
        "app",
        "SELECT cdp.define_namespace('acme');
         SELECT cdp.define_flag('on', 'true');
         SELECT cdp.define_flag('on', 'true', namespace => 'acme');
         SELECT cdp.define_flag('off', 'false', namespace => 'acme')",
    );
    let counted = || {
        // The worker may store some, and the call the rest.
        cluster.execute("app", "SELECT cdp.run_due()");
        cluster.text(
            "app",
            "SELECT string_agg(namespace || ' ' || decisions, ', ' ORDER BY namespace) FROM
             (SELECT namespace, sum(decisions) AS decisions FROM cdp.usage GROUP BY namespace) AS u",
        )
    };
    let mut sessions = [cluster.client("app"), cluster.client("app")];
    for session in &mut sessions {
        session
            .batch_execute(
                "SET default_transaction_read_only = on;
                 SELECT cdp.decide('ada', 'on') FROM generate_series(1, 5);
                 SELECT cdp.decide_all('ada', namespace => 'acme')",
            )
            .unwrap();
    }
    assert_eq!(counted(), "acme 4, default 10");
    // What was asked in a transaction that was rolled back was answered too.
    cluster.execute("app", "BEGIN; SELECT cdp.decide('ada', 'on'); ROLLBACK");
    assert_eq!(counted(), "acme 4, default 11");
    assert_eq!(counted(), "acme 4, default 11");
}
