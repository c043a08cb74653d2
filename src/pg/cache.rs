//! When what a session remembers about definitions and partitions has to be read again.
//!
//! Definitions change through cdp's functions, which invalidate the relation cache entry of
//! `_cdp.definition_versions`; every session hears of it when that change commits. Postgres does the
//! same by itself for partitions. The callback only touches cells: it can run in the middle of a
//! catalog access.

use pgrx::pg_sys::{self, Datum, Oid};
use std::cell::Cell;

thread_local! {
    static GENERATION: Cell<u64> = const { Cell::new(1) };
}

/// Changes whenever anything remembered may be out of date.
pub fn generation() -> u64 {
    GENERATION.get()
}

/// Registers the callback; called once, when the library is loaded.
pub fn register() {
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(at_invalidation), Datum::from(0));
        // Which namespace a role is bound to depends on what it is and what it inherits from.
        for cache in [pg_sys::SysCacheIdentifier::AUTHOID, pg_sys::SysCacheIdentifier::AUTHMEMROLEMEM] {
            pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(at_change_of_roles), Datum::from(0));
        }
    }
}

unsafe extern "C-unwind" fn at_change_of_roles(_: Datum, _: i32, _: u32) {
    GENERATION.set(GENERATION.get().wrapping_add(1));
}

// Which relation it was is not looked at: finding out would need a catalog access, and definitions
// are read again in well under a millisecond.
unsafe extern "C-unwind" fn at_invalidation(_: Datum, relation: Oid) {
    let ours = WATCHED.with(|watched| {
        let watched = watched.get();
        relation == pg_sys::InvalidOid || watched.iter().any(|w| *w == pg_sys::InvalidOid || *w == relation)
    });
    if ours {
        GENERATION.set(GENERATION.get().wrapping_add(1));
    }
}

thread_local! {
    /// `_cdp.definition_versions`, `_cdp.events`, `_cdp.outbox`; invalid until they are known.
    static WATCHED: Cell<[Oid; 3]> = const { Cell::new([pg_sys::InvalidOid; 3]) };
}

/// Says which relations matter, so that unrelated changes of other tables cost nothing.
pub fn watch(relations: [u32; 3]) {
    WATCHED.set(relations.map(Oid::from));
}

/// Takes notice of what other sessions changed. Postgres does so by itself when a transaction takes a new lock, which
/// one that has been here before does not.
pub fn hear() {
    // SAFETY: called inside a transaction.
    unsafe { pg_sys::AcceptInvalidationMessages() };
}

/// Makes every session, this one included, read definitions again once this transaction commits.
pub fn invalidate(relation: u32) {
    // SAFETY: queues an invalidation; raises when the relation does not exist.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(Oid::from(relation)) };
}
