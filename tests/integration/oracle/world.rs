//! A database that random things happen to, and the comparison of all it says with the oracle.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fmt::Write as _;
use std::io::Write as _;

use cdp_tests::cluster::describe;
use cdp_tests::Cluster;
use postgres::{Client, SimpleQueryMessage};

use super::corpus::{windows, Corpus};
use super::expression::{Definition, Definitions};
use super::message::{self, iso, quoted, Message};
use super::random::Random;

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

const PEOPLE: u64 = 6;
const TRAITS: usize = 9;
const SEGMENTS: usize = 7;
/// Definitions whose oracle would be longer than this are made again.
const LONGEST_ORACLE: usize = 20_000;
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

    // --- statements ---------------------------------------------------------------------------------

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

    // --- time ---------------------------------------------------------------------------------------

    fn set_clock(&mut self) {
        let set = format!("SET cdp.clock = '{}'", iso(self.clock));
        self.note(set.clone());
        self.must(&set);
        // A transaction that began earlier may have an earlier clock.
        if !self.second_is_open || !self.is_skewed || self.random.percent(50) {
            self.run(true, &set);
        }
    }

    /// An instant to which time may move.
    fn later(&mut self) -> i64 {
        let step = match self.random.below(10) {
            0..=2 => self.random.below(MINUTE as u64) as i64,
            3..=5 => self.random.below(6 * HOUR as u64) as i64,
            6 => self.random.below(3 * DAY as u64) as i64,
            _ => return self.edge(),
        };
        self.clock + 1 + step
    }

    /// The next instant at which something leaves a window, or just before or after.
    fn edge(&mut self) -> i64 {
        let since = *self.random.pick(&self.instants);
        let window = self.random.pick(windows()).minutes() * MINUTE;
        let beside = [-1, 0, 0, 1][self.random.index(4)];
        let at = since + window + beside;
        if at > self.clock && at < self.clock + 20 * DAY {
            at
        } else {
            self.clock + 1 + self.random.below(DAY as u64) as i64
        }
    }

    /// When an event happened: now, late, at an edge of a window, together with another one, in the future.
    fn event_time(&mut self) -> Option<i64> {
        let at = match self.random.below(100) {
            0..=39 => None,
            40..=69 => Some(self.clock - self.random.magnitude(40 * DAY as u64) as i64),
            70..=79 => {
                let window = self.random.pick(windows()).minutes() * MINUTE;
                Some(self.clock - window + [-1, 0, 1][self.random.index(3)])
            }
            80..=89 => Some(*self.random.pick(&self.instants)),
            90..=94 => {
                // The last microsecond of a day of the zone's, or the first of the next.
                let day = self.clock.div_euclid(DAY) - self.random.below(5) as i64;
                let offset = [0, 1, -1, -2, -5, 4][self.random.index(6)] * HOUR;
                Some(day * DAY + offset - self.random.below(2) as i64)
            }
            95..=97 => Some(self.clock + self.random.below(DAY as u64) as i64),
            _ => Some(self.clock - 200 * DAY),
        };
        self.instants.push(at.unwrap_or(self.clock).min(self.clock));
        if self.instants.len() > 200 {
            let gone = self.random.index(100);
            self.instants.swap_remove(gone);
        }
        at
    }

    /// A time in the past that no identify or group call had.
    fn own_time(&mut self) -> Option<i64> {
        loop {
            let at = self.clock - self.random.magnitude(20 * DAY as u64) as i64;
            if self.used.insert(at) {
                return Some(at);
            }
        }
    }

    // --- messages -----------------------------------------------------------------------------------

    fn user(&mut self) -> String {
        format!("u{}", self.random.below(PEOPLE))
    }

    fn anonymous(&mut self) -> String {
        format!("a{}", self.random.below(PEOPLE))
    }

    fn event(&mut self) -> Message {
        let mut message = message::event(&mut self.random);
        match self.random.below(10) {
            0..=6 => message.user = Some(self.user()),
            7..=8 => message.anonymous = Some(self.anonymous()),
            _ => {
                message.user = Some(self.user());
                message.anonymous = Some(self.anonymous());
            }
        }
        message.at = self.event_time();
        message
    }

    fn message(&mut self) -> Message {
        let mut message = match self.random.below(100) {
            0..=74 => self.event(),
            75..=86 => Message {
                kind: "identify",
                user: Some(self.user()),
                anonymous: self.random.percent(30).then(|| self.anonymous()),
                traits: Some(message::traits(&mut self.random)),
                at: self.own_time(),
                ..Message::default()
            },
            87..=95 => Message {
                kind: "group",
                user: Some(self.user()),
                group: Some(format!("g{}", self.random.below(3))),
                traits: Some(message::group_traits(&mut self.random)),
                at: self.own_time(),
                ..Message::default()
            },
            _ => Message {
                kind: "alias",
                user: Some(self.user()),
                previous: Some(self.anonymous()),
                at: self.own_time(),
                ..Message::default()
            },
        };
        self.seen.messages += 1;
        if self.random.percent(10) && !self.message_ids.is_empty() {
            message.id = Some(self.random.pick(&self.message_ids).clone());
        } else if self.random.percent(50) {
            let id = format!("m{}", self.random.next());
            self.message_ids.push(id.clone());
            message.id = Some(id);
        }
        message
    }

    fn batch(&mut self) -> Vec<Message> {
        let count = 1 + self.random.below(10);
        let mut batch: Vec<Message> = (0..count).map(|_| self.message()).collect();
        if self.random.percent(20) {
            // The same instant twice.
            let again = self.random.pick(&batch).clone();
            if again.kind == "track" {
                batch.push(Message { id: None, ..again });
            }
        }
        batch
    }

    fn send(&mut self, on_second: bool) {
        self.settled = false;
        match self.random.below(10) {
            0..=5 => {
                let message = self.message();
                let sql = message.call(self.namespace);
                self.act(on_second, message.kind, &sql);
            }
            6..=7 => {
                let batch = self.batch();
                let camel_case = self.random.percent(50);
                let items: Vec<String> = batch.iter().map(|m| m.json(camel_case)).collect();
                let payload = match self.random.below(3) {
                    0 => format!("{}::text", quoted(&items.join("\n"))),
                    1 => format!("{}::jsonb", quoted(&format!("[{}]", items.join(",")))),
                    _ => format!(
                        "{}::jsonb",
                        quoted(&format!("{{\"batch\":[{}]}}", items.join(",")))
                    ),
                };
                let sql = format!("SELECT * FROM cdp.ingest({payload}, '{}')", self.namespace);
                self.act(on_second, "ingest", &sql);
            }
            _ => self.copy(on_second),
        }
    }

    fn copy(&mut self, on_second: bool) {
        let batch = self.batch();
        let namespace = self.namespace;
        let text: String = batch.iter().map(|m| m.copy_row(namespace)).collect();
        let connection = if on_second { "second" } else { "first" };
        self.note(format!(
            "{connection}: COPY cdp.inbox ({})\n{text}",
            Message::COLUMNS
        ));
        let client = if on_second {
            &mut self.second
        } else {
            &mut self.first
        };
        let sql = format!("COPY cdp.inbox ({}) FROM STDIN", Message::COLUMNS);
        let copied = client.copy_in(&sql).and_then(|mut copy| {
            let _ = copy.write_all(text.as_bytes());
            copy.finish()
        });
        match copied {
            Ok(_) => {}
            Err(error)
                if error
                    .code()
                    .is_some_and(|code| matches!(code.code(), "55P03" | "40001")) =>
            {
                *self.seen.waited.entry("copy").or_default() += 1;
                self.note("        … would wait".to_string());
                if on_second {
                    self.end_second(false);
                }
            }
            Err(error) => {
                let text = describe(&error);
                self.fail(&text);
            }
        }
    }

    // --- definitions --------------------------------------------------------------------------------

    fn define(&mut self) {
        let position = self.random.index(self.keys.len());
        let key = self.keys[position].clone();
        let is_segment = key.starts_with('s');
        let below = self.keys[..position].to_vec();
        let node = loop {
            let mut corpus = Corpus {
                random: &mut self.random,
                definitions: &self.definitions,
                keys: &below,
            };
            let node = if is_segment {
                corpus.rule()
            } else {
                corpus.any()
            };
            if node.sql(&self.definitions).len() < LONGEST_ORACLE {
                break node;
            }
        };
        let text = quoted(&node.text(&self.definitions));
        let what = if is_segment { "segment" } else { "trait" };
        let sql = format!(
            "SELECT cdp.define_{what}('{key}', {text}, namespace => '{}')",
            self.namespace
        );
        if self.act(false, "define", &sql) {
            self.definitions
                .insert(key, Definition { is_segment, node });
            self.settled = false;
            let too_long = self
                .definitions
                .values()
                .any(|found| found.node.sql(&self.definitions).len() > 3 * LONGEST_ORACLE);
            if too_long {
                self.drop_all();
            }
        }
    }

    /// References can make definitions grow without end.
    fn drop_all(&mut self) {
        for key in self.keys.clone().into_iter().rev() {
            if self.definitions.contains_key(&key) {
                self.drop_definition(&key);
            }
        }
    }

    fn drop_one(&mut self) {
        let keys: Vec<String> = self.definitions.keys().cloned().collect();
        if keys.len() > 4 {
            let key = self.random.pick(&keys).clone();
            self.drop_definition(&key);
        }
    }

    fn drop_definition(&mut self, key: &str) {
        let used = self
            .definitions
            .values()
            .any(|found| found.node.references().contains(&key));
        let what = if key.starts_with('s') {
            "segment"
        } else {
            "trait"
        };
        let sql = format!("SELECT cdp.drop_{what}('{key}', '{}')", self.namespace);
        if !used {
            if self.act(false, "drop", &sql) {
                self.definitions.remove(key);
                self.settled = false;
            }
            return;
        }
        self.note(format!("first: {sql} -- in use"));
        match self.first.simple_query(&sql) {
            Ok(_) => self.fail("a definition was dropped that others use"),
            Err(error) if error.to_string().contains("closed") => {
                self.fail("the connection is gone")
            }
            Err(_) => {}
        }
    }

    // --- two connections ----------------------------------------------------------------------------

    fn begin_second(&mut self) {
        let level = match self.random.below(10) {
            0 => "REPEATABLE READ",
            _ => "READ COMMITTED",
        };
        let begin = format!("BEGIN ISOLATION LEVEL {level}");
        self.note(format!("second: {begin}"));
        self.run(true, &begin);
        self.second_is_open = true;
        if self.random.percent(50) {
            self.send(true);
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

    /// In a transaction with one snapshot what others did meanwhile is a reason to fail, and to try again.
    fn send_on_second(&mut self) {
        if self.second_is_open {
            self.send(true);
        } else {
            self.begin_second();
        }
    }

    // --- steps --------------------------------------------------------------------------------------

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

    fn rebuild(&mut self, user: Option<String>) {
        let id = match user {
            Some(user) => {
                let known = format!("SELECT cdp.resolve('{user}', NULL, '{}')", self.namespace);
                match self
                    .must(&known)
                    .first()
                    .and_then(|row| row.first().cloned().flatten())
                {
                    Some(id) => quoted(&id),
                    None => return,
                }
            }
            None => "NULL".to_string(),
        };
        let before = self.stored_state(&id);
        let sql = format!("SELECT cdp.rebuild({id}, '{}')", self.namespace);
        if self.act(false, "rebuild", &sql) && self.settled && !self.second_is_open {
            let after = self.stored_state(&id);
            if let Some((before, after)) = before
                .iter()
                .zip(&after)
                .find(|(before, after)| before != after)
            {
                let text =
                    format!("rebuilding changed values\nbefore: {before:?}\nafter:  {after:?}");
                self.fail(&text);
            }
        }
    }

    /// What people are. Values that tick with time have no time of their last change.
    fn stored_state(&mut self, id: &str) -> Vec<Vec<Option<String>>> {
        let ticking: Vec<String> = self
            .definitions
            .iter()
            .filter(|(_, definition)| definition.node.ticks(&self.definitions))
            .map(|(key, _)| quoted(key))
            .collect();
        let sql = format!(
            "SELECT p.profile_id, p.first_seen, p.last_seen, p.event_count, \
                 (SELECT array_agg((t.key, t.value, CASE WHEN t.key <> ALL (ARRAY[{}]::text[]) THEN t.updated_at END)) \
                  FROM _cdp.traits_of(p.profile_id, '{}') AS t), \
                 (SELECT array_agg((m.segment_id, m.since) ORDER BY m.segment_id) FROM _cdp.segment_members AS m WHERE m.profile_id = p.profile_id) \
             FROM _cdp.profiles AS p WHERE p.merged_into IS NULL AND ({id}::text IS NULL OR p.profile_id::text = {id}) ORDER BY 1",
            ticking.join(", "),
            self.namespace
        );
        self.must(&sql)
    }

    fn unmerge(&mut self) {
        if !self.has_unmerge {
            return;
        }
        let identifiers = self.must(&format!(
            "SELECT i.profile_id, i.value, i.kind FROM cdp.identifiers AS i \
             JOIN _cdp.profile_merges AS m ON m.survivor_id = i.profile_id WHERE i.namespace = '{}' ORDER BY 1, 2",
            self.namespace
        ));
        if identifiers.is_empty() {
            return;
        }
        let chosen = self.random.pick(&identifiers).clone();
        let [Some(profile), Some(value), Some(kind)] = chosen.as_slice() else {
            return;
        };
        let sql = format!(
            "SELECT cdp.unmerge('{profile}', '{value}', '{kind}', '{}')",
            self.namespace
        );
        self.settled = false;
        self.note(format!("first: {sql}"));
        // Not every identifier came by a merge.
        match self.first.simple_query(&sql) {
            Ok(_) => {}
            Err(error) => self.note(format!("        … {}", describe(&error))),
        }
    }

    // --- comparisons --------------------------------------------------------------------------------

    /// What all definitions give for all people, by the oracle: rows (profile_id, key, is_segment, value).
    fn expected(&self) -> String {
        let values: Vec<String> = self
            .definitions
            .iter()
            .map(|(key, definition)| {
                let value = if definition.is_segment {
                    format!("to_jsonb({})", definition.node.holds(&self.definitions))
                } else {
                    definition.node.sql(&self.definitions)
                };
                format!("('{key}', {}, {value})", definition.is_segment)
            })
            .collect();
        format!(
            "{} SELECT p.profile_id, d.key, d.is_segment, d.value \
             FROM people AS p CROSS JOIN LATERAL (VALUES {}) AS d (key, is_segment, value)",
            known(),
            values.join(", ")
        )
    }

    fn execute(&mut self, sql: &str, at: i64) -> Vec<Vec<Option<String>>> {
        self.must("DEALLOCATE ALL");
        self.must(&format!(
            "PREPARE question (timestamptz, text, text) AS {sql}"
        ));
        let (timezone, namespace) = (self.timezone, self.namespace);
        self.must(&format!(
            "EXECUTE question ('{}', '{timezone}', '{namespace}')",
            iso(at)
        ))
    }

    /// Compares every trait and segment of everybody, as `cdp.user_traits` and `cdp.user_segments` tell them now.
    fn compare(&mut self) {
        if self.definitions.is_empty() {
            return;
        }
        self.seen.comparisons += 1;
        let sql = format!(
            "WITH expected AS MATERIALIZED ({}), actual AS MATERIALIZED ( \
                 SELECT profile_id, key, false AS is_segment, value FROM cdp.user_traits WHERE namespace = $3 UNION ALL \
                 SELECT profile_id, key, true, 'true'::jsonb FROM cdp.user_segments WHERE namespace = $3) \
             SELECT coalesce(e.profile_id, a.profile_id), coalesce(e.key, a.key), e.value, a.value \
             FROM (SELECT * FROM expected WHERE CASE WHEN is_segment THEN value = 'true' ELSE value IS NOT NULL END) AS e \
             FULL JOIN actual AS a ON a.profile_id = e.profile_id AND a.key = e.key AND a.is_segment = e.is_segment \
             WHERE e.value IS DISTINCT FROM a.value ORDER BY 2, 1",
            self.expected()
        );
        let wrong = self.execute(&sql, self.clock);
        self.must_be_none(wrong, "values");
        if self.random.percent(8) {
            let sql = format!(
                "SELECT profile_id, key, value, CASE WHEN is_segment THEN to_jsonb(cdp.in_segment(profile_id::text, key, $3)) \
                     ELSE cdp.trait(profile_id::text, key, $3) END \
                 FROM ({}) AS e WHERE value IS DISTINCT FROM CASE WHEN is_segment THEN to_jsonb(cdp.in_segment(profile_id::text, key, $3)) \
                     ELSE cdp.trait(profile_id::text, key, $3) END",
                self.expected()
            );
            let wrong = self.execute(&sql, self.clock);
            self.must_be_none(wrong, "single values");
        }
        if self.random.percent(12) {
            let sql = format!(
                "WITH expected AS MATERIALIZED ({}), \
                 asked AS MATERIALIZED (SELECT DISTINCT key, is_segment FROM expected), \
                 compiled AS MATERIALIZED (SELECT a.key, a.is_segment, v.profile_id, v.value FROM asked AS a CROSS JOIN LATERAL _cdp.compiled_values( \
                     format('%s(\"%s\")', CASE WHEN a.is_segment THEN 'segment' ELSE 'trait' END, a.key), $3) AS v) \
                 SELECT c.profile_id, c.key, e.value, c.value FROM expected AS e \
                 JOIN compiled AS c ON c.profile_id = e.profile_id AND c.key = e.key AND c.is_segment = e.is_segment \
                 WHERE e.value IS DISTINCT FROM c.value ORDER BY 2, 1",
                self.expected()
            );
            let wrong = self.execute(&sql, self.clock);
            self.must_be_none(wrong, "compiled values");
        }
    }

    #[track_caller]
    fn must_be_none(&mut self, wrong: Vec<Vec<Option<String>>>, what: &str) {
        if wrong.is_empty() {
            return;
        }
        let mut text = format!(
            "{what} at {}: profile, key, oracle, engine\n",
            iso(self.clock)
        );
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".into());
        for row in wrong.iter().take(10) {
            let cells: Vec<String> = row.iter().map(show).collect();
            let _ = writeln!(text, "  {}", cells.join(" | "));
        }
        if let Some(Some(profile)) = wrong.first().and_then(|row| row.first().cloned()) {
            let details = self.must(&format!(
                "SELECT 'profile', to_jsonb(p) - 'state' - 'computed' FROM _cdp.profiles AS p WHERE {profile} IN (profile_id, merged_into) UNION ALL \
                 SELECT 'pending', to_jsonb(f) FROM _cdp.pending_folds AS f WHERE profile_id = {profile} UNION ALL \
                 SELECT 'timer', to_jsonb(t) FROM _cdp.timers AS t WHERE profile_id = {profile} UNION ALL \
                 SELECT 'sweep', to_jsonb(s) FROM _cdp.sweeps AS s UNION ALL \
                 SELECT 'history', to_jsonb(h) FROM (SELECT * FROM _cdp.history WHERE profile_id = {profile} AND what <> 'profile' ORDER BY history_id DESC LIMIT 8) AS h UNION ALL \
                 SELECT 'event', to_jsonb(e) - 'namespace' - 'profile_id' FROM (SELECT * FROM oracle.events WHERE profile_id = {profile} ORDER BY at) AS e"
            ));
            for row in details {
                let _ = writeln!(text, "  {} {}", show(&row[0]), show(&row[1]));
            }
        }
        self.fail(&text);
    }

    /// Compares what is stored of segments, without any reading that folds time in.
    fn compare_stored(&mut self) {
        let left = self.must(&format!(
            "SELECT 'timer', profile_id::text, due::text FROM _cdp.timers WHERE due <= '{}' UNION ALL \
             SELECT 'pending', profile_id::text, '' FROM _cdp.pending_folds",
            iso(self.clock)
        ));
        if !left.is_empty() {
            self.fail(&format!("something due was left: {left:?}"));
        }
        if self.definitions.is_empty() {
            return;
        }
        let sql = format!(
            "WITH expected AS MATERIALIZED ({}), actual AS MATERIALIZED ( \
                 SELECT m.profile_id, s.key FROM _cdp.segment_members AS m JOIN _cdp.segments AS s USING (segment_id)) \
             SELECT coalesce(e.profile_id, a.profile_id), coalesce(e.key, a.key), (e.key IS NOT NULL)::text, (a.key IS NOT NULL)::text \
             FROM (SELECT * FROM expected WHERE is_segment AND value = 'true') AS e FULL JOIN actual AS a ON a.profile_id = e.profile_id AND a.key = e.key \
             WHERE e.key IS NULL OR a.key IS NULL ORDER BY 2, 1",
            self.expected()
        );
        let wrong = self.execute(&sql, self.clock);
        self.must_be_none(wrong, "stored memberships");
        self.compare_history();
    }

    /// Entering and leaving alternate, and the last of them agrees with the membership.
    fn compare_history(&mut self) {
        // With a clock that is behind, somebody may be seen to leave before having entered.
        let forward = if self.is_skewed {
            "false"
        } else {
            "c.at < c.at_before"
        };
        let wrong = self.must(&format!(
            "WITH changes AS ( \
                 SELECT h.profile_id, h.key, h.at, h.new = 'true' AS entered, \
                     lag(h.new = 'true') OVER w AS before, lag(h.at) OVER w AS at_before, lead(h.at) OVER w IS NULL AS is_last \
                 FROM _cdp.history AS h WHERE h.what = 'segment' \
                 WINDOW w AS (PARTITION BY h.profile_id, h.key ORDER BY h.history_id) \
             ), whole AS (SELECT p.profile_id FROM _cdp.profiles AS p WHERE p.merged_into IS NULL AND p.absorbed IS NULL) \
             SELECT c.profile_id, c.key, c.at::text, concat_ws(' ', 'entered', c.entered, 'after', c.before, m.since) \
             FROM changes AS c JOIN whole USING (profile_id) \
             JOIN _cdp.segments AS s ON s.key = c.key \
             LEFT JOIN _cdp.segment_members AS m ON m.profile_id = c.profile_id AND m.segment_id = s.segment_id \
             WHERE c.entered = coalesce(c.before, false) OR {forward} \
                OR (c.is_last AND (c.entered <> (m.since IS NOT NULL) OR (c.entered AND m.since <> c.at)))",
        ));
        self.must_be_none(wrong, "history");
    }

    /// Time passes while nothing happens: every change is noted at the instant at which the oracle sees it, and
    /// none is missed.
    fn travel(&mut self) {
        self.settle();
        let before = self.clock;
        let mut members = self.members();
        let last = self.number("SELECT max(history_id) FROM _cdp.history");
        self.clock = self.later();
        self.set_clock();
        if self.random.percent(50) {
            self.compare();
        }
        self.settle();
        if self.definitions.is_empty() {
            return;
        }
        let changes = self.must(&format!(
            "SELECT (extract(epoch FROM at) * 1000000)::bigint, profile_id, key, new FROM _cdp.history \
             WHERE what = 'segment' AND history_id > {last} ORDER BY at, history_id"
        ));
        self.seen.changes += changes.len();
        let changes: Vec<(i64, String, String, bool)> = changes
            .into_iter()
            .map(|row| {
                let mut cells = row.into_iter().map(Option::unwrap_or_default);
                let mut next = || cells.next().unwrap_or_default();
                (
                    next().parse().unwrap_or(0),
                    next(),
                    next(),
                    next() == "true",
                )
            })
            .collect();
        let mut instants: BTreeSet<i64> = BTreeSet::new();
        for _ in 0..2 {
            instants.insert(before + self.random.below((self.clock - before) as u64) as i64);
        }
        if !changes.is_empty() {
            let at = self.random.pick(&changes).0;
            instants.extend([at - 1, at]);
        }
        let sql = format!(
            "SELECT profile_id, key FROM ({}) AS e WHERE is_segment AND value = 'true'",
            self.expected()
        );
        let mut changes = changes.into_iter().peekable();
        for at in instants.into_iter().filter(|at| *at >= before) {
            while let Some((_, profile, key, entered)) = changes.next_if(|change| change.0 <= at) {
                let member = (profile, key);
                if entered {
                    members.insert(member);
                } else {
                    members.remove(&member);
                }
            }
            let expected: BTreeSet<(String, String)> = self
                .execute(&sql, at)
                .into_iter()
                .map(|row| {
                    (
                        row[0].clone().unwrap_or_default(),
                        row[1].clone().unwrap_or_default(),
                    )
                })
                .collect();
            if expected != members {
                let missing: Vec<_> = expected.difference(&members).collect();
                let surplus: Vec<_> = members.difference(&expected).collect();
                let text = format!(
                    "between {} and {} the history is not what happened: at {} (profile, segment) should be members: {missing:?}, should not: {surplus:?}",
                    iso(before), iso(self.clock), iso(at)
                );
                self.fail(&text);
            }
        }
    }

    fn members(&mut self) -> BTreeSet<(String, String)> {
        self.must("SELECT m.profile_id, s.key FROM _cdp.segment_members AS m JOIN _cdp.segments AS s USING (segment_id)")
            .into_iter()
            .map(|row| (row[0].clone().unwrap_or_default(), row[1].clone().unwrap_or_default()))
            .collect()
    }

    /// Asks for an expression that nobody defined.
    fn ask(&mut self) {
        let keys = self.keys.clone();
        let mut corpus = Corpus {
            random: &mut self.random,
            definitions: &self.definitions,
            keys: &keys,
        };
        let (value, rule) = (corpus.any(), corpus.rule());
        let text = quoted(&value.text(&self.definitions));
        let sql = format!(
            "{} SELECT p.profile_id, {text}, v.expected, v.actual FROM people AS p, \
             LATERAL (SELECT {} AS expected, cdp.evaluate(p.profile_id::text, {text}, $3) AS actual) AS v \
             WHERE v.expected IS DISTINCT FROM v.actual",
            known(),
            value.sql(&self.definitions)
        );
        let wrong = self.execute(&sql, self.clock);
        self.must_be_none(wrong, "evaluate");
        let text = quoted(&rule.text(&self.definitions));
        let sql = format!(
            "{} SELECT min(p.profile_id), {text}, count(*) FILTER (WHERE {})::text, (cdp.preview({text}, $3)).members::text FROM people AS p",
            known(),
            rule.holds(&self.definitions)
        );
        let rows = self.execute(&sql, self.clock);
        if rows.iter().any(|row| row[0].is_some() && row[2] != row[3]) {
            self.must_be_none(rows, "preview");
        }
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

/// What the oracle knows of the namespace `$3`.
fn known() -> String {
    "WITH events AS MATERIALIZED (SELECT profile_id, event, at, properties FROM oracle.events WHERE namespace = $3), \
     profiles AS MATERIALIZED (SELECT profile_id, path, value FROM oracle.profiles WHERE namespace = $3), \
     groups AS MATERIALIZED (SELECT profile_id, path, value FROM oracle.groups WHERE namespace = $3), \
     people AS MATERIALIZED (SELECT profile_id FROM cdp.people WHERE namespace = $3)"
        .to_string()
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
