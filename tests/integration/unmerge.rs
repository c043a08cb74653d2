//! Mistakes in identity can be undone: after `cdp.unmerge`, people are what they would be had they never been
//! taken for one.

use std::collections::BTreeSet;
use std::env;
use std::ops::Range;

use cdp_tests::cluster::describe;
use cdp_tests::Cluster;
use postgres::Client;
use serde_json::{json, Value};

use crate::people::{same, Random};

/// Kinds in the order of trust.
const KINDS: [&str; 4] = ["email", "anonymous_id", "device_id", "phone"];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Identifier {
    kind: usize,
    person: usize,
    number: usize,
}

impl Identifier {
    fn value(self) -> String {
        let Identifier {
            kind,
            person,
            number,
        } = self;
        match KINDS[kind] {
            "email" => format!("p{person}n{number}@example.com"),
            "phone" => format!("+1555{person:03}{number:03}"),
            kind => format!("{kind}-{person}-{number}"),
        }
    }
}

/// A message of the wrong world, in which people meet, and of the right one, in which only the most trusted
/// identifier of a meeting counts.
struct Step {
    message: Value,
    identifiers: Vec<Identifier>,
}

impl Step {
    fn with(&self, identifiers: &[Identifier], number: usize) -> String {
        let mut message = self.message.clone();
        message["messageId"] = json!(format!("m{number}"));
        let ids: Vec<Value> = identifiers
            .iter()
            .map(|i| json!({"type": KINDS[i.kind], "id": i.value()}))
            .collect();
        message["context"] = json!({ "externalIds": ids });
        message.to_string()
    }

    fn is_meeting(&self) -> bool {
        self.identifiers
            .iter()
            .any(|i| i.person != self.identifiers[0].person)
    }

    fn most_trusted(&self) -> Identifier {
        *self.identifiers.iter().min_by_key(|i| i.kind).unwrap()
    }
}

fn script(people: usize, random: &mut Random) -> Vec<Step> {
    let mut known: Vec<Vec<Identifier>> = (0..people)
        .map(|person| {
            vec![Identifier {
                kind: random.below(KINDS.len()),
                person,
                number: 0,
            }]
        })
        .collect();
    let mut steps = Vec::new();
    for round in 0..30 + people * 12 {
        let person = random.below(people);
        let mut identifiers = vec![known[person][random.below(known[person].len())]];
        match random.below(6) {
            // The person is seen with something new.
            0 if known[person].len() < 6 => {
                let new = Identifier {
                    kind: random.below(KINDS.len()),
                    person,
                    number: known[person].len(),
                };
                known[person].push(new);
                identifiers.push(new);
            }
            // Two people share something, once both have been seen.
            1 if round > people * 6 => {
                let other = (person + 1 + random.below(people - 1)) % people;
                identifiers.push(known[other][random.below(known[other].len())]);
            }
            _ => {}
        }
        let at = format!("2026-10-{:02}T12:00:{:02}Z", 1 + round % 28, round % 60);
        let message = match random.below(8) {
            0 | 1 => json!({"type": "identify", "traits": {
                format!("trait{}", random.below(4)): if random.below(5) == 0 { Value::Null } else { json!(round) },
                "nested": {format!("n{}", random.below(3)): round}}}),
            2 => json!({"type": "group", "groupId": format!("group-{}", random.below(4)),
                "traits": {"size": round}}),
            3 => json!({"type": "page", "name": "Home"}),
            _ => {
                json!({"type": "track", "event": if random.below(2) == 0 { "Order" } else { "Visit" },
                "properties": {"total": random.below(50)}})
            }
        };
        let mut message = message;
        message["timestamp"] = json!(at);
        steps.push(Step {
            message,
            identifiers,
        });
    }
    // Everybody is one person before the first meeting.
    let mut first: Vec<Step> = (0..people)
        .map(|person| Step {
            message: json!({"type": "track", "event": "Visit", "timestamp": "2026-09-01T00:00:00Z"}),
            identifiers: vec![Identifier {
                number: 0,
                ..known[person][0]
            }],
        })
        .collect();
    first.append(&mut steps);
    first
}

fn send(client: &mut Client, namespace: &str, message: &str) {
    if let Err(error) = client.execute(
        "SELECT status FROM cdp.ingest($1::text, $2)",
        &[&message, &namespace],
    ) {
        panic!("{}\nin: {message}", describe(&error));
    }
}

/// All that can be said of everybody, without the ids of profiles.
fn everybody(client: &mut Client, namespace: &str) -> Vec<String> {
    let rows = client
        .query(
            "SELECT (SELECT jsonb_object_agg(k.key, (SELECT jsonb_agg(v ORDER BY v) FROM jsonb_array_elements(k.value) AS v)) \
                     FROM jsonb_each(p.identifiers) AS k)::text, \
                 p.traits::text, p.computed::text, p.segments::text, p.groups::text, \
                 p.event_count::text, p.first_seen::text, p.last_seen::text, \
                 (SELECT array_agg(e.message_id ORDER BY e.message_id) FROM cdp.events AS e WHERE e.profile_id = p.profile_id)::text, \
                 (SELECT updated FROM _cdp.profile_traits AS t WHERE t.profile_id = p.profile_id)::text, \
                 (SELECT array_agg((g.group_id, g.joined_at) ORDER BY g.group_id) FROM _cdp.group_members AS g WHERE g.profile_id = p.profile_id)::text \
             FROM cdp.people AS q, cdp.profile(q.profile_id::text, $1) AS p WHERE q.namespace = $1",
            &[&namespace],
        )
        .unwrap_or_else(|error| panic!("{}", describe(&error)));
    let mut people: Vec<String> = rows
        .iter()
        .map(|row| {
            let texts: Vec<String> = (0..row.len())
                .map(|i| row.get::<_, Option<String>>(i).unwrap_or_default())
                .collect();
            // A person without traits may have an empty row of them, or none.
            texts.join(" | ").replace("| {} |", "|  |")
        })
        .collect();
    people.sort();
    people
}

fn define(client: &mut Client, namespace: &str) {
    let kinds: Vec<Value> = KINDS
        .iter()
        .chain(&["email_hash"])
        .map(|kind| json!({"kind": kind, "limit": 100}))
        .collect();
    let settings = json!({"identity": {"kinds": kinds}});
    client
        .execute(
            "SELECT cdp.define_namespace($1, settings => $2)",
            &[&namespace, &settings],
        )
        .unwrap();
    client
        .batch_execute(&format!(
            "SET cdp.namespace = '{namespace}'; \
             SELECT cdp.define_trait('orders', 'events.Order.count'), cdp.define_trait('spent', 'events.Order.sum(total)'), \
                 cdp.define_trait('days', 'events.Visit.unique_days'), cdp.define_trait('pages', 'events.\"Page Viewed\".count'), \
                 cdp.define_trait('nested', 'profile.nested.n1'), cdp.define_trait('size', 'group.size'), \
                 cdp.define_segment('buyers', 'orders >= 3'), cdp.define_segment('big', 'group.size > 20'); \
             RESET cdp.namespace"
        ))
        .unwrap_or_else(|error| panic!("{}", describe(&error)));
}

/// `CDP_UNMERGE_SEEDS=200..400` runs others than the usual ones.
fn seeds() -> Range<u64> {
    let Ok(chosen) = env::var("CDP_UNMERGE_SEEDS") else {
        return 60..150;
    };
    let ends = chosen
        .split_once("..")
        .and_then(|(first, end)| Some(first.parse().ok()?..end.parse().ok()?));
    ends.unwrap_or_else(|| panic!("CDP_UNMERGE_SEEDS is \"{chosen}\", not like 200..400"))
}

#[test]
fn people_taken_apart_are_what_they_would_have_been() {
    let cluster = Cluster::plain("unmerge");
    cluster.execute("postgres", "CREATE EXTENSION cdp");
    let mut client = cluster.client("postgres");
    client
        .batch_execute("SET client_min_messages = error")
        .unwrap();
    let seeds = seeds();
    let enough = seeds.end.saturating_sub(seeds.start) / 5;
    let mut merges = 0;
    for seed in seeds {
        let mut random = Random::new(0x9e37_79b9_7f4a_7c15 ^ (seed << 20));
        let people = 2 + (seed as usize) % 4;
        let (wrong, right) = (format!("wrong{seed}"), format!("right{seed}"));
        define(&mut client, &wrong);
        define(&mut client, &right);
        let steps = script(people, &mut random);
        for (number, step) in steps.iter().enumerate() {
            send(&mut client, &wrong, &step.with(&step.identifiers, number));
            let counted = if step.is_meeting() {
                vec![step.most_trusted()]
            } else {
                step.identifiers.clone()
            };
            send(&mut client, &right, &step.with(&counted, number));
        }
        let expected = everybody(&mut client, &right);
        assert_eq!(expected.len(), people, "seed {seed}");
        let id = format!("SELECT namespace_id FROM _cdp.namespaces WHERE name = '{wrong}'");
        merges += cluster.number(
            "postgres",
            &format!("SELECT count(*) FROM _cdp.profile_merges WHERE namespace_id = ({id})"),
        );

        // The ids by which absorbed profiles were known still lead to the person.
        let unresolved = format!(
            "SELECT count(*) FROM _cdp.profile_merges AS m WHERE m.namespace_id = ({id}) \
                 AND cdp.resolve(m.absorbed_id::text, namespace => '{wrong}') IS NOT DISTINCT FROM m.absorbed_id"
        );
        assert_eq!(cluster.number("postgres", &unresolved), 0);

        // Everybody is taken off everybody else, in any order.
        let mut split: BTreeSet<(usize, usize)> = BTreeSet::new();
        let first: Vec<Identifier> = (0..people)
            .map(|person| {
                steps
                    .iter()
                    .map(|s| s.identifiers[0])
                    .find(|i| i.person == person)
                    .unwrap()
            })
            .collect();
        let mut pairs: Vec<(usize, usize)> = (0..people)
            .flat_map(|a| (0..people).map(move |b| (a, b)))
            .filter(|(a, b)| a < b)
            .collect();
        random.shuffle(&mut pairs);
        for (a, b) in pairs {
            let (a, b) = if random.below(2) == 0 { (a, b) } else { (b, a) };
            let (x, y) = (a, b);
            let (a, b) = (first[a].value(), first[b].value());
            let row = client
                .query_one(
                    "SELECT cdp.resolve($1, namespace => $3) = cdp.resolve($2, namespace => $3)",
                    &[&a, &b, &wrong],
                )
                .unwrap();
            if !row.get::<_, bool>(0) {
                continue;
            }
            split.insert((x.min(y), x.max(y)));
            let parted = client
                .query(
                    "SELECT profile_id FROM cdp.unmerge($1, $2, namespace => $3)",
                    &[&a, &b, &wrong],
                )
                .unwrap_or_else(|error| panic!("seed {seed}: {}", describe(&error)));
            assert_eq!(parted.len(), 2);
            for (row, value) in parted.iter().zip([&a, &b]) {
                let owner: i64 = client
                    .query_one("SELECT cdp.resolve($1, namespace => $2)", &[value, &wrong])
                    .unwrap()
                    .get(0);
                assert_eq!(owner, row.get::<_, i64>(0), "seed {seed}: {value}");
            }
        }
        same(
            &everybody(&mut client, &wrong),
            &expected,
            &format!("seed {seed}, apart"),
        );

        // They stay apart, whatever they are seen with, and are the same from their events alone.
        let pair = |step: &Step| {
            let people: BTreeSet<usize> = step.identifiers.iter().map(|i| i.person).collect();
            (*people.first().unwrap(), *people.last().unwrap())
        };
        let meetings: Vec<&Step> = steps
            .iter()
            .filter(|step| step.is_meeting() && split.contains(&pair(step)))
            .collect();
        for (number, step) in meetings.iter().enumerate() {
            send(
                &mut client,
                &wrong,
                &step.with(&step.identifiers, 10_000 + number),
            );
            send(
                &mut client,
                &right,
                &step.with(&[step.most_trusted()], 10_000 + number),
            );
        }
        let expected = everybody(&mut client, &right);
        same(
            &everybody(&mut client, &wrong),
            &expected,
            &format!("seed {seed}, met again"),
        );
        let history = "SELECT count(*) FROM _cdp.history";
        let before = cluster.number("postgres", history);
        client
            .execute("SELECT cdp.rebuild(namespace => $1)", &[&wrong])
            .unwrap();
        same(
            &everybody(&mut client, &wrong),
            &expected,
            &format!("seed {seed}, rebuilt"),
        );
        assert_eq!(
            cluster.number("postgres", history),
            before,
            "a rebuild changed something"
        );
    }
    assert!(merges >= enough as i64, "only {merges} merges");
}
