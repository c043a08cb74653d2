//! Running programs, with errors that say what was run and what it answered.

use std::path::Path;
use std::process::{Command, Output};

/// The user that servers run as: Postgres refuses root, so root's servers run as `postgres`.
pub fn server_user() -> Option<&'static str> {
    if effective_user_id() == 0 {
        Some("postgres")
    } else {
        None
    }
}

/// The user id of this process, as the kernel reports it.
pub fn effective_user_id() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self")
        .map(|metadata| metadata.uid())
        .unwrap_or(u32::MAX)
}

/// A command that runs as the servers' user, in the root folder: that user need not be able to read
/// the caller's working folder.
pub fn as_server_user(program: impl AsRef<Path>) -> Command {
    let mut command = match server_user() {
        Some(user) => {
            let mut command = Command::new("runuser");
            command.args(["-u", user, "--"]).arg(program.as_ref());
            command
        }
        None => Command::new(program.as_ref()),
    };
    command.current_dir("/");
    without_postgres_environment(&mut command);
    command
}

/// Removes what would make a client talk to another server than the one it is told.
pub fn without_postgres_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") && name != "PGRX_HOME" {
            command.env_remove(name);
        }
    }
}

/// Runs to the end; panics with all output if the program fails.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?} failed with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}

/// Runs to the end, whatever the program's status.
#[track_caller]
pub fn output(command: &mut Command) -> Output {
    match command.output() {
        Ok(output) => output,
        Err(error) => panic!("{command:?} could not be started: {error}"),
    }
}
