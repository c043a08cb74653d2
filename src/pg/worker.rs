//! Background workers: registering them, their entry points, and what their loops are made of.

use super::guard::caught;
use super::lock;
use super::shared::{self, Ending, Place, Role, Seat};
use super::spi::Spi;
use crate::error::Result;
use pgrx::bgworkers::{BackgroundWorkerBuilder, BackgroundWorkerStatus, BgWorkerStartTime, DynamicBackgroundWorker};
use pgrx::pg_sys::{self, Datum};
use std::collections::HashMap;
use std::ffi::CStr;
use std::time::Duration;

/// Longest wait, so that a worker notices soon that its database is to be dropped.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

extern "C-unwind" {
    // The C functions themselves: a signal handler must not be a wrapper that unwinds.
    #[link_name = "die"]
    fn raw_die(signal: i32);
    #[link_name = "SignalHandlerForConfigReload"]
    fn raw_reload(signal: i32);
}

/// Registers the launcher; called once, when the postmaster loads the library.
pub fn register_launcher() {
    BackgroundWorkerBuilder::new("cdp launcher")
        .set_library("cdp")
        .set_function("cdp_launcher_main")
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(Some(Duration::from_secs(5)))
        .load();
}

/// Starts a worker for the database at this place. None when the server has no room for one.
pub fn start(role: Role, place: usize, database_name: &str) -> Option<Child> {
    let (kind, function) = match role {
        Role::Delivery => ("cdp delivery", "cdp_delivery_main"),
        Role::Timers => ("cdp timers", "cdp_timers_main"),
    };
    // SAFETY: reads a global of the process.
    let launcher = unsafe { pg_sys::MyProcPid };
    let name: String = format!("{kind} of {database_name}").chars().take(60).collect();
    BackgroundWorkerBuilder::new(&name)
        .set_type(kind)
        .set_library("cdp")
        .set_function(function)
        .enable_spi_access()
        .set_argument(Some(Datum::from(place)))
        .set_notify_pid(launcher)
        .load_dynamic()
        .ok()
        .map(Child)
}

/// A worker that the launcher started.
pub struct Child(DynamicBackgroundWorker);

impl Child {
    pub fn has_ended(&self) -> bool {
        matches!(self.0.pid(), Err(BackgroundWorkerStatus::Stopped))
    }

    pub fn terminate(self) {
        self.0.terminate();
    }
}

#[pgrx::pg_guard]
// SAFETY: the name is ours alone: it begins with cdp_ or pg_finfo_cdp_.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn cdp_launcher_main(_argument: Datum) {
    handle_signals();
    // SAFETY: called once, at the start of a worker. Without a database only shared catalogs can be read.
    unsafe { pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0) };
    if let Some(shared) = shared::shared() {
        if shared.launcher.take() {
            prepare(c"cdp launcher");
            crate::workers::launcher::run(shared);
        }
    }
}

#[pgrx::pg_guard]
// SAFETY: the name is ours alone: it begins with cdp_ or pg_finfo_cdp_.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn cdp_delivery_main(argument: Datum) {
    work(argument, Role::Delivery, c"cdp delivery", crate::workers::delivery::run);
}

#[pgrx::pg_guard]
// SAFETY: the name is ours alone: it begins with cdp_ or pg_finfo_cdp_.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn cdp_timers_main(argument: Datum) {
    work(argument, Role::Timers, c"cdp timers", crate::workers::timers::run);
}

fn work(argument: Datum, role: Role, name: &CStr, run: fn(&Seat) -> Result<Ending>) {
    handle_signals();
    let place: Option<&'static Place> = shared::shared().and_then(|shared| shared.at(argument.value()));
    let Some(place) = place else { return };
    let seat = place.seat(role);
    if !seat.take() {
        return;
    }
    // SAFETY: called once, at the start of a worker; ends the process when the database is gone.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnectionByOid(pg_sys::Oid::from(place.database()), pg_sys::InvalidOid, 0);
    }
    prepare(name);
    match run(seat) {
        Ok(ending) => seat.end(ending),
        Err(error) => super::guard::guarded(|| Err(error)),
    }
}

fn handle_signals() {
    // SAFETY: both handlers are Postgres' own and safe in a signal.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        {
            pg_sys::pqsignal(pg_sys::SIGHUP as i32, Some(raw_reload));
            pg_sys::pqsignal(pg_sys::SIGTERM as i32, Some(raw_die));
        }
        #[cfg(feature = "pg18")]
        {
            pg_sys::pqsignal_be(pg_sys::SIGHUP as i32, Some(raw_reload));
            pg_sys::pqsignal_be(pg_sys::SIGTERM as i32, Some(raw_die));
        }
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Settings of a worker's session, whatever the database's or the role's defaults are.
const SETTINGS: [(&CStr, &CStr); 6] = [
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"default_transaction_isolation", c"read committed"),
    (c"default_transaction_read_only", c"off"),
    (c"statement_timeout", c"0"),
    (c"lock_timeout", c"0"),
    (c"jit", c"off"),
];

fn prepare(name: &CStr) {
    // SAFETY: names and values are C strings; the context lives as long as the process.
    unsafe {
        for (setting, value) in SETTINGS {
            let (context, source) = (pg_sys::GucContext::PGC_SUSET, pg_sys::GucSource::PGC_S_SESSION);
            pg_sys::SetConfigOption(setting.as_ptr(), value.as_ptr(), context, source);
        }
        pg_sys::pgstat_report_appname(name.as_ptr());
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null());
    }
}

/// What became of a transaction of a worker.
pub enum Attempt<T> {
    Done(T),
    /// Somebody is about to drop the extension: nothing was done.
    Busy,
    /// The database does not have the extension.
    NoExtension,
}

/// Runs `body` in a transaction of its own. Whatever goes wrong comes back as an error, and the process
/// goes on.
pub fn transaction<T>(activity: &CStr, body: impl FnOnce(&Spi) -> Result<T>) -> Result<Attempt<T>> {
    let attempt = caught(|| {
        // SAFETY: no transaction is open; every way out ends it, here or in `abort`.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, activity.as_ptr());
        }
        let attempt = match lock::extension() {
            None => Attempt::NoExtension,
            Some(extension) if !lock::try_extension(extension) => Attempt::Busy,
            Some(_) => Attempt::Done(Spi::connect(false, body)?),
        };
        // SAFETY: ends what was begun above.
        unsafe {
            pg_sys::PopActiveSnapshot();
            pg_sys::CommitTransactionCommand();
        }
        Ok(attempt)
    });
    if attempt.is_err() {
        abort();
    }
    // SAFETY: no transaction is open.
    unsafe {
        pg_sys::pgstat_report_stat(false);
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null());
    }
    attempt
}

/// Runs `body` in a transaction in which only shared catalogs can be read.
pub fn shared_catalogs<T>(body: impl FnOnce() -> T) -> Result<T> {
    let outcome = caught(|| {
        // SAFETY: no transaction is open; every way out ends it, here or in `abort`.
        unsafe { pg_sys::StartTransactionCommand() };
        let value = body();
        // SAFETY: ends what was begun above.
        unsafe { pg_sys::CommitTransactionCommand() };
        Ok(value)
    });
    if outcome.is_err() {
        abort();
    }
    outcome
}

/// Whether nobody waits for this process to leave its database.
pub fn may_stay() -> bool {
    shared_catalogs(lock::try_database).unwrap_or(true)
}

/// The databases that allow connections, by name. Works without a database, where no index can be used.
pub fn databases() -> Result<HashMap<String, u32>> {
    shared_catalogs(|| {
        let mut found = HashMap::new();
        // SAFETY: inside a transaction; a row of pg_database begins with the fixed columns of its struct.
        unsafe {
            let relation = pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            let none = std::ptr::null_mut();
            let scan = pg_sys::systable_beginscan(relation, pg_sys::InvalidOid, false, none, 0, std::ptr::null_mut());
            loop {
                let tuple = pg_sys::systable_getnext(scan);
                if tuple.is_null() {
                    break;
                }
                let header = (*tuple).t_data;
                let row = header.cast::<u8>().add((*header).t_hoff as usize).cast::<pg_sys::FormData_pg_database>();
                if (*row).datallowconn {
                    let name = CStr::from_ptr((*row).datname.data.as_ptr()).to_string_lossy().into_owned();
                    found.insert(name, (*row).oid.to_u32());
                }
            }
            pg_sys::systable_endscan(scan);
            pg_sys::table_close(relation, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        }
        found
    })
}

fn abort() {
    let aborted = caught(|| {
        // SAFETY: may be called in any state of a transaction.
        unsafe { pg_sys::AbortCurrentTransaction() };
        Ok(())
    });
    if let Err(error) = aborted {
        pgrx::warning!("cdp: a transaction could not be aborted: {}", error.message);
    }
}

/// Waits until this process is woken, at most for `longest` and never longer than a second. Ends the
/// process when the postmaster died or it was told to end. True when it was woken.
pub fn wait(longest: Duration) -> bool {
    let milliseconds = longest.min(LONGEST_WAIT).as_millis() as std::ffi::c_long;
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    let waited = caught(|| {
        // SAFETY: the latch is this process' own.
        let woken = unsafe {
            let happened = pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, milliseconds, pg_sys::PG_WAIT_EXTENSION);
            pg_sys::ResetLatch(pg_sys::MyLatch);
            happened & pg_sys::WL_LATCH_SET as i32 != 0
        };
        pgrx::check_for_interrupts!();
        Ok(woken)
    });
    // Somebody cancelled a query that was over: nothing to do.
    waited.unwrap_or(true)
}

/// Reads the configuration again if that was asked for. True when it was.
pub fn reload() -> bool {
    // SAFETY: the flag is set by a signal handler of this process; no transaction is open.
    unsafe {
        if (&raw const pg_sys::ConfigReloadPending).read_volatile() == 0 {
            return false;
        }
        (&raw mut pg_sys::ConfigReloadPending).write_volatile(0);
        pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
    }
    true
}
