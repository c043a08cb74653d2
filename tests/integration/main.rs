//! Integration tests: one file a subject. Each test starts the cluster it needs; run one subject with
//! `make test-integration FILTER=lifecycle`.

mod budgets;
mod cdnow;
mod compiled;
mod container;
mod crash;
mod delivery;
mod delivery_faults;
mod documented;
mod exactly_once;
mod exposures;
mod harness;
mod identity_concurrency;
mod identity_vectors;
mod jobs;
mod lifecycle;
mod oracle;
mod people;
mod row_security;
mod smoke;
mod surface;
mod sweeps;
mod unmerge;
mod usage;

use cdp_tests::{Cluster, Sink};

/// Definitions that most tests want: two traits, a segment over one of them, and a webhook that gets the
/// orders and the segment's changes.
fn define(cluster: &Cluster, database: &str, sink: &Sink) {
    cluster.execute(
        database,
        &format!(
            r#"
            SELECT cdp.define_trait('orders', 'events."Order Completed".count');
            SELECT cdp.define_trait('revenue', 'events."Order Completed".sum(total)');
            SELECT cdp.define_segment('buyers', 'orders >= 2');
            SELECT cdp.define_destination('hook', 'webhook', '{{"url": "{}"}}');
            SELECT cdp.define_route('hook', ARRAY['Order Completed', 'Segment Entered', 'Segment Exited']);
            "#,
            sink.url("/hook")
        ),
    );
}

/// One order of this person.
fn order(cluster: &Cluster, database: &str, user: &str, total: u32) {
    cluster.execute(
        database,
        &format!(r#"SELECT cdp.track('{user}', 'Order Completed', '{{"total": {total}}}')"#),
    );
}
