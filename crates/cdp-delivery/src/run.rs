//! Runs one job: in parallel where it can, in order where it must.

use crate::client::{now_millis, Client, TransportError, TransportErrorKind};
use crate::config::Limits;
use crate::destination::Context;
use crate::driver::{Evidence, Job, Progress};
use crate::evidence::evidence;
use crate::lane::{Health, Lane};
use crate::message::Message;
use crate::outcome::{Outcome, RequestPlan, Response};
use crate::retry_after::retry_after;
use crate::secrets::Secrets;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

/// Requests that may follow from one another before something must be wrong.
const LONGEST_CHAIN: u32 = 12;

/// A request waiting to be sent.
struct Work {
    /// Indices into the job's batch; the plan's indices point in here.
    view: Arc<Vec<usize>>,
    plan: RequestPlan,
    /// How many requests came before it in its chain.
    depth: u32,
}

/// How a request ended.
enum End {
    /// It was never sent.
    NotSent(Outcome),
    Answer(Response, Duration),
    Failure(TransportError, Duration),
}

struct Run {
    client: Arc<Client>,
    lane: Arc<Lane>,
    job: Job,
    limits: Limits,
    id: u64,
    sender: UnboundedSender<Progress>,
    deadline: Instant,
    /// The job's secrets and those that stand in its configuration.
    secrets: Secrets,
    /// Persons with a message that stays in the outbox, and how long it waits.
    held: HashMap<i64, Option<Duration>>,
}

/// Runs a job to its end; reports every message.
pub(crate) async fn run_job(
    client: Arc<Client>,
    lane: Arc<Lane>,
    job: Job,
    limits: Limits,
    id: u64,
    sender: UnboundedSender<Progress>,
) {
    let entry = job.destination.catalogue();
    let config = entry.config(&job.config);
    let mut secrets = (*job.secrets).clone();
    for field in entry.secrets {
        if let (None, Some(value)) = (secrets.get(field.name), config.text(field.name)) {
            secrets.insert(field.name, value);
        }
    }
    let mut run = Run {
        deadline: Instant::now() + job.start_within,
        client,
        lane,
        limits,
        id,
        sender,
        secrets,
        held: HashMap::new(),
        job,
    };
    let all: Vec<usize> = (0..run.job.batch.len()).collect();
    let mut pending: VecDeque<Work> = run.plan(all, 0).into();
    let mut busy: HashMap<i64, usize> = HashMap::new();
    let mut flying = FuturesUnordered::new();
    loop {
        while flying.len() < run.limits.concurrency {
            let Some(work) = run.take_startable(&mut pending, &busy) else {
                break;
            };
            let work = match run.without_held(work) {
                Ok(work) => work,
                Err(replanned) => {
                    put_first(&mut pending, replanned);
                    continue;
                }
            };
            for profile in run.profiles(&work) {
                *busy.entry(profile).or_default() += 1;
            }
            let (client, lane) = (Arc::clone(&run.client), Arc::clone(&run.lane));
            let (deadline, timeout) = (run.deadline, run.limits.timeout);
            flying.push(async move {
                let end = send(&client, &lane, &work, deadline, timeout).await;
                (work, end)
            });
        }
        let Some((work, end)) = flying.next().await else {
            if pending.is_empty() {
                return;
            }
            continue;
        };
        for profile in run.profiles(&work) {
            if let Some(count) = busy.get_mut(&profile) {
                *count -= 1;
                if *count == 0 {
                    busy.remove(&profile);
                }
            }
        }
        let further = run.finish(work, end);
        put_first(&mut pending, further);
    }
}

fn put_first(pending: &mut VecDeque<Work>, works: Vec<Work>) {
    for work in works.into_iter().rev() {
        pending.push_front(work);
    }
}

impl Run {
    fn message(&self, index: usize) -> Option<&Message> {
        self.job.batch.get(index)
    }

    fn indices(&self, work: &Work) -> Vec<usize> {
        work.plan
            .messages
            .iter()
            .filter_map(|local| work.view.get(*local).copied())
            .collect()
    }

    fn profiles(&self, work: &Work) -> HashSet<i64> {
        self.indices(work)
            .into_iter()
            .filter_map(|index| self.message(index))
            .map(|message| message.profile_id)
            .collect()
    }

    /// The first request none of whose persons is in a request before it or under way.
    fn take_startable(
        &self,
        pending: &mut VecDeque<Work>,
        busy: &HashMap<i64, usize>,
    ) -> Option<Work> {
        let mut waiting: HashSet<i64> = HashSet::new();
        let mut found = None;
        for (position, work) in pending.iter().enumerate() {
            let profiles = self.profiles(work);
            let free = profiles
                .iter()
                .all(|profile| !busy.contains_key(profile) && !waiting.contains(profile));
            if free {
                found = Some(position);
                break;
            }
            waiting.extend(profiles);
        }
        pending.remove(found?)
    }

    /// The request itself when none of its persons is held up; otherwise the held messages are
    /// reported, and requests for the others are made anew.
    fn without_held(&mut self, work: Work) -> Result<Work, Vec<Work>> {
        let indices = self.indices(&work);
        let hold = |index: &usize| {
            self.message(*index)
                .and_then(|message| self.held.get(&message.profile_id))
                .copied()
        };
        let held: Vec<(usize, Option<Duration>)> = indices
            .iter()
            .filter_map(|index| Some((*index, hold(index)?)))
            .collect();
        if held.is_empty() {
            return Ok(work);
        }
        let waiting: HashSet<usize> = held.iter().map(|(index, _)| *index).collect();
        let rest: Vec<usize> = indices
            .into_iter()
            .filter(|index| !waiting.contains(index))
            .collect();
        for (index, after) in held {
            let outcome = Outcome::wait("an earlier message of the same person waits", after);
            self.report(index, outcome, None);
        }
        Err(self.plan(rest, work.depth))
    }

    /// Requests for some messages of the job; reports those that need none.
    fn plan(&mut self, view: Vec<usize>, depth: u32) -> Vec<Work> {
        if view.is_empty() {
            return Vec::new();
        }
        let view = Arc::new(view);
        let plan = {
            let memory = self.lane.memory();
            let batch = self.batch(&view);
            self.job
                .destination
                .requests(&self.context(&memory), &batch)
        };
        for (local, outcome) in plan.settled {
            if let Some(index) = view.get(local) {
                self.settle(*index, outcome, None);
            }
        }
        plan.requests
            .into_iter()
            .filter(|plan| !plan.messages.is_empty())
            .map(|plan| Work {
                view: Arc::clone(&view),
                plan,
                depth,
            })
            .collect()
    }

    fn batch(&self, view: &[usize]) -> Vec<&Message> {
        view.iter()
            .filter_map(|index| self.message(*index))
            .collect()
    }

    fn context<'a>(&'a self, memory: &'a HashMap<String, String>) -> Context<'a> {
        Context {
            config: self.job.destination.catalogue().config(&self.job.config),
            secrets: &self.secrets,
            now: now_millis(),
            memory,
        }
    }

    /// Reads the end of a request: reports what is settled, returns what is still to be sent.
    fn finish(&mut self, work: Work, end: End) -> Vec<Work> {
        let (response, took) = match end {
            End::NotSent(outcome) => {
                for index in self.indices(&work) {
                    self.settle(index, outcome.clone(), None);
                }
                return Vec::new();
            }
            End::Failure(error, took) => {
                let outcome = self.failure(&error);
                let seen = evidence(&self.secrets, &work.plan.request, Err(&error), took);
                let seen = Some(Arc::new(seen));
                for index in self.indices(&work) {
                    self.settle(index, outcome.clone(), seen.clone());
                }
                return Vec::new();
            }
            End::Answer(response, took) => (response, took),
        };
        let reply = {
            let memory = self.lane.memory();
            let batch = self.batch(&work.view);
            self.job
                .destination
                .outcomes(&self.context(&memory), &batch, &work.plan, &response)
        };
        self.lane.remember(reply.remember);
        let fine = reply
            .settled
            .iter()
            .all(|(_, outcome)| *outcome == Outcome::Delivered);
        let seen = Arc::new(if fine {
            Evidence {
                request: String::new(),
                status: response.http().map(|http| http.status),
                response: String::new(),
                duration: took,
            }
        } else {
            evidence(&self.secrets, &work.plan.request, Ok(&response), took)
        });
        let mut open: HashSet<usize> = work.plan.messages.iter().copied().collect();
        let mut split = Vec::new();
        for (local, outcome) in reply.settled {
            if !open.remove(&local) {
                continue;
            }
            let Some(index) = work.view.get(local).copied() else {
                continue;
            };
            match outcome {
                Outcome::SplitBatch => split.push(index),
                outcome => self.settle(index, outcome, Some(Arc::clone(&seen))),
            }
        }
        let mut further = self.split(split, work.plan.messages.len(), work.depth, &seen);
        for plan in reply.next {
            for local in &plan.messages {
                open.remove(local);
            }
            let next = Work {
                view: Arc::clone(&work.view),
                plan,
                depth: work.depth + 1,
            };
            if next.depth > LONGEST_CHAIN {
                let outcome = Outcome::retry("the destination's requests did not come to an end");
                for index in self.indices(&next) {
                    self.settle(index, outcome.clone(), Some(Arc::clone(&seen)));
                }
            } else {
                further.push(next);
            }
        }
        for local in open {
            if let Some(index) = work.view.get(local).copied() {
                let outcome = Outcome::retry("the destination gave no outcome for this message");
                self.settle(index, outcome, Some(Arc::clone(&seen)));
            }
        }
        further
    }

    /// Halves of a request that was too large. `carried` is how many messages it had.
    fn split(
        &mut self,
        mut indices: Vec<usize>,
        carried: usize,
        depth: u32,
        seen: &Arc<Evidence>,
    ) -> Vec<Work> {
        if carried <= 1 {
            for index in indices {
                let outcome = Outcome::reject("too large for the destination, even alone");
                self.settle(index, outcome, Some(Arc::clone(seen)));
            }
            return Vec::new();
        }
        indices.sort_unstable();
        let second = indices.split_off(indices.len().div_ceil(2));
        let mut works = self.plan(indices, depth);
        works.extend(self.plan(second, depth));
        works
    }

    fn failure(&self, error: &TransportError) -> Outcome {
        use TransportErrorKind::{Blocked, Invalid};
        if matches!(error.kind, Blocked | Invalid) {
            return Outcome::reject(error.message.clone());
        }
        let config = self.job.destination.catalogue().config(&self.job.config);
        let once = config.text("after_ambiguous_failure").as_deref() == Some("reject");
        if error.maybe_processed && once {
            return Outcome::reject(format!(
                "{}; the request may have been processed, so it is not sent again",
                error.message
            ));
        }
        Outcome::retry(error.message.clone())
    }

    /// Reports a message, and holds up its person if it stays in the outbox.
    fn settle(&mut self, index: usize, outcome: Outcome, seen: Option<Arc<Evidence>>) {
        if let Outcome::AuthBlocked { reason } = &outcome {
            self.lane.block(&self.secrets.mask(reason));
        }
        if outcome.stays() {
            let after = match &outcome {
                Outcome::Retry { after, .. } => *after,
                _ => None,
            };
            if let Some(message) = self.message(index) {
                self.held.insert(message.profile_id, after);
            }
        }
        self.report(index, outcome, seen);
    }

    fn report(&self, index: usize, outcome: Outcome, evidence: Option<Arc<Evidence>>) {
        let outcome = outcome.map_reason(|reason| self.secrets.mask(reason));
        // The receiver is gone only when the driver is: then nobody wants to know.
        let _ = self.sender.send(Progress {
            job: self.id,
            index,
            outcome,
            evidence,
        });
    }
}

async fn send(
    client: &Client,
    lane: &Lane,
    work: &Work,
    deadline: Instant,
    timeout: Duration,
) -> End {
    let pass = match lane.enter(deadline).await {
        Ok(pass) => pass,
        Err(outcome) => return End::NotSent(outcome),
    };
    let started = Instant::now();
    let result = client.send(&work.plan.request, Some(timeout)).await;
    let took = started.elapsed();
    match result {
        Ok(response) => {
            if let Some(http) = response.http().filter(|http| http.status == 429) {
                lane.pause(retry_after(&http.headers, &http.body, http.at));
            }
            lane.leave(pass, health(&response));
            End::Answer(response, took)
        }
        Err(error) => {
            use TransportErrorKind::{Blocked, Invalid};
            let health = match error.kind {
                Blocked | Invalid => Health::Unknown,
                _ => Health::Unreachable,
            };
            lane.leave(pass, health);
            End::Failure(error, took)
        }
    }
}

fn health(response: &Response) -> Health {
    match response {
        Response::Http(http) => match http.status {
            200..=299 => Health::Up,
            500..=599 => Health::Broken,
            _ => Health::Refused,
        },
        Response::Sql(crate::sql::SqlResponse::Done(_)) => Health::Up,
        Response::Sql(crate::sql::SqlResponse::Failed { sqlstate, .. }) => {
            // Out of resources, shutting down.
            if sqlstate.starts_with("53") || sqlstate.starts_with("57P") {
                Health::Broken
            } else {
                Health::Refused
            }
        }
    }
}
