//! Another Postgres, by its own protocol: a table of messages and a table of users, made when
//! they are not there, and written in batches, one transaction each.

use super::spec::{audience, isolate, sets_traits};
use crate::batch::{group, Group, Item};
use crate::config::{Config, ConfigError, Field, FieldKind, Limits, SecretField};
use crate::destination::{CatalogueEntry, Category, Context, Destination, Duplicates};
use crate::message::{Message, MessageKind};
use crate::outcome::{Outcome, Plan, Remember, Reply, Request, RequestPlan, Response};
use crate::sql::{SqlRequest, SqlResponse, SqlStatement, TlsMode};
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// See the module.
pub struct Postgres;

static ENTRY: CatalogueEntry = CatalogueEntry {
    kind: "postgres",
    name: "PostgreSQL",
    description: "Messages and users as tables of another Postgres, made and upserted in batches.",
    category: Category::Database,
    fields: &[
        Field::new("host", FieldKind::Text, "Name or address of the server.").required(),
        Field::new(
            "port",
            FieldKind::Integer {
                min: 1,
                max: 65_535,
            },
            "Port of the server.",
        )
        .default("5432"),
        Field::new("database", FieldKind::Text, "Name of the database.").required(),
        Field::new(
            "user",
            FieldKind::Text,
            "Role that connects; it needs to create or write the tables.",
        )
        .required(),
        Field::new(
            "tls",
            FieldKind::Choice(&["verify-full", "disable"]),
            "TLS with a verified certificate, or in clear (only to hosts in cdp.http_allow_hosts).",
        )
        .default("\"verify-full\""),
        Field::new(
            "schema",
            FieldKind::Text,
            "Schema of the tables; it has to exist.",
        )
        .default("\"public\""),
        Field::new(
            "messages_table",
            FieldKind::Text,
            "Table that every message becomes a row of.",
        )
        .default("\"cdp_messages\""),
        Field::new(
            "users_table",
            FieldKind::Text,
            "Table with the latest traits and segments of every user.",
        )
        .default("\"cdp_users\""),
    ],
    secrets: &[SecretField {
        name: "password",
        required: true,
        help: "Password of the role.",
    }],
    sends: &MessageKind::ALL,
    duplicates: Duplicates::Overwrite,
    replays: true,
};

/// Key in the memory that says that the tables are there.
const TABLES: &str = "tables";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Write,
    Delete,
}

impl Destination for Postgres {
    fn catalogue(&self) -> &'static CatalogueEntry {
        &ENTRY
    }

    fn check(&self, config: &Config, errors: &mut Vec<ConfigError>) {
        for name in ["schema", "messages_table", "users_table"] {
            let length = config.required(name).len();
            if length > 63 {
                errors.push(ConfigError::new(name, "is longer than 63 bytes"));
            }
        }
        if config.required("messages_table") == config.required("users_table") {
            errors.push(ConfigError::new("users_table", "must be another table"));
        }
    }

    fn own_limits(&self, _config: &Config) -> Limits {
        Limits::batch(1000, 4_000_000).concurrency(2)
    }

    fn requests(&self, context: &Context, batch: &[&Message]) -> Plan {
        let limits = self.own_limits(&context.config).configured(&context.config);
        group(self, &context.config, &limits, batch, |message| {
            let endpoint = match message.kind {
                MessageKind::Delete => Endpoint::Delete,
                _ => Endpoint::Write,
            };
            match (message.kind, message.person_id()) {
                (MessageKind::Delete, None) => {
                    Item::Settled(Outcome::reject("the message has no userId or anonymousId"))
                }
                _ => Item::json(endpoint, message.body.clone()),
            }
        })
        .into_plan(|group| request(context, batch, group))
    }

    fn outcomes(
        &self,
        _context: &Context,
        _batch: &[&Message],
        plan: &RequestPlan,
        response: &Response,
    ) -> Reply {
        let Response::Sql(response) = response else {
            return Reply::all(plan, Outcome::reject("an answer of another protocol"));
        };
        let remember = |value: Option<&str>| {
            vec![Remember {
                key: TABLES.to_string(),
                value: value.map(str::to_string),
                for_time: Duration::from_secs(3600),
            }]
        };
        match response {
            SqlResponse::Done(_) => Reply {
                remember: remember(Some("made")),
                ..Reply::all(plan, Outcome::Delivered)
            },
            // A table is gone, or lacks a column: look again next time.
            SqlResponse::Failed { sqlstate, message } if sqlstate == "42P01" => Reply {
                remember: remember(None),
                ..Reply::all(plan, Outcome::retry(format!("{sqlstate}: {message}")))
            },
            SqlResponse::Failed { sqlstate, message } => {
                isolate(plan, of_sqlstate(sqlstate, message))
            }
        }
    }

    fn test_request(&self, context: &Context) -> Option<Request> {
        let statement = SqlStatement {
            text: "SELECT 1".to_string(),
            parameters: Vec::new(),
        };
        Some(Request::Sql(sql_request(context, vec![statement])))
    }

    fn test_outcome(&self, _context: &Context, response: &Response) -> Result<String, String> {
        match response {
            Response::Sql(SqlResponse::Done(_)) => Ok("the database answers".to_string()),
            Response::Sql(SqlResponse::Failed { sqlstate, message }) => {
                Err(format!("{sqlstate}: {message}"))
            }
            Response::Http(_) => Err("an answer of another protocol".to_string()),
        }
    }
}

/// What an error means: by its class, whether a later attempt, other credentials or another
/// message would do.
fn of_sqlstate(sqlstate: &str, message: &str) -> Outcome {
    let reason = format!("{sqlstate}: {message}");
    let class = sqlstate.get(..2).unwrap_or("");
    match (class, sqlstate) {
        // Serialization, deadlock, locks; two that make the same table at once.
        (_, "40001" | "40P01" | "55P03" | "57014" | "25006" | "23505" | "42P07") => {
            Outcome::retry(reason)
        }
        ("08" | "53" | "57" | "58" | "XX", _) => Outcome::retry(reason),
        ("28", _) | (_, "42501" | "3D000" | "3F000") => Outcome::auth_blocked(reason),
        _ => Outcome::reject(reason),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn table(context: &Context, setting: &str) -> String {
    let config = &context.config;
    format!(
        "{}.{}",
        quoted(&config.required("schema")),
        quoted(&config.required(setting))
    )
}

fn sql_request(context: &Context, statements: Vec<SqlStatement>) -> SqlRequest {
    let config = &context.config;
    SqlRequest {
        host: config.required("host"),
        port: config
            .integer("port")
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(5432),
        database: config.required("database"),
        user: config.required("user"),
        password: context.secret("password"),
        tls: match config.required("tls").as_str() {
            "disable" => TlsMode::Disable,
            _ => TlsMode::VerifyFull,
        },
        statements,
    }
}

fn request(context: &Context, batch: &[&Message], group: Group<Endpoint, Value>) -> RequestPlan {
    let messages: Vec<&Message> = group
        .messages
        .iter()
        .filter_map(|index| batch.get(*index).copied())
        .collect();
    let mut statements = Vec::new();
    if !context.memory.contains_key(TABLES) {
        statements.push(make_tables(context));
    }
    match group.endpoint {
        Endpoint::Write => {
            statements.push(write_messages(context, &messages));
            statements.extend(write_users(context, &messages));
        }
        Endpoint::Delete => statements.extend(delete(context, &messages)),
    }
    RequestPlan {
        request: Request::Sql(sql_request(context, statements)),
        messages: group.messages,
        step: Value::Null,
    }
}

fn make_tables(context: &Context) -> SqlStatement {
    let (messages, users) = (
        table(context, "messages_table"),
        table(context, "users_table"),
    );
    SqlStatement {
        text: format!(
            "CREATE TABLE IF NOT EXISTS {messages} (message_id text PRIMARY KEY, kind text NOT NULL, \
             event text, user_id text, anonymous_id text, profile_id bigint, \"timestamp\" timestamptz, \
             body jsonb NOT NULL, delivered_at timestamptz NOT NULL DEFAULT now()); \
             CREATE TABLE IF NOT EXISTS {users} (user_id text PRIMARY KEY, \
             traits jsonb NOT NULL DEFAULT '{{}}', segments jsonb NOT NULL DEFAULT '{{}}', \
             updated_at timestamptz NOT NULL DEFAULT now())"
        ),
        parameters: Vec::new(),
    }
}

/// A row for each message; one that comes again is written again.
fn write_messages(context: &Context, messages: &[&Message]) -> SqlStatement {
    // One id twice in a batch would be two writes of one row: the later one counts.
    let mut rows: BTreeMap<&str, &Message> = BTreeMap::new();
    for message in messages {
        rows.insert(&message.id, message);
    }
    let column = |value: &dyn Fn(&Message) -> Option<String>| -> Vec<Option<String>> {
        rows.values().map(|message| value(message)).collect()
    };
    SqlStatement {
        text: format!(
            "INSERT INTO {} AS m (message_id, kind, event, user_id, anonymous_id, profile_id, \"timestamp\", body) \
             SELECT message_id, kind, event, user_id, anonymous_id, profile_id::bigint, ts::timestamptz, body::jsonb \
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[]) \
             AS r (message_id, kind, event, user_id, anonymous_id, profile_id, ts, body) \
             ON CONFLICT (message_id) DO UPDATE SET kind = excluded.kind, event = excluded.event, \
             user_id = excluded.user_id, anonymous_id = excluded.anonymous_id, profile_id = excluded.profile_id, \
             \"timestamp\" = excluded.\"timestamp\", body = excluded.body, delivered_at = now()",
            table(context, "messages_table")
        ),
        parameters: vec![
            column(&|message| Some(message.id.clone())),
            column(&|message| Some(message.kind.as_str().to_string())),
            column(&|message| message.event()),
            column(&|message| message.user_id()),
            column(&|message| message.anonymous_id()),
            column(&|message| Some(message.profile_id.to_string())),
            column(&|message| message.time_text()),
            column(&|message| Some(message.body.to_string())),
        ],
    }
}

/// What a batch changes about a user.
#[derive(Default)]
struct Changes {
    traits: Map<String, Value>,
    segments: Map<String, Value>,
}

/// The latest traits and segments of the users in the batch: a null removes a trait, leaving a
/// segment removes it. First the rows, then their values, since only an update sees both the old
/// value and the nulls.
fn write_users(context: &Context, messages: &[&Message]) -> Vec<SqlStatement> {
    let mut users: BTreeMap<String, Changes> = BTreeMap::new();
    for message in messages {
        let Some(user) = message.user_id() else {
            continue;
        };
        if sets_traits(message.kind) {
            let changes = users.entry(user).or_default();
            changes.traits.extend(message.traits());
        } else if let Some((key, entered)) = audience(message) {
            let changes = users.entry(user).or_default();
            changes.segments.insert(key, json!(entered));
        }
    }
    if users.is_empty() {
        return Vec::new();
    }
    let table = table(context, "users_table");
    let merged = |column: &str, removed: &str| {
        format!(
            "(SELECT coalesce(jsonb_object_agg(key, value) FILTER (WHERE value <> '{removed}'), '{{}}') \
             FROM jsonb_each(u.{column} || r.{column}::jsonb))"
        )
    };
    let text = |object: &Map<String, Value>| Some(Value::Object(object.clone()).to_string());
    let names: Vec<Option<String>> = users.keys().map(|user| Some(user.clone())).collect();
    vec![
        SqlStatement {
            text: format!(
                "INSERT INTO {table} (user_id) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
            ),
            parameters: vec![names.clone()],
        },
        SqlStatement {
            text: format!(
                "UPDATE {table} AS u SET traits = {}, segments = {}, updated_at = now() \
                 FROM unnest($1::text[], $2::text[], $3::text[]) AS r (user_id, traits, segments) \
                 WHERE u.user_id = r.user_id",
                merged("traits", "null"),
                merged("segments", "false"),
            ),
            parameters: vec![
                names,
                users.values().map(|user| text(&user.traits)).collect(),
                users.values().map(|user| text(&user.segments)).collect(),
            ],
        },
    ]
}

/// Everything about the persons goes.
fn delete(context: &Context, messages: &[&Message]) -> Vec<SqlStatement> {
    let ids = |id: &dyn Fn(&Message) -> Option<String>| -> Vec<Option<String>> {
        messages
            .iter()
            .filter_map(|message| id(message))
            .map(Some)
            .collect()
    };
    let users = ids(&Message::user_id);
    let anonymous = ids(&Message::anonymous_id);
    vec![
        SqlStatement {
            text: format!(
                "DELETE FROM {} WHERE user_id = ANY($1::text[]) OR anonymous_id = ANY($2::text[])",
                table(context, "messages_table")
            ),
            parameters: vec![users.clone(), anonymous],
        },
        SqlStatement {
            text: format!(
                "DELETE FROM {} WHERE user_id = ANY($1::text[])",
                table(context, "users_table")
            ),
            parameters: vec![users],
        },
    ]
}
