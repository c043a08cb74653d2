//! The traits that identify and group calls give to a person or a group.
//!
//! The newest value of each trait wins, by the time of its message and not by its arrival, so that late
//! messages and merges of people end with the same traits in whatever order they come. Of two values of one
//! instant the one applied later stays. Nested objects merge by key; null removes.

use cdp_value::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Traits, and when each was set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traits {
    /// Leaves by JSON pointer; a leaf without value was removed.
    leaves: BTreeMap<String, Leaf>,
}

#[derive(Debug, Clone, PartialEq)]
struct Leaf {
    at: Timestamp,
    value: Option<Value>,
}

/// A top-level trait that has another value than before.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    pub key: String,
    pub old: Option<Value>,
    pub new: Option<Value>,
}

impl Traits {
    /// Reads what [`Traits::values`] and [`Traits::times`] wrote.
    pub fn from_json(values: &Value, times: &Value) -> Traits {
        let mut traits = Traits::default();
        if let Value::Object(times) = times {
            for (pointer, at) in times {
                let value = values.pointer(pointer).cloned();
                traits.leaves.insert(
                    pointer.clone(),
                    Leaf {
                        at: at.as_i64().unwrap_or(0),
                        value,
                    },
                );
            }
        }
        traits
    }

    /// The traits as one object.
    pub fn values(&self) -> Value {
        let mut root = Map::new();
        for (pointer, leaf) in &self.leaves {
            if let Some(value) = &leaf.value {
                put(&mut root, pointer, value.clone());
            }
        }
        Value::Object(root)
    }

    /// When each leaf was set or removed, in microseconds since 1970, by JSON pointer.
    pub fn times(&self) -> Value {
        Value::Object(
            self.leaves
                .iter()
                .map(|(pointer, leaf)| (pointer.clone(), Value::from(leaf.at)))
                .collect(),
        )
    }

    /// Applies the traits of one message.
    pub fn apply(&mut self, traits: &Value, at: Timestamp) {
        if let Value::Object(members) = traits {
            for (key, value) in members {
                self.set(&format!("/{}", escape(key)), value, at);
            }
        }
    }

    /// Applies the traits of messages that arrived after those applied so far.
    pub fn follow(&mut self, later: &Traits) {
        for (pointer, leaf) in &later.leaves {
            self.set_leaf(pointer, leaf.value.clone(), leaf.at);
        }
    }

    /// Applies the traits of another person that turned out to be this one.
    pub fn merge(&mut self, other: &Traits) {
        for (pointer, leaf) in &other.leaves {
            // Whichever of the two is merged into the other, a tie ends the same way.
            let text = |leaf: &Leaf| leaf.value.as_ref().map(Value::to_string);
            let is_outdone = |own: &Leaf| own.at == leaf.at && text(own) >= text(leaf);
            if !self.leaves.get(pointer).is_some_and(is_outdone) {
                self.set_leaf(pointer, leaf.value.clone(), leaf.at);
            }
        }
    }

    fn set(&mut self, pointer: &str, value: &Value, at: Timestamp) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (key, value) in members {
                    self.set(&format!("{pointer}/{}", escape(key)), value, at);
                }
            }
            Value::Null => self.set_leaf(pointer, None, at),
            leaf => self.set_leaf(pointer, Some(leaf.clone()), at),
        }
    }

    fn set_leaf(&mut self, pointer: &str, value: Option<Value>, at: Timestamp) {
        // A value above or below this one in the tree excludes it: the newer of the two stays.
        let below = format!("{pointer}/");
        let relatives: Vec<String> = self
            .leaves
            .range(below.clone()..)
            .take_while(|(other, _)| other.starts_with(&below))
            .map(|(other, _)| other.clone())
            .chain(
                ancestors(pointer)
                    .filter(|a| self.leaves.contains_key(*a))
                    .map(str::to_string),
            )
            .collect();
        let new = Leaf { at, value };
        let newer = |other: &Leaf| other.at > new.at;
        if self.leaves.get(pointer).is_some_and(newer) {
            return;
        }
        // Removing a branch does not remove what was set below it later.
        if new.value.is_some()
            && relatives
                .iter()
                .filter_map(|r| self.leaves.get(r))
                .any(|l| l.value.is_some() && newer(l))
        {
            return;
        }
        for relative in relatives {
            if self.leaves.get(&relative).is_some_and(|leaf| !newer(leaf)) {
                self.leaves.remove(&relative);
            }
        }
        self.leaves.insert(pointer.to_string(), new);
    }
}

/// The top-level traits that differ.
pub fn changes(old: &Value, new: &Value) -> Vec<Changed> {
    let empty = Map::new();
    let (old, new) = (
        old.as_object().unwrap_or(&empty),
        new.as_object().unwrap_or(&empty),
    );
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| Changed {
            key: key.clone(),
            old: old.get(key).cloned(),
            new: new.get(key).cloned(),
        })
        .collect()
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

fn ancestors(pointer: &str) -> impl Iterator<Item = &str> {
    pointer
        .char_indices()
        .skip(1)
        .filter(|(_, c)| *c == '/')
        .filter_map(|(i, _)| pointer.get(..i))
}

fn put(root: &mut Map<String, Value>, pointer: &str, value: Value) {
    let mut parts: Vec<String> = pointer.split('/').skip(1).map(unescape).collect();
    let Some(last) = parts.pop() else { return };
    let mut at = root;
    for part in parts {
        let entry = at.entry(part).or_insert_with(|| Value::Object(Map::new()));
        if !entry.is_object() {
            *entry = Value::Object(Map::new());
        }
        match entry {
            Value::Object(members) => at = members,
            _ => return,
        }
    }
    at.insert(last, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn applied(messages: &[(Value, i64)]) -> Traits {
        let mut traits = Traits::default();
        for (value, at) in messages {
            traits.apply(value, *at);
        }
        traits
    }

    #[test]
    fn the_newest_value_wins_whatever_arrives_first() {
        let messages = [(json!({"plan": "free"}), 1), (json!({"plan": "pro"}), 2)];
        assert_eq!(applied(&messages).values(), json!({"plan": "pro"}));
        let late = [messages[1].clone(), messages[0].clone()];
        assert_eq!(applied(&late).values(), json!({"plan": "pro"}));
    }

    #[test]
    fn null_removes_and_nested_objects_merge() {
        let traits = applied(&[
            (
                json!({"a": 1, "address": {"city": "Paris", "zip": "75001"}}),
                1,
            ),
            (json!({"a": null, "address": {"city": "Lyon"}}), 2),
        ]);
        assert_eq!(
            traits.values(),
            json!({"address": {"city": "Lyon", "zip": "75001"}})
        );
    }

    #[test]
    fn an_empty_text_does_not_remove() {
        assert_eq!(
            applied(&[(json!({"a": "x"}), 1), (json!({"a": ""}), 2)]).values(),
            json!({"a": ""})
        );
    }

    #[test]
    fn of_one_instant_the_later_message_wins() {
        assert_eq!(
            applied(&[(json!({"a": "pro"}), 1), (json!({"a": "free"}), 1)]).values(),
            json!({"a": "free"})
        );
        assert_eq!(
            applied(&[(json!({"a": "pro"}), 1), (json!({"a": null}), 1)]).values(),
            json!({})
        );
    }

    #[test]
    fn batches_follow_each_other_as_messages_do() {
        let batches = [
            json!({"a": "pro", "b": {"c": 1}}),
            json!({"a": "free", "b": {"c": null}}),
            json!({"a": null, "b": 2}),
        ];
        let mut whole = Traits::default();
        let mut followed = Traits::default();
        for batch in &batches {
            whole.apply(batch, 1);
            followed.follow(&applied(&[(batch.clone(), 1)]));
            assert_eq!(followed, whole);
        }
        assert_eq!(followed.values(), json!({"b": 2}));
    }

    #[test]
    fn keys_with_slashes_and_tildes_survive() {
        let value = json!({"a/b": {"~c": 1}});
        let traits = applied(&[(value.clone(), 1)]);
        assert_eq!(traits.values(), value);
        assert_eq!(Traits::from_json(&traits.values(), &traits.times()), traits);
    }

    #[test]
    fn changes_name_top_level_traits() {
        let changed = changes(&json!({"a": 1, "b": 2}), &json!({"a": 1, "b": 3, "c": 4}));
        let keys: Vec<&str> = changed.iter().map(|c| c.key.as_str()).collect();
        assert_eq!(keys, ["b", "c"]);
    }

    /// Messages of distinct instants: ties are for the order of arrival to decide.
    fn messages(most: usize) -> impl Strategy<Value = Vec<(Value, i64)>> {
        prop::collection::vec(message(), 0..most).prop_map(|all| {
            let mut seen = std::collections::BTreeSet::new();
            all.into_iter().filter(|(_, at)| seen.insert(*at)).collect()
        })
    }

    fn message() -> impl Strategy<Value = (Value, i64)> {
        let leaf = prop_oneof![Just(Value::Null), (0..5i64).prop_map(Value::from)];
        let object = prop::collection::btree_map("[ab]", leaf, 0..3)
            .prop_map(|members| Value::Object(members.into_iter().collect()));
        (object, 0..1000i64)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn order_of_arrival_does_not_matter(messages in messages(8)) {
            let mut backwards = messages.clone();
            backwards.reverse();
            prop_assert_eq!(applied(&messages), applied(&backwards));
        }

        #[test]
        fn merging_two_people_is_the_same_as_one_person(
            both in messages(10),
            split in 0..10usize,
        ) {
            let (left, right) = both.split_at(split.min(both.len()));
            let mut merged = applied(left);
            merged.merge(&applied(right));
            prop_assert_eq!(merged, applied(&both));
        }

        #[test]
        fn what_is_written_reads_back(messages in messages(8)) {
            let traits = applied(&messages);
            prop_assert_eq!(Traits::from_json(&traits.values(), &traits.times()), traits);
        }
    }
}
