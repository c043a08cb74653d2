//! Rust values to Postgres' datums and back.

use super::clock;
use cdp_value::Timestamp;
use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::CStr;

/// A parameter of a statement.
#[derive(Clone, Copy)]
pub enum Param<'a> {
    Bool(bool),
    Int4(i32),
    Int8(i64),
    Text(&'a str),
    OptionalText(Option<&'a str>),
    OptionalInt4(Option<i32>),
    OptionalInt8(Option<i64>),
    Int2(i16),
    Bytes(&'a [u8]),
    Timestamp(Timestamp),
    OptionalTimestamp(Option<Timestamp>),
    /// JSON text that becomes a jsonb.
    Jsonb(&'a str),
    OptionalJsonb(Option<&'a str>),
    Int4Array(&'a [i32]),
    Int8Array(&'a [i64]),
    OptionalInt8Array(&'a [Option<i64>]),
    TextArray(&'a [&'a str]),
    OptionalTextArray(&'a [Option<&'a str>]),
    BytesArray(&'a [&'a [u8]]),
    TimestampArray(&'a [Timestamp]),
    OptionalTimestampArray(&'a [Option<Timestamp>]),
    /// Texts that become jsonb values.
    JsonbArray(&'a [Option<&'a str>]),
    Uuid(&'a [u8; 16]),
    UuidArray(&'a [[u8; 16]]),
    BoolArray(&'a [bool]),
}

impl Param<'_> {
    /// The type the statement is prepared with.
    pub fn oid(&self) -> Oid {
        match self {
            Param::Bool(_) => pg_sys::BOOLOID,
            Param::Int4(_) | Param::OptionalInt4(_) => pg_sys::INT4OID,
            Param::Int2(_) => pg_sys::INT2OID,
            Param::Int8(_) | Param::OptionalInt8(_) => pg_sys::INT8OID,
            Param::Text(_) | Param::OptionalText(_) => pg_sys::TEXTOID,
            Param::Bytes(_) => pg_sys::BYTEAOID,
            Param::Timestamp(_) | Param::OptionalTimestamp(_) => pg_sys::TIMESTAMPTZOID,
            Param::Jsonb(_) | Param::OptionalJsonb(_) => pg_sys::JSONBOID,
            Param::Int4Array(_) => pg_sys::INT4ARRAYOID,
            Param::Int8Array(_) | Param::OptionalInt8Array(_) => pg_sys::INT8ARRAYOID,
            Param::TextArray(_) | Param::OptionalTextArray(_) => pg_sys::TEXTARRAYOID,
            Param::BytesArray(_) => pg_sys::BYTEAARRAYOID,
            Param::TimestampArray(_) | Param::OptionalTimestampArray(_) => pg_sys::TIMESTAMPTZARRAYOID,
            Param::JsonbArray(_) => pg_sys::JSONBARRAYOID,
            Param::Uuid(_) => pg_sys::UUIDOID,
            Param::UuidArray(_) => pg_sys::UUIDARRAYOID,
            Param::BoolArray(_) => pg_sys::BOOLARRAYOID,
        }
    }

    /// The value, allocated in the current memory context; None is SQL null.
    pub fn datum(&self) -> Option<Datum> {
        match self {
            Param::Bool(v) => Some(Datum::from(*v)),
            Param::Int4(v) => Some(Datum::from(*v)),
            Param::Int2(v) => Some(Datum::from(*v)),
            Param::Int8(v) => Some(Datum::from(*v)),
            Param::OptionalInt4(v) => v.map(Datum::from),
            Param::OptionalInt8(v) => v.map(Datum::from),
            Param::Text(v) => Some(varlena(v.as_bytes())),
            Param::OptionalText(v) => v.map(|t| varlena(t.as_bytes())),
            Param::Bytes(v) => Some(varlena(v)),
            Param::Timestamp(v) => Some(timestamp(*v)),
            Param::OptionalTimestamp(v) => v.map(timestamp),
            Param::Jsonb(v) => Some(jsonb(v)),
            Param::OptionalJsonb(v) => v.map(jsonb),
            Param::Int4Array(v) => Some(array(v.iter().map(|x| Some(Datum::from(*x))), pg_sys::INT4OID, 4, true, b'i')),
            Param::Int8Array(v) => Some(array(v.iter().map(|x| Some(Datum::from(*x))), pg_sys::INT8OID, 8, true, b'd')),
            Param::OptionalInt8Array(v) => {
                Some(array(v.iter().map(|x| x.map(Datum::from)), pg_sys::INT8OID, 8, true, b'd'))
            }
            Param::TextArray(v) => {
                Some(array(v.iter().map(|x| Some(varlena(x.as_bytes()))), pg_sys::TEXTOID, -1, false, b'i'))
            }
            Param::OptionalTextArray(v) => {
                Some(array(v.iter().map(|x| x.map(|t| varlena(t.as_bytes()))), pg_sys::TEXTOID, -1, false, b'i'))
            }
            Param::BytesArray(v) => Some(array(v.iter().map(|x| Some(varlena(x))), pg_sys::BYTEAOID, -1, false, b'i')),
            Param::TimestampArray(v) => {
                Some(array(v.iter().map(|x| Some(timestamp(*x))), pg_sys::TIMESTAMPTZOID, 8, true, b'd'))
            }
            Param::OptionalTimestampArray(v) => {
                Some(array(v.iter().map(|x| x.map(timestamp)), pg_sys::TIMESTAMPTZOID, 8, true, b'd'))
            }
            Param::JsonbArray(v) => Some(array(v.iter().map(|x| x.map(jsonb)), pg_sys::JSONBOID, -1, false, b'i')),
            Param::Uuid(v) => Some(uuid(v)),
            Param::UuidArray(v) => Some(array(v.iter().map(|x| Some(uuid(x))), pg_sys::UUIDOID, 16, false, b'c')),
            Param::BoolArray(v) => Some(array(v.iter().map(|x| Some(Datum::from(*x))), pg_sys::BOOLOID, 1, true, b'c')),
        }
    }
}

pub fn timestamp(at: Timestamp) -> Datum {
    Datum::from(clock::to_postgres(at))
}

/// A text or bytea of these bytes in the current memory context.
pub fn varlena(bytes: &[u8]) -> Datum {
    let length = bytes.len() + pg_sys::VARHDRSZ;
    // SAFETY: palloc returns `length` writable bytes or raises; the header is written before use.
    unsafe {
        let copy = pg_sys::palloc(length).cast::<u8>();
        pgrx::set_varsize_4b(copy.cast(), length as i32);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy.add(pg_sys::VARHDRSZ), bytes.len());
        Datum::from(copy)
    }
}

fn uuid(bytes: &[u8; 16]) -> Datum {
    // SAFETY: palloc returns 16 writable bytes or raises.
    unsafe {
        let copy = pg_sys::palloc(16).cast::<u8>();
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy, 16);
        Datum::from(copy)
    }
}

/// A jsonb of JSON text in the current memory context; raises when the text is not JSON.
pub fn jsonb(text: &str) -> Datum {
    if text.contains('\0') {
        return jsonb(&text.replace('\0', ""));
    }
    // SAFETY: palloc returns that many writable bytes or raises; jsonb_in takes a C string and copies from it.
    unsafe {
        let copy = pg_sys::palloc(text.len() + 1).cast::<u8>();
        std::ptr::copy_nonoverlapping(text.as_ptr(), copy, text.len());
        copy.add(text.len()).write(0);
        let value = pg_sys::DirectFunctionCall1Coll(Some(jsonb_in), pg_sys::InvalidOid, Datum::from(copy));
        pg_sys::pfree(copy.cast());
        value
    }
}

unsafe extern "C-unwind" fn jsonb_in(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: forwards a valid call.
    unsafe { raw::jsonb_in(fcinfo) }
}

mod raw {
    use pgrx::pg_sys;
    extern "C-unwind" {
        // Called through DirectFunctionCall1Coll, whose wrapper already guards it.
        pub fn jsonb_in(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
        pub fn jsonb_out(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    }
}

unsafe extern "C-unwind" fn jsonb_out(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: forwards a valid call.
    unsafe { raw::jsonb_out(fcinfo) }
}

/// The JSON text of a jsonb.
///
/// # Safety
/// `datum` must be a valid, non-null jsonb.
pub unsafe fn jsonb_text(datum: Datum) -> String {
    // SAFETY: by the caller's promise; jsonb_out returns a C string in the current memory context.
    unsafe {
        let text = pg_sys::DirectFunctionCall1Coll(Some(jsonb_out), pg_sys::InvalidOid, datum);
        let pointer = text.cast_mut_ptr::<std::ffi::c_char>();
        let owned = CStr::from_ptr(pointer).to_string_lossy().into_owned();
        pg_sys::pfree(pointer.cast());
        owned
    }
}

/// The bytes of a text, bytea or other varlena.
///
/// # Safety
/// `datum` must be a valid, non-null varlena.
pub unsafe fn varlena_bytes(datum: Datum) -> Vec<u8> {
    // SAFETY: by the caller's promise.
    unsafe { with_varlena(datum, <[u8]>::to_vec) }
}

/// What `read` makes of the bytes of a text, bytea, jsonb or other varlena.
///
/// # Safety
/// `datum` must be a valid, non-null varlena.
pub unsafe fn with_varlena<T>(datum: Datum, read: impl FnOnce(&[u8]) -> T) -> T {
    // SAFETY: by the caller's promise; a detoasted copy is freed again.
    unsafe {
        let pointer = datum.cast_mut_ptr::<pg_sys::varlena>();
        let is_plain = pgrx::varatt_is_4b_u(pointer) || (pgrx::varatt_is_1b(pointer) && !pgrx::varatt_is_1b_e(pointer));
        let detoasted = if is_plain { pointer } else { pg_sys::pg_detoast_datum_packed(pointer) };
        let made = read(pgrx::varlena_to_byte_slice(detoasted));
        if detoasted != pointer {
            pg_sys::pfree(detoasted.cast());
        }
        made
    }
}

/// The text of a text value.
///
/// # Safety
/// `datum` must be a valid, non-null text.
pub unsafe fn text(datum: Datum) -> String {
    // SAFETY: by the caller's promise.
    let bytes = unsafe { varlena_bytes(datum) };
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// The elements of an array; nulls become None.
///
/// # Safety
/// `datum` must be a valid, non-null array of a type with this oid, length and alignment.
unsafe fn elements(datum: Datum, oid: Oid, length: i32, by_value: bool, align: u8) -> Vec<Option<Datum>> {
    // SAFETY: by the caller's promise; deconstruct_array allocates the two arrays it returns.
    unsafe {
        let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        let (mut elements, mut nulls) = (std::ptr::null_mut(), std::ptr::null_mut());
        let mut count = 0;
        let align = align as std::ffi::c_char;
        pg_sys::deconstruct_array(array, oid, length, by_value, align, &mut elements, &mut nulls, &mut count);
        (0..usize::try_from(count).unwrap_or(0)).map(|i| (!*nulls.add(i)).then(|| *elements.add(i))).collect()
    }
}

/// The elements of a text array; nulls become None.
///
/// # Safety
/// `datum` must be a valid, non-null text[].
pub unsafe fn text_array(datum: Datum) -> Vec<Option<String>> {
    // SAFETY: by the caller's promise.
    unsafe {
        let elements = elements(datum, pg_sys::TEXTOID, -1, false, b'i');
        elements.into_iter().map(|element| element.map(|element| text(element))).collect()
    }
}

/// The JSON texts of a jsonb array, without its nulls.
///
/// # Safety
/// `datum` must be a valid, non-null jsonb[].
pub unsafe fn jsonb_array(datum: Datum) -> Vec<String> {
    // SAFETY: by the caller's promise.
    unsafe {
        let elements = elements(datum, pg_sys::JSONBOID, -1, false, b'i');
        elements.into_iter().flatten().map(|element| jsonb_text(element)).collect()
    }
}

/// The elements of a bigint array, without its nulls.
///
/// # Safety
/// `datum` must be a valid, non-null bigint[].
pub unsafe fn int8_array(datum: Datum) -> Vec<i64> {
    // SAFETY: by the caller's promise.
    let elements = unsafe { elements(datum, pg_sys::INT8OID, 8, true, b'd') };
    elements.into_iter().flatten().map(|element| element.value() as i64).collect()
}

/// A one-dimensional array in the current memory context.
pub fn array(
    elements: impl ExactSizeIterator<Item = Option<Datum>>,
    oid: Oid,
    length: i32,
    by_value: bool,
    align: u8,
) -> Datum {
    let count = elements.len();
    let mut datums = Vec::with_capacity(count);
    let mut nulls = Vec::with_capacity(count);
    for element in elements {
        nulls.push(element.is_none());
        datums.push(element.unwrap_or(Datum::from(0)));
    }
    let mut dimensions = [i32::try_from(count).unwrap_or(i32::MAX)];
    let mut lower_bounds = [1];
    // SAFETY: the two vectors have `count` entries and outlive the call, which copies them.
    unsafe {
        if count == 0 {
            return Datum::from(pg_sys::construct_empty_array(oid));
        }
        Datum::from(pg_sys::construct_md_array(
            datums.as_mut_ptr(),
            nulls.as_mut_ptr(),
            1,
            dimensions.as_mut_ptr(),
            lower_bounds.as_mut_ptr(),
            oid,
            length,
            by_value,
            align as std::ffi::c_char,
        ))
    }
}
