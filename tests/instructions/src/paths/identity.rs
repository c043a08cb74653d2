//! Whose messages they are.

use super::Path;
use crate::definitions::NOW;
use cdp_identity::{
    plan, KindId, KindRule, MessageIdentifier, MessageIdentifiers, Rules, Snapshot,
};
use cdp_value::MINUTE;
use std::hint::black_box;

const MESSAGES: i64 = 100;
const USER_ID: KindId = 1;
const ANONYMOUS_ID: KindId = 2;
const EMAIL: KindId = 3;

pub fn paths() -> Vec<Path> {
    vec![
        Path {
            name: "identify_known",
            operation: "message of a person who is known by the one identifier it has",
            operations: MESSAGES as u64,
            prepare: || prepare(|n| vec![id(USER_ID, "user", n % 50)], known, MESSAGES, 0, 0),
        },
        Path {
            name: "identify_new",
            operation: "message of somebody new with three identifiers",
            operations: MESSAGES as u64,
            prepare: || prepare(three, |_| {}, 0, MESSAGES, 0),
        },
        Path {
            name: "identify_merging",
            operation: "message that makes one of two people with two identifiers each",
            operations: MESSAGES as u64,
            prepare: || prepare(three, two_each, MESSAGES, 0, MESSAGES),
        },
    ]
}

fn id(kind: KindId, name: &str, number: i64) -> MessageIdentifier {
    MessageIdentifier {
        kind,
        value: format!("{name}_{number}"),
        previous: false,
    }
}

fn three(number: i64) -> Vec<MessageIdentifier> {
    vec![
        id(USER_ID, "user", number),
        id(ANONYMOUS_ID, "browser", number),
        id(EMAIL, "person@example.com", number),
    ]
}

/// Fifty people with a user id.
fn known(snapshot: &mut Snapshot) {
    for number in 0..50 {
        snapshot.add_owner(USER_ID, format!("user_{number}"), number);
    }
}

/// A person with a user id and an email, and one with an anonymous id of two, for each message.
fn two_each(snapshot: &mut Snapshot) {
    for number in 0..MESSAGES {
        let (account, visitor) = (number, number + MESSAGES);
        snapshot.add_owner(USER_ID, format!("user_{number}"), account);
        snapshot.add_owner(EMAIL, format!("person@example.com_{number}"), account);
        snapshot.add_owner(ANONYMOUS_ID, format!("browser_{number}"), visitor);
        for profile in [account, visitor] {
            snapshot.add_profile(profile, NOW - profile * MINUTE);
        }
        for (profile, kind) in [
            (account, USER_ID),
            (account, EMAIL),
            (visitor, ANONYMOUS_ID),
            (visitor, ANONYMOUS_ID),
        ] {
            snapshot.add_linked(profile, kind, NOW - profile * MINUTE);
        }
    }
}

/// As the extension does: what is known is loaded, those in question are found, and the plan is made. The last
/// three figures are what the plan must hold.
fn prepare(
    identifiers: fn(i64) -> Vec<MessageIdentifier>,
    load: fn(&mut Snapshot),
    assigned_to_existing: i64,
    created: i64,
    merged: i64,
) -> Box<dyn FnMut()> {
    let kinds = [
        (USER_ID, "user_id"),
        (ANONYMOUS_ID, "anonymous_id"),
        (EMAIL, "email"),
    ];
    let rules = Rules::new(kinds.map(|(kind, name)| KindRule::standard(kind, name)));
    let messages: Vec<MessageIdentifiers> = (0..MESSAGES)
        .map(|number| MessageIdentifiers {
            at: NOW,
            identifiers: identifiers(number),
        })
        .collect();
    Box::new(move || {
        let mut snapshot = Snapshot::new();
        load(&mut snapshot);
        black_box(snapshot.in_question(&messages));
        let plan = plan(&rules, &mut snapshot, black_box(&messages));
        let counts = (
            plan.assignments.len() - plan.new_profiles.len(),
            plan.new_profiles.len(),
            plan.merges.len(),
        );
        let expected = (assigned_to_existing, created, merged);
        assert_eq!(
            counts,
            (
                expected.0 as usize,
                expected.1 as usize,
                expected.2 as usize
            )
        );
        black_box(plan);
    })
}
