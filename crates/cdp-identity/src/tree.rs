//! The profiles of a person, each below the one that it went into, and when that happened.

use crate::history::{History, Part};
use crate::rules::KindId;
use std::collections::{BTreeMap, HashMap};

/// A point in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    /// A position in [`History::messages`].
    message: usize,
    /// Some time after that message; otherwise with it.
    after: bool,
}

impl Moment {
    /// That of a message.
    pub(crate) fn of(message: usize) -> Moment {
        Moment {
            message,
            after: false,
        }
    }
}

/// The merges as a tree.
pub(crate) struct Tree {
    parents: BTreeMap<i64, i64>,
    moments: HashMap<i64, Moment>,
    origins: HashMap<KindId, HashMap<String, i64>>,
    pub(crate) root: i64,
}

impl Tree {
    pub(crate) fn new(history: &History) -> Tree {
        let mut origins: HashMap<KindId, HashMap<String, i64>> = HashMap::new();
        for identifier in &history.identifiers {
            origins
                .entry(identifier.kind)
                .or_default()
                .insert(identifier.value.clone(), identifier.origin);
        }
        let known = history.merges.iter();
        let mut tree = Tree {
            parents: known.clone().map(|m| (m.absorbed, m.survivor)).collect(),
            moments: known
                .filter_map(|m| Some((m.absorbed, Moment::of(m.message?))))
                .collect(),
            origins,
            root: history.root,
        };
        tree.infer_moments(history);
        tree
    }

    /// The message of a merge is not always known: it may have been deleted, or have turned out to be somebody
    /// else's when people were taken apart before. But nothing is linked to a profile, and none goes into it, once it
    /// has been absorbed, so the merge came after all that.
    fn infer_moments(&mut self, history: &History) {
        let links = history
            .identifiers
            .iter()
            .filter_map(|own| Some((own.origin, own.message?)));
        let merges = history
            .merges
            .iter()
            .filter_map(|merge| Some((merge.survivor, merge.message?)));
        let known: HashMap<i64, Moment> = self.moments.clone();
        for (profile, message) in links.chain(merges) {
            let inferred = Moment {
                message,
                after: true,
            };
            for absorbed in self.path(profile) {
                if known.contains_key(&absorbed) || absorbed == self.root {
                    break;
                }
                let moment = self.moments.entry(absorbed).or_insert(inferred);
                *moment = inferred.max(*moment);
            }
        }
    }

    /// The profile that a part was first linked to.
    pub(crate) fn node(&self, part: &Part) -> i64 {
        match part {
            Part::Profile(profile) => *profile,
            Part::Rest => self.root,
            Part::Identifiers(identifiers) => identifiers
                .first()
                .and_then(|(kind, value)| self.origins.get(kind)?.get(value))
                .copied()
                .unwrap_or(self.root),
        }
    }

    /// When a profile was absorbed, or the last moment before which it was not; None: nothing is known to have
    /// happened before.
    pub(crate) fn moment(&self, absorbed: i64) -> Option<Moment> {
        self.moments.get(&absorbed).copied()
    }

    pub(crate) fn parent(&self, profile: i64) -> Option<i64> {
        self.parents.get(&profile).copied()
    }

    /// From a profile up to the root, both included.
    pub(crate) fn path(&self, profile: i64) -> Vec<i64> {
        let mut path = vec![profile];
        let mut current = profile;
        while let Some(parent) = self.parent(current) {
            // A damaged table must not make this go round for ever.
            if path.contains(&parent) {
                break;
            }
            path.push(parent);
            current = parent;
        }
        path
    }

    /// The profile just below `ancestor` on the way to `profile`.
    pub(crate) fn child_towards(&self, ancestor: i64, profile: i64) -> Option<i64> {
        let path = self.path(profile);
        path.into_iter()
            .find(|node| self.parent(*node) == Some(ancestor))
    }

    /// Whether a profile had gone into another one, directly or not, or is that one.
    pub(crate) fn is_below(&self, profile: i64, other: i64) -> bool {
        self.path(profile).contains(&other)
    }
}
