//! Comparable pictures of a database: what the extension consists of, and what data it holds.

use std::collections::BTreeSet;

use postgres::{Client, SimpleQueryMessage};

use crate::cluster::describe;

/// Every object that belongs to the extension, as Postgres describes it, sorted.
pub const MEMBERS: &str = "
SELECT * FROM (SELECT identity.type || ' ' || identity.identity
FROM pg_catalog.pg_depend AS depend
JOIN pg_catalog.pg_extension AS extension ON extension.oid = depend.refobjid
CROSS JOIN LATERAL pg_catalog.pg_identify_object(depend.classid, depend.objid, depend.objsubid) AS identity
WHERE depend.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
  AND depend.deptype = 'e' AND extension.extname = 'cdp') AS member(line)
ORDER BY line COLLATE \"C\"";

/// The extension's catalog, object by object with everything that makes it what it is: definition,
/// columns, constraints, privileges, comment, and what `pg_dump` takes of it.
const CATALOG: &str = "
WITH member AS (
    SELECT depend.classid, depend.objid
    FROM pg_catalog.pg_depend AS depend
    JOIN pg_catalog.pg_extension AS extension ON extension.oid = depend.refobjid
    WHERE depend.refclassid = 'pg_catalog.pg_extension'::regclass
      AND depend.deptype = 'e' AND extension.extname = 'cdp'
), described AS (
    SELECT classid, objid, (pg_catalog.pg_identify_object(classid, objid, 0)).type
           || ' ' || (pg_catalog.pg_identify_object(classid, objid, 0)).identity AS name
    FROM member
), sorted_acl AS (
    SELECT oid, 'pg_proc'::regclass AS classid, proacl AS acl FROM pg_proc
    UNION ALL SELECT oid, 'pg_class'::regclass, relacl FROM pg_class
    UNION ALL SELECT oid, 'pg_type'::regclass, typacl FROM pg_type
    UNION ALL SELECT oid, 'pg_namespace'::regclass, nspacl FROM pg_namespace
)
SELECT name || E'\\n    is a member' FROM described
UNION ALL
SELECT name || E'\\n    comment ' || coalesce(obj_description(objid, classid::regclass::text), 'none') FROM described
UNION ALL
SELECT name || E'\\n    privileges ' || coalesce((SELECT string_agg(item::text, ' ' ORDER BY item::text COLLATE \"C\") FROM unnest(acl) AS item), 'default')
FROM described JOIN sorted_acl ON sorted_acl.oid = objid AND sorted_acl.classid = described.classid
UNION ALL
SELECT name || E'\\n' || CASE WHEN prokind = 'a' THEN (SELECT aggtransfn || ' ' || aggfinalfn || ' ' || coalesce(agginitval, '') FROM pg_aggregate WHERE aggfnoid = pg_proc.oid)
                             ELSE pg_get_functiondef(pg_proc.oid) END
FROM described JOIN pg_proc ON pg_proc.oid = objid AND classid = 'pg_proc'::regclass
UNION ALL
SELECT name || E'\\n    ' || relkind::text || ' ' || relpersistence::text || ' ' || coalesce(array_to_string(reloptions, ','), '')
       || coalesce(' partitioned by ' || pg_get_partkeydef(pg_class.oid), '') || ' row security ' || relrowsecurity::text
FROM described JOIN pg_class ON pg_class.oid = objid AND classid = 'pg_class'::regclass
UNION ALL
SELECT name || E'\\n' || pg_get_viewdef(pg_class.oid)
FROM described JOIN pg_class ON pg_class.oid = objid AND classid = 'pg_class'::regclass AND relkind = 'v'
UNION ALL
SELECT name || E'\\n    columns ' || (
    SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' not null' ELSE '' END
                      || coalesce(' default ' || pg_get_expr(adbin, adrelid), '') || ' ' || attidentity::text || attgenerated::text || attstorage::text
                      || coalesce(' -- ' || col_description(attrelid, attnum), ''), E'\\n            ' ORDER BY attnum)
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped)
FROM described JOIN pg_class ON (pg_class.oid = objid AND classid = 'pg_class'::regclass)
                             OR (classid = 'pg_type'::regclass AND pg_class.oid = (SELECT typrelid FROM pg_type WHERE pg_type.oid = objid))
UNION ALL
SELECT name || E'\\n    constraint ' || conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
FROM described JOIN pg_constraint ON (conrelid = objid AND classid = 'pg_class'::regclass)
                                  OR (contypid = objid AND classid = 'pg_type'::regclass AND contypid <> 0)
WHERE contype <> 'n'
UNION ALL
SELECT name || E'\\n    index ' || pg_get_indexdef(indexrelid)
FROM described JOIN pg_index ON indrelid = objid AND classid = 'pg_class'::regclass
UNION ALL
SELECT name || E'\\n    trigger ' || pg_get_triggerdef(pg_trigger.oid)
FROM described JOIN pg_trigger ON tgrelid = objid AND classid = 'pg_class'::regclass AND NOT tgisinternal
UNION ALL
SELECT name || E'\\n    policy ' || polname || ' ' || polcmd::text || ' ' || coalesce(pg_get_expr(polqual, polrelid), '') || ' ' || coalesce(pg_get_expr(polwithcheck, polrelid), '')
FROM described JOIN pg_policy ON polrelid = objid AND classid = 'pg_class'::regclass
UNION ALL
SELECT name || E'\\n    sequence ' || format_type(seqtypid, NULL) || ' ' || concat_ws(' ', seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle)
FROM described JOIN pg_sequence ON seqrelid = objid AND classid = 'pg_class'::regclass
UNION ALL
SELECT name || E'\\n    type ' || typtype::text || ' ' || typcategory::text || ' ' || typlen || ' ' || typstorage::text || ' ' || coalesce(typdefault, '')
       || coalesce(' labels ' || (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = pg_type.oid), '')
       || CASE WHEN typtype = 'd' THEN ' of ' || format_type(typbasetype, typtypmod) ELSE '' END
FROM described JOIN pg_type ON pg_type.oid = objid AND classid = 'pg_type'::regclass
UNION ALL
SELECT 'dumped ' || relation::regclass || E'\\n    where ' || condition
FROM pg_extension, unnest(extconfig, extcondition) AS config(relation, condition)
WHERE extname = 'cdp'
ORDER BY 1";

/// The rows of a one-column query.
#[track_caller]
pub fn column(client: &mut Client, query: &str) -> Vec<String> {
    match client.simple_query(query) {
        Ok(messages) => messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("∅").to_string()),
                _ => None,
            })
            .collect(),
        Err(error) => panic!("{}\nin: {query}", describe(&error)),
    }
}

/// See [`CATALOG`].
#[track_caller]
pub fn catalog(client: &mut Client) -> Vec<String> {
    column(client, CATALOG)
}

/// Every row of every table and view that a person sees in schema `cdp`, and the position of every
/// sequence: `name: row`. Views whose name is in `except` are left out.
#[track_caller]
pub fn data(client: &mut Client, except: &[&str]) -> Vec<String> {
    let relations = column(
        client,
        "SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
         WHERE nspname IN ('cdp', '_cdp') AND relkind IN ('r', 'v', 'p', 'm') AND NOT relispartition ORDER BY 1",
    );
    let mut lines = Vec::new();
    for relation in relations
        .iter()
        .filter(|name| !except.contains(&name.as_str()))
    {
        let rows = column(
            client,
            &format!("SELECT (whole.*)::text FROM {relation} AS whole ORDER BY (whole.*)::text COLLATE \"C\""),
        );
        lines.extend(rows.into_iter().map(|row| format!("{relation}: {row}")));
    }
    lines
}

/// What is only in one of the two, as lines with `-` and `+`; empty if they are equal.
pub fn differences(left: &[String], right: &[String]) -> String {
    let in_left: BTreeSet<&String> = left.iter().collect();
    let in_right: BTreeSet<&String> = right.iter().collect();
    let only_left = in_left
        .difference(&in_right)
        .map(|line| format!("- {line}\n"));
    let only_right = in_right
        .difference(&in_left)
        .map(|line| format!("+ {line}\n"));
    let mut text: String = only_left.chain(only_right).collect();
    if text.is_empty() && left.len() != right.len() {
        text = format!(
            "the same lines, but {} and {} of them\n",
            left.len(),
            right.len()
        );
    }
    text
}
