//! What the container runs: `docker/start.sh`, here without a container.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cdp_tests::{command, eventually, repository, Cluster};

fn start(helper: &Cluster, script: &Path, data: &Path, port: u16, password: bool) -> Child {
    let bin = helper.install().bin.display();
    let mut start = command::as_server_user("env");
    start
        .arg(format!("PATH={bin}:/usr/bin:/bin"))
        .arg(format!("CDP_DATA={}", data.display()))
        .arg("CDP_DATABASE=shop");
    if password {
        start.arg("POSTGRES_PASSWORD=open sesame");
    }
    start
        .arg(script)
        .args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
        ])
        .args(["-p", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    start.spawn().unwrap()
}

fn connect(port: u16, password: &str) -> Result<postgres::Client, postgres::Error> {
    postgres::Config::new()
        .host("127.0.0.1")
        .port(port)
        .user("postgres")
        .password(password)
        .dbname("shop")
        .connect(postgres::NoTls)
}

#[test]
fn the_container_makes_its_database_once_and_keeps_it() {
    // Lends its folder and its programs.
    let helper = Cluster::plain("container");
    let data = helper.server_folder("container");
    // The user of the servers need not be able to read the checkout.
    let script = data.join("start.sh");
    std::fs::copy(repository().join("docker/start.sh"), &script).unwrap();
    let port = TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();

    let mut refused = start(&helper, &script, &data, port, false);
    assert!(
        !refused.wait().unwrap().success(),
        "the first start needs a password"
    );
    // A cluster that an earlier start did not finish.
    command::run(command::as_server_user("mkdir").arg(data.join("unfinished")));

    for run in 1..=2 {
        let mut server = start(&helper, &script, &data, port, run == 1);
        let up = eventually(Duration::from_secs(60), || {
            connect(port, "open sesame").is_ok()
        });
        assert!(up, "no answer in run {run}");
        assert!(connect(port, "wrong").is_err());
        let mut client = connect(port, "open sesame").unwrap();
        client
            .batch_execute("SELECT cdp.track('ada', 'Order Completed')")
            .unwrap();
        let events: i64 = client
            .query_one("SELECT count(*) FROM cdp.events", &[])
            .unwrap()
            .get(0);
        assert_eq!(events, run);
        drop(client);

        let process = std::fs::read_to_string(data.join("cluster/postmaster.pid")).unwrap();
        let process = process.lines().next().unwrap().to_string();
        command::run(Command::new("kill").args(["-INT", &process]));
        server.wait().unwrap();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}
