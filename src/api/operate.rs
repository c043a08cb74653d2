//! Operating: rebuild, due work, health.

use super::namespace;
use crate::error::Result;
use crate::identity::resolve;
use crate::pg::clock;
use crate::pg::function::{Call, Field, Returned};
use crate::pg::spi::Spi;
use crate::traits::{backfill, pending, timers};

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
    let limit = call.i32(0).map(|seconds| i64::from(seconds.max(0)) * cdp_value::SECOND);
    let start = clock::real();
    let is_late = || limit.is_some_and(|limit| clock::real() - start >= limit);
    let mut done = 0;
    Spi::connect(false, |spi| {
        loop {
            let round = pending::fold_pending(spi, PEOPLE)? + backfill::sweep(spi, PEOPLE)? + timers::run_due(spi, PEOPLE)?;
            done += round;
            if round == 0 || is_late() {
                break;
            }
            crate::pg::session::check_for_interrupts();
        }
        Ok(())
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
