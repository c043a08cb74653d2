//! Stage 5: which person each message belongs to (DESIGN.md §5). The rules are `cdp_identity`'s; here they
//! are given what the database knows, and what they decide is written.

pub mod attributes;
pub mod explain;
pub mod groups;
pub mod kinds;
pub mod merge;
pub mod profile_traits;
pub mod resolve;
pub mod settings;
pub mod unmerge;

use crate::error::Result;
use crate::ingest::quarantine::Reason;
use crate::ingest::Arrived;
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_identity::{MessageIdentifier, MessageIdentifiers, Plan, ProfileRef, Snapshot};
use cdp_value::Timestamp;
use kinds::Kinds;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What a batch did to people, for the stages that follow.
#[derive(Default)]
pub struct IdentityChanges {
    /// Profiles that have no row yet.
    pub created: HashSet<i64>,
    /// Profiles that others were merged into.
    pub merged: HashSet<i64>,
}

/// The person of each message, or why it has none.
pub struct Resolved {
    pub people: Vec<std::result::Result<i64, Reason>>,
    pub changes: IdentityChanges,
}

/// Two sessions that meet the same new person agree after a round or two.
const MOST_ROUNDS: usize = 20;

type Identifier = (i32, String);

/// Finds or makes the person of each message. Concurrent first contacts of one person end with one profile:
/// the unique key of `_cdp.identifiers` decides, and whoever comes second looks again.
pub fn resolve(spi: &Spi, namespace: &Namespace, batch: &[Arrived], now: Timestamp) -> Result<Resolved> {
    let mut resolved = Resolved { people: Vec::new(), changes: IdentityChanges::default() };
    if batch.is_empty() {
        return Ok(resolved);
    }
    let found: Vec<Vec<cdp_message::Identifier>> = {
        let kinds = kinds::current(spi, namespace)?;
        batch.iter().map(|arrived| cdp_message::identifiers(&arrived.message, &kinds.extraction)).collect()
    };
    let kinds = kinds::with_names(spi, namespace, found.iter().flatten().map(|i| i.kind.as_ref()))?;
    let refused: Vec<(usize, Reason)> = found
        .iter()
        .enumerate()
        .filter_map(|(position, found)| {
            let unknown = found.iter().find(|i| kinds.id(&i.kind).is_none())?;
            Some((position, Reason::too_many_kinds(unknown)))
        })
        .collect();
    let messages: Vec<MessageIdentifiers> = batch
        .iter()
        .zip(found)
        .map(|(arrived, identifiers)| MessageIdentifiers {
            at: arrived.message.timestamp,
            identifiers: identifiers
                .into_iter()
                .map(|i| {
                    let kind = kinds.id(&i.kind)?;
                    Some(MessageIdentifier { kind, value: i.value, previous: i.previous })
                })
                .collect::<Option<_>>()
                .unwrap_or_default(),
        })
        .collect();

    let mut writer = Writer { spi, namespace, batch, kinds: &kinds, now, mine: HashMap::new(), unborn: HashSet::new() };
    for _ in 0..MOST_ROUNDS {
        let mut snapshot = writer.look(&messages)?;
        let plan = cdp_identity::plan(&kinds.rules, &mut snapshot, &messages);
        let Some(ids) = writer.write(&plan)? else { continue };
        resolved.people = writer.people(&plan, &ids);
        for (position, reason) in &refused {
            if let Some(person) = resolved.people.get_mut(*position) {
                *person = Err(reason.clone());
            }
        }
        for created in &plan.new_profiles {
            if plan.resolved(created.profile) == created.profile {
                resolved.changes.created.insert(ids.of(created.profile));
            }
        }
        for merge in &plan.merges {
            if let ProfileRef::Existing(_) = merge.absorbed {
                resolved.changes.merged.insert(ids.of(plan.resolved(merge.survivor)));
            }
        }
        return Ok(resolved);
    }
    Err(crate::error::Error::new("40001", "could not agree on a person with concurrent sessions")
        .hint("Try the call again."))
}

/// The ids of a plan's new people.
struct Ids {
    new: BTreeMap<ProfileRef, i64>,
}

impl Ids {
    fn of(&self, profile: ProfileRef) -> i64 {
        match profile {
            ProfileRef::Existing(id) => id,
            new => self.new.get(&new).copied().unwrap_or(0),
        }
    }
}

/// An identifier on its way to its owner.
struct LinkRow {
    owner: i64,
    at: Timestamp,
    /// Position of the message in the batch.
    message: usize,
    rule: &'static str,
    /// The profile it came to first.
    origin: i64,
}

struct Writer<'a> {
    spi: &'a Spi,
    namespace: &'a Namespace,
    batch: &'a [Arrived],
    kinds: &'a Kinds,
    now: Timestamp,
    /// Identifiers this call inserted in an earlier round, and the profile they were given to.
    mine: HashMap<Identifier, i64>,
    /// Profile ids this call took in an earlier round; nobody else can know them.
    unborn: HashSet<i64>,
}

impl Writer<'_> {
    /// What the database knows about the identifiers of the messages.
    fn look(&self, messages: &[MessageIdentifiers]) -> Result<Snapshot> {
        let wanted: BTreeSet<(&str, i32)> =
            messages.iter().flat_map(|m| m.identifiers.iter().map(|i| (i.value.as_str(), i.kind))).collect();
        let values: Vec<&str> = wanted.iter().map(|w| w.0).collect();
        let kinds: Vec<i32> = wanted.iter().map(|w| w.1).collect();
        let mut rows = self.spi.query_known(
            "SELECT w.kind_id, w.value, i.profile_id \
             FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS w (value, kind_id) \
             CROSS JOIN LATERAL (SELECT i.profile_id FROM _cdp.identifiers AS i WHERE i.namespace_id OPERATOR(pg_catalog.=) $1 \
                  AND i.value OPERATOR(pg_catalog.=) w.value AND i.kind_id OPERATOR(pg_catalog.=) w.kind_id OFFSET 0) AS i",
            &[Param::Int4(self.namespace.id), Param::TextArray(&values), Param::Int4Array(&kinds)],
        )?;
        let mut owners = Vec::new();
        while rows.advance() {
            let profile_id = rows.i64(2)?;
            if !self.unborn.contains(&profile_id) {
                owners.push((rows.i32(0)?, rows.text(1)?, profile_id));
            }
        }
        let mut survivors: HashMap<i64, i64> = HashMap::new();
        loop {
            let mut snapshot = Snapshot::new();
            for (kind, value, profile_id) in &owners {
                snapshot.add_owner(*kind, value.as_str(), survivors.get(profile_id).copied().unwrap_or(*profile_id));
            }
            let in_question: Vec<i64> = snapshot.in_question(messages).into_iter().collect();
            if in_question.is_empty() || self.look_closer(&mut snapshot, &in_question, &mut survivors)? {
                return Ok(snapshot);
            }
        }
    }

    /// Adds all about the profiles in question. False when some of them were merged while they got an identifier:
    /// then `survivors` tells into whom.
    fn look_closer(
        &self,
        snapshot: &mut Snapshot,
        profile_ids: &[i64],
        survivors: &mut HashMap<i64, i64>,
    ) -> Result<bool> {
        let parameters = [Param::Int8Array(profile_ids)];
        let mut rows = self.spi.query_known(
            "SELECT profile_id, created_at, merged_into FROM _cdp.profiles WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1)",
            &parameters,
        )?;
        let before = survivors.len();
        while rows.advance() {
            snapshot.add_profile(rows.i64(0)?, rows.timestamp(1)?);
            if let Some(survivor) = rows.optional_i64(2) {
                survivors.insert(rows.i64(0)?, survivor);
            }
        }
        if survivors.len() > before {
            return Ok(false);
        }
        let mut rows = self.spi.query_known(
            "SELECT profile_id, kind_id, linked_at FROM _cdp.identifiers WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1)",
            &parameters,
        )?;
        while rows.advance() {
            snapshot.add_linked(rows.i64(0)?, rows.i32(1)?, rows.timestamp(2)?);
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
            snapshot.add_split(rows.i64(0)?, rows.i64(1)?);
        }
        Ok(true)
    }

    /// Writes what the plan decided; None when a concurrent session was first and the plan is void.
    fn write(&mut self, plan: &Plan) -> Result<Option<Ids>> {
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
            self.unborn.extend(&taken);
            ids.new = born.into_iter().zip(taken).collect();
        }
        if !self.link(plan, &ids)? {
            return Ok(None);
        }
        self.demote(plan, &ids)?;
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
            return Ok(None);
        }
        Ok(Some(ids))
    }

    /// Gives identifiers to people; false when somebody else took one of them meanwhile.
    fn link(&mut self, plan: &Plan, ids: &Ids) -> Result<bool> {
        // Sorted, so that two sessions that bring the same identifiers cannot deadlock.
        let mut links: BTreeMap<(&str, i32), LinkRow> = BTreeMap::new();
        for link in &plan.links {
            let owner = ids.of(plan.resolved(link.profile));
            // A profile that this batch makes and merges at once never exists.
            let origin = match link.profile {
                ProfileRef::Existing(id) => id,
                ProfileRef::New(_) => owner,
            };
            let at = self.batch.get(link.message).map_or(self.now, |a| a.message.timestamp);
            let row = LinkRow { owner, at, message: link.message, rule: link.rule.as_str(), origin };
            links.entry((link.value.as_str(), link.kind)).or_insert(row);
        }
        for (mine, inserted) in [(true, false), (false, true)] {
            let chosen: Vec<_> = links
                .iter()
                .filter(|((value, kind), _)| self.mine.contains_key(&(*kind, (*value).to_string())) == mine)
                .collect();
            if chosen.is_empty() {
                continue;
            }
            let values: Vec<&str> = chosen.iter().map(|(key, _)| key.0).collect();
            let kinds: Vec<i32> = chosen.iter().map(|(key, _)| key.1).collect();
            let owners: Vec<i64> = chosen.iter().map(|(_, link)| link.owner).collect();
            let origins: Vec<i64> = chosen.iter().map(|(_, link)| link.origin).collect();
            if !inserted {
                self.spi.execute_hashed(
                    "UPDATE _cdp.identifiers AS i SET profile_id = w.profile_id, origin_id = w.origin_id \
                     FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)) \
                          AS w (value, kind_id, profile_id, origin_id) \
                     WHERE i.namespace_id OPERATOR(pg_catalog.=) $1 AND i.value OPERATOR(pg_catalog.=) ANY ($2) \
                           AND i.value OPERATOR(pg_catalog.=) w.value AND i.kind_id OPERATOR(pg_catalog.=) w.kind_id",
                    &[
                        Param::Int4(self.namespace.id),
                        Param::TextArray(&values),
                        Param::Int4Array(&kinds),
                        Param::Int8Array(&owners),
                        Param::Int8Array(&origins),
                    ],
                )?;
                continue;
            }
            let times: Vec<i64> = chosen.iter().map(|(_, link)| link.at).collect();
            let message_ids: Vec<&str> = chosen
                .iter()
                .map(|(_, link)| self.batch.get(link.message).map_or("", |a| a.message_id.as_str()))
                .collect();
            let rules: Vec<&str> = chosen.iter().map(|(_, link)| link.rule).collect();
            let rows = self.spi.query(
                "INSERT INTO _cdp.identifiers (namespace_id, value, kind_id, profile_id, linked_at, message_id, rule, origin_id) \
                 SELECT $1, t.* FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), \
                     pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)) AS t \
                 ON CONFLICT DO NOTHING RETURNING kind_id, value, profile_id",
                &[
                    Param::Int4(self.namespace.id),
                    Param::TextArray(&values),
                    Param::Int4Array(&kinds),
                    Param::Int8Array(&owners),
                    Param::TimestampArray(&times),
                    Param::TextArray(&message_ids),
                    Param::TextArray(&rules),
                    Param::Int8Array(&origins),
                ],
            )?;
            let all = rows.processed as usize == chosen.len();
            if !all || !plan.merges.is_empty() {
                for (kind, value, owner) in rows.map(|row| Ok((row.i32(0)?, row.text(1)?, row.i64(2)?)))? {
                    self.mine.insert((kind, value), owner);
                }
            }
            if !all {
                return Ok(false);
            }
        }
        Ok(true)
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

    fn people(&self, plan: &Plan, ids: &Ids) -> Vec<std::result::Result<i64, Reason>> {
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
