//! What has to happen when a transaction or subtransaction ends.

use super::guard::caught;
use crate::error::Result;
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::c_void;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

/// Registers the callbacks; called once, when the library is loaded.
pub fn register() {
    // SAFETY: the callbacks live as long as the library, which is never unloaded.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_end), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), std::ptr::null_mut());
    }
}

/// Runs `body`, which must not unwind, in a subtransaction. What it did stays where `keeps` says so of what it
/// returned; else it is undone, and the locks it took are released.
fn subtransaction_of<T>(body: impl FnOnce() -> T, keeps: impl FnOnce(&T) -> bool) -> T {
    // SAFETY: the subtransaction is ended below, as the body returns; context and owner are put back, as Postgres' own
    // procedural languages do.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let outcome = body();
        pg_sys::MemoryContextSwitchTo(context);
        if keeps(&outcome) {
            pg_sys::ReleaseCurrentSubTransaction();
        } else {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        outcome
    }
}

/// Runs `body` in a subtransaction. None, an error and a panic undo what it did. Rows of statements must not leave it.
pub fn nested<T>(body: impl FnOnce() -> Result<Option<T>>) -> Result<Option<T>> {
    let outcome =
        subtransaction_of(|| catch_unwind(AssertUnwindSafe(body)), |outcome| matches!(outcome, Ok(Ok(Some(_)))));
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// As [`nested`], for a body that writes rows of data and nothing that this session remembers: that it is undone makes
/// nothing be read again.
pub fn nested_data<T>(body: impl FnOnce() -> Result<Option<T>>) -> Result<Option<T>> {
    let before = DATA_ONLY.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| nested(body)));
    DATA_ONLY.set(before);
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs `body` in a subtransaction. An error, also one of Postgres, undoes what it did and comes back as a value.
/// Rows of statements must not leave it.
pub fn attempt<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    subtransaction_of(|| caught(body), Result::is_ok)
}

thread_local! {
    static DATA_ONLY: Cell<bool> = const { Cell::new(false) };
}

/// Nests below every subtransaction that is open now.
pub fn subtransaction() -> u32 {
    // SAFETY: reads the state of the transaction.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

// The callbacks must neither raise nor panic: that would bring the backend down.
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT | pg_sys::XactEvent::XACT_EVENT_PARALLEL_COMMIT => {
            crate::ingest::inbox::forget(0);
            super::wake::at_commit();
        }
        pg_sys::XactEvent::XACT_EVENT_ABORT | pg_sys::XactEvent::XACT_EVENT_PARALLEL_ABORT => {
            crate::ingest::inbox::forget(0);
            crate::traits::catalog::forget();
            crate::ingest::names::forget();
            crate::identity::kinds::forget();
            crate::namespaces::bindings::forget();
            super::wake::forget();
        }
        pg_sys::XactEvent::XACT_EVENT_PREPARE => super::wake::forget(),
        _ => {}
    }
}

unsafe extern "C-unwind" fn at_subtransaction_end(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB && !DATA_ONLY.get() {
        crate::ingest::inbox::forget(subtransaction);
        crate::traits::catalog::forget();
        crate::ingest::names::forget();
        crate::identity::kinds::forget();
        crate::namespaces::bindings::forget();
    }
}
