//! Texts of definitions that this session has parsed before. Definitions are read again whenever one of them changes, and
//! all but that one are what they were. A text means the same tree for ever, so nothing ever has to be forgotten but for
//! want of room.

use cdp_expr::{Expr, ExprError};
use rustc_hash::FxHashMap;
use std::cell::RefCell;

/// Bytes of texts that are remembered; their trees take about ten times as many.
const MOST: usize = 1 << 20;

#[derive(Default)]
struct Parsed {
    trees: FxHashMap<String, Expr>,
    bytes: usize,
}

thread_local! {
    static PARSED: RefCell<Parsed> = RefCell::default();
}

/// As [`cdp_expr::parse`].
pub fn parse(text: &str) -> Result<Expr, ExprError> {
    if let Some(known) = PARSED.with_borrow(|parsed| parsed.trees.get(text).cloned()) {
        return Ok(known);
    }
    let tree = cdp_expr::parse(text)?;
    PARSED.with_borrow_mut(|parsed| {
        if parsed.bytes + text.len() > MOST {
            *parsed = Parsed::default();
        }
        parsed.bytes += text.len();
        parsed.trees.insert(text.to_string(), tree.clone());
    });
    Ok(tree)
}
