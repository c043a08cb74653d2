//! `pg_test/**/sql/*.sql` → `expected/*.out`. Each file runs in a database of its own that has the
//! extension; a first line `-- database: empty` asks for one without. Workers do not run here: a file
//! that needs their work calls `cdp.run_due()`.

use std::sync::Arc;

use cdp_tests::golden::{discover, Golden};
use cdp_tests::{psql, Cluster, Settings};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let goldens = discover("sql", "sql", "out");
    if arguments.list || goldens.is_empty() {
        let trials = goldens
            .into_iter()
            .map(|golden| Trial::test(golden.name, || Ok(())))
            .collect();
        libtest_mimic::run(&arguments, trials).exit();
    }
    let cluster = Arc::new(Settings::new("regress").preload("").start());
    if goldens.iter().any(|golden| !golden.wants_empty_database()) {
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

fn run(cluster: &Cluster, golden: &Golden) -> Result<(), Failed> {
    let database = format!("regress_{}", golden.name);
    golden.create_database(cluster, &database)?;
    let printed = psql::session(cluster, &database, &["-a"], &golden.text());
    golden.compare(cluster, &printed).map_err(Failed::from)
}
