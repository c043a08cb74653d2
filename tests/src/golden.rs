//! Files whose expected output lies beside them, as in `pg_regress`: `sql/x.sql` or `specs/x.spec`, and
//! `expected/x.out` or
//! `expected/x.spec.out` (`expected/x.pg16.out` holds for that major version alone).
//! `UPDATE=1` accepts what came out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cluster::Cluster;

/// One file to run and where its expected output is.
#[derive(Debug, Clone)]
pub struct Golden {
    pub name: String,
    pub input: PathBuf,
    pub expected: PathBuf,
}

/// All files `<folder>/*.<extension>` below `pg_test/`, where folder is `sql` or `specs`; their expected
/// output has the other `ending`.
pub fn discover(folder: &str, extension: &str, ending: &str) -> Vec<Golden> {
    let mut found = Vec::new();
    visit(&crate::repository().join("pg_test"), &mut |path| {
        let parent = path.parent().and_then(Path::file_name);
        if parent.is_some_and(|name| name == folder)
            && path.extension().is_some_and(|e| e == extension)
        {
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let home = path
                .parent()
                .and_then(Path::parent)
                .map(PathBuf::from)
                .unwrap_or_default();
            found.push(Golden {
                expected: home.join("expected").join(format!("{name}.{ending}")),
                name,
                input: path.to_path_buf(),
            });
        }
    });
    found.sort_by(|a, b| a.input.cmp(&b.input));
    found
}

/// Calls `each` for every file below `folder`.
pub fn visit(folder: &Path, each: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            visit(&path, each);
        } else {
            each(&path);
        }
    }
}

impl Golden {
    pub fn text(&self) -> String {
        fs::read_to_string(&self.input).unwrap_or_default()
    }

    /// The first line says that the file needs a database without the extension.
    pub fn wants_empty_database(&self) -> bool {
        self.text()
            .lines()
            .next()
            .is_some_and(|line| line.ends_with(" database: empty"))
    }

    /// A database of the file's own: empty, or a copy of `with_cdp`.
    pub fn create_database(&self, cluster: &Cluster, name: &str) -> Result<(), String> {
        if self.wants_empty_database() {
            cluster.create_database(name);
            return Ok(());
        }
        // Only one at a time may copy a template; the others try again.
        let statement = format!("CREATE DATABASE {name} TEMPLATE with_cdp");
        let copied = crate::eventually(Duration::from_secs(30), || {
            cluster.client("postgres").batch_execute(&statement).is_ok()
        });
        if copied {
            Ok(())
        } else {
            Err("the template database could not be copied".to_string())
        }
    }

    fn expected_for(&self, major: u32) -> PathBuf {
        let special = self.expected.with_extension(format!("pg{major}.out"));
        if special.exists() {
            special
        } else {
            self.expected.clone()
        }
    }

    /// Compares; with `UPDATE` set, writes. The error is the difference as `diff -u` shows it.
    pub fn compare(&self, cluster: &Cluster, actual: &str) -> Result<(), String> {
        let expected = self.expected_for(cluster.major());
        if fs::read_to_string(&expected).is_ok_and(|text| text == actual) {
            return Ok(());
        }
        if std::env::var_os("UPDATE").is_some() {
            let _ = fs::create_dir_all(expected.parent().unwrap_or(Path::new(".")));
            return fs::write(&expected, actual)
                .map_err(|error| format!("{}: {error}", expected.display()));
        }
        Err(format!(
            "{}\nIf the new output is right: UPDATE=1 with the same command, then look at `git diff`.",
            difference(cluster, &expected, actual)
        ))
    }
}

/// What `diff -u` says about a file (which may be missing) and a text.
pub fn difference(cluster: &Cluster, expected: &Path, actual: &str) -> String {
    let printed = cluster.scratch("actual.out");
    if let Err(error) = fs::write(&printed, actual) {
        return format!("{}: {error}", printed.display());
    }
    let output = Command::new("diff")
        .args(["-u", "-N", "--label", "expected", "--label", "actual"])
        .arg(expected)
        .arg(&printed)
        .output();
    match output {
        Ok(output) => format!(
            "{}\n{}",
            expected.display(),
            String::from_utf8_lossy(&output.stdout)
        ),
        Err(_) => format!("{}\nactual:\n{actual}", expected.display()),
    }
}
