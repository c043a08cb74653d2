//! What compiled statements call because Postgres has nothing that means the same everywhere
//! (`cdp_expr::sql::functions`). All of them are strict: arguments are there.

use crate::error::Result;
use crate::pg::function::{Call, Field, Returned};
use cdp_expr::sql::functions;
use cdp_expr::Pattern;
use cdp_value::Value;
use std::cell::RefCell;

fn text(call: &Call, apply: impl Fn(&str) -> Field) -> Result<Returned> {
    Ok(Returned::Value(call.text(0).map_or(Field::Null, |text| apply(&text))))
}

fn value(call: &Call, apply: impl Fn(&Value) -> Field) -> Result<Returned> {
    let value = call.jsonb(0).and_then(|text| crate::ingest::stored::json(&text)).map(|json| Value::from_json(&json));
    Ok(Returned::Value(value.map_or(Field::Null, |value| apply(&value))))
}

pub fn lower_text(call: &Call) -> Result<Returned> {
    text(call, |text| Field::Text(functions::lower(text)))
}

pub fn upper_text(call: &Call) -> Result<Returned> {
    text(call, |text| Field::Text(functions::upper(text)))
}

pub fn text_matches(call: &Call) -> Result<Returned> {
    thread_local! {
        /// The last pattern: a statement asks many rows the same.
        static LAST: RefCell<Option<Pattern>> = const { RefCell::new(None) };
    }
    let pattern = call.text(1).unwrap_or_default();
    text(call, |text| LAST.with_borrow_mut(|last| Field::Bool(functions::matches(text, &pattern, last))))
}

pub fn text_to_instant(call: &Call) -> Result<Returned> {
    text(call, |text| Field::optional_timestamp(functions::instant(text)))
}

pub fn value_order(call: &Call) -> Result<Returned> {
    value(call, |value| Field::Bytes(functions::order(value)))
}

pub fn value_is_listable(call: &Call) -> Result<Returned> {
    value(call, |value| Field::Bool(cdp_state::is_listable(value)))
}
