//! The rows of a query as the executor makes them: none is kept or copied, and there is no cursor to fetch them from.

use super::datum::Param;
use super::rows::Rows;
use crate::error::{internal, Result};
use pgrx::pg_sys;
use std::panic::AssertUnwindSafe;

/// After so many rows, what was allocated for them is given back.
const TOGETHER: u32 = 1_000;

/// Where the executor puts rows.
#[repr(C)]
struct Receiver<'a> {
    /// First, so that a pointer to it is one to the whole.
    base: pg_sys::DestReceiver,
    row: Rows,
    each: &'a mut dyn FnMut(&Rows) -> Result<()>,
    outcome: Result<()>,
    /// For what `each` allocates.
    context: pg_sys::MemoryContext,
    seen: u32,
}

/// Runs a plan and calls `each` for every row, until it fails.
pub(super) fn run(
    plan: pg_sys::SPIPlanPtr,
    params: &[Param],
    read_only: bool,
    each: &mut dyn FnMut(&Rows) -> Result<()>,
) -> Result<()> {
    // SAFETY: the list of parameters has one entry for each; the receiver outlives the execution, and nobody else uses
    // it meanwhile. An error unwinds through SPI, which ends what it began.
    unsafe {
        let list = pg_sys::makeParamList(params.len() as i32);
        for (param, place) in params.iter().zip((*list).params.as_mut_slice(params.len())) {
            let value = param.datum();
            place.isnull = value.is_none();
            place.value = value.unwrap_or(pg_sys::Datum::from(0));
            place.pflags = pg_sys::PARAM_FLAG_CONST as u16;
            place.ptype = param.oid();
        }
        let context = pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"cdp streamed rows".as_ptr(),
            0,
            8 * 1024,
            8 * 1024 * 1024,
        );
        let base = pg_sys::DestReceiver {
            receiveSlot: Some(receive),
            rStartup: Some(start),
            rShutdown: Some(end),
            rDestroy: Some(end),
            mydest: pg_sys::CommandDest::DestTuplestore,
        };
        let mut receiver = Receiver { base, row: Rows::none(), each, outcome: Ok(()), context, seen: 0 };
        let options = pg_sys::SPIExecuteOptions {
            params: list,
            read_only,
            dest: std::ptr::from_mut(&mut receiver).cast(),
            ..Default::default()
        };
        let code = pg_sys::SPI_execute_plan_extended(plan, &options);
        pg_sys::MemoryContextDelete(context);
        if code < 0 {
            return Err(internal(format!("SPI_execute_plan_extended returned {code}")));
        }
        receiver.outcome
    }
}

unsafe extern "C-unwind" fn receive(slot: *mut pg_sys::TupleTableSlot, this: *mut pg_sys::DestReceiver) -> bool {
    // SAFETY: the executor gives a slot with a row, and the receiver that it was given; values and nulls have the width
    // of the slot's descriptor once all of them are taken from the row.
    let next = || unsafe {
        let receiver = &mut *this.cast::<Receiver>();
        let width = (*(*slot).tts_tupleDescriptor).natts;
        if i32::from((*slot).tts_nvalid) < width {
            pg_sys::slot_getsomeattrs_int(slot, width);
        }
        let width = usize::try_from(width).unwrap_or(0);
        receiver.row.hold(
            std::slice::from_raw_parts((*slot).tts_values, width),
            std::slice::from_raw_parts((*slot).tts_isnull, width),
        );
        let before = pg_sys::MemoryContextSwitchTo(receiver.context);
        receiver.outcome = (receiver.each)(&receiver.row);
        pg_sys::MemoryContextSwitchTo(before);
        receiver.seen += 1;
        if receiver.seen >= TOGETHER {
            receiver.seen = 0;
            pg_sys::MemoryContextReset(receiver.context);
        }
        receiver.outcome.is_ok()
    };
    // SAFETY: what `next` holds is dropped by unwinding before the guard reports an error.
    unsafe { pg_sys::panic::pgrx_extern_c_guard(AssertUnwindSafe(next)) }
}

unsafe extern "C-unwind" fn start(_: *mut pg_sys::DestReceiver, _: i32, _: pg_sys::TupleDesc) {}

unsafe extern "C-unwind" fn end(_: *mut pg_sys::DestReceiver) {}
