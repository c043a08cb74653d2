//! Jobs go on where they were when the server died, do nothing twice, and stop when they are told to.

use std::time::Duration;

use cdp_tests::{eventually, Cluster};

const PEOPLE: i64 = 20_000;

fn with_people(name: &str) -> Cluster {
    let cluster = Cluster::with_workers(name);
    cluster.execute(
        "app",
        &format!(
            "INSERT INTO cdp.inbox (user_id, event, message_id)
             SELECT 'user ' || n % {PEOPLE}, 'Order Completed', 'm' || n FROM generate_series(1, {PEOPLE} * 2) AS n;
             SELECT cdp.define_trait('orders', 'events.\"Order Completed\".count')"
        ),
    );
    cluster
}

fn run(cluster: &Cluster) -> (String, i64) {
    let line = cluster.text(
        "app",
        "SELECT state || ' ' || done FROM cdp.jobs WHERE name = 'rebuild'",
    );
    let (state, done) = line.split_once(' ').unwrap();
    (state.to_string(), done.parse().unwrap())
}

/// Starts the job and waits until a part of it is done, but not all.
fn half_done(cluster: &Cluster) {
    cluster.execute("app", "SELECT cdp.start_job('rebuild')");
    assert!(
        eventually(Duration::from_secs(60), || run(cluster).1 > 0),
        "it does not run: {:?}",
        run(cluster)
    );
    let (state, done) = run(cluster);
    assert!(state == "running" && done < PEOPLE, "{state} {done}");
}

#[test]
fn a_job_goes_on_after_a_crash() {
    let cluster = with_people("job_crash");
    half_done(&cluster);
    cluster.kill_postmaster();
    cluster.start();
    let (state, before) = run(&cluster);
    assert!(
        state == "running" && before > 0 && before < PEOPLE,
        "{state} {before}"
    );

    assert!(
        eventually(Duration::from_secs(120), || run(&cluster).0 == "done"),
        "{:?}\n{}",
        run(&cluster),
        cluster.log()
    );
    // Nobody was left out and nobody was done twice.
    assert_eq!(run(&cluster).1, PEOPLE);
    let log = cluster.text(
        "app",
        "SELECT string_agg(message, '; ' ORDER BY log_id) FROM cdp.job_log",
    );
    assert_eq!(
        log,
        format!("started; {PEOPLE} in all; goes on where another process left it; done: {PEOPLE}")
    );
    assert_eq!(
        cluster.number("app", "SELECT count(*) FROM generate_series(0, 19999, 100) AS n WHERE cdp.trait('user ' || n, 'orders') = '2'"),
        200
    );
}

#[test]
fn a_job_stops_between_two_parts_and_can_be_scheduled() {
    let cluster = with_people("job_stop");
    half_done(&cluster);
    assert_eq!(cluster.text("app", "SELECT cdp.stop_job('rebuild')"), "t");
    let (state, done) = run(&cluster);
    assert_eq!(state, "cancelled");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(run(&cluster), (state, done));

    // The worker starts what is due. In a database without a fixed clock that is at the next full minute at the latest.
    cluster.execute("app", "SELECT cdp.schedule('rebuild', '* * * * *')");
    assert!(
        eventually(Duration::from_secs(100), || run(&cluster).0 == "done"),
        "{:?}",
        run(&cluster)
    );
    assert_eq!(run(&cluster).1, PEOPLE);
}
