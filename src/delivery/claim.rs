//! Taking messages: which may be sent now, in the order each person's messages need.
//!
//! Of one person's messages to one destination, those taken are always the earliest that are left: a
//! message behind one that waits for its next attempt is put aside (`_cdp.retries` without a time), one
//! behind a message on its way is left where it is.

use super::shaping::{Item, Shapes};
use super::targets::Target;
use crate::error::Result;
use crate::governance::gate::Gate;
use crate::governance::suppression;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::lock;
use crate::pg::spi::Spi;
use cdp_consent::Requirement;
use cdp_delivery::{Message, MessageKind, Outcome};
use cdp_value::Timestamp;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

/// Payloads are read so many at a time, so that few large ones cannot fill the memory.
const PAYLOADS: usize = 100;

/// Why a message is looked for again later: a restore is under way, or somebody deleted it.
const LOST: &str = "the message is not in _cdp.outbox";
const LOST_DELAY: Duration = Duration::from_secs(60);

/// Windows of waiting messages looked through for one destination in one claim.
const WINDOWS: usize = 10;

/// What a destination could take.
pub struct Wish {
    pub target: Rc<Target>,
    /// Messages.
    pub room: usize,
    /// Bytes of payload.
    pub bytes: usize,
    /// Waiting messages up to this id were looked at before.
    pub after: i64,
    /// People with a message on its way, and how many.
    pub busy: HashMap<i64, usize>,
}

/// A message as the tables know it.
#[derive(Debug, Clone)]
pub struct Row {
    pub outbox_id: i64,
    pub created_at: Timestamp,
    pub profile_id: i64,
    pub attempts: i32,
    pub failures: i32,
    pub first_failed_at: Option<Timestamp>,
    /// It failed before, or waited behind one that did.
    pub retry: bool,
}

/// What was taken for one destination.
pub struct Batch {
    pub target: Rc<Target>,
    /// None when the caller's own transaction holds it.
    pub lease_id: Option<i64>,
    pub rows: Vec<Row>,
    /// Of the same length.
    pub messages: Vec<Message>,
    pub bytes: usize,
}

/// What became of a wish.
pub struct Claim {
    pub destination_id: i32,
    pub batch: Option<Batch>,
    /// What needs no request: dropped or refused by its route, or not in the outbox.
    pub settled: (Rc<Target>, Vec<(Row, Outcome)>),
    /// Waiting messages up to this id were looked at.
    pub scanned: i64,
    /// First waiting message of people who have one on its way.
    pub passed_over: HashMap<i64, i64>,
    /// There is more than was taken.
    pub more: bool,
}

/// Takes messages. `lease` is for how long; without it they are held by the transaction that is open.
pub fn claim(
    spi: &Spi,
    relation: u32,
    wishes: &[Wish],
    lease: Option<Duration>,
    shapes: &mut Shapes,
) -> Result<Vec<Claim>> {
    let now = clock::real();
    let free: Vec<&Wish> = wishes.iter().filter(|wish| lock::try_destination(relation, wish.target.id)).collect();
    if free.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i32> = free.iter().map(|wish| wish.target.id).collect();
    let leased = leased_elsewhere(spi, &ids, now)?;
    let mut choices: Vec<Choice> = free.iter().map(|wish| Choice::new(wish, leased.get(&wish.target.id))).collect();
    due(spi, &mut choices, now)?;
    for _ in 0..WINDOWS {
        if !waiting(spi, &mut choices)? {
            break;
        }
    }
    let blockers = blockers(spi, &choices)?;
    for choice in &mut choices {
        choice.decide(&blockers);
    }
    put_aside(spi, &choices)?;
    let mut claims = Vec::with_capacity(choices.len());
    for choice in choices {
        claims.push(choice.take(spi, now, lease, shapes)?);
    }
    Ok(claims)
}

/// People with a message on its way from another process, by destination.
fn leased_elsewhere(spi: &Spi, destinations: &[i32], now: Timestamp) -> Result<HashMap<i32, HashSet<i64>>> {
    let mut people: HashMap<i32, HashSet<i64>> = HashMap::new();
    let rows = spi
        .query(
            "SELECT destination_id, profile_ids FROM _cdp.leases
             WHERE destination_id OPERATOR(pg_catalog.=) ANY ($1) AND leased_until OPERATOR(pg_catalog.>) $2
               AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()",
            &[Param::Int4Array(destinations), Param::Timestamp(now)],
        )?
        .map(|row| Ok((row.i32(0)?, row.int8_array(1))))?;
    for (destination, profiles) in rows {
        people.entry(destination).or_default().extend(profiles);
    }
    Ok(people)
}

/// What is looked at for one wish.
struct Choice<'a> {
    wish: &'a Wish,
    leased: Option<&'a HashSet<i64>>,
    candidates: Vec<Row>,
    /// No waiting message is left after those looked at.
    at_end: bool,
    scanned: i64,
    passed_over: HashMap<i64, i64>,
    taken: Vec<Row>,
    /// Messages of the queue that have to wait behind one that failed.
    aside: Vec<i64>,
    /// Messages that were let go and have to wait again, with their people.
    behind: Vec<(i64, i64)>,
    more: bool,
}

impl<'a> Choice<'a> {
    fn new(wish: &'a Wish, leased: Option<&'a HashSet<i64>>) -> Choice<'a> {
        Choice {
            wish,
            leased,
            candidates: Vec::new(),
            at_end: false,
            scanned: wish.after,
            passed_over: HashMap::new(),
            taken: Vec::new(),
            aside: Vec::new(),
            behind: Vec::new(),
            more: false,
        }
    }

    fn is_busy(&self, profile_id: i64) -> bool {
        self.wish.busy.contains_key(&profile_id) || self.leased.is_some_and(|leased| leased.contains(&profile_id))
    }

    /// A waiting message of the next window.
    fn look_at(&mut self, row: Row) {
        self.scanned = self.scanned.max(row.outbox_id);
        if self.is_busy(row.profile_id) {
            self.passed_over.entry(row.profile_id).or_insert(row.outbox_id);
        } else {
            self.candidates.push(row);
        }
    }

    /// Takes candidates in order; `blockers` are the first messages of people that cannot be taken.
    fn decide(&mut self, blockers: &HashMap<(i32, i64), i64>) {
        self.candidates.sort_unstable_by_key(|row| row.outbox_id);
        self.more |= !self.at_end;
        for row in std::mem::take(&mut self.candidates) {
            let blocker = blockers.get(&(self.wish.target.id, row.profile_id));
            if blocker.is_some_and(|blocker| *blocker < row.outbox_id) {
                if row.retry {
                    self.behind.push((row.profile_id, row.outbox_id));
                } else {
                    self.aside.push(row.outbox_id);
                }
            } else if self.taken.len() < self.wish.room {
                self.taken.push(row);
            } else {
                self.more = true;
                self.rewind(&row);
            }
        }
    }

    /// A message that was looked at is left for the next time.
    fn rewind(&mut self, row: &Row) {
        if !row.retry {
            self.scanned = self.scanned.min(row.outbox_id - 1);
        }
    }

    fn take(mut self, spi: &Spi, now: Timestamp, lease: Option<Duration>, shapes: &mut Shapes) -> Result<Claim> {
        let destination_id = self.wish.target.id;
        let (mut rows, mut messages, mut bytes) = (Vec::new(), Vec::new(), 0);
        let taken = std::mem::take(&mut self.taken);
        let mut settled = Vec::new();
        let mut lost = HashSet::new();
        for group in taken.chunks(PAYLOADS) {
            if bytes >= self.wish.bytes {
                self.more = true;
                group.iter().for_each(|row| self.rewind(row));
                continue;
            }
            let mut found = payloads(spi, group)?;
            let refused = self.refused(spi, group, &found, shapes)?;
            let (mut present, mut items) = (Vec::new(), Vec::new());
            for row in group {
                match found.remove(&row.outbox_id) {
                    Some(_) if refused.contains_key(&row.outbox_id) => {
                        let reason = refused.get(&row.outbox_id).cloned().unwrap_or_default();
                        settled.push((row.clone(), Outcome::discard(reason)));
                    }
                    Some(_) if lost.contains(&row.profile_id) => self.rewind(row),
                    Some(mut payload) => {
                        bytes += payload.bytes;
                        let body = std::mem::take(&mut payload.message.body);
                        items.push(Item { route_id: payload.route_id, body });
                        present.push((row, payload.message));
                    }
                    None => {
                        lost.insert(row.profile_id);
                        settled.push((row.clone(), lost_outcome()));
                    }
                }
            }
            for ((row, mut message), shaped) in present.into_iter().zip(shapes.apply(spi, items)?) {
                match shaped.outcome() {
                    Ok(body) => {
                        message.body = body;
                        rows.push(row.clone());
                        messages.push(message);
                    }
                    Err(outcome) => settled.push((row.clone(), outcome)),
                }
            }
        }
        let mut batch = None;
        if !rows.is_empty() {
            let lease_id = match lease {
                Some(lease) => Some(insert_lease(spi, destination_id, &rows, now, lease)?),
                None => None,
            };
            batch = Some(Batch { target: Rc::clone(&self.wish.target), lease_id, rows, messages, bytes });
        }
        let settled = (Rc::clone(&self.wish.target), settled);
        Ok(Claim {
            destination_id,
            batch,
            settled,
            scanned: self.scanned,
            passed_over: self.passed_over,
            more: self.more,
        })
    }
}

impl Choice<'_> {
    /// Why messages may not go any more, by id: the person is suppressed by now, or consent is missing.
    fn refused(
        &self,
        spi: &Spi,
        rows: &[Row],
        found: &HashMap<i64, Payload>,
        shapes: &mut Shapes,
    ) -> Result<HashMap<i64, String>> {
        let target = &self.wish.target;
        let routes: BTreeSet<i32> = found.values().filter_map(|payload| payload.route_id).collect();
        let consent = shapes.consent(spi, &routes)?;
        let requires = !target.requirement.is_empty() || !consent.is_empty();
        if !requires && !suppression::any(spi, target.namespace_id)? {
            return Ok(HashMap::new());
        }
        let people = rows.iter().map(|row| row.profile_id).collect();
        let gate = Gate::open(spi, target.namespace_id, &people, requires)?;
        let of_routes: HashMap<i32, Requirement> =
            consent.into_iter().map(|(id, categories)| (id, target.requirement.with(&categories))).collect();
        Ok(rows
            .iter()
            .filter_map(|row| {
                let payload = found.get(&row.outbox_id)?;
                let requirement = payload.route_id.and_then(|id| of_routes.get(&id)).unwrap_or(&target.requirement);
                Some((row.outbox_id, gate.refuses(row.profile_id, requirement, &payload.message.body)?))
            })
            .collect())
    }
}

/// Messages whose next attempt is due.
fn due(spi: &Spi, choices: &mut [Choice], now: Timestamp) -> Result<()> {
    let ids: Vec<i32> = choices.iter().map(|choice| choice.wish.target.id).collect();
    let rooms: Vec<i64> = choices.iter().map(|choice| choice.wish.room as i64).collect();
    let mut rows = spi.query(
        "SELECT w.place, r.outbox_id, r.created_at, r.profile_id, r.attempts, r.failures, r.first_failed_at
         FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int4[]), pg_catalog.unnest($2::pg_catalog.int8[]))
              WITH ORDINALITY AS w(destination_id, room, place)
         CROSS JOIN LATERAL (
             SELECT x.outbox_id, x.created_at, x.profile_id, x.attempts, x.failures, x.first_failed_at
             FROM _cdp.retries AS x
             WHERE x.destination_id OPERATOR(pg_catalog.=) w.destination_id AND x.next_attempt_at OPERATOR(pg_catalog.<=) $3
             ORDER BY x.next_attempt_at, x.outbox_id LIMIT w.room) AS r",
        &[Param::Int4Array(&ids), Param::Int8Array(&rooms), Param::Timestamp(now)],
    )?;
    while rows.advance() {
        let row = Row {
            outbox_id: rows.i64(1)?,
            created_at: rows.timestamp(2)?,
            profile_id: rows.i64(3)?,
            attempts: rows.i32(4)?,
            failures: rows.i32(5)?,
            first_failed_at: rows.optional_timestamp(6),
            retry: true,
        };
        if let Some(choice) = choices.get_mut(rows.i64(0)? as usize - 1) {
            if choice.is_busy(row.profile_id) {
                // Looked at again when that one is settled, wherever the queue is looked at then.
                choice.passed_over.entry(row.profile_id).or_insert(i64::MAX);
            } else {
                choice.candidates.push(row);
            }
        }
    }
    for choice in choices {
        choice.more = choice.candidates.len() >= choice.wish.room;
    }
    Ok(())
}

/// The next window of waiting messages for each wish with room. False when nobody looks for more.
fn waiting(spi: &Spi, choices: &mut [Choice]) -> Result<bool> {
    let (mut places, mut ids, mut afters, mut limits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (place, choice) in choices.iter().enumerate() {
        let room = choice.wish.room.saturating_sub(choice.candidates.len());
        if choice.at_end || room == 0 {
            continue;
        }
        places.push(place);
        ids.push(choice.wish.target.id);
        afters.push(choice.scanned);
        limits.push((room + choice.wish.busy.values().sum::<usize>()) as i64);
    }
    if places.is_empty() {
        return Ok(false);
    }
    let mut seen = vec![0; places.len()];
    let mut rows = spi.query(
        "SELECT w.place, d.outbox_id, d.created_at, d.profile_id
         FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int4[]), pg_catalog.unnest($2::pg_catalog.int8[]),
                         pg_catalog.unnest($3::pg_catalog.int8[]))
              WITH ORDINALITY AS w(destination_id, after, room, place)
         CROSS JOIN LATERAL (
             SELECT x.outbox_id, x.created_at, x.profile_id FROM _cdp.deliveries AS x
             WHERE x.destination_id OPERATOR(pg_catalog.=) w.destination_id AND x.outbox_id OPERATOR(pg_catalog.>) w.after
             ORDER BY x.outbox_id LIMIT w.room) AS d",
        &[Param::Int4Array(&ids), Param::Int8Array(&afters), Param::Int8Array(&limits)],
    )?;
    while rows.advance() {
        let row = Row {
            outbox_id: rows.i64(1)?,
            created_at: rows.timestamp(2)?,
            profile_id: rows.i64(3)?,
            attempts: 0,
            failures: 0,
            first_failed_at: None,
            retry: false,
        };
        let window = rows.i64(0)? as usize - 1;
        if let (Some(count), Some(place)) = (seen.get_mut(window), places.get(window)) {
            *count += 1;
            if let Some(choice) = choices.get_mut(*place) {
                choice.look_at(row);
            }
        }
    }
    for ((place, limit), seen) in places.iter().zip(&limits).zip(&seen) {
        if let Some(choice) = choices.get_mut(*place) {
            choice.at_end = *seen < *limit;
        }
    }
    Ok(true)
}

/// For people among the candidates: their first message that failed, or waits behind one that did, and
/// is not a candidate itself.
fn blockers(spi: &Spi, choices: &[Choice]) -> Result<HashMap<(i32, i64), i64>> {
    let any = spi.query("SELECT FROM _cdp.retries LIMIT 1", &[])?.processed > 0;
    if !any {
        return Ok(HashMap::new());
    }
    let mut people = HashSet::new();
    let mut candidates = Vec::new();
    for choice in choices {
        for row in &choice.candidates {
            people.insert((choice.wish.target.id, row.profile_id));
            if row.retry {
                candidates.push(row.outbox_id);
            }
        }
    }
    let (ids, profiles): (Vec<i32>, Vec<i64>) = people.into_iter().unzip();
    let rows = spi
        .query(
            "SELECT p.destination_id, p.profile_id, b.outbox_id
             FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int4[]), pg_catalog.unnest($2::pg_catalog.int8[]))
                  AS p(destination_id, profile_id)
             CROSS JOIN LATERAL (
                 SELECT r.outbox_id FROM _cdp.retries AS r
                 WHERE r.destination_id OPERATOR(pg_catalog.=) p.destination_id
                   AND r.profile_id OPERATOR(pg_catalog.=) p.profile_id
                   AND r.outbox_id OPERATOR(pg_catalog.<>) ALL ($3::pg_catalog.int8[])
                 ORDER BY r.outbox_id LIMIT 1) AS b",
            &[Param::Int4Array(&ids), Param::Int8Array(&profiles), Param::Int8Array(&candidates)],
        )?
        .map(|row| Ok(((row.i32(0)?, row.i64(1)?), row.i64(2)?)))?;
    Ok(rows.into_iter().collect())
}

/// Moves messages behind a failed one out of the queue, so that they are not looked at again and again.
fn put_aside(spi: &Spi, choices: &[Choice]) -> Result<()> {
    let (mut ids, mut messages) = (Vec::new(), Vec::new());
    for choice in choices {
        for outbox_id in &choice.aside {
            ids.push(choice.wish.target.id);
            messages.push(*outbox_id);
        }
    }
    for choice in choices {
        super::settle::put_behind(spi, choice.wish.target.id, &choice.behind)?;
    }
    if ids.is_empty() {
        return Ok(());
    }
    spi.execute(
        "WITH moved AS (
             DELETE FROM _cdp.deliveries AS d
             USING ROWS FROM (pg_catalog.unnest($1::pg_catalog.int4[]), pg_catalog.unnest($2::pg_catalog.int8[]))
                   AS k(destination_id, outbox_id)
             WHERE d.destination_id OPERATOR(pg_catalog.=) k.destination_id AND d.outbox_id OPERATOR(pg_catalog.=) k.outbox_id
             RETURNING d.outbox_id, d.created_at, d.profile_id, d.namespace_id, d.destination_id)
         INSERT INTO _cdp.retries (outbox_id, created_at, profile_id, namespace_id, destination_id)
         SELECT outbox_id, created_at, profile_id, namespace_id, destination_id FROM moved",
        &[Param::Int4Array(&ids), Param::Int8Array(&messages)],
    )?;
    Ok(())
}

/// A message as the outbox has it.
struct Payload {
    message: Message,
    route_id: Option<i32>,
    /// Length of the body as text.
    bytes: usize,
}

/// The messages of these rows, by id.
fn payloads(spi: &Spi, rows: &[Row]) -> Result<HashMap<i64, Payload>> {
    let ids: Vec<i64> = rows.iter().map(|row| row.outbox_id).collect();
    let created: Vec<Timestamp> = rows.iter().map(|row| row.created_at).collect();
    let by_id: HashMap<i64, &Row> = rows.iter().map(|row| (row.outbox_id, row)).collect();
    let mut found = spi.query(
        "SELECT o.outbox_id, o.kind, o.message_id, o.payload, o.replay, o.route_id
         FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int8[]), pg_catalog.unnest($2::pg_catalog.timestamptz[]))
              AS k(outbox_id, created_at)
         JOIN _cdp.outbox AS o
           ON o.outbox_id OPERATOR(pg_catalog.=) k.outbox_id AND o.created_at OPERATOR(pg_catalog.=) k.created_at",
        &[Param::Int8Array(&ids), Param::TimestampArray(&created)],
    )?;
    let mut messages = HashMap::with_capacity(rows.len());
    while found.advance() {
        let outbox_id = found.i64(0)?;
        let text = found.optional_jsonb(3).unwrap_or_default();
        let Some(row) = by_id.get(&outbox_id) else { continue };
        let message = Message {
            id: found.text(2)?,
            profile_id: row.profile_id,
            kind: MessageKind::parse(&found.text(1)?).unwrap_or(MessageKind::Track),
            body: serde_json::from_str(&text).unwrap_or_default(),
            replay: found.bool(4)?,
            attempt: u32::try_from(row.attempts).unwrap_or(0).saturating_add(1),
        };
        messages.insert(outbox_id, Payload { message, route_id: found.optional_i32(5), bytes: text.len() });
    }
    Ok(messages)
}

fn lost_outcome() -> Outcome {
    Outcome::Retry { reason: LOST.to_string(), after: Some(LOST_DELAY), counts: true }
}

fn insert_lease(spi: &Spi, destination_id: i32, rows: &[Row], now: Timestamp, lease: Duration) -> Result<i64> {
    let ids: Vec<i64> = rows.iter().map(|row| row.outbox_id).collect();
    let profiles: Vec<i64> = rows.iter().map(|row| row.profile_id).collect();
    spi.query(
        "INSERT INTO _cdp.leases (destination_id, outbox_ids, profile_ids, leased_at, leased_until, pid)
         VALUES ($1, $2, $3, $4, $5, pg_catalog.pg_backend_pid()) RETURNING lease_id",
        &[
            Param::Int4(destination_id),
            Param::Int8Array(&ids),
            Param::Int8Array(&profiles),
            Param::Timestamp(now),
            Param::Timestamp(later(now, lease)),
        ],
    )?
    .first(|row| row.i64(0))?
    .ok_or_else(|| crate::error::internal("a lease was not written"))
}

/// `at` and so much later.
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX))
}
