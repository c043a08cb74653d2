//! `cdp`: a Customer Data Platform that is a Postgres extension.
//!
//! The way of an event is the order of the modules: `ingest` → `identity` → `traits` → `segments` →
//! `delivery`; `api` holds what SQL sees, `pg` everything that talks to Postgres' C code.

mod api;
mod delivery;
mod error;
mod guc;
mod ingest;
mod pg;
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
