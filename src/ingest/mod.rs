//! The way of an event (DESIGN.md §1): one pipeline, in one transaction, for a batch of any size.
//!
//! 1 parse and validate (`cdp_message`) → 2 suppression and consent → 3 deduplication → 5 identity → 6 append →
//! 7 fold → 8 traits → 9 segments → 10 outbox. Each stage takes the batch and works on it with one statement or a few.

pub mod append;
pub mod attached;
pub mod dedup;
pub mod inbox;
pub mod names;
pub mod partitions;
pub mod quarantine;
pub mod stored;

use crate::delivery::routing::messages;
use crate::error::{state, Result};
use crate::governance::{consent, suppression};
use crate::guc;
use crate::identity;
use crate::namespaces::{self, Namespace};
use crate::pg::spi::Spi;
use crate::traits;
use cdp_message::{BadItem, Limits, Message};
use cdp_value::Timestamp;
use quarantine::{Reason, Rejected};
use uuid::Uuid;

/// A message that is new and belongs to somebody.
pub struct Accepted {
    pub message: Message,
    /// Given by the client or made here.
    pub message_id: String,
    pub profile_id: i64,
}

/// What became of a message, in the order the messages came.
pub struct Receipt {
    pub message_id: Option<String>,
    pub profile_id: Option<i64>,
    pub status: Status,
    pub reason: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Accepted,
    Duplicate,
    Suppressed,
    Quarantined,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Accepted => "accepted",
            Status::Duplicate => "duplicate",
            Status::Suppressed => "suppressed",
            Status::Quarantined => "quarantined",
        }
    }
}

/// The limits in force.
pub fn limits() -> Limits {
    Limits {
        event_bytes: guc::max_event_bytes(),
        batch_bytes: guc::max_batch_bytes(),
        batch_messages: guc::max_batch_messages(),
        ..Limits::default()
    }
}

/// What a message that cannot be taken does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// It is an error of the call.
    Raise,
    /// It goes to the quarantine.
    Quarantine,
}

/// Whether a jsonb payload has the shape in which SDKs send batches, to which their limits apply.
pub fn is_sdk_batch(payload: &str) -> bool {
    payload.starts_with('{')
        && cdp_message::Document::parse(payload, "payload", &limits()).is_ok_and(|batch| batch.raw("batch").is_some())
}

/// What arrives: messages, and items that were no messages.
pub type Incoming = std::result::Result<Message, BadItem>;

/// A message with its id, before it is known whose it is.
pub struct Arrived {
    pub message: Message,
    pub message_id: String,
    position: usize,
}

/// Takes a batch into the namespace of this name, else the session's. When there is none of the name, the messages wait
/// in the quarantine of the session's own for one to be made.
pub fn ingest_into(
    spi: &Spi,
    name: Option<&str>,
    batch: Vec<Incoming>,
    received_at: Timestamp,
) -> Result<Vec<Receipt>> {
    match (namespaces::find(spi, name), name) {
        (Err(error), Some(name)) if error.code() == state::UNKNOWN_NAMESPACE => {
            let own = namespaces::find(spi, None)?;
            quarantine::misplaced(spi, own.id, name, batch, received_at)
        }
        (namespace, _) => ingest(spi, &*namespace?, batch, Strictness::Quarantine, received_at),
    }
}

/// Takes a batch through all stages. A bad message goes to the quarantine and never sinks the others.
pub fn ingest(
    spi: &Spi,
    namespace: &Namespace,
    batch: Vec<Incoming>,
    strictness: Strictness,
    received_at: Timestamp,
) -> Result<Vec<Receipt>> {
    let mut receipts = Vec::with_capacity(batch.len());
    let mut rejected = Vec::new();
    let mut arrived = Vec::with_capacity(batch.len());
    for (position, item) in batch.into_iter().enumerate() {
        match item {
            Ok(message) => {
                let message_id = message.message_id.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
                receipts.push(Receipt {
                    message_id: Some(message_id.clone()),
                    profile_id: None,
                    status: Status::Duplicate,
                    reason: Some("a message with this message_id was already taken".to_string()),
                });
                arrived.push(Arrived { message, message_id, position });
            }
            Err(bad) => {
                let reason = Reason::message(&bad.error);
                receipts.push(Receipt {
                    message_id: None,
                    profile_id: None,
                    status: Status::Quarantined,
                    reason: Some(reason.message.clone()),
                });
                rejected.push(Rejected { reason, original: bad.original });
            }
        }
    }

    // Nothing is kept of a suppressed message, not even its id: it can come again when it may.
    let mut suppressed = suppression::of_messages(spi, namespace, &arrived)?.into_iter();
    arrived.retain(|arrived| match suppressed.next().flatten() {
        None => true,
        Some(reason) => {
            if let Some(receipt) = receipts.get_mut(arrived.position) {
                receipt.status = Status::Suppressed;
                receipt.reason = Some(reason);
            }
            false
        }
    });

    // Others may have to wait for whoever makes a partition or an event name; so nothing else is held yet.
    partitions::ensure_events(spi, arrived.iter().map(|a| a.message.timestamp))?;
    names::ids(spi, namespace.id, arrived.iter().filter_map(|a| a.message.event_name()))?;
    let ids: Vec<&str> = arrived.iter().map(|a| a.message_id.as_str()).collect();
    let mut new = dedup::take(spi, namespace.id, &ids)?.into_iter();
    arrived.retain(|_| new.next().unwrap_or(false));

    let resolved = identity::resolve(spi, namespace, &arrived, received_at)?;
    let mut accepted = Vec::with_capacity(arrived.len());
    let mut given_back = Vec::new();
    for (arrived, person) in arrived.into_iter().zip(resolved.people) {
        let Some(receipt) = receipts.get_mut(arrived.position) else { continue };
        match person {
            Ok(profile_id) => {
                receipt.profile_id = Some(profile_id);
                receipt.status = Status::Accepted;
                receipt.reason = None;
                accepted.push(Accepted { message: arrived.message, message_id: arrived.message_id, profile_id });
            }
            Err(reason) => {
                if strictness == Strictness::Raise {
                    return Err(reason.error());
                }
                receipt.status = Status::Quarantined;
                receipt.reason = Some(reason.message.clone());
                let lost = Accepted { message: arrived.message, message_id: arrived.message_id, profile_id: 0 };
                rejected.push(Rejected { reason, original: messages::payload(&lost).to_string() });
                given_back.push(lost.message_id);
            }
        }
    }
    dedup::give_back(spi, namespace.id, &given_back)?;
    quarantine::store(spi, namespace.id, received_at, &rejected.iter().collect::<Vec<_>>())?;

    append::append(spi, namespace.id, &accepted)?;
    consent::record(spi, namespace, &accepted)?;
    identity::groups::apply(spi, namespace, &accepted, received_at)?;
    traits::engine::fold_batch(spi, namespace, &accepted, &resolved.changes, received_at)?;
    Ok(receipts)
}
