//! SQL through `psql`, the way a person runs it, with everything it prints in order.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::cluster::Cluster;
use crate::command;

/// Feeds `script` to one `psql` session and returns standard output and errors as they came.
/// `options` are further arguments, such as `-a` to echo the input.
pub fn session(cluster: &Cluster, database: &str, options: &[&str], script: &str) -> String {
    let printed = cluster.scratch("psql.out");
    let sink =
        File::create(&printed).unwrap_or_else(|error| panic!("{}: {error}", printed.display()));
    let errors = sink
        .try_clone()
        .unwrap_or_else(|error| panic!("{}: {error}", printed.display()));
    let mut command = Command::new(cluster.install().program("psql"));
    command::without_postgres_environment(&mut command);
    let mut child = command
        .args(["-X", "-q", "-w", "-v", "VERBOSITY=default"])
        .args(options)
        .args(["-d", &cluster.connection_string(database)])
        .env("PGTZ", "UTC")
        .env("PGDATESTYLE", "ISO, YMD")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(sink)
        .stderr(errors)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if let Some(mut input) = child.stdin.take() {
        // psql may stop reading early, for instance when it cannot connect: its output says why.
        let _ = input.write_all(script.as_bytes());
    }
    let _ = child.wait();
    let text = std::fs::read(&printed).unwrap_or_default();
    let _ = std::fs::remove_file(&printed);
    String::from_utf8_lossy(&text).into_owned()
}
