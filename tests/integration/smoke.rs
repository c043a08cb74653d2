//! The main path once through, on every version of Postgres.

use std::time::Duration;

use cdp_tests::{Cluster, Sink};

#[test]
fn an_event_becomes_a_trait_a_segment_a_decision_and_a_webhook() {
    let cluster = Cluster::with_workers("smoke");
    let sink = Sink::start();
    super::define(&cluster, "app", &sink);
    cluster.execute(
        "app",
        "SELECT cdp.define_flag('discount', 'segment(\"buyers\")')",
    );
    cluster.execute(
        "app",
        r#"
        SELECT cdp.identify('ada', '{"email": "ada@example.com"}');
        SELECT cdp.track('ada', 'Order Completed', '{"total": 10.10}');
        INSERT INTO cdp.inbox (user_id, event, properties) VALUES ('ada', 'Order Completed', '{"total": 20.20}');
        "#,
    );
    let mut client = cluster.client("app");
    let mut copy = client
        .copy_in("COPY cdp.inbox (user_id, event, properties) FROM STDIN")
        .unwrap();
    std::io::Write::write_all(&mut copy, b"bob\tOrder Completed\t{\"total\": 5}\n").unwrap();
    assert_eq!(copy.finish().unwrap(), 1);

    assert_eq!(
        cluster.text("app", "SELECT cdp.trait('ada', 'orders')"),
        "2"
    );
    assert_eq!(
        cluster.text(
            "app",
            "SELECT (cdp.trait('ada', 'revenue'))::numeric = 30.30"
        ),
        "t"
    );
    assert_eq!(
        cluster.text("app", "SELECT cdp.in_segment('ada@example.com', 'buyers')"),
        "t"
    );
    assert_eq!(
        cluster.text("app", "SELECT (cdp.decide('ada', 'discount')).allow"),
        "t"
    );
    assert_eq!(
        cluster.text("app", "SELECT (cdp.decide('bob', 'discount')).allow"),
        "f"
    );

    // Three orders and one entry into the segment.
    let requests = sink.wait_for(4, Duration::from_secs(30));
    let entered: Vec<_> = requests
        .iter()
        .filter(|request| request.text().contains("Segment Entered"))
        .collect();
    assert_eq!(entered.len(), 1);
    assert!(entered[0].text().contains("buyers"));
    assert!(entered[0].header("webhook-id").is_some());
}

#[test]
fn what_is_not_committed_never_happened() {
    let cluster = Cluster::with_workers("rollback");
    let sink = Sink::start();
    super::define(&cluster, "app", &sink);
    let mut client = cluster.client("app");
    let mut transaction = client.transaction().unwrap();
    for _ in 0..2 {
        transaction
            .execute(
                "SELECT cdp.track('eve', 'Order Completed', '{\"total\": 1}')",
                &[],
            )
            .unwrap();
    }
    let inside: bool = transaction
        .query_one("SELECT cdp.in_segment('eve', 'buyers')", &[])
        .unwrap()
        .get(0);
    assert!(inside, "a transaction sees its own events");
    transaction.rollback().unwrap();
    assert_eq!(cluster.number("app", "SELECT count(*) FROM cdp.events"), 0);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(sink.count(), 0);
}
