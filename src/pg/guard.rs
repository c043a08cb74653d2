//! The border between Postgres' errors and ours.
//!
//! pgrx knows only the standard SQLSTATEs: one of class CD would be reported as XX000. So functions
//! return [`Error`] as a value, and it is raised here, after every Rust destructor has run.

use crate::error::Error;
use pgrx::pg_sys;
use std::panic::AssertUnwindSafe;

/// Runs `body`, turning panics and Postgres errors into Postgres errors and raising what it returns.
pub fn guarded<T>(body: impl FnOnce() -> Result<T, Error>) -> T {
    // SAFETY: the closure's Rust state is dropped by unwinding before the guard reports an error.
    let outcome = unsafe { pg_sys::panic::pgrx_extern_c_guard(AssertUnwindSafe(body)) };
    match outcome {
        Ok(value) => value,
        Err(error) => raise(error),
    }
}

extern "C-unwind" {
    // The unwrapped function: pgrx's wrapper would catch the error and lose its SQLSTATE.
    #[link_name = "ThrowErrorData"]
    fn throw_error_data(edata: *mut pg_sys::ErrorData);
}

/// A copy of `text` in the current memory context; NUL characters are left out.
fn c_string(text: &str) -> *mut std::ffi::c_char {
    let bytes: Vec<u8> = text.bytes().filter(|b| *b != 0).collect();
    // SAFETY: palloc returns length + 1 writable bytes or raises.
    unsafe {
        let copy = pg_sys::palloc(bytes.len() + 1).cast::<u8>();
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len());
        *copy.add(bytes.len()) = 0;
        copy.cast()
    }
}

fn sqlstate(code: [u8; 5]) -> i32 {
    code.iter().enumerate().fold(0, |state, (i, c)| state + (((i32::from(*c) - 48) & 0x3f) << (6 * i)))
}

fn error_data(error: &Error, level: i32) -> *mut pg_sys::ErrorData {
    // SAFETY: ErrorData is a plain C struct for which all zeros is valid.
    unsafe {
        let data = pg_sys::palloc0(std::mem::size_of::<pg_sys::ErrorData>()).cast::<pg_sys::ErrorData>();
        (*data).elevel = level;
        (*data).sqlerrcode = sqlstate(error.sqlstate);
        (*data).message = c_string(&error.message);
        if let Some(detail) = &error.detail {
            (*data).detail = c_string(detail);
        }
        if let Some(hint) = &error.hint {
            (*data).hint = c_string(hint);
        }
        (*data).assoc_context = pg_sys::CurrentMemoryContext;
        data
    }
}

fn raise(error: Error) -> ! {
    let data = error_data(&error, pgrx::PgLogLevel::ERROR as i32);
    drop(error);
    // SAFETY: data is valid, and no frame between here and Postgres holds anything to drop.
    unsafe { throw_error_data(data) };
    unreachable!("an error was thrown")
}

/// Sends a WARNING to the client and the log.
pub fn warn(message: &str, hint: Option<&str>) {
    let mut error = Error::new("01000", message);
    error.hint = hint.map(str::to_string);
    let data = error_data(&error, pgrx::PgLogLevel::WARNING as i32);
    // SAFETY: data is valid; below ERROR this returns.
    unsafe { pg_sys::ThrowErrorData(data) };
}
