//! The usual ways to put the messages of a batch into requests.

use crate::config::{Config, Limits};
use crate::destination::{refuse, Destination};
use crate::message::Message;
use crate::outcome::Outcome;
use std::collections::HashMap;

/// A message made ready for a request, or settled without one.
pub enum Item<E, T> {
    /// Goes to the endpoint `endpoint` as `content`, which takes `bytes` bytes of the body.
    Send {
        endpoint: E,
        content: T,
        bytes: usize,
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
    let mut groups: Vec<(Group<E, T>, usize)> = Vec::new();
    let mut settled = Vec::new();
    // Last request that holds a message of the person.
    let mut last: HashMap<i64, usize> = HashMap::new();
    for (index, message) in batch.iter().enumerate() {
        let item = match refuse(entry, config, message) {
            Some(outcome) => Item::Settled(outcome),
            None => make(message),
        };
        let (endpoint, content, bytes) = match item {
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
            } => (endpoint, content, bytes),
        };
        let earliest = last.get(&message.profile_id).copied().unwrap_or(0);
        let fitting = groups
            .iter()
            .enumerate()
            .skip(earliest)
            .filter(|(_, (group, size))| {
                group.endpoint == endpoint
                    && group.messages.len() < limits.batch_size
                    && size + bytes <= limits.batch_bytes
            })
            .map(|(position, _)| position)
            .next_back();
        let position = match fitting {
            Some(position) => position,
            None => {
                groups.push((
                    Group {
                        endpoint,
                        messages: Vec::new(),
                        contents: Vec::new(),
                    },
                    0,
                ));
                groups.len() - 1
            }
        };
        if let Some((group, size)) = groups.get_mut(position) {
            group.messages.push(index);
            group.contents.push(content);
            *size += bytes;
        }
        last.insert(message.profile_id, position);
    }
    Grouped {
        groups: groups.into_iter().map(|(group, _)| group).collect(),
        settled,
    }
}
