//! Waking the delivery worker when a transaction that gave it work commits.

use super::shared::{self, Role};
use std::cell::Cell;

thread_local! {
    static WANTED: Cell<bool> = const { Cell::new(false) };
    static LAUNCHER_WANTED: Cell<bool> = const { Cell::new(false) };
}

/// Asks for the worker to be woken when this transaction commits.
pub fn request() {
    WANTED.set(true);
}

/// Asks for the launcher to look at its databases when this transaction commits.
pub fn request_launcher() {
    LAUNCHER_WANTED.set(true);
}

/// The transaction came to nothing, or will be committed by somebody else.
pub fn forget() {
    WANTED.set(false);
    LAUNCHER_WANTED.set(false);
}

/// Runs in the commit callback: must not raise.
pub fn at_commit() {
    let mut launcher_wanted = LAUNCHER_WANTED.replace(false);
    if WANTED.replace(false) {
        if let Some(place) = shared::own_place() {
            let seat = place.seat(Role::Delivery);
            launcher_wanted |= seat.wake() && seat.pid().is_none();
        }
    }
    if launcher_wanted {
        if let Some(shared) = shared::shared() {
            shared.launcher.wake();
        }
    }
}
