//! Partitions are made ahead by a worker, and here on demand: never an error for want of one.

use crate::error::Result;
use crate::pg::cache;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_value::Timestamp;
use chrono::{DateTime, Datelike};
use std::cell::RefCell;
use std::collections::BTreeSet;

struct Known {
    generation: u64,
    months: BTreeSet<i32>,
    days: BTreeSet<i64>,
}

thread_local! {
    /// Partitions that exist, until one is made or dropped somewhere.
    static KNOWN: RefCell<Known> = const { RefCell::new(Known { generation: 0, months: BTreeSet::new(), days: BTreeSet::new() }) };
}

fn with_known<T>(body: impl FnOnce(&mut Known) -> T) -> T {
    KNOWN.with_borrow_mut(|known| {
        let generation = cache::generation();
        if known.generation != generation {
            *known = Known { generation, months: BTreeSet::new(), days: BTreeSet::new() };
        }
        body(known)
    })
}

/// Months since year 0; everything before 1990 shares one partition.
fn month(at: Timestamp) -> i32 {
    const FIRST: i32 = 1990 * 12;
    let date = DateTime::from_timestamp_micros(at).unwrap_or(DateTime::UNIX_EPOCH);
    (date.year() * 12 + date.month0() as i32).max(FIRST - 1)
}

/// Makes sure that events of these times have a partition to go to.
pub fn ensure_events(spi: &Spi, times: impl Iterator<Item = Timestamp>) -> Result<()> {
    let mut missing = std::collections::BTreeMap::new();
    with_known(|known| {
        for at in times {
            let month = month(at);
            if !known.months.contains(&month) {
                missing.insert(month, at);
            }
        }
    });
    for at in missing.values() {
        spi.query("SELECT _cdp.create_event_partition($1)", &[Param::Timestamp(*at)])?;
    }
    // Making one changes the generation, so they are remembered only now.
    with_known(|known| known.months.extend(missing.keys()));
    Ok(())
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
