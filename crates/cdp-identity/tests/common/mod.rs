//! A database of persons in memory: what a caller of the crate does, without the SQL.
#![allow(dead_code)]

use cdp_identity::{plan, KindId, MessageIdentifiers, Plan, ProfileRef, Rules, Snapshot};
use std::collections::{BTreeMap, BTreeSet};

/// An identifier's owner, which may have been absorbed since, and when it was linked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    profile: i64,
    linked_at: i64,
}

/// Persons and their identifiers, as tables hold them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Database {
    identifiers: BTreeMap<(KindId, String), Owned>,
    /// Profile and the one that absorbed it.
    absorbed: BTreeMap<i64, i64>,
    splits: BTreeSet<(i64, i64)>,
    profiles: i64,
    /// Per message so far, the profile at its time.
    pub messages: Vec<Option<i64>>,
}

impl Database {
    pub fn canonical(&self, profile: i64) -> i64 {
        let mut current = profile;
        while let Some(survivor) = self.absorbed.get(&current) {
            current = *survivor;
        }
        current
    }

    /// The identifiers of each person.
    pub fn persons(&self) -> BTreeMap<i64, BTreeSet<(KindId, String)>> {
        let mut persons: BTreeMap<i64, BTreeSet<(KindId, String)>> = BTreeMap::new();
        for (identifier, owned) in &self.identifiers {
            let person = self.canonical(owned.profile);
            persons
                .entry(person)
                .or_default()
                .insert(identifier.clone());
        }
        persons
    }

    /// Resolves a batch and writes down what the plan says.
    pub fn apply(&mut self, rules: &Rules, batch: &[MessageIdentifiers]) -> Plan {
        let mut snapshot = self.snapshot(batch);
        let plan = plan(rules, &mut snapshot, batch);
        let first = self.profiles;
        let id = |profile: ProfileRef| match profile {
            ProfileRef::Existing(id) => id,
            ProfileRef::New(number) => first + 1 + i64::from(number),
        };
        for (position, new) in plan.new_profiles.iter().enumerate() {
            assert_eq!(
                id(new.profile),
                first + 1 + i64::try_from(position).unwrap()
            );
            self.profiles += 1;
        }
        for link in &plan.links {
            let owned = Owned {
                profile: id(link.profile),
                linked_at: batch[link.message].at,
            };
            let before = self
                .identifiers
                .insert((link.kind, link.value.clone()), owned);
            assert_eq!(before, None, "an identifier has one owner");
        }
        for merge in &plan.merges {
            let (survivor, absorbed) = (id(merge.survivor), id(merge.absorbed));
            assert!(survivor < absorbed, "the oldest survives");
            assert_eq!(self.absorbed.insert(absorbed, survivor), None);
            assert!(!self.absorbed.contains_key(&survivor));
        }
        let assigned = plan.assignments.iter().map(|profile| profile.map(id));
        self.messages.extend(assigned);
        for assigned in plan.assignments.iter().flatten() {
            assert_eq!(id(plan.resolved(*assigned)), self.canonical(id(*assigned)));
        }
        plan
    }

    /// Loads what [`Snapshot`] asks for and nothing more.
    fn snapshot(&self, batch: &[MessageIdentifiers]) -> Snapshot {
        let mut snapshot = Snapshot::new();
        for identifier in batch.iter().flat_map(|message| &message.identifiers) {
            let key = (identifier.kind, identifier.value.clone());
            if let Some(owned) = self.identifiers.get(&key) {
                snapshot.add_owner(key.0, key.1, self.canonical(owned.profile));
            }
        }
        for profile in snapshot.in_question(batch) {
            snapshot.add_profile(profile, profile);
            for ((kind, _), owned) in &self.identifiers {
                if self.canonical(owned.profile) == profile {
                    snapshot.add_linked(profile, *kind, owned.linked_at);
                }
            }
            for (a, b) in &self.splits {
                let (a, b) = (self.canonical(*a), self.canonical(*b));
                if a == profile || b == profile {
                    snapshot.add_split(a, b);
                }
            }
        }
        snapshot
    }

    /// Takes an identifier away from its person, for good.
    pub fn split_off(&mut self, kind: KindId, value: &str) {
        self.profiles += 1;
        let profile = self.profiles;
        let canonical = {
            let owned = &self.identifiers[&(kind, value.to_owned())];
            self.canonical(owned.profile)
        };
        if let Some(owned) = self.identifiers.get_mut(&(kind, value.to_owned())) {
            owned.profile = profile;
        }
        self.splits.insert((canonical, profile));
    }
}
