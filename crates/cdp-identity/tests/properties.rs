//! Laws of identity resolution, over random batches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use cdp_identity::{
    DemotionReason, IdentityError, KindId, KindRule, MessageIdentifier, MessageIdentifiers, Rule,
    Rules,
};
use common::Database;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::{BTreeMap, BTreeSet};

const USER: KindId = 1;
const KINDS: [&str; 4] = ["user_id", "email", "anonymous_id", "device_id"];

fn rules() -> Rules {
    Rules::new((1..).zip(KINDS).map(|(id, name)| {
        let mut rule = KindRule::standard(id, name);
        if name != "user_id" {
            // Low, so that it is met often.
            rule.limit = 3;
        }
        rule
    }))
}

fn config(cases: u32, seed: u64) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    }
}

fn identifier() -> impl Strategy<Value = MessageIdentifier> {
    prop_oneof![
        4 => (1..=4, 0..6u8).prop_map(|(kind, value)| (kind, format!("v{value}"))),
        1 => (1..=4, prop::sample::select(vec!["null", "0", ""]))
            .prop_map(|(kind, value)| (kind, value.to_owned())),
    ]
    .prop_map(|(kind, value)| MessageIdentifier {
        kind,
        value,
        previous: false,
    })
}

/// A message; one in eight is an alias.
fn message() -> impl Strategy<Value = MessageIdentifiers> {
    let ordinary = prop::collection::vec(identifier(), 0..5);
    let alias = (0..6u8, 0..6u8).prop_map(|(user, previous)| {
        let named = |kind, value: u8, previous| MessageIdentifier {
            kind,
            value: format!("v{value}"),
            previous,
        };
        vec![
            named(USER, user, false),
            named(USER, previous, true),
            named(3, previous, true),
            named(2, previous, true),
        ]
    });
    prop_oneof![7 => ordinary, 1 => alias]
        .prop_map(|identifiers| MessageIdentifiers { at: 0, identifiers })
}

fn batch() -> impl Strategy<Value = Vec<MessageIdentifiers>> {
    prop::collection::vec(message(), 0..30)
}

fn is_alias(message: &MessageIdentifiers) -> bool {
    message
        .identifiers
        .iter()
        .any(|identifier| identifier.previous)
}

/// Which messages are of one person, whatever the persons' numbers.
fn groups(database: &Database) -> Vec<Option<usize>> {
    let mut first: BTreeMap<i64, usize> = BTreeMap::new();
    let persons = database
        .messages
        .iter()
        .map(|m| m.map(|m| database.canonical(m)));
    persons
        .enumerate()
        .map(|(position, person)| person.map(|person| *first.entry(person).or_insert(position)))
        .collect()
}

proptest! {
    #![proptest_config(config(1000, 31))]

    #[test]
    fn batches_are_their_messages_one_by_one(messages in batch(), size in 1usize..8) {
        let rules = rules();
        let mut whole = Database::default();
        whole.apply(&rules, &messages);
        let mut single = Database::default();
        for message in &messages {
            single.apply(&rules, std::slice::from_ref(message));
        }
        prop_assert_eq!(&whole, &single);
        let mut chunked = Database::default();
        for chunk in messages.chunks(size) {
            chunked.apply(&rules, chunk);
        }
        prop_assert_eq!(&whole, &chunked);
    }

    #[test]
    fn the_same_input_gives_the_same_plan(messages in batch()) {
        // Rules and snapshots hash with fresh seeds every time.
        let plan = Database::default().apply(&rules(), &messages);
        prop_assert_eq!(plan, Database::default().apply(&rules(), &messages));
    }

    #[test]
    fn a_batch_that_comes_again_changes_nothing(messages in batch()) {
        let rules = rules();
        let mut database = Database::default();
        let plan = database.apply(&rules, &messages);
        let before = database.persons();
        // A refused message may well be accepted after an alias.
        let accepted: Vec<_> = messages.iter().zip(&plan.assignments)
            .filter(|(_, assignment)| assignment.is_some())
            .map(|(message, _)| message.clone())
            .collect();
        let again = database.apply(&rules, &accepted);
        prop_assert_eq!(&again.links, &[]);
        prop_assert_eq!(&again.merges, &[]);
        prop_assert_eq!(&again.new_profiles, &[]);
        prop_assert_eq!(before, database.persons());
    }

    #[test]
    fn limits_hold_without_aliases(messages in batch()) {
        let messages: Vec<_> = messages.into_iter().filter(|m| !is_alias(m)).collect();
        let mut database = Database::default();
        database.apply(&rules(), &messages);
        for identifiers in database.persons().values() {
            for kind in 1..=4 {
                let count = identifiers.iter().filter(|(k, _)| *k == kind).count();
                let limit = if kind == USER { 1 } else { 3 };
                prop_assert!(count <= limit);
            }
        }
    }

    #[test]
    fn user_ids_of_one_person_were_joined_by_an_alias(messages in batch()) {
        let mut database = Database::default();
        let plan = database.apply(&rules(), &messages);
        for merge in &plan.merges {
            prop_assert_eq!(merge.rule == Rule::Alias, is_alias(&messages[merge.message]));
        }
        // Names that aliases connect, however indirectly.
        let mut joined: BTreeMap<String, usize> = BTreeMap::new();
        for (number, message) in messages.iter().enumerate().filter(|(_, m)| is_alias(m)) {
            let values: BTreeSet<&String> =
                message.identifiers.iter().map(|identifier| &identifier.value).collect();
            let old: BTreeSet<usize> =
                values.iter().filter_map(|value| joined.get(*value).copied()).collect();
            for set in joined.values_mut().filter(|set| old.contains(set)) {
                *set = number;
            }
            joined.extend(values.into_iter().map(|value| (value.clone(), number)));
        }
        for identifiers in database.persons().values() {
            let users: Vec<_> = identifiers.iter().filter(|(kind, _)| *kind == USER).collect();
            if users.len() > 1 {
                // An alias may also reach a person through an anonymous id of theirs.
                prop_assert!(users.iter().any(|(_, user)| joined.contains_key(user)));
            }
        }
    }

    #[test]
    fn every_message_has_a_person_or_an_error(messages in batch()) {
        let mut database = Database::default();
        let plan = database.apply(&rules(), &messages);
        prop_assert_eq!(plan.assignments.len(), messages.len());
        let failed: BTreeSet<usize> = plan.errors.iter().map(|(message, _)| *message).collect();
        for (position, assignment) in plan.assignments.iter().enumerate() {
            prop_assert_eq!(assignment.is_none(), failed.contains(&position));
        }
        for (position, error) in &plan.errors {
            let mut users: Vec<_> = messages[*position].identifiers.iter()
                .filter(|i| i.kind == USER && !i.previous)
                .map(|i| &i.value)
                .collect();
            users.sort();
            users.dedup();
            match error {
                IdentityError::NoIdentifier => {}
                IdentityError::SeveralUserIds { first, second } => {
                    prop_assert!(users.contains(&first) && users.contains(&second));
                }
            }
        }
    }

    #[test]
    fn the_most_trusted_identifier_counts(messages in batch()) {
        let mut database = Database::default();
        for message in &messages {
            let plan = database.apply(&rules(), std::slice::from_ref(message));
            let Some(person) = database.messages.last().copied().flatten() else { continue };
            let person = database.canonical(person);
            // A user id is never demoted for a limit: it has the last word.
            let demoted_user = plan.demotions.iter().any(|demotion| {
                demotion.kind == USER && demotion.reason != DemotionReason::Blocked
            });
            prop_assert!(!demoted_user);
            let identifiers = &database.persons()[&person];
            for identifier in message.identifiers.iter().filter(|i| i.kind == USER && !i.previous) {
                let blocked = ["null", "0", ""].contains(&identifier.value.as_str());
                prop_assert!(blocked || identifiers.contains(&(USER, identifier.value.clone())));
            }
        }
    }

    #[test]
    fn the_order_of_kinds_within_a_message_does_not_matter(messages in batch()) {
        // Within a kind the order of the message counts, so keep one identifier per kind.
        let plain: Vec<MessageIdentifiers> = messages
            .into_iter()
            .map(|mut message| {
                let mut kinds = BTreeSet::new();
                message.identifiers.retain(|i| i.previous || kinds.insert(i.kind));
                message
            })
            .collect();
        let turned: Vec<MessageIdentifiers> = plain
            .iter()
            .map(|message| MessageIdentifiers {
                at: message.at,
                identifiers: message.identifiers.iter().rev().cloned().collect(),
            })
            .collect();
        let (mut a, mut b) = (Database::default(), Database::default());
        a.apply(&rules(), &plain);
        b.apply(&rules(), &turned);
        prop_assert_eq!(groups(&a), groups(&b));
        prop_assert_eq!(a.persons(), b.persons());
    }

    #[test]
    fn split_persons_stay_apart(
        before in batch(), after in batch(), which in any::<prop::sample::Index>(),
    ) {
        let rules = rules();
        let mut database = Database::default();
        database.apply(&rules, &before);
        let persons = database.persons();
        let shared: Vec<_> = persons.iter().filter(|(_, ids)| ids.len() > 1).collect();
        prop_assume!(!shared.is_empty());
        let (person, identifiers) = shared[which.index(shared.len())];
        let identifiers: Vec<_> = identifiers.iter().collect();
        let (kind, value) = identifiers[which.index(identifiers.len())];
        let person = *person;
        database.split_off(*kind, value);
        let other = database.persons();
        let other = *other.iter().find(|(_, ids)| ids.contains(&(*kind, value.clone()))).unwrap().0;
        prop_assert_ne!(person, other);
        let mut batched = database.clone();
        for message in &after {
            database.apply(&rules, std::slice::from_ref(message));
            prop_assert_ne!(database.canonical(person), database.canonical(other));
        }
        batched.apply(&rules, &after);
        prop_assert_eq!(batched, database);
    }
}
