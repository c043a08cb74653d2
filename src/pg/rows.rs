//! What statements return.

use super::clock;
use super::datum;
use super::table::Tid;
use crate::error::{internal, Error, Result};
use cdp_value::{Jsonb, Timestamp};
use pgrx::pg_sys::{self, Datum};

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
    pub(super) fn take() -> Rows {
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

    /// Rows that come one by one.
    pub(super) fn none() -> Rows {
        Rows { table: std::ptr::null_mut(), processed: 0, next: 0, values: Vec::new(), nulls: Vec::new() }
    }

    /// Shows a row that Postgres keeps until the next one.
    pub(super) fn hold(&mut self, values: &[Datum], nulls: &[bool]) {
        self.values.clear();
        self.values.extend_from_slice(values);
        self.nulls.clear();
        self.nulls.extend_from_slice(nulls);
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

    /// What `read` makes of a jsonb column.
    pub fn jsonb<T>(&self, column: usize, read: impl FnOnce(Jsonb) -> T) -> Option<T> {
        // SAFETY: statements read a column as jsonb only where it is one.
        self.value(column).map(|d| unsafe { datum::with_varlena(d, |bytes| read(Jsonb(bytes))) })
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
