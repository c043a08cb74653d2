//! The expression language of traits, segments, flags, filters and scores
//! (docs/reference/expressions.md).
//!
//! [`parse`] makes a tree of a text, [`resolve`] gives its names their meaning and checks it,
//! [`evaluate`] computes its value for one person at one instant, and [`next_change`] says when
//! that value next changes by itself. [`sql::compile`] makes one statement that computes it for
//! everybody.

mod ast;
mod bucket;
mod change;
mod criteria;
mod error;
mod evaluate;
pub mod limits;
mod names;
mod parse;
mod pattern;
mod print;
mod references;
mod resolve;
pub mod sql;
mod time;
mod types;

pub use ast::{
    Aggregate, ArithmeticOperator, Comparison, EventSource, Expr, Function, Position, TextTest,
};
pub use bucket::bucket;
pub use change::next_change;
pub use criteria::{criteria, CriteriaError};
pub use error::ExprError;
pub use evaluate::{evaluate, is_true, lookup, Context};
pub use parse::parse;
pub use pattern::Pattern;
pub use print::print;
pub use resolve::{check, resolve, Catalog, Checked, EmptyCatalog, Kind};
pub use time::format as format_instant;
pub use types::Type;
