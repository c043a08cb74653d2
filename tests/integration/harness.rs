//! The harness itself: what every other test relies on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use cdp_tests::{Cluster, Reply, Sink};

#[test]
fn committed_rows_survive_every_kind_of_death() {
    let cluster = Cluster::plain("deaths");
    cluster.execute("postgres", "CREATE TABLE kept (n int)");
    type Death = fn(&Cluster);
    let deaths: [(&str, Death); 4] = [
        ("restart", Cluster::restart),
        ("crash", |cluster| {
            cluster.crash();
            cluster.start();
        }),
        ("kill the postmaster", |cluster| {
            cluster.kill_postmaster();
            cluster.start();
        }),
        ("kill a backend", |cluster| {
            let mut client = cluster.client("postgres");
            let process: i32 = client
                .query_one("SELECT pg_backend_pid()", &[])
                .unwrap()
                .get(0);
            cluster.kill_backend(process);
            assert!(client.simple_query("SELECT 1").is_err());
        }),
    ];
    for (number, (name, die)) in deaths.iter().enumerate() {
        cluster.execute("postgres", &format!("INSERT INTO kept VALUES ({number})"));
        die(&cluster);
        let rows = cluster.number("postgres", "SELECT count(*) FROM kept");
        assert_eq!(rows, number as i64 + 1, "after {name}");
    }
}

#[test]
fn a_standby_follows_and_can_be_promoted() {
    let primary = Cluster::plain("primary");
    let standby = primary.standby();
    primary.execute("postgres", "CREATE TABLE followed AS SELECT 1 AS n");
    primary.wait_for_standby(&standby);
    assert_eq!(standby.number("postgres", "SELECT n FROM followed"), 1);
    assert!(standby
        .client("postgres")
        .batch_execute("INSERT INTO followed VALUES (2)")
        .is_err());
    standby.promote();
    standby.execute("postgres", "INSERT INTO followed VALUES (2)");
}

#[test]
fn a_dump_restores_into_an_empty_database() {
    let cluster = Cluster::plain("dump");
    cluster.execute("postgres", "CREATE TABLE dumped AS SELECT 42 AS n");
    let dump = cluster.dump("postgres");
    cluster.create_database("restored");
    cluster.restore("restored", &dump);
    assert_eq!(cluster.number("restored", "SELECT n FROM dumped"), 42);
}

fn ask(sink: &Sink, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", sink.port()))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

const POST: &str = "POST /hook?x=1 HTTP/1.1\r\nHost: sink\r\nConnection: close\r\nContent-Length: 9\r\nX-Key: k\r\n\r\n{\"a\": 1 }";

#[test]
fn the_sink_records_and_answers_as_scripted() {
    let sink = Sink::start();
    sink.script([
        Reply::retry_after("3"),
        Reply::status(500).with_body("oops"),
        Reply::status(204).after(Duration::from_millis(200)),
    ]);
    let answer = ask(&sink, POST).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 429") && answer.contains("Retry-After: 3"),
        "{answer}"
    );
    assert!(ask(&sink, POST).unwrap().ends_with("oops"));
    let before = Instant::now();
    assert!(ask(&sink, POST).unwrap().starts_with("HTTP/1.1 204"));
    assert!(before.elapsed() >= Duration::from_millis(200));
    assert!(
        ask(&sink, POST).unwrap().starts_with("HTTP/1.1 200"),
        "the script is at its end"
    );

    let requests = sink.requests();
    assert_eq!(requests.len(), 4);
    assert_eq!(
        (requests[0].method.as_str(), requests[0].path.as_str()),
        ("POST", "/hook?x=1")
    );
    assert_eq!(requests[0].header("x-key"), Some("k"));
    assert_eq!(requests[0].json()["a"], 1);
}

#[test]
fn the_sink_reads_chunked_bodies_and_keeps_connections() {
    let sink = Sink::start();
    let request = "POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
    let answers = ask(&sink, &format!("{request}{POST}")).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2);
    assert_eq!(sink.requests()[0].text(), "abc0123456789");
}

#[test]
fn the_sink_breaks_connections_as_scripted() {
    let sink = Sink::start();
    sink.script([Reply::Reset, Reply::CutOff]);
    let error = ask(&sink, POST).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let cut = ask(&sink, POST).unwrap();
    assert!(cut.ends_with("{\"half\":"), "{cut}");
}

#[test]
fn a_hanging_request_goes_on_when_released() {
    let sink = Sink::start();
    sink.script([Reply::Hang]);
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| ask(&sink, POST).unwrap());
        sink.wait_for_hanging(Duration::from_secs(5));
        assert!(!answer.is_finished());
        sink.release();
        assert!(answer.join().unwrap().starts_with("HTTP/1.1 200"));
    });
}
