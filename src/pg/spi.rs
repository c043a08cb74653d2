//! SQL from Rust: kept plans, typed parameters, rows.
//!
//! Every statement is a `&'static str` with qualified names; its plan is made once per backend.

use super::clock;
use super::datum::{self, Param};
use super::function::Call;
use super::table::Tid;
use crate::error::{internal, Error, Result};
use cdp_value::Timestamp;
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

/// Keeps the planner to index look-ups while cdp's own statements run: their plans are kept for the life of
/// the session, and one made while a table was still empty must not scan it when it has grown. A small table without
/// an index is scanned all the same, at a cost that would have the plan compiled each time: so no JIT.
struct IndexPlans {
    seqscan: bool,
    nestloop: bool,
    hashjoin: bool,
    mergejoin: bool,
    jit: bool,
}

impl IndexPlans {
    /// Joins by index look-up, or with `hashed` by a hash of the smaller side.
    fn set(hashed: bool) -> IndexPlans {
        // SAFETY: plain settings of this backend's planner, put back by drop.
        unsafe {
            let before = IndexPlans {
                seqscan: pg_sys::enable_seqscan,
                nestloop: pg_sys::enable_nestloop,
                hashjoin: pg_sys::enable_hashjoin,
                mergejoin: pg_sys::enable_mergejoin,
                jit: pg_sys::jit_enabled,
            };
            pg_sys::enable_seqscan = false;
            pg_sys::enable_nestloop = !hashed;
            pg_sys::enable_hashjoin = hashed;
            pg_sys::enable_mergejoin = false;
            pg_sys::jit_enabled = false;
            before
        }
    }
}

impl IndexPlans {
    /// The session's own settings, for statements that users wrote.
    fn lifted(&self) -> IndexPlans {
        // SAFETY: as above.
        unsafe {
            let now = IndexPlans {
                seqscan: pg_sys::enable_seqscan,
                nestloop: pg_sys::enable_nestloop,
                hashjoin: pg_sys::enable_hashjoin,
                mergejoin: pg_sys::enable_mergejoin,
                jit: pg_sys::jit_enabled,
            };
            pg_sys::enable_seqscan = self.seqscan;
            pg_sys::enable_nestloop = self.nestloop;
            pg_sys::enable_hashjoin = self.hashjoin;
            pg_sys::enable_mergejoin = self.mergejoin;
            pg_sys::jit_enabled = self.jit;
            now
        }
    }
}

/// Keeps expressions from being compiled while a statement is planned and run.
struct NoJit(bool);

impl NoJit {
    fn set() -> NoJit {
        // SAFETY: a plain setting of this backend, put back by drop.
        unsafe {
            let before = NoJit(pg_sys::jit_enabled);
            pg_sys::jit_enabled = false;
            before
        }
    }
}

impl Drop for NoJit {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { pg_sys::jit_enabled = self.0 };
    }
}

impl Drop for IndexPlans {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe {
            pg_sys::enable_seqscan = self.seqscan;
            pg_sys::enable_nestloop = self.nestloop;
            pg_sys::enable_hashjoin = self.hashjoin;
            pg_sys::enable_mergejoin = self.mergejoin;
            pg_sys::jit_enabled = self.jit;
        }
    }
}

/// A connection to SPI; one for each call of a function.
pub struct Spi {
    read_only: bool,
    plans: IndexPlans,
}

impl Spi {
    /// Runs `body` with a connection. Nothing that SPI allocated may leave it.
    pub fn connect<T>(read_only: bool, body: impl FnOnce(&Spi) -> Result<T>) -> Result<T> {
        // SAFETY: balanced by the drop of `connection`, or by Postgres when an error unwinds.
        let code = unsafe { pg_sys::SPI_connect() };
        if code != pg_sys::SPI_OK_CONNECT as i32 {
            return Err(internal(format!("SPI_connect returned {code}")));
        }
        let connection = Spi { read_only, plans: IndexPlans::set(false) };
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
        let _plans = IndexPlans::set(true);
        self.execute(sql, params)
    }

    /// Runs a statement whose text is made at run time; its plan is not kept.
    pub fn query_text(&self, sql: &str, params: &[Param]) -> Result<Rows> {
        let _plans = self.plans.lifted();
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
        let _plans = self.plans.lifted();
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
        let _plans = self.plans.lifted();
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
        let _plans = self.plans.lifted();
        let _jit = NoJit::set();
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

    /// As [`Spi::for_each`], for a query over much of a table whose text is made at run time: it is planned for these
    /// parameters, as the session would, and without compiling it, which takes longer than it saves here.
    pub fn for_each_text(
        &self,
        sql: &str,
        params: &[Param],
        fetch: i64,
        each: impl FnMut(&Rows) -> Result<()>,
    ) -> Result<()> {
        let plan = prepare_as(sql, params, pg_sys::CURSOR_OPT_CUSTOM_PLAN)?;
        let done = {
            let _plans = self.plans.lifted();
            let _jit = NoJit::set();
            self.fetch_all(plan, sql, params, fetch, each)
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

/// The result of a statement, read row by row.
pub struct Rows {
    table: *mut pg_sys::SPITupleTable,
    /// Rows returned or touched.
    pub processed: u64,
    next: u64,
    values: Vec<Datum>,
    nulls: Vec<bool>,
}

impl Rows {
    /// Takes the result of the last SPI call.
    fn take() -> Rows {
        // SAFETY: set by SPI; the table belongs to the connection until it is finished or freed.
        unsafe {
            let rows = Rows {
                table: pg_sys::SPI_tuptable,
                processed: pg_sys::SPI_processed,
                next: 0,
                values: Vec::new(),
                nulls: Vec::new(),
            };
            pg_sys::SPI_tuptable = std::ptr::null_mut();
            rows
        }
    }

    /// Moves to the next row; false when there is none.
    pub fn advance(&mut self) -> bool {
        if self.table.is_null() || self.next >= self.processed {
            return false;
        }
        // SAFETY: `next` is below the number of tuples of the table, whose descriptor tells the width.
        unsafe {
            let descriptor = (*self.table).tupdesc;
            let width = usize::try_from((*descriptor).natts).unwrap_or(0);
            self.values.resize(width, Datum::from(0));
            self.nulls.resize(width, true);
            let tuple = *(*self.table).vals.add(self.next as usize);
            pg_sys::heap_deform_tuple(tuple, descriptor, self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
        }
        self.next += 1;
        true
    }

    /// Calls `read` for each row and collects what it returns.
    pub fn map<T>(mut self, mut read: impl FnMut(&Rows) -> Result<T>) -> Result<Vec<T>> {
        let mut all = Vec::with_capacity(self.processed as usize);
        while self.advance() {
            all.push(read(&self)?);
        }
        Ok(all)
    }

    /// Reads the only row, if there is one.
    pub fn first<T>(mut self, read: impl FnOnce(&Rows) -> Result<T>) -> Result<Option<T>> {
        if self.advance() {
            read(&self).map(Some)
        } else {
            Ok(None)
        }
    }

    fn value(&self, column: usize) -> Option<Datum> {
        match (self.values.get(column), self.nulls.get(column)) {
            (Some(value), Some(false)) => Some(*value),
            _ => None,
        }
    }

    fn missing(column: usize) -> Error {
        internal(format!("column {column} of a statement is null"))
    }

    pub fn i64(&self, column: usize) -> Result<i64> {
        self.optional_i64(column).ok_or_else(|| Rows::missing(column))
    }

    pub fn f64(&self, column: usize) -> Result<f64> {
        self.optional_f64(column).ok_or_else(|| Rows::missing(column))
    }

    pub fn optional_f64(&self, column: usize) -> Option<f64> {
        self.value(column).map(|d| f64::from_bits(d.value() as u64))
    }

    pub fn optional_i64(&self, column: usize) -> Option<i64> {
        self.value(column).map(|d| d.value() as i64)
    }

    pub fn i32(&self, column: usize) -> Result<i32> {
        self.optional_i32(column).ok_or_else(|| Rows::missing(column))
    }

    pub fn optional_i32(&self, column: usize) -> Option<i32> {
        self.value(column).map(|d| d.value() as i32)
    }

    pub fn i16(&self, column: usize) -> Result<i16> {
        self.value(column).map(|d| d.value() as i16).ok_or_else(|| Rows::missing(column))
    }

    pub fn bool(&self, column: usize) -> Result<bool> {
        self.value(column).map(|d| d.value() & 1 != 0).ok_or_else(|| Rows::missing(column))
    }

    pub fn timestamp(&self, column: usize) -> Result<Timestamp> {
        self.optional_timestamp(column).ok_or_else(|| Rows::missing(column))
    }

    pub fn optional_timestamp(&self, column: usize) -> Option<Timestamp> {
        self.value(column).map(|d| clock::from_postgres(d.value() as i64))
    }

    pub fn text(&self, column: usize) -> Result<String> {
        self.optional_text(column).ok_or_else(|| Rows::missing(column))
    }

    pub fn optional_text(&self, column: usize) -> Option<String> {
        // SAFETY: statements read a column as text only where it is one.
        self.value(column).map(|d| unsafe { datum::text(d) })
    }

    pub fn bytes(&self, column: usize) -> Result<Vec<u8>> {
        // SAFETY: statements read a column as bytes only where it is a bytea.
        self.value(column).map(|d| unsafe { datum::varlena_bytes(d) }).ok_or_else(|| Rows::missing(column))
    }

    /// Where a row is: the value of a column ctid.
    pub fn tid(&self, column: usize) -> Result<Tid> {
        // SAFETY: statements read a column as a tid only where it is one.
        self.value(column).map(|d| unsafe { Tid::read(d) }).ok_or_else(|| Rows::missing(column))
    }

    /// The JSON text of a jsonb column.
    pub fn optional_jsonb(&self, column: usize) -> Option<String> {
        // SAFETY: statements read a column as jsonb only where it is one.
        self.value(column).map(|d| unsafe { datum::jsonb_text(d) })
    }

    /// A text[] column without its nulls; null is empty.
    pub fn text_array(&self, column: usize) -> Vec<String> {
        // SAFETY: statements read a column as text[] only where it is one.
        self.value(column).map(|d| unsafe { datum::text_array(d) }).unwrap_or_default().into_iter().flatten().collect()
    }

    /// A bigint[] column; null is empty.
    pub fn int8_array(&self, column: usize) -> Vec<i64> {
        // SAFETY: statements read a column as bigint[] only where it is one.
        self.value(column).map(|d| unsafe { datum::int8_array(d) }).unwrap_or_default()
    }

    pub fn is_null(&self, column: usize) -> bool {
        self.value(column).is_none()
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        if !self.table.is_null() {
            // SAFETY: the table was taken from SPI and is freed once, while its connection is open.
            unsafe { pg_sys::SPI_freetuptable(self.table) };
        }
    }
}
