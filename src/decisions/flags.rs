//! The flags of a namespace, compiled.

use crate::error::{state, Error, Result};
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::traits::catalog::{self, Definition};
use cdp_decision::{Condition, DefinitionError, Target};
use cdp_expr::Expr;
use cdp_message::normalize_identifier;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A flag with the conditions of its rules.
pub struct Flag {
    pub id: i32,
    pub flag: cdp_decision::Flag,
    /// By rule; None: the rule is for everybody.
    pub conditions: Vec<Option<Definition>>,
    /// Whether it was defined as one rule rather than by a document.
    pub is_rule: bool,
    /// Whether anybody may have been given a variant by hand.
    pub has_overrides: bool,
}

impl Flag {
    pub fn key(&self) -> &str {
        &self.flag.key
    }
}

#[derive(Default)]
pub struct Flags {
    all: Vec<Flag>,
    by_key: HashMap<String, usize>,
    /// Keys and shares, in millionths.
    holdouts: BTreeMap<String, u32>,
}

impl Flags {
    /// Reads all flags; `bind` compiles a condition of a definition of some version.
    pub fn load(spi: &Spi, namespace_id: i32, mut bind: impl FnMut(i32, Expr) -> Result<Definition>) -> Result<Flags> {
        struct Row {
            id: i32,
            key: String,
            version: i32,
            rule: Option<String>,
            definition: Option<String>,
            has_overrides: bool,
        }
        let parameters = [Param::Int4(namespace_id)];
        let rows = spi
            .query_latest(
                "SELECT flag_id, key, version, rule, definition, has_overrides FROM _cdp.flags \
                 WHERE namespace_id OPERATOR(pg_catalog.=) $1 ORDER BY key COLLATE \"C\"",
                &parameters,
            )?
            .map(|row| {
                Ok(Row {
                    id: row.i32(0)?,
                    key: row.text(1)?,
                    version: row.i32(2)?,
                    rule: row.optional_text(3),
                    definition: row.optional_jsonb(4),
                    has_overrides: row.bool(5)?,
                })
            })?;
        let holdouts = spi
            .query_latest(
                "SELECT key, share FROM _cdp.holdouts WHERE namespace_id OPERATOR(pg_catalog.=) $1",
                &parameters,
            )?
            .map(|row| Ok((row.text(0)?, u32::try_from(row.i32(1)?).unwrap_or(0))))?;
        let mut flags = Flags { holdouts: holdouts.into_iter().collect(), ..Flags::default() };
        for row in rows {
            let is_rule = row.definition.is_none();
            let mut flag = match (&row.definition, &row.rule) {
                (Some(definition), _) => {
                    let json = crate::ingest::stored::json(definition).unwrap_or_default();
                    cdp_decision::Flag::parse(&row.key, &json)
                        .map_err(|error| unreadable(&row.key, &error.to_string()))?
                }
                (None, rule) => cdp_decision::Flag::of_rule(&row.key, rule.as_deref().unwrap_or("false")),
            };
            for target in &mut flag.targets {
                add_normal_forms(target);
            }
            let mut conditions = Vec::with_capacity(flag.rules.len());
            for rule in &flag.rules {
                let expression = match &rule.condition {
                    None => None,
                    Some(Condition::Criteria(expression)) => Some(expression.clone()),
                    Some(Condition::Text(text)) => {
                        Some(catalog::parse(text).map_err(|error| unreadable(&row.key, &error.message))?)
                    }
                };
                conditions.push(expression.map(|expression| bind(row.version, expression)).transpose()?);
            }
            flags.by_key.insert(row.key, flags.all.len());
            flags.all.push(Flag { id: row.id, flag, conditions, is_rule, has_overrides: row.has_overrides });
        }
        Ok(flags)
    }

    pub fn get(&self, key: &str) -> Option<&Flag> {
        self.by_key.get(key).and_then(|position| self.all.get(*position))
    }

    /// All flags, by key.
    pub fn iter(&self) -> impl Iterator<Item = &Flag> {
        self.all.iter()
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(Flag::key)
    }

    /// Every condition with the key of its flag.
    pub fn conditions(&self) -> impl Iterator<Item = (&str, &Definition)> {
        self.all.iter().flat_map(|flag| flag.conditions.iter().flatten().map(|condition| (flag.key(), condition)))
    }

    /// Keys of the flags that a flag is a prerequisite of.
    pub fn waiting_for<'f>(&'f self, key: &'f str) -> impl Iterator<Item = &'f str> {
        let waits = move |flag: &&Flag| flag.flag.prerequisites.iter().any(|prerequisite| prerequisite.flag == key);
        self.all.iter().filter(waits).map(Flag::key)
    }

    pub fn holdout(&self, key: &str) -> Option<u32> {
        self.holdouts.get(key).copied()
    }

    pub fn holdout_keys(&self) -> impl Iterator<Item = &str> {
        self.holdouts.keys().map(String::as_str)
    }

    /// A flag and all whose answers it needs.
    pub fn with_prerequisites<'f>(&'f self, flag: &'f Flag) -> Vec<&'f Flag> {
        let mut found = vec![flag];
        let mut seen = BTreeSet::from([flag.key()]);
        let mut next = 0;
        while let Some(flag) = found.get(next).copied() {
            next += 1;
            for prerequisite in &flag.flag.prerequisites {
                if seen.insert(&prerequisite.flag) {
                    found.extend(self.get(&prerequisite.flag));
                }
            }
        }
        found
    }
}

/// A list may name people by an email address or a phone number as people write it.
fn add_normal_forms(target: &mut Target) {
    let normal: Vec<String> = target
        .ids
        .iter()
        .flat_map(|id| ["email", "phone"].into_iter().filter_map(move |kind| normalize_identifier(kind, id)))
        .map(std::borrow::Cow::into_owned)
        .collect();
    target.ids.extend(normal);
}

fn unreadable(key: &str, message: &str) -> Error {
    Error::new(state::INVALID_DEFINITION, format!("flag \"{key}\" cannot be read: {message}"))
        .hint("It was stored by another version of cdp; define it again.")
}

/// An error of a definition, with its place in the document.
pub fn definition_error(error: DefinitionError) -> Error {
    let raised = Error::new(state::INVALID_DEFINITION, error.message);
    let raised = if error.path.is_empty() { raised } else { raised.detail(format!("At {}.", error.path)) };
    match error.hint {
        Some(hint) => raised.hint(hint),
        None => raised,
    }
}
