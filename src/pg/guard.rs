//! The border between Postgres' errors and ours.
//!
//! pgrx knows only the standard SQLSTATEs: one of class CD would be reported as XX000. So functions
//! return [`Error`] as a value, and it is raised here, after every Rust destructor has run.

use crate::error::{Error, Result};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::{pg_sys, PgSqlErrorCode, PgTryBuilder};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::panic::AssertUnwindSafe;

/// Runs `body`, turning panics and Postgres errors into Postgres errors and raising what it returns.
pub fn guarded<T>(body: impl FnOnce() -> Result<T>) -> T {
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

thread_local! {
    /// The SQLSTATE, as Postgres packs it, of what was reported last while somebody listened.
    static REPORTED: Cell<i32> = const { Cell::new(0) };
}

extern "C-unwind" {
    // The unwrapped function: it only reads what is being reported.
    #[link_name = "geterrcode"]
    fn reported_code() -> c_int;
}

/// Postgres calls this while it makes a report; it must not raise.
unsafe extern "C-unwind" fn note_code(_: *mut c_void) {
    REPORTED.set(reported_code());
}

/// Runs `body`; Postgres' errors and panics become values.
pub fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    // pgrx knows only the standard SQLSTATEs and takes any other for XX000, so they are noted when they are reported.
    // SAFETY: the callback is on Postgres' list only while this frame lives.
    unsafe {
        let before = pg_sys::error_context_stack;
        let mut listener =
            pg_sys::ErrorContextCallback { previous: before, callback: Some(note_code), arg: std::ptr::null_mut() };
        pg_sys::error_context_stack = &raw mut listener;
        let outcome = PgTryBuilder::new(AssertUnwindSafe(body)).catch_others(|cause| Err(error(&cause))).execute();
        pg_sys::error_context_stack = before;
        outcome
    }
}

fn error(cause: &CaughtError) -> Error {
    let (CaughtError::PostgresError(report)
    | CaughtError::ErrorReport(report)
    | CaughtError::RustPanic { ereport: report, .. }) = cause;
    let mut code = report.sql_error_code() as i32;
    if matches!(cause, CaughtError::PostgresError(_)) && code == PgSqlErrorCode::ERRCODE_INTERNAL_ERROR as i32 {
        code = REPORTED.get();
    }
    let mut sqlstate = [b'0'; 5];
    for character in &mut sqlstate {
        *character = (code & 0x3f) as u8 + b'0';
        code >>= 6;
    }
    let mut error = Error::new("XX000", report.message());
    error.sqlstate = sqlstate;
    error.detail = report.detail().map(str::to_string);
    error.hint = report.hint().map(str::to_string);
    error
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
