//! `pg_test/**/specs/*.spec` → `expected/*.spec.out`, through Postgres' own `isolationtester`. Each spec runs
//! in a database of its own that has the extension; a first line `# database: empty` asks for one without.

use std::process::Command;
use std::sync::Arc;

use cdp_tests::golden::{discover, Golden};
use cdp_tests::{command, Cluster, Settings};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let goldens = discover("specs", "spec", "spec.out");
    if arguments.list || goldens.is_empty() {
        let trials = goldens
            .into_iter()
            .map(|golden| Trial::test(golden.name, || Ok(())))
            .collect();
        libtest_mimic::run(&arguments, trials).exit();
    }
    let cluster = Arc::new(Settings::new("isolation").preload("").start());
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
    let tester = cluster.install().isolation_tester();
    if !tester.exists() {
        return Err(format!("no {}: install postgresql-server-dev-15", tester.display()).into());
    }
    let database = format!("isolation_{}", golden.name.replace('-', "_"));
    golden.create_database(cluster, &database)?;
    let spec = std::fs::File::open(&golden.input)?;
    let mut tester = Command::new(tester);
    command::without_postgres_environment(&mut tester);
    let output = tester
        .arg(cluster.connection_string(&database))
        .env("PGISOLATIONTIMEOUT", "20")
        .stdin(spec)
        .output()?;
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    golden.compare(cluster, &printed).map_err(Failed::from)
}
