//! Taking two people apart that were taken for one.
//!
//! The outcome is the one there would be had they been kept apart all along. What was theirs before they met is
//! known exactly, because identifiers remember the profile that they were first linked to. What came after is
//! decided by the messages that brought it, in the order of arrival: the most trusted identifier of a message that
//! is known to be somebody's says whose the message is, and whatever it linked or merged goes to that person.

use crate::plan::MessageIdentifier;
use crate::rules::{KindId, Rules};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// An identifier of the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnIdentifier {
    pub kind: KindId,
    pub value: String,
    /// The profile that it was first linked to, before any merge.
    pub origin: i64,
    /// The message that linked it: a position in [`History::messages`]; None when that is not
    /// known any more.
    pub message: Option<usize>,
}

/// A merge that led to the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastMerge {
    pub absorbed: i64,
    /// The profile that it went into, which may itself have been absorbed later.
    pub survivor: i64,
    /// The message that brought the two together, as in [`OwnIdentifier::message`].
    pub message: Option<usize>,
}

/// How a person came to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The profile that stands for the person.
    pub root: i64,
    pub identifiers: Vec<OwnIdentifier>,
    pub merges: Vec<PastMerge>,
    /// The identifiers of the messages that linked or merged, in the order of arrival.
    pub messages: Vec<Vec<MessageIdentifier>>,
}

/// A part of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Identifiers; several where one value is an identifier of several kinds.
    Identifiers(Vec<(KindId, String)>),
    /// A profile that was absorbed, with all that it had.
    Profile(i64),
    /// Whatever is left.
    Rest,
}

/// The two parts cannot be taken apart: the person has nothing but one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the person has nothing else")]
pub struct NothingElse;

/// One of the two people after a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The one who keeps the profile of the person.
    Kept,
    /// The one who gets a profile back, or a new one.
    Apart,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::Kept => Side::Apart,
            Side::Apart => Side::Kept,
        }
    }
}

/// Who is who after a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Absorbed profiles that are the other person's now. Empty when there is none: then that
    /// person needs a new profile.
    pub profiles: BTreeSet<i64>,
    /// The side of each identifier, in the order of [`History::identifiers`].
    pub identifiers: Vec<Side>,
    /// The side of the part that was to be split off.
    pub part: Side,
    /// Profiles whose messages may be of either; those of all others go with their profile.
    pub shared: BTreeSet<i64>,
    owners: HashMap<KindId, HashMap<String, Side>>,
}

impl Split {
    /// Whose a message is that is stored under a profile: by its most trusted identifier that is
    /// one of theirs, else of whoever has the profile.
    pub fn side_of(&self, rules: &Rules, profile: i64, identifiers: &[MessageIdentifier]) -> Side {
        let by_profile = if self.profiles.contains(&profile) {
            Side::Apart
        } else {
            Side::Kept
        };
        if !self.shared.contains(&profile) {
            return by_profile;
        }
        let side = |i: &MessageIdentifier| self.owners.get(&i.kind)?.get(&i.value).copied();
        most_trusted(rules, identifiers, side).unwrap_or(by_profile)
    }
}

/// What the most trusted identifier says of those that say something; earlier ids (of an alias)
/// are asked last.
fn most_trusted<T>(
    rules: &Rules,
    identifiers: &[MessageIdentifier],
    ask: impl Fn(&MessageIdentifier) -> Option<T>,
) -> Option<T> {
    let mut ordered: Vec<&MessageIdentifier> = identifiers.iter().collect();
    ordered.sort_by_key(|i| (i.previous, rank(rules, i.kind)));
    ordered.into_iter().find_map(ask)
}

fn rank(rules: &Rules, kind: KindId) -> usize {
    rules.ranked(kind).map_or(usize::MAX, |ranked| ranked.rank)
}

/// Takes `part` off the person; `rest` is what it is to be kept apart from.
pub fn split(
    rules: &Rules,
    history: &History,
    rest: &Part,
    part: &Part,
) -> Result<Split, NothingElse> {
    let tree = Tree::new(history);
    let (part_node, rest_node) = (tree.node(part), tree.node(rest));
    // The merge to undo is the one by which the two came together.
    let (undone, part_side) = if part_node == rest_node {
        (None, Side::Apart)
    } else if tree.path(rest_node).contains(&part_node) {
        (tree.child_towards(part_node, rest_node), Side::Kept)
    } else {
        (Some(part_node), Side::Apart)
    };
    let mut work = Work::new(rules, history, &tree, undone, part_node);
    work.take_part(part, part_side);
    work.take_part(rest, part_side.other());
    work.set_unit(Unit::Branch(rest_node), part_side.other());
    if undone.is_none() || *rest == Part::Rest {
        // Somebody has to be the one who stays.
        work.keep_most_trusted(part)?;
    }
    work.decide(undone.and_then(|undone| tree.message(undone)));
    work.finish(part_side)
}

/// The merges as a tree: each absorbed profile below the one it went into.
struct Tree {
    merges: BTreeMap<i64, PastMerge>,
    origins: HashMap<KindId, HashMap<String, i64>>,
    root: i64,
}

impl Tree {
    fn new(history: &History) -> Tree {
        let mut origins: HashMap<KindId, HashMap<String, i64>> = HashMap::new();
        for identifier in &history.identifiers {
            origins
                .entry(identifier.kind)
                .or_default()
                .insert(identifier.value.clone(), identifier.origin);
        }
        Tree {
            merges: history.merges.iter().map(|m| (m.absorbed, *m)).collect(),
            origins,
            root: history.root,
        }
    }

    /// The profile that a part was first linked to.
    fn node(&self, part: &Part) -> i64 {
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

    /// The message by which a profile was absorbed.
    fn message(&self, absorbed: i64) -> Option<usize> {
        self.merges.get(&absorbed)?.message
    }

    fn parent(&self, profile: i64) -> Option<i64> {
        self.merges.get(&profile).map(|merge| merge.survivor)
    }

    /// From a profile up to the root, both included.
    fn path(&self, profile: i64) -> Vec<i64> {
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
    fn child_towards(&self, ancestor: i64, profile: i64) -> Option<i64> {
        let path = self.path(profile);
        path.into_iter()
            .find(|node| self.parent(*node) == Some(ancestor))
    }
}

/// What goes to one side as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Unit {
    /// An identifier that was linked to a profile that the two share, by its position.
    Identifier(usize),
    /// An absorbed profile with all below it.
    Branch(i64),
}

/// Units that are known to be one person's, and whose if that is known too.
#[derive(Debug, Clone, Default)]
struct Cluster {
    units: Vec<Unit>,
    side: Option<Side>,
}

struct Work<'a> {
    rules: &'a Rules,
    history: &'a History,
    tree: &'a Tree,
    /// The profiles that may hold things of either: from the one where the two came together up
    /// to the root.
    shared: BTreeSet<i64>,
    positions: HashMap<KindId, HashMap<&'a str, usize>>,
    clusters: Vec<Cluster>,
    cluster_of: HashMap<Unit, usize>,
}

impl<'a> Work<'a> {
    fn new(
        rules: &'a Rules,
        history: &'a History,
        tree: &'a Tree,
        undone: Option<i64>,
        within: i64,
    ) -> Work<'a> {
        let met = undone.map_or(within, |undone| tree.parent(undone).unwrap_or(history.root));
        let mut positions: HashMap<KindId, HashMap<&str, usize>> = HashMap::new();
        for (position, identifier) in history.identifiers.iter().enumerate() {
            positions
                .entry(identifier.kind)
                .or_default()
                .insert(&identifier.value, position);
        }
        let mut work = Work {
            rules,
            history,
            tree,
            shared: tree.path(met).into_iter().chain([history.root]).collect(),
            positions,
            clusters: Vec::new(),
            cluster_of: HashMap::new(),
        };
        if let Some(undone) = undone {
            work.set_unit(Unit::Branch(undone), Side::Apart);
        }
        work
    }

    fn unit_of_profile(&self, profile: i64) -> Option<Unit> {
        let below = |node: &i64| !self.shared.contains(node);
        let highest = self.tree.path(profile).into_iter().take_while(below).last();
        highest.map(Unit::Branch)
    }

    fn unit(&self, position: usize) -> Option<Unit> {
        let identifier = self.history.identifiers.get(position)?;
        Some(
            self.unit_of_profile(identifier.origin)
                .unwrap_or(Unit::Identifier(position)),
        )
    }

    fn position(&self, kind: KindId, value: &str) -> Option<usize> {
        self.positions.get(&kind)?.get(value).copied()
    }

    fn cluster(&mut self, unit: Unit) -> usize {
        let clusters = &mut self.clusters;
        *self.cluster_of.entry(unit).or_insert_with(|| {
            clusters.push(Cluster {
                units: vec![unit],
                side: None,
            });
            clusters.len() - 1
        })
    }

    fn side_of_unit(&self, unit: Unit) -> Option<Side> {
        let cluster = self.cluster_of.get(&unit)?;
        self.clusters.get(*cluster)?.side
    }

    /// Gives a unit, and what it is known to be one with, to a side, unless it has one.
    fn set_unit(&mut self, unit: Unit, side: Side) {
        let unit = match unit {
            Unit::Branch(profile) => match self.unit_of_profile(profile) {
                Some(unit) => unit,
                None => return,
            },
            unit => unit,
        };
        let cluster = self.cluster(unit);
        if let Some(cluster) = self.clusters.get_mut(cluster) {
            cluster.side.get_or_insert(side);
        }
    }

    fn take_part(&mut self, part: &Part, side: Side) {
        if let Part::Identifiers(identifiers) = part {
            for (kind, value) in identifiers {
                let position = self.position(*kind, value);
                if let Some(unit) = position.and_then(|position| self.unit(position)) {
                    self.set_unit(unit, side);
                }
            }
        }
    }

    /// Says that the most trusted identifier of the shared profiles other than the part stays.
    fn keep_most_trusted(&mut self, part: &Part) -> Result<(), NothingElse> {
        let part: &[(KindId, String)] = match part {
            Part::Identifiers(identifiers) => identifiers,
            Part::Profile(_) | Part::Rest => &[],
        };
        let is_part = |i: &OwnIdentifier| part.iter().any(|p| p.0 == i.kind && p.1 == i.value);
        let others = self.history.identifiers.iter().enumerate();
        let trusted = others
            .filter(|(position, i)| {
                let side = self.unit(*position).and_then(|unit| self.side_of_unit(unit));
                !is_part(i) && side != Some(Side::Apart)
            })
            .min_by_key(|(position, i)| {
                let elsewhere = !self.shared.contains(&i.origin);
                (elsewhere, rank(self.rules, i.kind), i.message, *position)
            });
        let (position, _) = trusted.ok_or(NothingElse)?;
        if let Some(unit) = self.unit(position) {
            self.set_unit(unit, Side::Kept);
        }
        Ok(())
    }

    /// Goes through the messages in the order of arrival. `met` is the one by which the two came
    /// together: what the shared profiles had before it stays with them.
    fn decide(&mut self, met: Option<usize>) {
        for (position, identifier) in self.history.identifiers.iter().enumerate() {
            let before = match (identifier.message, met) {
                (Some(message), Some(met)) => message < met,
                (None, _) => true,
                (Some(_), None) => false,
            };
            if before && self.shared.contains(&identifier.origin) {
                self.set_unit(Unit::Identifier(position), Side::Kept);
            }
        }
        for merge in &self.history.merges {
            let before = match (merge.message, met) {
                (Some(message), Some(met)) => message < met,
                (None, _) => true,
                (Some(_), None) => false,
            };
            if before && self.shared.contains(&merge.survivor) {
                self.set_unit(Unit::Branch(merge.absorbed), Side::Kept);
            }
        }
        for (message, identifiers) in self.history.messages.iter().enumerate() {
            let side = most_trusted(self.rules, identifiers, |i| {
                let unit = self.present(message, i)?;
                self.side_of_unit(unit)
            });
            let present: BTreeSet<Unit> = identifiers
                .iter()
                .filter_map(|i| self.present(message, i))
                .collect();
            match side {
                Some(side) => {
                    for unit in present {
                        self.set_unit(unit, side);
                    }
                }
                None => self.unite(&present),
            }
        }
    }

    /// The unit of an identifier of a message, if it was the person's by then.
    fn present(&self, message: usize, identifier: &MessageIdentifier) -> Option<Unit> {
        let position = self.position(identifier.kind, &identifier.value)?;
        let unit = self.unit(position)?;
        let since = match unit {
            Unit::Identifier(position) => self.history.identifiers.get(position)?.message,
            Unit::Branch(profile) => self.tree.message(profile),
        };
        since
            .is_none_or(|since| since <= message)
            .then_some(unit)
    }

    /// Notes that units of whom nothing else is known are one person's.
    fn unite(&mut self, units: &BTreeSet<Unit>) {
        let clusters: BTreeSet<usize> = units.iter().map(|unit| self.cluster(*unit)).collect();
        let mut clusters = clusters.into_iter();
        let Some(first) = clusters.next() else { return };
        for other in clusters {
            let moved = self.clusters.get_mut(other).map(std::mem::take);
            for unit in moved.map(|cluster| cluster.units).unwrap_or_default() {
                self.cluster_of.insert(unit, first);
                if let Some(cluster) = self.clusters.get_mut(first) {
                    cluster.units.push(unit);
                }
            }
        }
    }

    fn finish(self, part: Side) -> Result<Split, NothingElse> {
        let side = |unit: Option<Unit>| {
            let side = unit.and_then(|unit| self.side_of_unit(unit));
            side.unwrap_or(Side::Kept)
        };
        let profiles: BTreeSet<i64> = self
            .tree
            .merges
            .keys()
            .copied()
            .filter(|profile| side(self.unit_of_profile(*profile)) == Side::Apart)
            .collect();
        let identifiers: Vec<Side> = (0..self.history.identifiers.len())
            .map(|position| side(self.unit(position)))
            .collect();
        let mut owners: HashMap<KindId, HashMap<String, Side>> = HashMap::new();
        for (identifier, side) in self.history.identifiers.iter().zip(&identifiers) {
            owners
                .entry(identifier.kind)
                .or_default()
                .insert(identifier.value.clone(), *side);
        }
        let nobody_apart = profiles.is_empty() && !identifiers.contains(&Side::Apart);
        if nobody_apart || !identifiers.contains(&Side::Kept) {
            return Err(NothingElse);
        }
        Ok(Split {
            profiles,
            identifiers,
            part,
            shared: self.shared,
            owners,
        })
    }
}
