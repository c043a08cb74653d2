//! Segments whose members are listed, and who is in a segment.

use super::define::segment_row;
use super::{namespace, required};
use crate::error::{Error, Result};
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::function::{Call, Field, Returned};
use crate::pg::spi::Spi;
use crate::segments::{lists, membership};
use crate::traits::define::{self, check_key};
use std::collections::HashMap;

/// `cdp.define_static_segment(key, ids, description, sync_to, namespace)`
pub fn define_static_segment(call: &Call) -> Result<Returned> {
    let key = check_key("segment", call.text(0).as_deref())?;
    let ids = call.text_array(1);
    let sync_to = call.text_array(3).unwrap_or_default();
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 4)?;
        define::define_static_segment(spi, &namespace, &key, call.text(2).as_deref(), &sync_to)?;
        if let Some(ids) = &ids {
            lists::replace(spi, &namespace, &key, ids)?;
        }
        segment_row(spi, &namespace, &key)
    })
    .map(Returned::Row)
}

/// `cdp.add_members(segment, ids, kind, namespace)`
pub fn add_members(call: &Call) -> Result<Returned> {
    change(call, lists::add)
}

/// `cdp.remove_members(segment, ids, kind, namespace)`
pub fn remove_members(call: &Call) -> Result<Returned> {
    change(call, lists::remove)
}

fn change(
    call: &Call,
    apply: impl Fn(&Spi, &Namespace, &str, &[String], Option<&str>) -> Result<i64>,
) -> Result<Returned> {
    let key = required(call, 0, "segment")?;
    let ids = call.text_array(1).ok_or_else(|| Error::new("22004", "argument ids is null").hint("Give a list."))?;
    let count = Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 3)?;
        apply(spi, &namespace, &key, &ids, call.text(2).as_deref())
    })?;
    Ok(Returned::Value(Field::Int8(count)))
}

/// `cdp.members(segment, namespace)`: everybody in it now.
pub fn members(call: &Call) -> Result<Returned> {
    let key = required(call, 0, "segment")?;
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 1)?;
        let members = membership::members(spi, &namespace, &key)?;
        let ids: Vec<i64> = members.keys().copied().collect();
        let user_ids: HashMap<i64, String> = spi
            .query(
                "SELECT DISTINCT ON (profile_id) profile_id, value FROM _cdp.identifiers \
                 WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) AND kind_id OPERATOR(pg_catalog.=) 1 ORDER BY profile_id, linked_at, value",
                &[Param::Int8Array(&ids)],
            )?
            .map(|row| Ok((row.i64(0)?, row.text(1)?)))?
            .into_iter()
            .collect();
        Ok(members
            .into_iter()
            .map(|(id, since)| {
                vec![Field::Int8(id), Field::optional_text(user_ids.get(&id).cloned()), Field::Timestamp(since)]
            })
            .collect())
    })
    .map(Returned::Rows)
}

/// `_cdp.member_counts()`
pub fn member_counts(_: &Call) -> Result<Returned> {
    let counts = Spi::connect(true, membership::counts)?;
    Ok(Returned::Rows(counts.into_iter().map(|(id, count)| vec![Field::Int4(id), Field::Int8(count)]).collect()))
}

/// `_cdp.segment_overlap(a, b, namespace)`
pub fn overlap(call: &Call) -> Result<Returned> {
    let (a, b) = (required(call, 0, "a")?, required(call, 1, "b")?);
    Spi::connect(true, |spi| {
        let namespace = namespace(spi, call, 2)?;
        membership::overlap(spi, &namespace, [&a, &b])
    })
    .map(|counts| Returned::Rows(vec![counts.into_iter().map(Field::Int8).collect()]))
}
