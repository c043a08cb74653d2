//! Rows written straight into a table, as COPY and logical replication do it: without a plan and an executor, many
//! rows to a page and to a WAL record at once.
//!
//! Only plain tables are written to in this way ([`with`] says so): wherever Postgres would have more to do than store
//! a row and its index entries, the caller uses SQL.

use super::datum::Param;
use crate::error::{internal, Result};
use pgrx::pg_sys::{self, Datum};
use std::ffi::CStr;

/// Rows held before they are written together; COPY does the same.
const TOGETHER: usize = 500;

/// Where a row is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tid {
    block: u32,
    offset: u16,
}

impl Tid {
    /// # Safety
    /// `datum` must be a valid, non-null tid.
    pub unsafe fn read(datum: Datum) -> Tid {
        // SAFETY: by the caller's promise.
        Tid::from(unsafe { *datum.cast_mut_ptr::<pg_sys::ItemPointerData>() })
    }
}

impl From<pg_sys::ItemPointerData> for Tid {
    fn from(pointer: pg_sys::ItemPointerData) -> Tid {
        let block = (u32::from(pointer.ip_blkid.bi_hi) << 16) | u32::from(pointer.ip_blkid.bi_lo);
        Tid { block, offset: pointer.ip_posid }
    }
}

impl From<Tid> for pg_sys::ItemPointerData {
    fn from(tid: Tid) -> pg_sys::ItemPointerData {
        pg_sys::ItemPointerData {
            ip_blkid: pg_sys::BlockIdData { bi_hi: (tid.block >> 16) as u16, bi_lo: tid.block as u16 },
            ip_posid: tid.offset,
        }
    }
}

/// A table open for writing. It is closed by [`with`], or by Postgres when an error unwinds.
pub struct Table {
    relation: pg_sys::Relation,
    executor: *mut pg_sys::EState,
    target: *mut pg_sys::ResultRelInfo,
    /// For what belongs to the rows at hand.
    context: pg_sys::MemoryContext,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    /// Index of each of the caller's columns among the table's.
    places: Vec<usize>,
    width: usize,
    has_checks: bool,
}

/// Opens a table for writing these columns and calls `body`; None, without calling it, when the table is not a plain
/// one or has a column that is not listed and must not be null. Rows written are seen by later statements.
pub fn with<T>(oid: u32, columns: &[&CStr], body: impl FnOnce(&mut Table) -> Result<T>) -> Result<Option<T>> {
    // SAFETY: the relation stays open and locked until it is closed below; everything else is allocated in the context
    // made here, or by the executor state, and goes with it.
    unsafe {
        let relation = pg_sys::try_relation_open(pg_sys::Oid::from(oid), pg_sys::RowExclusiveLock as i32);
        if relation.is_null() {
            return Ok(None);
        }
        let Some(places) = places(relation, columns) else {
            pg_sys::relation_close(relation, pg_sys::NoLock as i32);
            return Ok(None);
        };
        let outer = pg_sys::CurrentMemoryContext;
        let executor = pg_sys::CreateExecutorState();
        let lasting = (*executor).es_query_cxt;
        pg_sys::MemoryContextSwitchTo(lasting);
        let target = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
        pg_sys::InitResultRelInfo(target, relation, 0, std::ptr::null_mut(), 0);
        pg_sys::ExecOpenIndices(target, false);
        let context =
            pg_sys::AllocSetContextCreateInternal(lasting, c"cdp rows".as_ptr(), 0, 8 * 1024, 8 * 1024 * 1024);
        pg_sys::MemoryContextSwitchTo(outer);

        let descriptor = (*relation).rd_att;
        let constraints = (*descriptor).constr;
        let mut table = Table {
            relation,
            executor,
            target,
            context,
            slots: Vec::new(),
            width: usize::try_from((*descriptor).natts).unwrap_or(0),
            has_checks: !constraints.is_null() && (*constraints).num_check > 0,
            places,
        };
        let done = body(&mut table)?;

        for slot in table.slots {
            pg_sys::ExecDropSingleTupleTableSlot(slot);
        }
        pg_sys::ExecCloseIndices(target);
        pg_sys::FreeExecutorState(executor);
        pg_sys::relation_close(relation, pg_sys::NoLock as i32);
        pg_sys::CommandCounterIncrement();
        Ok(Some(done))
    }
}

/// The index of each column; None when the table cannot be written to directly.
///
/// # Safety
/// `relation` must be open.
unsafe fn places(relation: pg_sys::Relation, columns: &[&CStr]) -> Option<Vec<usize>> {
    const HEAP: u32 = 2;
    // Policies bind this user; they do not bind the tables' owner, as whom cdp's functions run.
    const ROW_SECURITY_APPLIES: i32 = 2;
    // SAFETY: by the caller's promise; a descriptor has as many attributes as it says.
    unsafe {
        let class = &*(*relation).rd_rel;
        let is_plain = class.relkind == pg_sys::RELKIND_RELATION as std::ffi::c_char
            && class.relam == pg_sys::Oid::from(HEAP)
            && !class.relhasrules
            && pg_sys::check_enable_rls((*relation).rd_id, pg_sys::InvalidOid, true) != ROW_SECURITY_APPLIES
            && (*relation).trigdesc.is_null();
        if !is_plain {
            return None;
        }
        let descriptor = (*relation).rd_att;
        let width = usize::try_from((*descriptor).natts).unwrap_or(0);
        let attribute = |index: usize| attribute(descriptor, index);
        let find = |name: &CStr| {
            (0..width).find(|index| {
                let attribute = attribute(*index);
                !attribute.attisdropped && CStr::from_ptr(attribute.attname.data.as_ptr()) == name
            })
        };
        let places: Vec<usize> = columns.iter().map(|name| find(name)).collect::<Option<_>>()?;
        let others_may_be_null = (0..width).filter(|index| !places.contains(index)).all(|index| {
            let attribute = attribute(index);
            attribute.attisdropped || (!attribute.attnotnull && !attribute.atthasdef)
        });
        others_may_be_null.then_some(places)
    }
}

/// A column's description.
///
/// # Safety
/// `descriptor` must be valid and have more than `index` columns.
#[cfg(not(feature = "pg18"))]
unsafe fn attribute<'a>(descriptor: pg_sys::TupleDesc, index: usize) -> &'a pg_sys::FormData_pg_attribute {
    // SAFETY: by the caller's promise.
    unsafe { &*(*descriptor).attrs.as_ptr().add(index) }
}

/// As above: they come after the compact ones.
#[cfg(feature = "pg18")]
unsafe fn attribute<'a>(descriptor: pg_sys::TupleDesc, index: usize) -> &'a pg_sys::FormData_pg_attribute {
    // SAFETY: by the caller's promise.
    unsafe {
        let compact = (*descriptor).compact_attrs.as_ptr();
        let all =
            compact.add(usize::try_from((*descriptor).natts).unwrap_or(0)).cast::<pg_sys::FormData_pg_attribute>();
        &*all.add(index)
    }
}

/// The table of this name in schema `_cdp`; 0 when there is none.
pub fn named(name: &CStr) -> u32 {
    // SAFETY: looks names up in the catalog's caches.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"_cdp".as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema).to_u32()
    }
}

/// The next values of a sequence.
pub fn next_values(sequence: u32, count: usize) -> Vec<i64> {
    let sequence = Datum::from(pg_sys::Oid::from(sequence));
    // SAFETY: nextval_oid takes an oid and returns a bigint, or raises.
    let next = || unsafe { pg_sys::DirectFunctionCall1Coll(Some(nextval_oid), pg_sys::InvalidOid, sequence) };
    (0..count).map(|_| next().value() as i64).collect()
}

unsafe extern "C-unwind" fn nextval_oid(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: forwards a valid call.
    unsafe { raw::nextval_oid(fcinfo) }
}

mod raw {
    use pgrx::pg_sys;
    extern "C-unwind" {
        // Called through DirectFunctionCall1Coll, whose wrapper already guards it.
        pub fn nextval_oid(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    }
}

impl Table {
    /// Writes rows whose values are those of the columns that the table was opened with. A duplicate key raises.
    pub fn insert<'a, const N: usize>(&mut self, rows: impl Iterator<Item = [Param<'a>; N]>) -> Result<()> {
        let mut held = 0;
        for row in rows {
            self.hold(held, &row)?;
            held += 1;
            if held == TOGETHER {
                self.write(held, None);
                held = 0;
            }
        }
        self.write(held, None);
        Ok(())
    }

    /// As [`Table::insert`], but waits for nobody: false as soon as a key is found to be taken, perhaps by a transaction
    /// that has yet to end. Then the caller has to undo it all, by ending a subtransaction; what is left of the row would
    /// make others wait.
    pub fn insert_unless_taken<'a, const N: usize>(
        &mut self,
        rows: impl Iterator<Item = [Param<'a>; N]>,
    ) -> Result<bool> {
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            let mut held = 0;
            for row in rows.by_ref().take(TOGETHER) {
                self.hold(held, &row)?;
                held += 1;
            }
            let mut is_taken = false;
            self.write(held, Some(&mut is_taken));
            if is_taken {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Puts a row into a slot.
    fn hold(&mut self, position: usize, row: &[Param]) -> Result<()> {
        if row.len() != self.places.len() {
            return Err(internal("a row has another number of values than columns"));
        }
        // SAFETY: the slot has the table's width, and every place is below it.
        unsafe {
            if position == self.slots.len() {
                let before = pg_sys::MemoryContextSwitchTo((*self.executor).es_query_cxt);
                self.slots.push(pg_sys::table_slot_create(self.relation, std::ptr::null_mut()));
                pg_sys::MemoryContextSwitchTo(before);
            }
            let slot = self.slots.get(position).copied().ok_or_else(|| internal("a slot is missing"))?;
            let before = pg_sys::MemoryContextSwitchTo(self.context);
            let values = std::slice::from_raw_parts_mut((*slot).tts_values, self.width);
            let nulls = std::slice::from_raw_parts_mut((*slot).tts_isnull, self.width);
            nulls.fill(true);
            for (place, param) in self.places.iter().zip(row) {
                if let (Some(value), Some(datum)) = (values.get_mut(*place), param.datum()) {
                    *value = datum;
                    if let Some(null) = nulls.get_mut(*place) {
                        *null = false;
                    }
                }
            }
            pg_sys::MemoryContextSwitchTo(before);
            pg_sys::ExecStoreVirtualTuple(slot);
            if self.has_checks {
                pg_sys::ExecConstraints(self.target, slot, self.executor);
            }
        }
        Ok(())
    }

    /// Writes the rows held and their index entries. A key that is taken raises, or is told in `taken` and ends it.
    fn write(&mut self, held: usize, mut taken: Option<&mut bool>) {
        if held == 0 {
            return;
        }
        // SAFETY: the first `held` slots have rows; heap_multi_insert sets where each went. What it allocates goes with
        // the context.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo(self.context);
            pg_sys::heap_multi_insert(
                self.relation,
                self.slots.as_mut_ptr(),
                held as i32,
                pg_sys::GetCurrentCommandId(true),
                0,
                std::ptr::null_mut(),
            );
            if (*self.target).ri_NumIndices > 0 {
                for slot in self.slots.iter().take(held) {
                    self.index(*slot, taken.as_deref_mut(), false);
                    if taken.as_deref().is_some_and(|taken| *taken) {
                        break;
                    }
                }
            }
            for slot in self.slots.iter().take(held) {
                clear(*slot);
            }
            pg_sys::MemoryContextSwitchTo(before);
            pg_sys::MemoryContextReset(self.context);
        }
    }

    /// Makes the index entries of a row that was written. A key that is taken raises, or is told in `taken`. With
    /// `summarizing`, entries of block range indexes only are made.
    ///
    /// # Safety
    /// `slot` must hold a row of this table that has its place.
    unsafe fn index(&self, slot: *mut pg_sys::TupleTableSlot, taken: Option<&mut bool>, summarizing: bool) {
        let tells = taken.is_some();
        let taken = taken.map_or(std::ptr::null_mut(), std::ptr::from_mut);
        let none = std::ptr::null_mut();
        // SAFETY: by the caller's promise.
        unsafe {
            #[cfg(feature = "pg15")]
            {
                let _ = summarizing;
                pg_sys::ExecInsertIndexTuples(self.target, slot, self.executor, false, tells, taken, none);
            }
            #[cfg(not(feature = "pg15"))]
            pg_sys::ExecInsertIndexTuples(self.target, slot, self.executor, false, tells, taken, none, summarizing);
            // Expressions and predicates of indexes leave something behind.
            let scratch = (*self.executor).es_per_tuple_exprcontext;
            if !scratch.is_null() {
                pg_sys::MemoryContextReset((*scratch).ecxt_per_tuple_memory);
            }
        }
    }

    /// Gives the row at `tid`, which this transaction has locked, other values in the columns that the table was opened
    /// with, and returns where it went. None when something else became of the row after it was locked.
    pub fn update(&mut self, tid: Tid, row: &[Param]) -> Result<Option<Tid>> {
        if row.len() != self.places.len() {
            return Err(internal("a row has another number of values than columns"));
        }
        // SAFETY: the old row is pinned while it is copied from; values, nulls and replace have the table's width.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo(self.context);
            let mut old: pg_sys::HeapTupleData = std::mem::zeroed();
            old.t_self = tid.into();
            let mut buffer: pg_sys::Buffer = 0;
            let snapshot = std::ptr::addr_of_mut!(pg_sys::SnapshotSelfData);
            let mut moved = None;
            if pg_sys::heap_fetch(self.relation, snapshot, &mut old, &mut buffer, false) {
                let mut values = vec![Datum::from(0); self.width];
                let mut nulls = vec![true; self.width];
                let mut replace = vec![false; self.width];
                for (place, param) in self.places.iter().zip(row) {
                    if let (Some(value), Some(null), Some(replace)) =
                        (values.get_mut(*place), nulls.get_mut(*place), replace.get_mut(*place))
                    {
                        *replace = true;
                        if let Some(datum) = param.datum() {
                            *value = datum;
                            *null = false;
                        }
                    }
                }
                let new = pg_sys::heap_modify_tuple(
                    &mut old,
                    (*self.relation).rd_att,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                    replace.as_mut_ptr(),
                );
                pg_sys::ReleaseBuffer(buffer);
                moved = self.replace(&mut old.t_self, new);
            }
            pg_sys::MemoryContextSwitchTo(before);
            pg_sys::MemoryContextReset(self.context);
            Ok(moved)
        }
    }

    /// # Safety
    /// `old` must be the place of a row of the table, `new` a tuple of it.
    unsafe fn replace(&mut self, old: pg_sys::ItemPointer, new: pg_sys::HeapTuple) -> Option<Tid> {
        // SAFETY: by the caller's promise; the failure is written by heap_update where there is one.
        unsafe {
            let mut failure: pg_sys::TM_FailureData = std::mem::zeroed();
            let mut mode: pg_sys::LockTupleMode::Type = 0;
            let command = pg_sys::GetCurrentCommandId(true);
            let none = std::ptr::null_mut();
            // Told to wait, but there is nobody to wait for: the row is locked.
            #[cfg(feature = "pg15")]
            let (result, index, summarizing) = {
                let result = pg_sys::heap_update(self.relation, old, new, command, none, true, &mut failure, &mut mode);
                let is_heap_only = ((*(*new).t_data).t_infomask2 & pg_sys::HEAP_ONLY_TUPLE as u16) != 0;
                (result, !is_heap_only, false)
            };
            #[cfg(not(feature = "pg15"))]
            let (result, index, summarizing) = {
                let mut indexes: pg_sys::TU_UpdateIndexes::Type = pg_sys::TU_UpdateIndexes::TU_None;
                let result = pg_sys::heap_update(
                    self.relation,
                    old,
                    new,
                    command,
                    none,
                    true,
                    &mut failure,
                    &mut mode,
                    &mut indexes,
                );
                let summarizing = indexes == pg_sys::TU_UpdateIndexes::TU_Summarizing;
                (result, indexes != pg_sys::TU_UpdateIndexes::TU_None, summarizing)
            };
            if result != pg_sys::TM_Result::TM_Ok {
                return None;
            }
            if index {
                if self.slots.is_empty() {
                    let before = pg_sys::MemoryContextSwitchTo((*self.executor).es_query_cxt);
                    self.slots.push(pg_sys::table_slot_create(self.relation, std::ptr::null_mut()));
                    pg_sys::MemoryContextSwitchTo(before);
                }
                if let Some(slot) = self.slots.first() {
                    pg_sys::ExecForceStoreHeapTuple(new, *slot, false);
                    (**slot).tts_tid = (*new).t_self;
                    self.index(*slot, None, summarizing);
                    clear(*slot);
                }
            }
            Some(Tid::from((*new).t_self))
        }
    }
}

/// Empties a slot.
///
/// # Safety
/// `slot` must be a valid slot.
unsafe fn clear(slot: *mut pg_sys::TupleTableSlot) {
    // SAFETY: every kind of slot has the callback.
    unsafe {
        if let Some(clear) = (*(*slot).tts_ops).clear {
            clear(slot);
        }
    }
}
