//! People taken apart pair by pair, in any order, against a world in which they never met.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/tables.rs"]
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use tables::{Identifier, Tables};

/// Xorshift with 64 bits (G. Marsaglia: Xorshift RNGs, 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// An identifier of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Own {
    /// The less, the more trusted.
    kind: usize,
    person: usize,
    number: usize,
}

/// The letters by which the examples call kinds.
const KINDS: &str = "eadp";

impl Own {
    /// Read from a kind, a person and a number, such as `aB0`.
    fn read(text: &str) -> Own {
        let [kind, person, number] = text.as_bytes() else {
            panic!("{text}")
        };
        Own {
            kind: KINDS.find(char::from(*kind)).unwrap(),
            person: usize::from(person - b'A'),
            number: usize::from(number - b'0'),
        }
    }

    fn identifier(self) -> Identifier {
        (
            self.kind as i32 + 2,
            format!("p{}n{}", self.person, self.number),
        )
    }
}

/// What happened, and who is taken off whom then.
#[derive(Clone)]
struct Script {
    /// Who is seen with what, message by message.
    messages: Vec<Vec<Own>>,
    pairs: Vec<(Own, Own)>,
}

impl Script {
    /// Messages of identifiers with commas between, and pairs with bars in them.
    fn read(messages: &str, pairs: &str) -> Script {
        let message = |text: &str| text.split(' ').map(Own::read).collect();
        let pair = |text: &str| {
            let (a, b) = text.split_once('|').unwrap();
            (Own::read(a), Own::read(b))
        };
        Script {
            messages: messages.split(", ").map(message).collect(),
            pairs: pairs.split(", ").map(pair).collect(),
        }
    }

    fn random(seed: u64) -> Script {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (seed << 20));
        let people = 2 + (seed as usize) % 4;
        let mut own = |person, number| Own {
            kind: random.below(KINDS.len()),
            person,
            number,
        };
        let mut known: Vec<Vec<Own>> = (0..people).map(|person| vec![own(person, 0)]).collect();
        let mut messages = known.clone();
        for round in 0..30 + people * 12 {
            let person = random.below(people);
            let mut message = vec![known[person][random.below(known[person].len())]];
            match random.below(6) {
                // The person is seen with something new.
                0 if known[person].len() < 6 => {
                    let new = Own {
                        kind: random.below(KINDS.len()),
                        person,
                        number: known[person].len(),
                    };
                    known[person].push(new);
                    message.push(new);
                }
                // People share something, once all have been seen.
                1 if round > people * 6 => {
                    let others = if random.below(3) == 0 { 2 } else { 1 };
                    for _ in 0..others {
                        let other = random.below(people);
                        if message.iter().all(|i| i.person != other) {
                            message.push(known[other][random.below(known[other].len())]);
                        }
                    }
                }
                _ => {}
            }
            messages.push(message);
        }
        let pairs = (0..people).flat_map(|a| (0..people).map(move |b| (a, b)));
        let mut pairs: Vec<(Own, Own)> = pairs
            .filter(|(a, b)| a < b)
            .map(|(a, b)| (messages[a][0], messages[b][0]))
            .collect();
        random.shuffle(&mut pairs);
        for (a, b) in &mut pairs {
            if random.below(2) == 0 {
                std::mem::swap(a, b);
            }
        }
        Script { messages, pairs }
    }

    /// Who people are, after they were taken apart and met again, and who they should be.
    fn outcome(&self) -> (People, People) {
        let (mut wrong, mut right) = (Tables::default(), Tables::default());
        for message in &self.messages {
            happens(message, &mut wrong, &mut right);
        }
        let mut split: BTreeSet<(usize, usize)> = BTreeSet::new();
        for (a, b) in &self.pairs {
            if wrong.unmerge(&a.identifier(), &b.identifier()) {
                split.extend([(a.person, b.person), (b.person, a.person)]);
            }
        }
        let stay_apart = |message: &[Own]| {
            let mut pairs = message
                .iter()
                .flat_map(|i| message.iter().map(|j| (i.person, j.person)));
            pairs.all(|(a, b)| a == b || split.contains(&(a, b)))
        };
        let again = self.messages.iter().filter(|m| is_meeting(m));
        for message in again.filter(|message| stay_apart(message)) {
            happens(message, &mut wrong, &mut right);
        }
        (people(&wrong), people(&right))
    }
}

fn is_meeting(message: &[Own]) -> bool {
    message.iter().any(|i| i.person != message[0].person)
}

/// People meet in the wrong world; in the right one only the most trusted identifier of a meeting counts.
fn happens(message: &[Own], wrong: &mut Tables, right: &mut Tables) {
    let all: Vec<Identifier> = message.iter().map(|i| i.identifier()).collect();
    wrong.take(&all);
    if is_meeting(message) {
        let most_trusted = message.iter().min_by_key(|i| i.kind).unwrap();
        right.take(&[most_trusted.identifier()]);
    } else {
        right.take(&all);
    }
}

/// The identifiers and the messages of each person.
type People = BTreeSet<(Vec<Identifier>, Vec<usize>)>;

fn people(tables: &Tables) -> People {
    let mut people: BTreeMap<i64, (Vec<Identifier>, Vec<usize>)> = BTreeMap::new();
    for (identifier, known) in &tables.identifiers {
        let person = people.entry(known.0).or_default();
        person.0.push(identifier.clone());
    }
    for (message, profile) in tables.assigned.iter().enumerate() {
        let person = people.entry(tables.canonical(*profile)).or_default();
        person.1.push(message);
    }
    people.into_values().collect()
}

#[test]
fn people_taken_apart_are_who_they_would_have_been() {
    for seed in 0..500 {
        let (wrong, right) = Script::random(seed).outcome();
        assert_eq!(wrong, right, "seed {seed}");
    }
}

/// Retention deletes messages. What they would have told is not known then, but people can be taken apart still.
#[test]
fn people_can_be_taken_apart_whose_messages_are_gone() {
    for seed in 0..300 {
        let script = Script::random(seed);
        let mut random = Random(0x2545_f491_4f6c_dd1d ^ (seed << 20));
        let mut tables = Tables::default();
        for message in &script.messages {
            let all: Vec<Identifier> = message.iter().map(|i| i.identifier()).collect();
            tables.take(&all);
        }
        let gone = random.below(script.messages.len());
        tables.lost = (0..gone)
            .chain((gone..script.messages.len()).filter(|_| random.below(4) == 0))
            .collect();
        for (a, b) in &script.pairs {
            tables.unmerge(&a.identifier(), &b.identifier());
            for (known, origin, _) in tables.identifiers.values() {
                assert_eq!(tables.canonical(*origin), *known, "seed {seed}");
            }
        }
        for (a, b) in &script.pairs {
            let (a, b) = (
                tables.person(&a.identifier()),
                tables.person(&b.identifier()),
            );
            assert_ne!(a, b, "seed {seed}");
        }
    }
}

/// The smallest examples of what went wrong once.
#[test]
fn what_a_split_leaves_can_be_split_again() {
    let examples = [
        // A and the others stay one though the message that says so turns out to be E's: not before all others.
        (
            "aA0, dB0, pC0, eE0, eE0 pC0, pC0 dB0, eE0 aA0, pC0 pC1",
            "aA0|eE0, dB0|eE0, aA0|pC0, pC0|dB0, dB0|aA0, eE0|pC0",
        ),
        // E comes to C by a message that is stored with a profile of which E's profile is no longer below.
        (
            "aA0, dB0, pC0, eE0, eD0 aD1, aD1 aA0, eE0 pC0, aA0 dB0, dB0 pC0",
            "pC0|dB0, eD0|aA0, aA0|dB0, eE0|dB0, aA0|eE0, pC0|eE0, pC0|aA0",
        ),
        // C goes into B's profile before that goes into A's by a message that turns out to be E's.
        (
            "aA0, dB0 eB1, aA0 aA1, aD0, aE0 dE1, pC0, pC0 eB1, dE1 pE2, pC0 pC1, dB0 pB2, pB2 aD0, aE0 aA1, pE2 pB2",
            "aD0|aE0, aA0|aE0, dB0|aD0, pC0|dB0, pC0|aD0, dB0|aE0, pC0|aA0, pC0|aE0, aA0|dB0, aA0|aD0",
        ),
    ];
    for (messages, pairs) in examples {
        let (wrong, right) = Script::read(messages, pairs).outcome();
        assert_eq!(wrong, right, "{messages}");
    }
}
