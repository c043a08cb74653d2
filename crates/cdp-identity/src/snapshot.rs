//! What is known about the persons in question.

use crate::plan::MessageIdentifiers;
use crate::rules::KindId;
use cdp_value::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProfileRef {
    /// One that the database knows, by its id.
    Existing(i64),
    /// One that a plan creates: the n-th of its snapshot.
    New(u32),
}

/// A person's place in the order of age: older persons survive merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Age {
    Existing { created_at: Timestamp, id: i64 },
    New(u32),
}

#[derive(Debug, Clone)]
struct Profile {
    age: Age,
    /// Per kind, when each of the person's values was linked.
    linked: BTreeMap<KindId, Vec<Timestamp>>,
    /// Persons that were split off by hand and must stay apart.
    apart: BTreeSet<ProfileRef>,
}

/// What is known about the identifiers of a batch and the persons they belong to.
///
/// Load it with the owners of all identifiers of the batch ([`Snapshot::add_owner`]), then with
/// everything about the persons that [`Snapshot::in_question`] lists. [`crate::plan`] keeps it up
/// to date, so that one snapshot can serve several batches.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    owners: HashMap<KindId, HashMap<String, ProfileRef>>,
    profiles: HashMap<ProfileRef, Profile>,
    absorbed: HashMap<ProfileRef, ProfileRef>,
    created: u32,
}

impl Snapshot {
    /// A database without persons.
    pub fn new() -> Snapshot {
        Snapshot::default()
    }

    /// Says to whom an identifier belongs. The profile must be one that was not absorbed.
    pub fn add_owner(&mut self, kind: KindId, value: impl Into<String>, profile: i64) {
        self.owners
            .entry(kind)
            .or_default()
            .insert(value.into(), ProfileRef::Existing(profile));
    }

    /// Adds a person. The one with the earliest `created_at`, then the lowest id, is the oldest.
    pub fn add_profile(&mut self, profile: i64, created_at: Timestamp) {
        let age = Age::Existing {
            created_at,
            id: profile,
        };
        self.profile_mut(ProfileRef::Existing(profile)).age = age;
    }

    /// Adds that a person has a value of a kind since a time. Once per identifier of the person,
    /// those that the batch does not mention included: limits count them.
    pub fn add_linked(&mut self, profile: i64, kind: KindId, linked_at: Timestamp) {
        self.profile_mut(ProfileRef::Existing(profile))
            .linked
            .entry(kind)
            .or_default()
            .push(linked_at);
    }

    /// Adds that two persons were split by hand and must stay apart.
    pub fn add_split(&mut self, a: i64, b: i64) {
        let (a, b) = (ProfileRef::Existing(a), ProfileRef::Existing(b));
        self.profile_mut(a).apart.insert(b);
        self.profile_mut(b).apart.insert(a);
    }

    /// The persons whose identifiers, age and splits matter for the batch: those that a message
    /// might give an identifier to, or merge. Messages whose identifiers all belong to one person
    /// already need nothing more than that.
    pub fn in_question(&self, messages: &[MessageIdentifiers]) -> BTreeSet<i64> {
        let mut wanted = BTreeSet::new();
        for message in messages {
            let mut owners = BTreeSet::new();
            let mut unknown = false;
            for identifier in &message.identifiers {
                match self.owner(identifier.kind, &identifier.value) {
                    Some(owner) => {
                        owners.insert(owner);
                    }
                    None => unknown = true,
                }
            }
            if unknown || owners.len() > 1 {
                wanted.extend(owners.into_iter().filter_map(|owner| match owner {
                    ProfileRef::Existing(id) => Some(id),
                    ProfileRef::New(_) => None,
                }));
            }
        }
        wanted
    }

    /// The person that an identifier belongs to now.
    pub fn owner(&self, kind: KindId, value: &str) -> Option<ProfileRef> {
        let owner = self.owners.get(&kind)?.get(value)?;
        Some(self.canonical(*owner))
    }

    /// The person that a person has become.
    pub fn canonical(&self, profile: ProfileRef) -> ProfileRef {
        let mut current = profile;
        while let Some(survivor) = self.absorbed.get(&current) {
            current = *survivor;
        }
        current
    }

    pub(crate) fn age(&self, profile: ProfileRef) -> Age {
        self.profiles
            .get(&profile)
            .map_or_else(|| default_age(profile), |known| known.age)
    }

    /// How many values of a kind a person has that were linked after `since`.
    pub(crate) fn count(
        &self,
        profile: ProfileRef,
        kind: KindId,
        since: Option<Timestamp>,
    ) -> usize {
        let linked = self
            .profiles
            .get(&profile)
            .and_then(|known| known.linked.get(&kind));
        match (linked, since) {
            (None, _) => 0,
            (Some(times), None) => times.len(),
            (Some(times), Some(since)) => times.iter().filter(|at| **at > since).count(),
        }
    }

    /// The kinds of which a person has values.
    pub(crate) fn kinds(&self, profile: ProfileRef) -> impl Iterator<Item = KindId> + '_ {
        self.profiles
            .get(&profile)
            .into_iter()
            .flat_map(|known| known.linked.keys().copied())
    }

    /// Whether two persons must stay apart.
    pub(crate) fn is_split(&self, a: ProfileRef, b: ProfileRef) -> bool {
        self.profiles
            .get(&a)
            .is_some_and(|known| known.apart.iter().any(|other| self.canonical(*other) == b))
    }

    pub(crate) fn create(&mut self) -> ProfileRef {
        let profile = ProfileRef::New(self.created);
        self.created += 1;
        self.profile_mut(profile);
        profile
    }

    pub(crate) fn link(&mut self, profile: ProfileRef, kind: KindId, value: &str, at: Timestamp) {
        self.owners
            .entry(kind)
            .or_default()
            .insert(value.to_owned(), profile);
        self.profile_mut(profile)
            .linked
            .entry(kind)
            .or_default()
            .push(at);
    }

    pub(crate) fn merge(&mut self, survivor: ProfileRef, absorbed: ProfileRef) {
        if let Some(moved) = self.profiles.remove(&absorbed) {
            // Whoever must stay apart from one half must stay apart from the whole.
            for other in &moved.apart {
                let other = self.canonical(*other);
                self.profile_mut(other).apart.insert(survivor);
            }
            let whole = self.profile_mut(survivor);
            whole.apart.extend(moved.apart);
            for (kind, times) in moved.linked {
                whole.linked.entry(kind).or_default().extend(times);
            }
        }
        self.absorbed.insert(absorbed, survivor);
    }

    fn profile_mut(&mut self, profile: ProfileRef) -> &mut Profile {
        self.profiles.entry(profile).or_insert_with(|| Profile {
            age: default_age(profile),
            linked: BTreeMap::new(),
            apart: BTreeSet::new(),
        })
    }
}

/// The age of a person of whom nothing else was said: by its id.
fn default_age(profile: ProfileRef) -> Age {
    match profile {
        ProfileRef::Existing(id) => Age::Existing {
            created_at: Timestamp::MIN,
            id,
        },
        ProfileRef::New(number) => Age::New(number),
    }
}
