//! The harness of cdp's tests: throw-away Postgres clusters, HTTP servers with scripted faults, and
//! the comparison of what `psql` prints with what a file says it should.
//!
//! Which Postgres is tested is the environment's choice: `CDP_TEST_PG_CONFIG` names its `pg_config`
//! (the scripts in `tools/` set it). The extension has to be installed there.

pub mod cluster;
pub mod command;
pub mod golden;
pub mod install;
pub mod markdown;
pub mod psql;
pub mod sink;
pub mod snapshot;

pub use cluster::{Cluster, Settings};
pub use install::Install;
pub use sink::{Reply, Request, Sink};

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The root of the checkout.
pub fn repository() -> PathBuf {
    let crate_folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    crate_folder
        .parent()
        .map(PathBuf::from)
        .unwrap_or(crate_folder)
}

/// Asks `probe` every 20 ms until it says yes, at most for `limit`. Returns whether it did.
pub fn eventually(limit: Duration, mut probe: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if probe() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
