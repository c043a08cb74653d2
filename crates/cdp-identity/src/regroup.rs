//! What the history of two people looks like after they were taken apart: how the profiles of each came together,
//! and to which of them each identifier was first linked.
//!
//! The messages tell it: what happened is gone through once more in the order of arrival, for each of the two alone.
//! A profile that had joined one of the other person's, or an identifier that was first linked to one, goes to the
//! profile of its own person that the message was known by.

use crate::history::{History, OwnIdentifier, PastMerge};
use crate::plan::MessageIdentifier;
use crate::rules::{KindId, Rules};
use crate::split::{most_trusted, Side};
use crate::tree::{Moment, Tree};
use std::collections::{BTreeSet, HashMap};

/// The history of both people.
pub(crate) struct Regrouped {
    /// One for each profile that stands for neither of the two.
    pub merges: Vec<PastMerge>,
    /// The profile that each identifier was first linked to, in the order of [`History::identifiers`]; None: the
    /// one that is yet to be made.
    pub origins: Vec<Option<i64>>,
}

/// Who gets what.
pub(crate) struct Sides<'a> {
    /// Absorbed profiles that go to the person apart.
    pub profiles: &'a BTreeSet<i64>,
    /// The profile that stands for the person apart.
    pub apart: Option<i64>,
    /// The side of each identifier, in the order of [`History::identifiers`].
    pub identifiers: &'a [Side],
}

impl Sides<'_> {
    fn of_profile(&self, profile: i64) -> Side {
        if self.profiles.contains(&profile) {
            Side::Apart
        } else {
            Side::Kept
        }
    }

    fn root(&self, side: Side, history: &History) -> Option<i64> {
        match side {
            Side::Kept => Some(history.root),
            Side::Apart => self.apart,
        }
    }
}

pub(crate) fn regroup(rules: &Rules, history: &History, tree: &Tree, sides: &Sides) -> Regrouped {
    let mut retelling = Retelling::new(rules, history, tree, sides);
    let mut happened: Vec<(Option<Moment>, Happened)> = history
        .merges
        .iter()
        .map(|merge| (tree.moment(merge.absorbed), Happened::Merge(merge)))
        .chain(
            history
                .identifiers
                .iter()
                .enumerate()
                .map(|(position, own)| (own.message.map(Moment::of), Happened::Link(position))),
        )
        .collect();
    // What is not known to have come later was there from the start.
    happened.sort_by_key(|(moment, _)| *moment);
    for (_, what) in happened {
        match what {
            Happened::Merge(merge) => retelling.merge(merge),
            Happened::Link(position) => retelling.link(position),
        }
    }
    retelling.finish()
}

enum Happened<'a> {
    Merge(&'a PastMerge),
    Link(usize),
}

struct Retelling<'a> {
    rules: &'a Rules,
    history: &'a History,
    /// The profiles as they came together.
    tree: &'a Tree,
    sides: &'a Sides<'a>,
    positions: HashMap<KindId, HashMap<&'a str, usize>>,
    /// The profile that each absorbed one goes into now, and the message that did it.
    parents: HashMap<i64, (i64, Option<usize>)>,
    origins: Vec<Option<i64>>,
}

impl<'a> Retelling<'a> {
    fn new(
        rules: &'a Rules,
        history: &'a History,
        tree: &'a Tree,
        sides: &'a Sides,
    ) -> Retelling<'a> {
        let mut positions: HashMap<KindId, HashMap<&str, usize>> = HashMap::new();
        for (position, own) in history.identifiers.iter().enumerate() {
            positions
                .entry(own.kind)
                .or_default()
                .insert(&own.value, position);
        }
        let stays = |(own, side): (&OwnIdentifier, &Side)| {
            Some(own.origin).filter(|origin| sides.of_profile(*origin) == *side)
        };
        Retelling {
            rules,
            history,
            tree,
            sides,
            positions,
            parents: HashMap::new(),
            origins: history
                .identifiers
                .iter()
                .zip(sides.identifiers)
                .map(stays)
                .collect(),
        }
    }

    fn merge(&mut self, merge: &PastMerge) {
        let side = self.sides.of_profile(merge.absorbed);
        if side == self.sides.of_profile(merge.survivor) {
            self.unite(merge.absorbed, merge.survivor, merge.message);
            return;
        }
        let other = self.known_by(merge.message, side, |origin| {
            !self.tree.is_below(origin, merge.absorbed)
        });
        if let Some(other) = other {
            self.unite(merge.absorbed, other, merge.message);
        }
        // Whoever else of one side the message was about became one by it too.
        for side in [Side::Kept, Side::Apart] {
            let known = self.all_known_by(merge.message, side);
            for pair in known.windows(2) {
                if let [a, b] = pair {
                    self.unite(*a, *b, merge.message);
                }
            }
        }
    }

    fn link(&mut self, position: usize) {
        let Some(side) = self.sides.identifiers.get(position).copied() else {
            return;
        };
        if self.origins.get(position).copied().flatten().is_some() {
            return;
        }
        let own = self.history.identifiers.get(position);
        let origin = self
            .known_by(own.and_then(|own| own.message), side, |_| true)
            .map(|origin| self.top(origin))
            .or_else(|| self.sides.root(side, self.history));
        if let Some(slot) = self.origins.get_mut(position) {
            *slot = origin;
        }
    }

    /// The profile of one of the two that a message was known by: that of the most trusted identifier which was
    /// linked before the message.
    fn known_by(
        &self,
        message: Option<usize>,
        side: Side,
        fits: impl Fn(i64) -> bool,
    ) -> Option<i64> {
        let identifiers = self.history.messages.get(message?)?;
        most_trusted(self.rules, identifiers, |i| {
            self.origin_before(message, side, i)
                .filter(|origin| fits(*origin))
        })
    }

    /// All profiles of one of the two that a message was known by.
    fn all_known_by(&self, message: Option<usize>, side: Side) -> Vec<i64> {
        let identifiers = message.and_then(|message| self.history.messages.get(message));
        let identifiers = identifiers.into_iter().flatten();
        identifiers
            .filter_map(|i| self.origin_before(message, side, i))
            .collect()
    }

    /// The profile that an identifier of one of the two was first linked to, if that was before the message.
    fn origin_before(
        &self,
        message: Option<usize>,
        side: Side,
        identifier: &MessageIdentifier,
    ) -> Option<i64> {
        let position = *self
            .positions
            .get(&identifier.kind)?
            .get(identifier.value.as_str())?;
        let is_earlier = self.history.identifiers.get(position)?.message != message;
        let is_own = self.sides.identifiers.get(position) == Some(&side);
        let origin = self.origins.get(position).copied().flatten()?;
        (is_earlier && is_own).then_some(origin)
    }

    fn top(&self, profile: i64) -> i64 {
        let mut current = profile;
        while let Some((parent, _)) = self.parents.get(&current) {
            current = *parent;
        }
        current
    }

    fn unite(&mut self, a: i64, b: i64, message: Option<usize>) {
        let (a, b) = (self.top(a), self.top(b));
        if a != b {
            let (survivor, absorbed) = if self.age(a) < self.age(b) {
                (a, b)
            } else {
                (b, a)
            };
            self.parents.insert(absorbed, (survivor, message));
        }
    }

    /// The oldest has the smallest; whoever stands for one of the two is taken for the oldest.
    fn age(&self, profile: i64) -> usize {
        if profile == self.history.root || Some(profile) == self.sides.apart {
            return 0;
        }
        let absorbed = &self.history.absorbed;
        let place = absorbed.iter().position(|other| *other == profile);
        place.map_or(usize::MAX, |place| place + 1)
    }

    fn finish(mut self) -> Regrouped {
        let mut merges = Vec::with_capacity(self.history.merges.len());
        for merge in &self.history.merges {
            let absorbed = merge.absorbed;
            let root = self
                .sides
                .root(self.sides.of_profile(absorbed), self.history);
            let Some(root) = root.filter(|root| *root != absorbed) else {
                continue;
            };
            // Nothing tells by what it came to the others of its side.
            if !self.parents.contains_key(&absorbed) {
                let together = self.together(absorbed, root);
                self.parents.insert(absorbed, (root, together));
            }
            if let Some((survivor, message)) = self.parents.get(&absorbed).copied() {
                merges.push(PastMerge {
                    absorbed,
                    survivor,
                    message,
                });
            }
        }
        Regrouped {
            merges,
            origins: self.origins,
        }
    }

    /// The message since which two profiles were one, as it was: the last on the way between them.
    fn together(&self, a: i64, b: i64) -> Option<usize> {
        let (above_a, above_b) = (self.tree.path(a), self.tree.path(b));
        let edges =
            self.history.merges.iter().filter(|merge| {
                above_a.contains(&merge.absorbed) != above_b.contains(&merge.absorbed)
            });
        edges.filter_map(|merge| merge.message).max()
    }
}
