//! Taking two people apart that were taken for one.
//!
//! The outcome is the one there would be had they been kept apart all along. What was theirs before they met is
//! known exactly, because identifiers remember the profile that they were first linked to. What came after is
//! decided by the messages that brought it, in the order of arrival: the most trusted identifier of a message that
//! is known to be somebody's says whose the message is, and whatever it linked or merged goes to that person.

use crate::history::{History, Part, PastMerge};
use crate::plan::MessageIdentifier;
use crate::regroup::{regroup, Sides};
use crate::rules::{KindId, Rules};
use crate::tree::{Moment, Tree};
use std::collections::{BTreeSet, HashMap};

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

/// Who is who after a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The profile that the one apart gets back: the oldest of theirs. None when all stay: then
    /// that person needs a new one.
    pub apart: Option<i64>,
    /// Absorbed profiles that are no longer the person's.
    pub profiles: BTreeSet<i64>,
    /// The merges that stay in force, for both.
    pub merges: Vec<PastMerge>,
    /// The profile that each identifier was first linked to, in the order of
    /// [`History::identifiers`]; None: the one that is yet to be made for the person apart.
    pub origins: Vec<Option<i64>>,
    /// The side of each identifier, in the order of [`History::identifiers`].
    pub identifiers: Vec<Side>,
    /// The side of the part that was to be split off.
    pub part: Side,
    owners: HashMap<KindId, HashMap<String, Side>>,
}

impl Split {
    /// Whose a message is that is stored under a profile: by its most trusted identifier that is
    /// one of theirs, else of whoever has the profile. Earlier splits may have left it with a profile
    /// that has moved to the other side since.
    pub fn side_of(&self, rules: &Rules, profile: i64, identifiers: &[MessageIdentifier]) -> Side {
        let by_profile = if self.profiles.contains(&profile) {
            Side::Apart
        } else {
            Side::Kept
        };
        let side = |i: &MessageIdentifier| self.owners.get(&i.kind)?.get(&i.value).copied();
        most_trusted(rules, identifiers, side).unwrap_or(by_profile)
    }
}

/// One of the two, before it is known who keeps the profile of the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    /// Who has the profile in which the two came together.
    Near,
    /// Who came to it.
    Far,
}

impl Half {
    fn other(self) -> Half {
        match self {
            Half::Near => Half::Far,
            Half::Far => Half::Near,
        }
    }
}

/// What the most trusted identifier says of those that say something; earlier ids (of an alias)
/// are asked last.
pub(crate) fn most_trusted<T>(
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
///
/// If the part came in by a merge, it is as if that merge had not happened. If it was linked to the
/// profile that the rest is in, or the other way round, it is as if the later of the two had not
/// been linked. What came through both, in one message, stays with the more trusted.
pub fn split(
    rules: &Rules,
    history: &History,
    rest: &Part,
    part: &Part,
) -> Result<Split, NothingElse> {
    let tree = Tree::new(history);
    let part_node = tree.node(part);
    let chosen;
    let rest = match (rest, part) {
        (Part::Identifiers(_), _) | (_, Part::Profile(_)) => rest,
        _ if tree.node(rest) != part_node => rest,
        _ => {
            chosen = rest_of(rules, history, part_node, part)?;
            &chosen
        }
    };
    let rest_node = tree.node(rest);
    let mistake = if matches!(part, Part::Profile(_)) {
        Mistake::merge(&tree, part_node, Half::Far)
    } else if part_node == rest_node {
        Mistake::link(history, part_node, rest, part)
    } else if tree.path(rest_node).contains(&part_node) {
        // The rest was merged into the part's profile: that is undone, unless the part was linked
        // only when the two were one already.
        let child = tree
            .child_towards(part_node, rest_node)
            .unwrap_or(rest_node);
        match (linked(history, part), tree.moment(child)) {
            (Some(linked), Some(merged)) if Moment::of(linked) >= merged => Mistake {
                undone: None,
                within: part_node,
                met: Some(Moment::of(linked)),
                part: Half::Far,
            },
            _ => Mistake::merge(&tree, child, Half::Near),
        }
    } else {
        Mistake::merge(&tree, part_node, Half::Far)
    };
    let mut work = Work::new(rules, history, &tree, &mistake);
    work.take_part(part, mistake.part);
    work.take_part(rest, mistake.part.other());
    if !work.shared.contains(&rest_node) {
        work.set_profile(rest_node, mistake.part.other());
    }
    work.keep_what_was_before(mistake.met);
    work.decide();
    work.finish(mistake.part)
}

/// What should not have happened.
struct Mistake {
    /// The profile that was absorbed; None if an identifier was linked.
    undone: Option<i64>,
    /// The profile that absorbed it, or that the identifier was linked to.
    within: i64,
    /// When it happened; None when that is not known, or when it made both at once.
    met: Option<Moment>,
    /// Whether the part was in the profile before, or came to it.
    part: Half,
}

impl Mistake {
    fn merge(tree: &Tree, undone: i64, part: Half) -> Mistake {
        Mistake {
            undone: Some(undone),
            within: tree.parent(undone).unwrap_or(tree.root),
            met: tree.moment(undone),
            part,
        }
    }

    /// Both were linked to one profile: the later of the two should not have been.
    fn link(history: &History, within: i64, rest: &Part, part: &Part) -> Mistake {
        let (met, part) = match (linked(history, part), linked(history, rest)) {
            (Some(part), Some(rest)) if part < rest => (Some(rest), Half::Near),
            (Some(part), Some(rest)) if part == rest => (None, Half::Far),
            (part, _) => (part, Half::Far),
        };
        Mistake {
            undone: None,
            within,
            met: met.map(Moment::of),
            part,
        }
    }
}

/// Who is to stay, where the caller does not say: whoever was in the profile before the part was
/// linked to it, and if nobody was, the most trusted identifier that came to it.
fn rest_of(
    rules: &Rules,
    history: &History,
    within: i64,
    part: &Part,
) -> Result<Part, NothingElse> {
    let Part::Identifiers(taken) = part else {
        return Err(NothingElse);
    };
    let others = history
        .identifiers
        .iter()
        .filter(|i| !taken.iter().any(|p| p.0 == i.kind && p.1 == i.value));
    let first = linked(history, part);
    let chosen = others.min_by_key(|i| {
        let elsewhere = i.origin != within;
        let later = elsewhere || i.message >= first;
        (later, elsewhere, rank(rules, i.kind), i.message)
    });
    let chosen = chosen.ok_or(NothingElse)?;
    Ok(Part::Identifiers(vec![(chosen.kind, chosen.value.clone())]))
}

/// The message that linked the first identifier of a part.
fn linked(history: &History, part: &Part) -> Option<usize> {
    let Part::Identifiers(identifiers) = part else {
        return None;
    };
    let (kind, value) = identifiers.first()?;
    let own = history.identifiers.iter();
    own.filter(|i| i.kind == *kind && i.value == *value)
        .find_map(|i| i.message)
}

/// What goes to one of the two as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Unit {
    /// An identifier that was linked when the two were one, by its position.
    Identifier(usize),
    /// A profile with all that it had when it became one with them.
    Profile(i64),
}

/// Units that are known to be one person's, and whose if that is known too.
#[derive(Debug, Clone, Default)]
struct Cluster {
    units: Vec<Unit>,
    half: Option<Half>,
}

struct Work<'a> {
    rules: &'a Rules,
    history: &'a History,
    tree: &'a Tree,
    /// The profiles that hold things of both: from the one in which the two came together up to
    /// the root.
    shared: Vec<i64>,
    positions: HashMap<KindId, HashMap<&'a str, usize>>,
    clusters: Vec<Cluster>,
    cluster_of: HashMap<Unit, usize>,
}

impl<'a> Work<'a> {
    fn new(rules: &'a Rules, history: &'a History, tree: &'a Tree, mistake: &Mistake) -> Work<'a> {
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
            shared: tree.path(mistake.within),
            positions,
            clusters: Vec::new(),
            cluster_of: HashMap::new(),
        };
        if let Some(undone) = mistake.undone {
            work.set_profile(undone, Half::Far);
        }
        work
    }

    /// When a shared profile absorbed the ones that were shared before; None for the first of them.
    fn joined(&self, shared: i64) -> Option<Moment> {
        let place = self.shared.iter().position(|profile| *profile == shared)?;
        let before = self.shared.get(place.checked_sub(1)?)?;
        self.tree.moment(*before)
    }

    /// Whether something that happened to a shared profile did so before the two were in it.
    fn is_earlier(&self, shared: i64, happened: Option<Moment>) -> bool {
        if self.shared.first() == Some(&shared) {
            return false;
        }
        match (happened, self.joined(shared)) {
            (Some(happened), Some(joined)) => happened < joined,
            (happened, _) => happened.is_none(),
        }
    }

    /// What a profile goes with.
    fn unit_of_profile(&self, profile: i64) -> Unit {
        let mut highest = profile;
        while !self.shared.contains(&highest) {
            let Some(parent) = self.tree.parent(highest) else {
                break;
            };
            if self.shared.contains(&parent) {
                if self.is_earlier(parent, self.tree.moment(highest)) {
                    highest = parent;
                }
                break;
            }
            highest = parent;
        }
        Unit::Profile(highest)
    }

    fn unit(&self, position: usize) -> Option<Unit> {
        let identifier = self.history.identifiers.get(position)?;
        let origin = identifier.origin;
        if self.shared.contains(&origin)
            && !self.is_earlier(origin, identifier.message.map(Moment::of))
        {
            return Some(Unit::Identifier(position));
        }
        Some(self.unit_of_profile(origin))
    }

    fn position(&self, kind: KindId, value: &str) -> Option<usize> {
        self.positions.get(&kind)?.get(value).copied()
    }

    fn cluster(&mut self, unit: Unit) -> usize {
        let clusters = &mut self.clusters;
        *self.cluster_of.entry(unit).or_insert_with(|| {
            clusters.push(Cluster {
                units: vec![unit],
                half: None,
            });
            clusters.len() - 1
        })
    }

    fn half(&self, unit: Unit) -> Option<Half> {
        let cluster = self.cluster_of.get(&unit)?;
        self.clusters.get(*cluster)?.half
    }

    /// Gives a unit, and what it is known to be one with, to one of the two, unless it has an
    /// owner.
    fn set(&mut self, unit: Unit, half: Half) {
        let cluster = self.cluster(unit);
        if let Some(cluster) = self.clusters.get_mut(cluster) {
            cluster.half.get_or_insert(half);
        }
    }

    fn set_profile(&mut self, profile: i64, half: Half) {
        self.set(self.unit_of_profile(profile), half);
    }

    fn take_part(&mut self, part: &Part, half: Half) {
        if let Part::Identifiers(identifiers) = part {
            for (kind, value) in identifiers {
                let position = self.position(*kind, value);
                if let Some(unit) = position.and_then(|position| self.unit(position)) {
                    self.set(unit, half);
                }
            }
        }
    }

    /// What the profile in which the two came together had before they met stays with it; so does
    /// what is not known to have come later.
    fn keep_what_was_before(&mut self, met: Option<Moment>) {
        let Some(first) = self.shared.first().copied() else {
            return;
        };
        let is_before = |happened: Option<Moment>| match (happened, met) {
            (Some(happened), Some(met)) => happened < met,
            (happened, _) => happened.is_none(),
        };
        for (position, identifier) in self.history.identifiers.iter().enumerate() {
            if identifier.origin == first && is_before(identifier.message.map(Moment::of)) {
                self.set(Unit::Identifier(position), Half::Near);
            }
        }
        for merge in &self.history.merges {
            if merge.survivor == first && is_before(self.tree.moment(merge.absorbed)) {
                self.set_profile(merge.absorbed, Half::Near);
            }
        }
    }

    /// Goes through the messages in the order of arrival.
    fn decide(&mut self) {
        for (message, identifiers) in self.history.messages.iter().enumerate() {
            let present: BTreeSet<Unit> = identifiers
                .iter()
                .filter_map(|i| self.present(message, i))
                .collect();
            let half = most_trusted(self.rules, identifiers, |i| {
                self.half(self.present(message, i)?)
            });
            match half {
                Some(half) => {
                    for unit in present {
                        self.set(unit, half);
                    }
                }
                None => self.unite(&present),
            }
        }
    }

    /// The unit of an identifier of a message, if it was one with the two by then.
    fn present(&self, message: usize, identifier: &MessageIdentifier) -> Option<Unit> {
        let position = self.position(identifier.kind, &identifier.value)?;
        let unit = self.unit(position)?;
        let since = match unit {
            Unit::Identifier(position) => {
                let own = self.history.identifiers.get(position)?;
                own.message.map(Moment::of)
            }
            Unit::Profile(profile) if self.shared.contains(&profile) => self.joined(profile),
            Unit::Profile(profile) => self.tree.moment(profile),
        };
        let at = Moment::of(message);
        since.is_none_or(|since| since <= at).then_some(unit)
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

    fn finish(self, part: Half) -> Result<Split, NothingElse> {
        let of_profile = |profile: i64| match self.unit_of_profile(profile) {
            Unit::Profile(first) if self.shared.first() == Some(&first) => Half::Near,
            unit => self.half(unit).unwrap_or(Half::Near),
        };
        let kept = of_profile(self.history.root);
        let side = |half: Half| {
            if half == kept {
                Side::Kept
            } else {
                Side::Apart
            }
        };
        let absorbed = self.history.absorbed.iter().copied();
        let profiles: BTreeSet<i64> = absorbed
            .filter(|profile| of_profile(*profile) != kept)
            .collect();
        let identifiers: Vec<Side> = (0..self.history.identifiers.len())
            .map(|position| {
                let half = self.unit(position).and_then(|unit| match unit {
                    Unit::Profile(profile) => Some(of_profile(profile)),
                    unit => self.half(unit),
                });
                side(half.unwrap_or(Half::Near))
            })
            .collect();
        let mut owners: HashMap<KindId, HashMap<String, Side>> = HashMap::new();
        for (identifier, side) in self.history.identifiers.iter().zip(&identifiers) {
            owners
                .entry(identifier.kind)
                .or_default()
                .insert(identifier.value.clone(), *side);
        }
        if !identifiers.contains(&Side::Apart) || !identifiers.contains(&Side::Kept) {
            return Err(NothingElse);
        }
        let apart = self
            .history
            .absorbed
            .iter()
            .copied()
            .find(|profile| profiles.contains(profile));
        let sides = Sides {
            profiles: &profiles,
            apart,
            identifiers: &identifiers,
        };
        let regrouped = regroup(self.rules, self.history, self.tree, &sides);
        Ok(Split {
            apart,
            merges: regrouped.merges,
            origins: regrouped.origins,
            profiles,
            identifiers,
            part: side(part),
            owners,
        })
    }
}
