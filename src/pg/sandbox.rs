//! Running what a user wrote: with that user's rights, for a limited time, and without harm when it fails.

use super::guard::caught;
use super::session;
use super::transaction::attempt;
use crate::error::{state, Error, Result};
use pgrx::pg_sys;
use std::ffi::CString;
use std::time::Duration;

/// `STATEMENT_TIMEOUT` of Postgres' `TimeoutId`.
const STATEMENT_TIMEOUT: u32 = 3;

extern "C-unwind" {
    fn get_timeout_active(id: u32) -> bool;
    fn enable_timeout_after(id: u32, milliseconds: i32);
    fn disable_timeout(id: u32, keep_indicator: bool);
}

/// As [`as_role_with_id`], for a role by its name. `longest` holds unless the session has a statement timeout
/// running.
pub fn as_role<T>(role: &str, longest: Duration, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let name = CString::new(role).unwrap_or_default();
    // SAFETY: inside a transaction; the name is a C string.
    let role_id = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    if role_id == pg_sys::InvalidOid {
        return Err(Error::new(state::INVALID_DEFINITION, format!("role \"{role}\" does not exist")));
    }
    as_role_with_id(role_id.to_u32(), || {
        // SAFETY: the timeout is ended below, or by the end of the statement when `body` raised.
        unsafe {
            let is_timed = !get_timeout_active(STATEMENT_TIMEOUT);
            if is_timed {
                enable_timeout_after(STATEMENT_TIMEOUT, longest.as_millis() as i32);
            }
            let outcome = caught(body);
            if is_timed {
                disable_timeout(STATEMENT_TIMEOUT, false);
            }
            outcome
        }
    })
}

/// Runs `body` in a subtransaction with the rights of a role. An error undoes what it did and comes back as a value.
pub fn as_role_with_id<T>(role_id: u32, body: impl FnOnce() -> Result<T>) -> Result<T> {
    attempt(|| {
        // SAFETY: the user is put back below, or by the end of the subtransaction when `body` raised.
        unsafe {
            let (mut user, mut security) = (pg_sys::InvalidOid, 0);
            pg_sys::GetUserIdAndSecContext(&mut user, &mut security);
            let restricted = pg_sys::SECURITY_RESTRICTED_OPERATION | pg_sys::SECURITY_LOCAL_USERID_CHANGE;
            pg_sys::SetUserIdAndSecContext(pg_sys::Oid::from(role_id), security | restricted as i32);
            let outcome = {
                let _acting = session::act_for(pg_sys::Oid::from(role_id));
                body()
            };
            pg_sys::SetUserIdAndSecContext(user, security);
            outcome
        }
    })
}
