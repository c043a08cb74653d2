//! The tables of identity in memory, as ingestion and `cdp.unmerge` write them.
#![allow(dead_code)]

use cdp_identity::{
    plan, split, History, KindId, KindRule, MessageIdentifier, MessageIdentifiers, OwnIdentifier,
    Part, PastMerge, ProfileRef, Rules, Side, Snapshot,
};
use std::collections::{BTreeMap, BTreeSet};

pub type Identifier = (KindId, String);

/// The kinds in the order of trust, from 1; nobody reaches a limit.
pub fn rules() -> Rules {
    let kinds = ["user_id", "email", "anonymous_id", "device_id", "phone"];
    Rules::new((1..).zip(kinds).map(|(id, name)| {
        let mut rule = KindRule::standard(id, name);
        rule.limit = 100;
        rule
    }))
}

#[derive(Default)]
pub struct Tables {
    /// Profile of today, profile of origin, message that linked it.
    pub identifiers: BTreeMap<Identifier, (i64, i64, usize)>,
    pub merges: Vec<PastMerge>,
    pub splits: Vec<(i64, i64)>,
    /// Pairs split by hand, each of a person of its own.
    apart: Vec<(Identifier, Identifier)>,
    pub profiles: i64,
    /// The message since which a profile is somebody.
    born: BTreeMap<i64, usize>,
    pub messages: Vec<Vec<MessageIdentifier>>,
    /// Profile under which each message is stored.
    pub assigned: Vec<i64>,
    /// Messages that were deleted.
    pub lost: BTreeSet<usize>,
}

fn message(identifiers: &[Identifier]) -> MessageIdentifiers {
    let identifiers = identifiers.iter().map(|(kind, value)| MessageIdentifier {
        kind: *kind,
        value: value.clone(),
        previous: false,
    });
    MessageIdentifiers {
        at: 0,
        identifiers: identifiers.collect(),
    }
}

impl Tables {
    pub fn person(&self, identifier: &Identifier) -> Option<i64> {
        self.identifiers.get(identifier).map(|known| known.0)
    }

    pub fn canonical(&self, profile: i64) -> i64 {
        let merge = self.merges.iter().find(|m| m.absorbed == profile);
        merge.map_or(profile, |merge| self.canonical(merge.survivor))
    }

    pub fn take(&mut self, identifiers: &[Identifier]) {
        let message = message(identifiers);
        let mut snapshot = Snapshot::new();
        for ((kind, value), (profile, ..)) in &self.identifiers {
            snapshot.add_owner(*kind, value.clone(), *profile);
            snapshot.add_linked(*profile, *kind, 0);
        }
        for profile in 1..=self.profiles {
            let born = self.born.get(&profile).map_or(i64::MAX, |at| *at as i64);
            snapshot.add_profile(profile, born);
        }
        let owner = |identifier| self.identifiers[identifier].0;
        let apart = self.apart.iter().map(|(a, b)| (owner(a), owner(b)));
        for (a, b) in self.splits.iter().copied().chain(apart) {
            snapshot.add_split(self.canonical(a), self.canonical(b));
        }
        let position = self.messages.len();
        self.messages.push(message.identifiers.clone());
        let plan = plan(&rules(), &mut snapshot, std::slice::from_ref(&message));
        let first = self.profiles + 1;
        self.profiles += plan.new_profiles.len() as i64;
        for profile in first..=self.profiles {
            self.born.insert(profile, position);
        }
        let id = |profile| match profile {
            ProfileRef::Existing(id) => id,
            ProfileRef::New(number) => first + i64::from(number),
        };
        for link in &plan.links {
            let (origin, today) = (id(link.profile), id(plan.resolved(link.profile)));
            self.identifiers
                .insert((link.kind, link.value.clone()), (today, origin, position));
        }
        for merge in &plan.merges {
            let (survivor, absorbed) = (id(merge.survivor), id(merge.absorbed));
            for known in self.identifiers.values_mut().filter(|k| k.0 == absorbed) {
                known.0 = survivor;
            }
            self.merges.push(PastMerge {
                absorbed,
                survivor,
                message: Some(position),
            });
        }
        self.assigned.push(id(plan.assignments[0].unwrap()));
    }

    /// The person's messages that linked or merged.
    fn telling(&self, root: i64) -> Vec<usize> {
        let own = |profile: i64| self.canonical(profile) == root;
        let linked = self
            .identifiers
            .values()
            .filter(|known| own(known.0))
            .map(|known| known.2);
        let merges = self.merges.iter().filter(|m| own(m.absorbed));
        let merged = merges.filter_map(|m| m.message);
        let telling: BTreeSet<usize> = linked.chain(merged).collect();
        let kept = telling.difference(&self.lost).copied();
        kept.filter(|m| own(self.assigned[*m])).collect()
    }

    /// All that is known of a person, and the identifiers in the order of those in it.
    pub fn history(&self, root: i64) -> (History, Vec<Identifier>) {
        let own: Vec<(&Identifier, &(i64, i64, usize))> = self
            .identifiers
            .iter()
            .filter(|(_, k)| k.0 == root)
            .collect();
        let own_kinds: BTreeSet<&Identifier> = own.iter().map(|(i, _)| *i).collect();
        let mut merges: Vec<PastMerge> = self.merges.clone();
        merges.retain(|m| self.canonical(m.absorbed) == root);
        // Of their identifiers, only the person's.
        let telling = self.telling(root);
        let messages = telling.iter().map(|message| {
            let mut identifiers = self.messages[*message].clone();
            identifiers.retain(|i| own_kinds.contains(&(i.kind, i.value.clone())));
            identifiers
        });
        let messages = messages.collect();
        let place = |message: usize| telling.iter().position(|m| *m == message);
        for merge in &mut merges {
            merge.message = merge.message.and_then(place);
        }
        let identifiers = own
            .iter()
            .map(|((kind, value), (_, origin, message))| OwnIdentifier {
                kind: *kind,
                value: value.clone(),
                origin: *origin,
                message: place(*message),
            });
        let mut absorbed: Vec<i64> = merges.iter().map(|m| m.absorbed).collect();
        absorbed.sort_by_key(|profile| (self.born.get(profile), *profile));
        let history = History {
            root,
            absorbed,
            identifiers: identifiers.collect(),
            merges,
            messages,
        };
        (history, own.into_iter().map(|(i, _)| i.clone()).collect())
    }

    /// Takes `part` off the person, who also has `rest`; false if they are not one.
    pub fn unmerge(&mut self, rest: &Identifier, part: &Identifier) -> bool {
        let Some(root) = self.person(rest).filter(|p| self.person(part) == Some(*p)) else {
            return false;
        };
        let (history, own) = self.history(root);
        let of = |identifier: &Identifier| Part::Identifiers(vec![identifier.clone()]);
        let split = split(&rules(), &history, &of(rest), &of(part)).unwrap();
        let sides: Vec<(usize, Side)> = (0..self.messages.len())
            .filter(|m| self.canonical(self.assigned[*m]) == root)
            .map(|m| {
                let mut identifiers = self.messages[m].clone();
                identifiers.retain(|i| own.contains(&(i.kind, i.value.clone())));
                (m, split.side_of(&rules(), self.assigned[m], &identifiers))
            })
            .collect();
        let apart = split.apart.unwrap_or_else(|| {
            self.profiles += 1;
            let first = sides.iter().find(|(_, side)| *side == Side::Apart);
            self.born.insert(
                self.profiles,
                first.map_or(self.messages.len(), |(m, _)| *m),
            );
            self.profiles
        });
        let telling = self.telling(root);
        for (m, side) in sides {
            match (side, split.profiles.contains(&self.assigned[m])) {
                (Side::Apart, false) => self.assigned[m] = apart,
                (Side::Kept, true) => self.assigned[m] = root,
                _ => {}
            }
        }
        self.merges.retain(|m| m.absorbed != apart);
        for merge in split.merges.iter().filter(|m| !history.merges.contains(m)) {
            let known = self
                .merges
                .iter_mut()
                .find(|m| m.absorbed == merge.absorbed)
                .unwrap();
            known.survivor = merge.survivor;
            known.message = merge.message.map(|place| telling[place]);
        }
        for ((identifier, side), origin) in own.iter().zip(&split.identifiers).zip(&split.origins) {
            let known = self.identifiers.get_mut(identifier).unwrap();
            known.0 = if *side == Side::Apart { apart } else { root };
            known.1 = origin.unwrap_or(apart);
        }
        assert_ne!(self.person(rest), self.person(part));
        self.apart.push((rest.clone(), part.clone()));
        true
    }
}
