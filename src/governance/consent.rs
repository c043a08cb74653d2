//! What people agreed to: statements are written down as they come, and where somebody stands is worked out from
//! them (`cdp_consent`), so that merges and their undoing need no bookkeeping of their own.

use crate::error::Result;
use crate::ingest::Accepted;
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_consent::{Merge, Preferences, Standing, Statement};
use cdp_message::Document;
use cdp_value::Timestamp;
use std::collections::{BTreeSet, HashMap};

/// Statements that have no id yet count as later than all that have one.
const UNNUMBERED: i64 = i64::MAX / 2;

/// What is known of some people: statements and merges, by profile.
#[derive(Default)]
pub struct Known {
    /// Statements of a person, by each profile that was asked for.
    statements: HashMap<i64, Vec<Statement>>,
    /// Where each statement was made.
    sources: HashMap<i64, String>,
    merges: Vec<Merge>,
    /// The profile that each profile asked for was merged into.
    roots: HashMap<i64, i64>,
}

impl Known {
    /// Reads what these people said.
    pub fn read(spi: &Spi, profile_ids: &[i64]) -> Result<Known> {
        let mut known = Known::default();
        if profile_ids.is_empty() {
            return Ok(known);
        }
        let mut absorbed: BTreeSet<i64> = BTreeSet::new();
        let mut rows = spi.query(
            "SELECT w.profile_id, o.profile_id, s.profile_id, s.statement_id, s.category, s.granted, s.stated_at, s.source, o.absorbed \
             FROM pg_catalog.unnest($1) AS w(profile_id) \
             LEFT JOIN _cdp.profiles AS p ON p.profile_id OPERATOR(pg_catalog.=) w.profile_id \
             LEFT JOIN _cdp.profiles AS r ON r.profile_id OPERATOR(pg_catalog.=) p.merged_into \
             CROSS JOIN LATERAL (SELECT COALESCE(r.profile_id, w.profile_id) AS profile_id, \
                 COALESCE(r.absorbed, p.absorbed, '{}') AS absorbed) AS o \
             JOIN _cdp.consent_statements AS s ON s.profile_id OPERATOR(pg_catalog.=) ANY (o.profile_id OPERATOR(pg_catalog.||) o.absorbed)",
            &[Param::Int8Array(profile_ids)],
        )?;
        while rows.advance() {
            let (asked, root) = (rows.i64(0)?, rows.i64(1)?);
            let id = rows.i64(3)?;
            known.roots.insert(asked, root);
            known.statements.entry(asked).or_default().push(Statement {
                id,
                at: rows.timestamp(6)?,
                profile_id: rows.i64(2)?,
                category: rows.text(4)?,
                granted: rows.bool(5)?,
            });
            if let Some(source) = rows.optional_text(7) {
                known.sources.insert(id, source);
            }
            absorbed.extend(rows.int8_array(8));
        }
        drop(rows);
        if !absorbed.is_empty() {
            let absorbed: Vec<i64> = absorbed.into_iter().collect();
            known.merges = spi
                .query(
                    "SELECT absorbed_id, survivor_id, merged_at FROM _cdp.profile_merges \
                     WHERE absorbed_id OPERATOR(pg_catalog.=) ANY ($1)",
                    &[Param::Int8Array(&absorbed)],
                )?
                .map(|row| Ok(Merge { absorbed_id: row.i64(0)?, survivor_id: row.i64(1)?, at: row.timestamp(2)? }))?;
        }
        Ok(known)
    }

    /// Where the person of a profile stood at an instant.
    pub fn standing(&self, profile_id: i64, until: Timestamp) -> Standing {
        let Some(statements) = self.statements.get(&profile_id) else { return Standing::new() };
        let root = self.roots.get(&profile_id).copied().unwrap_or(profile_id);
        cdp_consent::standing(root, statements, &self.merges, until)
    }

    /// Where a statement was made.
    pub fn source(&self, statement: i64) -> Option<&str> {
        self.sources.get(&statement).map(String::as_str)
    }

    fn add(&mut self, statement: Statement) {
        self.statements.entry(statement.profile_id).or_default().push(statement);
    }
}

/// What is said of a person, and by what.
pub struct Said<'a> {
    pub profile_id: i64,
    pub at: Timestamp,
    pub preferences: Preferences,
    pub source: Option<&'a str>,
    pub message_id: Option<&'a str>,
    /// The identifier by which a caller named the person.
    pub named_by: Option<(i32, String)>,
}

/// What a message says.
pub fn of_message(context: Option<&Document>) -> Preferences {
    match context {
        // Most messages say nothing, and theirs need not be parsed for it.
        Some(context) if context.text().contains("\"consent\"") => cdp_consent::of_context(context.value()),
        _ => Preferences::new(),
    }
}

/// Stage 2, for what is written down once it is known whose it is: consent that messages bring.
pub fn record(spi: &Spi, namespace: &Namespace, batch: &[Accepted]) -> Result<()> {
    let said: Vec<Said> = batch
        .iter()
        .filter_map(|accepted| {
            let preferences = of_message(accepted.message.context.as_ref());
            (!preferences.is_empty()).then(|| Said {
                profile_id: accepted.profile_id,
                at: accepted.message.timestamp,
                preferences,
                source: None,
                message_id: Some(&accepted.message_id),
                named_by: None,
            })
        })
        .collect();
    write(spi, namespace, &said)
}

/// Writes down what changes where somebody stands; most clients repeat with every message what they said before.
pub fn write(spi: &Spi, namespace: &Namespace, said: &[Said]) -> Result<()> {
    if said.is_empty() {
        return Ok(());
    }
    let people: BTreeSet<i64> = said.iter().map(|said| said.profile_id).collect();
    let mut known = Known::read(spi, &people.into_iter().collect::<Vec<_>>())?;
    let mut new: Vec<(&Said, &str, bool)> = Vec::new();
    for said in said {
        let before = known.standing(said.profile_id, said.at);
        for (category, granted) in &said.preferences {
            if before.get(category).is_none_or(|verdict| verdict.granted != *granted) {
                new.push((said, category, *granted));
                known.add(Statement {
                    id: UNNUMBERED + new.len() as i64,
                    at: said.at,
                    profile_id: said.profile_id,
                    category: category.clone(),
                    granted: *granted,
                });
            }
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    let profiles: Vec<i64> = new.iter().map(|(said, ..)| said.profile_id).collect();
    let categories: Vec<&str> = new.iter().map(|(_, category, _)| *category).collect();
    let granted: Vec<bool> = new.iter().map(|(.., granted)| *granted).collect();
    let stated: Vec<Timestamp> = new.iter().map(|(said, ..)| said.at).collect();
    let sources: Vec<Option<&str>> = new.iter().map(|(said, ..)| said.source).collect();
    let messages: Vec<Option<&str>> = new.iter().map(|(said, ..)| said.message_id).collect();
    let kinds: Vec<Option<i64>> =
        new.iter().map(|(said, ..)| said.named_by.as_ref().map(|(kind, _)| i64::from(*kind))).collect();
    let values: Vec<Option<&str>> =
        new.iter().map(|(said, ..)| said.named_by.as_ref().map(|(_, value)| value.as_str())).collect();
    spi.execute(
        "INSERT INTO _cdp.consent_statements (namespace_id, recorded_at, profile_id, category, granted, stated_at, source, message_id, kind_id, value) \
         SELECT $1, $2, t.* FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), \
             pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10)) AS t",
        &[
            Param::Int4(namespace.id),
            Param::Timestamp(clock::now()?),
            Param::Int8Array(&profiles),
            Param::TextArray(&categories),
            Param::BoolArray(&granted),
            Param::TimestampArray(&stated),
            Param::OptionalTextArray(&sources),
            Param::OptionalTextArray(&messages),
            Param::OptionalInt8Array(&kinds),
            Param::OptionalTextArray(&values),
        ],
    )?;
    Ok(())
}

/// Gives who was split off the statements that are the person's now: those of messages that moved, and those made
/// by an identifier that did.
pub fn split(spi: &Spi, from: &[i64], apart: i64) -> Result<()> {
    spi.execute(
        "UPDATE _cdp.consent_statements AS s SET profile_id = $2 \
         WHERE s.profile_id OPERATOR(pg_catalog.=) ANY ($1) AND s.profile_id OPERATOR(pg_catalog.<>) $2 \
           AND (EXISTS (SELECT FROM _cdp.events AS e WHERE e.profile_id OPERATOR(pg_catalog.=) $2 \
                        AND e.message_id OPERATOR(pg_catalog.=) s.message_id) \
                OR EXISTS (SELECT FROM _cdp.identifiers AS i WHERE i.profile_id OPERATOR(pg_catalog.=) $2 \
                           AND i.kind_id OPERATOR(pg_catalog.=) s.kind_id AND i.value OPERATOR(pg_catalog.=) s.value))",
        &[Param::Int8Array(from), Param::Int8(apart)],
    )?;
    Ok(())
}
