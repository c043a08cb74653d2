//! SQL from Rust: kept plans, typed parameters.
//!
//! Every statement is a `&'static str` with qualified names; its plan is made once per backend.

use super::datum::Param;
use super::function::Call;
use super::planner::{Held, Settings};
pub use super::rows::Rows;
use crate::error::{internal, Result};
use pgrx::pg_sys::{self, Datum};
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    /// Kept plans by the address of their text, which is static.
    static PLANS: RefCell<HashMap<usize, pg_sys::SPIPlanPtr>> = RefCell::new(HashMap::new());
    /// Kept plans over the transition tables of triggers, by table and text.
    static TRANSITION_PLANS: RefCell<HashMap<(u32, String), pg_sys::SPIPlanPtr>> = RefCell::new(HashMap::new());
}

/// Which rows a statement sees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    /// A new snapshot; may write.
    Current,
    /// The snapshot of the calling query; cannot write, needs no transaction id, works on a standby.
    Caller,
    /// What is committed now, even in a transaction with an older snapshot; cannot write.
    Latest,
    /// The same; may lock rows.
    LatestForUpdate,
}

/// A connection to SPI; one for each call of a function.
pub struct Spi {
    read_only: bool,
    planner: Held,
}

impl Spi {
    /// Runs `body` with a connection. Nothing that SPI allocated may leave it.
    pub fn connect<T>(read_only: bool, body: impl FnOnce(&Spi) -> Result<T>) -> Result<T> {
        // SAFETY: balanced by the drop of `connection`, or by Postgres when an error unwinds.
        let code = unsafe { pg_sys::SPI_connect() };
        if code != pg_sys::SPI_OK_CONNECT as i32 {
            return Err(internal(format!("SPI_connect returned {code}")));
        }
        let connection = Spi { read_only, planner: Settings::INDEX_LOOKUPS.hold() };
        body(&connection)
    }

    /// Runs a statement and returns its rows. Reads see the caller's snapshot in a read-only connection.
    pub fn query(&self, sql: &'static str, params: &[Param]) -> Result<Rows> {
        self.run(sql, params, if self.read_only { View::Caller } else { View::Current })
    }

    /// Runs a statement that sees everything committed by now.
    pub fn query_latest(&self, sql: &'static str, params: &[Param]) -> Result<Rows> {
        self.run(sql, params, View::Latest)
    }

    /// Runs a query that sees everything committed by now where the rows of others must not be missed, as an
    /// insert of the same would run into them: also in a transaction that has an older snapshot for the rest.
    pub fn query_known(&self, sql: &'static str, params: &[Param]) -> Result<Rows> {
        let view = match (self.read_only, super::session::has_transaction_snapshot()) {
            (true, _) => View::Caller,
            (false, true) => View::Latest,
            (false, false) => View::Current,
        };
        self.run(sql, params, view)
    }

    /// As [`Spi::query_known`], for a statement that locks the rows it returns.
    pub fn query_known_for_update(&self, sql: &'static str, params: &[Param]) -> Result<Rows> {
        let view = if super::session::has_transaction_snapshot() { View::LatestForUpdate } else { View::Current };
        self.run(sql, params, view)
    }

    /// Runs a statement for its effect; returns the number of rows it touched.
    pub fn execute(&self, sql: &'static str, params: &[Param]) -> Result<u64> {
        if self.read_only {
            return Err(internal("a read-only connection was asked to write"));
        }
        Ok(self.run(sql, params, View::Current)?.processed)
    }

    /// As [`Spi::execute`], for a statement that joins the rows of a table, found by `= ANY (array)`, to an
    /// array of what is to become of them: by a hash, since the array has no index.
    pub fn execute_hashed(&self, sql: &'static str, params: &[Param]) -> Result<u64> {
        let _planner = Settings::HASHED.hold();
        self.execute(sql, params)
    }

    /// Runs a statement whose text is made at run time; its plan is not kept.
    pub fn query_text(&self, sql: &str, params: &[Param]) -> Result<Rows> {
        let _planner = self.planner.before().hold();
        let plan = prepare(sql, params)?;
        let rows = run_plan(plan, sql, params, if self.read_only { View::Caller } else { View::Current });
        // SAFETY: the plan was made above and is not kept.
        unsafe { pg_sys::SPI_freeplan(plan) };
        rows
    }

    /// Lets statements of this connection read the transition tables of the trigger that `call` is for.
    pub fn see_transition_tables(&self, call: &Call) -> Result<()> {
        // SAFETY: the trigger data is valid for the call, which outlives this connection.
        match unsafe { pg_sys::SPI_register_trigger_data(call.trigger()?) } {
            code if code < 0 => Err(internal(format!("SPI_register_trigger_data returned {code}"))),
            _ => Ok(()),
        }
    }

    /// As [`Spi::query_text`], for a statement over the transition tables of a table, whose plan is kept.
    pub fn query_transition(&self, relation: u32, sql: &str) -> Result<Rows> {
        /// A session keeps no more plans than this: freeing one could take it from under a statement that runs.
        const MOST_PLANS: usize = 100;
        let key = (relation, sql.to_string());
        let known = TRANSITION_PLANS.with_borrow(|plans| plans.get(&key).copied().ok_or(plans.len()));
        let plan = match known {
            Ok(plan) => plan,
            Err(count) if count >= MOST_PLANS => return self.query_text(sql, &[]),
            Err(_) => {
                let plan = prepare(sql, &[])?;
                // SAFETY: the plan was just made.
                unsafe { pg_sys::SPI_keepplan(plan) };
                TRANSITION_PLANS.with_borrow_mut(|plans| plans.insert(key, plan));
                plan
            }
        };
        let _planner = self.planner.before().hold();
        run_plan(plan, sql, &[], View::Current)
    }

    /// Whether a statement whose text is made at run time can be planned; it is not run.
    pub fn check_text(&self, sql: &str) -> Result<()> {
        let plan = prepare(sql, &[])?;
        // SAFETY: the plan was made above and is not kept.
        unsafe { pg_sys::SPI_freeplan(plan) };
        Ok(())
    }

    /// Opens a cursor for a query whose text is made at run time.
    pub fn open_text(&self, sql: &str) -> Result<Cursor> {
        let _planner = self.planner.before().hold();
        let plan = prepare(sql, &[])?;
        // SAFETY: the plan has no parameters; the portal keeps what it needs of it.
        let portal =
            unsafe { pg_sys::SPI_cursor_open(std::ptr::null(), plan, std::ptr::null_mut(), std::ptr::null(), false) };
        if portal.is_null() {
            return Err(internal(format!("no cursor for: {sql}")));
        }
        Ok(Cursor { portal })
    }

    /// As [`Spi::query_text`], for a query over everybody: joins by hash or merge, whatever the planner was told of the
    /// tables, and without compiling expressions.
    pub fn query_everybody(&self, sql: &str, params: &[Param]) -> Result<Rows> {
        let _planner = self.planner.before().hold();
        let _jit = Settings::without_jit().hold();
        // SAFETY: a plain setting of this backend's planner, put back with the others.
        unsafe { pg_sys::enable_nestloop = false };
        let plan = prepare_as(sql, params, pg_sys::CURSOR_OPT_CUSTOM_PLAN)?;
        let rows = run_plan(plan, sql, params, if self.read_only { View::Caller } else { View::Current });
        // SAFETY: the plan was made above and is not kept.
        unsafe { pg_sys::SPI_freeplan(plan) };
        rows
    }

    /// Runs a query and calls `each` for every row, holding no more than `fetch` rows at a time.
    pub fn for_each(
        &self,
        sql: &'static str,
        params: &[Param],
        fetch: i64,
        each: impl FnMut(&Rows) -> Result<()>,
    ) -> Result<()> {
        self.fetch_all(kept_plan(sql, params)?, sql, params, fetch, each)
    }

    /// Runs a statement and calls `each` for every row as the executor makes it, without keeping any; `each` must not run
    /// statements.
    pub fn stream(&self, sql: &'static str, params: &[Param], mut each: impl FnMut(&Rows) -> Result<()>) -> Result<()> {
        super::stream::run(kept_plan(sql, params)?, params, self.read_only, &mut each)
    }

    /// As [`Spi::for_each`], for a query over much of a table whose text is made at run time: it is planned for these
    /// parameters, as the session would, and without compiling it, which takes longer than it saves here. Each row is
    /// handed over as the executor makes it, which costs less, but `each` must not run statements.
    pub fn stream_text(&self, sql: &str, params: &[Param], mut each: impl FnMut(&Rows) -> Result<()>) -> Result<()> {
        let plan = prepare_as(sql, params, pg_sys::CURSOR_OPT_CUSTOM_PLAN)?;
        let done = {
            let _planner = self.planner.before().hold();
            let _jit = Settings::without_jit().hold();
            super::stream::run(plan, params, self.read_only, &mut each)
        };
        // SAFETY: the plan was made above and is not kept.
        unsafe { pg_sys::SPI_freeplan(plan) };
        done
    }

    fn fetch_all(
        &self,
        plan: pg_sys::SPIPlanPtr,
        sql: &str,
        params: &[Param],
        fetch: i64,
        mut each: impl FnMut(&Rows) -> Result<()>,
    ) -> Result<()> {
        let (mut values, nulls) = datums(params);
        // SAFETY: values and nulls have one entry for each parameter of the plan.
        let portal = unsafe {
            pg_sys::SPI_cursor_open(std::ptr::null(), plan, values.as_mut_ptr(), nulls.as_ptr(), self.read_only)
        };
        if portal.is_null() {
            return Err(internal(format!("no cursor for: {sql}")));
        }
        loop {
            // SAFETY: the portal is open.
            unsafe { pg_sys::SPI_cursor_fetch(portal, true, fetch as std::ffi::c_long) };
            let mut rows = Rows::take();
            if rows.processed == 0 {
                break;
            }
            while rows.advance() {
                each(&rows)?;
            }
        }
        // SAFETY: the portal is open.
        unsafe { pg_sys::SPI_cursor_close(portal) };
        Ok(())
    }

    fn run(&self, sql: &'static str, params: &[Param], view: View) -> Result<Rows> {
        let plan = kept_plan(sql, params)?;
        run_plan(plan, sql, params, view)
    }
}

impl Drop for Spi {
    fn drop(&mut self) {
        // SAFETY: balances SPI_connect.
        unsafe { pg_sys::SPI_finish() };
    }
}

/// A query whose rows are fetched in parts; it ends with the transaction if it is not closed.
pub struct Cursor {
    portal: pg_sys::Portal,
}

impl Cursor {
    /// The next rows, at most `count`.
    pub fn fetch(&self, count: usize) -> Rows {
        // SAFETY: the portal is open.
        unsafe { pg_sys::SPI_cursor_fetch(self.portal, true, count as std::ffi::c_long) };
        Rows::take()
    }

    pub fn close(self) {
        // SAFETY: the portal is open, and nobody has it after this.
        unsafe { pg_sys::SPI_cursor_close(self.portal) };
    }
}

fn kept_plan(sql: &'static str, params: &[Param]) -> Result<pg_sys::SPIPlanPtr> {
    let known = PLANS.with_borrow(|plans| plans.get(&(sql.as_ptr() as usize)).copied());
    if let Some(plan) = known {
        return Ok(plan);
    }
    let plan = prepare(sql, params)?;
    // SAFETY: the plan was just made.
    unsafe { pg_sys::SPI_keepplan(plan) };
    PLANS.with_borrow_mut(|plans| plans.insert(sql.as_ptr() as usize, plan));
    Ok(plan)
}

fn datums(params: &[Param]) -> (Vec<Datum>, Vec<std::ffi::c_char>) {
    params
        .iter()
        .map(|param| match param.datum() {
            Some(value) => (value, b' ' as std::ffi::c_char),
            None => (Datum::from(0), b'n' as std::ffi::c_char),
        })
        .unzip()
}

/// One plan for all parameters: they are keys or arrays of keys, never a reason for another plan.
fn prepare(sql: &str, params: &[Param]) -> Result<pg_sys::SPIPlanPtr> {
    prepare_as(sql, params, pg_sys::CURSOR_OPT_GENERIC_PLAN)
}

fn prepare_as(sql: &str, params: &[Param], options: u32) -> Result<pg_sys::SPIPlanPtr> {
    let text = std::ffi::CString::new(sql).map_err(|_| internal("a statement has a NUL character"))?;
    let mut oids: Vec<_> = params.iter().map(Param::oid).collect();
    // SAFETY: both pointers outlive the call.
    let plan =
        unsafe { pg_sys::SPI_prepare_cursor(text.as_ptr(), oids.len() as i32, oids.as_mut_ptr(), options as i32) };
    if plan.is_null() {
        // SAFETY: SPI_result is set by SPI_prepare.
        let code = unsafe { pg_sys::SPI_result };
        return Err(internal(format!("SPI_prepare returned {code} for: {sql}")));
    }
    Ok(plan)
}

fn run_plan(plan: pg_sys::SPIPlanPtr, sql: &str, params: &[Param], view: View) -> Result<Rows> {
    let (mut values, nulls) = datums(params);
    // SAFETY: values and nulls have one entry for each parameter of the plan; the snapshots are valid
    // for the call. SPI_tuptable belongs to this connection until it is finished.
    let code = unsafe {
        match view {
            View::Latest | View::LatestForUpdate => pg_sys::SPI_execute_snapshot(
                plan,
                values.as_mut_ptr(),
                nulls.as_ptr(),
                pg_sys::GetLatestSnapshot(),
                std::ptr::null_mut(),
                view == View::Latest,
                false,
                0,
            ),
            _ => pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), view == View::Caller, 0),
        }
    };
    if code < 0 {
        return Err(internal(format!("SPI returned {code} for: {sql}")));
    }
    Ok(Rows::take())
}
