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
