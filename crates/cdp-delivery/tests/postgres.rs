//! The postgres destination against a real server, when this machine has one to start.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use cdp_delivery::{
    destination, Client, ClientOptions, Driver, Job, Message, MessageKind, Report, Secrets,
};
use serde_json::{json, Value};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A server of its own, gone with the test.
struct Cluster {
    directory: PathBuf,
    bin: PathBuf,
    port: u16,
    /// Certificate of the server, for the name localhost.
    certificate: String,
}

fn am_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}

/// A command as a user the server agrees to run as.
fn as_user(program: &Path) -> Command {
    if am_root() {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            "postgres",
            "--regid",
            "postgres",
            "--clear-groups",
        ]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn silent(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl Cluster {
    /// None when there are no server programs (`PG_BINDIR`, or what `pg_config` says).
    fn start() -> Option<Cluster> {
        let bin = match std::env::var_os("PG_BINDIR") {
            Some(directory) => PathBuf::from(directory),
            None => {
                let output = Command::new("pg_config").arg("--bindir").output().ok()?;
                PathBuf::from(String::from_utf8(output.stdout).ok()?.trim())
            }
        };
        if !bin.join("initdb").exists() {
            return None;
        }
        let directory = std::env::temp_dir().join(format!("cdp-delivery-{}", std::process::id()));
        std::fs::create_dir_all(&directory).ok()?;
        if am_root() {
            let mut chown = Command::new("chown");
            silent(chown.arg("postgres").arg(&directory)).then_some(())?;
        }
        let password = directory.join("password");
        std::fs::write(&password, "s3cret-pass\n").ok()?;
        let data = directory.join("data");
        let mut initdb = as_user(&bin.join("initdb"));
        initdb.current_dir(&directory).arg("-D").arg(&data);
        initdb.args(["-U", "cdp", "-A", "scram-sha-256", "--no-sync"]);
        initdb.arg(format!("--pwfile={}", password.display()));
        assert!(silent(&mut initdb), "initdb");
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_string()]).ok()?;
        let data_file = |name: &str, text: String| {
            let path = directory.join("data").join(name);
            std::fs::write(&path, text).ok()?;
            if am_root() {
                silent(Command::new("chown").arg("postgres").arg(&path)).then_some(())?;
            }
            silent(Command::new("chmod").arg("600").arg(&path)).then_some(())
        };
        data_file("server.crt", made.cert.pem())?;
        data_file("server.key", made.key_pair.serialize_pem())?;
        let port = TcpListener::bind("127.0.0.1:0")
            .ok()?
            .local_addr()
            .ok()?
            .port();
        let cluster = Cluster {
            directory,
            bin,
            port,
            certificate: made.cert.pem(),
        };
        assert!(cluster.control("start"), "the server does not start");
        Some(cluster)
    }

    fn control(&self, action: &str) -> bool {
        let mut command = as_user(&self.bin.join("pg_ctl"));
        command.current_dir(&self.directory).arg("-D");
        command.arg(self.directory.join("data")).arg("-w");
        command.args(["-m", "immediate"]).arg("-o").arg(format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1 -c fsync=off -c ssl=on",
            self.port,
            self.directory.display()
        ));
        command
            .arg("-l")
            .arg(self.directory.join("log"))
            .arg(action);
        silent(&mut command)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.control("stop");
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn message(id: &str, profile_id: i64, kind: MessageKind, body: Value) -> Message {
    Message {
        id: id.to_string(),
        profile_id,
        kind,
        body,
        replay: false,
        attempt: 1,
    }
}

struct World {
    driver: Driver,
    port: u16,
    password: &'static str,
    database: &'static str,
    host: &'static str,
    tls: &'static str,
}

impl World {
    fn send(&mut self, batch: Vec<Message>) -> Vec<Report> {
        let config = json!({
            "host": self.host,
            "port": self.port,
            "database": self.database,
            "user": "cdp",
            "tls": self.tls,
            "messages_table": "odd \"name\"",
            "timeout_ms": 2000,
        });
        let postgres = destination("postgres").unwrap();
        postgres.validate(&config).unwrap();
        let secrets: Secrets = [("password", self.password)].into_iter().collect();
        self.driver.push(Job {
            destination_key: "pg".to_string(),
            generation: 1,
            destination: postgres,
            config: Arc::new(config),
            secrets: Arc::new(secrets),
            batch,
            start_within: Duration::from_secs(10),
        });
        let mut reports = Vec::new();
        while !self.driver.is_idle() {
            let poll = Instant::now();
            for result in self.driver.poll(Duration::from_millis(100)) {
                reports.extend(result.reports);
            }
            assert!(poll.elapsed() < Duration::from_millis(1000));
        }
        reports.sort_by_key(|report| report.index);
        reports
    }

    fn outcomes(&mut self, batch: Vec<Message>) -> Vec<&'static str> {
        let reports = self.send(batch);
        reports.iter().map(|report| report.outcome.name()).collect()
    }
}

fn query(cluster: &Cluster, sql: &str) -> String {
    let output = Command::new(cluster.bin.join("psql"))
        .env("PGPASSWORD", "s3cret-pass")
        .args(["-h", "127.0.0.1", "-U", "cdp", "-d", "postgres", "-XAtq"])
        .args(["-p", &cluster.port.to_string(), "-c", sql])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

#[test]
fn writes_tables_of_another_server() {
    let Some(cluster) = Cluster::start() else {
        eprintln!("skipped: no server programs here");
        return;
    };
    let options = ClientOptions {
        allow_hosts: vec!["127.0.0.1".to_string()],
        ..ClientOptions::default()
    };
    let mut world = World {
        driver: Driver::new(Client::new(options).unwrap()).unwrap(),
        port: cluster.port,
        password: "s3cret-pass",
        database: "postgres",
        host: "127.0.0.1",
        tls: "disable",
    };
    use MessageKind::{AudienceEntered, AudienceExited, Delete, Identify, Track};
    let identify = |id: &str, traits: Value| {
        message(id, 1, Identify, json!({"userId": "u1", "traits": traits}))
    };
    let segment = |id: &str, kind, key: &str| {
        let body = json!({"userId": "u1", "properties": {"audience_key": key}});
        message(id, 1, kind, body)
    };
    let track = json!({
        "event": "It's \"quoted\"", "userId": "u1", "timestamp": "2026-01-02T03:04:05.678Z",
        "properties": {"total": 12.5},
    });
    let first = world.outcomes(vec![
        message("a", 1, Track, track.clone()),
        identify("b", json!({"plan": "pro", "old": 1, "x": null})),
        identify("c", json!({"plan": "team", "old": null})),
        segment("d", AudienceEntered, "vip"),
        segment("e", AudienceEntered, "trial"),
        segment("f", AudienceExited, "trial"),
    ]);
    assert_eq!(first, ["delivered"; 6]);
    // Again, and more: at least once leaves the same rows.
    assert_eq!(
        world.outcomes(vec![message("a", 1, Track, track)]),
        ["delivered"]
    );
    let later = world.outcomes(vec![
        identify("g", json!({"plan": null, "new": [1]})),
        segment("h", AudienceExited, "vip"),
        segment("i", AudienceEntered, "late"),
    ]);
    assert_eq!(later, ["delivered"; 3]);
    let row =
        "SELECT event, user_id, \"timestamp\" AT TIME ZONE 'UTC', body->'properties'->>'total' \
               FROM \"odd \"\"name\"\"\" WHERE message_id = 'a'";
    assert_eq!(
        query(&cluster, row),
        "It's \"quoted\"|u1|2026-01-02 03:04:05.678|12.5"
    );
    assert_eq!(
        query(&cluster, "SELECT count(*) FROM \"odd \"\"name\"\"\""),
        "9"
    );
    assert_eq!(
        query(&cluster, "SELECT traits, segments FROM cdp_users"),
        "{\"new\": [1]}|{\"late\": true}"
    );

    // One poisoned message does not sink the others.
    let mixed = world.outcomes(vec![
        message("j", 2, Track, json!({"event": "ok"})),
        message(
            "k",
            3,
            Track,
            json!({"event": "bad", "properties": {"x": "a\u{0}b"}}),
        ),
        message("l", 4, Track, json!({"event": "ok"})),
    ]);
    assert_eq!(mixed, ["delivered", "reject", "delivered"]);

    // A dropped table is made again.
    query(&cluster, "DROP TABLE cdp_users");
    assert_eq!(
        world.outcomes(vec![identify("m", json!({"a": 1}))]),
        ["retry"]
    );
    assert_eq!(
        world.outcomes(vec![identify("m", json!({"a": 1}))]),
        ["delivered"]
    );

    // A person is forgotten.
    let body = json!({"type": "delete", "userId": "u1"});
    assert_eq!(
        world.outcomes(vec![message("n", 1, Delete, body)]),
        ["delivered"]
    );
    assert_eq!(query(&cluster, "SELECT count(*) FROM cdp_users"), "0");
    assert_eq!(
        query(&cluster, "SELECT count(*) FROM \"odd \"\"name\"\"\""),
        "2"
    );

    // The server goes away and comes back: kept connections are no trap.
    assert!(cluster.control("restart"));
    let batch = || vec![message("o", 5, Track, json!({"event": "after"}))];
    let mut outcome = world.outcomes(batch());
    if outcome == ["retry"] {
        outcome = world.outcomes(batch());
    }
    assert_eq!(outcome, ["delivered"]);
    assert!(cluster.control("stop"));
    assert_eq!(world.outcomes(batch()), ["retry"]);
    assert!(cluster.control("start"));

    // A lock held by somebody ends in a timeout of ours, not in a hanging worker.
    let mut blocker = Command::new(cluster.bin.join("psql"))
        .env("PGPASSWORD", "s3cret-pass")
        .args(["-h", "127.0.0.1", "-U", "cdp", "-d", "postgres", "-XAtq"])
        .args(["-p", &cluster.port.to_string(), "-c"])
        .arg("BEGIN; LOCK TABLE \"odd \"\"name\"\"\"; SELECT pg_sleep(60)")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let held = Instant::now();
    while query(&cluster, "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = '\"odd \"\"name\"\"\"'::regclass") != "1" {
        assert!(held.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(20));
    }
    let started = Instant::now();
    assert_eq!(world.outcomes(batch()), ["retry"]);
    assert!(started.elapsed() < Duration::from_secs(7));
    query(
        &cluster,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' \
         AND pid <> pg_backend_pid()",
    );
    blocker.wait().unwrap();

    // Credentials and databases that are wrong block the destination; nothing is burnt.
    world.driver.forget("pg");
    world.password = "wrong-pass";
    let reports = world.send(batch());
    assert_eq!(reports[0].outcome.name(), "auth_blocked");
    assert!(!format!("{reports:?}").contains("wrong-pass"));
    world.driver.forget("pg");
    world.password = "s3cret-pass";
    world.database = "nowhere";
    assert_eq!(world.outcomes(batch()), ["auth_blocked"]);

    // Over TLS: the certificate has to be one we know, and for the host.
    let tls_world = |host: &'static str, extra_roots: Option<String>| World {
        driver: Driver::new(
            Client::new(ClientOptions {
                allow_hosts: vec!["localhost".to_string(), "127.0.0.1".to_string()],
                extra_roots,
                ..ClientOptions::default()
            })
            .unwrap(),
        )
        .unwrap(),
        port: cluster.port,
        password: "s3cret-pass",
        database: "postgres",
        host,
        tls: "verify-full",
    };
    let known = Some(cluster.certificate.clone());
    assert_eq!(
        tls_world("localhost", known.clone()).outcomes(batch()),
        ["delivered"]
    );
    for (host, roots) in [("localhost", None), ("127.0.0.1", known)] {
        let reports = tls_world(host, roots).send(batch());
        let reason = reports[0].outcome.reason().unwrap_or("delivered");
        assert!(reason.contains("certificate"), "{host}: {reason}");
    }
}

#[test]
fn a_connection_in_clear_needs_an_opened_host() {
    let mut world = World {
        driver: Driver::new(Client::new(ClientOptions::default()).unwrap()).unwrap(),
        port: 5432,
        password: "x",
        database: "x",
        host: "127.0.0.1",
        tls: "disable",
    };
    let body = json!({"event": "e"});
    let reports = world.send(vec![message("a", 1, MessageKind::Track, body)]);
    assert_eq!(reports[0].outcome.name(), "reject");
    let reason = reports[0].outcome.reason().unwrap();
    assert!(reason.contains("cdp.http_allow_hosts"), "{reason}");
}
