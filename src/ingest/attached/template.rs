//! The SQL of an attachment, over any source of rows of its table.

use crate::error::Result;
use crate::pg::datum::Param;
use crate::pg::spi::{Rows, Spi};

/// What a row becomes, as SQL in which the row goes by the name of its table.
pub struct Template {
    pub namespace_id: i32,
    /// The table's name, quoted.
    alias: String,
    /// The table's name with its schema, quoted.
    table: String,
    row_key: Option<String>,
    track: Option<String>,
    identify: Option<String>,
    condition: String,
    timestamp: Option<String>,
    has_own_message_id: bool,
}

/// The name by which triggers know the rows as they are after a statement.
pub const NEW_ROWS: &str = "cdp_new_rows";
/// The name by which triggers know the rows as they were.
pub const OLD_ROWS: &str = "cdp_old_rows";

impl Template {
    /// The attachment, if it is still there.
    pub fn read(spi: &Spi, relation: u32, attachment_id: i32) -> Result<Option<Template>> {
        spi.query(
            "SELECT a.namespace_id, pg_catalog.quote_ident(c.relname), \
                 pg_catalog.format('%I.%I', n.nspname, c.relname), a.row_key, a.track, a.identify, a.condition, \
                 a.\"timestamp\", a.message_id IS NOT NULL \
             FROM _cdp.attachments AS a, pg_catalog.pg_class AS c \
                 JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
             WHERE a.attachment_id OPERATOR(pg_catalog.=) $1 AND c.oid OPERATOR(pg_catalog.=) $2::pg_catalog.int8::pg_catalog.oid",
            &[Param::Int4(attachment_id), Param::Int8(i64::from(relation))],
        )?
        .first(|row: &Rows| {
            Ok(Template {
                namespace_id: row.i32(0)?,
                alias: row.text(1)?,
                table: row.text(2)?,
                row_key: row.optional_text(3),
                track: row.optional_text(4),
                identify: row.optional_text(5),
                condition: row.text(6)?,
                timestamp: row.optional_text(7),
                has_own_message_id: row.bool(8)?,
            })
        })
    }

    pub fn table(&self) -> &str {
        &self.table
    }

    fn message<'a>(&self, sql: Option<&'a String>) -> &'a str {
        sql.map_or("NULL::pg_catalog.jsonb", String::as_str)
    }

    /// Rows that the statement inserted, from the `first`: the identify and the track message of each.
    pub fn inserted(&self, first: usize, count: usize) -> String {
        format!(
            "SELECT ({})::pg_catalog.text, ({})::pg_catalog.text FROM {} AS {} WHERE {}",
            self.message(self.identify.as_ref()),
            self.message(self.track.as_ref()),
            part(first, count),
            self.alias,
            self.condition
        )
    }

    /// Rows whose message the statement changed. A row that makes one only now is known by its own message id,
    /// as if it had been inserted so; a message that became another one is another message.
    pub fn updated(&self, first: usize, count: usize) -> String {
        let Some(key) = &self.row_key else { return self.inserted(first, count) };
        let of = |rows: &str| {
            format!(
                "SELECT {key} AS row_key, {} AS identify, {} AS track FROM {rows} AS {} WHERE {}",
                self.message(self.identify.as_ref()),
                self.message(self.track.as_ref()),
                self.alias,
                self.condition
            )
        };
        let changed = |which: &str| {
            let message = match self.has_own_message_id {
                true => format!("n.{which}"),
                false => format!("(n.{which} OPERATOR(pg_catalog.-) 'messageId'::pg_catalog.text)"),
            };
            let content = |row: &str| {
                format!("({row}.{which} OPERATOR(pg_catalog.-) '{{messageId,timestamp}}'::pg_catalog.text[])")
            };
            format!(
                "(CASE WHEN o.row_key IS NULL THEN n.{which} WHEN {} OPERATOR(pg_catalog.<>) {} THEN {message} END)::pg_catalog.text",
                content("n"),
                content("o")
            )
        };
        format!(
            "SELECT {}, {} FROM ({}) AS n LEFT JOIN ({}) AS o ON o.row_key OPERATOR(pg_catalog.=) n.row_key",
            changed("identify"),
            changed("track"),
            of(&part(first, count)),
            of(OLD_ROWS),
        )
    }

    /// The rows that are in the table now, oldest first where a time is told.
    pub fn stored(&self) -> String {
        let order = self.timestamp.as_ref().map(|_| " ORDER BY 3").unwrap_or_default();
        let at = self.track.as_ref().or(self.identify.as_ref()).map_or("NULL", String::as_str);
        format!(
            "SELECT ({})::pg_catalog.text, ({})::pg_catalog.text, ({at}) OPERATOR(pg_catalog.->) 'timestamp' FROM {} AS {} WHERE {}{order}",
            self.message(self.identify.as_ref()),
            self.message(self.track.as_ref()),
            self.table,
            self.alias,
            self.condition
        )
    }

    /// A row that the statement brought, as JSON.
    pub fn row(place: usize) -> String {
        format!("SELECT pg_catalog.to_jsonb(r.*)::pg_catalog.text FROM {} AS r", part(place, 1))
    }
}

fn part(first: usize, count: usize) -> String {
    if first == 0 && count == usize::MAX {
        return NEW_ROWS.to_string();
    }
    format!("(SELECT * FROM {NEW_ROWS} OFFSET {first} LIMIT {count})")
}

/// The messages of rows, each an identify, a track, or both.
pub fn messages(rows: Rows) -> Result<Vec<String>> {
    let both = rows.map(|row| Ok([row.optional_text(0), row.optional_text(1)]))?;
    Ok(both.into_iter().flatten().flatten().collect())
}
