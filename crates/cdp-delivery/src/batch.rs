//! The usual ways to put the messages of a batch into requests.

use crate::config::{Config, Limits};
use crate::destination::{refuse, Destination};
use crate::message::Message;
use crate::outcome::Outcome;
use crate::outcome::{Plan, RequestPlan};
use std::collections::{HashMap, HashSet};

/// A message made ready for a request, or settled without one.
pub enum Item<E, T> {
    /// Goes to the endpoint `endpoint` as `content`, which takes `bytes` bytes of the body.
    Send {
        endpoint: E,
        content: T,
        bytes: usize,
        /// No two messages of a request have the same key: upserts refuse that.
        key: Option<String>,
    },
    Settled(Outcome),
}

impl<E> Item<E, serde_json::Value> {
    /// A JSON item of a batch.
    pub fn json(endpoint: E, content: serde_json::Value) -> Item<E, serde_json::Value> {
        let bytes = content.to_string().len() + 1;
        Item::Send {
            endpoint,
            content,
            bytes,
            key: None,
        }
    }

    /// The same, at most once per key in a request.
    pub fn keyed(
        endpoint: E,
        content: serde_json::Value,
        key: String,
    ) -> Item<E, serde_json::Value> {
        match Item::json(endpoint, content) {
            Item::Send {
                endpoint,
                content,
                bytes,
                ..
            } => Item::Send {
                endpoint,
                content,
                bytes,
                key: Some(key),
            },
            settled => settled,
        }
    }
}

/// Messages that go in one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Group<E, T> {
    pub endpoint: E,
    /// Indices into the batch.
    pub messages: Vec<usize>,
    /// What to send, one per message.
    pub contents: Vec<T>,
}

/// The result of [`group`].
pub struct Grouped<E, T> {
    pub groups: Vec<Group<E, T>>,
    pub settled: Vec<(usize, Outcome)>,
}

impl<E, T> Grouped<E, T> {
    /// Makes one request of each group.
    pub fn into_plan(self, request: impl FnMut(Group<E, T>) -> RequestPlan) -> Plan {
        Plan {
            requests: self.groups.into_iter().map(request).collect(),
            settled: self.settled,
        }
    }
}

/// A request while it is being filled.
struct Open<E, T> {
    group: Group<E, T>,
    bytes: usize,
    keys: HashSet<String>,
}

/// Puts messages into as few requests as the limits and the order of each person's messages
/// allow: a request holds one endpoint's messages, and a message never comes into a request
/// that is before one with an earlier message of the same person. Messages that the destination
/// does not take are settled before `make` sees them; one that is alone larger than a request
/// may be is rejected.
pub fn group<E: PartialEq, T>(
    destination: &dyn Destination,
    config: &Config,
    limits: &Limits,
    batch: &[&Message],
    mut make: impl FnMut(&Message) -> Item<E, T>,
) -> Grouped<E, T> {
    let entry = destination.catalogue();
    let mut open: Vec<Open<E, T>> = Vec::new();
    let mut settled = Vec::new();
    // Last request that holds a message of the person.
    let mut last: HashMap<i64, usize> = HashMap::new();
    for (index, message) in batch.iter().enumerate() {
        let item = match refuse(entry, config, message) {
            Some(outcome) => Item::Settled(outcome),
            None => make(message),
        };
        let (endpoint, content, bytes, key) = match item {
            Item::Settled(outcome) => {
                settled.push((index, outcome));
                continue;
            }
            Item::Send { bytes, .. } if bytes > limits.batch_bytes => {
                settled.push((
                    index,
                    Outcome::reject(format!(
                        "the message takes {bytes} bytes, {} takes at most {}",
                        entry.name, limits.batch_bytes
                    )),
                ));
                continue;
            }
            Item::Send {
                endpoint,
                content,
                bytes,
                key,
            } => (endpoint, content, bytes, key),
        };
        let earliest = last.get(&message.profile_id).copied().unwrap_or(0);
        let fitting = open
            .iter()
            .enumerate()
            .skip(earliest)
            .filter(|(_, open)| {
                open.group.endpoint == endpoint
                    && open.group.messages.len() < limits.batch_size
                    && open.bytes + bytes <= limits.batch_bytes
                    && !key.as_ref().is_some_and(|key| open.keys.contains(key))
            })
            .map(|(position, _)| position)
            .next_back();
        let position = match fitting {
            Some(position) => position,
            None => {
                open.push(Open {
                    group: Group {
                        endpoint,
                        messages: Vec::new(),
                        contents: Vec::new(),
                    },
                    bytes: 0,
                    keys: HashSet::new(),
                });
                open.len() - 1
            }
        };
        if let Some(open) = open.get_mut(position) {
            open.group.messages.push(index);
            open.group.contents.push(content);
            open.bytes += bytes;
            open.keys.extend(key);
        }
        last.insert(message.profile_id, position);
    }
    Grouped {
        groups: open.into_iter().map(|open| open.group).collect(),
        settled,
    }
}
