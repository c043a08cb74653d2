//! From an expression to one set-based statement: the value for everybody at once.
//!
//! The statement means exactly what [`evaluate`](crate::evaluate) does, with exact aggregates:
//! where a profile's state estimates (distinct values above 256, percentiles above 64 numbers),
//! the statement counts. It is written for `search_path = pg_catalog, pg_temp`; every literal is a
//! quoted constant.

mod aggregates;
mod calls;
mod columns;
mod compiler;
mod fragment;
pub mod functions;
mod quote;

use crate::ast::Expr;
use compiler::Compiler;
use std::fmt;

/// Where a compiled statement finds what it reads.
///
/// The tables are texts that stand behind FROM: a name, or a query in parentheses, which may use
/// the parameters `$1` (the namespace) and `$2` (the instant, timestamptz).
pub struct SqlNames<'n> {
    /// `(profile_id bigint, event_id integer, ts timestamptz, properties jsonb)`: the events of
    /// the namespace under the profile they belong to today.
    pub events: &'n str,
    /// `(profile_id bigint, first_seen timestamptz, last_seen timestamptz)`: everybody of the
    /// namespace.
    pub profiles: &'n str,
    /// `(profile_id bigint, traits jsonb)`: what identify calls sent.
    pub profile_traits: &'n str,
    /// `(profile_id bigint, traits jsonb)`: the traits of each person's group.
    pub groups: &'n str,
    /// `(profile_id bigint, segment text)`: members of segments whose rule cannot be filled in.
    pub segment_members: &'n str,
    /// `(profile_id bigint, score text, total numeric, grade text)`.
    pub scores: &'n str,
    /// Schema of the functions that [`functions`] describes, quoted if need be.
    pub functions: &'n str,
    /// Time zone of the namespace, for days and hours.
    pub timezone: &'n str,
    /// Number of an event's name; None for one that never came.
    pub event_id: &'n dyn Fn(&str) -> Option<i32>,
}

/// Why an expression cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlError {
    /// The part reads something that belongs to one message or one question, not to a person:
    /// its canonical text.
    NotOfAPerson(String),
    /// The part is a name, or a reference to a trait: [resolve](crate::resolve) the expression and
    /// [inline](Expr::inline) it first.
    NotInlined(String),
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SqlError::NotOfAPerson(part) => {
                write!(f, "{part} cannot be computed for all people at once")
            }
            SqlError::NotInlined(part) => {
                write!(f, "{part} has to be replaced by its expression first")
            }
        }
    }
}

impl std::error::Error for SqlError {}

/// Compiles an expression to a statement that gives `(profile_id bigint, value jsonb)` for
/// everybody, with parameters `$1` (the namespace, if `names` uses it) and `$2` (the instant). A
/// value that is null is NULL.
pub fn compile(expr: &Expr, names: &SqlNames<'_>) -> Result<String, SqlError> {
    let mut compiler = Compiler::new(names);
    let value = compiler.expression(expr)?;
    let value = compiler.json(value);
    Ok(format!(
        "SELECT p.profile_id, {} AS value\nFROM {} AS p{}",
        value.sql,
        names.profiles,
        compiler.joins()
    ))
}

/// Compiles a condition to a statement that gives the `profile_id` of everybody who satisfies it.
pub fn compile_condition(expr: &Expr, names: &SqlNames<'_>) -> Result<String, SqlError> {
    let mut compiler = Compiler::new(names);
    let condition = compiler.condition(expr)?;
    Ok(format!(
        "SELECT p.profile_id\nFROM {} AS p{}\nWHERE {condition}",
        names.profiles,
        compiler.joins()
    ))
}
