//! What identity resolution reads, and how what it decided is written, while others do the same.
//!
//! Two transactions have to agree here, so one may wait for the other; nowhere else. They wait in one order, and
//! therefore without deadlock: first for the profiles that get identifiers or are merged, by their ids, then for
//! the identifiers, by their values. What is decided after waiting can be something else; then all that was taken is
//! given back, by ending a subtransaction, and the next round begins from nothing.
//!
//! - Who gives an identifier to a profile holds the profile's row `FOR KEY SHARE`, which stands in nobody's way but
//!   that of a merge; two that give it values of one kind collide in the unique key (profile, kind, slot), so
//!   that no limit is exceeded by both together.
//! - Who merges profiles holds their rows `FOR UPDATE`: nobody gives them anything meanwhile.
//! - Who folds events into a profile holds it `FOR NO KEY UPDATE`; a merge waits for that.

use super::kinds::Kinds;
use super::merge;
use crate::error::{Error, Result};
use crate::ingest::quarantine::Reason;
use crate::ingest::Arrived;
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::pg::transaction;
use cdp_identity::{MessageIdentifiers, Plan, ProfileRef, Snapshot};
use cdp_value::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The ids of a plan's new people.
pub struct Ids {
    new: BTreeMap<ProfileRef, i64>,
}

impl Ids {
    pub fn of(&self, profile: ProfileRef) -> i64 {
        match profile {
            ProfileRef::Existing(id) => id,
            new => self.new.get(&new).copied().unwrap_or(0),
        }
    }
}

/// How a profile's row is held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hold {
    /// It gets identifiers.
    Shared,
    /// It is merged.
    Alone,
}

/// What the database knows about the identifiers of a batch.
struct Known {
    snapshot: Snapshot,
    /// The last slot taken, by profile and kind.
    slots: HashMap<(i64, i32), i32>,
}

/// An identifier on its way to its owner.
struct Link {
    owner: i64,
    at: Timestamp,
    /// Position of the message in the batch.
    message: usize,
    rule: &'static str,
    /// The profile it came to first.
    origin: i64,
    slot: i32,
}

pub struct Writer<'a> {
    spi: &'a Spi,
    namespace: &'a Namespace,
    batch: &'a [Arrived],
    messages: &'a [MessageIdentifiers],
    kinds: &'a Kinds,
    now: Timestamp,
    /// Profiles that a round is going to hold: those that turned out to be needed.
    needed: BTreeMap<i64, Hold>,
}

impl<'a> Writer<'a> {
    pub fn new(
        spi: &'a Spi,
        namespace: &'a Namespace,
        batch: &'a [Arrived],
        messages: &'a [MessageIdentifiers],
        kinds: &'a Kinds,
        now: Timestamp,
    ) -> Writer<'a> {
        Writer { spi, namespace, batch, messages, kinds, now, needed: BTreeMap::new() }
    }

    /// Decides and writes; None when a concurrent session made the decision void, and nothing is written.
    pub fn round(&mut self) -> Result<Option<(Plan, Ids)>> {
        let (plan, known) = self.plan()?;
        if plan.links.len() + plan.merges.len() > 1 || self.need(&plan) {
            return transaction::nested(|| self.agree(plan, known));
        }
        // A single identifier is waited for with nothing in hand.
        self.write(plan, known)
    }

    fn plan(&self) -> Result<(Plan, Known)> {
        let mut known = self.look()?;
        let plan = cdp_identity::plan(&self.kinds.rules, &mut known.snapshot, self.messages);
        Ok((plan, known))
    }

    fn agree(&mut self, plan: Plan, known: Known) -> Result<Option<(Plan, Ids)>> {
        self.need(&plan);
        if self.needed.is_empty() {
            return self.write(plan, known);
        }
        self.hold()?;
        // What was known of them may have changed until they were held.
        let (plan, known) = self.plan()?;
        if self.need(&plan) {
            return Ok(None);
        }
        self.write(plan, known)
    }

    /// What the database knows about the identifiers of the messages.
    fn look(&self) -> Result<Known> {
        let wanted: BTreeSet<(&str, i32)> =
            self.messages.iter().flat_map(|m| m.identifiers.iter().map(|i| (i.value.as_str(), i.kind))).collect();
        let values: Vec<&str> = wanted.iter().map(|w| w.0).collect();
        let kinds: Vec<i32> = wanted.iter().map(|w| w.1).collect();
        let mut known = Known { snapshot: Snapshot::new(), slots: HashMap::new() };
        // Plus nothing, so that only the index that begins with the value will do: planned while there was one
        // person, the look-up went through the other one from end to end for each value of a first import.
        let mut rows = self.spi.query_known(
            "SELECT w.kind_id, w.value, i.profile_id \
             FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS w (value, kind_id) \
             CROSS JOIN LATERAL (SELECT i.profile_id FROM _cdp.identifiers AS i WHERE i.namespace_id OPERATOR(pg_catalog.=) $1 \
                  AND i.value OPERATOR(pg_catalog.=) w.value AND (i.kind_id OPERATOR(pg_catalog.+) 0) OPERATOR(pg_catalog.=) w.kind_id OFFSET 0) AS i",
            &[Param::Int4(self.namespace.id), Param::TextArray(&values), Param::Int4Array(&kinds)],
        )?;
        while rows.advance() {
            known.snapshot.add_owner(rows.i32(0)?, rows.text(1)?, rows.i64(2)?);
        }
        let in_question: Vec<i64> = known.snapshot.in_question(self.messages).into_iter().collect();
        if !in_question.is_empty() {
            self.look_closer(&mut known, &in_question)?;
        }
        Ok(known)
    }

    fn look_closer(&self, known: &mut Known, profile_ids: &[i64]) -> Result<()> {
        let parameters = [Param::Int8Array(profile_ids)];
        let mut rows = self.spi.query_known(
            "SELECT profile_id, created_at FROM _cdp.profiles WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1)",
            &parameters,
        )?;
        while rows.advance() {
            known.snapshot.add_profile(rows.i64(0)?, rows.timestamp(1)?);
        }
        let mut rows = self.spi.query_known(
            "SELECT profile_id, kind_id, linked_at, slot FROM _cdp.identifiers WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1)",
            &parameters,
        )?;
        while rows.advance() {
            let (profile_id, kind, slot) = (rows.i64(0)?, rows.i32(1)?, rows.i32(3)?);
            known.snapshot.add_linked(profile_id, kind, rows.timestamp(2)?);
            let last = known.slots.entry((profile_id, kind)).or_insert(slot);
            *last = (*last).max(slot);
        }
        // Whoever was split from a profile stays apart from whom either was merged into.
        let mut rows = self.spi.query_known(
            "SELECT p.profile_id, COALESCE(o.merged_into, s.other_profile_id) FROM _cdp.profiles AS p \
             JOIN _cdp.profile_splits AS s ON s.profile_id OPERATOR(pg_catalog.=) ANY (p.profile_id OPERATOR(pg_catalog.||) p.absorbed) \
             LEFT JOIN _cdp.profiles AS o ON o.profile_id OPERATOR(pg_catalog.=) s.other_profile_id \
             WHERE p.profile_id OPERATOR(pg_catalog.=) ANY ($1)",
            &parameters,
        )?;
        while rows.advance() {
            known.snapshot.add_split(rows.i64(0)?, rows.i64(1)?);
        }
        Ok(())
    }

    /// Writes what the plan decided; None when somebody else took an identifier or a slot meanwhile.
    fn write(&self, plan: Plan, known: Known) -> Result<Option<(Plan, Ids)>> {
        let born: Vec<ProfileRef> =
            plan.new_profiles.iter().map(|n| n.profile).filter(|p| plan.resolved(*p) == *p).collect();
        let mut ids = Ids { new: BTreeMap::new() };
        if !born.is_empty() {
            let taken = self
                .spi
                .query(
                    "SELECT pg_catalog.nextval('_cdp.profile_id_seq'::pg_catalog.regclass) FROM pg_catalog.generate_series(1, $1)",
                    &[Param::Int8(born.len() as i64)],
                )?
                .map(|row| row.i64(0))?;
            ids.new = born.into_iter().zip(taken).collect();
        }
        if !self.link(&plan, &ids, known.slots)? {
            return Ok(None);
        }
        self.demote(&plan, &ids)?;
        let merges: Vec<merge::Merge> = plan
            .merges
            .iter()
            .filter_map(|m| match (m.survivor, m.absorbed) {
                (ProfileRef::Existing(survivor), ProfileRef::Existing(absorbed)) => Some(merge::Merge {
                    survivor,
                    absorbed,
                    message_id: self.batch.get(m.message).map(|a| a.message_id.clone()),
                    rule: m.rule.as_str(),
                }),
                _ => None,
            })
            .collect();
        if !merge::merge(self.spi, self.namespace, &merges, self.now)? {
            // Only where the transaction's snapshot is older than one of the people.
            return Err(Error::new("40001", "could not merge people who changed after the transaction began")
                .hint("Try the transaction again."));
        }
        Ok(Some((plan, ids)))
    }

    /// Notes the profiles that the plan changes; true when there is one that was not noted before.
    fn need(&mut self, plan: &Plan) -> bool {
        let mut is_new = false;
        let mut need = |profile, hold: Hold| {
            if let ProfileRef::Existing(id) = profile {
                let before = self.needed.get(&id).copied();
                if before.is_none_or(|before| before < hold) {
                    self.needed.insert(id, hold);
                    is_new = true;
                }
            }
        };
        for link in &plan.links {
            need(plan.resolved(link.profile), Hold::Shared);
        }
        for merge in &plan.merges {
            // Somebody whom this batch makes is merged by never being made.
            if let ProfileRef::Existing(_) = merge.absorbed {
                need(merge.survivor, Hold::Alone);
                need(merge.absorbed, Hold::Alone);
            }
        }
        is_new
    }

    /// Holds the profiles that are needed, in the order of their ids: neighbours that are held in the same way
    /// go together. Those that were merged meanwhile are left out.
    fn hold(&self) -> Result<()> {
        let mut waiting: Vec<(i64, Hold)> = self.needed.iter().map(|(id, hold)| (*id, *hold)).collect();
        while let Some((_, hold)) = waiting.first().copied() {
            let count = waiting.iter().take_while(|w| w.1 == hold).count();
            let ids: Vec<i64> = waiting.drain(..count).map(|w| w.0).collect();
            let statement = match hold {
                Hold::Shared => {
                    "SELECT 1 FROM _cdp.profiles WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) AND merged_into IS NULL \
                     ORDER BY profile_id FOR KEY SHARE"
                }
                Hold::Alone => {
                    "SELECT 1 FROM _cdp.profiles WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) AND merged_into IS NULL \
                     ORDER BY profile_id FOR UPDATE"
                }
            };
            self.spi.query_known_for_update(statement, &[Param::Int8Array(&ids)])?;
        }
        Ok(())
    }

    /// Gives identifiers to people; false when somebody else took one of them, or a slot, meanwhile. The caller
    /// undoes the others.
    fn link(&self, plan: &Plan, ids: &Ids, mut slots: HashMap<(i64, i32), i32>) -> Result<bool> {
        let mut links: BTreeMap<(&str, i32), Link> = BTreeMap::new();
        for link in &plan.links {
            let owner = ids.of(plan.resolved(link.profile));
            // A profile that this batch makes and merges at once never exists.
            let origin = match link.profile {
                ProfileRef::Existing(id) => id,
                ProfileRef::New(_) => owner,
            };
            let at = self.batch.get(link.message).map_or(self.now, |a| a.message.timestamp);
            let row = Link { owner, at, message: link.message, rule: link.rule.as_str(), origin, slot: 0 };
            links.entry((link.value.as_str(), link.kind)).or_insert(row);
        }
        if links.is_empty() {
            return Ok(true);
        }
        for ((_, kind), link) in &mut links {
            let last = slots.entry((link.owner, *kind)).or_insert(0);
            *last += 1;
            link.slot = *last;
        }
        let values: Vec<&str> = links.keys().map(|key| key.0).collect();
        let kinds: Vec<i32> = links.keys().map(|key| key.1).collect();
        let owners: Vec<i64> = links.values().map(|link| link.owner).collect();
        let times: Vec<i64> = links.values().map(|link| link.at).collect();
        let message_ids: Vec<&str> =
            links.values().map(|link| self.batch.get(link.message).map_or("", |a| a.message_id.as_str())).collect();
        let rules: Vec<&str> = links.values().map(|link| link.rule).collect();
        let origins: Vec<i64> = links.values().map(|link| link.origin).collect();
        let slots: Vec<i32> = links.values().map(|link| link.slot).collect();
        // Sorted, so that two sessions that bring the same identifiers cannot deadlock.
        let made = self.spi.execute(
            "INSERT INTO _cdp.identifiers (namespace_id, value, kind_id, profile_id, linked_at, message_id, rule, origin_id, slot) \
             SELECT $1, t.* FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), \
                 pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9)) AS t \
             ON CONFLICT DO NOTHING",
            &[
                Param::Int4(self.namespace.id),
                Param::TextArray(&values),
                Param::Int4Array(&kinds),
                Param::Int8Array(&owners),
                Param::TimestampArray(&times),
                Param::TextArray(&message_ids),
                Param::TextArray(&rules),
                Param::Int8Array(&origins),
                Param::Int4Array(&slots),
            ],
        )?;
        Ok(made as usize == links.len())
    }

    fn demote(&self, plan: &Plan, ids: &Ids) -> Result<()> {
        let mut rows: BTreeMap<(i64, i32, &str), (usize, String)> = BTreeMap::new();
        for demotion in &plan.demotions {
            let Some(Some(profile)) = plan.assignments.get(demotion.message) else { continue };
            let reason = match demotion.reason {
                // A blocked value is no news: it would come with every message of an unfinished sign-up.
                cdp_identity::DemotionReason::Blocked => continue,
                cdp_identity::DemotionReason::Limit(kind) => {
                    format!("the person would have too many identifiers of kind {}", self.kinds.name(kind))
                }
                cdp_identity::DemotionReason::Split => "the two people were split by hand".to_string(),
            };
            let profile_id = ids.of(plan.resolved(*profile));
            rows.entry((profile_id, demotion.kind, demotion.value.as_str())).or_insert((demotion.message, reason));
        }
        if rows.is_empty() {
            return Ok(());
        }
        let profile_ids: Vec<i64> = rows.keys().map(|k| k.0).collect();
        let kinds: Vec<i32> = rows.keys().map(|k| k.1).collect();
        let values: Vec<&str> = rows.keys().map(|k| k.2).collect();
        let message_ids: Vec<&str> =
            rows.values().map(|r| self.batch.get(r.0).map_or("", |a| a.message_id.as_str())).collect();
        let reasons: Vec<&str> = rows.values().map(|r| r.1.as_str()).collect();
        self.spi.execute(
            "INSERT INTO _cdp.identity_demotions (namespace_id, at, profile_id, kind_id, value, message_id, reason) \
             SELECT $1, $2, t.* FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), \
                 pg_catalog.unnest($6), pg_catalog.unnest($7)) AS t ON CONFLICT DO NOTHING",
            &[
                Param::Int4(self.namespace.id),
                Param::Timestamp(self.now),
                Param::Int8Array(&profile_ids),
                Param::Int4Array(&kinds),
                Param::TextArray(&values),
                Param::TextArray(&message_ids),
                Param::TextArray(&reasons),
            ],
        )?;
        Ok(())
    }

    /// The person of each message, or why it has none.
    pub fn people(&self, plan: &Plan, ids: &Ids) -> Vec<std::result::Result<i64, Reason>> {
        let mut people: Vec<std::result::Result<i64, Reason>> = plan
            .assignments
            .iter()
            .map(|assigned| match assigned {
                Some(profile) => Ok(ids.of(plan.resolved(*profile))),
                None => Err(Reason::identity(&cdp_identity::IdentityError::NoIdentifier)),
            })
            .collect();
        for (message, error) in &plan.errors {
            if let Some(person) = people.get_mut(*message) {
                *person = Err(Reason::identity(error));
            }
        }
        people
    }
}
