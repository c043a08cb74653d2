//! The Postgres installation under test.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;

/// A Postgres installation, found through its `pg_config`.
#[derive(Debug, Clone)]
pub struct Install {
    pub bin: PathBuf,
    /// Where extensions' control files and scripts are.
    pub extension_folder: PathBuf,
    /// Where loadable libraries are.
    pub library_folder: PathBuf,
    /// Such as `PostgreSQL 15.20`.
    pub version: String,
    pub major: u32,
}

impl Install {
    /// The one that `CDP_TEST_PG_CONFIG` names; without it, the private Postgres 15 that `make build` made.
    pub fn under_test() -> Install {
        let pg_config = match std::env::var_os("CDP_TEST_PG_CONFIG") {
            Some(path) => PathBuf::from(path),
            None => {
                crate::repository().join(".tools/postgres/15-main/lib/postgresql/15/bin/pg_config")
            }
        };
        assert!(
            pg_config.exists(),
            "no {}: run `make build`, or name a pg_config in CDP_TEST_PG_CONFIG",
            pg_config.display()
        );
        Install::of(&pg_config)
    }

    pub fn of(pg_config: &Path) -> Install {
        let ask = |option: &str| {
            let output = command::run(Command::new(pg_config).arg(option));
            String::from_utf8_lossy(&output.stdout).trim().to_string()
        };
        let version = ask("--version");
        let major = version
            .trim_start_matches("PostgreSQL ")
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_else(|| panic!("{} is of no known version: {version}", pg_config.display()));
        Install {
            bin: PathBuf::from(ask("--bindir")),
            extension_folder: PathBuf::from(ask("--sharedir")).join("extension"),
            library_folder: PathBuf::from(ask("--pkglibdir")),
            version,
            major,
        }
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// `isolationtester` of this server's build files, or else Debian's of Postgres 15, which speaks
    /// to later servers too.
    pub fn isolation_tester(&self) -> PathBuf {
        PathBuf::from("/usr/lib/postgresql/15/lib/pgxs/src/test/isolation/isolationtester")
    }
}
