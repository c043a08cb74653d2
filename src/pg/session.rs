//! What the session and the server are: isolation, recovery, names.

use pgrx::pg_sys;
use std::ffi::CStr;

/// Whether one snapshot serves the whole transaction (REPEATABLE READ and SERIALIZABLE).
pub fn has_transaction_snapshot() -> bool {
    // SAFETY: reads a global of the backend.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// The role the caller acts as, outside of functions that run with their owner's rights.
pub fn outer_role() -> String {
    // SAFETY: inside a transaction; the name is a C string or null.
    unsafe {
        let name = pg_sys::GetUserNameFromId(pg_sys::GetOuterUserId(), true);
        if name.is_null() {
            return String::new();
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

/// The name of the database of this session.
pub fn database_name() -> String {
    // SAFETY: inside a transaction; the name is a C string or null.
    unsafe {
        let name = pg_sys::get_database_name(pg_sys::MyDatabaseId);
        if name.is_null() {
            return String::new();
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

/// Whether the server is a standby.
pub fn in_recovery() -> bool {
    // SAFETY: reads shared state.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Whether the library is being loaded by the postmaster, the one time workers can be registered.
pub fn is_preloading() -> bool {
    // SAFETY: reads a global of the process.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// Whether pg_upgrade runs the server; nothing may start then.
pub fn is_binary_upgrade() -> bool {
    // SAFETY: reads a global of the process.
    unsafe { pg_sys::IsBinaryUpgrade }
}

/// Refuses unknown `cdp.*` settings, so that a typing mistake is told.
pub fn reserve_setting_prefix() {
    // SAFETY: called once, while the library is loaded.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"cdp".as_ptr()) };
}

/// Lets Postgres handle a cancel, a termination or a barrier.
pub fn check_for_interrupts() {
    pgrx::check_for_interrupts!();
}
