//! Compiling and storing attachments, and the triggers that serve them.

use super::template::{NEW_ROWS, OLD_ROWS};
use crate::error::{closest, cut, internal, state, Error, Result};
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::pg::{guard, sandbox, session};

/// The arguments of `cdp.attach`.
pub struct Request {
    /// Oid of the table.
    pub source: u32,
    pub event: Option<String>,
    pub user_id: Option<String>,
    pub timestamp: Option<String>,
    pub properties: Option<Vec<String>>,
    pub traits: Option<Vec<String>>,
    pub message_id: Option<String>,
    pub filter: Option<String>,
    pub anonymous_id: Option<String>,
    pub on: Vec<String>,
}

/// The table that is attached.
struct Table {
    oid: u32,
    /// `r` or `p` for a table, plain or partitioned.
    kind: String,
    schema: String,
    name: String,
    owner: u32,
    is_callers: bool,
    is_of_extension: bool,
    /// Name and quoted name with its schema.
    quoted: String,
    alias: String,
    /// Each column and its quoted name.
    columns: Vec<(String, String)>,
    /// Quoted names of the columns of the primary key.
    key: Vec<String>,
}

/// Attaches a table; the same table with the same event again changes the attachment. Returns its id.
pub fn attach(spi: &Spi, namespace: &Namespace, request: &Request) -> Result<i32> {
    let table = table(spi, request.source)?;
    table.check()?;
    let on = on(request, &table)?;
    let compiled = Compiler { spi, table: &table }.compile(request)?;
    let existing = find(spi, namespace, table.oid, request.event.as_deref())?;
    let attachment_id = store(spi, namespace, request, &on, &compiled, existing.as_ref().map(|found| found.0))?;
    if existing.as_ref().map(|found| &found.1) != Some(&on) {
        drop_triggers(spi, &table, attachment_id)?;
        make_triggers(spi, &table, attachment_id, &on)?;
    }
    if table.key.is_empty() && request.message_id.is_none() {
        guard::warn(
            &format!("{} has no primary key: a backfill that is repeated counts its rows again", table.quoted),
            Some("Give message_id, an expression that is different for each row."),
        );
    }
    Ok(attachment_id)
}

/// Ends the attachments of a table, or that for one event. Returns how many there were.
pub fn detach(spi: &Spi, namespace: &Namespace, source: u32, event: Option<&str>) -> Result<i32> {
    let table = table(spi, source)?;
    if !table.is_callers {
        return Err(table.not_callers());
    }
    let ids = spi
        .query(
            "SELECT DISTINCT a.attachment_id FROM _cdp.attachments AS a \
                 JOIN _cdp.attachment_triggers AS t ON t.attachment_id OPERATOR(pg_catalog.=) a.attachment_id \
             WHERE t.source OPERATOR(pg_catalog.=) $1::pg_catalog.int8::pg_catalog.oid AND a.namespace_id OPERATOR(pg_catalog.=) $2 \
                 AND (a.event OPERATOR(pg_catalog.=) $3 OR $3 IS NULL)",
            &[Param::Int8(i64::from(source)), Param::Int4(namespace.id), Param::OptionalText(event)],
        )?
        .map(|row| row.i32(0))?;
    for id in &ids {
        drop_triggers(spi, &table, *id)?;
    }
    spi.execute(
        "DELETE FROM _cdp.attachments WHERE attachment_id OPERATOR(pg_catalog.=) ANY ($1)",
        &[Param::Int4Array(&ids)],
    )?;
    Ok(i32::try_from(ids.len()).unwrap_or(i32::MAX))
}

fn table(spi: &Spi, oid: u32) -> Result<Table> {
    let caller = session::outer_role();
    let mut table = spi
        .query(
            "SELECT c.relkind::pg_catalog.text, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relowner::pg_catalog.int8, \
                 pg_catalog.pg_has_role($2::pg_catalog.name, c.relowner, 'USAGE'), \
                 n.nspname OPERATOR(pg_catalog.=) ANY (ARRAY['cdp', '_cdp', 'pg_catalog', 'information_schema']), \
                 pg_catalog.format('%I.%I', n.nspname, c.relname), pg_catalog.quote_ident(c.relname), \
                 ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute AS a \
                     WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped ORDER BY a.attnum), \
                 ARRAY(SELECT pg_catalog.quote_ident(a.attname) FROM pg_catalog.pg_attribute AS a \
                     WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped ORDER BY a.attnum), \
                 ARRAY(SELECT pg_catalog.quote_ident(a.attname) \
                     FROM pg_catalog.pg_index AS i, pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k (attnum, place) \
                         JOIN pg_catalog.pg_attribute AS a ON a.attnum OPERATOR(pg_catalog.=) k.attnum \
                     WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid AND i.indisprimary AND a.attrelid OPERATOR(pg_catalog.=) c.oid ORDER BY k.place) \
             FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
             WHERE c.oid OPERATOR(pg_catalog.=) $1::pg_catalog.int8::pg_catalog.oid",
            &[Param::Int8(i64::from(oid)), Param::Text(&caller)],
        )?
        .first(|row| {
            Ok(Table {
                oid,
                kind: row.text(0)?,
                schema: row.text(1)?,
                name: row.text(2)?,
                owner: u32::try_from(row.i64(3)?).unwrap_or(0),
                is_callers: row.bool(4)?,
                is_of_extension: row.bool(5)?,
                quoted: row.text(6)?,
                alias: row.text(7)?,
                columns: row.text_array(8).into_iter().zip(row.text_array(9)).collect(),
                key: row.text_array(10),
            })
        })?
        .ok_or_else(|| {
            Error::new("42P01", format!("there is no table with oid {oid}")).hint("Give the name of a table.")
        })?;
    for column in &mut table.key {
        *column = format!("{}.{column}", table.alias);
    }
    Ok(table)
}

impl Table {
    fn check(&self) -> Result<()> {
        if self.is_of_extension {
            return Err(Error::new(
                state::INVALID_DEFINITION,
                format!("{} is no table of an application", self.quoted),
            )
            .hint("Attach a table of your own."));
        }
        if self.kind != "r" && self.kind != "p" {
            return Err(Error::new(state::INVALID_DEFINITION, format!("{} is no table", self.quoted))
                .hint("Attach the tables that a view reads; for foreign tables, insert into cdp.inbox."));
        }
        if !self.is_callers {
            return Err(self.not_callers());
        }
        Ok(())
    }

    fn not_callers(&self) -> Error {
        Error::new("42501", format!("must be owner of table {}", self.quoted))
            .hint("A table is attached by its owner: the SQL of the attachment runs with the owner's rights.")
    }
}

/// `insert`, `update` or both, each once.
fn on(request: &Request, table: &Table) -> Result<Vec<String>> {
    let wrong = request.on.iter().find(|on| !["insert", "update"].contains(&on.to_lowercase().as_str()));
    if wrong.is_some() || request.on.is_empty() {
        let value = wrong.map_or("{}".to_string(), |wrong| cut(wrong));
        return Err(Error::new(state::INVALID_DEFINITION, format!("argument on cannot be \"{value}\""))
            .hint("Give '{insert}', '{update}' or '{insert,update}'."));
    }
    let has = |what: &str| request.on.iter().any(|on| on.eq_ignore_ascii_case(what));
    if has("update") && table.key.is_empty() {
        return Err(Error::new(
            state::INVALID_DEFINITION,
            format!("{} has no primary key, so it cannot be told which rows an update changed", table.quoted),
        )
        .hint("Add a primary key, or attach the table for inserts only."));
    }
    Ok(["insert", "update"].into_iter().filter(|what| has(what)).map(str::to_string).collect())
}

/// The SQL of an attachment, over a row that goes by the name of its table.
struct Compiled {
    row_key: Option<String>,
    track: Option<String>,
    identify: Option<String>,
    condition: String,
}

struct Compiler<'a> {
    spi: &'a Spi,
    table: &'a Table,
}

impl Compiler<'_> {
    fn compile(&self, request: &Request) -> Result<Compiled> {
        let event = request.event.as_deref().map(str::trim);
        if event == Some("") {
            return Err(Error::new(state::INVALID_DEFINITION, "argument event is blank")
                .hint("Give the name of the event, or null for identify messages."));
        }
        if event.is_none() && request.properties.is_some() {
            return Err(Error::new(state::INVALID_DEFINITION, "argument properties is given without an event")
                .hint("Name the event, or give the columns as traits."));
        }
        let mut common = Vec::new();
        let ids = [("user_id", "userId", &request.user_id), ("anonymous_id", "anonymousId", &request.anonymous_id)];
        for (argument, key, value) in ids {
            if let Some(value) = value {
                common.push(format!("'{key}', ({})::pg_catalog.text", self.expression(argument, value)?));
            }
        }
        if common.is_empty() {
            return Err(Error::new("22004", "argument user_id is null")
                .hint("Give the column that says who the row is about, here or as anonymous_id."));
        }
        if let Some(value) = &request.timestamp {
            common.push(format!("'timestamp', pg_catalog.to_jsonb({})", self.expression("timestamp", value)?));
        }
        let condition = match &request.filter {
            Some(filter) => {
                let sql = self.expression("filter", filter)?;
                self.check(
                    "filter",
                    &format!("SELECT FROM {} AS {} WHERE {sql}", self.table.quoted, self.table.alias),
                )?;
                sql
            }
            None => "true".to_string(),
        };
        let row_key = match self.table.key.as_slice() {
            [] => None,
            [column] => Some(format!("({column})::pg_catalog.text")),
            columns => Some(format!("pg_catalog.jsonb_build_array({})::pg_catalog.text", columns.join(", "))),
        };
        let own_id = request.message_id.as_deref().map(|value| self.expression("message_id", value)).transpose()?;
        let message_id = |what: &str, is_second: bool| -> Result<Option<String>> {
            if let Some(own) = &own_id {
                let suffix = if is_second { " OPERATOR(pg_catalog.||) '/identify'" } else { "" };
                return Ok(Some(format!("'messageId', ({own})::pg_catalog.text{suffix}")));
            }
            let Some(key) = &row_key else { return Ok(None) };
            let prefix = self.literal(&format!("{}.{}/{what}/", self.table.schema, self.table.name))?;
            let id = format!("({prefix} OPERATOR(pg_catalog.||) {key})");
            Ok(Some(format!(
                "'messageId', CASE WHEN pg_catalog.length({id}) OPERATOR(pg_catalog.>) {MESSAGE_ID_CHARS} THEN pg_catalog.md5({id}) ELSE {id} END"
            )))
        };
        let build = |kind: &str, content: String, id: Option<String>| {
            let mut members = vec![format!("'type', '{kind}'"), content];
            members.extend(common.iter().cloned().chain(id));
            format!("pg_catalog.jsonb_build_object({})", members.join(", "))
        };
        let track = match event {
            Some(event) => {
                let properties = self.object("properties", request.properties.as_deref())?;
                let content = format!("'event', {}, 'properties', {properties}", self.literal(event)?);
                Some(build("track", content, message_id(event, false)?))
            }
            None => None,
        };
        let identify = match (&request.traits, event) {
            (None, Some(_)) => None,
            (traits, event) => {
                let traits = self.object("traits", traits.as_deref())?;
                let id = message_id("identify", event.is_some())?;
                Some(build("identify", format!("'traits', {traits}"), id))
            }
        };
        Ok(Compiled { row_key, track, identify, condition })
    }

    /// SQL of an argument that is a column or an expression, which is known to be good.
    fn expression(&self, argument: &str, text: &str) -> Result<String> {
        if let Some((_, quoted)) = self.table.columns.iter().find(|(name, _)| name == text) {
            return Ok(format!("{}.{quoted}", self.table.alias));
        }
        // On a line of its own, so that a comment ends before the parenthesis.
        let sql = format!("({text}\n)");
        self.check(argument, &format!("SELECT {sql} FROM {} AS {}", self.table.quoted, self.table.alias))?;
        Ok(sql)
    }

    /// SQL of a JSON object with these members, each a column or `expression AS name`; all columns when not told.
    fn object(&self, argument: &str, items: Option<&[String]>) -> Result<String> {
        let Some(items) = items else { return Ok(format!("pg_catalog.to_jsonb({}.*)", self.table.alias)) };
        let mut members = Vec::with_capacity(items.len());
        for item in items {
            let (name, sql) = match self.table.columns.iter().any(|(name, _)| name == item) {
                true => (item.as_str(), self.expression(argument, item)?),
                false => match named(item) {
                    Some((expression, name)) => (name, self.expression(argument, expression)?),
                    None => return Err(self.no_column(argument, item)),
                },
            };
            members.push(format!("{}, {sql}", self.literal(name)?));
        }
        let parts: Vec<String> = members
            .chunks(MEMBERS)
            .map(|members| format!("pg_catalog.jsonb_build_object({})", members.join(", ")))
            .collect();
        match parts.is_empty() {
            true => Ok("'{}'::pg_catalog.jsonb".to_string()),
            false => Ok(format!("({})", parts.join(" OPERATOR(pg_catalog.||) "))),
        }
    }

    fn no_column(&self, argument: &str, item: &str) -> Error {
        let error = Error::new(
            state::INVALID_DEFINITION,
            format!("argument {argument}: {} has no column \"{}\"", self.table.quoted, cut(item)),
        );
        match closest(item, self.table.columns.iter().map(|(name, _)| name.as_str())) {
            Some(name) => error.hint(format!("Did you mean \"{name}\"?")),
            None => error.hint("Give columns, or 'expression AS name'."),
        }
    }

    /// Whether the owner of the table can run a query.
    fn check(&self, argument: &str, sql: &str) -> Result<()> {
        sandbox::as_role_with_id(self.table.owner, || self.spi.check_text(sql)).map_err(|cause| {
            let error =
                Error::new(state::INVALID_DEFINITION, format!("argument {argument} cannot be used: {}", cause.message));
            let word = cause.message.split('"').nth(1).unwrap_or_default();
            match closest(word, self.table.columns.iter().map(|(name, _)| name.as_str())) {
                Some(name) if cause.sqlstate == *b"42703" => error.hint(format!("Did you mean \"{name}\"?")),
                _ => error.hint(format!(
                    "Give a column of {} or an SQL expression over its columns; functions outside pg_catalog need their schema.",
                    self.table.quoted
                )),
            }
        })
    }

    fn literal(&self, text: &str) -> Result<String> {
        self.spi
            .query("SELECT pg_catalog.quote_literal($1)", &[Param::Text(text)])?
            .first(|row| row.text(0))?
            .ok_or_else(|| internal("a literal was not quoted"))
    }
}

/// Most members of one `jsonb_build_object`, whose arguments are limited to 100.
const MEMBERS: usize = 50;
/// Longer message ids are not taken (`cdp_message::Limits`).
const MESSAGE_ID_CHARS: usize = 100;

/// `expression AS name`.
fn named(item: &str) -> Option<(&str, &str)> {
    let at = item.to_ascii_lowercase().rfind(" as ")?;
    let (expression, name) = (item.get(..at)?.trim(), item.get(at + 4..)?.trim());
    let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
    (!expression.is_empty() && !name.is_empty()).then_some((expression, name))
}

/// The attachment of this table for this event: its id and what it is fired by.
fn find(spi: &Spi, namespace: &Namespace, source: u32, event: Option<&str>) -> Result<Option<(i32, Vec<String>)>> {
    spi.query(
        "SELECT a.attachment_id, a.\"on\" FROM _cdp.attachments AS a \
         WHERE a.namespace_id OPERATOR(pg_catalog.=) $1 AND a.event IS NOT DISTINCT FROM $2 \
             AND EXISTS (SELECT FROM _cdp.attachment_triggers AS t WHERE t.attachment_id OPERATOR(pg_catalog.=) a.attachment_id \
                 AND t.source OPERATOR(pg_catalog.=) $3::pg_catalog.int8::pg_catalog.oid)",
        &[Param::Int4(namespace.id), Param::OptionalText(event.map(str::trim)), Param::Int8(i64::from(source))],
    )?
    .first(|row| Ok((row.i32(0)?, row.text_array(1))))
}

fn store(
    spi: &Spi,
    namespace: &Namespace,
    request: &Request,
    on: &[String],
    compiled: &Compiled,
    existing: Option<i32>,
) -> Result<i32> {
    fn texts(items: &Option<Vec<String>>) -> Vec<Option<&str>> {
        items.iter().flatten().map(|item| Some(item.as_str())).collect()
    }
    let properties = texts(&request.properties);
    let traits = texts(&request.traits);
    let on: Vec<&str> = on.iter().map(String::as_str).collect();
    spi.query(
        "INSERT INTO _cdp.attachments (attachment_id, namespace_id, event, user_id, anonymous_id, \"timestamp\", properties, traits, \
             message_id, filter, \"on\", row_key, track, identify, condition) \
         VALUES (COALESCE($1, pg_catalog.nextval('_cdp.attachment_id_seq'::pg_catalog.regclass)::pg_catalog.int4), $2, $3, $4, $5, $6, \
             CASE WHEN $7 THEN $8 END, CASE WHEN $9 THEN $10 END, $11, $12, $13, $14, $15, $16, $17) \
         ON CONFLICT (attachment_id) DO UPDATE SET user_id = EXCLUDED.user_id, anonymous_id = EXCLUDED.anonymous_id, \
             \"timestamp\" = EXCLUDED.\"timestamp\", properties = EXCLUDED.properties, traits = EXCLUDED.traits, \
             message_id = EXCLUDED.message_id, filter = EXCLUDED.filter, \"on\" = EXCLUDED.\"on\", row_key = EXCLUDED.row_key, \
             track = EXCLUDED.track, identify = EXCLUDED.identify, condition = EXCLUDED.condition \
         RETURNING attachment_id",
        &[
            Param::OptionalInt4(existing),
            Param::Int4(namespace.id),
            Param::OptionalText(request.event.as_deref().map(str::trim)),
            Param::OptionalText(request.user_id.as_deref()),
            Param::OptionalText(request.anonymous_id.as_deref()),
            Param::OptionalText(request.timestamp.as_deref()),
            Param::Bool(request.properties.is_some()),
            Param::OptionalTextArray(&properties),
            Param::Bool(request.traits.is_some()),
            Param::OptionalTextArray(&traits),
            Param::OptionalText(request.message_id.as_deref()),
            Param::OptionalText(request.filter.as_deref()),
            Param::TextArray(&on),
            Param::OptionalText(compiled.row_key.as_deref()),
            Param::OptionalText(compiled.track.as_deref()),
            Param::OptionalText(compiled.identify.as_deref()),
            Param::Text(&compiled.condition),
        ],
    )?
    .first(|row| row.i32(0))?
    .ok_or_else(|| internal("an attachment was not stored"))
}

fn make_triggers(spi: &Spi, table: &Table, attachment_id: i32, on: &[String]) -> Result<()> {
    for event in on {
        let tables = match event.as_str() {
            "update" => format!("OLD TABLE AS {OLD_ROWS} NEW TABLE AS {NEW_ROWS}"),
            _ => format!("NEW TABLE AS {NEW_ROWS}"),
        };
        spi.query_text(
            &format!(
                "CREATE TRIGGER cdp_attachment_{attachment_id}_{event} AFTER {event} ON {} REFERENCING {tables} \
                 FOR EACH STATEMENT EXECUTE FUNCTION _cdp.attached_{event}('{attachment_id}')",
                table.quoted
            ),
            &[],
        )?;
    }
    Ok(())
}

fn drop_triggers(spi: &Spi, table: &Table, attachment_id: i32) -> Result<()> {
    let names = spi
        .query(
            "SELECT pg_catalog.quote_ident(name) FROM _cdp.attachment_triggers \
             WHERE attachment_id OPERATOR(pg_catalog.=) $1 AND source OPERATOR(pg_catalog.=) $2::pg_catalog.int8::pg_catalog.oid",
            &[Param::Int4(attachment_id), Param::Int8(i64::from(table.oid))],
        )?
        .map(|row| row.text(0))?;
    for name in names {
        spi.query_text(&format!("DROP TRIGGER {name} ON {}", table.quoted), &[])?;
    }
    Ok(())
}
