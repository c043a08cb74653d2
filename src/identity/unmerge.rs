//! Taking people apart: a merge is undone, or an identifier becomes a person of its own.
//!
//! Who gets what is `cdp_identity`'s to say, from the messages that linked and merged; here it is told what the
//! database knows, and what it decides is written. Events that arrived while the two were one move to the person
//! they turn out to be of, so that each person's events are again those of the person's profiles. Both are then
//! computed from their events alone.

use super::kinds::{self, Kinds};
use super::resolve::{self, Match};
use crate::error::{cut, state, Error, Result};
use crate::governance::consent;
use crate::ingest::stored;
use crate::namespaces::Namespace;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::traits::backfill;
use crate::traits::evaluate::Cause;
use crate::traits::person::{self, Person};
use cdp_identity::{History, MessageIdentifier, NothingElse, OwnIdentifier, Part, PastMerge, Side, Split};
use cdp_value::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The two people after a split, by their profiles.
pub struct Parted {
    /// Whom the caller spoke of.
    pub person: i64,
    /// Who has the identifier that was split off.
    pub other: i64,
}

/// Sessions that merge the person meanwhile make this look again.
const MOST_ROUNDS: usize = 20;

/// Takes an identifier (of one kind, if given), or a profile that was absorbed, off the person of `id`.
pub fn unmerge(
    spi: &Spi,
    namespace: &Namespace,
    id: &str,
    identifier: &str,
    kind: Option<&str>,
    now: Timestamp,
) -> Result<Parted> {
    for _ in 0..MOST_ROUNDS {
        let request = Request::read(spi, namespace, id, identifier, kind)?;
        // Whoever merges the person has to hold this row too, so from here on nothing about it changes.
        if let Some(person) = person::lock_waiting(spi, &[request.root])?.into_iter().next() {
            let request = Request::read(spi, namespace, id, identifier, kind)?;
            if request.root == person.profile_id {
                return part(spi, namespace, &person, &request, now);
            }
        }
    }
    Err(Error::new("40001", "could not agree on a person with concurrent sessions").hint("Try the call again."))
}

/// What the caller asks for.
struct Request {
    root: i64,
    rest: Part,
    part: Part,
}

fn keys(matches: &[Match]) -> Vec<(i32, String)> {
    matches.iter().map(|m| (m.kind, m.value.clone())).collect()
}

impl Request {
    fn read(spi: &Spi, namespace: &Namespace, id: &str, identifier: &str, kind: Option<&str>) -> Result<Request> {
        let of_id = resolve::matches(spi, namespace, id, None)?;
        let (root, rest) = match of_id.first() {
            Some(first) => {
                let mut same: Vec<Match> = of_id.iter().filter(|m| m.profile_id == first.profile_id).cloned().collect();
                same.extend(other_forms(spi, first.profile_id, &same)?);
                (first.profile_id, Part::Identifiers(keys(&same)))
            }
            None => {
                let (profile_id, root) = resolve::profile(spi, namespace, id)?.ok_or_else(|| resolve::nobody(id))?;
                (root, if profile_id == root { Part::Rest } else { Part::Profile(profile_id) })
            }
        };
        let of_identifier = resolve::matches(spi, namespace, identifier, kind)?;
        let mut own: Vec<Match> = of_identifier.iter().filter(|m| m.profile_id == root).cloned().collect();
        own.extend(other_forms(spi, root, &own)?);
        if own.is_empty() {
            let absorbed = match kind {
                None => resolve::profile(spi, namespace, identifier)?,
                Some(_) => None,
            };
            return match absorbed.filter(|(profile_id, owner)| profile_id != owner && *owner == root) {
                Some((profile_id, _)) => Ok(Request { root, rest, part: Part::Profile(profile_id) }),
                None => Err(not_an_identifier(id, identifier, of_identifier.first())),
            };
        }
        let part = keys(&own);
        // The person may be named by the identifier itself; then all the rest is meant.
        let rest = match rest {
            Part::Identifiers(mut named) => {
                named.retain(|key| !part.contains(key));
                if named.is_empty() {
                    Part::Rest
                } else {
                    Part::Identifiers(named)
                }
            }
            rest => rest,
        };
        Ok(Request { root, rest, part: Part::Identifiers(part) })
    }
}

/// An email and its hash are one identifier in two forms: every message that has the email has both. Returns the other
/// form of each, where the person has it.
fn other_forms(spi: &Spi, root: i64, named: &[Match]) -> Result<Vec<Match>> {
    if !named.iter().any(|m| matches!(m.kind, kinds::EMAIL | kinds::EMAIL_HASH)) {
        return Ok(Vec::new());
    }
    let own = spi
        .query(
            "SELECT kind_id, value FROM _cdp.identifiers WHERE profile_id OPERATOR(pg_catalog.=) $1 \
                 AND kind_id OPERATOR(pg_catalog.=) ANY (ARRAY[$2, $3])",
            &[Param::Int8(root), Param::Int4(kinds::EMAIL), Param::Int4(kinds::EMAIL_HASH)],
        )?
        .map(|row| Ok(Match { kind: row.i32(0)?, value: row.text(1)?, profile_id: root }))?;
    let is_other_form = |a: &Match, b: &Match| match (a.kind, b.kind) {
        (kinds::EMAIL, kinds::EMAIL_HASH) => cdp_message::email_hash(&a.value) == b.value,
        (kinds::EMAIL_HASH, kinds::EMAIL) => cdp_message::email_hash(&b.value) == a.value,
        _ => false,
    };
    Ok(own.into_iter().filter(|own| named.iter().any(|named| is_other_form(named, own))).collect())
}

fn not_an_identifier(id: &str, identifier: &str, owner: Option<&Match>) -> Error {
    let error = Error::new(
        state::IDENTITY_CONFLICT,
        format!("\"{}\" is not an identifier of the person \"{}\"", cut(identifier), cut(id)),
    );
    let error = match owner {
        Some(owner) => error.detail(format!("It belongs to profile {}.", owner.profile_id)),
        None => error,
    };
    error.hint("cdp.explain_identity(id) lists the identifiers of a person and how they came to be the person's.")
}

/// An event, where it is stored.
struct Stored {
    profile_id: i64,
    event_name_id: i32,
    ts: Timestamp,
    event_id: i64,
    received_at: Timestamp,
    identifiers: Vec<MessageIdentifier>,
}

fn part(spi: &Spi, namespace: &Namespace, person: &Person, request: &Request, now: Timestamp) -> Result<Parted> {
    let kinds = kinds::current(spi, namespace)?;
    let profile_ids: Vec<i64> = person.profile_ids().collect();
    let mut told = Told::read(spi, person.profile_id, &profile_ids)?;
    let events = told.read_messages(spi, &kinds, &profile_ids)?;
    let split =
        cdp_identity::split(&kinds.rules, &told.history, &request.rest, &request.part).map_err(|NothingElse| {
            Error::new(state::IDENTITY_CONFLICT, "there is nothing to split: the person has nothing else")
                .hint("cdp.explain_identity(id) lists the identifiers of a person.")
        })?;

    let owner = |event: &Stored| split.side_of(&kinds.rules, event.profile_id, &event.identifiers);
    let (of_apart, of_kept): (Vec<&Stored>, Vec<&Stored>) =
        events.iter().partition(|event| owner(event) == Side::Apart);
    // What lies with a profile of its own person stays there.
    let moving: Vec<&Stored> =
        of_apart.iter().copied().filter(|event| !split.profiles.contains(&event.profile_id)).collect();
    let staying: Vec<&Stored> =
        of_kept.into_iter().filter(|event| split.profiles.contains(&event.profile_id)).collect();
    let first_seen = of_apart.iter().map(|e| e.received_at).min().unwrap_or(now);
    let apart = restore_profile(spi, namespace, person, &told, &split, first_seen)?;
    move_identifiers(spi, namespace, &told, &split, apart)?;
    move_events(spi, &moving, apart)?;
    consent::split(spi, &profile_ids, apart)?;
    move_events(spi, &staying, person.profile_id)?;
    let parted = match split.part {
        Side::Apart => Parted { person: person.profile_id, other: apart },
        Side::Kept => Parted { person: apart, other: person.profile_id },
    };
    move_splits(spi, person, &told, &split, apart)?;
    keep_apart(spi, namespace, (parted.person, &request.rest), (parted.other, &request.part), now)?;
    restore_memberships(spi, namespace, &[person.profile_id, apart])?;
    backfill::rebuild_people(spi, namespace, &[person.profile_id, apart], &Cause::Identity)?;
    Ok(parted)
}

/// How the person came to be, as the tables tell it.
struct Told {
    history: History,
    /// The ids of the messages that linked identifiers and that merged, in the order of those in the history.
    linked_by: Vec<Option<String>>,
    merged_by: Vec<Option<String>>,
    /// The ids of the history's messages.
    message_ids: Vec<String>,
}

impl Told {
    fn read(spi: &Spi, root: i64, profile_ids: &[i64]) -> Result<Told> {
        let ids = [Param::Int8Array(profile_ids)];
        let absorbed = spi
            .query(
                "SELECT profile_id FROM _cdp.profiles WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) AND merged_into IS NOT NULL \
                 ORDER BY created_at, profile_id",
                &ids,
            )?
            .map(|row| row.i64(0))?;
        let mut told = Told {
            history: History { root, absorbed, ..History::default() },
            linked_by: Vec::new(),
            merged_by: Vec::new(),
            message_ids: Vec::new(),
        };
        let mut rows = spi.query(
            "SELECT kind_id, value, origin_id, message_id FROM _cdp.identifiers WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) \
             ORDER BY linked_at, kind_id, value",
            &ids,
        )?;
        while rows.advance() {
            told.history.identifiers.push(OwnIdentifier {
                kind: rows.i32(0)?,
                value: rows.text(1)?,
                origin: rows.i64(2)?,
                message: None,
            });
            told.linked_by.push(rows.optional_text(3));
        }
        let mut rows = spi.query(
            "SELECT absorbed_id, survivor_id, message_id FROM _cdp.profile_merges WHERE absorbed_id OPERATOR(pg_catalog.=) ANY ($1)",
            &ids,
        )?;
        while rows.advance() {
            told.history.merges.push(PastMerge { absorbed: rows.i64(0)?, survivor: rows.i64(1)?, message: None });
            told.merged_by.push(rows.optional_text(2));
        }
        Ok(told)
    }

    /// Reads all messages of the person; notes those that linked and merged, and returns all of them.
    fn read_messages(&mut self, spi: &Spi, kinds: &Kinds, profile_ids: &[i64]) -> Result<Vec<Stored>> {
        /// Rows of events held in memory at a time.
        const FETCH: i64 = 10_000;
        let wanted: HashSet<&str> =
            self.linked_by.iter().chain(&self.merged_by).flatten().map(String::as_str).collect();
        let own: HashSet<(i32, &str)> = self.history.identifiers.iter().map(|i| (i.kind, i.value.as_str())).collect();
        let mut events = Vec::new();
        let mut evidence: BTreeMap<(Timestamp, i64), (String, Vec<MessageIdentifier>)> = BTreeMap::new();
        spi.for_each(
            concat!(
                "SELECT e.profile_id, e.event_name_id, e.ts, e.event_id, e.received_at, e.message_id, ",
                stored::identifier_columns!(),
                " FROM _cdp.events AS e WHERE e.profile_id OPERATOR(pg_catalog.=) ANY ($1)"
            ),
            &[Param::Int8Array(profile_ids)],
            FETCH,
            |row| {
                let mut identifiers = Vec::new();
                for identifier in stored::identifiers(row, 6, &kinds.extraction)? {
                    // Identifiers of others, to which the message was not given, have no say.
                    if let Some(kind) =
                        kinds.id(&identifier.kind).filter(|kind| own.contains(&(*kind, identifier.value.as_str())))
                    {
                        identifiers.push(MessageIdentifier {
                            kind,
                            value: identifier.value,
                            previous: identifier.previous,
                        });
                    }
                }
                let event = Stored {
                    profile_id: row.i64(0)?,
                    event_name_id: row.i32(1)?,
                    ts: row.timestamp(2)?,
                    event_id: row.i64(3)?,
                    received_at: row.timestamp(4)?,
                    identifiers,
                };
                let message_id = row.text(5)?;
                if wanted.contains(message_id.as_str()) {
                    evidence.insert((event.received_at, event.event_id), (message_id, event.identifiers.clone()));
                }
                events.push(event);
                Ok(())
            },
        )?;
        let mut positions: HashMap<&str, usize> = HashMap::new();
        for (position, (message_id, _)) in evidence.values().enumerate() {
            positions.entry(message_id).or_insert(position);
        }
        let position = |message_id: &Option<String>| positions.get(message_id.as_deref()?).copied();
        for (identifier, message_id) in self.history.identifiers.iter_mut().zip(&self.linked_by) {
            identifier.message = position(message_id);
        }
        for (merge, message_id) in self.history.merges.iter_mut().zip(&self.merged_by) {
            merge.message = position(message_id);
        }
        (self.message_ids, self.history.messages) = evidence.into_values().unzip();
        Ok(events)
    }
}

/// Gives the other person a profile, and each of the two their absorbed ones. Returns it.
fn restore_profile(
    spi: &Spi,
    namespace: &Namespace,
    person: &Person,
    told: &Told,
    split: &Split,
    first_seen: Timestamp,
) -> Result<i64> {
    let apart = match split.apart {
        Some(apart) => apart,
        None => spi
            .query(
                "INSERT INTO _cdp.profiles (namespace_id, created_at) VALUES ($1, $2) RETURNING profile_id",
                &[Param::Int4(namespace.id), Param::Timestamp(first_seen)],
            )?
            .first(|row| row.i64(0))?
            .ok_or_else(|| crate::error::internal("a profile was not made"))?,
    };
    let others: Vec<i64> = split.profiles.iter().copied().filter(|id| *id != apart).collect();
    let kept: Vec<i64> = person.absorbed.iter().copied().filter(|id| !split.profiles.contains(id)).collect();
    spi.execute(
        "UPDATE _cdp.profiles SET merged_into = NULL, absorbed = $2 WHERE profile_id OPERATOR(pg_catalog.=) $1",
        &[Param::Int8(apart), Param::Int8Array(&others)],
    )?;
    spi.execute(
        "UPDATE _cdp.profiles SET merged_into = $1 WHERE profile_id OPERATOR(pg_catalog.=) ANY ($2)",
        &[Param::Int8(apart), Param::Int8Array(&others)],
    )?;
    spi.execute(
        "UPDATE _cdp.profiles SET absorbed = $2 WHERE profile_id OPERATOR(pg_catalog.=) $1",
        &[Param::Int8(person.profile_id), Param::Int8Array(&kept)],
    )?;
    spi.execute("DELETE FROM _cdp.profile_merges WHERE absorbed_id OPERATOR(pg_catalog.=) $1", &[Param::Int8(apart)])?;
    for merge in split.merges.iter().filter(|merge| !told.history.merges.contains(merge)) {
        let message_id = merge.message.and_then(|position| told.message_ids.get(position));
        spi.execute(
            "UPDATE _cdp.profile_merges SET survivor_id = $2, message_id = $3 WHERE absorbed_id OPERATOR(pg_catalog.=) $1",
            &[
                Param::Int8(merge.absorbed),
                Param::Int8(merge.survivor),
                Param::OptionalText(message_id.map(String::as_str)),
            ],
        )?;
    }
    Ok(apart)
}

fn move_identifiers(spi: &Spi, namespace: &Namespace, told: &Told, split: &Split, apart: i64) -> Result<()> {
    let sides = split.identifiers.iter().zip(&split.origins);
    let moving: Vec<(&OwnIdentifier, i64, i64)> = told
        .history
        .identifiers
        .iter()
        .zip(sides)
        .map(|(identifier, (side, origin))| {
            let owner = if *side == Side::Apart { apart } else { told.history.root };
            (identifier, owner, origin.unwrap_or(apart))
        })
        .filter(|(identifier, owner, origin)| *owner == apart || *origin != identifier.origin)
        .collect();
    let values: Vec<&str> = moving.iter().map(|(i, _, _)| i.value.as_str()).collect();
    let kinds: Vec<i32> = moving.iter().map(|(i, _, _)| i.kind).collect();
    let owners: Vec<i64> = moving.iter().map(|(_, owner, _)| *owner).collect();
    let origins: Vec<i64> = moving.iter().map(|(_, _, origin)| *origin).collect();
    spi.execute_hashed(
        "UPDATE _cdp.identifiers AS i SET profile_id = w.profile_id, origin_id = w.origin_id \
         FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)) \
             AS w (profile_id, value, kind_id, origin_id) \
         WHERE i.namespace_id OPERATOR(pg_catalog.=) $1 AND i.value OPERATOR(pg_catalog.=) ANY ($3) AND i.value OPERATOR(pg_catalog.=) w.value \
               AND i.kind_id OPERATOR(pg_catalog.=) w.kind_id",
        &[
            Param::Int4(namespace.id),
            Param::Int8Array(&owners),
            Param::TextArray(&values),
            Param::Int4Array(&kinds),
            Param::Int8Array(&origins),
        ],
    )?;
    Ok(())
}

fn move_events(spi: &Spi, moving: &[&Stored], profile_id: i64) -> Result<()> {
    /// Events moved by one statement.
    const CHUNK: usize = 10_000;
    for chunk in moving.chunks(CHUNK) {
        let profile_ids: Vec<i64> = chunk.iter().map(|e| e.profile_id).collect();
        let names: Vec<i32> = chunk.iter().map(|e| e.event_name_id).collect();
        let times: Vec<i64> = chunk.iter().map(|e| e.ts).collect();
        let event_ids: Vec<i64> = chunk.iter().map(|e| e.event_id).collect();
        spi.execute_hashed(
            "UPDATE _cdp.events AS e SET profile_id = $1 \
             FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)) \
                  AS w (profile_id, event_name_id, ts, event_id) \
             WHERE e.profile_id OPERATOR(pg_catalog.=) ANY ($2) AND e.profile_id OPERATOR(pg_catalog.=) w.profile_id AND e.event_name_id OPERATOR(pg_catalog.=) w.event_name_id \
                   AND e.ts OPERATOR(pg_catalog.=) w.ts AND e.event_id OPERATOR(pg_catalog.=) w.event_id",
            &[
                Param::Int8(profile_id),
                Param::Int8Array(&profile_ids),
                Param::Int4Array(&names),
                Param::TimestampArray(&times),
                Param::Int8Array(&event_ids),
            ],
        )?;
    }
    Ok(())
}

/// Identity resolution does not bring the two together again. Each row says which identifier of the profile was
/// meant, so that it follows that identifier when the profile is split in turn.
fn keep_apart(spi: &Spi, namespace: &Namespace, rest: (i64, &Part), part: (i64, &Part), now: Timestamp) -> Result<()> {
    let identifier = |part: &Part| match part {
        Part::Identifiers(identifiers) => identifiers.first().cloned(),
        Part::Profile(_) | Part::Rest => None,
    };
    let of_rest = identifier(rest.1);
    let of_part = identifier(part.1);
    let kind = |identifier: &Option<(i32, String)>| Param::OptionalInt4(identifier.as_ref().map(|i| i.0));
    spi.execute(
        "INSERT INTO _cdp.profile_splits (profile_id, other_profile_id, namespace_id, split_at, kind_id, value) \
         VALUES ($1, $2, $3, $4, $5, $6), ($2, $1, $3, $4, $7, $8) ON CONFLICT DO NOTHING",
        &[
            Param::Int8(rest.0),
            Param::Int8(part.0),
            Param::Int4(namespace.id),
            Param::Timestamp(now),
            kind(&of_rest),
            Param::OptionalText(of_rest.as_ref().map(|i| i.1.as_str())),
            kind(&of_part),
            Param::OptionalText(of_part.as_ref().map(|i| i.1.as_str())),
        ],
    )?;
    Ok(())
}

/// Splits made before go with the identifiers that they are about.
fn move_splits(spi: &Spi, person: &Person, told: &Told, split: &Split, apart: i64) -> Result<()> {
    let profile_ids: Vec<i64> = person.profile_ids().chain([apart]).collect();
    let rows = spi
        .query(
            "SELECT profile_id, other_profile_id, kind_id, value FROM _cdp.profile_splits \
             WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) AND value IS NOT NULL",
            &[Param::Int8Array(&profile_ids)],
        )?
        .map(|row| Ok((row.i64(0)?, row.i64(1)?, row.i32(2)?, row.text(3)?)))?;
    let owners: HashMap<(i32, &str), i64> = told
        .history
        .identifiers
        .iter()
        .zip(&split.identifiers)
        .map(|(i, side)| ((i.kind, i.value.as_str()), if *side == Side::Apart { apart } else { person.profile_id }))
        .collect();
    for (profile_id, other, kind, value) in rows {
        let now_with =
            if profile_id == apart || split.profiles.contains(&profile_id) { apart } else { person.profile_id };
        if let Some(owner) = owners.get(&(kind, value.as_str())).filter(|owner| **owner != now_with) {
            let moved = [Param::Int8(profile_id), Param::Int8(other), Param::Int8(*owner)];
            spi.execute(
                "INSERT INTO _cdp.profile_splits (profile_id, other_profile_id, namespace_id, split_at, kind_id, value) \
                 SELECT $3, $2, namespace_id, split_at, kind_id, value FROM _cdp.profile_splits \
                     WHERE profile_id OPERATOR(pg_catalog.=) $1 AND other_profile_id OPERATOR(pg_catalog.=) $2 \
                 UNION ALL SELECT $2, $3, namespace_id, split_at, kind_id, value FROM _cdp.profile_splits \
                     WHERE profile_id OPERATOR(pg_catalog.=) $2 AND other_profile_id OPERATOR(pg_catalog.=) $1 \
                 ON CONFLICT DO NOTHING",
                &moved,
            )?;
            spi.execute(
                "DELETE FROM _cdp.profile_splits WHERE (profile_id OPERATOR(pg_catalog.=) $1 AND other_profile_id OPERATOR(pg_catalog.=) $2) \
                     OR (profile_id OPERATOR(pg_catalog.=) $2 AND other_profile_id OPERATOR(pg_catalog.=) $1)",
                &moved[..2],
            )?;
        }
    }
    Ok(())
}

/// Each person is in the segments that the person entered and did not leave, since then; the evaluation that
/// follows sees whether that still holds.
fn restore_memberships(spi: &Spi, namespace: &Namespace, profile_ids: &[i64]) -> Result<()> {
    spi.execute(
        "INSERT INTO _cdp.segment_members AS m (namespace_id, profile_id, segment_id, since) \
         SELECT $1, h.profile_id, s.segment_id, h.at FROM ( \
             SELECT DISTINCT ON (h.profile_id, h.key) h.profile_id, h.key, h.at, h.new FROM _cdp.history AS h \
             WHERE h.profile_id OPERATOR(pg_catalog.=) ANY ($2) AND h.what OPERATOR(pg_catalog.=) 'segment' \
             ORDER BY h.profile_id, h.key, h.at DESC, h.history_id DESC) AS h \
         JOIN _cdp.segments AS s ON s.namespace_id OPERATOR(pg_catalog.=) $1 AND s.key OPERATOR(pg_catalog.=) h.key \
         WHERE h.new OPERATOR(pg_catalog.=) 'true'::pg_catalog.jsonb \
         ON CONFLICT (profile_id, segment_id) DO UPDATE SET since = EXCLUDED.since",
        &[Param::Int4(namespace.id), Param::Int8Array(profile_ids)],
    )?;
    Ok(())
}
