//! Runs the published vectors (`pg_test/identity/*.json`): messages of the spec, and the persons
//! that they have to end up with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use cdp_identity::{
    BlockedPattern, BlockedValues, KindId, KindRule, MessageIdentifier, MessageIdentifiers, Rules,
};
use cdp_message::{
    identifiers, parse_payload, parse_timestamp, ExtractionRules, KeyRule, Limits, Message,
};
use common::Database;
use serde::Deserialize;
use serde_json::{json, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const DAY: i64 = 86_400_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    rule: String,
    #[serde(default)]
    settings: Settings,
    messages: Vec<Value>,
    persons: Vec<Person>,
    #[serde(default)]
    refused: Vec<Refused>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    kinds: Vec<Kind>,
    #[serde(default)]
    keys: Vec<Key>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    kind: String,
    priority: Option<u32>,
    limit: Option<u32>,
    window_days: Option<i64>,
    /// Replaces the standard list; `/…/` is a regular expression.
    blocked: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    kind: String,
    r#trait: Option<String>,
    property: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    identifiers: BTreeMap<String, BTreeSet<String>>,
    messages: BTreeSet<usize>,
    /// The message whose person at its time has to be the one that survives.
    survivor_of: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    message: usize,
    code: String,
}

/// One step of a vector: a message, or the taking away of an identifier.
enum Step {
    Message(Box<Message>),
    Unmerge {
        kind: String,
        value: String,
    },
    /// A message that was refused before identity was asked.
    Refused(&'static str),
}

fn step(value: &Value, received_at: i64) -> Step {
    if let Some(unmerge) = value.get("unmerge") {
        return Step::Unmerge {
            kind: unmerge["kind"].as_str().unwrap().to_owned(),
            value: unmerge["value"].as_str().unwrap().to_owned(),
        };
    }
    let text = value.to_string();
    let mut items = parse_payload(&text, received_at, &Limits::default(), false).unwrap();
    assert_eq!(items.len(), 1);
    match items.remove(0) {
        Ok(message) => Step::Message(Box::new(message)),
        Err(bad) => Step::Refused(bad.error.code.sqlstate()),
    }
}

/// Numbers for the kinds that a vector mentions.
#[derive(Default)]
struct Kinds(Vec<String>);

impl Kinds {
    fn id(&mut self, name: &str) -> KindId {
        let position = self.0.iter().position(|known| known == name);
        let position = position.unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        });
        KindId::try_from(position).unwrap()
    }

    fn name(&self, id: KindId) -> String {
        self.0[usize::try_from(id).unwrap()].clone()
    }
}

fn extraction(settings: &Settings) -> ExtractionRules {
    let mut rules = ExtractionRules::default();
    rules.keys.extend(settings.keys.iter().map(|key| KeyRule {
        kind: Cow::Owned(key.kind.clone()),
        trait_path: key.r#trait.clone(),
        property_path: key.property.clone(),
    }));
    rules
}

fn rules(settings: &Settings, kinds: &Kinds) -> Rules {
    Rules::new(kinds.0.iter().zip(0..).map(|(name, id)| {
        let mut rule = KindRule::standard(id, name);
        if let Some(setting) = settings.kinds.iter().find(|setting| setting.kind == *name) {
            rule.priority = setting.priority.or(rule.priority);
            rule.limit = setting.limit.unwrap_or(rule.limit);
            rule.limit_window = setting.window_days.map(|days| days * DAY);
            if let Some(blocked) = &setting.blocked {
                let patterns: Vec<_> = blocked.iter().map(|text| pattern(text)).collect();
                rule.blocked = BlockedValues::new(&patterns).unwrap();
            }
        }
        rule
    }))
}

fn pattern(text: &str) -> BlockedPattern {
    match text
        .strip_prefix('/')
        .and_then(|rest| rest.strip_suffix('/'))
    {
        Some(regex) => BlockedPattern::Regex(regex.to_owned()),
        None => BlockedPattern::Exact(text.to_owned()),
    }
}

/// What came out: per person the identifiers and the messages, hashes of the person's own emails
/// left out.
type Outcome = BTreeSet<(BTreeSet<(String, String)>, BTreeSet<usize>)>;

struct Run {
    database: Database,
    kinds: Kinds,
    refused: BTreeMap<usize, String>,
    /// Position in the vector of each message that reached identity resolution.
    positions: Vec<usize>,
}

/// Runs a vector, giving at most `batch` messages at a time.
fn run(vector: &Vector, batch: usize) -> Run {
    let received_at = parse_timestamp("2026-11-20T08:00:00Z").unwrap();
    let extraction = extraction(&vector.settings);
    let mut kinds = Kinds::default();
    let mut steps = Vec::new();
    for (position, value) in vector.messages.iter().enumerate() {
        let step = step(value, received_at + i64::try_from(position).unwrap());
        let mut list = Vec::new();
        if let Step::Message(message) = &step {
            for identifier in identifiers(message, &extraction) {
                list.push(MessageIdentifier {
                    kind: kinds.id(&identifier.kind),
                    value: identifier.value,
                    previous: identifier.previous,
                });
            }
        }
        steps.push((position, step, list));
    }
    let rules = rules(&vector.settings, &kinds);
    let mut run = Run {
        database: Database::default(),
        kinds,
        refused: BTreeMap::new(),
        positions: Vec::new(),
    };
    let mut waiting: Vec<(usize, MessageIdentifiers)> = Vec::new();
    for (position, step, identifiers) in steps {
        match step {
            Step::Message(message) => {
                let at = message.timestamp;
                waiting.push((position, MessageIdentifiers { at, identifiers }));
                if waiting.len() >= batch {
                    flush(&mut run, &rules, &mut waiting);
                }
            }
            Step::Unmerge { kind, value } => {
                flush(&mut run, &rules, &mut waiting);
                let kind = run.kinds.id(&kind);
                run.database.split_off(kind, &value);
            }
            Step::Refused(code) => {
                run.refused.insert(position, code.to_owned());
            }
        }
    }
    flush(&mut run, &rules, &mut waiting);
    run
}

fn flush(run: &mut Run, rules: &Rules, waiting: &mut Vec<(usize, MessageIdentifiers)>) {
    let (positions, messages): (Vec<usize>, Vec<_>) = waiting.drain(..).unzip();
    let plan = run.database.apply(rules, &messages);
    for (message, error) in &plan.errors {
        let code = error.sqlstate().to_owned();
        run.refused.insert(positions[*message], code);
    }
    run.positions.extend(positions);
}

fn outcome(run: &Run) -> Outcome {
    let mut messages: BTreeMap<i64, BTreeSet<usize>> = BTreeMap::new();
    for (position, profile) in run.positions.iter().zip(&run.database.messages) {
        if let Some(profile) = profile {
            let person = run.database.canonical(*profile);
            messages.entry(person).or_default().insert(*position);
        }
    }
    let mut outcome = Outcome::new();
    for (person, identifiers) in run.database.persons() {
        let mut named: BTreeSet<(String, String)> = identifiers
            .into_iter()
            .map(|(kind, value)| (run.kinds.name(kind), value))
            .collect();
        let emails: Vec<String> = named
            .iter()
            .filter(|(kind, _)| kind == "email")
            .map(|(_, value)| value.clone())
            .collect();
        for email in emails {
            named.remove(&("email_hash".to_owned(), hash_of(&email)));
        }
        outcome.insert((named, messages.remove(&person).unwrap_or_default()));
    }
    assert!(
        messages.is_empty(),
        "messages of persons without identifiers"
    );
    outcome
}

fn hash_of(email: &str) -> String {
    let text = json!({"type": "identify", "userId": "u", "traits": {"email": email}}).to_string();
    let items = parse_payload(&text, 0, &Limits::default(), false).unwrap();
    let found = identifiers(items[0].as_ref().unwrap(), &ExtractionRules::default());
    let hash = found.into_iter().find(|i| i.kind == "email_hash");
    hash.unwrap().value
}

fn check(vector: &Vector, file: &str) {
    let unmerges = vector
        .messages
        .iter()
        .any(|message| message.get("unmerge").is_some());
    let expected: Outcome = vector
        .persons
        .iter()
        .map(|person| {
            let identifiers = person.identifiers.iter().flat_map(|(kind, values)| {
                values.iter().map(|value| (kind.clone(), value.clone()))
            });
            (identifiers.collect(), person.messages.clone())
        })
        .collect();
    let refused: BTreeMap<usize, String> = vector
        .refused
        .iter()
        .map(|refused| (refused.message, refused.code.clone()))
        .collect();
    for batch in [1, 2, 3, usize::MAX] {
        let label = format!("{file}: {} (batches of {batch})", vector.name);
        let run = run(vector, batch);
        assert_eq!(run.refused, refused, "{label}");
        let mut outcome = outcome(&run);
        if unmerges {
            // Only the messages after the last unmerge are compared: what an unmerge does to the
            // ones before is not this crate's.
            let last = vector
                .messages
                .iter()
                .rposition(|m| m.get("unmerge").is_some());
            outcome = outcome
                .into_iter()
                .map(|(identifiers, messages)| {
                    let later = messages.into_iter().filter(|m| Some(*m) > last);
                    (identifiers, later.collect())
                })
                .collect();
        }
        assert_eq!(outcome, expected, "{label}");
        for survivor in vector
            .persons
            .iter()
            .filter_map(|person| person.survivor_of)
        {
            let at = run
                .positions
                .iter()
                .position(|position| *position == survivor);
            let profile = run.database.messages[at.unwrap()].unwrap();
            assert_eq!(run.database.canonical(profile), profile, "{label}");
        }
    }
}

#[test]
fn published_vectors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pg_test/identity");
    let mut count = 0;
    let mut names = BTreeSet::new();
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    for path in files {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let vectors: Vec<Vector> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        for vector in &vectors {
            assert!(!vector.rule.is_empty(), "{file}: {}", vector.name);
            assert!(names.insert(vector.name.clone()), "{}", vector.name);
            check(vector, &file);
            count += 1;
        }
    }
    assert!(count >= 60, "{count} vectors");
}
