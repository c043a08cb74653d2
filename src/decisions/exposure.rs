//! That somebody was shown a variant, told as an event like any other.
//!
//! Its message id follows from the flag, the variant, the person and the period, so that deduplication keeps one of
//! each, and whoever asks again tells nothing new.

use super::question::Asked;
use super::{answer, Answer};
use crate::error::{unknown_key, Result};
use crate::ingest::quarantine::Reason;
use crate::ingest::{self, Strictness};
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::guard::warn;
use crate::pg::session;
use crate::pg::spi::Spi;
use cdp_decision::Decider;
use cdp_message::Fields;
use cdp_value::Value;
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
        Some(_) if session::is_read_only() => {
            let note = "no exposure was recorded: the transaction is read-only";
            warn(note, Some("Call cdp.expose where writing is possible; it gives the same answer."));
            decided.reasons.push(note.to_string());
        }
        Some(profile_id) => record(spi, namespace, profile_id, flag.flag.exposure_period, &decided)?,
    }
    Ok(decided)
}

fn record(spi: &Spi, namespace: &Namespace, profile_id: i64, period: i64, decided: &Answer) -> Result<()> {
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
    let now = clock::now()?;
    let mut hash = Sha256::new();
    let period = now.div_euclid(period.max(1));
    for part in [decided.flag.as_str(), decided.variant.as_str(), &profile_id.to_string(), &period.to_string()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let message_id = format!("exposure-{:x}", hash.finalize());
    let mut properties = serde_json::json!({
        "flag": decided.flag, "variant": decided.variant, "reason": decided.reason,
    });
    if let (Some(bucket), Some(members)) = (decided.bucket, properties.as_object_mut()) {
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
    let message =
        cdp_message::from_fields(&fields, now, &ingest::limits()).map_err(|error| Reason::message(&error).error())?;
    ingest::ingest(spi, namespace, vec![Ok(message)], Strictness::Raise, now)?;
    Ok(())
}
