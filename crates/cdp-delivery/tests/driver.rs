//! The driver against a real server: order, concurrency, limits, breaker, panics.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use cdp_delivery::{
    destination, CatalogueEntry, Category, Client, ClientOptions, Context, Destination, Driver,
    Duplicates, Job, Limits, Message, MessageKind, Outcome, Plan, Report, Secrets,
};
use serde_json::{json, Value};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{ok, status, status_with, Behaviour, Seen, Server};

fn driver() -> Driver {
    let options = ClientOptions {
        allow_hosts: vec!["127.0.0.1".to_string()],
        ..ClientOptions::default()
    };
    Driver::new(Client::new(options).unwrap()).unwrap()
}

fn message(id: usize, profile_id: i64) -> Message {
    Message {
        id: format!("m{id}"),
        profile_id,
        kind: MessageKind::Track,
        body: json!({"type": "track", "event": "E", "messageId": format!("m{id}"), "n": id, "p": profile_id}),
        replay: false,
        attempt: 1,
    }
}

fn job(url: &str, extra: Value, batch: Vec<Message>) -> Job {
    let mut config = json!({ "url": url });
    for (key, value) in extra.as_object().unwrap() {
        config[key] = value.clone();
    }
    let webhook = destination("webhook").unwrap();
    webhook.validate(&config).unwrap();
    Job {
        destination_key: "hook".to_string(),
        generation: 1,
        destination: webhook,
        config: Arc::new(config),
        secrets: Arc::new(Secrets::new()),
        batch,
        start_within: Duration::from_secs(10),
    }
}

/// Polls until every job is finished; asserts that every poll returns in time (with room for a
/// busy machine).
fn finish(driver: &mut Driver) -> Vec<Report> {
    let mut reports = Vec::new();
    let started = Instant::now();
    while !driver.is_idle() {
        let poll = Instant::now();
        for result in driver.poll(Duration::from_millis(100)) {
            reports.extend(result.reports);
        }
        assert!(poll.elapsed() < Duration::from_millis(1000));
        assert!(started.elapsed() < Duration::from_secs(30), "never ends");
    }
    reports.sort_by_key(|report| report.index);
    reports
}

fn names(reports: &[Report]) -> Vec<&'static str> {
    reports.iter().map(|report| report.outcome.name()).collect()
}

fn number(seen: &Seen) -> u64 {
    seen.json()["n"].as_u64().unwrap()
}

#[test]
fn delivers_one_message_a_request_with_a_stable_id() {
    let server = Server::start(|_, _| ok());
    let mut driver = driver();
    driver.push(job(
        &server.url("/in"),
        json!({}),
        (0..20).map(|i| message(i, i as i64)).collect(),
    ));
    let reports = finish(&mut driver);
    assert_eq!(names(&reports), vec!["delivered"; 20]);
    let seen = server.requests();
    assert_eq!(seen.len(), 20);
    for request in &seen {
        assert_eq!(
            request.header("webhook-id"),
            Some(format!("m{}", number(request)).as_str())
        );
        assert!(request.header("webhook-timestamp").is_some());
        assert_eq!(request.json()["event"], "E");
    }
}

#[test]
fn keeps_the_order_of_each_person_and_runs_persons_side_by_side() {
    let server = Server::start(|seen, _| {
        let wait = Duration::from_millis((number(seen) * 7) % 20);
        Behaviour::Slow(wait, Box::new(ok()))
    });
    let mut driver = driver();
    let batch = (0..120).map(|i| message(i, (i % 12) as i64)).collect();
    driver.push(job(&server.url("/"), json!({"concurrency": 6}), batch));
    assert_eq!(names(&finish(&mut driver)), vec!["delivered"; 120]);
    let seen = server.requests();
    let mut last: HashMap<u64, (u64, Instant)> = HashMap::new();
    for request in &seen {
        let profile = request.json()["p"].as_u64().unwrap();
        if let Some((before, answered)) = last.get(&profile) {
            assert!(*before < number(request));
            assert!(*answered <= request.at, "two of one person under way");
        }
        last.insert(profile, (number(request), request.answered.unwrap()));
    }
    assert!(*server.connections.lock().unwrap() <= 6);
    assert!(*server.connections.lock().unwrap() > 1);
}

#[test]
fn a_failing_person_holds_up_nobody_else() {
    let server = Server::start(|seen, _| if number(seen) == 1 { status(500) } else { ok() });
    let mut driver = driver();
    // Persons 0 and 1 in turn; message 1 is person 1's first.
    let batch = (0..6).map(|i| message(i, (i % 2) as i64)).collect();
    driver.push(job(&server.url("/"), json!({}), batch));
    let reports = finish(&mut driver);
    assert_eq!(
        names(&reports),
        [
            "delivered",
            "retry",
            "delivered",
            "retry",
            "delivered",
            "retry"
        ]
    );
    assert!(matches!(
        reports[1].outcome,
        Outcome::Retry { counts: true, .. }
    ));
    assert!(matches!(
        reports[3].outcome,
        Outcome::Retry { counts: false, .. }
    ));
    assert!(reports[3].evidence.is_none());
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_dead_letter_frees_its_person() {
    let server = Server::start(|seen, _| if number(seen) == 0 { status(400) } else { ok() });
    let mut driver = driver();
    driver.push(job(
        &server.url("/"),
        json!({}),
        vec![message(0, 1), message(1, 1)],
    ));
    let reports = finish(&mut driver);
    assert_eq!(names(&reports), ["reject", "delivered"]);
    let evidence = reports[0].evidence.as_ref().unwrap();
    assert_eq!(evidence.status, Some(400));
    assert!(evidence.request.starts_with("POST http://127.0.0.1"));
    assert!(evidence.request.contains("\"event\":\"E\""));
    assert!(evidence.response.starts_with("HTTP 400"));
}

#[test]
fn batches_and_splits_what_is_too_large() {
    let server = Server::start(|seen, _| {
        let batch = seen.json()["batch"].as_array().unwrap().clone();
        let bad = batch.iter().any(|item| item["n"] == 5);
        if batch.len() > 3 || bad {
            status(413)
        } else {
            ok()
        }
    });
    let mut driver = driver();
    let batch = (0..12).map(|i| message(i, i as i64)).collect();
    driver.push(job(&server.url("/"), json!({"batch": 10}), batch));
    let reports = finish(&mut driver);
    let mut expected = vec!["delivered"; 12];
    expected[5] = "reject";
    assert_eq!(names(&reports), expected);
    let whole = |seen: &Seen| seen.json()["batch"].as_array().unwrap().len() == 10;
    let seen = server.requests();
    assert!(seen.iter().any(whole));
    assert!(seen.iter().all(|seen| seen.header("webhook-id").is_some()));
}

#[test]
fn a_refused_key_blocks_the_destination_and_burns_nothing() {
    let server = Server::start(|_, _| status(401));
    let mut driver = driver();
    let batch = (0..50).map(|i| message(i, i as i64)).collect();
    driver.push(job(&server.url("/"), json!({"concurrency": 2}), batch));
    let reports = finish(&mut driver);
    assert_eq!(names(&reports), vec!["auth_blocked"; 50]);
    assert!(server.requests().len() <= 4);
    assert_eq!(driver.readiness("hook").unwrap().messages, 0);
    assert!(driver.lane_state("hook").unwrap().auth_blocked.is_some());
    driver.forget("hook");
    assert!(driver.readiness("hook").is_none());
}

#[test]
fn a_429_pauses_the_destination_and_does_not_count() {
    let server = Server::start(|_, index| {
        if index == 0 {
            status_with(429, ("Retry-After", "30"))
        } else {
            ok()
        }
    });
    let mut driver = driver();
    let batch = (0..10).map(|i| message(i, i as i64)).collect();
    driver.push(job(&server.url("/"), json!({"concurrency": 1}), batch));
    let reports = finish(&mut driver);
    assert_eq!(names(&reports), vec!["retry"; 10]);
    for report in &reports {
        assert!(matches!(
            &report.outcome,
            Outcome::Retry { counts: false, after: Some(after), .. } if after.as_secs() >= 29
        ));
    }
    assert_eq!(server.requests().len(), 1);
    let readiness = driver.readiness("hook").unwrap();
    assert_eq!(readiness.messages, 0);
    assert!(readiness.blocked_for.unwrap() > Duration::from_secs(29));
}

#[test]
fn the_breaker_opens_and_a_new_generation_starts_afresh() {
    let server = Server::start(|_, _| status(503));
    let mut driver = driver();
    let batch = (0..40).map(|i| message(i, i as i64)).collect();
    driver.push(job(&server.url("/"), json!({"concurrency": 1}), batch));
    let reports = finish(&mut driver);
    assert_eq!(names(&reports), vec!["retry"; 40]);
    assert_eq!(server.requests().len(), 10);
    let counted = reports
        .iter()
        .filter(|report| matches!(report.outcome, Outcome::Retry { counts: true, .. }))
        .count();
    assert_eq!(counted, 10);
    assert!(driver.readiness("hook").unwrap().blocked_for.is_some());
    let mut next = job(&server.url("/"), json!({}), vec![message(0, 0)]);
    next.generation = 2;
    driver.push(next);
    finish(&mut driver);
    assert_eq!(server.requests().len(), 11);
}

#[test]
fn the_rate_holds_and_what_cannot_start_in_time_comes_back() {
    let server = Server::start(|_, _| ok());
    let mut driver = driver();
    let batch = (0..20).map(|i| message(i, i as i64)).collect();
    let mut slow = job(&server.url("/"), json!({"requests_per_second": 20}), batch);
    slow.start_within = Duration::from_millis(400);
    let started = Instant::now();
    driver.push(slow);
    let reports = finish(&mut driver);
    let sent = server.requests().len();
    assert!((6..=9).contains(&sent), "{sent}");
    assert!(started.elapsed() < Duration::from_secs(2));
    let back = reports
        .iter()
        .filter(|report| matches!(report.outcome, Outcome::Retry { counts: false, .. }))
        .count();
    assert_eq!(back, 20 - sent);
}

#[test]
fn a_hanging_endpoint_holds_up_no_poll_and_no_other_destination() {
    let hanging = Server::start(|_, _| Behaviour::Hang);
    let healthy = Server::start(|_, _| ok());
    let mut driver = driver();
    let mut stuck = job(
        &hanging.url("/"),
        json!({"timeout_ms": 700}),
        vec![message(0, 0)],
    );
    stuck.destination_key = "stuck".to_string();
    driver.push(stuck);
    let fine = driver.push(job(&healthy.url("/"), json!({}), vec![message(1, 1)]));
    let started = Instant::now();
    let mut finished = HashMap::new();
    while !driver.is_idle() {
        let poll = Instant::now();
        for result in driver.poll(Duration::from_millis(50)) {
            if result.finished {
                finished.insert(result.job, started.elapsed());
            }
        }
        assert!(poll.elapsed() < Duration::from_millis(250));
    }
    assert!(finished[&fine] < Duration::from_millis(500));
    assert!(started.elapsed() >= Duration::from_millis(700));
}

#[test]
fn at_most_once_when_asked_for() {
    let server = Server::start(|_, _| Behaviour::Reset);
    let mut driver = driver();
    let extra = json!({"after_ambiguous_failure": "reject"});
    driver.push(job(&server.url("/"), extra, vec![message(0, 0)]));
    assert_eq!(names(&finish(&mut driver)), ["reject"]);
    driver.push(job(&server.url("/"), json!({}), vec![message(0, 0)]));
    assert_eq!(names(&finish(&mut driver)), ["retry"]);
    // Nothing was sent, so nothing is ambiguous.
    let extra = json!({"after_ambiguous_failure": "reject"});
    driver.push(job("http://127.0.0.1:1/", extra, vec![message(0, 0)]));
    assert_eq!(names(&finish(&mut driver)), ["retry"]);
}

#[test]
fn secrets_are_masked_in_reasons_and_evidence() {
    let server = Server::start(|_, _| {
        Behaviour::Answer(400, Vec::new(), b"bad key sesame-open-1 for you".to_vec())
    });
    let mut driver = driver();
    let mut work = job(&server.url("/p"), json!({}), vec![message(0, 0)]);
    work.secrets = Arc::new(
        [
            ("authorization", "sesame-open-1"),
            ("signing_secret", "s-i-g-n"),
        ]
        .into_iter()
        .collect(),
    );
    driver.push(work);
    let reports = finish(&mut driver);
    let text = format!("{reports:?}");
    assert!(
        !text.contains("sesame") && !text.contains("s-i-g-n"),
        "{text}"
    );
    assert!(text.contains("bad key *** for you"), "{text}");
    let seen = server.requests();
    assert_eq!(seen[0].header("authorization"), Some("sesame-open-1"));
    let id = seen[0].header("webhook-id").unwrap();
    let timestamp = seen[0].header("webhook-timestamp").unwrap();
    assert!(cdp_delivery::signing::verify(
        "s-i-g-n",
        id,
        timestamp.parse().unwrap(),
        &seen[0].body,
        seen[0].header("webhook-signature").unwrap()
    ));
}

/// Panics on the second batch it sees.
struct Bad(AtomicUsize);

static BAD: Bad = Bad(AtomicUsize::new(0));
static BAD_ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "bad",
    name: "Bad",
    description: "",
    category: Category::Generic,
    fields: &[],
    secrets: &[],
    sends: &MessageKind::ALL,
    duplicates: Duplicates::Visible,
    replays: true,
};

impl Destination for Bad {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &BAD_ENTRY
    }

    fn own_limits(&self, _config: &cdp_delivery::config::Config) -> Limits {
        Limits::single()
    }

    fn requests(&self, _context: &Context, _batch: &[&Message]) -> Plan {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            panic!("a bug in a destination");
        }
        Plan::default()
    }
}

#[test]
fn a_panic_is_a_failed_attempt() {
    let mut driver = driver();
    for _ in 0..2 {
        driver.push(Job {
            destination_key: "bad".to_string(),
            generation: 1,
            destination: &BAD,
            config: Arc::new(json!({})),
            secrets: Arc::new(Secrets::new()),
            batch: vec![message(0, 0), message(1, 1)],
            start_within: Duration::from_secs(1),
        });
        let reports = finish(&mut driver);
        // The second time it forgets its messages: that is a failed attempt too.
        assert_eq!(names(&reports), ["retry", "retry"]);
    }
    assert_eq!(driver.panics(), 1);
    assert_eq!(driver.messages(), 0);
}

#[test]
fn cancelled_jobs_are_forgotten() {
    let server = Server::start(|_, _| Behaviour::Hang);
    let mut driver = driver();
    driver.push(job(&server.url("/"), json!({}), vec![message(0, 0)]));
    driver.poll(Duration::from_millis(100));
    driver.cancel("hook");
    assert!(driver.is_idle());
    assert!(driver.poll(Duration::from_secs(5)).is_empty());
    // A driver with a request under way can be dropped at once.
    driver.push(job(&server.url("/"), json!({}), vec![message(0, 0)]));
    driver.poll(Duration::from_millis(50));
    let started = Instant::now();
    drop(driver);
    assert!(started.elapsed() < Duration::from_millis(500));
}

#[test]
fn batches_are_fast() {
    let server = Server::start(|_, _| ok());
    let mut driver = driver();
    let started = Instant::now();
    for part in 0..10 {
        let batch = (0..1000)
            .map(|i| message(part * 1000 + i, (part * 1000 + i) as i64))
            .collect();
        driver.push(job(&server.url("/"), json!({"batch": 500}), batch));
    }
    assert_eq!(finish(&mut driver).len(), 10_000);
    // A loose bound for an unoptimized build on a busy machine; the benchmark has the number.
    assert!(started.elapsed() < Duration::from_secs(10));
}
