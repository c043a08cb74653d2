//! Partitions are made ahead by a worker, and here on demand: never an error for want of one.

use crate::error::Result;
use crate::pg::cache;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_value::Timestamp;
use chrono::{DateTime, Datelike};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

struct Known {
    generation: u64,
    /// With the partition's oid; 0 where it does not have the name it was made with.
    months: BTreeMap<i32, u32>,
    days: BTreeSet<i64>,
}

thread_local! {
    /// Partitions that exist, until one is made or dropped somewhere.
    static KNOWN: RefCell<Known> = const { RefCell::new(Known { generation: 0, months: BTreeMap::new(), days: BTreeSet::new() }) };
}

fn with_known<T>(body: impl FnOnce(&mut Known) -> T) -> T {
    KNOWN.with_borrow_mut(|known| {
        let generation = cache::generation();
        if known.generation != generation {
            *known = Known { generation, months: BTreeMap::new(), days: BTreeSet::new() };
        }
        body(known)
    })
}

const FIRST_MONTH: i32 = 1990 * 12;

/// Months since year 0; everything before 1990 shares one partition.
fn month(at: Timestamp) -> i32 {
    let date = DateTime::from_timestamp_micros(at).unwrap_or(DateTime::UNIX_EPOCH);
    (date.year() * 12 + date.month0() as i32).max(FIRST_MONTH - 1)
}

/// Makes sure that events of these times have a partition to go to.
pub fn ensure_events(spi: &Spi, times: impl Iterator<Item = Timestamp>) -> Result<()> {
    let mut missing = BTreeMap::new();
    with_known(|known| {
        for at in times {
            let month = month(at);
            if !known.months.contains_key(&month) {
                missing.insert(month, at);
            }
        }
    });
    for at in missing.values() {
        spi.query("SELECT _cdp.create_event_partition($1)", &[Param::Timestamp(*at)])?;
    }
    let mut oids = BTreeMap::new();
    for month in missing.into_keys() {
        let found = spi.query_latest(
            "SELECT c.oid::pg_catalog.int8 FROM pg_catalog.pg_inherits AS i \
             JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid \
             WHERE i.inhparent OPERATOR(pg_catalog.=) '_cdp.events'::pg_catalog.regclass AND NOT i.inhdetachpending \
                   AND c.relname OPERATOR(pg_catalog.=) $1::pg_catalog.name",
            &[Param::Text(&name(month))],
        )?;
        oids.insert(month, found.first(|row| row.i64(0))?.unwrap_or(0) as u32);
    }
    // Making one changes the generation, so they are remembered only now.
    with_known(|known| known.months.extend(oids));
    Ok(())
}

/// The partition of `_cdp.events` for a time, once it is ensured: its oid, as long as `cache::generation()` is the one
/// returned. None where only Postgres knows which it is.
pub fn of_event(at: Timestamp) -> Option<(u32, u64)> {
    with_known(|known| {
        let oid = known.months.get(&month(at)).copied().filter(|oid| *oid != 0)?;
        Some((oid, known.generation))
    })
}

/// The name that `_cdp.create_event_partition` gives a month's partition.
fn name(month: i32) -> String {
    match month {
        _ if month < FIRST_MONTH => "events_before_1990".to_string(),
        _ => format!("events_{:04}_{:02}", month.div_euclid(12), month.rem_euclid(12) + 1),
    }
}

/// Makes sure that the outbox has a partition for this time.
pub fn ensure_outbox(spi: &Spi, at: Timestamp) -> Result<()> {
    let day = at.div_euclid(cdp_value::DAY);
    if with_known(|known| known.days.contains(&day)) {
        return Ok(());
    }
    spi.query("SELECT _cdp.create_outbox_partition($1)", &[Param::Timestamp(at)])?;
    with_known(|known| known.days.insert(day));
    Ok(())
}
