//! Columns that are made of the members of `jsonb` columns.
//!
//! Each member is looked up once and converted once: OFFSET keeps the planner from repeating that
//! wherever a column is mentioned.

use super::fragment::{range_check, Fragment, Kind};
use super::quote;
use std::collections::BTreeSet;

/// Paths that are read, each by its position.
#[derive(Debug, Default)]
pub(super) struct Paths(pub(super) Vec<Vec<String>>);

impl Paths {
    pub(super) fn position(&mut self, path: &[String]) -> usize {
        let known = self.0.iter().position(|known| known == path);
        known.unwrap_or_else(|| {
            self.0.push(path.to_vec());
            self.0.len() - 1
        })
    }
}

/// How the members at the positions of some paths are used.
#[derive(Debug, Default, Clone)]
pub(super) struct Uses {
    /// As they are, for comparisons with constants: `m0`, …
    pub(super) members: BTreeSet<usize>,
    /// As values: `j0`, …
    pub(super) values: BTreeSet<usize>,
    /// As numbers of any range: `n0`, …
    pub(super) numbers: BTreeSet<usize>,
}

impl Uses {
    pub(super) fn value(&mut self, position: usize, alias: &str) -> Fragment {
        self.values.insert(position);
        Fragment::simple(format!("{alias}.j{position}"), Kind::Json)
    }

    pub(super) fn member(&mut self, position: usize, alias: &str) -> Fragment {
        self.members.insert(position);
        Fragment::simple(format!("{alias}.m{position}"), Kind::Json)
    }

    pub(super) fn extend(&mut self, other: &Uses) {
        self.members.extend(&other.members);
        self.values.extend(&other.values);
        self.numbers.extend(&other.numbers);
    }

    /// A FROM item `alias` with the columns `keep` of a table and what is used of the members of
    /// its column `json`; only rows that satisfy `rows`.
    pub(super) fn source(
        &self,
        paths: &Paths,
        (table, json, keep): (&str, &str, &str),
        rows: &[String],
        alias: &str,
    ) -> String {
        let (mut members, mut passed, mut converted) =
            (String::new(), String::new(), String::new());
        for (index, path) in paths.0.iter().enumerate() {
            let (is_member, is_value, is_number) = (
                self.members.contains(&index),
                self.values.contains(&index),
                self.numbers.contains(&index),
            );
            let member = format!("{alias}.m{index}");
            if is_member || is_value || is_number {
                let looked_up = lookup(&format!("{alias}.{json}"), path);
                members.push_str(&format!(", {looked_up} AS m{index}"));
            }
            if is_member {
                passed.push_str(&format!(", {member}"));
            }
            if is_value {
                converted.push_str(&format!(", {} AS j{index}", checked(&member)));
            }
            if is_number {
                converted.push_str(&format!(", {} AS n{index}", raw_number(&member)));
            }
        }
        let rows = match rows {
            [] => String::new(),
            several => format!(" WHERE {}", several.join(" AND ")),
        };
        if members.is_empty() {
            return format!("(SELECT {keep} FROM {table} AS {alias}{rows}) AS {alias}");
        }
        let inner = format!("SELECT {keep}{members} FROM {table} AS {alias}{rows}");
        if converted.is_empty() {
            return format!("({inner}) AS {alias}");
        }
        format!(
            "(SELECT {keep}{passed}{converted} FROM ({inner} OFFSET 0) AS {alias} OFFSET 0) AS {alias}"
        )
    }
}

/// A member of a `jsonb` value by its path: members of objects by name, items of lists by number.
fn lookup(column: &str, path: &[String]) -> String {
    let mut sql = column.to_string();
    for segment in path {
        // Postgres reads more texts as the number of an item than the language does.
        if crate::evaluate::is_index(segment) {
            sql.push_str(&format!(" #> ARRAY[{}]", quote::text(segment)));
        } else {
            sql.push_str(&format!(" -> {}", quote::text(segment)));
        }
    }
    format!("({sql})")
}

/// A column of looked-up members as a value: JSON null is NULL, and so is a number beyond the
/// range of the language.
fn checked(x: &str) -> String {
    format!(
        "CASE pg_catalog.jsonb_typeof({x}) WHEN 'null' THEN NULL \
         WHEN 'number' THEN CASE WHEN {} IS NOT NULL THEN {x} END ELSE {x} END",
        range_check(&format!("{x}::numeric"))
    )
}

/// A column of looked-up members as numbers, whatever their range.
pub(super) fn raw_number(x: &str) -> String {
    format!("CASE pg_catalog.jsonb_typeof({x}) WHEN 'number' THEN {x}::numeric END")
}
