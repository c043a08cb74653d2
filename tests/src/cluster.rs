//! Throw-away Postgres clusters: made in a blink from a template, reachable only through a private
//! socket folder, stoppable in every ugly way, gone when dropped.

use std::fs;
use std::os::unix::fs::{chown, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Once;
use std::time::Duration;

use postgres::{Client, NoTls};

use crate::command::{self, as_server_user};
use crate::install::Install;

/// What a cluster is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    name: String,
    preload: bool,
    configuration: Vec<(String, String)>,
}

impl Settings {
    /// `name` shows in folder names; it need not be unique.
    pub fn new(name: &str) -> Settings {
        Settings {
            name: name.to_string(),
            preload: false,
            configuration: Vec::new(),
        }
    }

    /// Puts `cdp` in `shared_preload_libraries`, with workers for these databases, and lets
    /// deliveries go to loopback.
    pub fn preload(mut self, databases: &str) -> Settings {
        self.preload = true;
        self.set("cdp.databases", databases)
            .set("cdp.http_allow_hosts", "127.0.0.1")
    }

    /// One line of `postgresql.conf`; later lines win.
    pub fn set(mut self, name: &str, value: &str) -> Settings {
        self.configuration
            .push((name.to_string(), value.to_string()));
        self
    }

    pub fn start(self) -> Cluster {
        Cluster::create(Install::under_test(), self)
    }
}

/// A running server with its own data folder and socket folder.
pub struct Cluster {
    install: Install,
    folder: PathBuf,
    sockets: PathBuf,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// All clusters listen on sockets in folders of their own, so one port number does for all.
const PORT: u16 = 5432;

impl Cluster {
    /// A cluster without `cdp` preloaded.
    pub fn plain(name: &str) -> Cluster {
        Settings::new(name).start()
    }

    /// A cluster with `cdp` preloaded and a database `app` that has the extension and workers.
    pub fn with_workers(name: &str) -> Cluster {
        let cluster = Settings::new(name).preload("app").start();
        cluster.create_database("app");
        cluster.execute("app", "CREATE EXTENSION cdp");
        cluster
    }

    fn create(install: Install, settings: Settings) -> Cluster {
        let base = base_folder();
        static SWEEP: Once = Once::new();
        SWEEP.call_once(|| sweep(&install, &base));

        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let cluster = Cluster {
            folder: base.join(format!("{process}-{number}-{}", settings.name)),
            // The path of a socket may hold 107 characters, so its folder is a short one.
            sockets: std::env::temp_dir().join(format!("cdp-{process}-{number}")),
            install,
        };
        make_folder(&cluster.folder, 0o755);
        make_folder(&cluster.sockets, 0o700);
        let template = template(&cluster.install, &base);
        command::run(
            as_server_user("cp")
                .args(["-a", "--reflink=auto"])
                .arg(&template)
                .arg(cluster.data()),
        );
        cluster.configure(&settings);
        cluster.start();
        cluster
    }

    fn configure(&self, settings: &Settings) {
        let mut lines = vec![
            "listen_addresses = ''".to_string(),
            format!("unix_socket_directories = '{}'", self.sockets.display()),
            format!("port = {PORT}"),
            // A killed process loses nothing that the kernel has; only a lost machine would.
            "fsync = off".to_string(),
            "shared_buffers = '64MB'".to_string(),
            "max_connections = 60".to_string(),
            "max_worker_processes = 16".to_string(),
            "timezone = 'UTC'".to_string(),
            "datestyle = 'ISO, YMD'".to_string(),
            "jit = off".to_string(),
            "log_line_prefix = '%m [%p] %b %d '".to_string(),
            "lc_messages = 'C'".to_string(),
        ];
        if settings.preload {
            lines.push("shared_preload_libraries = 'cdp'".to_string());
        }
        for (name, value) in &settings.configuration {
            lines.push(format!("{name} = '{}'", value.replace('\'', "''")));
        }
        self.append_configuration(&lines);
    }

    fn append_configuration(&self, lines: &[String]) {
        let path = self.data().join("postgresql.conf");
        let mut text = fs::read_to_string(&path).unwrap_or_default();
        text.push('\n');
        text.push_str(&lines.join("\n"));
        text.push('\n');
        // Root may write into the server user's file without changing its owner.
        if let Err(error) = fs::write(&path, text) {
            panic!("{}: {error}", path.display());
        }
    }

    /// Changes a line of `postgresql.conf`; `reload` or `restart` makes it count.
    pub fn set(&self, name: &str, value: &str) {
        self.append_configuration(&[format!("{name} = '{}'", value.replace('\'', "''"))]);
    }

    pub fn install(&self) -> &Install {
        &self.install
    }

    pub fn major(&self) -> u32 {
        self.install.major
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// A path for a file of the test's own; removed with the cluster.
    pub fn scratch(&self, name: &str) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = self.folder.join("scratch");
        let _ = fs::create_dir_all(&folder);
        folder.join(format!("{}-{name}", COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// A folder that the servers' user may write to; removed with the cluster.
    pub fn server_folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.join(name);
        make_folder(&folder, 0o700);
        folder
    }

    /// Everything the server logged so far.
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Command {
        let mut command = as_server_user(self.install.program("pg_ctl"));
        command
            .arg("-D")
            .arg(self.data())
            .args(["-s", "-w", "-t", "60"]);
        command.args(arguments);
        command.stdin(std::process::Stdio::null());
        command
    }

    /// Starts the server.
    pub fn start(&self) {
        let log = self.log_file();
        let log = log.to_string_lossy();
        let mut refused_again = true;
        let started = crate::eventually(Duration::from_secs(20), || {
            let before = self.log().len();
            let start = command::output(&mut self.pg_ctl(&["-l", &log, "start"]));
            // After a kill the old server's last processes may still be on their way out.
            let log = self.log();
            refused_again = ["still in use", "already exists"]
                .iter()
                .any(|reason| log[before..].contains(reason));
            start.status.success() || !refused_again
        });
        assert!(
            started && !refused_again && self.is_running(),
            "the server did not start\n{}",
            self.log_tail()
        );
    }

    fn is_running(&self) -> bool {
        command::output(&mut self.pg_ctl(&["status"]))
            .status
            .success()
    }

    /// Orderly: `pg_ctl stop -m fast`.
    pub fn stop(&self) {
        command::run(&mut self.pg_ctl(&["-m", "fast", "stop"]));
    }

    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    pub fn reload(&self) {
        command::run(&mut self.pg_ctl(&["reload"]));
    }

    /// Stops at once without a checkpoint; the next start recovers.
    pub fn crash(&self) {
        command::run(&mut self.pg_ctl(&["-m", "immediate", "stop"]));
    }

    /// `kill -9` of the postmaster, as the kernel does when memory runs out.
    pub fn kill_postmaster(&self) {
        let pid_file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let process = pid_file.lines().next().unwrap_or_default().trim();
        kill(process);
    }

    /// `kill -9` of one server process. Postgres then ends all others and recovers; returns when it is up again.
    pub fn kill_backend(&self, process: i32) {
        let before = self.log().len();
        kill(&process.to_string());
        let noticed = crate::eventually(Duration::from_secs(30), || {
            self.log()[before..].contains("reinitializing")
        });
        assert!(noticed, "the server goes on\n{}", self.log_tail());
        self.wait_until_up();
    }

    /// Waits until the server answers, for instance while it recovers.
    pub fn wait_until_up(&self) {
        assert!(
            crate::eventually(Duration::from_secs(30), || self
                .try_client("postgres", "postgres")
                .is_ok()),
            "the server does not answer\n{}",
            self.log_tail()
        );
    }

    /// For `libpq`: host, port, user, database.
    pub fn connection_string(&self, database: &str) -> String {
        format!(
            "host={} port={PORT} user=postgres dbname={database}",
            self.sockets.display()
        )
    }

    /// The socket folder, for programs that want `PGHOST`.
    pub fn host(&self) -> &Path {
        &self.sockets
    }

    pub fn try_client(&self, database: &str, user: &str) -> Result<Client, postgres::Error> {
        postgres::Config::new()
            .host_path(&self.sockets)
            .port(PORT)
            .user(user)
            .dbname(database)
            .application_name("cdp-tests")
            .connect(NoTls)
    }

    /// A superuser's connection.
    #[track_caller]
    pub fn client(&self, database: &str) -> Client {
        self.client_as(database, "postgres")
    }

    #[track_caller]
    pub fn client_as(&self, database: &str, user: &str) -> Client {
        match self.try_client(database, user) {
            Ok(client) => client,
            Err(error) => panic!("no connection to {database} as {user}: {error}"),
        }
    }

    pub fn create_database(&self, name: &str) {
        self.execute("postgres", &format!("CREATE DATABASE {name}"));
    }

    pub fn create_database_like(&self, name: &str, template: &str) {
        self.execute(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE {template}"),
        );
    }

    /// Runs statements in a connection of their own; panics with the server's whole error.
    #[track_caller]
    pub fn execute(&self, database: &str, sql: &str) {
        if let Err(error) = self.client(database).batch_execute(sql) {
            panic!("{}\nin: {sql}", describe(&error));
        }
    }

    /// The first column of the first row, as text.
    #[track_caller]
    pub fn text(&self, database: &str, query: &str) -> String {
        let rows = match self.client(database).simple_query(query) {
            Ok(rows) => rows,
            Err(error) => panic!("{}\nin: {query}", describe(&error)),
        };
        rows.iter()
            .find_map(|message| match message {
                postgres::SimpleQueryMessage::Row(row) => {
                    Some(row.get(0).unwrap_or("").to_string())
                }
                _ => None,
            })
            .unwrap_or_default()
    }

    /// The first column of the first row, as a whole number.
    #[track_caller]
    pub fn number(&self, database: &str, query: &str) -> i64 {
        let text = self.text(database, query);
        match text.parse() {
            Ok(number) => number,
            Err(_) => panic!("{text:?} is no number\nin: {query}"),
        }
    }

    /// `pg_dump` in the custom format, into a file that goes with the cluster.
    pub fn dump(&self, database: &str) -> PathBuf {
        let file = self.scratch("dump");
        let mut command = Command::new(self.install.program("pg_dump"));
        command::without_postgres_environment(&mut command);
        command::run(
            command
                .arg("-Fc")
                .arg("-f")
                .arg(&file)
                .arg("-d")
                .arg(self.connection_string(database)),
        );
        file
    }

    /// `pg_restore --exit-on-error` into an existing, empty database.
    pub fn restore(&self, database: &str, dump: &Path) {
        let mut command = Command::new(self.install.program("pg_restore"));
        command::without_postgres_environment(&mut command);
        command::run(
            command
                .arg("--exit-on-error")
                .arg("-d")
                .arg(self.connection_string(database))
                .arg(dump),
        );
    }

    /// A streaming standby of this server, ready for reads.
    pub fn standby(&self) -> Cluster {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let standby = Cluster {
            install: self.install.clone(),
            folder: base_folder().join(format!("{process}-{number}-standby")),
            sockets: std::env::temp_dir().join(format!("cdp-{process}-{number}")),
        };
        make_folder(&standby.folder, 0o755);
        make_folder(&standby.sockets, 0o700);
        command::run(
            as_server_user(self.install.program("pg_basebackup"))
                .args(["-R", "-c", "fast", "-X", "stream", "-D"])
                .arg(standby.data())
                .arg("-d")
                .arg(self.connection_string("postgres")),
        );
        standby.set(
            "unix_socket_directories",
            &standby.sockets.to_string_lossy(),
        );
        standby.start();
        standby
    }

    /// Waits until the standby has replayed all that this server has written so far.
    pub fn wait_for_standby(&self, standby: &Cluster) {
        let position = self.text("postgres", "SELECT pg_current_wal_flush_lsn()");
        let caught_up = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
        assert!(
            crate::eventually(Duration::from_secs(30), || standby
                .text("postgres", &caught_up)
                == "t"),
            "the standby does not catch up\n{}",
            standby.log_tail()
        );
    }

    /// Makes a standby a primary.
    pub fn promote(&self) {
        command::run(&mut self.pg_ctl(&["promote"]));
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.len().saturating_sub(60);
        format!(
            "--- server log of {} ---\n{}",
            self.folder.display(),
            lines[tail..].join("\n")
        )
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        // Instrumented code writes what it counted at an orderly exit only.
        let mode = match std::env::var_os("LLVM_PROFILE_FILE") {
            Some(_) => "fast",
            None => "immediate",
        };
        let _ = self.pg_ctl(&["-m", mode, "stop"]).output();
        if std::env::var_os("CDP_TEST_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.folder);
        }
        let _ = fs::remove_dir_all(&self.sockets);
    }
}

/// The server's error with its code, detail and hint; `postgres::Error` alone prints "db error".
pub fn describe(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => {
            let mut text = format!(
                "{} {}: {}",
                error.severity(),
                error.code().code(),
                error.message()
            );
            for (label, part) in [
                ("DETAIL", error.detail()),
                ("HINT", error.hint()),
                ("CONTEXT", error.where_()),
            ] {
                if let Some(part) = part {
                    text.push_str(&format!("\n{label}: {part}"));
                }
            }
            text
        }
        None => error.to_string(),
    }
}

/// `kill -9`; returns when the process is gone.
fn kill(process: &str) {
    command::run(Command::new("kill").args(["-9", process]));
    let gone = || {
        // What nobody has waited for yet shows as a zombie, state Z after the program's name.
        fs::read_to_string(format!("/proc/{process}/stat"))
            .map_or(true, |line| line.contains(") Z"))
    };
    assert!(
        crate::eventually(Duration::from_secs(10), gone),
        "process {process} does not die"
    );
}

/// Where clusters live: `CDP_TEST_DIR`, or a folder of this user under the temporary folder.
fn base_folder() -> PathBuf {
    let base = match std::env::var_os("CDP_TEST_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => std::env::temp_dir().join(format!("cdp-tests-{}", command::effective_user_id())),
    };
    make_folder(&base, 0o755);
    base
}

/// Makes a folder that belongs to the servers' user.
fn make_folder(folder: &Path, mode: u32) {
    let made = fs::create_dir_all(folder)
        .and_then(|()| match server_user_ids() {
            Some((user, group)) => chown(folder, Some(user), Some(group)),
            None => Ok(()),
        })
        .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(mode)));
    if let Err(error) = made {
        panic!("{}: {error}", folder.display());
    }
}

fn server_user_ids() -> Option<(u32, u32)> {
    let user = command::server_user()?;
    let id = |option: &str| -> u32 {
        let output = command::run(Command::new("id").args([option, user]));
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .unwrap_or(0)
    };
    Some((id("-u"), id("-g")))
}

/// An empty cluster of this version, made once and then copied.
fn template(install: &Install, base: &Path) -> PathBuf {
    let name = install
        .version
        .replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "_");
    let template = base.join(format!("template-{name}"));
    let lock_path = base.join(format!("template-{name}.lock"));
    let lock = match fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&lock_path)
    {
        Ok(file) => file,
        Err(error) => panic!("{}: {error}", lock_path.display()),
    };
    if let Err(error) = lock.lock() {
        panic!("{}: {error}", lock_path.display());
    }
    if !template.exists() {
        let unfinished = base.join(format!("template-{name}.part"));
        let _ = fs::remove_dir_all(&unfinished);
        command::run(
            as_server_user(install.program("initdb"))
                .args([
                    "-A",
                    "trust",
                    "-U",
                    "postgres",
                    "-E",
                    "UTF8",
                    "--locale=C.UTF-8",
                    "-N",
                    "-D",
                ])
                .arg(&unfinished),
        );
        if let Err(error) = fs::rename(&unfinished, &template) {
            panic!("{}: {error}", template.display());
        }
    }
    template
}

/// Stops and removes what an interrupted run left: clusters whose process is gone.
fn sweep(install: &Install, base: &Path) {
    let process_of = |name: &str| {
        name.split('-')
            .next()
            .and_then(|digits| digits.parse::<u32>().ok())
    };
    let gone = |process: u32| !Path::new(&format!("/proc/{process}")).exists();
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if process_of(&name).is_some_and(gone) {
            let _ = as_server_user(install.program("pg_ctl"))
                .arg("-D")
                .arg(entry.path().join("data"))
                .args(["-s", "-w", "-m", "immediate", "stop"])
                .output();
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let owner = fs::metadata(base)
        .map(|metadata| metadata.uid())
        .unwrap_or(u32::MAX);
    for entry in fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix("cdp-").and_then(process_of);
        let ours = entry
            .metadata()
            .is_ok_and(|metadata| metadata.uid() == owner);
        if ours && process.is_some_and(gone) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
