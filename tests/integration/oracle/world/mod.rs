//! A database that random things happen to: its state, the statements it runs and the steps it takes.

mod actions;
mod comparison;
mod definitions;
mod time;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt::Write as _;

use cdp_tests::cluster::describe;
use cdp_tests::Cluster;
use postgres::{Client, SimpleQueryMessage};

use super::expression::Definitions;
use super::message::iso;
use super::random::Random;
use time::DAY;

const TRAITS: usize = 9;
const SEGMENTS: usize = 7;
/// Percentiles over all time are exact up to 64 numbers; the oracle knows exact ones only.
const MOST_EVENTS_OF_A_KIND: i64 = 60;

const TIMEZONES: [&str; 5] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Pacific/Auckland",
];

/// What a run has seen, so that a test can tell that it tested something.
#[derive(Debug, Default)]
pub struct Seen {
    pub steps: usize,
    pub messages: usize,
    pub comparisons: usize,
    pub changes: usize,
    pub merges: usize,
    /// Statements that would have waited for the other connection, by what they did.
    pub waited: BTreeMap<&'static str, usize>,
}

impl Seen {
    pub fn add(&mut self, other: Seen) {
        self.steps += other.steps;
        self.messages += other.messages;
        self.comparisons += other.comparisons;
        self.changes += other.changes;
        self.merges += other.merges;
        for (what, number) in other.waited {
            *self.waited.entry(what).or_default() += number;
        }
    }
}

pub struct World<'a> {
    cluster: &'a Cluster,
    database: String,
    /// Its statements are transactions of their own.
    first: Client,
    /// Holds transactions open.
    second: Client,
    second_is_open: bool,
    random: Random,
    namespace: &'static str,
    timezone: &'static str,
    /// The clocks of the connections differ at times.
    is_skewed: bool,
    /// What `cdp.now()` says, in microseconds since 1970.
    clock: i64,
    definitions: Definitions,
    /// All keys in the order in which they may refer to each other.
    keys: Vec<String>,
    /// Times at which something happened, to aim at.
    instants: Vec<i64>,
    /// Times that identify and group calls have used: which of two of one instant is newer is not defined.
    used: HashSet<i64>,
    message_ids: Vec<String>,
    log: VecDeque<String>,
    /// Nothing was sent since everything due was done.
    settled: bool,
    has_unmerge: bool,
    seed: u64,
    pub seen: Seen,
}

/// What a statement led to.
enum Outcome {
    Done(Vec<Vec<Option<String>>>),
    /// It would have waited for the other connection.
    Waited,
}

impl<'a> World<'a> {
    pub fn new(cluster: &'a Cluster, database: &str, seed: u64) -> World<'a> {
        let mut random = Random::new(seed);
        let connect = || {
            let mut client = cluster.client(database);
            client
                .batch_execute(
                    "SET lock_timeout = '200ms'; SET client_min_messages = error; SET plan_cache_mode = force_generic_plan; \
                     SET timezone = 'UTC'",
                )
                .unwrap();
            client
        };
        let (mut first, second) = (connect(), connect());
        let has_unmerge: bool = first
            .query_one("SELECT to_regproc('cdp.unmerge') IS NOT NULL", &[])
            .unwrap()
            .get(0);
        let keys = (0..TRAITS.max(SEGMENTS))
            .flat_map(|i| {
                let of_trait = (i < TRAITS).then(|| format!("t{i}"));
                of_trait
                    .into_iter()
                    .chain((i < SEGMENTS).then(|| format!("s{i}")))
            })
            .collect();
        let timezone = *random.pick(&TIMEZONES);
        // Around the days on which Europe and America change their clocks.
        let clock = 19_810 * DAY + random.below(8 * DAY as u64) as i64;
        let mut world = World {
            cluster,
            database: database.to_string(),
            first,
            second,
            second_is_open: false,
            namespace: if random.percent(30) {
                "default"
            } else {
                "shop"
            },
            timezone,
            is_skewed: random.percent(30),
            clock,
            definitions: Definitions::new(),
            keys,
            instants: vec![clock],
            used: HashSet::new(),
            message_ids: Vec::new(),
            log: VecDeque::new(),
            settled: false,
            has_unmerge,
            random,
            seed,
            seen: Seen::default(),
        };
        let define = format!(
            "SELECT cdp.define_namespace('{}', timezone => '{timezone}')",
            world.namespace
        );
        world.must(&define);
        world.set_clock();
        for _ in 0..8 {
            world.define();
        }
        world
    }

    fn note(&mut self, line: String) {
        if std::env::var_os("CDP_ORACLE_LOG").is_some() {
            eprintln!("{line}");
        }
        self.log.push_back(line);
        if self.log.len() > 60 {
            self.log.pop_front();
        }
    }

    #[track_caller]
    fn fail(&mut self, what: &str) -> ! {
        let mut text = format!(
            "{what}\n\nseed {}, step {}; again with CDP_ORACLE_SEED={}; the definitions:\n",
            self.seed, self.seen.steps, self.seed
        );
        for (key, definition) in &self.definitions {
            let _ = writeln!(text, "  {key}: {}", definition.node.text(&self.definitions));
        }
        text.push_str("what happened last:\n");
        for line in &self.log {
            let _ = writeln!(text, "  {line}");
        }
        panic!("{text}");
    }

    /// Runs a statement on one of the connections.
    #[track_caller]
    fn run(&mut self, on_second: bool, sql: &str) -> Outcome {
        let client = if on_second {
            &mut self.second
        } else {
            &mut self.first
        };
        match client.simple_query(sql) {
            Ok(messages) => Outcome::Done(rows(messages)),
            Err(error) => {
                let code = error.as_db_error().map(|e| e.code().code().to_string());
                if matches!(code.as_deref(), Some("55P03" | "40001")) {
                    return Outcome::Waited;
                }
                let text = format!("{}\nin: {sql}", describe(&error));
                self.fail(&text)
            }
        }
    }

    /// Runs a statement that has to succeed, on the first connection.
    #[track_caller]
    fn must(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        match self.run(false, sql) {
            Outcome::Done(rows) => rows,
            Outcome::Waited => self.fail(&format!("waited for a lock\nin: {sql}")),
        }
    }

    #[track_caller]
    fn number(&mut self, sql: &str) -> i64 {
        let rows = self.must(sql);
        rows.first()
            .and_then(|row| row.first())
            .and_then(|value| value.as_deref())
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    /// Does something on one of the connections, which may have to wait for the other or, with one snapshot for
    /// the whole transaction, come too late: then it did not happen.
    fn act(&mut self, on_second: bool, what: &'static str, sql: &str) -> bool {
        let connection = if on_second { "second" } else { "first" };
        self.note(format!("{connection}: {sql}"));
        match self.run(on_second, sql) {
            Outcome::Done(_) => true,
            Outcome::Waited => {
                *self.seen.waited.entry(what).or_default() += 1;
                self.note("        … would wait".to_string());
                if on_second {
                    self.end_second(false);
                }
                false
            }
        }
    }

    fn end_second(&mut self, commit: bool) {
        let end = if commit { "COMMIT" } else { "ROLLBACK" };
        self.note(format!("second: {end}"));
        self.run(true, end);
        self.second_is_open = false;
        self.settled = false;
        let set = format!("SET cdp.clock = '{}'", iso(self.clock));
        self.run(true, &set);
    }

    pub fn run_steps(&mut self, steps: usize) {
        for _ in 0..steps {
            self.seen.steps += 1;
            self.step();
            if self.random.percent(60) {
                self.compare();
            }
            if self.is_crowded() {
                break;
            }
        }
        if self.second_is_open {
            self.end_second(true);
        }
        self.settle();
        self.compare();
        self.rebuild(None);
        self.compare();
        self.count();
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..=49 => self.send(false),
            50..=61 => self.send_on_second(),
            62..=67 if self.second_is_open => {
                let commit = self.random.percent(75);
                self.end_second(commit);
            }
            62..=75 => {
                self.clock = self.later();
                self.set_clock();
            }
            76..=80 => self.run_due(),
            81..=87 => self.travel(),
            88..=92 => self.define(),
            93 => self.drop_one(),
            94..=95 => self.settle(),
            96 => {
                let all = self.random.percent(30);
                let user = (!all).then(|| self.user());
                self.rebuild(user);
            }
            97 => self.unmerge(),
            _ => self.ask(),
        }
    }

    fn is_crowded(&mut self) -> bool {
        self.seen.steps.is_multiple_of(10)
            && self.number(
                "SELECT max(n) FROM (SELECT count(*) AS n FROM oracle.events GROUP BY namespace, profile_id, event) AS t",
            ) > MOST_EVENTS_OF_A_KIND
    }

    fn run_due(&mut self) {
        self.act(false, "run_due", "SELECT cdp.run_due()");
    }

    /// Everything that is due is done, and what is stored is what is true.
    fn settle(&mut self) {
        if self.second_is_open {
            let commit = self.random.percent(75);
            self.end_second(commit);
        }
        self.run_due();
        self.settled = true;
        self.compare_stored();
    }

    fn count(&mut self) {
        self.seen.merges = self.number("SELECT count(*) FROM _cdp.profile_merges") as usize;
    }

    pub fn into_seen(self) -> Seen {
        drop((self.first, self.second));
        self.cluster.execute(
            "postgres",
            &format!("DROP DATABASE {} WITH (FORCE)", self.database),
        );
        self.seen
    }
}

fn rows(messages: Vec<SimpleQueryMessage>) -> Vec<Vec<Option<String>>> {
    messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|column| row.get(column).map(str::to_string))
                    .collect(),
            ),
            _ => None,
        })
        .collect()
}
