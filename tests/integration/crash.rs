//! Nothing that was committed is lost, nothing that was not appears, whatever is killed.

use std::io::Write;
use std::time::Duration;

use cdp_tests::{eventually, Cluster, Reply, Sink};

/// Rows of a COPY into the inbox.
fn orders(prefix: &str, count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|n| {
            format!(
                "{prefix}{}\tOrder Completed\t{{\"total\": {n}}}\t{prefix}-{n}\n",
                n % 100
            )
            .into_bytes()
        })
        .collect()
}

const COPY: &str = "COPY cdp.inbox (user_id, event, properties, message_id) FROM STDIN";

#[test]
fn a_copy_is_whole_or_absent_when_its_backend_is_killed() {
    let cluster = Cluster::with_workers("copy_kill");
    let sink = Sink::start();
    super::define(&cluster, "app", &sink);
    sink.otherwise(Reply::status(500));

    let mut client = cluster.client("app");
    let mut copy = client.copy_in(COPY).unwrap();
    copy.write_all(&orders("kept", 1_000)).unwrap();
    assert_eq!(copy.finish().unwrap(), 1_000);

    let process: i32 = client
        .query_one("SELECT pg_backend_pid()", &[])
        .unwrap()
        .get(0);
    let mut copy = client.copy_in(COPY).unwrap();
    // The second part may not reach the server any more; that is the point.
    copy.write_all(&orders("lost", 20_000)).unwrap();
    copy.flush().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    cluster.kill_backend(process);
    assert!(copy.finish().is_err());

    assert_eq!(
        cluster.number("app", "SELECT count(*) FROM cdp.events"),
        1_000
    );
    assert_eq!(
        cluster.number("app", "SELECT count(*) FROM cdp.people"),
        100
    );
    assert_eq!(
        cluster.number(
            "app",
            "SELECT sum((cdp.trait('kept' || n, 'orders'))::int) FROM generate_series(0, 99) AS n"
        ),
        1_000
    );
    assert_eq!(
        cluster.number("app", "SELECT count(*) FROM cdp.members('buyers')"),
        100
    );
    // The same batch again, as a client does that got no answer: nothing twice.
    let mut client = cluster.client("app");
    for prefix in ["kept", "lost"] {
        let mut copy = client.copy_in(COPY).unwrap();
        copy.write_all(&orders(prefix, 1_000)).unwrap();
        copy.finish().unwrap();
    }
    assert_eq!(
        cluster.number("app", "SELECT count(*) FROM cdp.events"),
        2_000
    );
}

#[test]
fn a_killed_server_still_delivers_everything() {
    let cluster = Cluster::with_workers("server_kill");
    let sink = Sink::start();
    super::define(&cluster, "app", &sink);
    sink.script([Reply::Hang]);
    for user in 0..20 {
        super::order(&cluster, "app", &format!("user-{user}"), 1);
    }
    sink.wait_for_hanging(Duration::from_secs(30));
    cluster.kill_postmaster();
    sink.release();
    cluster.start();

    let users = || {
        let mut users: Vec<String> = sink
            .requests()
            .iter()
            .map(|request| request.text())
            .collect();
        users = (0..20)
            .map(|user| format!("\"user-{user}\""))
            .filter(|user| users.iter().any(|body| body.contains(user)))
            .collect();
        users.len()
    };
    // Leases of the dead worker have to run out first.
    assert!(
        eventually(Duration::from_secs(120), || users() == 20),
        "only {} of 20 arrived",
        users()
    );
}

#[test]
fn killed_workers_come_back() {
    let cluster = Cluster::with_workers("worker_kill");
    let sink = Sink::start();
    super::define(&cluster, "app", &sink);
    let workers =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND backend_type LIKE 'cdp%'";
    assert!(
        eventually(Duration::from_secs(20), || cluster.number("app", workers)
            >= 2),
        "no workers run"
    );
    cluster.execute(
        "app",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'cdp%' AND datname = 'app'",
    );
    super::order(&cluster, "app", "ada", 1);
    sink.wait_for(1, Duration::from_secs(60));
    assert!(
        eventually(Duration::from_secs(20), || cluster.number("app", workers)
            >= 2),
        "the workers stay away"
    );
}

/// People who are met as visitors and turn out to have accounts, with a page and an order each way.
const PAIRS: i64 = 300;

#[test]
fn merges_are_whole_or_absent_when_the_server_is_killed() {
    let cluster = Cluster::plain("merge_kill");
    cluster.execute(
        "postgres",
        r#"
        CREATE EXTENSION cdp;
        SELECT cdp.define_trait('orders', 'events."Order Completed".count');
        SELECT cdp.define_trait('revenue', 'events."Order Completed".sum_30d(total)');
        SELECT cdp.define_segment('buyers', 'orders >= 4');
        "#,
    );
    cluster.execute(
        "postgres",
        &format!(
            r#"
            INSERT INTO cdp.inbox (anonymous_id, event, properties, message_id)
                SELECT 'visitor-' || p, 'Order Completed', '{{"total": 1}}', 'v' || p || '-' || n
                FROM generate_series(1, {PAIRS}) AS p, generate_series(1, 2) AS n;
            INSERT INTO cdp.inbox (user_id, event, properties, message_id)
                SELECT 'user-' || p, 'Order Completed', '{{"total": 10}}', 'u' || p || '-' || n
                FROM generate_series(1, {PAIRS}) AS p, generate_series(1, 2) AS n;
            "#
        ),
    );
    let merge = |client: &mut postgres::Client, pair: i64| {
        client.execute(
            "SELECT cdp.identify('user-' || $1::bigint, '{\"plan\": \"pro\"}', anonymous_id => 'visitor-' || $1, message_id => 'i' || $1)",
            &[&pair],
        )
    };
    // Merges that had been answered before the crash must be there after it.
    for (round, by_backend) in [false, true, false].into_iter().enumerate() {
        let first = 1 + round as i64 * 100;
        let before = cluster.number("postgres", "SELECT count(*) FROM _cdp.profile_merges");
        let merged: Vec<i64> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..3)
                .map(|worker| {
                    let cluster = &cluster;
                    scope.spawn(move || {
                        let mut client = cluster.client("postgres");
                        let pairs = (first + worker..first + 100).step_by(3);
                        pairs
                            .take_while(|pair| merge(&mut client, *pair).is_ok())
                            .collect::<Vec<i64>>()
                    })
                })
                .collect();
            let mut watch = cluster.client("postgres");
            eventually(Duration::from_secs(30), || {
                watch
                    .query_one(
                        "SELECT count(*) >= $1 FROM _cdp.profile_merges",
                        &[&(before + 10)],
                    )
                    .is_ok_and(|row| row.get(0))
            });
            if by_backend {
                let process: i32 = watch
                    .query_one(
                        "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' LIMIT 1",
                        &[],
                    )
                    .unwrap()
                    .get(0);
                cluster.kill_backend(process);
            } else {
                cluster.kill_postmaster();
            }
            workers
                .into_iter()
                .flat_map(|worker| worker.join().unwrap())
                .collect()
        });
        if by_backend {
            cluster.wait_until_up();
        } else {
            cluster.start();
        }
        let mut client = cluster.client("postgres");
        for pair in &merged {
            let one: bool = client
                .query_one(
                    "SELECT cdp.resolve('user-' || $1::bigint) = cdp.resolve('visitor-' || $1)",
                    &[pair],
                )
                .unwrap()
                .get(0);
            assert!(
                one,
                "round {round}: the merge of pair {pair} was answered and is gone"
            );
        }
        // Each pair is one person with everything, or two with their own.
        let neither = cluster.text(
            "postgres",
            &format!(
                "SELECT string_agg(p::text, ', ') FROM generate_series(1, {PAIRS}) AS p, \
                     LATERAL (SELECT cdp.trait('user-' || p, 'orders') || cdp.trait('user-' || p, 'revenue') AS known, \
                         cdp.trait('visitor-' || p, 'orders') || cdp.trait('visitor-' || p, 'revenue') AS visitor, \
                         cdp.in_segment('user-' || p, 'buyers') AS buyer, \
                         cdp.resolve('user-' || p) = cdp.resolve('visitor-' || p) AS one) AS t \
                 WHERE (one, known, visitor, buyer) NOT IN ((true, '[4, 22]', '[4, 22]', true), (false, '[2, 20]', '[2, 2]', false))"
            ),
        );
        assert_eq!(neither, "", "round {round}: pairs half merged");
    }
    let mut client = cluster.client("postgres");
    for pair in 1..=PAIRS {
        merge(&mut client, pair).unwrap();
    }
    assert_eq!(
        cluster.number("postgres", "SELECT count(*) FROM cdp.members('buyers')"),
        PAIRS
    );
    assert_eq!(
        cluster.number("postgres", "SELECT count(*) FROM cdp.people"),
        PAIRS
    );
    let computed =
        "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM cdp.user_traits AS t";
    let before = cluster.text("postgres", computed);
    cluster.execute("postgres", "SELECT cdp.rebuild()");
    assert_eq!(cluster.text("postgres", computed), before);
}
