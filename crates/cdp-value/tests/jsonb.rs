//! Binary JSON: against what Postgres stored and prints, and against damage.
#![cfg(target_endian = "little")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use cdp_value::{Jsonb, Value};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;

/// Bytes and values.
fn stored() -> Vec<(Vec<u8>, Value)> {
    let lines = include_str!("postgres_jsonb.tsv").lines();
    let lines = lines.filter(|line| !line.starts_with('#'));
    let pairs = lines.map(|line| line.split_once('\t').unwrap());
    pairs
        .map(|(hex, text)| {
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            let bytes = (0..hex.len()).step_by(2).map(byte).collect();
            let text = text.replace("\\\\", "\\");
            (
                bytes,
                Value::from_json(&serde_json::from_str(&text).unwrap()),
            )
        })
        .collect()
}

fn lookup<'v>(value: &'v Value, path: &[String]) -> &'v Value {
    path.iter().fold(value, |value, name| match value {
        Value::Object(members) => members
            .iter()
            .find(|member| member.0 == *name)
            .map_or(&Value::Null, |member| &member.1),
        _ => &Value::Null,
    })
}

/// Every path of member names, and some that lead nowhere.
fn paths(value: &Value, path: &[String], all: &mut Vec<Vec<String>>) {
    let further = |name: &str| [path, &[name.to_string()]].concat();
    all.push(path.to_vec());
    if !matches!(value, Value::Array(_)) {
        all.push(further("nowhere"));
    }
    if let Value::Object(members) = value {
        for (name, member) in members {
            paths(member, &further(name), all);
        }
    }
}

#[test]
fn reads_what_postgres_stores() {
    let stored = stored();
    assert_eq!(stored.len(), 139);
    for (bytes, value) in &stored {
        let jsonb = Jsonb(bytes);
        assert_eq!(jsonb.value().as_ref(), Some(value));
        let mut all = Vec::new();
        paths(value, &[], &mut all);
        for path in all {
            let found = jsonb.lookup(&path);
            assert_eq!(found.as_ref(), Some(lookup(value, &path)), "{path:?}");
        }
        let Value::Object(members) = value else {
            assert_eq!(jsonb.members(&["a".into()]).as_ref(), Some(value));
            continue;
        };
        let some: Vec<_> = members.iter().step_by(3).cloned().collect();
        let mut names: Vec<String> = some.iter().map(|member| member.0.clone()).collect();
        names.push("\u{10ffff}nowhere".to_string());
        assert_eq!(jsonb.members(&names), Some(Value::Object(some)));
    }
}

#[test]
fn a_path_through_a_list_is_left_to_others() {
    for (bytes, value) in stored() {
        if matches!(value, Value::Array(_)) {
            assert_eq!(Jsonb(&bytes).lookup(&["0".into()]), None);
        }
    }
}

#[test]
fn endless_nesting_is_left_to_others() {
    // A list of one list of one list, without end but that of the bytes.
    let one: Vec<u8> = [0x4000_0001u32, 0x5000_0000]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    let mut nested = Vec::new();
    for level in (0..10_000u32).rev() {
        nested.extend_from_slice(&one[..4]);
        nested.extend_from_slice(&(0x5000_0000 | (level * 8)).to_ne_bytes());
    }
    assert_eq!(Jsonb(&nested).value(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(7), failure_persistence: None, cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_no_panic(
        chosen: Index,
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..6),
        end in prop::option::of(any::<Index>()),
    ) {
        let mut bytes = stored()[chosen.index(60)].0.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        let jsonb = Jsonb(&bytes);
        let _ = jsonb.value();
        let _ = jsonb.lookup(&["deep".into(), "er".into()]);
        let _ = jsonb.members(&["a".into(), "total".into()]);
    }
}
