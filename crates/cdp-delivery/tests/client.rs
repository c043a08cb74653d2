//! The client against a real server that misbehaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use cdp_delivery::http::{HttpRequest, HttpResponse, Method};
use cdp_delivery::{Client, ClientOptions, TransportError, TransportErrorKind as Kind};
use serde_json::json;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{ok, status, status_with, Behaviour, Server};

fn options(allow: &[&str]) -> ClientOptions {
    ClientOptions {
        allow_hosts: allow.iter().map(|host| host.to_string()).collect(),
        max_response_bytes: 10_000,
        ..ClientOptions::default()
    }
}

fn send(
    allow: &[&str],
    request: HttpRequest,
    timeout: Duration,
) -> Result<HttpResponse, TransportError> {
    let client = Client::new(options(allow)).unwrap();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(client.send_http(&request, Some(timeout)))
}

fn get(server: &Server) -> Result<HttpResponse, TransportError> {
    send(
        &["127.0.0.1"],
        HttpRequest::new(Method::Get, server.url("/x")),
        Duration::from_millis(500),
    )
}

#[test]
fn sends_what_it_was_given() {
    let server = Server::start(|_, _| status_with(201, ("X-Answer", "yes")));
    let request = HttpRequest::post_json(server.url("/a?b=c"), &json!({"k": 1})).header("X-A", "v");
    let answer = send(&["127.0.0.1"], request, Duration::from_secs(5)).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (201, "{}"));
    assert_eq!(answer.header("x-answer"), Some("yes"));
    let seen = server.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (seen[0].method.as_str(), seen[0].target.as_str()),
        ("POST", "/a?b=c")
    );
    assert_eq!(seen[0].header("x-a"), Some("v"));
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert!(seen[0].header("user-agent").unwrap().starts_with("cdp/"));
    assert_eq!(seen[0].json(), json!({"k": 1}));
}

#[test]
fn loopback_is_closed_unless_opened() {
    let server = Server::start(|_, _| ok());
    let port = server.address.port();
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("https://localhost:{port}/"),
        format!("https://[::1]:{port}/"),
        format!("https://2130706433:{port}/"),
    ] {
        let request = HttpRequest::new(Method::Get, url.clone());
        let error = send(&[], request, Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.kind, Kind::Blocked, "{url}");
        assert!(!error.maybe_processed);
    }
    let other = format!("127.0.0.1:{}", port.wrapping_add(1));
    let request = HttpRequest::new(Method::Get, server.url("/"));
    let error = send(&[&other], request.clone(), Duration::from_secs(1)).unwrap_err();
    assert_eq!(error.kind, Kind::Blocked);
    assert_eq!(*server.connections.lock().unwrap(), 0);
    let open = format!("127.0.0.1:{port}");
    assert!(send(&[&open], request, Duration::from_secs(5)).is_ok());
}

#[test]
fn localhost_needs_no_name_server() {
    let server = Server::start(|_, _| ok());
    let url = format!("http://localhost:{}/", server.address.port());
    let request = HttpRequest::new(Method::Get, url);
    assert!(send(&["localhost"], request, Duration::from_secs(5)).is_ok());
}

#[test]
fn redirects_are_not_followed() {
    let target = Server::start(|_, _| ok());
    let location = target.url("/secret");
    let server = Server::start(move |_, _| status_with(302, ("Location", &location)));
    assert_eq!(get(&server).unwrap().status, 302);
    assert!(target.requests().is_empty());
}

#[test]
fn hanging_endpoints_time_out() {
    for behaviour in [
        Behaviour::Hang,
        Behaviour::Drip,
        Behaviour::Slow(Duration::from_secs(3), Box::new(ok())),
    ] {
        let server = Server::start(move |_, _| behaviour.clone());
        let started = Instant::now();
        let error = get(&server).unwrap_err();
        assert_eq!(error.kind, Kind::Timeout);
        assert!(error.maybe_processed);
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn broken_connections_are_told_apart() {
    let server = Server::start(|_, _| Behaviour::Reset);
    let error = get(&server).unwrap_err();
    assert_eq!((error.kind, error.maybe_processed), (Kind::Reset, true));
    let server = Server::start(|_, _| Behaviour::Partial);
    let error = get(&server).unwrap_err();
    assert_eq!((error.kind, error.maybe_processed), (Kind::Reset, true));
    let server = Server::start(|_, _| Behaviour::Garbage);
    let error = get(&server).unwrap_err();
    assert_eq!((error.kind, error.maybe_processed), (Kind::Protocol, true));
    // A port that nobody listens on.
    let request = HttpRequest::new(Method::Get, "http://127.0.0.1:1/");
    let error = send(&["127.0.0.1"], request, Duration::from_secs(2)).unwrap_err();
    assert_eq!((error.kind, error.maybe_processed), (Kind::Connect, false));
}

/// Serves one fixed answer over TLS with a certificate of its own; returns port and certificate.
fn tls_server() -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_string()]).unwrap();
    let pem = made.cert.pem();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.key_pair.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream);
            let mut buffer = [0u8; 4096];
            if tls.read(&mut buffer).is_ok_and(|n| n > 0) {
                let _ = tls.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            }
        }
    });
    (port, pem)
}

#[test]
fn tls_is_verified() {
    let (port, pem) = tls_server();
    let request = |host: &str| HttpRequest::new(Method::Get, format!("https://{host}:{port}/"));
    let allow = ["localhost", "127.0.0.1"];
    let error = send(&allow, request("localhost"), Duration::from_secs(5)).unwrap_err();
    assert_eq!((error.kind, error.maybe_processed), (Kind::Tls, false));
    let mut trusting = options(&allow);
    trusting.extra_roots = Some(pem);
    let client = Client::new(trusting).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let get = |host: &str| {
        runtime.block_on(client.send_http(&request(host), Some(Duration::from_secs(5))))
    };
    assert_eq!(get("localhost").unwrap().status, 204);
    // The certificate is for another name.
    assert_eq!(get("127.0.0.1").unwrap_err().kind, Kind::Tls);
    let mut broken = options(&[]);
    broken.extra_roots =
        Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----".into());
    assert!(Client::new(broken).is_err());
}

#[test]
fn huge_answers_are_cut() {
    let server = Server::start(|_, _| Behaviour::Huge(50_000_000));
    let answer = get(&server).unwrap();
    assert_eq!(
        (answer.status, answer.truncated, answer.body.len()),
        (200, true, 10_000)
    );
    let server = Server::start(|_, _| Behaviour::Huge(10_000));
    let answer = get(&server).unwrap();
    assert_eq!((answer.truncated, answer.body.len()), (false, 10_000));
}

#[test]
fn headers_cannot_be_injected() {
    let server = Server::start(|_, _| ok());
    for (name, value) in [
        ("X-A", "a\r\nX-Evil: 1"),
        ("X-A", "a\nb"),
        ("X-A", "a\0b"),
        ("X A", "a"),
        ("X-A:", "a"),
        ("", "a"),
    ] {
        let request = HttpRequest::new(Method::Get, server.url("/")).header(name, value);
        let error = send(&["127.0.0.1"], request, Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid, "{name:?} {value:?}");
    }
    let request = HttpRequest::new(Method::Get, server.url("/a\r\nX-Evil: 1"));
    let _ = send(&["127.0.0.1"], request, Duration::from_secs(1));
    let request = HttpRequest::new(Method::Get, server.url("/a b\u{0}?\nc"));
    let _ = send(&["127.0.0.1"], request, Duration::from_secs(1));
    for seen in server.requests() {
        assert_eq!(seen.header("x-evil"), None, "{seen:?}");
    }
}

#[test]
fn errors_do_not_show_the_url() {
    let request = HttpRequest::new(Method::Get, "http://127.0.0.1:1/services/T0/secret-path");
    let error = send(&["127.0.0.1"], request, Duration::from_secs(2)).unwrap_err();
    assert!(!error.message.contains("secret-path"), "{error}");
}

#[test]
fn proxies_of_the_environment_are_ignored() {
    let proxy = Server::start(|_, _| status(418));
    // The only test of this binary that sets these; the others talk to loopback either way.
    std::env::set_var("http_proxy", proxy.url("/"));
    std::env::set_var("HTTP_PROXY", proxy.url("/"));
    let server = Server::start(|_, _| ok());
    assert_eq!(get(&server).unwrap().status, 200);
    assert!(proxy.requests().is_empty());
}

#[test]
fn no_threads_are_started() {
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads() == 0 {
        return;
    }
    // A child of its own, since the tests of this binary run in threads.
    let exe = std::env::current_exe().unwrap();
    let output = std::process::Command::new(exe)
        .args(["--exact", "thread_count_child", "--nocapture", "--ignored"])
        .args(["--test-threads", "1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("threads added: 0"), "{text}");
}

/// Not a test by itself: run by `no_threads_are_started` in a process of its own.
#[test]
#[ignore = "run by no_threads_are_started"]
fn thread_count_child() {
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let before = threads();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = Client::new(options(&["127.0.0.1", "*.invalid"])).unwrap();
    for url in ["http://127.0.0.1:1/", "http://name.invalid/"] {
        let request = HttpRequest::new(Method::Get, url);
        let sent = client.send_http(&request, Some(Duration::from_secs(2)));
        assert!(runtime.block_on(sent).is_err());
    }
    println!("threads added: {}", threads() - before);
}
