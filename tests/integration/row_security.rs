//! The workers run as a superuser, and do not lend that to what a bound role wrote.

use std::time::Duration;

use cdp_tests::{Cluster, Sink};

#[test]
fn a_transformation_is_bound_like_its_author() {
    let cluster = Cluster::with_workers("row_security");
    let sink = Sink::start();
    cluster.execute(
        "app",
        "SELECT cdp.define_namespace('acme');
         SELECT cdp.define_namespace('globex');
         SELECT cdp.track('bob', 'Ordered', namespace => 'globex');
         CREATE ROLE acme_app LOGIN IN ROLE cdp_admin;
         CREATE SCHEMA acme_code AUTHORIZATION acme_app;
         SELECT cdp.bind_role('acme_app', 'acme')",
    );
    let mut author = cluster.client_as("app", "acme_app");
    author
        .batch_execute(&format!(
            r#"
            CREATE FUNCTION acme_code.spy(message jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
            DECLARE
                answer text;
            BEGIN
                BEGIN
                    answer := cdp.resolve('bob', namespace => 'globex')::text;
                EXCEPTION WHEN SQLSTATE 'CD120' THEN
                    answer := 'permission denied';
                END;
                RETURN jsonb_build_object('answer', answer,
                    'views', (SELECT jsonb_agg(DISTINCT e.namespace) FROM cdp.events AS e));
            END $$;
            SELECT cdp.define_destination('hook', 'webhook', '{{"url": "{}"}}');
            SELECT cdp.define_route('hook', ARRAY['Spied'], transform => 'acme_code.spy');
            SELECT cdp.track('ann', 'Spied');
            "#,
            sink.url("/hook")
        ))
        .unwrap();
    sink.wait_for(1, Duration::from_secs(60));
    let body = sink.requests()[0].text();
    assert!(
        body.contains("permission denied") && body.contains("acme") && !body.contains("globex"),
        "{body}"
    );
}
