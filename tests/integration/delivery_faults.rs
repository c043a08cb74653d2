//! Deliveries through everything that breaks: at the end every message has arrived, in order per person and with
//! the same id on every attempt, or is a dead letter, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cdp_tests::{eventually, Cluster, Reply, Request, Sink};

const PATIENCE: Duration = Duration::from_secs(120);

/// A small generator, so that a run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

const PEOPLE: usize = 12;
const MESSAGES: usize = 6;

fn fault(random: &mut Random) -> Reply {
    match random.below(12) {
        0 => Reply::status(500),
        1 => Reply::status(503).with_header("Retry-After", "1"),
        2 => Reply::retry_after("1"),
        3 => Reply::Reset,
        4 => Reply::CutOff,
        5 => Reply::Hang,
        6 => Reply::status(400).with_body("no"),
        7 => Reply::Accept.after(Duration::from_millis(300)),
        _ => Reply::Accept,
    }
}

/// Requests with what they were answered, over all lives of the server.
#[derive(Default)]
struct Log(Vec<(Request, Option<Reply>)>);

impl Log {
    /// Takes over what a sink has seen; replies beyond the script are acceptance.
    fn take(&mut self, sink: &Sink, script: &[Reply]) {
        for (place, request) in sink.requests().into_iter().enumerate() {
            self.0.push((request, script.get(place).cloned()));
        }
    }

    /// Positions of the attempts of each message, by person and number.
    fn attempts(&self) -> BTreeMap<(String, u64), Vec<usize>> {
        let mut attempts: BTreeMap<(String, u64), Vec<usize>> = BTreeMap::new();
        for (place, (request, _)) in self.0.iter().enumerate() {
            let body = request.json();
            let number = body["properties"]["n"].as_u64().unwrap();
            let user = body["userId"].as_str().unwrap().to_string();
            attempts.entry((user, number)).or_default().push(place);
        }
        attempts
    }

    fn is_accepted(&self, place: usize) -> bool {
        match &self.0[place].1 {
            None | Some(Reply::Accept) => true,
            Some(Reply::Slow(_, reply)) => matches!(**reply, Reply::Accept),
            _ => false,
        }
    }
}

fn send(cluster: &Cluster, round: usize) {
    // One transaction each, in order.
    let mut client = cluster.client("app");
    for person in 0..PEOPLE {
        for n in 0..MESSAGES {
            let number = round * MESSAGES + n;
            client
                .batch_execute(&format!(
                    "SELECT cdp.track('p{person}', 'Step', '{{\"n\": {number}}}', message_id => 'p{person}-{number}')"
                ))
                .unwrap();
        }
    }
}

fn worker(cluster: &Cluster) -> i64 {
    let query = "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE datname = 'app' AND backend_type LIKE 'cdp%delivery%'";
    assert!(
        eventually(PATIENCE, || cluster.number("app", query) > 0),
        "no worker runs: {}",
        cluster.text(
            "app",
            "SELECT string_agg(backend_type, ', ') FROM pg_stat_activity WHERE datname = 'app'"
        )
    );
    cluster.number("app", query)
}

#[test]
fn whatever_breaks_messages_arrive_in_order_or_are_dead_letters() {
    const SEED: u64 = 20_260_301;
    println!("seed {SEED}");
    let mut random = Random(SEED);
    let cluster = Cluster::with_workers("chaos");
    let mut sink = Sink::start();
    let port = sink.port();
    cluster.execute(
        "app",
        &format!(
            r#"SELECT cdp.define_destination('hook', 'webhook', '{{"url": "{}", "timeout_ms": 800,
                   "retry_first_seconds": 0.2, "retry_longest_seconds": 1}}');
               SELECT cdp.define_route('hook', ARRAY['Step']);"#,
            sink.url("/hook")
        ),
    );
    let mut log = Log::default();
    let mut script: Vec<Reply> = Vec::new();
    let rounds = 6;
    for round in 0..rounds {
        let more: Vec<Reply> = (0..60).map(|_| fault(&mut random)).collect();
        sink.script(more.clone());
        script.extend(more);
        send(&cluster, round);
        std::thread::sleep(Duration::from_millis(200 + random.below(800)));
        match round {
            // The worker is killed, and with it, by Postgres, every session.
            0 | 3 => cluster.kill_backend(worker(&cluster) as i32),
            1 => {
                cluster.crash();
                cluster.start();
            }
            // The network is cut: nobody listens for a while.
            2 => {
                log.take(&sink, &script);
                drop(sink);
                script.clear();
                send(&cluster, rounds);
                std::thread::sleep(Duration::from_secs(2));
                sink = Sink::listen(port, None).unwrap();
            }
            // The test clock jumps; deliveries go by the real time.
            _ => {
                let at = if round == 4 {
                    "1999-01-01"
                } else {
                    "2100-01-01"
                };
                cluster.set("cdp.clock", at);
                cluster.reload();
            }
        }
        cluster.wait_until_up();
    }
    sink.release();
    let waiting = "SELECT count(*) FROM cdp.deliveries";
    assert!(
        eventually(PATIENCE, || cluster.number("app", waiting) == 0),
        "{}",
        cluster.text(
            "app",
            "SELECT string_agg(DISTINCT concat_ws(' ', status, attempts, last_error), E'\\n') FROM cdp.deliveries"
        )
    );
    log.take(&sink, &script);

    let attempts = log.attempts();
    let dead: BTreeSet<String> = cluster
        .text(
            "app",
            "SELECT coalesce(string_agg(message_id, ' '), '') FROM cdp.dead_letters",
        )
        .split_whitespace()
        .map(str::to_string)
        .collect();
    let mut sent_twice = 0;
    let mut last: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    let mut numbers: Vec<(&(String, u64), &Vec<usize>)> = attempts.iter().collect();
    // What was sent while the network was cut came before round 3.
    let order = |number: u64| match number as usize / MESSAGES {
        round if round == rounds => (2, 1, number),
        round => (round, 0, number),
    };
    numbers.sort_by_key(|((user, number), _)| (user.as_str(), order(*number)));
    for ((user, number), places) in numbers {
        let id = format!("{user}-{number}");
        for place in places {
            assert_eq!(log.0[*place].0.header("webhook-id"), Some(id.as_str()));
        }
        // A request that hung may have been let go in time: then nothing came after it.
        let hung = places
            .last()
            .filter(|place| matches!(log.0[**place].1, Some(Reply::Hang)));
        let accepted: Vec<usize> = places
            .iter()
            .copied()
            .filter(|place| log.is_accepted(*place) || hung == Some(place))
            .collect();
        sent_twice += accepted.len().saturating_sub(1);
        if dead.contains(&id) {
            assert!(
                places
                    .iter()
                    .any(|p| matches!(&log.0[*p].1, Some(Reply::Answer { status: 400, .. }))),
                "{id} is a dead letter, but was never refused for good"
            );
            continue;
        }
        let Some(first) = accepted.first() else {
            panic!("{id} was tried {} times and never arrived", places.len())
        };
        if let Some((before, arrived)) = last.insert(user.as_str(), (*number, *first)) {
            assert!(
                places[0] > arrived,
                "{user}: {number} was tried at {} before {before} had arrived at {arrived}",
                places[0]
            );
        }
    }
    for person in 0..PEOPLE {
        for number in 0..(rounds + 1) * MESSAGES {
            let id = format!("p{person}-{number}");
            let came = attempts.contains_key(&(format!("p{person}"), number as u64));
            assert!(came || dead.contains(&id), "{id} is lost");
        }
    }
    println!(
        "{} messages, {} requests, {sent_twice} arrived again, {} dead letters",
        attempts.len(),
        log.0.len(),
        dead.len()
    );
    // Hanging requests that were killed may have arrived too; the worker counts what it cannot know.
    assert!(!dead.is_empty(), "the faults did not include a refusal");
}

#[test]
fn a_slow_endpoint_holds_up_no_other() {
    let cluster = Cluster::with_workers("slow");
    let (slow, quick) = (Sink::start(), Sink::start());
    slow.otherwise(Reply::Accept.after(Duration::from_secs(5)));
    for (key, sink) in [("slow", &slow), ("quick", &quick)] {
        cluster.execute(
            "app",
            &format!(
                r#"SELECT cdp.define_destination('{key}', 'webhook', '{{"url": "{}"}}'); SELECT cdp.define_route('{key}', ARRAY['Step']);"#,
                sink.url("/")
            ),
        );
    }
    send(&cluster, 0);
    slow.wait_for(1, PATIENCE);
    let before = std::time::Instant::now();
    quick.wait_for(PEOPLE * MESSAGES, PATIENCE);
    assert!(
        slow.count() < PEOPLE * MESSAGES,
        "the slow one was quick: {:?}",
        before.elapsed()
    );
}

#[test]
fn a_standby_sends_nothing_until_it_is_promoted() {
    let primary = Cluster::with_workers("delivery_standby");
    let sink = Sink::start();
    sink.otherwise(Reply::status(500));
    super::define(&primary, "app", &sink);
    super::order(&primary, "app", "ada", 1);
    sink.wait_for(1, PATIENCE);
    super::order(&primary, "app", "bob", 2);
    let standby = primary.standby();
    primary.wait_for_standby(&standby);
    primary.crash();
    let before = sink.count();
    sink.otherwise(Reply::Accept);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(sink.count(), before, "the standby sends");
    assert_eq!(
        standby.number("app", "SELECT count(*) FROM cdp.deliveries"),
        2
    );

    standby.promote();
    assert!(
        eventually(PATIENCE, || standby
            .number("app", "SELECT count(*) FROM cdp.deliveries")
            == 0),
        "what the primary left is not sent"
    );
    let ids: BTreeMap<String, BTreeSet<String>> =
        sink.requests()
            .iter()
            .fold(BTreeMap::new(), |mut ids, request| {
                let user = request.json()["userId"].to_string();
                ids.entry(user)
                    .or_default()
                    .insert(request.header("webhook-id").unwrap_or_default().to_string());
                ids
            });
    assert_eq!(ids.len(), 2);
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
}
