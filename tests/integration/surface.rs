//! What the extension publishes, to whom, and how safely. Nothing appears or disappears by accident:
//! `pg_test/surface.txt` lists every object (`UPDATE=1` accepts the new list).

use std::path::Path;

use cdp_tests::{golden, snapshot, Cluster};

fn with_extension(name: &str) -> Cluster {
    let cluster = Cluster::plain(name);
    cluster.execute("postgres", "CREATE EXTENSION cdp");
    cluster
}

#[test]
fn the_list_of_objects_is_as_agreed() {
    let cluster = with_extension("surface");
    let mut objects =
        snapshot::column(&mut cluster.client("postgres"), snapshot::MEMBERS).join("\n");
    objects.push('\n');
    let agreed = cdp_tests::repository().join("pg_test/surface.txt");
    if std::fs::read_to_string(&agreed).is_ok_and(|text| text == objects) {
        return;
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&agreed, objects).unwrap();
        return;
    }
    panic!(
        "{}",
        golden::difference(&cluster, Path::new(&agreed), &objects)
    );
}

/// Fails with the names that a query finds.
#[track_caller]
fn nothing(cluster: &Cluster, complaint: &str, query: &str) {
    let found = snapshot::column(&mut cluster.client("postgres"), query);
    assert!(found.is_empty(), "{complaint}:\n{}", found.join("\n"));
}

#[test]
fn the_public_gets_nothing_but_usage() {
    let cluster = with_extension("privileges");
    nothing(
        &cluster,
        "functions that everybody may call",
        "SELECT p.oid::regprocedure FROM pg_proc AS p
         JOIN pg_namespace AS n ON n.oid = pronamespace AND nspname IN ('cdp', '_cdp')
         CROSS JOIN LATERAL aclexplode(coalesce(proacl, acldefault('f', proowner))) AS acl
         WHERE acl.grantee = 0
           -- Postgres lets nobody use a type without its input and output functions.
           AND NOT EXISTS (SELECT FROM pg_type WHERE p.oid IN (typinput, typoutput, typreceive, typsend, typmodin, typmodout))",
    );
    nothing(
        &cluster,
        "relations that everybody may use",
        "SELECT c.oid::regclass || ' ' || acl.privilege_type FROM pg_class AS c
         JOIN pg_namespace AS n ON n.oid = relnamespace AND nspname IN ('cdp', '_cdp')
         CROSS JOIN LATERAL aclexplode(relacl) AS acl WHERE acl.grantee = 0",
    );
    nothing(
        &cluster,
        "schemas in which everybody may do more than use",
        "SELECT nspname || ' ' || acl.privilege_type FROM pg_namespace CROSS JOIN LATERAL aclexplode(nspacl) AS acl
         WHERE nspname IN ('cdp', '_cdp') AND acl.grantee = 0 AND acl.privilege_type <> 'USAGE'",
    );
}

#[test]
fn everything_public_has_a_comment() {
    let cluster = with_extension("comments");
    nothing(
        &cluster,
        "functions without a comment",
        "SELECT p.oid::regprocedure FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace
         WHERE nspname = 'cdp' AND obj_description(p.oid, 'pg_proc') IS NULL",
    );
    nothing(
        &cluster,
        "relations and types without a comment",
        "SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
         WHERE nspname = 'cdp' AND relkind IN ('r', 'p', 'v', 'm') AND obj_description(c.oid, 'pg_class') IS NULL
         UNION ALL
         SELECT t.oid::regtype::text FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = typnamespace
         LEFT JOIN pg_class AS c ON c.oid = typrelid
         WHERE nspname = 'cdp' AND typcategory <> 'A' AND coalesce(c.relkind, 'c') = 'c' AND obj_description(t.oid, 'pg_type') IS NULL",
    );
    nothing(
        &cluster,
        "settings without a description",
        "SELECT name FROM pg_settings WHERE name LIKE 'cdp.%' AND coalesce(short_desc, '') = ''",
    );
}

#[test]
fn no_function_depends_on_the_callers_search_path() {
    let cluster = with_extension("search_path");
    nothing(
        &cluster,
        "functions without a search_path of their own",
        "SELECT p.oid::regprocedure FROM pg_proc AS p
         JOIN pg_namespace AS n ON n.oid = pronamespace AND nspname IN ('cdp', '_cdp')
         JOIN pg_language AS l ON l.oid = prolang
         WHERE prokind IN ('f', 'p') AND NOT coalesce(array_to_string(proconfig, ',') LIKE '%search_path=%', false)
           -- A body of parsed SQL was bound when it was created. What only works on its arguments looks nothing up.
           AND prosqlbody IS NULL AND NOT (lanname = 'c' AND provolatile = 'i')
           AND NOT EXISTS (SELECT FROM pg_type WHERE p.oid IN (typinput, typoutput, typreceive, typsend))",
    );
    nothing(
        &cluster,
        "functions that run with the owner's rights and a search_path that others can write to",
        "SELECT p.oid::regprocedure FROM pg_proc AS p
         JOIN pg_namespace AS n ON n.oid = pronamespace AND nspname IN ('cdp', '_cdp')
         WHERE prosecdef AND NOT coalesce(proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)",
    );
}

#[test]
fn each_role_can_do_its_part_and_no_more() {
    let cluster = with_extension("roles");
    cluster.execute(
        "postgres",
        "CREATE ROLE reads LOGIN IN ROLE cdp_reader; CREATE ROLE writes LOGIN IN ROLE cdp_writer;
         CREATE ROLE rules LOGIN IN ROLE cdp_admin; CREATE ROLE stranger LOGIN;",
    );
    let track = "SELECT cdp.track('ada', 'Order Completed')";
    let copy = "INSERT INTO cdp.inbox (user_id, event) VALUES ('ada', 'Order Completed')";
    let read = "SELECT * FROM cdp.profile('ada')";
    let look = "SELECT * FROM cdp.events";
    let define = "SELECT cdp.define_trait('orders', 'events.x.count')";
    let send =
        r#"SELECT cdp.define_destination('d', 'webhook', '{"url": "https://hooks.example.com"}')"#;
    let expected = [
        (
            "writes",
            vec![(track, true), (copy, true), (define, false), (send, false)],
        ),
        (
            "reads",
            vec![
                (track, false),
                (copy, false),
                (read, true),
                (look, true),
                (define, false),
                (send, false),
            ],
        ),
        (
            "rules",
            vec![(define, true), (send, true), (read, true), (track, true)],
        ),
        (
            "stranger",
            vec![
                (track, false),
                (copy, false),
                (read, false),
                (look, false),
                (define, false),
                (send, false),
            ],
        ),
    ];
    for (role, statements) in expected {
        let mut client = cluster.client_as("postgres", role);
        for (statement, allowed) in statements {
            let outcome = client.batch_execute(statement);
            match (&outcome, allowed) {
                (Ok(()), true) => {}
                (Err(error), false) if error.code().is_some_and(|code| code.code() == "42501") => {}
                (Err(error), _) => panic!(
                    "{role}: {statement}: {}",
                    cdp_tests::cluster::describe(error)
                ),
                (Ok(()), false) => panic!("{role} may do this: {statement}"),
            }
        }
        let inner = client.batch_execute("SELECT * FROM _cdp.profiles");
        assert!(inner.is_err(), "{role} may read the private tables");
    }
}
