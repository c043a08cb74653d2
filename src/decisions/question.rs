//! A person whom flags are asked about.

use super::flags::Flag;
use super::overrides;
use crate::api::read::Reading;
use crate::error::Result;
use crate::identity::resolve;
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::traits::catalog::{self, Catalog, Definition};
use crate::traits::context::PersonContext;
use crate::traits::edges::Edges;
use crate::traits::person::{self, Person};
use crate::traits::{backfill, evaluate, pending};
use cdp_decision::Situation;
use cdp_value::{Timestamp, Value};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// The person, as far as every question needs it.
pub struct Asked {
    pub catalog: Rc<Catalog>,
    reading: Option<Reading>,
}

impl Asked {
    /// One statement where the person is known by just this text and nothing is pending.
    pub fn read(spi: &Spi, namespace: &Namespace, id: &str) -> Result<Asked> {
        let found = match person::find(spi, namespace.id, id)? {
            Some(found) => Some(found),
            None => match resolve::find(spi, namespace, id, None)? {
                Some(profile_id) => person::load(spi, &[profile_id])?.pop().map(|person| (person, true)),
                None => None,
            },
        };
        let reading = match found {
            Some((person, is_pending)) => Some(bring_up(spi, namespace, person, is_pending)?),
            None => None,
        };
        let catalog = match &reading {
            Some(reading) => reading.catalog.clone(),
            None => catalog::current(spi, namespace)?,
        };
        Ok(Asked { catalog, reading })
    }

    /// None for somebody unknown.
    pub fn profile_id(&self) -> Option<i64> {
        self.reading.as_ref().map(|reading| reading.person.profile_id)
    }

    /// Reads what these flags need.
    pub fn about<'q>(
        &'q mut self,
        spi: &Spi,
        id: &'q str,
        flags: &[&Flag],
        attributes: &'q Value,
    ) -> Result<Question<'q>> {
        let has_targets = flags.iter().any(|flag| !flag.flag.targets.is_empty());
        let Some(reading) = &mut self.reading else {
            return Ok(Question {
                catalog: &self.catalog,
                context: None,
                key: None,
                ids: vec![id.to_string()],
                overrides: HashMap::new(),
                at: clock::now()?,
            });
        };
        let profile_id = reading.person.profile_id;
        let conditions = || flags.iter().flat_map(|flag| flag.conditions.iter().flatten());
        let people = std::slice::from_mut(&mut reading.person);
        if conditions().any(|condition| condition.needs_profile) {
            person::load_traits(spi, people)?;
        }
        if conditions().any(|condition| condition.needs_groups) {
            person::load_groups(spi, people)?;
        }
        if conditions().any(|condition| condition.needs_lists) {
            person::load_memberships(spi, people)?;
            evaluate::note_lists(&self.catalog, people);
        }
        let ids = if has_targets { identifiers(spi, profile_id)? } else { Vec::new() };
        let overrides = overrides::of(spi, profile_id, flags)?;
        let keys: Vec<&str> = flags.iter().map(|flag| flag.key()).collect();
        let at = reading.at;
        let mut context = reading.prepare(spi, |catalog| {
            let flags = keys.iter().filter_map(|key| catalog.flags.get(key));
            flags.flat_map(|flag| flag.conditions.iter().flatten()).collect::<Vec<&Definition>>()
        })?;
        context.attributes = Some(attributes);
        let key = Some(profile_id.to_string());
        Ok(Question { catalog: &self.catalog, context: Some(context), key, ids, overrides, at })
    }
}

/// Brings a person up to the latest definitions, in memory.
fn bring_up(spi: &Spi, namespace: &Namespace, person: Person, is_pending: bool) -> Result<Reading> {
    let mut people = [person];
    let catalog = catalog::covering(spi, namespace, &people)?;
    let calendar = catalog.calendar();
    if is_pending {
        pending::add(spi, &mut people)?;
    }
    let now = clock::now()?;
    backfill::fill(spi, &catalog, &calendar, &mut people, now)?;
    let [person] = people;
    let at = person.instant(now);
    Ok(Reading { catalog, calendar, person, edges: Edges::default(), at })
}

/// Everything that the answers depend on.
pub struct Question<'q> {
    catalog: &'q Catalog,
    context: Option<PersonContext<'q>>,
    key: Option<String>,
    /// Identifiers of the person, where a flag lists people.
    ids: Vec<String>,
    overrides: HashMap<i32, String>,
    at: Timestamp,
}

impl<'q> Question<'q> {
    /// What conditions see; None for somebody unknown.
    pub fn context(&self) -> Option<&PersonContext<'q>> {
        self.context.as_ref()
    }

    /// Whether everything could be read.
    pub fn check(&self) -> Result<()> {
        self.context.as_ref().map_or(Ok(()), PersonContext::check)
    }
}

impl Situation for Question<'_> {
    fn now(&self) -> Timestamp {
        self.at
    }

    fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    fn listed<'i>(&self, ids: &'i HashSet<String>) -> Option<&'i str> {
        self.ids.iter().find_map(|id| ids.get(id)).map(String::as_str)
    }

    fn override_of(&self, flag: &cdp_decision::Flag) -> Option<&str> {
        if self.overrides.is_empty() {
            return None;
        }
        self.overrides.get(&self.catalog.flags.get(&flag.key)?.id).map(String::as_str)
    }

    fn holds(&self, flag: &cdp_decision::Flag, rule: usize) -> bool {
        let condition = self.catalog.flags.get(&flag.key).and_then(|flag| flag.conditions.get(rule)?.as_ref());
        condition.zip(self.context.as_ref()).is_some_and(|(condition, context)| context.holds(condition))
    }

    fn flag(&self, key: &str) -> Option<&cdp_decision::Flag> {
        self.catalog.flags.get(key).map(|flag| &flag.flag)
    }

    fn holdout(&self, key: &str) -> Option<u32> {
        self.catalog.flags.holdout(key)
    }
}

/// All identifiers of a person, and the id of the profile.
fn identifiers(spi: &Spi, profile_id: i64) -> Result<Vec<String>> {
    let mut ids = spi
        .query(
            "SELECT value FROM _cdp.identifiers WHERE profile_id OPERATOR(pg_catalog.=) $1 ORDER BY kind_id, value",
            &[Param::Int8(profile_id)],
        )?
        .map(|row| row.text(0))?;
    ids.push(profile_id.to_string());
    Ok(ids)
}
