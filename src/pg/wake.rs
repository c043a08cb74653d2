//! Waking the delivery worker when a transaction that gave it work commits.

use std::cell::Cell;

thread_local! {
    static WANTED: Cell<bool> = const { Cell::new(false) };
}

/// Asks for the worker to be woken when this transaction commits.
pub fn request() {
    WANTED.set(true);
}

/// The transaction came to nothing, or will be committed by somebody else.
pub fn forget() {
    WANTED.set(false);
}

/// Runs in the commit callback: must not raise.
pub fn at_commit() {
    WANTED.set(false);
}
