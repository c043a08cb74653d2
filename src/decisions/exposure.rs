//! That somebody was shown a variant, told as an event like any other.
//!
//! Its message id follows from the flag, the variant, the person and the period, so that deduplication keeps one of
//! each, and whoever asks again tells nothing new.

use super::question::Asked;
use super::{answer, Answer};
use crate::error::{internal, unknown_key, Result};
use crate::ingest::quarantine::Reason;
use crate::ingest::{self, Strictness};
use crate::namespaces::{self, Namespace};
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::guard::warn;
use crate::pg::session;
use crate::pg::shared;
use crate::pg::spi::Spi;
use cdp_decision::Decider;
use cdp_message::Fields;
use cdp_value::{Timestamp, Value};
use sha2::{Digest, Sha256};

/// Name of the event.
pub const EVENT: &str = "Flag Exposed";

/// Decides a flag for a person, and records that the person sees the variant. Somebody unknown is not recorded.
pub fn expose(spi: &Spi, namespace: &Namespace, id: &str, key: &str, attributes: &Value) -> Result<Answer> {
    let mut asked = Asked::read(spi, namespace, id)?;
    let catalog = asked.catalog.clone();
    let flag = catalog.flags.get(key).ok_or_else(|| unknown_key("flag", key, catalog.flags.keys()))?;
    let profile_id = asked.profile_id();
    let mut decided = {
        let question = asked.about(spi, id, &catalog.flags.with_prerequisites(flag), attributes)?;
        let decided = answer(&Decider::new(&question), flag, &question)?;
        question.check()?;
        decided
    };
    match profile_id {
        None => decided.reasons.push("no exposure was recorded: nobody is known by this id".to_string()),
        Some(profile_id) => {
            let exposure = Exposure {
                flag: decided.flag.clone(),
                variant: decided.variant.clone(),
                reason: decided.reason.to_string(),
                bucket: decided.bucket,
                period: flag.flag.exposure_period,
                profile_id,
                at: clock::now()?,
            };
            if !session::is_read_only() {
                exposure.record(spi, namespace)?;
            } else if let Some(note) = exposure.leave(namespace) {
                decided.reasons.push(note.to_string());
            }
        }
    }
    Ok(decided)
}

/// Records what read-only sessions left in shared memory; tells whether there may be more.
pub fn record_left(spi: &Spi, limit: i64) -> Result<bool> {
    let limit = usize::try_from(limit).unwrap_or(0);
    let notes = shared::take_notes(limit);
    let may_be_more = !notes.is_empty() && notes.len() == limit;
    for note in &notes {
        let exposure: Exposure = serde_json::from_slice(&note.bytes).map_err(|error| internal(error.to_string()))?;
        exposure.record(spi, &*namespaces::by_id(spi, note.namespace_id)?)?;
    }
    notes.into_iter().for_each(shared::Taken::done);
    Ok(may_be_more)
}

/// That somebody saw a variant.
#[derive(serde::Serialize, serde::Deserialize)]
struct Exposure {
    flag: String,
    variant: String,
    reason: String,
    bucket: Option<u32>,
    /// In microseconds.
    period: i64,
    profile_id: i64,
    at: Timestamp,
}

impl Exposure {
    /// Leaves it for the worker, where there is one; returns what to tell the caller.
    fn leave(&self, namespace: &Namespace) -> Option<&'static str> {
        let note = serde_json::to_vec(self).unwrap_or_default();
        if !session::in_recovery() && shared::leave_note(namespace.id, &note) {
            return Some("the exposure is recorded by the worker: the transaction is read-only");
        }
        let told = "no exposure was recorded: the transaction is read-only";
        warn(told, Some("Call cdp.expose where writing is possible; it gives the same answer."));
        Some(told)
    }

    fn record(&self, spi: &Spi, namespace: &Namespace) -> Result<()> {
        // Meanwhile the person may have turned out to be somebody else.
        let profile_id = spi
        .query(
            "SELECT COALESCE(p.merged_into, p.profile_id) FROM _cdp.profiles AS p WHERE p.profile_id OPERATOR(pg_catalog.=) $1",
            &[Param::Int8(self.profile_id)],
        )?
        .first(|row| row.i64(0))?
        .unwrap_or(self.profile_id);
        let identifier = spi
        .query(
            "SELECT k.name, i.value FROM _cdp.identifiers AS i \
             JOIN _cdp.identifier_kinds AS k ON k.kind_id OPERATOR(pg_catalog.=) i.kind_id \
             WHERE i.profile_id OPERATOR(pg_catalog.=) $1 \
             ORDER BY (i.kind_id OPERATOR(pg_catalog.=) 1) DESC, (i.kind_id OPERATOR(pg_catalog.=) 5) DESC, i.kind_id, i.linked_at, i.value LIMIT 1",
            &[Param::Int8(profile_id)],
        )?
        .first(|row| Ok((row.text(0)?, row.text(1)?)))?;
        let Some((kind, value)) = identifier else { return Ok(()) };
        let now = self.at;
        let mut hash = Sha256::new();
        let period = now.div_euclid(self.period.max(1));
        for part in [self.flag.as_str(), self.variant.as_str(), &profile_id.to_string(), &period.to_string()] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let message_id = format!("exposure-{:x}", hash.finalize());
        let mut properties = serde_json::json!({
            "flag": self.flag, "variant": self.variant, "reason": self.reason,
        });
        if let (Some(bucket), Some(members)) = (self.bucket, properties.as_object_mut()) {
            members.insert("bucket".to_string(), bucket.into());
        }
        let properties = properties.to_string();
        let context = serde_json::json!({"externalIds": [{"type": kind, "id": value}]}).to_string();
        let is = |name: &str| kind == name;
        let fields = Fields {
            kind: Some("track"),
            user_id: is("user_id").then_some(value.as_str()),
            anonymous_id: is("anonymous_id").then_some(value.as_str()),
            event: Some(EVENT),
            properties: Some(&properties),
            context: (!is("user_id") && !is("anonymous_id")).then_some(context.as_str()),
            message_id: Some(&message_id),
            ..Fields::default()
        };
        let message = cdp_message::from_fields(&fields, now, &ingest::limits())
            .map_err(|error| Reason::message(&error).error())?;
        ingest::ingest(spi, namespace, vec![Ok(message)], Strictness::Raise, now)?;
        Ok(())
    }
}
