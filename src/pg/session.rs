//! What the session and the server are: isolation, recovery, names.

use pgrx::pg_sys::{self, Oid};
use std::cell::Cell;
use std::ffi::CStr;

thread_local! {
    static ACTING: Cell<Oid> = const { Cell::new(pg_sys::InvalidOid) };
}

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

/// On whose behalf the session acts: the role that logged in, the one of SET ROLE, and the one whose function a
/// worker runs (0: none). Functions that run with their owner's rights change none of them.
pub fn roles() -> [u32; 3] {
    // SAFETY: reads globals of the backend, set before any statement runs.
    unsafe { [pg_sys::GetSessionUserId().into(), pg_sys::GetOuterUserId().into(), ACTING.get().into()] }
}

/// While it is held, the session acts on behalf of a role. Put back also when an error unwinds.
pub(super) struct ActingFor(Oid);

impl Drop for ActingFor {
    fn drop(&mut self) {
        ACTING.set(self.0);
    }
}

/// Says on behalf of which role a function is run.
pub(super) fn act_for(role: Oid) -> ActingFor {
    ActingFor(ACTING.replace(role))
}

/// Whether a role may do everything anyway.
pub fn is_superuser(role: u32) -> bool {
    // SAFETY: inside a transaction; a role that is gone is none.
    unsafe { pg_sys::superuser_arg(Oid::from(role)) }
}

/// Whether `member` has the rights of `role`, being it or inheriting from it.
pub fn has_rights_of(member: u32, role: u32) -> bool {
    // SAFETY: inside a transaction; roles that are gone have no members.
    unsafe { pg_sys::has_privs_of_role(Oid::from(member), Oid::from(role)) }
}

/// Whether a parallel plan runs, in which no snapshot but the plan's can be used.
pub fn is_in_parallel_mode() -> bool {
    // SAFETY: reads the state of the transaction.
    unsafe { pg_sys::IsInParallelMode() }
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

/// Whether this transaction cannot write, as on a standby.
pub fn is_read_only() -> bool {
    // SAFETY: reads a global of the backend.
    unsafe { pg_sys::XactReadOnly }
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
