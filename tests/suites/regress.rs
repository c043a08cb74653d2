//! `pg_test/**/sql/*.sql` → `expected/*.out`. Each file runs in a database of its own that has the
//! extension; a first line `-- database: empty` asks for one without. Workers do not run here: a file
//! that needs their work calls `cdp.run_due()`.

use std::sync::Arc;

use cdp_tests::golden::{discover, Golden};
use cdp_tests::{psql, Cluster, Settings};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let goldens = discover("sql", "sql");
    if arguments.list || goldens.is_empty() {
        let trials = goldens.into_iter().map(|golden| Trial::test(golden.name, || Ok(()))).collect();
        libtest_mimic::run(&arguments, trials).exit();
    }
    let cluster = Arc::new(Settings::new("regress").preload("").start());
    let with_extension = goldens.iter().any(|golden| !wants_empty(golden));
    if with_extension {
        cluster.create_database("with_cdp");
        cluster.execute("with_cdp", "CREATE EXTENSION cdp");
    }
    let trials = goldens
        .into_iter()
        .map(|golden| {
            let cluster = Arc::clone(&cluster);
            Trial::test(golden.name.clone(), move || run(&cluster, &golden))
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(cluster);
    conclusion.exit();
}

fn script(golden: &Golden) -> String {
    std::fs::read_to_string(&golden.input).unwrap_or_default()
}

fn wants_empty(golden: &Golden) -> bool {
    script(golden).starts_with("-- database: empty")
}

fn run(cluster: &Cluster, golden: &Golden) -> Result<(), Failed> {
    let database = format!("regress_{}", golden.name);
    if wants_empty(golden) {
        cluster.create_database(&database);
    } else {
        // Only one at a time may copy a template; the others try again.
        let copied = cdp_tests::eventually(std::time::Duration::from_secs(30), || {
            let statement = format!("CREATE DATABASE {database} TEMPLATE with_cdp");
            cluster.client("postgres").batch_execute(&statement).is_ok()
        });
        if !copied {
            return Err("the template database could not be copied".into());
        }
    }
    let printed = psql::session(cluster, &database, &["-a"], &script(golden));
    golden.compare(cluster, &printed).map_err(Failed::from)
}
