//! Stage 5: which person each message belongs to (DESIGN.md §5). The rules are `cdp_identity`'s; here they
//! are given what the database knows, and what they decide is written.

pub mod attributes;
pub mod explain;
pub mod groups;
pub mod kinds;
pub mod merge;
pub mod profile_traits;
pub mod resolve;
pub mod settings;
pub mod unmerge;
mod writer;

use crate::error::Result;
use crate::ingest::quarantine::Reason;
use crate::ingest::Arrived;
use crate::namespaces::Namespace;
use crate::pg::spi::Spi;
use cdp_identity::{MessageIdentifier, MessageIdentifiers, ProfileRef};
use cdp_value::Timestamp;
use std::collections::HashSet;
use writer::Writer;

/// What a batch did to people, for the stages that follow.
#[derive(Default)]
pub struct IdentityChanges {
    /// Profiles that have no row yet.
    pub created: HashSet<i64>,
    /// Profiles that others were merged into.
    pub merged: HashSet<i64>,
    /// Profiles that were given another identifier.
    pub linked: HashSet<i64>,
}

/// The person of each message, or why it has none.
pub struct Resolved {
    pub people: Vec<std::result::Result<i64, Reason>>,
    pub changes: IdentityChanges,
}

/// Two sessions that meet the same new person agree after a round or two.
const MOST_ROUNDS: usize = 20;

/// Finds or makes the person of each message. Concurrent first contacts of one person end with one profile:
/// the unique key of `_cdp.identifiers` decides, and whoever comes second looks again. Here, and nowhere else, a
/// transaction waits for another one ([`writer`]).
pub fn resolve(spi: &Spi, namespace: &Namespace, batch: &[Arrived], now: Timestamp) -> Result<Resolved> {
    let mut resolved = Resolved { people: Vec::new(), changes: IdentityChanges::default() };
    if batch.is_empty() {
        return Ok(resolved);
    }
    let found: Vec<Vec<cdp_message::Identifier>> = {
        let kinds = kinds::current(spi, namespace)?;
        batch.iter().map(|arrived| cdp_message::identifiers(&arrived.message, &kinds.extraction)).collect()
    };
    let kinds = kinds::with_names(spi, namespace, found.iter().flatten().map(|i| i.kind.as_ref()))?;
    let refused: Vec<(usize, Reason)> = found
        .iter()
        .enumerate()
        .filter_map(|(position, found)| {
            if found.is_empty() && !batch.get(position).is_some_and(|a| cdp_message::names_somebody(&a.message)) {
                return Some((position, Reason::message(&cdp_message::missing_identifier())));
            }
            let unknown = found.iter().find(|i| kinds.id(&i.kind).is_none())?;
            Some((position, Reason::too_many_kinds(unknown)))
        })
        .collect();
    let messages: Vec<MessageIdentifiers> = batch
        .iter()
        .zip(found)
        .map(|(arrived, identifiers)| MessageIdentifiers {
            at: arrived.message.timestamp,
            identifiers: identifiers
                .into_iter()
                .map(|i| {
                    let kind = kinds.id(&i.kind)?;
                    Some(MessageIdentifier { kind, value: i.value, previous: i.previous })
                })
                .collect::<Option<_>>()
                .unwrap_or_default(),
        })
        .collect();

    let mut writer = Writer::new(spi, namespace, batch, &messages, &kinds, now);
    for _ in 0..MOST_ROUNDS {
        let Some((plan, ids)) = writer.round()? else { continue };
        resolved.people = writer.people(&plan, &ids);
        for (position, reason) in &refused {
            if let Some(person) = resolved.people.get_mut(*position) {
                *person = Err(reason.clone());
            }
        }
        for created in &plan.new_profiles {
            if plan.resolved(created.profile) == created.profile {
                resolved.changes.created.insert(ids.of(created.profile));
            }
        }
        for merge in &plan.merges {
            if let ProfileRef::Existing(_) = merge.absorbed {
                resolved.changes.merged.insert(ids.of(plan.resolved(merge.survivor)));
            }
        }
        resolved.changes.linked = plan.links.iter().map(|link| ids.of(plan.resolved(link.profile))).collect();
        return Ok(resolved);
    }
    Err(crate::error::Error::new("40001", "could not agree on a person with concurrent sessions")
        .hint("Try the call again."))
}
