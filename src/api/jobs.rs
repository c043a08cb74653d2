//! Background jobs.

use super::{namespace, required};
use crate::error::Result;
use crate::jobs::define::{self, Request};
use crate::pg::function::{Call, Field, Returned};
use crate::pg::spi::Spi;

/// `cdp.start_job(job, kind, parameters, namespace)`
pub fn start_job(call: &Call) -> Result<Returned> {
    let (name, kind, parameters) = (required(call, 0, "job")?, call.text(1), call.jsonb(2));
    let request = Request { name: &name, kind: kind.as_deref(), parameters: parameters.as_deref() };
    let run_id = Spi::connect(false, |spi| define::start(spi, &*namespace(spi, call, 3)?, &request))?;
    Ok(Returned::Value(Field::Int8(run_id)))
}

/// `cdp.stop_job(job, namespace)`
pub fn stop_job(call: &Call) -> Result<Returned> {
    let name = required(call, 0, "job")?;
    let stopped = Spi::connect(false, |spi| define::stop(spi, &*namespace(spi, call, 1)?, &name))?;
    Ok(Returned::Value(Field::Bool(stopped)))
}

/// `cdp.schedule(job, cron, kind, parameters, timezone, namespace)`
pub fn schedule(call: &Call) -> Result<Returned> {
    let (name, cron, kind, parameters, timezone) =
        (required(call, 0, "job")?, call.text(1), call.text(2), call.jsonb(3), call.text(4));
    let request = Request { name: &name, kind: kind.as_deref(), parameters: parameters.as_deref() };
    let next = Spi::connect(false, |spi| {
        define::schedule(spi, &*namespace(spi, call, 5)?, &request, cron.as_deref(), timezone.as_deref())
    })?;
    Ok(Returned::Value(Field::Timestamp(next)))
}

/// `cdp.unschedule(job, namespace)`
pub fn unschedule(call: &Call) -> Result<Returned> {
    let name = required(call, 0, "job")?;
    let had = Spi::connect(false, |spi| define::unschedule(spi, &*namespace(spi, call, 1)?, &name))?;
    Ok(Returned::Value(Field::Bool(had)))
}
