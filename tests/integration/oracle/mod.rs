//! The engine against a naive oracle: random streams, definitions and clocks, and after every few steps every
//! trait and segment of everybody compared with plain SQL over the raw events.
//!
//! The seeds are fixed. `CDP_ORACLE_STEPS=100000` runs longer, `CDP_ORACLE_SEED=7` from another seed, and
//! `CDP_ORACLE_LOG=1` shows every statement.

mod corpus;
mod expression;
mod message;
mod random;
mod world;

use cdp_tests::{Cluster, Settings};
use world::{Seen, World};

const ORACLE: &str = include_str!("../../oracle/oracle.sql");
/// A world stays small, so that the oracle is quick; then the next one begins.
const STEPS_OF_A_WORLD: usize = 120;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn cluster(name: &str) -> Cluster {
    let cluster = Settings::new(name)
        .set("synchronous_commit", "off")
        .set("autovacuum", "off")
        .start();
    cluster.create_database("world_template");
    cluster.execute("world_template", "CREATE EXTENSION cdp");
    cluster.execute("world_template", ORACLE);
    // In one series for all sessions, ids tell the order in which things were written.
    cluster.execute(
        "world_template",
        "ALTER SEQUENCE _cdp.history_id_seq CACHE 1",
    );
    cluster
}

fn worlds(name: &str, first_seed: u64, steps: usize) {
    let first_seed = variable("CDP_ORACLE_SEED").unwrap_or(first_seed);
    let steps = variable("CDP_ORACLE_STEPS").map_or(steps, |steps| steps as usize);
    let cluster = cluster(name);
    let mut done = Seen::default();
    let mut seed = first_seed;
    while done.steps < steps {
        let database = format!("world_{seed}");
        cluster.create_database_like(&database, "world_template");
        let mut world = World::new(&cluster, &database, seed);
        world.run_steps(STEPS_OF_A_WORLD.min(steps - done.steps));
        done.add(world.into_seen());
        seed += 1;
    }
    println!("seeds {first_seed} to {}: {done:?}", seed - 1);
    assert!(
        done.changes > 0 || steps < 500,
        "nothing ever changed by time alone"
    );
}

#[test]
fn the_engine_agrees_with_the_oracle() {
    worlds("oracle", 1, 1_000);
}

#[test]
fn the_engine_agrees_with_the_oracle_again() {
    worlds("oracle_again", 1_001, 1_000);
}
