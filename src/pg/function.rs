//! SQL functions in Rust: reading arguments, building results.
//!
//! The SQL side is written by hand in `sql/`, so that names, defaults, comments and `search_path`
//! are where a reader looks for them; `exports.rs` binds each symbol to its Rust function.

use super::datum::{self, Param};
use super::guard::guarded;
use crate::error::{internal, Result};
use cdp_value::Timestamp;
use pgrx::pg_sys::{self, Datum};
use pgrx::{AnyNumeric, IntoDatum};
use std::cell::Cell;

/// A call in progress.
pub struct Call {
    fcinfo: pg_sys::FunctionCallInfo,
}

/// A column or a whole result.
pub enum Field {
    Null,
    Bool(bool),
    Int4(i32),
    Int8(i64),
    Oid(u32),
    Double(f64),
    Text(String),
    Timestamp(Timestamp),
    /// JSON text that becomes a jsonb.
    Jsonb(String),
    /// Digits that become a numeric.
    Numeric(String),
    TextArray(Vec<String>),
    Int4Array(Vec<i32>),
    Int8Array(Vec<i64>),
    Bytes(Vec<u8>),
}

impl Field {
    pub fn optional_text(text: Option<String>) -> Field {
        text.map_or(Field::Null, Field::Text)
    }

    pub fn optional_timestamp(at: Option<Timestamp>) -> Field {
        at.map_or(Field::Null, Field::Timestamp)
    }

    pub fn optional_int8(value: Option<i64>) -> Field {
        value.map_or(Field::Null, Field::Int8)
    }

    pub fn optional_jsonb(text: Option<String>) -> Field {
        text.map_or(Field::Null, Field::Jsonb)
    }

    fn datum(&self) -> Option<Datum> {
        match self {
            Field::Null => None,
            Field::Bool(v) => Param::Bool(*v).datum(),
            Field::Int4(v) => Param::Int4(*v).datum(),
            Field::Int8(v) => Param::Int8(*v).datum(),
            Field::Oid(v) => Some(Datum::from(*v)),
            // A float8 is passed by value where cdp runs: as its bits.
            Field::Double(v) => Some(Datum::from(v.to_bits())),
            Field::Text(v) => Param::Text(v).datum(),
            Field::Timestamp(v) => Param::Timestamp(*v).datum(),
            Field::Jsonb(v) => Param::Jsonb(v).datum(),
            Field::Numeric(v) => AnyNumeric::try_from(v.as_str()).ok().and_then(IntoDatum::into_datum),
            Field::TextArray(v) => {
                let texts: Vec<&str> = v.iter().map(String::as_str).collect();
                Param::TextArray(&texts).datum()
            }
            Field::Int4Array(v) => Param::Int4Array(v).datum(),
            Field::Int8Array(v) => Param::Int8Array(v).datum(),
            Field::Bytes(v) => Param::Bytes(v).datum(),
        }
    }
}

/// What a function returns.
pub enum Returned {
    Value(Field),
    /// One composite value.
    Row(Vec<Field>),
    /// A set of rows; a set of plain values has rows of one field.
    Rows(Vec<Vec<Field>>),
    /// A row trigger went well: the row counts as inserted.
    TriggerRow,
    /// A statement trigger went well.
    TriggerNothing,
}

impl Call {
    fn argument(&self, index: usize) -> Option<Datum> {
        // SAFETY: fcinfo is valid for the call and its argument count is checked.
        unsafe {
            let count = usize::try_from((*self.fcinfo).nargs).unwrap_or(0);
            if index >= count {
                return None;
            }
            let argument = &(*self.fcinfo).args.as_slice(count)[index];
            if argument.isnull {
                None
            } else {
                Some(argument.value)
            }
        }
    }

    /// A number that all calls of one place in a statement have in common while it is executed once, and no others.
    pub fn execution(&self) -> u64 {
        thread_local! {
            static LAST: Cell<u64> = const { Cell::new(0) };
        }
        let next = || {
            LAST.set(LAST.get().wrapping_add(1));
            LAST.get()
        };
        // SAFETY: fcinfo is valid for the call; fn_extra is the function's own, and lives as long as fn_mcxt, from which
        // what it points to is taken.
        unsafe {
            let place = (*self.fcinfo).flinfo;
            if place.is_null() {
                return next();
            }
            if (*place).fn_extra.is_null() {
                let number = pg_sys::MemoryContextAlloc((*place).fn_mcxt, std::mem::size_of::<u64>()).cast::<u64>();
                *number = next();
                (*place).fn_extra = number.cast();
            }
            *(*place).fn_extra.cast::<u64>()
        }
    }

    pub fn text(&self, index: usize) -> Option<String> {
        // SAFETY: the SQL declaration says the argument is text.
        self.argument(index).map(|d| unsafe { datum::text(d) })
    }

    /// JSON text of a jsonb argument.
    pub fn jsonb(&self, index: usize) -> Option<String> {
        // SAFETY: the SQL declaration says the argument is jsonb.
        self.argument(index).map(|d| unsafe { datum::jsonb_text(d) })
    }

    pub fn timestamp(&self, index: usize) -> Option<Timestamp> {
        self.argument(index).map(|d| super::clock::from_postgres(d.value() as i64))
    }

    pub fn bool(&self, index: usize) -> Option<bool> {
        self.argument(index).map(|d| d.value() & 1 != 0)
    }

    pub fn i32(&self, index: usize) -> Option<i32> {
        self.argument(index).map(|d| d.value() as i32)
    }

    pub fn i64(&self, index: usize) -> Option<i64> {
        self.argument(index).map(|d| d.value() as i64)
    }

    /// An oid, or a value of one of the types that stand for one.
    pub fn oid(&self, index: usize) -> Option<u32> {
        self.argument(index).map(|d| d.value() as u32)
    }

    pub fn f64(&self, index: usize) -> Option<f64> {
        self.argument(index).map(|d| f64::from_bits(d.value() as u64))
    }

    /// JSON texts of a jsonb[] argument, without its nulls.
    pub fn jsonb_array(&self, index: usize) -> Option<Vec<String>> {
        // SAFETY: the SQL declaration says the argument is jsonb[].
        self.argument(index).map(|d| unsafe { datum::jsonb_array(d) })
    }

    pub fn int8_array(&self, index: usize) -> Option<Vec<i64>> {
        // SAFETY: the SQL declaration says the argument is bigint[].
        self.argument(index).map(|d| unsafe { datum::int8_array(d) })
    }

    pub fn text_array(&self, index: usize) -> Option<Vec<String>> {
        // SAFETY: the SQL declaration says the argument is text[].
        self.argument(index).map(|d| unsafe { datum::text_array(d) }.into_iter().flatten().collect())
    }

    /// What fired a trigger function; an error when it was called by hand.
    pub(super) fn trigger(&self) -> Result<*mut pg_sys::TriggerData> {
        // SAFETY: fcinfo is valid; its context is a TriggerData when its tag says so.
        unsafe {
            let context = (*self.fcinfo).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
                return Err(crate::error::Error::new("39P01", "this function can only be called as a trigger"));
            }
            Ok(context.cast())
        }
    }

    /// What a statement trigger was made for.
    pub fn statement_trigger(&self) -> Result<StatementTrigger> {
        let trigger = self.trigger()?;
        // SAFETY: a trigger has a relation; its arguments are C strings, as many as it says.
        unsafe {
            let relation = (*trigger).tg_relation;
            let definition = (*trigger).tg_trigger;
            if (*definition).tgnargs < 1 {
                return Err(internal("a trigger without its argument"));
            }
            let argument = std::ffi::CStr::from_ptr(*(*definition).tgargs).to_string_lossy().into_owned();
            Ok(StatementTrigger {
                relation: (*relation).rd_id.to_u32(),
                owner: (*(*relation).rd_rel).relowner.to_u32(),
                argument,
            })
        }
    }

    /// The columns of the row that fired a trigger.
    pub fn trigger_row(&self) -> Result<TriggerRow> {
        let trigger = self.trigger()?;
        // SAFETY: a row trigger has a relation and a tuple with that relation's columns.
        unsafe {
            let tuple = (*trigger).tg_trigtuple;
            let descriptor = (*(*trigger).tg_relation).rd_att;
            if tuple.is_null() || descriptor.is_null() {
                return Err(internal("a row trigger without a row"));
            }
            let width = usize::try_from((*descriptor).natts).unwrap_or(0);
            let mut values = vec![Datum::from(0); width];
            let mut nulls = vec![true; width];
            pg_sys::heap_deform_tuple(tuple, descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
            Ok(TriggerRow { values, nulls })
        }
    }

    fn give(&self, returned: Returned) -> Result<Datum> {
        match returned {
            Returned::Value(field) => Ok(self.value_or_null(field.datum())),
            Returned::Row(fields) => self.row(&fields),
            Returned::Rows(rows) => self.rows(&rows),
            // SAFETY: such a function is declared as a trigger and checked that it is called as one.
            Returned::TriggerRow => Ok(unsafe { Datum::from((*self.trigger()?).tg_trigtuple) }),
            Returned::TriggerNothing => Ok(Datum::from(0)),
        }
    }

    fn value_or_null(&self, value: Option<Datum>) -> Datum {
        // SAFETY: fcinfo is valid for the call.
        unsafe { (*self.fcinfo).isnull = value.is_none() };
        value.unwrap_or(Datum::from(0))
    }

    fn row(&self, fields: &[Field]) -> Result<Datum> {
        // SAFETY: the descriptor comes from Postgres; its width is checked before a tuple is formed.
        unsafe {
            let mut descriptor = std::ptr::null_mut();
            let class = pg_sys::get_call_result_type(self.fcinfo, std::ptr::null_mut(), &mut descriptor);
            if class != pg_sys::TypeFuncClass::TYPEFUNC_COMPOSITE || descriptor.is_null() {
                return Err(internal("a function that returns a row was declared without one"));
            }
            let descriptor = pg_sys::BlessTupleDesc(descriptor);
            let (mut values, mut nulls) = columns(fields, (*descriptor).natts)?;
            let tuple = pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
            (*self.fcinfo).isnull = false;
            Ok(pg_sys::HeapTupleHeaderGetDatum((*tuple).t_data))
        }
    }

    fn rows(&self, rows: &[Vec<Field>]) -> Result<Datum> {
        // SAFETY: InitMaterializedSRF sets up resultinfo or raises; widths are checked.
        unsafe {
            initialise_set(self.fcinfo);
            let result = (*self.fcinfo).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            for fields in rows {
                let (mut values, mut nulls) = columns(fields, (*(*result).setDesc).natts)?;
                pg_sys::tuplestore_putvalues(
                    (*result).setResult,
                    (*result).setDesc,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                );
            }
            Ok(self.value_or_null(None))
        }
    }
}

/// Sets up a set result, also where the set is of a plain type.
///
/// # Safety
/// `fcinfo` must be a valid call of a set-returning function.
unsafe fn initialise_set(fcinfo: pg_sys::FunctionCallInfo) {
    const USE_EXPECTED: u32 = 1;
    // SAFETY: by the caller's promise.
    unsafe {
        let class = pg_sys::get_call_result_type(fcinfo, std::ptr::null_mut(), std::ptr::null_mut());
        let flags = if class == pg_sys::TypeFuncClass::TYPEFUNC_SCALAR { USE_EXPECTED } else { 0 };
        pg_sys::InitMaterializedSRF(fcinfo, flags);
    }
}

/// A trigger that fired once for a statement.
pub struct StatementTrigger {
    /// The table it is on.
    pub relation: u32,
    /// The role that owns the table.
    pub owner: u32,
    /// The first argument of its definition.
    pub argument: String,
}

/// A row of a view or table, as a trigger sees it.
pub struct TriggerRow {
    values: Vec<Datum>,
    nulls: Vec<bool>,
}

impl TriggerRow {
    fn value(&self, column: usize) -> Option<Datum> {
        match (self.values.get(column), self.nulls.get(column)) {
            (Some(value), Some(false)) => Some(*value),
            _ => None,
        }
    }

    pub fn text(&self, column: usize) -> Option<String> {
        // SAFETY: triggers read a column as text only where it is one.
        self.value(column).map(|d| unsafe { datum::text(d) })
    }

    /// JSON text of a jsonb column.
    pub fn jsonb(&self, column: usize) -> Option<String> {
        // SAFETY: triggers read a column as jsonb only where it is one.
        self.value(column).map(|d| unsafe { datum::jsonb_text(d) })
    }

    pub fn timestamp(&self, column: usize) -> Option<Timestamp> {
        self.value(column).map(|d| super::clock::from_postgres(d.value() as i64))
    }
}

fn columns(fields: &[Field], width: i32) -> Result<(Vec<Datum>, Vec<bool>)> {
    if usize::try_from(width) != Ok(fields.len()) {
        return Err(internal(format!("a row of {} columns was declared with {width}", fields.len())));
    }
    let datums: Vec<_> = fields.iter().map(Field::datum).collect();
    let nulls = datums.iter().map(Option::is_none).collect();
    Ok((datums.into_iter().map(|d| d.unwrap_or(Datum::from(0))).collect(), nulls))
}

/// Runs a function; called by the symbols of `exports.rs` only.
pub fn call(fcinfo: pg_sys::FunctionCallInfo, body: fn(&Call) -> Result<Returned>) -> Datum {
    guarded(|| {
        let call = Call { fcinfo };
        let returned = body(&call)?;
        call.give(returned)
    })
}
