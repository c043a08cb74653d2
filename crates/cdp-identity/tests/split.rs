//! Splits against a world in which the two were kept apart from the beginning.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/tables.rs"]
mod tables;

use cdp_identity::{split, NothingElse, Part, Side, Split};
use proptest::prelude::*;
use std::collections::BTreeSet;
use tables::{rules, Identifier, Tables};

fn pool() -> Vec<Identifier> {
    let kinds = [2, 3, 4, 5];
    let pairs = kinds
        .into_iter()
        .flat_map(|kind| [(kind, "0"), (kind, "1")]);
    pairs
        .map(|(kind, value)| (kind, format!("{kind}-{value}")))
        .collect()
}

fn script() -> impl Strategy<Value = Vec<BTreeSet<usize>>> {
    prop::collection::vec(prop::collection::btree_set(0..8usize, 1..4), 1..14)
}

fn run(script: &[BTreeSet<usize>], world: &mut Tables) {
    let pool = pool();
    for step in script {
        let identifiers: Vec<Identifier> = step.iter().map(|i| pool[*i].clone()).collect();
        world.take(&identifiers);
    }
}

/// Takes `right` off the person of `left`, if they are one.
fn part(world: &Tables, left: &Identifier, right: &Identifier) -> Option<(Split, Vec<Identifier>)> {
    let root = world
        .person(left)
        .filter(|person| world.person(right) == Some(*person))?;
    let (history, own) = world.history(root);
    let of = |identifier: &Identifier| Part::Identifiers(vec![identifier.clone()]);
    let split = split(&rules(), &history, &of(left), &of(right)).unwrap();
    Some((split, own))
}

/// Where the two came together, and what should not have happened there.
enum Mistake {
    /// This profile was absorbed.
    Merge(i64, usize),
    /// The identifiers that this message linked: the later of the two, or both.
    Link(Vec<Identifier>, usize),
}

fn mistake(world: &Tables, left: &Identifier, right: &Identifier) -> Mistake {
    let path = |profile: i64| {
        let mut path = vec![profile];
        while let Some(merge) = world
            .merges
            .iter()
            .find(|m| m.absorbed == path[path.len() - 1])
        {
            path.push(merge.survivor);
        }
        path
    };
    let (l, r) = (world.identifiers[left], world.identifiers[right]);
    let merge = |profile| world.merges.iter().find(|m| m.absorbed == profile).unwrap();
    let message = |profile| merge(profile).message.unwrap();
    let way = path(l.1);
    if l.1 != r.1 {
        match way.iter().position(|profile| *profile == r.1) {
            Some(position) if r.2 < message(way[position - 1]) => {
                return Mistake::Merge(way[position - 1], message(way[position - 1]));
            }
            Some(_) => return Mistake::Link(vec![right.clone()], r.2),
            None => return Mistake::Merge(r.1, message(r.1)),
        }
    }
    match l.2.cmp(&r.2) {
        std::cmp::Ordering::Less => Mistake::Link(vec![right.clone()], r.2),
        std::cmp::Ordering::Greater => Mistake::Link(vec![left.clone()], l.2),
        std::cmp::Ordering::Equal => Mistake::Link(vec![left.clone(), right.clone()], l.2),
    }
}

/// The world in which the mistake was not made.
fn without(mistake: &Mistake, world: &Tables, script: &[BTreeSet<usize>]) -> Tables {
    let mut ideal = Tables::default();
    match mistake {
        Mistake::Merge(absorbed, at) => {
            run(&script[..*at], &mut ideal);
            let survivor = world
                .merges
                .iter()
                .find(|m| m.absorbed == *absorbed)
                .unwrap()
                .survivor;
            ideal.splits.push((*absorbed, survivor));
            run(&script[*at..], &mut ideal);
        }
        Mistake::Link(identifiers, at) => {
            run(&script[..*at], &mut ideal);
            let person = world.identifiers[&identifiers[0]].1;
            let first = ideal.profiles + 1;
            for identifier in identifiers {
                ideal.profiles += 1;
                ideal
                    .identifiers
                    .insert(identifier.clone(), (ideal.profiles, ideal.profiles, *at));
            }
            if identifiers.len() > 1 {
                ideal.splits.push((first, first + 1));
            } else {
                ideal.splits.push((person, first));
            }
            run(&script[*at..], &mut ideal);
        }
    }
    ideal
}

/// Both sides are trees of profiles of their own.
fn check_shape(world: &Tables, split: &Split, own: &[Identifier]) -> Result<(), TestCaseError> {
    let sides: BTreeSet<Side> = split.identifiers.iter().copied().collect();
    prop_assert_eq!(sides.len(), 2);
    prop_assert_eq!(split.apart.is_none(), split.profiles.is_empty());
    for merge in &split.merges {
        prop_assert_eq!(
            split.profiles.contains(&merge.absorbed),
            split.profiles.contains(&merge.survivor)
        );
        prop_assert_ne!(Some(merge.absorbed), split.apart);
    }
    let root = world.person(&own[0]).unwrap();
    let absorbed = world
        .merges
        .iter()
        .filter(|m| world.canonical(m.absorbed) == root)
        .count();
    prop_assert_eq!(
        split.merges.len() + usize::from(split.apart.is_some()),
        absorbed
    );
    for (origin, side) in split.origins.iter().zip(&split.identifiers) {
        let with = origin
            .or(split.apart)
            .map(|origin| split.profiles.contains(&origin));
        prop_assert_eq!(with.unwrap_or(true), *side == Side::Apart);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: prop::test_runner::RngSeed::Fixed(7),
        ..ProptestConfig::with_cases(5_000)
    })]

    #[test]
    fn a_split_undoes_one_mistake(script in script(), left in 0..8usize, distance in 1..8usize) {
        let (left, right) = (pool()[left].clone(), pool()[(left + distance) % 8].clone());
        let mut world = Tables::default();
        run(&script, &mut world);
        let Some((split, own)) = part(&world, &left, &right) else { return Ok(()) };
        check_shape(&world, &split, &own)?;
        let side = |identifier: &Identifier| {
            own.iter().zip(&split.identifiers).find(|(own, _)| *own == identifier).map(|(_, side)| *side)
        };
        prop_assert_eq!(side(&right), Some(split.part));
        prop_assert_ne!(side(&left), Some(split.part));
        let ideal = without(&mistake(&world, &left, &right), &world, &script);
        let (l, r) = (ideal.person(&left), ideal.person(&right));
        if l == r {
            // The two would have met in another way, which the split keeps from happening.
            return Ok(());
        }
        for (identifier, side) in own.iter().zip(&split.identifiers) {
            let owner = ideal.person(identifier);
            if owner == r {
                prop_assert_eq!(*side, split.part, "{:?}", identifier);
            } else if owner == l {
                prop_assert_ne!(*side, split.part, "{:?}", identifier);
            }
        }
        // Messages go to the person that they would have gone to.
        for (position, identifiers) in world.messages.iter().enumerate() {
            let assigned = world.assigned[position];
            if world.canonical(assigned) != world.person(&left).unwrap() {
                continue;
            }
            let owner = Some(ideal.canonical(ideal.assigned[position]));
            let side = split.side_of(&rules(), assigned, identifiers);
            if owner == r {
                prop_assert_eq!(side, split.part, "message {}", position);
            } else if owner == l {
                prop_assert_ne!(side, split.part, "message {}", position);
            }
        }
    }

    #[test]
    fn an_identifier_can_be_taken_off_whoever_has_it(script in script(), right in 0..8usize) {
        let right = pool()[right].clone();
        let mut world = Tables::default();
        run(&script, &mut world);
        let Some(root) = world.person(&right) else { return Ok(()) };
        let (history, own) = world.history(root);
        let of = Part::Identifiers(vec![right.clone()]);
        match split(&rules(), &history, &Part::Rest, &of) {
            Ok(split) => check_shape(&world, &split, &own)?,
            Err(NothingElse) => prop_assert_eq!(own.len(), 1),
        }
        for absorbed in history.absorbed.iter().copied() {
            let split = split(&rules(), &history, &Part::Rest, &Part::Profile(absorbed)).unwrap();
            check_shape(&world, &split, &own)?;
        }
    }
}
