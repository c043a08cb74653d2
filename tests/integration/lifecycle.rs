//! The extension's life: creation, health, upgrade, dump and restore, standby, removal.

use std::time::Duration;

use cdp_tests::{cluster, eventually, psql, snapshot, Cluster, Settings, Sink};

#[test]
fn works_without_preload_and_says_what_is_off() {
    let cluster = Cluster::plain("no_preload");
    let printed = psql::session(&cluster, "postgres", &[], "CREATE EXTENSION cdp;");
    assert!(
        printed.contains("WARNING") && printed.contains("shared_preload_libraries"),
        "{printed}"
    );
    cluster.execute(
        "postgres",
        r#"SELECT cdp.define_trait('orders', 'events."Order Completed".count')"#,
    );
    super::order(&cluster, "postgres", "ada", 10);
    assert_eq!(
        cluster.text("postgres", "SELECT cdp.trait('ada', 'orders')"),
        "1"
    );
    cluster.execute("postgres", "SELECT * FROM cdp.run_due()");
    let off = cluster.text(
        "postgres",
        "SELECT string_agg(component || ': ' || detail, E'\\n') FROM cdp.health() WHERE NOT ok",
    );
    assert!(
        off.contains("shared_preload_libraries"),
        "health says: {off}"
    );
}

#[test]
fn is_healthy_with_preload() {
    let cluster = Cluster::with_workers("preload");
    let query = "SELECT coalesce(string_agg(component || ': ' || detail, E'\\n'), '') FROM cdp.health() WHERE NOT ok";
    let healthy = eventually(Duration::from_secs(20), || {
        cluster.text("app", query).is_empty()
    });
    assert!(healthy, "not ok: {}", cluster.text("app", query));
}

#[test]
fn several_databases_can_create_it_at_the_same_moment() {
    // The roles belong to all of them: who comes second must take those of the first.
    let cluster = Cluster::plain("together");
    let databases = ["one", "two", "three", "four"];
    for database in databases {
        cluster.create_database(database);
    }
    std::thread::scope(|scope| {
        for database in databases {
            scope.spawn(|| cluster.execute(database, "CREATE EXTENSION cdp"));
        }
    });
}

#[test]
fn dropping_it_with_events_needs_cascade() {
    let cluster = Cluster::plain("drop");
    cluster.execute(
        "postgres",
        "CREATE EXTENSION cdp; DROP EXTENSION cdp; CREATE EXTENSION cdp",
    );
    super::order(&cluster, "postgres", "ada", 10);
    let refused = cluster
        .client("postgres")
        .batch_execute("DROP EXTENSION cdp")
        .expect_err("customers' events must not go silently");
    let refused = cluster::describe(&refused);
    assert!(refused.contains("2BP01"), "{refused}");
    assert_eq!(
        cluster.number("postgres", "SELECT count(*) FROM cdp.events"),
        1
    );

    cluster.execute("postgres", "DROP EXTENSION cdp CASCADE");
    let left = "SELECT coalesce(string_agg(nspname || '.' || relname, ' '), '') FROM pg_class
                JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname IN ('cdp', '_cdp')";
    assert_eq!(cluster.text("postgres", left), "");
    cluster.execute("postgres", "CREATE EXTENSION cdp");
    assert_eq!(
        cluster.number("postgres", "SELECT count(*) FROM cdp.events"),
        0
    );
}

#[test]
fn an_upgrade_ends_where_a_fresh_installation_does() {
    let cluster = Cluster::plain("upgrade");
    cluster.create_database("fresh");
    cluster.execute("fresh", "CREATE EXTENSION cdp");
    let fresh = snapshot::catalog(&mut cluster.client("fresh"));
    assert!(
        fresh.len() > 100,
        "the picture of the catalog is nearly empty: {fresh:?}"
    );
    let current = cluster.text(
        "fresh",
        "SELECT extversion FROM pg_extension WHERE extname = 'cdp'",
    );

    let older = snapshot::column(
        &mut cluster.client("fresh"),
        &format!("SELECT version FROM pg_available_extension_versions WHERE name = 'cdp' AND version <> '{current}'"),
    );
    assert!(
        !older.is_empty(),
        "there is no older version to upgrade from"
    );
    for (number, version) in older.iter().enumerate() {
        let database = format!("upgraded_{number}");
        cluster.create_database(&database);
        cluster.execute(
            &database,
            &format!("CREATE EXTENSION cdp VERSION '{version}'"),
        );
        cluster.execute(&database, "ALTER EXTENSION cdp UPDATE");
        let upgraded = snapshot::catalog(&mut cluster.client(&database));
        let differences = snapshot::differences(&fresh, &upgraded);
        assert!(
            differences.is_empty(),
            "fresh (-) and upgraded from {version} (+):\n{differences}"
        );
        super::order(&cluster, &database, "ada", 10);
    }
}

/// What tells of the workers' progress, not of data.
const PASSING: [&str; 2] = ["_cdp.sweeps", "cdp.progress"];

/// All data, with the values that depend on time as of this instant.
fn data(cluster: &Cluster, database: &str, at: &str) -> Vec<String> {
    let mut client = cluster.client(database);
    client
        .batch_execute(&format!("SET cdp.clock = '{at}'"))
        .unwrap();
    snapshot::data(&mut client, &PASSING)
}

#[test]
fn a_restored_dump_is_the_same_and_sends_nothing() {
    let cluster = Settings::new("restore").preload("app, restored").start();
    cluster.create_database("app");
    cluster.execute("app", "CREATE EXTENSION cdp");
    let sink = Sink::start();
    super::define(&cluster, "app", &sink);
    cluster.execute(
        "app",
        &format!(
            r#"
            SELECT cdp.define_destination('later', 'webhook', '{{"url": "{}"}}');
            SELECT cdp.define_route('later', ARRAY['Order Completed']);
            SELECT cdp.pause_destination('later');
            SELECT cdp.identify('ada', '{{"email": "ada@example.com", "plan": "pro"}}', 'browser-1');
            INSERT INTO cdp.inbox (user_id, event, properties, "timestamp")
            SELECT 'user-' || n % 10, 'Order Completed', jsonb_build_object('total', n), cdp.now() - n * interval '1 day'
            FROM generate_series(1, 50) AS n;
            SELECT cdp.set_consent('user-1', '{{"advertising": false}}', 'test');
            SELECT cdp.suppress('mallory', 'objected');
            CREATE TABLE bookings (id int PRIMARY KEY, guest text);
            SELECT cdp.attach('bookings', 'Booked', 'guest');
            INSERT INTO bookings VALUES (1, 'ada');
            "#,
            sink.url("/later")
        ),
    );
    // 50 orders and 10 entries; another 50 orders wait for the paused destination.
    sink.wait_for(60, Duration::from_secs(60));
    let settled = eventually(Duration::from_secs(20), || {
        cluster.number(
            "app",
            "SELECT count(*) FROM cdp.deliveries WHERE destination = 'hook'",
        ) == 0
    });
    assert!(settled, "deliveries stay open after all were received");

    let dump = cluster.dump("app");
    let at = cluster.text("app", "SELECT cdp.now()");
    let before = data(&cluster, "app", &at);
    let received = sink.count();
    cluster.create_database("restored");
    cluster.restore("restored", &dump);
    let after = data(&cluster, "restored", &at);
    let differences = snapshot::differences(&before, &after);
    assert!(
        differences.is_empty(),
        "dumped (-) and restored (+):\n{differences}"
    );
    let members = "SELECT string_agg(user_id, ' ' ORDER BY user_id) FROM cdp.members('buyers')";
    assert_eq!(
        cluster.text("app", members),
        cluster.text("restored", members)
    );

    let still = "SELECT concat_ws(' ', (SELECT granted FROM cdp.consent('user-1')), (cdp.track('mallory', 'x')).status)";
    assert_eq!(cluster.text("restored", still), "f suppressed");

    // Attached tables stay attached; their rows came with the dump and count once.
    cluster.execute("restored", "INSERT INTO bookings VALUES (2, 'ada')");
    let bookings = "SELECT count(*) FROM cdp.events WHERE event = 'Booked' AND user_id = 'ada'";
    assert_eq!(cluster.number("restored", bookings), 2);

    // The restored database goes on where the other stopped: nothing sent twice, no id given twice.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(sink.count(), received, "the restore sent something");
    let highest = cluster.number("restored", "SELECT max(profile_id) FROM cdp.people");
    super::order(&cluster, "restored", "newcomer", 1);
    assert!(cluster.number("restored", "SELECT cdp.resolve('newcomer')") > highest);
    sink.wait_for(received + 1, Duration::from_secs(30));
    cluster.execute("restored", "SELECT cdp.resume_destination('later')");
    sink.wait_for(received + 52, Duration::from_secs(60));
}

#[test]
fn a_standby_answers_reads() {
    let primary = Settings::new("reads").preload("app").start();
    primary.create_database("app");
    primary.execute("app", "CREATE EXTENSION cdp");
    let sink = Sink::start();
    super::define(&primary, "app", &sink);
    primary.execute(
        "app",
        "SELECT cdp.define_flag('discount', 'segment(\"buyers\")');
         SELECT cdp.define_flag('price', definition => '{\"split\": {\"on\": 50, \"off\": 50}, \"prerequisites\": [\"discount\"]}');
         SELECT cdp.define_experiment('price', '{\"flag\": \"price\", \"primary\": \"events.x.count\"}')",
    );
    super::order(&primary, "app", "ada", 10);
    super::order(&primary, "app", "ada", 20);
    let standby = primary.standby();
    primary.wait_for_standby(&standby);
    for query in [
        "SELECT cdp.trait('ada', 'orders') = '2'",
        "SELECT cdp.in_segment('ada', 'buyers')",
        "SELECT (cdp.decide('ada', 'discount')).allow",
        "SELECT bool_and(reason = 'rule_matched') FROM cdp.decide_all('ada')",
        "SELECT count(*) > 3 FROM cdp.explain_decision('ada', 'price')",
        "SELECT count(*) = 2 FROM cdp.experiment_report('price')",
        "SELECT reasons[array_upper(reasons, 1)] LIKE 'no exposure was recorded%' FROM cdp.expose('ada', 'price')",
        "SELECT count(*) = 2 FROM cdp.traits('ada')",
        "SELECT event_count = 2 FROM cdp.profile('ada')",
        "SELECT count(*) = 1 FROM cdp.members('buyers')",
        "SELECT cdp.evaluate('ada', 'revenue > 20') = 'true'",
        "SELECT count(*) > 0 FROM cdp.health()",
    ] {
        assert_eq!(standby.text("app", query), "t", "{query}");
    }
    assert!(standby
        .client("app")
        .batch_execute("SELECT cdp.track('ada', 'x')")
        .is_err());
}
