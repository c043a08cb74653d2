//! Consent and suppression.

use super::{namespace, required};
use crate::error::{Error, Result};
use crate::governance::consent::{self, Known, Said};
use crate::governance::suppression;
use crate::identity::resolve;
use crate::ingest::quarantine::Reason;
use crate::ingest::{self, Status, Strictness};
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::function::{Call, Field, Returned};
use crate::pg::guard;
use crate::pg::session;
use crate::pg::spi::Spi;
use cdp_consent::Preferences;
use cdp_message::Fields;
use cdp_value::Timestamp;
use serde_json::json;

/// `cdp.suppress(id, reason, kind, namespace)`
pub fn suppress(call: &Call) -> Result<Returned> {
    let id = required(call, 0, "id")?;
    let (reason, kind) = (call.text(1), call.text(2));
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 3)?;
        let identifiers = suppression::suppress(spi, &namespace, &id, kind.as_deref(), reason.as_deref())?;
        let (values, kinds): (Vec<&str>, Vec<i32>) =
            identifiers.iter().map(|(value, kind)| (value.as_str(), *kind)).unzip();
        spi.query(
            "SELECT k.name, s.value, s.suppressed_at, s.reason, s.suppressed_by \
             FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS w(value, kind_id) \
             CROSS JOIN LATERAL (SELECT * FROM _cdp.suppressions AS x WHERE x.namespace_id OPERATOR(pg_catalog.=) $1 \
                 AND x.value OPERATOR(pg_catalog.=) w.value AND x.kind_id OPERATOR(pg_catalog.=) w.kind_id OFFSET 0) AS s \
             LEFT JOIN _cdp.identifier_kinds AS k ON k.kind_id OPERATOR(pg_catalog.=) s.kind_id \
             ORDER BY s.kind_id, s.value",
            &[Param::Int4(namespace.id), Param::TextArray(&values), Param::Int4Array(&kinds)],
        )?
        .map(|row| {
            Ok(vec![
                Field::Text(namespace.name.clone()),
                Field::optional_text(row.optional_text(0)),
                Field::Text(row.text(1)?),
                Field::Timestamp(row.timestamp(2)?),
                Field::optional_text(row.optional_text(3)),
                Field::Text(row.text(4)?),
            ])
        })
    })
    .map(Returned::Rows)
}

/// `cdp.unsuppress(id, kind, namespace)`
pub fn unsuppress(call: &Call) -> Result<Returned> {
    let id = required(call, 0, "id")?;
    let kind = call.text(1);
    let ended = Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 2)?;
        suppression::unsuppress(spi, &namespace, &id, kind.as_deref())
    })?;
    Ok(Returned::Value(Field::Int8(ended as i64)))
}

/// `cdp.set_consent(id, categories, source, timestamp, namespace)`
pub fn set_consent(call: &Call) -> Result<Returned> {
    let id = required(call, 0, "id")?;
    let categories = required_preferences(call)?;
    let source = call.text(2).unwrap_or_else(session::outer_role);
    let now = clock::now()?;
    // What is said about the future counts from now.
    let at = call.timestamp(3).map_or(now, |at| at.min(now));
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 4)?;
        let profile_id = match resolve::matches(spi, &namespace, &id, None)?.into_iter().next() {
            Some(found) => {
                let named_by = Some((found.kind, found.value));
                state(spi, &namespace, found.profile_id, at, categories, &source, named_by)?;
                found.profile_id
            }
            None => match resolve::profile(spi, &namespace, &id)? {
                Some((_, profile_id)) => {
                    state(spi, &namespace, profile_id, at, categories, &source, None)?;
                    profile_id
                }
                None => match introduce(spi, &namespace, &id, &categories, at, now)? {
                    Some(profile_id) => profile_id,
                    None => return Ok(Vec::new()),
                },
            },
        };
        standing(spi, profile_id)
    })
    .map(Returned::Rows)
}

fn required_preferences(call: &Call) -> Result<Preferences> {
    const SHAPE: &str = "Give categories with true or false: {\"marketing\": true, \"advertising\": false}.";
    let value = super::document(call, 1, "categories")?
        .ok_or_else(|| Error::new("22004", "argument categories is null").hint(SHAPE))?;
    cdp_consent::preferences(&value).map_err(|error| Error::new("22023", error.to_string()).hint(SHAPE))
}

fn state(
    spi: &Spi,
    namespace: &Namespace,
    profile_id: i64,
    at: Timestamp,
    preferences: Preferences,
    source: &str,
    named_by: Option<(i32, String)>,
) -> Result<()> {
    let said = Said { profile_id, at, preferences, source: Some(source), message_id: None, named_by };
    consent::write(spi, namespace, &[said])
}

/// Somebody of whom nothing is known is identified first, by a message that says it. None when the person is
/// suppressed.
fn introduce(
    spi: &Spi,
    namespace: &Namespace,
    id: &str,
    categories: &Preferences,
    at: Timestamp,
    now: Timestamp,
) -> Result<Option<i64>> {
    let context = json!({ "consent": { "categoryPreferences": categories } }).to_string();
    let fields = Fields {
        kind: Some("identify"),
        user_id: Some(id),
        context: Some(&context),
        timestamp: Some(at),
        ..Fields::default()
    };
    let message =
        cdp_message::from_fields(&fields, now, &ingest::limits()).map_err(|error| Reason::message(&error).error())?;
    let receipts = ingest::ingest(spi, namespace, vec![Ok(message)], Strictness::Raise, now)?;
    let receipt = receipts.into_iter().next();
    if let Some(suppressed) = receipt.as_ref().filter(|receipt| receipt.status == Status::Suppressed) {
        let reason = suppressed.reason.as_deref().unwrap_or_default();
        guard::warn(&format!("nothing was written down: {reason}"), Some("cdp.unsuppress(id) ends a suppression."));
    }
    Ok(receipt.and_then(|receipt| receipt.profile_id))
}

/// `cdp.consent(id, namespace)`
pub fn consent(call: &Call) -> Result<Returned> {
    let id = required(call, 0, "id")?;
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 1)?;
        match resolve::find(spi, &namespace, &id, None)? {
            Some(profile_id) => standing(spi, profile_id),
            None => Ok(Vec::new()),
        }
    })
    .map(Returned::Rows)
}

fn standing(spi: &Spi, profile_id: i64) -> Result<Vec<Vec<Field>>> {
    let known = Known::read(spi, &[profile_id])?;
    let rows = known.standing(profile_id, clock::now()?).into_iter().map(|(category, verdict)| {
        vec![
            Field::Text(category),
            Field::Bool(verdict.granted),
            Field::Timestamp(verdict.since),
            Field::optional_text(known.source(verdict.statement).map(str::to_string)),
        ]
    });
    Ok(rows.collect())
}
