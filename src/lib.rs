//! `cdp`: a Customer Data Platform that is a Postgres extension.
//!
//! The way of an event is the order of the modules: `ingest`, which asks `governance` → `identity` → `traits` →
//! `segments`, `scoring` → `delivery`; `api` holds what SQL sees, `pg` everything that talks to Postgres' C code.

mod api;
mod decisions;
mod delivery;
mod error;
mod governance;
mod guc;
mod identity;
mod ingest;
mod jobs;
mod namespaces;
mod pg;
mod scoring;
mod segments;
mod traits;
mod workers;

use pgrx::prelude::*;

pgrx::pg_module_magic!();

extension_sql_file!("../sql/01_schema.sql", name = "schema", bootstrap);
extension_sql_file!("../sql/02_namespaces.sql", name = "namespaces", requires = ["schema"]);
extension_sql_file!("../sql/03_identity.sql", name = "identity", requires = ["namespaces"]);
extension_sql_file!("../sql/04_events.sql", name = "events", requires = ["identity"]);
extension_sql_file!("../sql/05_profiles.sql", name = "profiles", requires = ["events"]);
extension_sql_file!("../sql/06_definitions.sql", name = "definitions", requires = ["profiles"]);
extension_sql_file!("../sql/07_delivery.sql", name = "delivery", requires = ["definitions"]);
extension_sql_file!("../sql/08_scores.sql", name = "scores", requires = ["delivery"]);
extension_sql_file!("../sql/09_flags.sql", name = "flags", requires = ["scores"]);
extension_sql_file!("../sql/10_ingest.sql", name = "ingest_functions", requires = ["flags"]);
extension_sql_file!("../sql/11_define.sql", name = "define_functions", requires = ["ingest_functions"]);
extension_sql_file!("../sql/12_read.sql", name = "read_functions", requires = ["define_functions"]);
extension_sql_file!("../sql/13_operate.sql", name = "operate_functions", requires = ["read_functions"]);
extension_sql_file!("../sql/14_attach.sql", name = "attach_functions", requires = ["operate_functions"]);
extension_sql_file!("../sql/15_static_segments.sql", name = "static_segments", requires = ["attach_functions"]);
extension_sql_file!("../sql/16_delivery_views.sql", name = "delivery_views", requires = ["static_segments"]);
extension_sql_file!("../sql/17_delivery_functions.sql", name = "delivery_functions", requires = ["delivery_views"]);
extension_sql_file!("../sql/18_scores.sql", name = "score_functions", requires = ["delivery_functions"]);
extension_sql_file!("../sql/19_flags.sql", name = "flag_functions", requires = ["score_functions"]);
extension_sql_file!("../sql/20_jobs.sql", name = "jobs", requires = ["flag_functions"]);
extension_sql_file!("../sql/21_namespaces.sql", name = "namespace_functions", requires = ["jobs"]);
extension_sql_file!("../sql/22_consent.sql", name = "consent", requires = ["namespace_functions"]);
extension_sql_file!("../sql/30_dump.sql", name = "dump", requires = ["consent"]);
extension_sql_file!("../sql/35_row_security.sql", name = "row_security", requires = ["dump"]);
extension_sql_file!("../sql/40_grants.sql", name = "grants", requires = ["row_security"]);

/// Called by Postgres when the library is loaded.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    guc::define();
    pg::cache::register();
    pg::transaction::register();
    if pg::session::is_preloading() && !pg::session::is_binary_upgrade() {
        pg::shared::register();
        pg::worker::register_launcher();
    }
}

/// Used by `cargo pgrx test`.
#[cfg(test)]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}

    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec!["shared_preload_libraries = 'cdp'"]
    }
}
