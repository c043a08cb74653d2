//! Operating: rebuild, due work, health.

use super::namespace;
use crate::delivery;
use crate::error::Result;
use crate::identity::resolve;
use crate::pg::function::{Call, Field, Returned};
use crate::pg::session;
use crate::pg::spi::Spi;
use crate::traits::{backfill, pending, timers};
use std::time::{Duration, Instant};

/// `cdp.rebuild(id, namespace)`: computes one person, or everybody, from the events again.
pub fn rebuild(call: &Call) -> Result<Returned> {
    let id = call.text(0);
    Spi::connect(false, |spi| {
        let namespace = namespace(spi, call, 1)?;
        match &id {
            Some(id) => {
                let profile_id = resolve::require(spi, &namespace, id)?;
                backfill::rebuild(spi, &namespace, Some(&[profile_id]))
            }
            None => backfill::rebuild(spi, &namespace, None),
        }
    })
    .map(|count| Returned::Value(Field::Int8(count)))
}

/// `cdp.run_due(max_seconds)`: does the workers' work here and now; returns how many people and messages were
/// dealt with.
pub fn run_due(call: &Call) -> Result<Returned> {
    const PEOPLE: usize = 1_000;
    let deadline = call
        .i32(0)
        .map(|seconds| Instant::now() + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let done = Spi::connect(false, |spi| {
        let mut done = 0;
        while !is_late() {
            let people = pending::fold_pending(spi, PEOPLE)? + backfill::sweep(spi, PEOPLE)? + timers::run_due(spi, PEOPLE)?;
            if people == 0 {
                break;
            }
            done += people;
            session::check_for_interrupts();
        }
        Ok(done + delivery::run::run_due(spi, deadline)?)
    })?;
    Ok(Returned::Value(Field::Int8(done as i64)))
}

/// `cdp.health()`: what runs, what does not, and what to do about it.
pub fn health(_: &Call) -> Result<Returned> {
    let rows = Spi::connect(true, crate::workers::health)?;
    Ok(Returned::Rows(
        rows.into_iter()
            .map(|(component, ok, detail)| vec![Field::Text(component), Field::Bool(ok), Field::Text(detail)])
            .collect(),
    ))
}
